//! The exposition, read by those who will read it: promtool, the reference parser, Prometheus.

use std::{path::Path, process::Command, process::Stdio};

use anyhow::{Context, Result, ensure};
use end_to_end::{
    probe::{Config, Probe},
    process::{Process, run_stopped},
    prometheus::{Prometheus, Setup},
    site::{Site, need, repository},
    web,
};

const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0";

/// A probe that has something to show in every family: syscalls, errors, connections, exits.
struct Shown {
    probe: Probe,
    server: Process,
}

impl Shown {
    fn start() -> Result<Self> {
        let site = Site::new(&[env!("CARGO_BIN_EXE_workload")])?;
        let mut client = run_stopped("refused", &site.workload(&["refused", "count=3"]))?;
        let mut server = run_stopped("pair", &site.workload(&["pair", "connections=2"]))?;
        let config = Config::new()
            .with_payload()
            .service("client", &[client.pid()])
            .service("server", &[server.pid()]);
        let probe = Probe::start(&site, &config)?;
        for process in [&mut client, &mut server] {
            process.resume()?;
            for _ in 0..2 {
                process.wait_stopped()?;
                process.resume()?;
            }
        }
        client.wait_success()?;
        Ok(Self { probe, server })
    }

    fn end(mut self) -> Result<()> {
        self.server.wait_success()?;
        self.probe.stop()
    }
}

/// Runs a program that reads the text, and returns what it wrote.
fn read_by(program: &Path, arguments: &[&str], text: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    let mut reader = Process::spawn_with_input("reader", command, Stdio::piped())?;
    reader.feed(text.as_bytes())?;
    reader.wait_success()
}

#[test]
fn promtool_is_silent_about_the_text_format() -> Result<()> {
    let promtool = need("promtool", "prometheus")?;
    let shown = Shown::start()?;
    for headers in [&[][..], &[("Accept", "text/plain;version=0.0.4")][..]] {
        let answer = shown.probe.get("/metrics", headers)?;
        ensure!(answer.status == 200, "/metrics answered {}", answer.status);
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        ensure!(
            kind.starts_with("text/plain") && kind.contains("version=0.0.4"),
            "its content type is {kind:?}"
        );
        let said = read_by(&promtool, &["check", "metrics"], &answer.body)?;
        ensure!(said.is_empty(), "promtool says:\n{said}");
    }
    shown.end()
}

/// promtool reads the text format only; OpenMetrics has a reference parser of its own.
#[test]
fn the_reference_parser_accepts_openmetrics() -> Result<()> {
    let python = web::python()?;
    let script = repository().join("tests/apps/check_openmetrics.py");
    let shown = Shown::start()?;
    let answer = shown.probe.get("/metrics", &[("Accept", OPENMETRICS)])?;
    let kind = answer.header("content-type").unwrap_or_default().to_owned();
    ensure!(
        kind.starts_with("application/openmetrics-text"),
        "its content type is {kind:?}"
    );
    ensure!(answer.body.ends_with("# EOF\n"), "it has no end");
    let script = script.to_str().context("the path is not UTF-8")?;
    let families = read_by(&python, &[script], &answer.body)?;
    let families: usize = families.trim().parse()?;
    ensure!(families > 10, "there are only {families} families");
    shown.end()
}

#[test]
fn a_real_prometheus_scrapes_it() -> Result<()> {
    let shown = Shown::start()?;
    let prometheus = Prometheus::start(&Setup {
        targets: vec![shown.probe.address()],
        ..Setup::default()
    })?;
    let query = |expression: &str| -> Result<f64> {
        let samples = prometheus.query_until_data(expression)?;
        Ok(samples.first().context("no sample")?.value)
    };
    ensure!(query("up")? == 1.0, "Prometheus can't read the exposition");
    let probe_has = shown.probe.metrics()?;
    let calls = query("sum(hostprobe_syscalls_total)")?;
    let has = probe_has.sum("hostprobe_syscalls_total", &[]);
    ensure!(calls > 0.0 && calls <= has, "{calls} of {has} calls");
    let refused = query("sum(hostprobe_tcp_connect_errors_total{service=\"client\"})")?;
    ensure!(
        (refused - 7.0).abs() < f64::EPSILON,
        "{refused} of 7 refusals"
    );
    shown.end()
}
