//! Every driver that people use: what the probe says of its statements equals what the driver's own
//! program says, and what Postgres itself counted. Programs and their scenarios are in
//! `tests/apps/wire`.

use anyhow::{Context, Result, ensure};
use end_to_end::{
    drivers::{Driver, Seen, Transport, statistics, statistics_equal},
    exposition::Metrics,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, nothing_lost},
    site::Site,
};

const DRIVERS: [&str; 4] = ["psycopg2", "psycopg3", "asyncpg", "sqlalchemy"];

/// The tables of every program.
const TABLES: [&str; 3] = [
    "CREATE TABLE item (id integer PRIMARY KEY, name text, price integer CHECK (price >= 0))",
    "INSERT INTO item SELECT n, 'item ' || n, n FROM generate_series(1, 100) n",
    "CREATE TABLE part (id integer PRIMARY KEY, item integer, \
     CONSTRAINT part_item FOREIGN KEY (item) REFERENCES item (id) DEFERRABLE)",
];

/// What was there first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum First {
    Probe,
    Pool,
}

fn cluster() -> Result<Postgres> {
    // The statements of the programs come from clients only: no vacuum, no parallel workers.
    let postgres = Cluster::create()?
        .with_tls()?
        .with("autovacuum = off\nmax_parallel_workers_per_gather = 0\nmax_connections = 100")?
        .start()?;
    postgres.psql(
        &postgres.over_unix(),
        &["CREATE EXTENSION pg_stat_statements"],
    )?;
    Ok(postgres)
}

/// Nothing lost, and no problem but statements whose text was said before anybody watched.
fn nothing_missing(metrics: &Metrics) -> Result<()> {
    nothing_lost(metrics)?;
    let mut problems = metrics.counts_by("problem", "hostprobe_stream_problems_total", &[]);
    problems.remove("uncertain");
    ensure!(problems.is_empty(), "not sure of everything: {problems:?}");
    Ok(())
}

fn all_drivers_are_counted(transport: Transport) -> Result<()> {
    let site = Site::new(&[env!("CARGO_BIN_EXE_workload")])?;
    let postgres = cluster()?;
    let unix = postgres.over_unix();
    let mut runs = Vec::new();
    for driver in DRIVERS {
        for first in [First::Pool, First::Probe] {
            let name = format!("{driver}-{first:?}-first").to_lowercase();
            let database = name.replace('-', "_");
            postgres.psql(&unix, &[&format!("CREATE DATABASE {database}")])?;
            postgres.psql_in(&database, &unix, &TABLES)?;
            let program = Driver::start(
                &format!("with_{driver}"),
                &name,
                &postgres,
                &database,
                transport,
            )?;
            runs.push((first, program));
        }
    }
    postgres.psql(&unix, &["SELECT pg_stat_statements_reset()"])?;
    let mut config = Config::new()
        .with_payload()
        .service("server", &[postgres.pid()]);
    for (first, program) in &mut runs {
        program.wait_started()?;
        if *first == First::Pool {
            program.open()?;
        }
        config = config.service(&program.name, &[program.pid()]);
    }
    let probe = Probe::start(&site, &config)?;
    let mut wrong = Vec::new();
    for (first, program) in &mut runs {
        if let Err(error) = one_driver(&probe, &postgres, *first, program) {
            wrong.push(format!("{}: {error:#}", program.name));
        }
    }
    ensure!(wrong.is_empty(), "{transport:?}:\n{}", wrong.join("\n"));
    probe.stop()?;
    postgres.stop()
}

fn one_driver(
    probe: &Probe,
    postgres: &Postgres,
    first: First,
    program: &mut Driver,
) -> Result<()> {
    // Who came too late for the start-up does not know the database.
    let database = match first {
        First::Probe => program.database.clone(),
        First::Pool => String::new(),
    };
    let before = Seen::of(&probe.metrics()?, &program.name, &database);
    if first == First::Probe {
        program.open()?;
    }
    let log = program.run()?;
    let expected = log.seen(first == First::Probe);
    // Postgres and the driver agree, so that either is the truth.
    let counted = statistics(postgres, &program.database)?;
    statistics_equal(&counted, &log.statistics()).context("Postgres and the driver differ")?;
    probe.eventually(|metrics| {
        nothing_missing(metrics)?;
        Seen::of(metrics, &program.name, &database)
            .since(&before)
            .equals(&expected)
    })?;
    Ok(())
}

#[test]
fn every_driver_is_counted_over_unix() -> Result<()> {
    all_drivers_are_counted(Transport::Unix)
}

#[test]
fn every_driver_is_counted_over_tcp() -> Result<()> {
    all_drivers_are_counted(Transport::Tcp)
}

#[test]
fn every_driver_is_counted_over_tls() -> Result<()> {
    all_drivers_are_counted(Transport::Tls)
}
