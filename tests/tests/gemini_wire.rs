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
    gemini::{KEY, Seen, Upstream, python},
    http,
    postgres::Cluster,
    probe::{Config, Probe, SETTLING, free_address, nothing_lost},
    process::Process,
    site::{Site, need, repository},
    store::Kept,
    waiting::{self, PATIENCE, eventually},
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

/// The service under gunicorn: processes that each do one thing at a time.
fn gunicorn(upstream: &Upstream) -> Result<WebApp> {
    let address = free_address()?;
    let bind = address.to_string();
    let arguments = [
        "-m",
        "gunicorn",
        "service:wsgi",
        "--workers",
        "3",
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

/// A table of prices of the tests' own: a dollar for a million tokens of the prompt, two for the answer's.
const PRICES: &str = r#"{"version": "tests", "models": {"gemini-2.5-flash": [
    {"from": "2020-01-01", "input": 1.0, "cached": 1.0, "output": 2.0}]}}"#;

/// What of the calls of the service is in the ledger, by this condition.
struct Ledger<'a> {
    kept: Kept<'a>,
    service: &'a str,
}

impl Ledger<'_> {
    fn number(&self, of: &str, condition: &str) -> Result<u64> {
        let service = self.service;
        self.kept.number(&format!(
            "SELECT COALESCE({of}, 0) FROM gemini_calls WHERE service = '{service}' AND {condition}"
        ))
    }

    /// Calls, tokens and cost of the whole answers, and all other calls, equal what the upstream says.
    fn agrees(&self, seen: &[Seen]) -> Result<()> {
        let sum = |of: fn(&Seen) -> u64| {
            let whole = seen.iter().filter(|call| call.end == "whole");
            whole.filter(|call| call.status == 200).map(of).sum::<u64>()
        };
        let (prompt, output) = (
            sum(|call| call.prompt_tokens),
            sum(|call| call.output_tokens),
        );
        let whole = "source = 'wire' AND outcome = 'ok'";
        for (what, of, condition, expected) in [
            ("calls", "COUNT(*)", "source = 'wire'", seen.len() as u64),
            ("tokens asked", "SUM(prompt_tokens)", whole, prompt),
            ("tokens answered", "SUM(output_tokens)", whole, output),
            (
                "nanodollars",
                "SUM(cost_nano_usd)",
                whole,
                prompt * 1_000 + output * 2_000,
            ),
        ] {
            let found = self.number(of, condition)?;
            ensure!(found == expected, "{what}: {found}, not {expected}");
        }
        for (outcome, expected) in outcomes(seen) {
            let found = self.number("COUNT(*)", &format!("outcome = '{outcome}'"))?;
            ensure!(found == expected, "{outcome}: {found}, not {expected}");
        }
        Ok(())
    }

    /// So many calls were made for this route, and belong to it.
    fn has_route(&self, route: &str, calls: u64) -> Result<()> {
        let condition = format!("route = '{route}' AND feature = '{route}'");
        let found = self.number("COUNT(*)", &condition)?;
        ensure!(found == calls, "{found} calls for {route}, not {calls}");
        Ok(())
    }
}

/// A script that uses the SDK, unchanged: its calls are in the ledger with tokens, cost and route.
#[test]
fn calls_of_an_async_service_have_tokens_cost_and_route() -> Result<()> {
    let directory = TempDir::new()?;
    let file = directory.path().join("kept.db");
    let url = format!("sqlite://{}", file.display());
    let upstream = Upstream::start()?;
    let app = uvicorn(&upstream)?;
    let (probe, _prices) = probe_with_ledger(&url, "shop", app.pid())?;
    // Several on one connection, one after the other, so that each has one request in flight.
    for round in 1..=4 {
        let prompt = json!({"prompt": 10 * round, "output": round});
        visit(app.address(), "/summary", &prompt)?;
        let prompt = json!({"prompt": 100 * round, "output": 7, "chunks": 4, "noise": 9_000});
        visit(app.address(), &format!("/chat/{round}"), &prompt)?;
    }
    visit(
        app.address(),
        "/both",
        &json!({"pause_ms": 50, "output": 2}),
    )?;
    visit(app.address(), "/pool", &json!({"output": 6}))?;
    for error in [429, 500, 403] {
        visit(app.address(), "/summary", &json!({"error": error}))?;
    }
    for broken in ["truncate", "error"] {
        let prompt = json!({"break": broken, "output": 9});
        visit(app.address(), "/chat/5", &prompt)?;
    }
    let ledger = Ledger {
        kept: Kept::Sqlite(&file),
        service: "shop",
    };
    eventually(SETTLING, || {
        let seen = upstream.calls()?;
        outcomes_agree(&probe.metrics()?, "shop", &seen)?;
        ledger.agrees(&seen)?;
        let failed = seen.iter().filter(|call| call.status != 200).count() as u64;
        ledger.has_route("/summary", 4 + failed)?;
        ledger.has_route("/chat/{id}", 6)?;
        ledger.has_route("/both", 2)?;
        // In a thread of the pool: nobody can say for whom.
        ledger.has_route("/pool", 0)?;
        let unknown = "feature = 'unknown' AND route IS NULL";
        ensure!(
            ledger.number("COUNT(*)", unknown)? == 1,
            "a guess for /pool"
        );
        for status in [429, 500, 403] {
            let seen = seen.iter().filter(|call| call.status == status).count() as u64;
            let found = ledger.number("COUNT(*)", &format!("status = {status}"))?;
            ensure!(found == seen && seen > 0, "{status}: {found}, not {seen}");
        }
        Ok(())
    })?;
    probe.stop()
}

/// gunicorn's worker, blocking calls, many at once in several workers, kept in Postgres.
#[test]
fn concurrent_calls_of_a_blocking_service_are_exact_in_postgres() -> Result<()> {
    let postgres = Cluster::create()?.start()?;
    let upstream = Upstream::start()?;
    let app = gunicorn(&upstream)?;
    let (probe, _prices) = probe_with_ledger(&postgres.url_over_tcp(), "shop", app.pid())?;
    let address = app.address();
    std::thread::scope(|scope| {
        let visitors: Vec<_> = (1..=6_u64)
            .map(|visitor| {
                scope.spawn(move || -> Result<()> {
                    for round in 1..=5_u64 {
                        let (prompt, output) = (visitor * 100 + round, visitor + round);
                        let large = if round == 3 { 60_000 } else { 0 };
                        let asked = json!({"prompt": prompt, "output": output, "noise": large});
                        let told = visit(address, "/ask", &asked)?;
                        ensure!(told == output.to_string(), "the service was told {told}");
                    }
                    Ok(())
                })
            })
            .collect();
        visitors
            .into_iter()
            .try_for_each(|visitor| visitor.join().map_err(|_| anyhow!("a visitor failed"))?)
    })?;
    let seen = upstream.calls()?;
    ensure!(seen.len() == 30, "{} calls", seen.len());
    let ledger = Ledger {
        kept: Kept::Postgres(&postgres),
        service: "shop",
    };
    eventually(SETTLING, || {
        outcomes_agree(&probe.metrics()?, "shop", &seen)?;
        ledger.agrees(&seen)?;
        ledger.has_route("/ask", 30)
    })?;
    probe.stop()?;
    postgres.stop()
}

/// What people ask, what they are answered, and the key that they ask with are nowhere.
#[test]
fn neither_prompt_nor_answer_nor_key_is_kept_or_said() -> Result<()> {
    const ASKED: &str = "my-diagnosis-is-private";
    const ANSWERED: &str = "the-answer-is-private-too";
    let directory = TempDir::new()?;
    let file = directory.path().join("kept.db");
    let upstream = Upstream::start()?;
    let app = uvicorn(&upstream)?;
    let url = format!("sqlite://{}", file.display());
    let (probe, _prices) = probe_with_ledger(&url, "shop", app.pid())?;
    let prompt = json!({"text": ANSWERED, "secret": ASKED});
    visit(app.address(), "/summary", &prompt)?;
    visit(
        app.address(),
        "/chat/1",
        &json!({"secret": ASKED, "text": ANSWERED, "break": "truncate"}),
    )?;
    visit(
        app.address(),
        "/chat/1",
        &json!({"secret": ASKED, "break": "garbage"}),
    )?;
    let ledger = Ledger {
        kept: Kept::Sqlite(&file),
        service: "shop",
    };
    eventually(SETTLING, || {
        let (found, seen) = (ledger.number("COUNT(*)", "1 = 1")?, upstream.calls()?.len());
        ensure!(found == seen as u64 && seen >= 3, "{found} calls of {seen}");
        Ok(())
    })?;
    let mut said = probe.log();
    for page in ["/metrics", "/api/status", "/api/services", "/"] {
        said.push_str(&probe.get(page, &[])?.body);
    }
    probe.stop()?;
    for entry in std::fs::read_dir(directory.path())? {
        let bytes = std::fs::read(entry?.path())?;
        said.push_str(&String::from_utf8_lossy(&bytes));
    }
    for secret in [ASKED, ANSWERED, KEY] {
        ensure!(!said.contains(secret), "{secret} is there");
    }
    Ok(())
}

/// A probe that keeps what this process and its children do there, and its prices.
fn probe_with_ledger(store: &str, service: &str, pid: u32) -> Result<(Probe, TempDir)> {
    let directory = TempDir::new()?;
    let prices = directory.path().join("prices.json");
    std::fs::write(&prices, PRICES)?;
    let config = config()
        .with(&format!("[store]\nurl = \"{store}\""))
        .with(&format!("{GEMINI}\nprices = \"{}\"", prices.display()))
        .service(service, &[pid]);
    let probe = Probe::start(&site()?, &config)?;
    follows_a_library(&probe)?;
    Ok((probe, directory))
}
