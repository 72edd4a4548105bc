//! Budgets under the real daemon: beacons break and heal them, and a pipeline learns of it by the exit
//! code; files on the disk are judged without a daemon.
#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value that is not there is null, and null fails the test"
)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use end_to_end::{
    exposition::Metrics,
    http,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe},
    site::Site,
    terminal::Terminal,
    waiting::{PATIENCE, eventually},
};
use serde_json::{Value, json};

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// Posts a batch as `vitals.js` does.
fn send(probe: &Probe, batch: &Value) -> Result<()> {
    let body = batch.to_string();
    let answer = http::post(probe.address(), "/api/metrics", &[], &body)?;
    ensure!(answer.status == 204, "{}: {}", answer.status, answer.body);
    Ok(())
}

/// A page view with these values.
fn view(number: u32, page: &str, device: &str, rate: f64, vitals: &[(&str, f64)]) -> Value {
    let vitals: Vec<Value> = vitals
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value, "id": format!("v6-{number}-{name}")}))
        .collect();
    json!({
        "v": 1, "session": format!("{number:016x}"), "view": format!("{number:016x}"), "page": page,
        "device": device, "navigation": "navigate", "sequence": 0, "sample_rate": rate,
        "started": true, "vitals": vitals,
        "resources": [{"type": "script", "count": 3, "bytes": 90_000, "opaque": 0, "duration_ms": 5}]
    })
}

fn answer(probe: &Probe, path: &str) -> Result<Value> {
    let response = probe.get(path, &[])?;
    ensure!(response.status == 200, "{path}: {}", response.body);
    Ok(serde_json::from_str(&response.body)?)
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

/// The budget of a page as it is judged now.
fn budget(probe: &Probe, page: &str, name: &str) -> Result<Value> {
    let answer = answer(probe, "/api/budgets")?;
    let found = list(&answer, "budgets")
        .iter()
        .find(|one| one["page"] == page && one["budget"] == name);
    found
        .cloned()
        .with_context(|| format!("{name} of {page} is not in {answer:#}"))
}

fn becomes(probe: &Probe, page: &str, name: &str, state: &str) -> Result<Value> {
    eventually(PATIENCE, || {
        let budget = budget(probe, page, name)?;
        ensure!(budget["state"] == state, "it is not {state}: {budget:#}");
        Ok(budget)
    })
}

/// `hostprobe report budgets` with these arguments.
fn report(site: &Site, config: &Path, arguments: &[&str]) -> Command {
    let mut command = site.hostprobe("report");
    command
        .arg("budgets")
        .arg("--config")
        .arg(config)
        .args(arguments);
    command
}

fn run(mut command: Command) -> Result<(i32, String, String)> {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((
        status.code().context("it was killed")?,
        text(stdout),
        text(stderr),
    ))
}

/// Each value as often as its page load stands for; the one at that place of the order.
fn quantile(values: &[(f64, f64)], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let whole: f64 = values.iter().map(|(_, rate)| 1.0 / rate).sum();
    let mut not_above = 0.0;
    for (value, rate) in &values {
        not_above += 1.0 / rate;
        if not_above >= whole * part - 1e-9 {
            return *value;
        }
    }
    f64::NAN
}

fn quantiles_are_those_of_what_was_sent(store: &str) -> Result<()> {
    let site = site()?;
    let config = Config::new().with(&format!("[store]\n{store}\nflush_ms = 10\n{INTAKE}"));
    let probe = Probe::start(&site, &config)?;
    let rates = [1.0, 0.5, 0.25];
    let mut sent: Vec<(&str, &str, f64, f64)> = Vec::new();
    for number in 0..120_u32 {
        let page = ["/cart", "/items"][number as usize % 2];
        let device = ["mobile", "desktop", "tablet"][number as usize / 2 % 3];
        let rate = rates[number as usize % 3];
        let lcp = f64::from(number * 7919 % 1009) * 7.5;
        send(&probe, &view(number, page, device, rate, &[("LCP", lcp)]))?;
        sent.push((page, device, lcp, rate));
        // The value grows while the page lives; the last one counts.
        if number % 10 == 0 {
            send(
                &probe,
                &view(number, page, device, rate, &[("LCP", lcp + 100.0)]),
            )?;
            if let Some(last) = sent.last_mut() {
                last.2 += 100.0;
            }
        }
    }
    let groups = eventually(PATIENCE, || {
        let answer = answer(&probe, "/api/vitals?by=page,device&name=LCP")?;
        ensure!(answer["source"] == "store", "{answer:#}");
        let groups = list(&answer, "vitals").to_vec();
        let samples: u64 = groups
            .iter()
            .filter_map(|one| one["samples"].as_u64())
            .sum();
        ensure!(samples == 120, "{samples} of 120 values are there");
        Ok(groups)
    })?;
    ensure!(groups.len() == 6, "{} groups", groups.len());
    for group in &groups {
        let those = sent
            .iter()
            .filter(|one| group["page"] == one.0 && group["device"] == one.1);
        let values: Vec<(f64, f64)> = those.map(|one| (one.2, one.3)).collect();
        let loads: f64 = values.iter().map(|(_, rate)| 1.0 / rate).sum();
        ensure!(group["page_loads"].as_f64() == Some(loads), "{group:#}");
        for (name, part) in [("p50", 0.5), ("p75", 0.75), ("p95", 0.95)] {
            let expected = quantile(&values, part);
            ensure!(
                group[name].as_f64() == Some(expected),
                "{name}: {expected} {group:#}"
            );
        }
        let good: f64 = values
            .iter()
            .filter(|one| one.0 <= 2_500.0)
            .map(|one| 1.0 / one.1)
            .sum();
        let part = group["good"].as_f64().context("good is no number")?;
        ensure!(
            (part - good / loads).abs() < 1e-9,
            "{good} of {loads}: {group:#}"
        );
    }
    let refused = probe.get("/api/vitals?by=pages", &[])?;
    ensure!(
        refused.status == 400 && refused.body.contains("`by`"),
        "{}",
        refused.body
    );
    probe.stop()
}

#[test]
fn quantiles_are_those_of_what_was_sent_in_sqlite() -> Result<()> {
    quantiles_are_those_of_what_was_sent("")
}

#[test]
fn quantiles_are_those_of_what_was_sent_in_postgres() -> Result<()> {
    let server: Postgres = Cluster::create()?.start()?;
    let url = server.url_over_tcp();
    quantiles_are_those_of_what_was_sent(&format!("url = \"{url}\""))?;
    server.stop()
}

/// One client sends for all users here.
const INTAKE: &str = "[vitals]\nclient_rate = 10000\nclient_burst = 10000\n";

const BUDGETS: &str = "[[vitals.budget]]\nlcp_ms = 2500\nmin_samples = 3\n\
     [[vitals.budget]]\npage = '/cart'\nlcp_ms = 1000\nmin_samples = 3\n\
     [vitals.budget.bytes]\nscript = 100000\n[vitals.budget.requests]\nscript = 2\n";

#[test]
fn beacons_break_a_budget_and_heal_it_and_a_pipeline_learns_of_it() -> Result<()> {
    let site = site()?;
    let config = Config::new().with(&format!("[store]\nflush_ms = 10\n{INTAKE}{BUDGETS}"));
    let probe = Probe::start(&site, &config)?;
    let file = probe.config_path();
    // Nothing is known yet, which is not the same as good.
    let (code, text, _) = run(report(&site, &file, &[]))?;
    ensure!(
        code == 5 && text.contains("no page that fits"),
        "{code}: {text}"
    );
    ensure!(run(report(&site, &file, &["--allow-unknown"]))?.0 == 0);
    for number in 0..4 {
        let lcp = 900.0 + 300.0 * f64::from(number);
        send(
            &probe,
            &view(number, "/cart", "mobile", 1.0, &[("LCP", lcp)]),
        )?;
        send(
            &probe,
            &view(100 + number, "/items", "mobile", 1.0, &[("LCP", lcp)]),
        )?;
    }
    let broken = becomes(&probe, "/cart", "lcp", "broken")?;
    ensure!(broken["actual"].as_f64() == Some(1_500.0), "{broken:#}");
    ensure!(
        broken["ratio"].as_f64() == Some(1.5) && broken["samples"] == 4,
        "{broken:#}"
    );
    becomes(&probe, "/items", "lcp", "ok")?;
    // Sums are kept once a minute has passed; until then the views of pages are not known.
    let ratio = |metrics: &Metrics, page: &str| {
        let labels = [("page", page), ("budget", "lcp")];
        metrics.sum("hostprobe_budget_ratio", &labels)
    };
    let metrics = probe.metrics()?;
    ensure!((ratio(&metrics, "/cart") - 1.5).abs() < 1e-9);
    ensure!((ratio(&metrics, "/items") - 0.6).abs() < 1e-9);
    let (code, text, _) = run(report(&site, &file, &[]))?;
    ensure!(code == 4, "{code}: {text}");
    let first = text.lines().nth(1).unwrap_or_default();
    ensure!(
        first.starts_with("broken") && first.contains("150 %"),
        "{text}"
    );
    let (code, xml, _) = run(report(&site, &file, &["--junit", "--page", "/cart"]))?;
    ensure!(
        code == 4 && xml.contains("failures=\"1\"") && !xml.contains("/items"),
        "{xml}"
    );
    let (code, text, _) = run(report(&site, &file, &["--json", "--page", "/items"]))?;
    let parsed: Value = serde_json::from_str(&text)?;
    ensure!(
        code == 0 && list(&parsed, "budgets").len() == 1,
        "{code}: {text}"
    );
    in_a_terminal(&site, &file)?;
    // Pages get faster.
    for number in 0..40 {
        send(
            &probe,
            &view(200 + number, "/cart", "mobile", 1.0, &[("LCP", 800.0)]),
        )?;
    }
    becomes(&probe, "/cart", "lcp", "ok")?;
    let log = probe.log();
    ensure!(
        log.contains("a budget is broken") && log.contains("a budget is kept again"),
        "{log}"
    );
    // The probe takes its directory along.
    let kept = tempfile::TempDir::new()?;
    let copy = kept.path().join("hostprobe.toml");
    std::fs::copy(&file, &copy)?;
    probe.stop()?;
    let (code, _, error) = run(report(&site, &copy, &[]))?;
    ensure!(
        code == 5 && error.contains("cannot reach hostprobe"),
        "{code}: {error}"
    );
    Ok(())
}

/// No line is longer than the terminal, and the worst one stands out.
fn in_a_terminal(site: &Site, file: &Path) -> Result<()> {
    let mut terminal = Terminal::start("report", &report(site, file, &[]), 24, 80)?;
    let screen = terminal.wait_for(&["STATE", "broken", " unknown, "])?;
    ensure!(screen.contains("150 %"), "{screen}");
    terminal.wait_ended()?;
    Ok(())
}

#[test]
fn bytes_of_page_views_and_files_of_lighthouse_s_shape_are_judged() -> Result<()> {
    let site = site()?;
    let folder = tempfile::TempDir::new()?;
    let imported = folder.path().join("budget.json");
    fs::write(
        &imported,
        r#"[{"path": "/items", "resourceSizes": [{"resourceType": "script", "budget": 50}],
            "timings": [{"metric": "speed-index", "budget": 100}]}]"#,
    )?;
    let files = format!("budget_files = ['{}']\n", imported.display());
    let config = Config::new().with(&format!("{INTAKE}{files}{BUDGETS}"));
    let probe = Probe::start(&site, &config)?;
    for number in 0..25 {
        for page in ["/cart", "/items"] {
            let number = number * 2 + u32::from(page == "/cart");
            send(&probe, &view(number, page, "mobile", 1.0, &[]))?;
        }
    }
    let bytes = becomes(&probe, "/cart", "bytes:script", "ok")?;
    ensure!(bytes["actual"].as_f64() == Some(90_000.0), "{bytes:#}");
    becomes(&probe, "/cart", "requests:script", "broken")?;
    let imported = becomes(&probe, "/items", "bytes:script", "broken")?;
    ensure!(imported["limit"].as_f64() == Some(51_200.0), "{imported:#}");
    let not_told = becomes(&probe, "/items", "speed-index", "unknown")?;
    ensure!(
        not_told["why"]
            .as_str()
            .is_some_and(|why| why.contains("speed-index"))
    );
    probe.stop()
}

#[test]
fn files_on_the_disk_are_judged_without_a_daemon() -> Result<()> {
    let site = site()?;
    let folder = tempfile::TempDir::new()?;
    let bundle = folder.path().join("app.js");
    // Nothing that compresses well.
    let random: String = (0..4_000_u64)
        .map(|n| format!("{:x};", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    fs::write(&bundle, &random)?;
    let config = folder.path().join("hostprobe.toml");
    let limit = |gzip: usize| {
        let glob = folder.path().join("*.js");
        let text = format!(
            "[[vitals.budget]]\n[[vitals.budget.files]]\nglob = '{}'\ngzip = {gzip}\nraw = 1000000\n",
            glob.display()
        );
        fs::write(&config, text)
    };
    let gzip = Command::new("gzip")
        .arg("-9cn")
        .arg(&bundle)
        .output()?
        .stdout
        .len();
    limit(gzip + gzip / 20)?;
    let (code, text, error) = run(report(&site, &config, &["--files"]))?;
    ensure!(code == 0, "{code}: {text}{error}");
    limit(gzip - gzip / 20)?;
    let (code, text, _) = run(report(&site, &config, &["--files", "--json"]))?;
    let answer: Value = serde_json::from_str(&text)?;
    ensure!(
        code == 4 && answer["broken"] == 1 && answer["ok"] == 1,
        "{code}: {text}"
    );
    let file = &answer["budgets"][0]["files"][0];
    ensure!(
        file["path"].as_str() == bundle.to_str() && file["raw"] == random.len(),
        "{text}"
    );
    fs::remove_file(&bundle)?;
    let (code, text, _) = run(report(&site, &config, &["--files"]))?;
    ensure!(
        code == 5 && text.contains("no file fits it"),
        "{code}: {text}"
    );
    fs::write(&config, "[[vitals.budget]]\nlcp_ms = 0\n")?;
    let (code, _, error) = run(report(&site, &config, &["--files"]))?;
    ensure!(
        code == 2 && error.contains("vitals.budget[0].lcp_ms"),
        "{code}: {error}"
    );
    Ok(())
}
