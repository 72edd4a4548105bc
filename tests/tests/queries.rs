//! The statements that matter most: `/api/queries` and the findings, against Postgres' own statistics
//! and an ORM's real mistakes.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use end_to_end::{
    http,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe},
    site::Site,
    waiting::{self, PATIENCE},
    web::WebApp,
};
use serde_json::Value;
use tempfile::TempDir;

/// As in `tests/apps/library/lending.py`.
const AUTHORS: u64 = 30;
const SHELVES: u64 = 7;

/// Windows of one second; a loop is one whatever time it takes, since tests must not depend on that.
const QUICK: &str = "[queries]\nwindow_s = 1\n[n_plus_one]\nmin_ms = 0\nmax_gap_ms = 10000";

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// Authors with three books each, and a table that is long enough to be slow without an index.
fn database() -> Result<Postgres> {
    let cluster = Cluster::create()?;
    let postgres = cluster
        .with("max_parallel_workers_per_gather = 0\njit = off")?
        .start()?;
    postgres.psql(
        &postgres.over_unix(),
        &[
            "CREATE TABLE author (id integer PRIMARY KEY, name text NOT NULL)",
            "CREATE TABLE book (id integer PRIMARY KEY, author_id integer REFERENCES author, title text NOT NULL)",
            "CREATE TABLE loan (id integer PRIMARY KEY, reader integer NOT NULL, note text NOT NULL)",
            "INSERT INTO author SELECT n, 'author ' || n FROM generate_series(1, 100) n",
            "INSERT INTO book SELECT n, 1 + n % 100, 'book ' || n FROM generate_series(1, 300) n",
            "INSERT INTO loan SELECT n, n % 250000, repeat('x', 80) FROM generate_series(1, 500000) n",
            "CREATE EXTENSION pg_stat_statements",
            "VACUUM ANALYZE",
            "SELECT pg_stat_statements_reset()",
        ],
    )?;
    Ok(postgres)
}

fn library(postgres: &Postgres) -> Result<WebApp> {
    let database = postgres.address();
    WebApp::gunicorn(
        ("library", "lending:app"),
        &["--workers", "1", "--worker-class", "sync"],
        (&database.ip().to_string(), database.port()),
    )
}

fn ask(address: SocketAddr, path: &str, times: u64) -> Result<()> {
    for _ in 0..times {
        let response = http::get(address, path, &[])?;
        ensure!(response.status == 200, "{path}: {}", response.status);
    }
    Ok(())
}

fn get(probe: &Probe, path: &str) -> Result<Value> {
    let response = probe.get(path, &[])?;
    ensure!(response.status == 200, "{path}: {}", response.body);
    Ok(serde_json::from_str(&response.body)?)
}

fn list<'a>(answer: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    let list = answer.get(name).and_then(Value::as_array);
    list.with_context(|| format!("no list {name} in {answer:#}"))
}

/// The one statement whose text holds this.
fn statement<'a>(answer: &'a Value, part: &str) -> Result<&'a Value> {
    let text = |one: &Value| one.get("sql").and_then(Value::as_str).map(str::to_owned);
    let mut found = list(answer, "queries")?
        .iter()
        .filter(|one| text(one).is_some_and(|sql| sql.contains(part)));
    let first = found.next();
    ensure!(found.next().is_none(), "{part} is there twice: {answer:#}");
    first.with_context(|| format!("no {part} in {answer:#}"))
}

fn number(value: &Value, name: &str) -> Result<f64> {
    let number = value.get(name).and_then(Value::as_f64);
    number.with_context(|| format!("no number {name} in {value:#}"))
}

fn is(value: &Value, name: &str, expected: impl Into<Value>) -> Result<()> {
    let expected = expected.into();
    ensure!(
        value.get(name) == Some(&expected),
        "{name} is not {expected}: {value:#}"
    );
    Ok(())
}

/// Where a user begins: which statement, from which route, and is it an index that is missing.
#[test]
fn the_statements_that_matter_are_ranked_with_their_routes_and_what_stands_out() -> Result<()> {
    const SCANS: u64 = 40;
    const LOOK_UPS: u64 = 60;
    let site = site()?;
    let postgres = database()?;
    let app = library(&postgres)?;
    let config = Config::new()
        .with_payload()
        .with(QUICK)
        .service("web", &[app.pid()])
        .service("database", &[postgres.pid()]);
    let probe = Probe::start(&site, &config)?;
    ask(app.address(), "/unindexed/77", SCANS)?;
    ask(app.address(), "/indexed/77", LOOK_UPS)?;
    for side in ["client", "server"] {
        waiting::eventually(PATIENCE, || {
            let answer = get(&probe, &format!("/api/queries?side={side}"))?;
            let scan = statement(&answer, "where reader = ?")?;
            is(scan, "calls", SCANS)?;
            is(scan, "rows", 2 * SCANS)?;
            is(scan, "rows_per_call", 2.0)?;
            is(scan, "errors", 0)?;
            is(statement(&answer, "where id = ?")?, "calls", LOOK_UPS)
        })?;
    }

    let answer = get(&probe, "/api/queries?side=client")?;
    let first = list(&answer, "queries")?.first().context("no statement")?;
    let scan = statement(&answer, "where reader = ?")?;
    ensure!(first == scan, "the scans are not first: {first:#}");
    ensure!(number(scan, "share")? > 0.5, "{scan:#}");
    let [p50, p95, p99] = ["p50_seconds", "p95_seconds", "p99_seconds"].map(|q| number(scan, q));
    ensure!(
        p50? <= p95? && number(scan, "p95_seconds")? <= p99?,
        "{scan:#}"
    );
    let route = list(scan, "routes")?.first().context("no route")?;
    is(route, "route", "/unindexed/{id}")?;
    is(route, "calls", SCANS)?;
    let suspicion = scan.get("full_scan").and_then(|it| it.get("certainty"));
    ensure!(
        suspicion == Some(&"suspected".into()),
        "no scan is suspected: {scan:#}"
    );
    let look_up = statement(&answer, "where id = ?")?;
    is(look_up, "full_scan", Value::Null)?;
    is(scan, "trend", Value::Null)?;

    agrees_with_postgres(&probe, &postgres)?;
    probe.stop()?;
    app.stop()?;
    postgres.stop()
}

/// Postgres measures the same executions from within: the same calls and rows, and a mean that is
/// not longer.
fn agrees_with_postgres(probe: &Probe, postgres: &Postgres) -> Result<()> {
    let statistics = postgres.psql(
        &postgres.over_unix(),
        &["SELECT calls, rows, mean_exec_time / 1000 FROM pg_stat_statements WHERE query LIKE '%FROM loan WHERE reader%'"],
    )?;
    let mut numbers = statistics.split('|').map(str::parse::<f64>);
    let mut next = || {
        numbers
            .next()
            .context("no statistics")?
            .context(statistics.clone())
    };
    let (calls, rows, mean) = (next()?, next()?, next()?);
    let answer = get(probe, "/api/queries?side=server")?;
    let scan = statement(&answer, "where reader = ?")?;
    ensure!(
        number(scan, "calls")? == calls && number(scan, "rows")? == rows,
        "{statistics}: {scan:#}"
    );
    let seen = number(scan, "mean_seconds")?;
    ensure!(
        mean <= seen && seen < 1.5 * mean + 0.002,
        "Postgres measured {mean} s, seen were {seen} s"
    );
    Ok(())
}

/// The finding that saves most, on a real ORM's lazy loading; its fixed twin must be left alone.
#[test]
fn lazy_loading_is_found_with_what_it_wastes_and_its_fixed_twin_is_not() -> Result<()> {
    const TIMES: u64 = 3;
    let site = site()?;
    let postgres = database()?;
    let app = library(&postgres)?;
    let config = Config::new()
        .with_payload()
        .with(QUICK)
        .service("web", &[app.pid()]);
    let probe = Probe::start(&site, &config)?;
    ask(app.address(), "/eager/1", 20)?;
    ask(app.address(), "/lazy/1", TIMES)?;
    ask(app.address(), "/settings/1", TIMES)?;
    let findings = waiting::eventually(PATIENCE, || {
        let answer = get(&probe, "/api/n-plus-one")?;
        let findings = list(&answer, "findings")?.clone();
        let times = |one: &Value| one.get("times").and_then(Value::as_u64);
        let found: Vec<_> = findings.iter().map(times).collect();
        ensure!(found == [Some(TIMES), Some(TIMES)], "{findings:#?}");
        Ok(findings)
    })?;
    let [repeated, lazy] = findings.as_slice() else {
        bail!("not two findings: {findings:#?}");
    };
    for (finding, pattern, route, count, advice) in [
        (lazy, "n_plus_one", "/lazy/{id}", AUTHORS, "selectinload"),
        (
            repeated,
            "repeated_query",
            "/settings/{id}",
            SHELVES,
            "cache",
        ),
    ] {
        is(finding, "pattern", pattern)?;
        is(finding, "route", route)?;
        is(finding, "count", count)?;
        is(finding, "typical_count", count as f64)?;
        let said = finding.get("advice").and_then(Value::as_str);
        ensure!(
            said.is_some_and(|said| said.contains(advice)),
            "{finding:#}"
        );
        // All but one of them, without the pauses.
        let wasted = number(finding, "wasted_seconds")?;
        ensure!(
            0.0 < wasted && wasted < number(finding, "elapsed_seconds")?,
            "{finding:#}"
        );
        ensure!(
            wasted < number(finding, "total_wasted_seconds")?,
            "{finding:#}"
        );
    }
    // The statement has its finding beside its numbers; the twin's statements have none.
    let answer = get(&probe, "/api/queries?side=client")?;
    let loops = statement(&answer, "from book where ? = book.author_id")
        .or_else(|_| statement(&answer, "from book where $1 = book.author_id"))?;
    is(loops, "calls", TIMES * AUTHORS)?;
    ensure!(list(loops, "findings")?.len() == 1, "{loops:#}");
    let eager = statement(&answer, "book.author_id in (")?;
    is(eager, "calls", 20)?;
    ensure!(list(eager, "findings")?.is_empty(), "{eager:#}");
    probe.stop()?;
    app.stop()?;
    postgres.stop()
}

/// "Is that new?" A trend needs the hour before, which a restart of the daemon must not take away.
#[test]
fn the_hour_before_survives_a_restart_in_the_store() -> Result<()> {
    let site = site()?;
    let postgres = database()?;
    let app = library(&postgres)?;
    let directory = TempDir::new()?;
    let store = directory.path().join("store/hostprobe.db");
    let store = format!("[store]\nurl = \"sqlite://{}\"", store.display());
    let config = Config::new()
        .with_payload()
        .with(QUICK)
        .with(&store)
        .service("web", &[app.pid()]);
    let probe = Probe::start(&site, &config)?;
    // Ten windows make an hour that can be compared with.
    waiting::eventually(PATIENCE, || {
        ask(app.address(), "/indexed/5", 1)?;
        let answer = get(&probe, "/api/queries?window=1s")?;
        let before = answer.get("trend").context("no trend")?;
        ensure!(number(before, "observed_seconds")? >= 11.0, "{before}");
        is(before, "missing", Value::Null)
    })?;
    probe.stop()?;

    let probe = Probe::start(&site, &config)?;
    waiting::eventually(PATIENCE, || {
        ask(app.address(), "/indexed/5", 1)?;
        let answer = get(&probe, "/api/queries?window=1s&side=client")?;
        let look_up = statement(&answer, "where id = ?")?;
        let trend = look_up.get("trend").filter(|trend| trend.is_object());
        let trend = trend.with_context(|| format!("no trend: {answer:#}"))?;
        ensure!(number(trend, "calls_per_hour")? > 0.0, "{trend}");
        ensure!(number(trend, "mean_seconds")? > 0.0, "{trend}");
        ensure!(number(trend, "calls_change")? > -1.0, "{trend}");
        // More than this run can know.
        let before = answer.get("trend").context("no trend")?;
        ensure!(number(before, "observed_seconds")? >= 10.0, "{before}");
        Ok(())
    })?;
    let uptime = number(&get(&probe, "/api/status")?, "uptime_seconds")?;
    ensure!(
        uptime < 9.0,
        "the trend is this run's own, after {uptime} s"
    );
    probe.stop()?;
    app.stop()?;
    postgres.stop()
}
