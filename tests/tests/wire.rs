//! Requests and statements: what the probe decoded from the sockets equals what Postgres itself and
//! the clients counted.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use end_to_end::{
    exposition::Metrics,
    http::Connection,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, nothing_lost},
    process::run_stopped,
    site::Site,
    web::WebApp,
};

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// Nothing lost, and nothing that the decoders were not sure of.
fn all_certain(metrics: &Metrics) -> Result<()> {
    nothing_lost(metrics)?;
    let mut problems = metrics.counts_by("problem", "hostprobe_stream_problems_total", &[]);
    problems.retain(|_, count| *count > 0);
    ensure!(problems.is_empty(), "not sure of everything: {problems:?}");
    Ok(())
}

/// Calls and rows by kind of statement, as Postgres counted them.
fn counted_by_postgres(postgres: &Postgres) -> Result<BTreeMap<String, (u64, u64)>> {
    let text = postgres.psql(
        &postgres.over_unix(),
        &[
            "SELECT split_part(query, ' ', 1), sum(calls), sum(rows) FROM pg_stat_statements \
           WHERE query ~ 'pgbench_' AND query ~ '^(SELECT abalance|UPDATE|INSERT)' GROUP BY 1",
        ],
    )?;
    text.lines()
        .map(|line| {
            let mut fields = line.split('|');
            let mut next = || fields.next().context("psql printed something else");
            Ok((next()?.to_owned(), (next()?.parse()?, next()?.parse()?)))
        })
        .collect()
}

fn statements_equal(mode: &str, connection: fn(&Postgres) -> Vec<String>) -> Result<()> {
    statements_of_cluster_equal(Cluster::create()?, mode, connection)
}

fn statements_of_cluster_equal(
    cluster: Cluster,
    mode: &str,
    connection: fn(&Postgres) -> Vec<String>,
) -> Result<()> {
    const CLIENTS: u64 = 4;
    const TRANSACTIONS: u64 = 150;
    let site = site()?;
    let postgres = cluster.start()?;
    postgres.fill()?;
    let unix = postgres.over_unix();
    postgres.psql(&unix, &["CREATE EXTENSION pg_stat_statements"])?;
    let mut command = postgres.pgbench(&connection(&postgres))?;
    let (clients, transactions) = (CLIENTS.to_string(), TRANSACTIONS.to_string());
    command.args(["-n", "-M", mode, "-c", &clients, "-t", &transactions]);
    let mut client = run_stopped("pgbench", &command)?;
    let config = Config::new()
        .with_payload()
        .service("server", &[postgres.pid()])
        .service("client", &[client.pid()]);
    let probe = Probe::start(&site, &config)?;
    client.resume()?;
    client.wait_success()?;
    let truth = counted_by_postgres(&postgres)?;
    let runs = CLIENTS * TRANSACTIONS;
    ensure!(
        truth.get("UPDATE") == Some(&(3 * runs, 3 * runs)),
        "Postgres itself counted {truth:?}"
    );
    probe.eventually(|metrics| {
        all_certain(metrics)?;
        for (operation, (calls, rows)) in &truth {
            // pgbench's and psql's own questions are SELECTs, too.
            let exact = operation != "SELECT";
            let by_operation = [
                ("service", "server"),
                ("db_namespace", "postgres"),
                ("db_operation_name", operation),
            ];
            let ok = [by_operation.as_slice(), &[("outcome", "ok")]].concat();
            let client = [
                ("service", "client"),
                ("db_system_name", "postgresql"),
                ("db_operation_name", operation),
                ("error_type", ""),
            ];
            for (name, labels, expected) in [
                ("hostprobe_postgres_statements_total", ok.as_slice(), calls),
                (
                    "hostprobe_postgres_statement_duration_seconds_count",
                    &ok,
                    calls,
                ),
                (
                    "hostprobe_postgres_statement_ttfb_seconds_count",
                    &ok,
                    calls,
                ),
                ("hostprobe_postgres_rows_total", &by_operation, rows),
                ("db_client_operation_duration_seconds_count", &client, calls),
            ] {
                let count = metrics.count(name, labels);
                ensure!(
                    if exact {
                        count == *expected
                    } else {
                        count >= *expected
                    },
                    "{name}{labels:?} is {count}; Postgres counted {expected}"
                );
            }
        }
        // Every transaction of pgbench begins and ends; neither is in Postgres' statistics when it
        // is prepared.
        for operation in ["BEGIN", "COMMIT"] {
            let labels = [("service", "client"), ("db_operation_name", operation)];
            let count = metrics.count("db_client_operation_duration_seconds_count", &labels);
            ensure!(count == runs, "{count} times {operation}, not {runs}");
        }
        Ok(())
    })?;
    probe.stop()?;
    postgres.stop()
}

#[test]
fn simple_statements_equal_postgres_own_count_over_tcp() -> Result<()> {
    statements_equal("simple", Postgres::over_tcp)
}

#[test]
fn simple_statements_equal_postgres_own_count_over_unix() -> Result<()> {
    statements_equal("simple", Postgres::over_unix)
}

#[test]
fn extended_statements_equal_postgres_own_count_over_tcp() -> Result<()> {
    statements_equal("extended", Postgres::over_tcp)
}

#[test]
fn prepared_statements_equal_postgres_own_count_over_tcp() -> Result<()> {
    statements_equal("prepared", Postgres::over_tcp)
}

#[test]
fn prepared_statements_equal_postgres_own_count_over_unix() -> Result<()> {
    statements_equal("prepared", Postgres::over_unix)
}

/// libpq asks for TLS over TCP by itself, so that a server that has it gets it.
#[test]
fn simple_statements_equal_postgres_own_count_over_tls() -> Result<()> {
    statements_of_cluster_equal(Cluster::create()?.with_tls()?, "simple", Postgres::over_tcp)
}

#[test]
fn prepared_statements_equal_postgres_own_count_over_tls() -> Result<()> {
    statements_of_cluster_equal(
        Cluster::create()?.with_tls()?,
        "prepared",
        Postgres::over_tcp,
    )
}

#[test]
fn errors_are_counted_by_sqlstate() -> Result<()> {
    const PROVOKED: [(&str, &str); 8] = [
        ("22012", "SELECT 1 / 0"),
        ("42P01", "SELECT * FROM nowhere"),
        ("42601", "SELEC 1"),
        ("23505", "INSERT INTO t VALUES (1)"),
        ("23502", "INSERT INTO t VALUES (NULL)"),
        ("22P02", "SELECT 'x'::integer"),
        ("42703", "SELECT missing FROM t"),
        ("42883", "SELECT missing(1)"),
    ];
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    let unix = postgres.over_unix();
    postgres.psql(
        &unix,
        &[
            "CREATE TABLE t (a integer PRIMARY KEY)",
            "INSERT INTO t VALUES (1)",
        ],
    )?;
    let probe = Probe::start(
        &site,
        &Config::new()
            .with_payload()
            .service("server", &[postgres.pid()]),
    )?;
    for (times, (_, statement)) in (1..).zip(PROVOKED) {
        for connection in [postgres.over_tcp(), postgres.over_unix()] {
            postgres.psql(&connection, &vec![statement; times])?;
        }
    }
    probe.eventually(|metrics| {
        all_certain(metrics)?;
        let counted = metrics.counts_by(
            "sqlstate",
            "hostprobe_postgres_errors_total",
            &[("service", "server")],
        );
        let expected: BTreeMap<String, u64> = (1..)
            .zip(PROVOKED)
            .map(|(times, (state, _))| (state.to_owned(), 2 * times))
            .collect();
        ensure!(counted == expected, "{counted:?}, not {expected:?}");
        Ok(())
    })?;
    probe.stop()?;
    postgres.stop()
}

#[test]
fn requests_are_counted_by_route_and_status() -> Result<()> {
    const CONNECTIONS: u64 = 5;
    const REQUESTS: u64 = 20;
    let site = site()?;
    let app = WebApp::start()?;
    let probe = Probe::start(
        &site,
        &Config::new().with_payload().service("web", &[app.pid()]),
    )?;
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(app.address())?;
        for item in 0..REQUESTS {
            let found = connection.get(&format!("/items/{}?color=blue", item * 50))?;
            ensure!(found.status == 200, "the app answered {}", found.status);
        }
        let missing = connection.get("/nothing/here")?;
        ensure!(missing.status == 404, "the app answered {}", missing.status);
    }
    probe.eventually(|metrics| {
        all_certain(metrics)?;
        for (route, status, expected) in [
            ("/items/{id}", "200", CONNECTIONS * REQUESTS),
            ("unmatched", "404", CONNECTIONS),
        ] {
            let labels = [
                ("service", "web"),
                ("http_request_method", "GET"),
                ("http_route", route),
                ("http_response_status_code", status),
            ];
            let count = metrics.count("http_server_request_duration_seconds_count", &labels);
            ensure!(
                count == expected,
                "{count} requests {labels:?}, not {expected}"
            );
        }
        let all = metrics.count(
            "http_server_request_duration_seconds_count",
            &[("service", "web")],
        );
        let expected = CONNECTIONS * (REQUESTS + 1);
        ensure!(all == expected, "{all} requests in all, not {expected}");
        let active = metrics.count("http_server_active_requests", &[("service", "web")]);
        ensure!(active == 0, "{active} requests are under way");
        Ok(())
    })?;
    probe.stop()?;
    app.stop()?;
    Ok(())
}
