//! How long statements took: the probe's numbers lie between the server's own and the client's own,
//! and close to the server's.
//!
//! The server's own is `log_min_duration_statement`, in microseconds: from the moment at which it has
//! read a message to the end of its execution. What the probe says of the server lasts from the
//! return of the read that brought the request to the begin of the write that takes the answer away,
//! so it has a little more: the way from the read to the first clock, and from the second clock to
//! the write, on which Postgres writes the very line of its log that is compared here. Both are
//! microseconds per statement, whatever the statement takes. In the extended protocol the server's
//! own lacks what Sync does, too: it closes the portal and commits.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use end_to_end::{
    drivers::{Driver, Transport},
    exposition::Metrics,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, nothing_lost},
    site::Site,
};

/// How the drivers are named, and which of the server's lines belong to one execution: a statement
/// that was parsed in a round trip of its own is timed from its Bind message.
const DRIVERS: [(&str, &[&str]); 4] = [
    ("psycopg2", &["statement:"]),
    ("unprepared", &["parse", "bind", "execute"]),
    ("prepared", &["bind", "execute"]),
    ("asyncpg", &["bind", "execute"]),
];

/// How much longer the probe may say it took than the server itself.
const RELATIVE: f64 = 0.05;
const PER_STATEMENT: f64 = 20e-6;

/// What the server rounds: each of its lines to a microsecond. And its clock is the wall clock, which
/// is slewed to keep the time.
const ROUNDING: f64 = 1e-6;
const SLEWING: f64 = 0.001;

#[test]
fn durations_lie_between_the_servers_and_the_clients_own() -> Result<()> {
    let site = Site::new(&[env!("CARGO_BIN_EXE_workload")])?;
    let postgres = Cluster::create()?
        .with_tls()?
        .with(
            "log_min_duration_statement = 0\nlog_line_prefix = '%d|'\nautovacuum = off\njit = off",
        )?
        .with("max_parallel_workers_per_gather = 0")?
        .start()?;
    let unix = postgres.over_unix();
    let mut config = Config::new()
        .with_payload()
        .service("server", &[postgres.pid()]);
    let mut programs = Vec::new();
    for transport in [Transport::Unix, Transport::Tcp, Transport::Tls] {
        // Each run has databases of its own, which tell its statements apart everywhere.
        let prefix = format!("{transport:?}").to_lowercase();
        for (driver, _) in DRIVERS {
            postgres.psql(&unix, &[&format!("CREATE DATABASE {prefix}_{driver}")])?;
        }
        let mut program = Driver::start("latency", &prefix, &postgres, &prefix, transport)?;
        program.wait_started()?;
        config = config.service(&prefix, &[program.pid()]);
        programs.push(program);
    }
    let probe = Probe::start(&site, &config)?;
    let mut wrong = Vec::new();
    for program in &mut programs {
        if let Err(error) = durations_are_true(&probe, &postgres, program) {
            wrong.push(format!("{}: {error:#}", program.name));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    probe.stop()?;
    postgres.stop()
}

fn durations_are_true(probe: &Probe, postgres: &Postgres, program: &mut Driver) -> Result<()> {
    program.open()?;
    let clocks: BTreeMap<String, (f64, u32)> = program
        .finish()?
        .iter()
        .filter_map(|line| {
            let statements = u32::try_from(line["statements"].as_u64()?).ok()?;
            let clock = (line["seconds"].as_f64()?, statements);
            Some((line["driver"].as_str()?.to_owned(), clock))
        })
        .collect();
    probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        for (driver, lines) in DRIVERS {
            let clock = clocks.get(driver).context("a driver said nothing")?;
            let database = format!("{}_{driver}", program.database);
            compare(metrics, postgres, &database, lines, *clock).with_context(|| database)?;
        }
        Ok(())
    })?;
    Ok(())
}

#[allow(
    clippy::print_stdout,
    reason = "how close they are is what a reader of the run wants to know"
)]
fn compare(
    metrics: &Metrics,
    postgres: &Postgres,
    database: &str,
    lines: &[&str],
    (own, statements): (f64, u32),
) -> Result<()> {
    let (logged, logged_lines) = logged(postgres, database, lines)?;
    let labels = [("db_namespace", database), ("db_operation_name", "SELECT")];
    let [server, client] = [
        "hostprobe_postgres_statement_duration_seconds",
        "db_client_operation_duration_seconds",
    ]
    .map(|name| {
        let count = metrics.count(&format!("{name}_count"), &labels);
        (metrics.sum(&format!("{name}_sum"), &labels), count)
    });
    for (side, (_, count)) in [("server", server), ("client", client)] {
        ensure!(
            count == u64::from(statements),
            "{side}: {count}, not {statements}"
        );
    }
    ensure!(
        logged_lines == statements * u32::try_from(lines.len())?,
        "the server logged {logged_lines} lines"
    );
    let (server, client) = (server.0, client.0);
    println!(
        "{database}: {statements} statements took {logged:.6} s by the server's log, {server:.6} s on the \
         server's side (+{:.1} us each), {client:.6} s on the client's, {own:.6} s by its own clock",
        (server - logged) / f64::from(statements) * 1e6
    );
    let rounding = ROUNDING * f64::from(logged_lines) + SLEWING * logged;
    ensure!(
        logged - rounding <= server,
        "less than the server's own {logged}: {server}"
    );
    ensure!(
        server <= logged * (1.0 + RELATIVE) + PER_STATEMENT * f64::from(statements),
        "more than the server's own {logged}: {server}"
    );
    ensure!(
        server <= client,
        "the client's {client} is less than the server's {server}"
    );
    ensure!(
        client <= own,
        "more than by the client's own clock, {own}: {client}"
    );
    Ok(())
}

/// Sum and number of the server's own durations in a database, in seconds.
fn logged(postgres: &Postgres, database: &str, kinds: &[&str]) -> Result<(f64, u32)> {
    let prefix = format!("{database}|LOG:  duration: ");
    let log = postgres.log()?;
    let (mut sum, mut count) = (0.0, 0);
    for line in log.lines().filter_map(|line| line.strip_prefix(&prefix)) {
        let (milliseconds, statement) = line.split_once(" ms  ").context("a line of the log")?;
        if kinds.iter().any(|kind| statement.starts_with(kind)) {
            sum += milliseconds.parse::<f64>()? / 1e3;
            count += 1;
        }
    }
    Ok((sum, count))
}
