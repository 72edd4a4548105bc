//! Errors of browsers under the real daemon: grouped by what they have in common, whichever browser
//! and build told them, and shown as they were written by source maps.
#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value that is not there is null, and null fails the test"
)]

use std::fs;

use anyhow::{Context, Result, ensure};
use end_to_end::{
    http,
    probe::{Config, Probe},
    site::{Site, repository},
    waiting::{PATIENCE, eventually},
};
use serde_json::{Value, json};

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// A stack as each browser writes it, of a build whose file has this hash.
fn stack(browser: &str, hash: &str, line: u32) -> String {
    let file = format!("https://shop.example/js/cart-{hash}.js");
    match browser {
        "chrome" => format!(
            "TypeError: x is null\n    at sum ({file}:{line}:15)\n    at Cart.pay ({file}:{line}:3)"
        ),
        _ => format!("sum@{file}:{line}:9\npay@{file}:{line}:1\n"),
    }
}

fn error(stack: &str, count: u32) -> Value {
    json!({
        "kind": "error", "type": "TypeError", "message": "x is null", "stack": stack,
        "source": null, "line": 1, "column": 2, "count": count
    })
}

fn send(probe: &Probe, path: &str, body: &Value) -> Result<()> {
    let body = body.to_string();
    let answer = http::post(probe.address(), path, &[], &body)?;
    ensure!(
        answer.status == 204,
        "{path} {}: {}",
        answer.status,
        answer.body
    );
    Ok(())
}

fn batch(release: &str, page: &str, errors: &[Value]) -> Value {
    json!({
        "v": 1, "session": "00000000000000aa", "view": "00000000000000bb", "page": page,
        "app": "shop", "release": release, "device": "desktop", "sequence": 0, "sample_rate": 1.0,
        "started": true, "errors": errors
    })
}

/// The groups once all are there.
fn groups(probe: &Probe, query: &str, count: u64) -> Result<Vec<Value>> {
    eventually(PATIENCE, || {
        let response = probe.get(&format!("/api/browser/errors{query}"), &[])?;
        ensure!(response.status == 200, "{}", response.body);
        let answer: Value = serde_json::from_str(&response.body)?;
        let groups = answer["errors"].as_array().context("no list")?.clone();
        let sum: u64 = groups.iter().filter_map(|one| one["count"].as_u64()).sum();
        ensure!(
            sum == count,
            "{sum} of {count} errors are there: {answer:#}"
        );
        Ok(groups)
    })
}

#[test]
fn an_error_is_one_whichever_browser_and_build_tells_it() -> Result<()> {
    let site = site()?;
    let config = Config::new().with("[store]\nflush_ms = 10");
    let probe = Probe::start(&site, &config)?;
    send(
        &probe,
        "/api/metrics",
        &batch(
            "1.0",
            "/cart",
            &[error(&stack("chrome", "BX3kd92a", 10), 2)],
        ),
    )?;
    send(
        &probe,
        "/api/metrics",
        &batch(
            "1.0",
            "/cart/17",
            &[error(&stack("firefox", "BX3kd92a", 10), 1)],
        ),
    )?;
    // Another build: other lines, another name of the file.
    send(
        &probe,
        "/api/metrics",
        &batch("2.0", "/pay", &[error(&stack("chrome", "q0LLd7Zy", 99), 4)]),
    )?;
    let other =
        json!({"kind": "unhandledrejection", "type": "", "message": "user 17 is gone", "count": 1});
    send(
        &probe,
        "/api/browser/errors",
        &batch("2.0", "/pay", &[other]),
    )?;
    let all = groups(&probe, "", 8)?;
    ensure!(all.len() == 2, "{all:#?}");
    let shared = &all[0];
    ensure!(shared["count"] == 7 && shared["reports"] == 3, "{shared:#}");
    ensure!(
        shared["type"] == "TypeError" && shared["app"] == "shop",
        "{shared:#}"
    );
    let names = |name: &str| -> Vec<&str> {
        let list = shared[name].as_array().map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(|one| one["name"].as_str()).collect()
    };
    ensure!(names("releases") == ["2.0", "1.0"], "{shared:#}");
    ensure!(names("pages").len() == 3, "{shared:#}");
    let (first, last) = (shared["first_seen"].as_str(), shared["last_seen"].as_str());
    ensure!(first.is_some() && first <= last, "{shared:#}");
    ensure!(shared["sample"]["release"] == "2.0", "{shared:#}");
    let fingerprint = shared["fingerprint"].as_str().context("no fingerprint")?;
    let one = groups(
        &probe,
        &format!("?fingerprint={fingerprint}&release=1.0"),
        3,
    )?;
    ensure!(
        one.len() == 1 && one[0]["sample"]["release"] == "1.0",
        "{one:#?}"
    );
    probe.stop()
}

#[test]
fn a_stack_is_shown_as_it_was_written_and_nothing_else_of_the_disk() -> Result<()> {
    let site = site()?;
    let source = repository().join("probe-user/src/vitals/source_maps");
    let script = fs::read_to_string(source.join("shop.js"))?;
    let folder = tempfile::TempDir::new()?;
    let maps = folder.path().join("maps");
    fs::create_dir_all(maps.join("1.0/js"))?;
    fs::copy(source.join("shop.js.map"), maps.join("1.0/js/shop.js.map"))?;
    fs::copy(
        source.join("shop.js.map"),
        folder.path().join("secret.js.map"),
    )?;
    let config = Config::new().with(&format!(
        "[store]\nflush_ms = 10\n[vitals]\nsource_maps = '{}'",
        maps.display()
    ));
    let probe = Probe::start(&site, &config)?;
    // Where a browser would say that the bundle threw.
    let line = script
        .lines()
        .position(|line| line.contains("throw"))
        .context("no throw")?;
    let column = script
        .lines()
        .nth(line)
        .and_then(|line| line.find("throw"))
        .context("no throw")?;
    let (line, column) = (line + 1, column + 1);
    let thrown = |address: &str| {
        let stack =
            format!("RangeError: a line has no price\n    at o ({address}:{line}:{column})");
        json!({"kind": "error", "type": "RangeError", "message": "a line has no price",
               "stack": stack, "count": 1})
    };
    let address = "https://shop.example/js/shop.js";
    send(
        &probe,
        "/api/metrics",
        &batch("1.0", "/cart", &[thrown(address)]),
    )?;
    let shown = groups(&probe, "", 1)?;
    let original = &shown[0]["sample"]["frames"][0]["original"];
    ensure!(
        original["file"]
            .as_str()
            .is_some_and(|file| file.ends_with("total.ts")),
        "{shown:#?}"
    );
    let written = fs::read_to_string(source.join("total.ts"))?;
    let at = usize::try_from(original["line"].as_u64().context("no line")?)?;
    let expected = written.lines().nth(at - 1).context("no such line")?;
    ensure!(expected.contains("throw new RangeError"), "{expected}");
    ensure!(
        original["context"].as_str() == Some(expected),
        "{original:#}"
    );
    // A page may send any address and any release.
    for (release, address) in [
        ("..", "https://shop.example/secret.js"),
        ("1.0", "https://shop.example/../secret.js"),
        ("1.0", "https://shop.example/js/../../../secret.js"),
    ] {
        let body = batch(release, &format!("/{}", address.len()), &[thrown(address)]);
        send(&probe, "/api/metrics", &body)?;
    }
    let all = groups(&probe, "?sort=last", 4)?;
    for group in all
        .iter()
        .filter(|one| one["fingerprint"] != shown[0]["fingerprint"])
    {
        let frame = &group["sample"]["frames"][0];
        ensure!(frame["original"].is_null(), "{group:#}");
        ensure!(
            !group["sample"]["missing_maps"]
                .as_array()
                .context("no list")?
                .is_empty()
        );
    }
    probe.stop()
}

/// Whoever uses Grafana Faro points it at the probe and changes nothing else.
#[test]
fn faro_s_body_is_taken() -> Result<()> {
    let site = site()?;
    let config = Config::new().with("[store]\nflush_ms = 10");
    let probe = Probe::start(&site, &config)?;
    let body = json!({
        "meta": {"app": {"name": "shop", "version": "1.4.2"}, "session": {"id": "9XkqT3"},
                 "page": {"url": "https://shop.example/cart?user=17"}},
        "measurements": [{"type": "web-vitals", "values": {"lcp": 2712.5, "delta": 2712.5},
                          "context": {"id": "v4-17-1", "rating": "needs-improvement"}}],
        "exceptions": [{"type": "TypeError", "value": "x is null", "stacktrace": {"frames": [
            {"function": "sum", "filename": "https://shop.example/a.js", "lineno": 10, "colno": 15}]}}],
        "logs": [], "events": []
    });
    send(&probe, "/api/faro", &body)?;
    let shown = groups(&probe, "?app=shop&page=/cart", 1)?;
    ensure!(
        shown[0]["sample"]["frames"][0]["function"] == "sum",
        "{shown:#?}"
    );
    eventually(PATIENCE, || {
        let answer: Value = serde_json::from_str(&probe.get("/api/vitals?by=page", &[])?.body)?;
        let vital = &answer["vitals"][0];
        ensure!(
            vital["name"] == "LCP" && vital["p75"].as_f64() == Some(2_712.5),
            "{answer:#}"
        );
        Ok(())
    })?;
    let refused = http::post(probe.address(), "/api/faro", &[], r#"{"exceptions": 7}"#)?;
    ensure!(
        refused.status == 400 && refused.body.contains("exceptions"),
        "{}",
        refused.body
    );
    probe.stop()
}
