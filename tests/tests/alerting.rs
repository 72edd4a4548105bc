//! From trouble in an app to the message that wakes somebody: the real probe, Prometheus and Alertmanager,
//! with the rules that packages install.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use end_to_end::{
    http,
    postgres::Cluster,
    probe::{Config, Probe},
    prometheus::{Alertmanager, Prometheus, Setup, Webhook, rules},
    site::Site,
    waiting::{self, PATIENCE},
    web::WebApp,
};
use serde_json::Value;
use tempfile::TempDir;

/// The alert rules, but none waits before it fires; what they ask stays as it is.
fn without_waiting(directory: &Path) -> Result<PathBuf> {
    let text = std::fs::read_to_string(rules().join("hostprobe.alerts.yml"))?;
    let text: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("for: "))
        .collect();
    let path = directory.join("hostprobe.alerts.yml");
    std::fs::write(&path, text.join("\n"))?;
    Ok(path)
}

/// Asks for a page again and again until somebody was told.
fn provoke(app: &WebApp, path: &str, status: u16, told: impl Fn() -> Vec<Value>) -> Result<Value> {
    waiting::until(&format!("{path} raises an alarm"), PATIENCE, || {
        let response = http::get(app.address(), path, &[])?;
        ensure!(
            response.status == status,
            "{path} answered {}",
            response.status
        );
        Ok(told().into_iter().next())
    })
}

#[test]
fn a_slow_query_and_a_burst_of_errors_reach_people() -> Result<()> {
    let site = Site::new(&[env!("CARGO_BIN_EXE_workload")])?;
    let postgres = Cluster::create()?.start()?;
    let database = postgres.address();
    let app = WebApp::gunicorn(
        ("slow", "app:app"),
        &["--workers", "1", "--worker-class", "sync"],
        (&database.ip().to_string(), database.port()),
    )?;
    let config = Config::new()
        .service("shop", &[app.pid()])
        .with_payload()
        .with("[sql]\nslow_ms = 100");
    let probe = Probe::start(&site, &config)?;

    let webhook = Webhook::listen()?;
    let alertmanager = Alertmanager::start(webhook.address())?;
    let directory = TempDir::new()?;
    let prometheus = Prometheus::start(&Setup {
        targets: vec![probe.address()],
        rules: vec![
            rules().join("hostprobe.recording.yml"),
            without_waiting(directory.path())?,
        ],
        alertmanager: Some(alertmanager.address()),
    })?;
    prometheus.query_until_data("instance:hostprobe_counts_from_zero:5m")?;
    for name in [
        "HostprobeSlowQueries",
        "HostprobeApiErrors",
        "HostprobeDown",
    ] {
        let early = webhook.received(name);
        ensure!(early.is_empty(), "nothing is wrong yet: {early:#?}");
    }

    let slow = provoke(&app, "/database", 200, || {
        webhook.received("HostprobeSlowQueries")
    })?;
    ensure!(
        slow["labels"]["service"] == "shop" && slow["labels"]["severity"] == "warning",
        "{slow:#}"
    );
    ensure!(slow["status"] == "firing", "{slow:#}");
    let errors = provoke(&app, "/fails", 500, || {
        webhook.received("HostprobeApiErrorsMany")
    })?;
    ensure!(
        errors["labels"]["service"] == "shop" && errors["labels"]["severity"] == "critical",
        "{errors:#}"
    );
    let runbook = errors["annotations"]["runbook_url"].as_str();
    ensure!(
        runbook == Some("docs/runbooks.md#hostprobeapierrorsmany"),
        "{errors:#}"
    );

    // The probe goes: somebody must hear of that too.
    ensure!(webhook.received("HostprobeDown").is_empty(), "it is up");
    probe.stop()?;
    waiting::until("the probe's end raises an alarm", PATIENCE, || {
        Ok((!webhook.received("HostprobeDown").is_empty()).then_some(()))
    })
}
