//! What Postgres and PgBouncer say themselves: compared with what psql says, and with what the test
//! has done to them.

mod failures;
mod servers;
mod sessions;

use std::{
    collections::BTreeMap,
    io::{PipeWriter, Write as _},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use end_to_end::{
    exposition::Metrics,
    pgbouncer::PgBouncer,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, free_address, run_to_end},
    process::Process,
    site::{Site, need},
    waiting::{self, PATIENCE},
};
use serde_json::Value;

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

const SHOP: [(&str, &str); 1] = [("database", "shop")];

/// A database that is looked at every second.
fn database(name: &str, url: &str) -> String {
    format!("[[database]]\nname = \"{name}\"\nurl = \"{url}\"\ninterval_s = 1\n")
}

fn config(postgres: &Postgres) -> Config {
    Config::new()
        .service("server", &[postgres.pid()])
        .with(&database("shop", &postgres.url_over_tcp()))
}

/// The answer about one database.
fn asked(probe: &Probe, name: &str) -> Result<Value> {
    let response = probe.get("/api/database", &[])?;
    ensure!(response.status == 200, "{}", response.body);
    find(&serde_json::from_str(&response.body)?, name)
}

fn find(answer: &Value, name: &str) -> Result<Value> {
    let databases = answer["databases"].as_array().context("no list")?;
    let mut found = databases.iter().filter(|database| database["name"] == name);
    found
        .next()
        .cloned()
        .with_context(|| format!("{name} is not in {answer}"))
}

/// A session that does what is written to it.
fn session(arguments: &[String]) -> Result<(Process, PipeWriter)> {
    let psql = need("/usr/lib/postgresql/15/bin/psql", "postgresql-client-15")?;
    let mut command = Command::new(psql);
    command.args(["-X", "-q"]).args(arguments).arg("postgres");
    let (input, orders) = std::io::pipe()?;
    let process = Process::spawn_with_input("psql", command, Stdio::from(input))?;
    Ok((process, orders))
}

fn states(metrics: &Metrics) -> BTreeMap<String, u64> {
    metrics.counts_by("state", "hostprobe_pg_stat_activity_sessions", &SHOP)
}
