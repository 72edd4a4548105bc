//! Which request a statement was for: exactly where that is certain, and honestly where it is not.

use std::{net::SocketAddr, thread};

use anyhow::{Context, Result, bail, ensure};
use end_to_end::{
    exposition::Metrics,
    http,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, free_address, nothing_lost},
    site::Site,
    web::{self, WebApp},
};
use serde_json::Value;

/// Statements of `/orders/N` in `tests/apps/orders/blocking.py`: one, and one for each item.
const ITEMS: u64 = 30;

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

fn database() -> Result<Postgres> {
    let postgres = Cluster::create()?.start()?;
    postgres.psql(
        &postgres.over_unix(),
        &[
            "CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL)",
            "INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 100) n",
        ],
    )?;
    Ok(postgres)
}

/// Two workers that do one thing at a time.
fn blocking_app(host: &str, postgres: &Postgres) -> Result<WebApp> {
    WebApp::gunicorn(
        ("orders", "blocking:app"),
        &["--workers", "2", "--worker-class", "sync"],
        (host, postgres.address().port()),
    )
}

/// One thread that works for many requests at once.
fn concurrent_app(postgres: &Postgres) -> Result<WebApp> {
    let address = free_address()?;
    let mut command = web::module("orders", "uvicorn")?;
    command
        .args(["eventloop:app", "--no-access-log"])
        .args(["--host", &address.ip().to_string()])
        .args(["--port", &address.port().to_string()])
        .env("DATABASE_HOST", postgres.address().ip().to_string())
        .env("DATABASE_PORT", postgres.address().port().to_string());
    WebApp::serve("uvicorn", address, command)
}

fn ask(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<String> {
    let response = http::get(address, path, headers)?;
    ensure!(
        response.status == 200,
        "{path} answered {}: {}",
        response.status,
        response.body
    );
    Ok(response.body)
}

/// Asks from several threads, each for `requests` paths.
fn ask_at_once(
    address: SocketAddr,
    clients: u32,
    requests: u32,
    ask_one: impl Fn(u32) -> Result<()> + Sync,
) -> Result<()> {
    thread::scope(|scope| {
        let ask_one = &ask_one;
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                scope.spawn(move || {
                    (0..requests).try_for_each(|request| ask_one(client * requests + request))
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| {
            client
                .join()
                .map_err(|_| anyhow::anyhow!("a client of {address} panicked"))?
        })
    })
}

fn statements_of(metrics: &Metrics, route: &str) -> u64 {
    let labels = [("service", "web"), ("http_route", route)];
    metrics.count("hostprobe_http_db_statements_total", &labels)
}

fn attributed(metrics: &Metrics) -> u64 {
    metrics.count("hostprobe_http_db_statements_total", &[("service", "web")])
}

fn unattributed(metrics: &Metrics) -> u64 {
    metrics.count(
        "hostprobe_http_db_unattributed_statements_total",
        &[("service", "web")],
    )
}

fn sent(metrics: &Metrics) -> u64 {
    metrics.count(
        "db_client_operation_duration_seconds_count",
        &[("service", "web")],
    )
}

fn findings(probe: &Probe) -> Result<Vec<Value>> {
    let response = probe.get("/api/n-plus-one", &[])?;
    let answer: Value = serde_json::from_str(&response.body)?;
    let findings = answer.get("findings").and_then(Value::as_array);
    findings.cloned().context("no list of findings")
}

fn a_blocking_app_is_exact(host: impl Fn(&Postgres) -> String) -> Result<()> {
    const CLIENTS: u32 = 2;
    const REQUESTS: u32 = 6;
    let site = site()?;
    let postgres = database()?;
    let app = blocking_app(&host(&postgres), &postgres)?;
    let address = app.address();
    let config = Config::new().with_payload().service("web", &[app.pid()]);
    let probe = Probe::start(&site, &config)?;
    ask_at_once(address, CLIENTS, REQUESTS, |number| {
        ask(address, &format!("/orders/{number}"), &[])?;
        ask(address, &format!("/joined/{number}"), &[])?;
        ask(address, "/health", &[])?;
        Ok(())
    })
    .with_context(|| app.log())?;
    let requests = u64::from(CLIENTS * REQUESTS);
    probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        for (route, statements) in [
            ("/orders/{id}", 1 + ITEMS),
            ("/joined/{id}", 1),
            ("/health", 0),
        ] {
            let (found, expected) = (statements_of(metrics, route), requests * statements);
            ensure!(
                found == expected,
                "{found} statements of {route}, not {expected}"
            );
        }
        let other = unattributed(metrics);
        ensure!(other == 0, "{other} statements belong to no request");
        let (all, sent) = (attributed(metrics), sent(metrics));
        ensure!(all == sent, "{all} statements attributed, {sent} sent");
        // Each of them slept for 2 ms, and the client's view is not shorter.
        let labels = [("service", "web"), ("http_route", "/orders/{id}")];
        let waited = metrics.sum("hostprobe_http_db_seconds_total", &labels);
        let asked = metrics.sum("http_server_request_duration_seconds_sum", &labels);
        let slept = 0.002 * (requests * ITEMS) as f64;
        ensure!(
            slept <= waited && waited <= asked,
            "{waited} s of {asked} s are the database's, which slept for {slept} s"
        );
        let found = metrics.counts_by("fingerprint", "hostprobe_n_plus_one_total", &[]);
        ensure!(
            found.values().copied().collect::<Vec<_>>() == [requests],
            "N+1 in {found:?}, not once in each of {requests} requests"
        );
        let repeated = metrics.count("hostprobe_repeated_query_total", &[]);
        ensure!(repeated == 0, "{repeated} repeated queries");
        Ok(())
    })?;
    let findings = findings(&probe)?;
    let [finding] = findings.as_slice() else {
        bail!("not one finding: {findings:#?}");
    };
    for (key, expected) in [
        ("service", Value::from("web")),
        ("pattern", "n_plus_one".into()),
        ("method", "GET".into()),
        ("route", "/orders/{id}".into()),
        (
            "sql",
            "select name, pg_sleep(?) from items where id = ?".into(),
        ),
        ("count", ITEMS.into()),
        ("confidence", "high".into()),
        ("times", requests.into()),
    ] {
        ensure!(finding.get(key) == Some(&expected), "{key}: {finding:#}");
    }
    // The log is spared, and has the query without its values.
    let log = probe.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("N+1")).collect();
    let [line] = lines.as_slice() else {
        bail!("not one line: {lines:#?}");
    };
    for part in ["WARN", "/orders/{id}", "where id = ?", "count=30"] {
        ensure!(line.contains(part), "{part} is not in {line}");
    }
    probe.stop()?;
    app.stop()?;
    postgres.stop()
}

#[test]
fn statements_of_a_blocking_app_are_its_requests_over_unix() -> Result<()> {
    a_blocking_app_is_exact(|postgres| postgres.socket_directory().display().to_string())
}

#[test]
fn statements_of_a_blocking_app_are_its_requests_over_tcp() -> Result<()> {
    a_blocking_app_is_exact(|postgres| postgres.address().ip().to_string())
}

#[test]
fn statements_of_a_concurrent_app_are_attributed_or_honestly_not() -> Result<()> {
    const ALONE: u32 = 5;
    const CLIENTS: u32 = 5;
    const REQUESTS: u32 = 6;
    let site = site()?;
    let postgres = database()?;
    let app = concurrent_app(&postgres)?;
    let address = app.address();
    let config = Config::new().with_payload().service("web", &[app.pid()]);
    let probe = Probe::start(&site, &config)?;

    // One at a time it is certain, on a thread that works for all.
    for number in 0..ALONE {
        ask(address, &format!("/plain/{number}"), &[])?;
    }
    let alone = 3 * u64::from(ALONE);
    probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        let found = (statements_of(metrics, "/plain/{id}"), unattributed(metrics));
        ensure!(found == (alone, 0), "{found:?} one at a time, not {alone}");
        Ok(())
    })?;

    // Several at once it is not, and nothing is lost or counted twice.
    ask_at_once(address, CLIENTS, REQUESTS, |number| {
        ask(address, &format!("/plain/{number}"), &[]).map(drop)
    })?;
    let executed: u64 = ask(address, "/executed", &[])?.trim().parse()?;
    let together = 3 * u64::from(CLIENTS * REQUESTS);
    ensure!(executed == alone + together, "the app ran {executed}");
    probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        let (certain, not) = (attributed(metrics), unattributed(metrics));
        ensure!(
            certain + not == executed && sent(metrics) == executed,
            "{certain} attributed and {not} not, {} sent; the app ran {executed}",
            sent(metrics)
        );
        let reasons = metrics.counts_by(
            "reason",
            "hostprobe_http_db_unattributed_statements_total",
            &[],
        );
        ensure!(
            reasons.keys().eq(["several_requests"]) && not > together / 2,
            "{reasons:?} of {together} that ran together"
        );
        Ok(())
    })?;
    let before = unattributed(&probe.metrics()?);

    // Where the statements name their trace it is certain again.
    ask_at_once(address, CLIENTS, REQUESTS, |number| {
        let header = format!("00-{:032x}-00f067aa0ba902b7-01", number + 1);
        ask(
            address,
            &format!("/traced/{number}"),
            &[("traceparent", &header)],
        )
        .map(drop)
    })?;
    let traced = 2 * u64::from(CLIENTS * REQUESTS);
    probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        let found = statements_of(metrics, "/traced/{id}");
        ensure!(found == traced, "{found} statements by trace, not {traced}");
        let not = unattributed(metrics) - before;
        ensure!(not == 0, "{not} with a trace are not attributed");
        Ok(())
    })?;
    probe.stop()?;
    app.stop()?;
    postgres.stop()
}
