//! The rules that people load into their Prometheus: each alert is proven to fire and to stay quiet, asks
//! for what the probe really has, and leads to a section that says what to do.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use end_to_end::{
    catalogue::Series,
    process::run,
    prometheus::rules,
    site::{need, repository},
};
use serde::Deserialize;
use serde_yaml_ng::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(rename = "name")]
    _name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    record: Option<String>,
    alert: Option<String>,
    expr: String,
    #[serde(rename = "for")]
    _pending: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    alert_rule_test: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    alertname: String,
    exp_alerts: Vec<Value>,
}

const RECORDING: &str = "hostprobe.recording.yml";
const ALERTS: &str = "hostprobe.alerts.yml";

fn read(name: &str) -> Result<Vec<Rule>> {
    let text = std::fs::read_to_string(rules().join(name))?;
    let file: File = serde_yaml_ng::from_str(&text).with_context(|| name.to_owned())?;
    Ok(file
        .groups
        .into_iter()
        .flat_map(|group| group.rules)
        .collect())
}

fn alerts() -> Result<Vec<(String, Rule)>> {
    read(ALERTS)?
        .into_iter()
        .map(|mut rule| {
            let name = rule.alert.take().context("a rule that is no alert")?;
            Ok((name, rule))
        })
        .collect()
}

fn promtool(arguments: &[&str], files: &[&Path]) -> Result<()> {
    let mut command = Command::new(need("promtool", "prometheus")?);
    command.args(arguments).args(files);
    run(&format!("promtool {}", arguments.join(" ")), command).map(drop)
}

#[test]
fn prometheus_takes_the_rules_and_they_do_what_their_tests_say() -> Result<()> {
    let directory = rules();
    let [recording, alerts] = [RECORDING, ALERTS].map(|name| directory.join(name));
    promtool(&["check", "rules"], &[&recording, &alerts])?;
    let [recording, alerts] =
        ["tests/recording_test.yml", "tests/alerts_test.yml"].map(|name| directory.join(name));
    promtool(&["test", "rules"], &[&recording, &alerts])
}

#[test]
fn each_alert_is_tested_firing_and_quiet() -> Result<()> {
    let text = std::fs::read_to_string(rules().join("tests/alerts_test.yml"))?;
    let tests: Tests = serde_yaml_ng::from_str(&text)?;
    let mut cases: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for expected in tests
        .tests
        .into_iter()
        .flat_map(|test| test.alert_rule_test)
    {
        let (firing, quiet) = cases.entry(expected.alertname).or_default();
        if expected.exp_alerts.is_empty() {
            *quiet += 1;
        } else {
            *firing += 1;
        }
    }
    for (name, _) in alerts()? {
        let (firing, quiet) = cases.remove(&name).unwrap_or_default();
        ensure!(
            firing > 0 && quiet > 0,
            "{name}: {firing} firing, {quiet} quiet"
        );
    }
    ensure!(
        cases.is_empty(),
        "tests of alerts that do not exist: {cases:?}"
    );
    Ok(())
}

#[test]
fn the_rules_ask_for_metrics_and_labels_that_the_probe_has() -> Result<()> {
    let mut series = Series::documented()?;
    for rule in read(RECORDING)? {
        let name = rule.record.context("a rule that records nothing")?;
        series.add_recorded(&name, &rule.expr)?;
    }
    for (name, rule) in alerts()? {
        let selectors = series.check(&rule.expr).with_context(|| name.clone())?;
        ensure!(!selectors.is_empty(), "{name} asks for nothing");
    }
    ensure!(
        series.check("hostprobe_probe_up{prob=\"tls\"}").is_err()
            && series.check("hostprobe_prob_up").is_err(),
        "this test would see no mistake"
    );
    Ok(())
}

#[test]
fn each_alert_says_how_urgent_it_is_and_what_to_do() -> Result<()> {
    let runbooks = std::fs::read_to_string(repository().join("docs/runbooks.md"))?;
    let mut sections: Vec<&str> = runbooks
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    for (name, rule) in alerts()? {
        let severity = rule.labels.get("severity").map(String::as_str);
        ensure!(
            matches!(severity, Some("critical" | "warning" | "info")),
            "{name} has the severity {severity:?}"
        );
        for text in ["summary", "description"] {
            ensure!(rule.annotations.contains_key(text), "{name} has no {text}");
        }
        let link = format!("docs/runbooks.md#{}", name.to_lowercase());
        ensure!(
            rule.annotations.get("runbook_url") == Some(&link),
            "{name} leads to {:?}, not {link}",
            rule.annotations.get("runbook_url")
        );
        let section = sections.iter().position(|section| *section == name);
        sections.remove(section.with_context(|| format!("docs/runbooks.md has no {name}"))?);
    }
    ensure!(
        sections.is_empty(),
        "runbooks without an alert: {sections:?}"
    );
    Ok(())
}
