//! Slow statements of real clients and a real Postgres: found, kept, shown, and without anybody's
//! data in them.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use end_to_end::{
    http,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, SETTLING, nothing_lost},
    process::{Process, run},
    site::Site,
    waiting::{self, PATIENCE},
    web::WebApp,
};
use serde_json::Value;

/// What the apps write into their statements, and beside them as parameters.
const SECRETS: [&str; 2] = ["secret-in-text", "secret-beside"];

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

fn app(postgres: &Postgres) -> Result<WebApp> {
    let database = postgres.address();
    WebApp::gunicorn(
        ("reports", "app:app"),
        &["--workers", "1", "--worker-class", "sync"],
        (&database.ip().to_string(), database.port()),
    )
}

fn ask(app: &WebApp, path: &str) -> Result<()> {
    let response = http::get(app.address(), path, &[])?;
    let status = response.status;
    ensure!(status == 200, "{path} answered {status}:\n{}", app.log());
    Ok(())
}

fn answer(probe: &Probe, query: &str) -> Result<Value> {
    let response = probe.get(&format!("/api/slow-queries{query}"), &[])?;
    ensure!(response.status == 200, "{}", response.body);
    Ok(serde_json::from_str(&response.body)?)
}

fn slow(probe: &Probe, query: &str) -> Result<Vec<Value>> {
    let answer = answer(probe, query)?;
    let slow = answer.get("slow_queries").and_then(Value::as_array);
    slow.cloned().context("no list of slow queries")
}

/// So many, once they have been stored.
fn slow_once(probe: &Probe, query: &str, number: usize) -> Result<Vec<Value>> {
    waiting::eventually(SETTLING, || {
        let slow = slow(probe, query)?;
        ensure!(slow.len() == number, "not {number} of {query}: {slow:#?}");
        Ok(slow)
    })
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn has(value: &Value, expected: &[(&str, Value)]) -> Result<()> {
    for (name, expected) in expected {
        ensure!(value.get(*name) == Some(expected), "{name}: {value:#}");
    }
    Ok(())
}

/// `hostprobe slow` of this probe, with these arguments.
fn command(site: &Site, probe: &Probe, arguments: &[&str]) -> Command {
    let mut command = site.hostprobe("slow");
    command.args(["--address", &probe.address().to_string()]);
    command.args(arguments);
    command
}

fn holds_no_secret(what: &str, bytes: &[u8]) -> Result<()> {
    for secret in SECRETS {
        let found = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        ensure!(!found, "{secret} is in {what}");
    }
    Ok(())
}

/// Every file of the store: the database, its log, whatever else.
fn no_secret_in_directory(directory: &Path) -> Result<()> {
    let mut files = 0;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        holds_no_secret(&path.display().to_string(), &std::fs::read(&path)?)?;
        files += 1;
    }
    ensure!(files > 0, "there is no store in {}", directory.display());
    Ok(())
}

/// Whoever asks which page was slow and why finds the statement with its route, from both ends, and
/// no visitor's data anywhere.
#[test]
fn a_slow_statement_is_found_from_both_ends_with_its_route_and_without_values() -> Result<()> {
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    let app = app(&postgres)?;
    let config = Config::new()
        .with_payload()
        .service("web", &[app.pid()])
        .service("db", &[postgres.pid()]);
    let probe = Probe::start(&site, &config)?;
    for path in ["/slow/1", "/quick/2", "/slow/3", "/late/4"] {
        ask(&app, path)?;
    }
    let by_web = slow_once(&probe, "?service=web", 3)?;
    let by_db = slow_once(&probe, "?service=db", 3)?;
    for (late, is_client) in [(by_web.first(), true), (by_db.first(), false)] {
        let late = late.context("there are three")?;
        has(
            late,
            &[
                ("sqlstate", "57014".into()),
                ("sql", "select pg_sleep(?), ?".into()),
                ("side", if is_client { "client" } else { "server" }.into()),
                ("text", Value::Null),
            ],
        )?;
        let route = is_client.then_some("/late/{id}");
        ensure!(text(late, "route") == route, "{late:#}");
    }
    for (slow, is_client) in [(by_web.get(1..), true), (by_db.get(1..), false)] {
        for slow in slow.context("there are three")? {
            has(
                slow,
                &[
                    ("database", "postgres".into()),
                    ("user", "postgres".into()),
                    ("application_name", "reports".into()),
                    ("rows", 1.into()),
                    ("sqlstate", Value::Null),
                    ("operation", "SELECT".into()),
                    ("sql", "select pg_sleep(?), ? as a, $1 as b".into()),
                    ("text", Value::Null),
                    ("shared_latency", false.into()),
                ],
            )?;
            let duration = slow.get("duration_seconds").and_then(Value::as_f64);
            let first_byte = slow.get("ttfb_seconds").and_then(Value::as_f64);
            let duration = duration.context("no duration")?;
            let first_byte = first_byte.context("no time to the first byte")?;
            ensure!(0.15 <= duration && first_byte <= duration, "{slow:#}");
            let (route, client) = match is_client {
                true => (Some("/slow/{id}"), None),
                false => (None, Some("127.0.0.1")),
            };
            ensure!(text(slow, "route") == route, "{slow:#}");
            ensure!(text(slow, "client") == client, "{slow:#}");
        }
    }
    // Both ends name it alike, so that one leads to the other.
    let fingerprints: BTreeSet<_> = by_web
        .iter()
        .chain(&by_db)
        .map(|slow| text(slow, "fingerprint"))
        .collect();
    ensure!(fingerprints.len() == 2, "{fingerprints:?}");

    let metrics = probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        for (service, side) in [("web", "client"), ("db", "server")] {
            let labels = [
                ("service", service),
                ("side", side),
                ("db_namespace", "postgres"),
            ];
            let count = metrics.count("hostprobe_slow_queries_total", &labels);
            ensure!(count == 3, "{count} slow statements of {service}, not 3");
        }
        Ok(probe.get("/metrics", &[])?.body)
    })?;

    // Filters, as the API and as the command has them.
    ensure!(slow(&probe, "?errors=only&side=server")?.len() == 1);
    ensure!(slow(&probe, "?route=/slow/{id}")?.len() == 2);
    ensure!(slow(&probe, "?min_ms=10000")?.is_empty());
    ensure!(slow(&probe, "?since=1h&until=0s")?.len() == 6);
    let refused = probe.get("/api/slow-queries?side=both", &[])?;
    ensure!(
        refused.status == 400 && refused.body.contains("`side`"),
        "{}",
        refused.body
    );
    let lines = run(
        "slow",
        command(&site, &probe, &["--service", "web", "--json"]),
    )?;
    let times: Vec<String> = lines
        .lines()
        .map(|line| {
            Ok(text(&serde_json::from_str(line)?, "at")
                .unwrap_or_default()
                .to_owned())
        })
        .collect::<Result<_>>()?;
    ensure!(
        times.len() == 3 && times.is_sorted(),
        "not from old to new: {lines}"
    );
    let table = run("slow", command(&site, &probe, &["--service", "web"]))?;
    for part in ["GET /slow/{id}", "[57014] select pg_sleep(?), ?", "TOOK"] {
        ensure!(table.contains(part), "{part} is not in\n{table}");
    }
    let sums = run(
        "slow",
        command(&site, &probe, &["--by-statement", "--side", "server"]),
    )?;
    ensure!(sums.lines().count() == 3, "not two statements:\n{sums}");

    // The log has each statement once for each end.
    let log = probe.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("slow query"))
        .collect();
    ensure!(lines.len() == 4, "not four lines: {lines:#?}");
    let line = lines
        .iter()
        .find(|line| line.contains("/slow/{id}"))
        .context("no route")?;
    for part in ["WARN", "service=\"web\"", "pg_sleep(?)"] {
        ensure!(line.contains(part), "{part} is not in {line}");
    }

    let store = probe.store_path();
    let directory = store
        .parent()
        .context("the store has a directory")?
        .to_owned();
    no_secret_in_directory(&directory)?;
    for (what, text) in [
        ("the log", &log),
        ("/metrics", &metrics),
        ("the table", &table),
    ] {
        holds_no_secret(what, text.as_bytes())?;
    }
    for path in ["/api/slow-queries", "/api/overview", "/api/queries"] {
        holds_no_secret(path, probe.get(path, &[])?.body.as_bytes())?;
    }
    probe.stop()?;
    app.stop()?;
    postgres.stop()
}

/// An operator who knows that reports are slow, and wants the shop's statements sooner.
#[test]
fn the_most_specific_threshold_decides() -> Result<()> {
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    postgres.psql(&postgres.over_unix(), &["CREATE DATABASE reporting"])?;
    let config = Config::new()
        .with_payload()
        .service("db", &[postgres.pid()])
        .with("slow_ms = 50")
        .with("[sql]\nslow_ms = 60000")
        .with("[[sql.database]]\nname = \"reporting\"\nslow_ms = 400");
    let probe = Probe::start(&site, &config)?;
    let in_reporting = |statement: &str| -> Result<String> {
        postgres.psql(&postgres.over_tcp(), &["\\connect reporting", statement])
    };
    postgres.psql(
        &postgres.over_tcp(),
        &["SELECT 1", "SELECT pg_sleep(0.1) AS shop"],
    )?;
    in_reporting("SELECT pg_sleep(0.1) AS report")?;
    in_reporting("SELECT pg_sleep(0.5) AS long_report")?;
    let found = slow_once(&probe, "", 2)?;
    let places: Vec<_> = found
        .iter()
        .map(|slow| (text(slow, "database"), text(slow, "sql")))
        .collect();
    let expected = [
        (Some("reporting"), Some("select pg_sleep(?) as long_report")),
        (Some("postgres"), Some("select pg_sleep(?) as shop")),
    ];
    ensure!(places == expected, "{places:?}");
    probe.stop()?;
    postgres.stop()
}

/// Whoever has allowed it finds the values in the text, but not in the log that is sent elsewhere.
#[test]
fn values_are_kept_where_that_is_asked_for() -> Result<()> {
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    let config = Config::new()
        .with_payload()
        .service("db", &[postgres.pid()])
        .with("[sql]\ncapture_literals = true");
    let probe = Probe::start(&site, &config)?;
    let statement = "SELECT pg_sleep(0.15), 'secret-in-text'";
    postgres.psql(&postgres.over_tcp(), &[statement])?;
    let found = slow_once(&probe, "", 1)?;
    let found = found.first().context("there is one")?;
    has(
        found,
        &[
            ("text", statement.into()),
            ("sql", "select pg_sleep(?), ?".into()),
        ],
    )?;
    let table = run("slow", command(&site, &probe, &[]))?;
    ensure!(table.contains(statement), "{table}");
    holds_no_secret("the log", probe.log().as_bytes())?;
    holds_no_secret("/metrics", probe.get("/metrics", &[])?.body.as_bytes())?;
    probe.stop()?;
    postgres.stop()
}

/// Whoever pages through the past sees each statement once, though new ones come all the time.
#[test]
fn pages_are_stable_while_statements_come() -> Result<()> {
    const STATEMENTS: usize = 520;
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    let config = Config::new()
        .with_payload()
        .service("db", &[postgres.pid()])
        .with("[sql]\nslow_ms = 0");
    let probe = Probe::start(&site, &config)?;
    let statements = vec!["SELECT 1 AS paged"; STATEMENTS];
    postgres.psql(&postgres.over_unix(), &statements)?;
    let all: Vec<String> = waiting::eventually(SETTLING, || {
        let found = slow(&probe, "?limit=1000&database=postgres")?;
        let ids = found
            .iter()
            .filter(|slow| text(slow, "sql") == Some("select ? as paged"));
        let ids: Vec<String> = ids
            .filter_map(|slow| Some(text(slow, "id")?.to_owned()))
            .collect();
        ensure!(ids.len() == STATEMENTS, "{} of {STATEMENTS}", ids.len());
        Ok(ids)
    })?;
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = answer(&probe, &format!("?limit=37{cursor}"))?;
        let items = page
            .get("slow_queries")
            .and_then(Value::as_array)
            .context("no list")?;
        ensure!(items.len() <= 37, "{} on a page of 37", items.len());
        let ids = items
            .iter()
            .filter(|slow| text(slow, "sql") == Some("select ? as paged"));
        paged.extend(ids.filter_map(|slow| Some(text(slow, "id")?.to_owned())));
        postgres.psql(&postgres.over_unix(), &["SELECT 2 AS another"])?;
        match text(&page, "next") {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    ensure!(
        paged == all,
        "{} on pages, {} at once",
        paged.len(),
        all.len()
    );
    probe.eventually(|metrics| {
        let count = metrics.count("hostprobe_slow_queries_total", &[("service", "db")]);
        let statements = metrics.count("hostprobe_postgres_statements_total", &[("service", "db")]);
        ensure!(
            count == statements,
            "{count} slow of {statements}, all of which are"
        );
        Ok(())
    })?;
    probe.stop()?;
    postgres.stop()
}

/// Whoever watches the terminal sees the next slow statement without asking again; without a store,
/// too.
#[test]
fn new_ones_are_followed_and_remembered_without_a_store() -> Result<()> {
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    let config = Config::new()
        .with_payload()
        .service("db", &[postgres.pid()])
        .with("[store]\nurl = \"none\"");
    let probe = Probe::start(&site, &config)?;
    let run_slow = |name: &str| {
        let statement = format!("SELECT pg_sleep(0.15) AS {name}");
        postgres.psql(&postgres.over_unix(), &[&statement])
    };
    run_slow("before")?;
    slow_once(&probe, "", 1)?;
    let source = answer(&probe, "")?;
    ensure!(text(&source, "source") == Some("memory"), "{source:#}");
    let follow = command(&site, &probe, &["--follow"]);
    let mut follow = Process::spawn("slow", follow)?;
    let shows = |follow: &mut Process, name: &str| {
        waiting::until("it is shown", PATIENCE, || {
            if let Some(status) = follow.ended()? {
                bail!("hostprobe slow ended with {status}:\n{}", follow.output()?);
            }
            Ok(follow.output()?.contains(name).then_some(()))
        })
    };
    shows(&mut follow, "before")?;
    for name in ["first", "second"] {
        run_slow(name)?;
        shows(&mut follow, name)?;
    }
    let shown = follow.output()?;
    for name in ["before", "first", "second"] {
        let times = shown.matches(name).count();
        ensure!(times == 1, "{name} is shown {times} times:\n{shown}");
    }
    ensure!(shown.contains("[local]") || shown.contains("db"), "{shown}");
    drop(follow);
    let address = probe.address();
    probe.stop()?;
    // Nobody there any more: it says so, and what to do.
    let mut command = site.hostprobe("slow");
    command.args(["--address", &address.to_string()]);
    let output = command.output()?;
    ensure!(output.status.code() == Some(1), "{}", output.status);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in [address.to_string().as_str(), "hostprobe run"] {
        ensure!(said.contains(part), "{part} is not in {said}");
    }
    postgres.stop()
}
