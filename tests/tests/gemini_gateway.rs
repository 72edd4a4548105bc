//! Google's own SDK through the gateway, with its base URL as the only change: answers come through as they
//! are, calls are counted as the upstream told them, and a limit refuses exactly at the limit.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use end_to_end::{
    gemini::{KEY, Seen, Upstream, calls},
    postgres::Cluster,
    probe::{Config, Probe, SETTLING},
    site::Site,
    waiting::eventually,
};
use serde_json::{Value, json};

const TOKENS: &str = "gen_ai_client_token_usage_total";
const CALLS: &str = "hostprobe_gemini_calls_total";
const PROMPT: &str = "what nobody else may read";

/// A probe with a gateway before this upstream, and more lines for its `[gemini]`.
fn start(upstream: &Upstream, store: Option<&str>, limits: &str) -> Result<Probe> {
    let site = Site::new(&[env!("CARGO_BIN_EXE_workload")])?;
    // No processes are watched: it is about what goes through.
    let mut config = Config::new()
        .service("nothing", &[std::process::id()])
        .with(&format!(
            "[gemini.gateway]\nupstream = \"{}\"\nca_file = \"{}\"\n{limits}",
            upstream.url(),
            upstream.authority().display()
        ));
    if let Some(url) = store {
        config = config.with(&format!("[store]\nurl = \"{url}\""));
    }
    Probe::start(&site, &config)
}

fn gateway(probe: &Probe) -> String {
    format!("http://{}/gateway/gemini", probe.address())
}

/// The program's calls through the gateway; what each told.
fn through(probe: &Probe, lines: &[Value]) -> Result<Vec<Value>> {
    calls(&gateway(probe), lines).with_context(|| probe.log())
}

fn has(told: &Value, name: &str, expected: impl Into<Value>) -> Result<()> {
    ensure!(told.get(name) == Some(&expected.into()), "{name}: {told:#}");
    Ok(())
}

fn sum(seen: &[Seen], of: impl Fn(&Seen) -> u64) -> u64 {
    seen.iter()
        .filter(|call| call.operation != "countTokens")
        .map(of)
        .sum()
}

/// What was counted equals what the upstream told.
fn agrees(probe: &Probe, seen: &[Seen]) -> Result<()> {
    probe.eventually(|metrics| {
        let input: u64 = ["input", "cached", "tool_use"]
            .map(|kind| metrics.count(TOKENS, &[("gen_ai_token_type", kind)]))
            .iter()
            .sum();
        let output = metrics.count(TOKENS, &[("gen_ai_token_type", "output")]);
        let counted = metrics.count(CALLS, &[]);
        let (asked, told) = (
            sum(seen, |one| one.prompt_tokens),
            sum(seen, |one| one.output_tokens),
        );
        ensure!(
            counted == seen.len() as u64 && input == asked && output == told,
            "{counted} calls of {}, {input} tokens of {asked}, {output} of {told}",
            seen.len()
        );
        Ok(())
    })
}

fn nowhere(secret: &str, text: &str, what: &str) -> Result<()> {
    ensure!(!text.contains(secret), "{secret:?} is in {what}");
    Ok(())
}

/// Neither the key nor a prompt is kept or logged.
fn nothing_is_kept(probe: &Probe, directory: &Path) -> Result<()> {
    for secret in [KEY, PROMPT] {
        nowhere(secret, &probe.log(), "the log")?;
        nowhere(secret, &probe.get("/metrics", &[])?.body, "the metrics")?;
        let mut files = 0;
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            nowhere(secret, &text, &path.display().to_string())?;
            files += 1;
        }
        ensure!(files > 0, "there is no store in {}", directory.display());
    }
    Ok(())
}

#[test]
fn the_sdk_works_through_the_gateway_and_each_call_is_counted_as_it_was() -> Result<()> {
    let upstream = Upstream::start()?;
    let probe = start(&upstream, None, "")?;
    let told = through(
        &probe,
        &[
            json!({"prompt": PROMPT, "headers": {"x-hostprobe-feature": "search"}}),
            json!({"how": "stream", "prompt": {"prompt": 50, "output": 40, "chunks": 5}}),
            json!({"how": "async", "prompt": {"prompt": 60, "output": 7, "coding": "gzip"}}),
            json!({"how": "async_stream", "prompt": {"prompt": 10, "output": 20, "usage": "last"}}),
            json!({"how": "interaction"}),
        ],
    )?;
    ensure!(told.len() == 5, "{told:#?}");
    ensure!(
        told.iter().all(|one| one.get("error").is_none()),
        "{told:#?}"
    );
    for (told, prompt, output) in [(1, 50, 40), (2, 60, 7), (3, 10, 20)]
        .map(|(at, prompt, output)| (told.get(at), prompt, output))
    {
        let told = told.context("there are five")?;
        has(told, "prompt", prompt)?;
        has(told, "output", output)?;
    }
    let seen = upstream.calls()?;
    ensure!(
        seen.iter().all(|call| call.key.as_deref() == Some(KEY)),
        "{seen:#?}"
    );
    ensure!(
        seen.iter().all(|call| call
            .headers
            .keys()
            .all(|name| !name.starts_with("x-hostprobe"))),
        "our headers went on: {seen:#?}"
    );
    agrees(&probe, &seen)?;
    let metrics = probe.metrics()?;
    ensure!(metrics.count(CALLS, &[("feature", "search")]) == 1);
    ensure!(
        metrics.count(
            "hostprobe_gemini_calls_seen_total",
            &[("source", "gateway")]
        ) == 5
    );
    ensure!(
        metrics.sum("hostprobe_gemini_cost_usd_total", &[]) > 0.0,
        "it costs nothing"
    );
    let store = probe.store_path();
    nothing_is_kept(&probe, store.parent().context("no directory")?)?;
    probe.stop()
}

#[test]
fn errors_of_the_api_come_through_as_the_sdk_knows_them() -> Result<()> {
    let upstream = Upstream::start()?;
    let probe = start(&upstream, None, "")?;
    let statuses = [400, 403, 429, 500, 503];
    // The SDK tries some of them again by itself; the upstream knows how often.
    let lines: Vec<Value> = statuses
        .map(|status| json!({"prompt": {"error": status}}))
        .to_vec();
    let told = through(&probe, &lines)?;
    for (told, status) in told.iter().zip(statuses) {
        has(told, "code", status)?;
        has(
            told,
            "error",
            if status < 500 {
                "ClientError"
            } else {
                "ServerError"
            },
        )?;
    }
    let broken = through(
        &probe,
        &[json!({"how": "stream", "prompt": {"break": "truncate"}})],
    )?;
    let seen = upstream.calls()?;
    ensure!(broken.len() == 1, "{broken:#?}");
    probe.eventually(|metrics| {
        for status in statuses {
            let of = seen.iter().filter(|call| call.status == status).count() as u64;
            let text = status.to_string();
            let counted = metrics.count("hostprobe_gemini_errors_total", &[("status", &text)]);
            ensure!(of > 0 && counted == of, "{status}: {counted} of {of}");
        }
        let throttled = metrics.count("hostprobe_gemini_throttled_total", &[]);
        ensure!(throttled == metrics.count("hostprobe_gemini_errors_total", &[("status", "429")]));
        let incomplete = metrics.count(CALLS, &[("outcome", "incomplete")]);
        ensure!(incomplete == 1, "{incomplete} broke off");
        Ok(())
    })?;
    probe.stop()
}

/// Many threads at once: as many calls as the limit has go out, all others are refused, and say why.
fn exactly_at_the_limit(store: Option<&str>) -> Result<()> {
    const LIMIT: usize = 7;
    let upstream = Upstream::start()?;
    let limit = format!("[[gemini.limit]]\nname = \"few\"\nper = \"month\"\ncalls = {LIMIT}");
    let probe = start(&upstream, store, &limit)?;
    let told = through(
        &probe,
        &[json!({"parallel": 4, "times": 3, "prompt": PROMPT})],
    )?;
    ensure!(told.len() == 12, "{told:#?}");
    let (refused, served): (Vec<&Value>, Vec<&Value>) =
        told.iter().partition(|one| one.get("error").is_some());
    ensure!(
        served.len() == LIMIT,
        "{} were served: {told:#?}",
        served.len()
    );
    for one in refused {
        has(one, "error", "ClientError")?;
        has(one, "code", 429)?;
        has(one, "status", "RESOURCE_EXHAUSTED")?;
        let message = one
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or_default();
        ensure!(
            message.contains("hostprobe") && message.contains("few"),
            "{one:#}"
        );
    }
    ensure!(upstream.calls()?.len() == LIMIT, "more went out");
    eventually(SETTLING, || {
        let metrics = probe.metrics()?;
        let used = metrics.sum("hostprobe_gemini_limit_used", &[("limit", "few")]);
        let refusals = metrics.count("hostprobe_gemini_refusals_total", &[("limit", "few")]);
        ensure!(
            used == LIMIT as f64 && refusals >= 5,
            "{used} used, {refusals} refused"
        );
        Ok(())
    })?;
    probe.stop()
}

#[test]
fn a_limit_refuses_exactly_at_the_limit_with_sqlite() -> Result<()> {
    exactly_at_the_limit(None)
}

#[test]
fn a_limit_refuses_exactly_at_the_limit_with_postgres() -> Result<()> {
    let postgres = Cluster::create()?.start()?;
    exactly_at_the_limit(Some(&postgres.url_over_tcp()))
}

/// A small container has no certificates: everything but the gateway works there, and that says what is missing.
#[test]
fn a_host_without_certificates_has_everything_but_the_gateway() -> Result<()> {
    let site = Site::new(&[env!("CARGO_BIN_EXE_workload")])?;
    let config = Config::new()
        .service("nothing", &[std::process::id()])
        .with_environment("SSL_CERT_FILE", "/dev/null")
        .with_environment("SSL_CERT_DIR", "/nonexistent");
    let probe = Probe::start(&site, &config)?;
    let told = through(&probe, &[json!({"prompt": "hello"})])?;
    let told = told.first().context("one call was made")?;
    has(told, "code", 502)?;
    let message = told
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    ensure!(message.contains("ca-certificates"), "{told:#}");
    ensure!(
        probe.log().contains("ca-certificates"),
        "the log does not say so"
    );
    probe.stop()
}
