//! What the AI calls cost, as those who pay ask for it: JSON, a spreadsheet, a terminal. The sums are those of what
//! was reported.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value that is not there is null, and null fails the test"
)]

use anyhow::{Context, Result, ensure};
use end_to_end::{
    http,
    postgres::Cluster,
    probe::{Config, Probe, run_to_end},
    site::Site,
    waiting::PATIENCE,
};
use serde_json::{Value, json};

/// Calls of each feature, and the tokens that each of them takes and gives.
const CALLS: [(&str, u64, u64, u64); 3] = [
    ("search", 3, 1_000, 100),
    ("chat", 2, 400, 900),
    ("=cmd|' /C calc'!A0", 1, 10, 10),
];

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

fn start(store: Option<&str>) -> Result<Probe> {
    let store = store
        .map(|url| format!("[store]\nurl = \"{url}\""))
        .unwrap_or_default();
    let config = Config::new()
        .service("nothing", &[std::process::id()])
        .with(&store);
    let probe = Probe::start(&site()?, &config)?;
    let mut calls = Vec::new();
    for (feature, number, prompt, output) in CALLS {
        for _ in 0..number {
            calls.push(json!({
                "model": "gemini-2.5-flash", "feature": feature, "duration_ms": 1500, "status": 200,
                "usage": {"promptTokenCount": prompt, "candidatesTokenCount": output,
                          "totalTokenCount": prompt + output},
                // Each is one of its own.
                "response_id": format!("{feature} {}", calls.len()),
            }));
        }
    }
    calls.push(json!({
        "model": "a-model-that-nobody-knows", "feature": "chat", "status": 200,
        "usage": {"prompt_tokens": 7, "output_tokens": 3}
    }));
    let answer = http::post(
        probe.address(),
        "/api/gemini/usage",
        &[],
        &json!(calls).to_string(),
    )?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(probe)
}

fn json_of(probe: &Probe, query: &str) -> Result<Value> {
    let answer = probe.get(&format!("/api/gemini/report{query}"), &[])?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(serde_json::from_str(&answer.body)?)
}

fn number(value: &Value, pointer: &str) -> Result<u64> {
    let number = value.pointer(pointer).and_then(Value::as_u64);
    number.with_context(|| format!("no {pointer} in {value:#}"))
}

fn the_report_is_the_sum(store: Option<&str>) -> Result<()> {
    let probe = start(store)?;
    // A month does not end while a test runs; a day may.
    let by_feature = json_of(&probe, "?period=month&by=feature")?;
    let groups = by_feature["groups"].as_array().context("no groups")?;
    for (feature, calls, prompt, output) in CALLS {
        let group = groups.iter().find(|group| group["name"] == feature);
        let group = group.with_context(|| format!("{feature} is not in {by_feature:#}"))?;
        let unknown = u64::from(feature == "chat");
        ensure!(number(group, "/calls")? == calls + unknown, "{group:#}");
        ensure!(number(group, "/unpriced_calls")? == unknown, "{group:#}");
        ensure!(
            number(group, "/tokens/input")? == calls * prompt + 7 * unknown,
            "{group:#}"
        );
        ensure!(
            number(group, "/tokens/output")? == calls * output + 3 * unknown,
            "{group:#}"
        );
        ensure!(number(group, "/cost_nano_usd")? > 0, "{group:#}");
    }
    let sum: u64 = groups
        .iter()
        .filter_map(|group| group["cost_nano_usd"].as_u64())
        .sum();
    for by in ["feature", "model", "service"] {
        let report = json_of(&probe, &format!("?period=month&by={by}"))?;
        ensure!(
            number(&report, "/total/cost_nano_usd")? == sum,
            "{report:#}"
        );
        ensure!(number(&report, "/total/calls")? == 7, "{report:#}");
    }
    let month = by_feature["month"]["cost_usd"]
        .as_f64()
        .context("no cost")?;
    ensure!((month - sum as f64 / 1e9).abs() < 1e-9, "{month} of {sum}");
    probe.stop()
}

#[test]
fn the_sums_are_those_of_the_calls_in_sqlite() -> Result<()> {
    the_report_is_the_sum(None)
}

#[test]
fn the_sums_are_those_of_the_calls_in_postgres() -> Result<()> {
    let postgres = Cluster::create()?.start()?;
    the_report_is_the_sum(Some(&postgres.url_over_tcp()))
}

#[test]
fn a_spreadsheet_and_a_terminal_show_it() -> Result<()> {
    let probe = start(None)?;
    let csv = probe.get(
        "/api/gemini/report?period=month&by=feature",
        &[("Accept", "text/csv")],
    )?;
    ensure!(
        csv.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/csv")),
        "{csv:?}"
    );
    let lines: Vec<&str> = csv.body.lines().collect();
    ensure!(lines.len() == 1 + CALLS.len(), "{}", csv.body);
    let columns = lines[0].split(',').count();
    ensure!(lines[0].starts_with("feature,calls,errors"), "{}", lines[0]);
    ensure!(
        lines.iter().all(|line| line.split(',').count() == columns),
        "{}",
        csv.body
    );
    ensure!(
        lines.iter().any(|line| line.starts_with("'=cmd")),
        "a spreadsheet would run it: {}",
        csv.body
    );
    let address = probe.address().to_string();
    let report = |arguments: &[&str]| {
        let mut command = site()?.hostprobe("report");
        command
            .args(["gemini", "--address", &address, "--period", "month"])
            .args(arguments);
        run_to_end(command, PATIENCE)
    };
    let (status, text) = report(&[])?;
    ensure!(status.success(), "{text}");
    for part in [
        "search",
        "chat",
        "total",
        "1 call has a cost that nobody knows",
        "This month:",
    ] {
        ensure!(text.contains(part), "{part} is not in\n{text}");
    }
    let (status, text) = report(&["--csv"])?;
    ensure!(status.success() && text == csv.body, "{text}");
    let (status, text) = report(&["--json", "--by", "model"])?;
    let parsed: Value = serde_json::from_str(&text)?;
    ensure!(status.success() && parsed["by"] == "model", "{text}");
    let (status, text) = report(&["--at", "someday"])?;
    ensure!(!status.success() && text.contains("someday"), "{text}");
    for (query, allowed) in [
        ("period=year", "day, week, month"),
        ("by=user", "service"),
        ("to=1", "at"),
    ] {
        let refused = probe.get(&format!("/api/gemini/report?{query}"), &[])?;
        ensure!(
            refused.status == 400 && refused.body.contains(allowed),
            "{refused:?}"
        );
    }
    let limits = probe.get("/api/gemini/limits", &[])?;
    ensure!(
        limits.status == 200 && limits.body.contains("\"limits\":[]"),
        "{limits:?}"
    );
    probe.stop()
}
