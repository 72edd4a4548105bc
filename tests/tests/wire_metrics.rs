//! What is told beside requests and statements one by one: which statements take the time, what
//! connections do, who uses an app, and which trace a request belongs to.

use std::{
    collections::BTreeMap,
    io::{PipeWriter, Write as _},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use end_to_end::{
    exposition::Metrics,
    http,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, nothing_lost},
    process::Process,
    site::{Site, need},
    waiting::{self, PATIENCE},
    web::WebApp,
};

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

const SERVER: [(&str, &str); 1] = [("service", "server")];

/// Statements by fingerprint are the statements by operation.
fn fingerprints_add_up(metrics: &Metrics) -> Result<u64> {
    let all = metrics.count("hostprobe_postgres_statements_total", &SERVER);
    for (by_fingerprint, expected) in [
        ("hostprobe_postgres_fingerprint_calls_total", all),
        (
            "hostprobe_postgres_fingerprint_errors_total",
            metrics.count("hostprobe_postgres_errors_total", &SERVER),
        ),
        (
            "hostprobe_postgres_fingerprint_rows_total",
            metrics.count("hostprobe_postgres_rows_total", &SERVER),
        ),
    ] {
        let count = metrics.count(by_fingerprint, &SERVER);
        ensure!(
            count == expected,
            "{by_fingerprint}: {count}, not {expected}"
        );
    }
    Ok(all)
}

#[test]
fn the_statements_that_take_the_time_have_their_text_and_the_sum_is_that_of_all() -> Result<()> {
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    let config = Config::new()
        .with_payload()
        .service("server", &[postgres.pid()])
        .with("[sql]\ntop_fingerprints = 3");
    let probe = Probe::start(&site, &config)?;
    let mut statements: Vec<String> = (0..30).map(|n| format!("SELECT 1 AS c{n}")).collect();
    statements.push("SELECT pg_sleep(0.3)".to_owned());
    statements.extend((0..5).map(|n| format!("SELECT {n} / 0")));
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    for connection in [postgres.over_tcp(), postgres.over_unix()] {
        postgres.psql(&connection, &statements)?;
    }
    probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        let all = fingerprints_add_up(metrics)?;
        ensure!(all == 72, "{all} statements, not 72");
        let by_fingerprint = metrics.counts_by(
            "fingerprint",
            "hostprobe_postgres_fingerprint_calls_total",
            &SERVER,
        );
        ensure!(
            by_fingerprint.len() == 4 && by_fingerprint.contains_key("other"),
            "{by_fingerprint:?}"
        );
        let slow = metrics
            .matching("hostprobe_sql_fingerprint_info", &[])
            .find(|info| info.labels["db_query_text"] == "select pg_sleep(?)")
            .context("the slowest statement has no series")?;
        let fingerprint = [("fingerprint", slow.labels["fingerprint"].as_str())];
        let seconds = metrics.sum("hostprobe_postgres_fingerprint_seconds_total", &fingerprint);
        ensure!(seconds >= 0.6, "{seconds} s for two times pg_sleep(0.3)");
        let transactions =
            metrics.counts_by("outcome", "hostprobe_postgres_transactions_total", &SERVER);
        let expected =
            BTreeMap::from([("committed".to_owned(), 62), ("rolled_back".to_owned(), 10)]);
        ensure!(transactions == expected, "{transactions:?}");
        Ok(())
    })?;
    probe.stop()?;
    postgres.stop()
}

/// A session that does what is written to it.
fn session(postgres: &Postgres) -> Result<(Process, PipeWriter)> {
    let mut command = Command::new(need(
        "/usr/lib/postgresql/15/bin/psql",
        "postgresql-client-15",
    )?);
    command
        .args(["-X", "-q"])
        .args(postgres.over_unix())
        .arg("postgres");
    let (input, orders) = std::io::pipe()?;
    let process = Process::spawn_with_input("psql", command, Stdio::from(input))?;
    Ok((process, orders))
}

#[test]
fn connections_are_told_by_state_and_refusals_by_reason() -> Result<()> {
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    let config = Config::new()
        .with_payload()
        .service("server", &[postgres.pid()]);
    let probe = Probe::start(&site, &config)?;
    let states_become = |expected: &[(&str, u64)]| {
        probe.eventually(|metrics| {
            let states = metrics.counts_by("state", "hostprobe_db_connections", &SERVER);
            let expected: BTreeMap<String, u64> = expected
                .iter()
                .map(|(state, count)| ((*state).to_owned(), *count))
                .collect();
            ensure!(states == expected, "{states:?}, not {expected:?}");
            Ok(())
        })
    };
    let (_first, mut first_orders) = session(&postgres)?;
    let (mut second, mut second_orders) = session(&postgres)?;
    first_orders.write_all(b"SELECT 1;\n")?;
    second_orders.write_all(b"BEGIN; SELECT 1;\n")?;
    states_become(&[("idle", 1), ("idle_in_transaction", 1)])?;
    first_orders.write_all(b"SELECT pg_sleep(600);\n")?;
    second_orders.write_all(b"SELECT 1 / 0;\n")?;
    states_become(&[("active", 1), ("idle_in_transaction_aborted", 1)])?;
    postgres.psql(
        &postgres.over_unix(),
        &["SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%sleep(600)%' AND pid <> pg_backend_pid()"],
    )?;
    second_orders.write_all(b"\\q\n")?;
    second.wait_success()?;
    states_become(&[])?;
    // A database that is not there, three times.
    let missing = [postgres.over_unix(), vec!["-d".into(), "missing".into()]].concat();
    for _ in 0..3 {
        ensure!(postgres.psql(&missing, &["SELECT 1"]).is_err());
    }
    probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        let refused = metrics.counts_by("reason", "hostprobe_db_connection_errors_total", &SERVER);
        let expected = BTreeMap::from([("invalid_catalog_name".to_owned(), 3)]);
        ensure!(refused == expected, "{refused:?}");
        let connects = metrics.count("hostprobe_db_connect_duration_seconds_count", &SERVER);
        ensure!(connects == 3, "{connects} connects, not 3");
        let in_clear = [("service", "server"), ("encryption", "none")];
        let in_clear = metrics.count("hostprobe_db_connects_total", &in_clear);
        ensure!(in_clear == 3, "{in_clear} connects in the clear, not 3");
        let errors =
            metrics.counts_by("sqlstate_class", "hostprobe_postgres_errors_total", &SERVER);
        let expected = BTreeMap::from([
            ("data_exception".to_owned(), 1),
            ("operator_intervention".to_owned(), 1),
        ]);
        ensure!(errors == expected, "{errors:?}");
        Ok(())
    })?;
    probe.stop()?;
    postgres.stop()
}

#[test]
fn users_traces_and_configured_routes_are_told_of_a_web_app() -> Result<()> {
    const USERS: u32 = 7;
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let site = site()?;
    let app = WebApp::start()?;
    let service = |routes: &str| {
        let pid = app.pid();
        Config::new().with_payload().with(&format!(
            "[[service]]\nname = \"web\"\npids = [{pid}]\nroutes = [{routes}]"
        ))
    };
    let probe = Probe::start(&site, &service(""))?;
    let ask = |path: &str| -> Result<()> {
        for user in (1..=USERS).chain(1..=USERS) {
            let address = format!("192.0.2.{user}");
            let trace = format!("00-{TRACE}-00f067aa0ba902b7-01");
            let headers = [
                ("X-Forwarded-For", address.as_str()),
                ("traceparent", &trace),
            ];
            let answer = http::get(app.address(), path, &headers)?;
            ensure!(answer.status == 200, "the app answered {}", answer.status);
        }
        Ok(())
    };
    let requests_by_route = |expected: &[(&str, u64)]| {
        probe.eventually(|metrics| {
            let web = [("service", "web")];
            let routes = metrics.counts_by(
                "http_route",
                "http_server_request_duration_seconds_count",
                &web,
            );
            let expected: BTreeMap<String, u64> = expected
                .iter()
                .map(|(route, count)| ((*route).to_owned(), *count))
                .collect();
            ensure!(routes == expected, "{routes:?}, not {expected:?}");
            let users = metrics.count("hostprobe_active_users", &web);
            ensure!(users == u64::from(USERS), "{users} users, not {USERS}");
            Ok(())
        })
    };
    ask("/items/1")?;
    requests_by_route(&[("/items/{id}", 14)])?;
    let open_metrics = [("Accept", "application/openmetrics-text; version=1.0.0")];
    let text = probe.get("/metrics", &open_metrics)?.body;
    let exemplars = text
        .lines()
        .filter(|line| line.starts_with("http_server_request_duration_seconds_bucket"))
        .filter(|line| line.contains(&format!("# {{trace_id=\"{TRACE}\"}}")))
        .count();
    ensure!(exemplars > 0, "no bucket has an exemplar:\n{text}");
    ensure!(!text.contains("192.0.2."), "an address is exported");
    probe.reload(&service("\"/items/{number}\""))?;
    waiting::until("the probe has read its routes", PATIENCE, || {
        Ok(probe.log().contains("reloaded: ").then_some(()))
    })?;
    // Answered by the thread that was told the routes, after it was.
    probe.metrics()?;
    ask("/items/1")?;
    requests_by_route(&[("/items/{id}", 14), ("/items/{number}", 14)])?;
    probe.stop()?;
    app.stop()?;
    Ok(())
}
