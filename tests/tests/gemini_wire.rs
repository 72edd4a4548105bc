//! Calls of models that nobody reports: a service with Google's own SDK, unchanged, is traced, and what the
//! probe says of its calls equals what the server at the other end has answered.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::{Command, Stdio},
};

use anyhow::{Result, anyhow, ensure};
use end_to_end::{
    exposition::Metrics,
    gemini::{Seen, Upstream, python},
    http,
    probe::{Config, Probe, free_address, nothing_lost},
    process::Process,
    site::{Site, need, repository},
    waiting::{self, PATIENCE},
    web::WebApp,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const CALLS: &str = "hostprobe_gemini_wire_calls_total";
const PROBLEMS: &str = "hostprobe_gemini_wire_problems_total";

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// The Python program of these arguments in `tests/apps/gemini`, which calls this upstream.
fn program(upstream: &Upstream, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(python()?);
    command
        .args(arguments)
        .current_dir(repository().join("tests/apps/gemini"))
        .env("GOOGLE_GEMINI_BASE_URL", upstream.url())
        .env("SSL_CERT_FILE", upstream.authority())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// The service under uvicorn: one thread, and a pool of others.
fn uvicorn(upstream: &Upstream) -> Result<WebApp> {
    let address = free_address()?;
    let port = address.port().to_string();
    let arguments = [
        "-m",
        "uvicorn",
        "service:app",
        "--no-access-log",
        "--port",
        &port,
    ];
    WebApp::serve("uvicorn", address, program(upstream, &arguments)?)
}

/// The service under gunicorn, one request at a time.
fn gunicorn(upstream: &Upstream) -> Result<WebApp> {
    let address = free_address()?;
    let bind = address.to_string();
    let arguments = [
        "-m",
        "gunicorn",
        "service:wsgi",
        "--workers",
        "1",
        "--no-control-socket",
        "--bind",
        &bind,
    ];
    WebApp::serve("gunicorn", address, program(upstream, &arguments)?)
}

fn config() -> Config {
    Config::new().with_payload()
}

const GEMINI: &str = "[gemini]\nhosts = [\"localhost\"]";

/// Asks a page for something; what it says.
fn visit(app: SocketAddr, path: &str, prompt: &Value) -> Result<String> {
    visit_as(app, path, prompt, "gemini-2.5-flash")
}

fn visit_as(app: SocketAddr, path: &str, prompt: &Value, model: &str) -> Result<String> {
    let prompt = percent_encoded(&prompt.to_string());
    let target = format!("{path}?model={model}&prompt={prompt}");
    let answer = http::get(app, &target, &[])?;
    ensure!(answer.status == 200, "{path}: {answer:?}");
    Ok(answer.body)
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn problems(metrics: &Metrics) -> BTreeMap<String, u64> {
    metrics.counts_by("problem", PROBLEMS, &[])
}

/// How the upstream's calls ended, by the words of the metric.
fn outcomes(seen: &[Seen]) -> BTreeMap<String, u64> {
    let mut outcomes = BTreeMap::new();
    for call in seen {
        let outcome = match (call.status, call.end.as_str()) {
            (200, "whole") => "ok",
            (200, "error") => "error",
            (200, _) => "incomplete",
            _ => "error",
        };
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
    }
    outcomes
}

/// Each call of a service is counted as what it was, and nothing is doubtful.
fn outcomes_agree(metrics: &Metrics, service: &str, seen: &[Seen]) -> Result<()> {
    nothing_lost(metrics)?;
    let counted = metrics.counts_by("outcome", CALLS, &[("service", service)]);
    let truth = outcomes(seen);
    ensure!(counted == truth, "{service}: {counted:?}, not {truth:?}");
    Ok(())
}

/// What people do with the SDK, and what may go wrong: every call is seen, whatever its answer is like.
#[test]
fn every_kind_of_answer_is_read_to_its_end() -> Result<()> {
    let site = site()?;
    let upstream = Upstream::start()?;
    let app = uvicorn(&upstream)?;
    let config = config().with(GEMINI).service("shop", &[app.pid()]);
    let probe = Probe::start(&site, &config)?;
    for prompt in [
        json!({"prompt": 11, "output": 7}),
        json!({"coding": "identity", "output": 3}),
        json!({"coding": "br", "output": 3}),
        json!({"coding": "deflate", "output": 3}),
        json!({"coding": "identity", "large": 300_000}),
        json!({"coding": "gzip", "noise": 200_000}),
        json!({"error": 429}),
        json!({"error": 500}),
        json!({"usage": null}),
    ] {
        visit(app.address(), "/summary", &prompt)?;
    }
    for prompt in [
        json!({"chunks": 5, "prompt": 21, "output": 50}),
        json!({"chunks": 3, "coding": "identity", "noise": 40_000}),
        json!({"chunks": 3, "coding": "gzip", "noise": 40_000, "usage": "last"}),
    ] {
        visit(app.address(), "/chat/7", &prompt)?;
    }
    visit(app.address(), "/both", &json!({"pause_ms": 50}))?;
    visit(
        app.address(),
        "/pool",
        &json!({"large": 100_000, "coding": "identity"}),
    )?;
    let seen = upstream.calls()?;
    probe.eventually(|metrics| {
        outcomes_agree(metrics, "shop", &seen)?;
        ensure!(problems(metrics).is_empty(), "{:?}", problems(metrics));
        Ok(())
    })?;
    probe.stop()
}

/// Another library, Node's own: the same.
#[test]
fn calls_of_node_are_seen() -> Result<()> {
    let site = site()?;
    let upstream = Upstream::start()?;
    let mut command = Command::new(need("node", "nodejs")?);
    command
        .arg(repository().join("tests/apps/gemini/client.mjs"))
        .args([&upstream.url(), "5"])
        .env("NODE_EXTRA_CA_CERTS", upstream.authority());
    let mut client = Process::spawn_with_input("client.mjs", command, Stdio::piped())?;
    waiting::until("Node is ready", PATIENCE, || {
        Ok(client.output()?.contains("ready").then_some(()))
    })?;
    let config = config().with(GEMINI).service("node", &[client.pid()]);
    let probe = Probe::start(&site, &config)?;
    follows_a_library(&probe)?;
    client.tell("begin\n")?;
    client.wait_success()?;
    let seen = upstream.calls()?;
    ensure!(seen.len() == 5, "{} calls", seen.len());
    probe.eventually(|metrics| outcomes_agree(metrics, "node", &seen))?;
    probe.stop()
}

/// The library is followed, so that the next call is seen.
fn follows_a_library(probe: &Probe) -> Result<()> {
    probe.eventually(|metrics| {
        let followed = metrics.count("hostprobe_tls_libraries", &[("state", "followed")]);
        ensure!(followed > 0, "no library is followed");
        Ok(())
    })
}

/// A call that was under way when the probe came is counted as one that was not seen, and the next one
/// on its connection is seen.
#[test]
fn a_call_that_began_before_is_counted_as_missed() -> Result<()> {
    let site = site()?;
    let upstream = Upstream::start()?;
    let app = uvicorn(&upstream)?;
    let directory = TempDir::new()?;
    let gate = directory.path().join("go-on");
    let prompt = json!({"chunks": 4, "wait_for": gate.display().to_string(), "noise": 50_000});
    let address = app.address();
    let visitor = std::thread::spawn(move || visit(address, "/chat/1", &prompt));
    waiting::until("the answer has begun", PATIENCE, || {
        Ok(upstream.log().contains("answering").then_some(()))
    })?;
    let config = config().with(GEMINI).service("shop", &[app.pid()]);
    let probe = Probe::start(&site, &config)?;
    follows_a_library(&probe)?;
    std::fs::write(&gate, "")?;
    let told = visitor
        .join()
        .map_err(|_| anyhow!("the visitor failed"))??;
    ensure!(told == "5", "the service was told {told}");
    visit(address, "/summary", &json!({"output": 3}))?;
    probe.eventually(|metrics| {
        let counted = metrics.counts_by("outcome", CALLS, &[("service", "shop")]);
        ensure!(counted == [("ok".to_owned(), 1)].into(), "{counted:?}");
        let problems = problems(metrics);
        let missed = [("request_not_seen".to_owned(), 1)].into();
        ensure!(problems == missed, "{problems:?}");
        Ok(())
    })?;
    probe.stop()
}

/// Without the host in the configuration these calls are like any others: of nobody's models.
#[test]
fn calls_to_other_hosts_are_only_requests() -> Result<()> {
    let site = site()?;
    let upstream = Upstream::start()?;
    let app = uvicorn(&upstream)?;
    let config = config().service("shop", &[app.pid()]);
    let probe = Probe::start(&site, &config)?;
    for _ in 0..3 {
        visit(
            app.address(),
            "/summary",
            &json!({"large": 200_000, "coding": "identity"}),
        )?;
    }
    probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        let labels = [("service", "shop"), ("http_response_status_code", "200")];
        let asked = metrics.count("http_client_request_duration_seconds_count", &labels);
        ensure!(asked == 3, "{asked} requests");
        let calls = metrics.counts_by("outcome", CALLS, &[("service", "shop")]);
        ensure!(calls.is_empty(), "{calls:?}");
        Ok(())
    })?;
    probe.stop()
}
