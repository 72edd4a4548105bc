//! The probe against strace: both watch the very same execution, so every count must be equal.
//! Without this, a whole class of calls could be missing and nobody would know.
//!
//! Nothing is excluded: the `kill` by which a program stops itself has returned before either of
//! them is attached, and `exit_group` never returns.

use std::process::Command;

use anyhow::{Context, Result};
use end_to_end::{
    http,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, nothing_lost},
    process::{Process, run_stopped},
    site::Site,
    strace::{Counts, Strace},
    web::{self, WebApp},
};

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// A process that holds still, watched by both.
struct Watched {
    probe: Probe,
    strace: Strace,
}

impl Watched {
    fn new(site: &Site, process: &Process) -> Result<Self> {
        let probe = Probe::start(site, &Config::new().service("app", &[process.pid()]))?;
        let strace = Strace::attach(process.pid())?;
        process.resume()?;
        Ok(Self { probe, strace })
    }

    /// Compares, once everything that is watched has ended.
    fn compare(self) -> Result<()> {
        let counts: Counts = self.strace.finish()?;
        self.probe.eventually(|metrics| {
            nothing_lost(metrics)?;
            counts.same_as(metrics, "app")
        })?;
        self.probe.stop()
    }
}

fn command_equals_strace(name: &str, command: &Command) -> Result<()> {
    let mut process = run_stopped(name, command)?;
    let watched = Watched::new(&site()?, &process)?;
    process.wait_success()?;
    watched.compare()
}

fn workload_equals_strace(arguments: &[&str]) -> Result<()> {
    let site = site()?;
    let mut process = run_stopped("workload", &site.workload(arguments))?;
    let watched = Watched::new(&site, &process)?;
    // Its own two gates.
    for _ in 0..2 {
        process.wait_stopped()?;
        process.resume()?;
    }
    process.wait_success()?;
    watched.compare()
}

#[test]
fn calls_equal_strace() -> Result<()> {
    workload_equals_strace(&["calls", "count=500"])
}

#[test]
fn errors_equal_strace() -> Result<()> {
    workload_equals_strace(&["errors", "count=50"])
}

#[test]
fn threads_and_children_equal_strace() -> Result<()> {
    workload_equals_strace(&["threads", "threads=3", "count=200"])
}

#[test]
fn forks_equal_strace() -> Result<()> {
    workload_equals_strace(&["forks", "children=20", "count=5"])
}

#[test]
fn started_programs_equal_strace() -> Result<()> {
    workload_equals_strace(&["programs", "children=5", "count=5"])
}

#[test]
fn a_shell_with_a_pipeline_equals_strace() -> Result<()> {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ls /proc/self/fd /nowhere 2>&1 | sort | wc -l; exit 0",
    ]);
    command_equals_strace("a pipeline", &command)
}

fn pgbench_equals_strace(
    arguments: &[&str],
    connection: fn(&Postgres) -> Vec<String>,
) -> Result<()> {
    let postgres = Cluster::create()?.start()?;
    postgres.fill()?;
    let mut command = postgres.pgbench(&connection(&postgres))?;
    command.args(["-n", "-c", "4", "-t", "200"]).args(arguments);
    command_equals_strace("pgbench", &command)?;
    postgres.stop()
}

#[test]
fn pgbench_simple_over_tcp_equals_strace() -> Result<()> {
    pgbench_equals_strace(&["-M", "simple"], Postgres::over_tcp)
}

#[test]
fn pgbench_prepared_over_tcp_equals_strace() -> Result<()> {
    pgbench_equals_strace(&["-M", "prepared"], Postgres::over_tcp)
}

#[test]
fn pgbench_simple_over_unix_equals_strace() -> Result<()> {
    pgbench_equals_strace(&["-M", "simple"], Postgres::over_unix)
}

#[test]
fn pgbench_prepared_over_unix_equals_strace() -> Result<()> {
    pgbench_equals_strace(&["-M", "prepared"], Postgres::over_unix)
}

#[test]
fn a_whole_postgres_from_start_to_end_equals_strace() -> Result<()> {
    let cluster = Cluster::create()?;
    let process = run_stopped("postgres", &cluster.command()?)?;
    let watched = Watched::new(&site()?, &process)?;
    let mut postgres = cluster.running_as(process);
    postgres.wait_ready()?;
    postgres.fill()?;
    for connection in [postgres.over_tcp(), postgres.over_unix()] {
        let mut command = postgres.pgbench(&connection)?;
        command.args(["-n", "-c", "4", "-t", "50", "-M", "prepared"]);
        end_to_end::process::run("pgbench", command)?;
    }
    postgres.stop()?;
    watched.compare()
}

#[test]
fn a_web_app_from_start_to_end_equals_strace() -> Result<()> {
    let (address, command) = web::command()?;
    let process = run_stopped("uvicorn", &command)?;
    let watched = Watched::new(&site()?, &process)?;
    let mut app = WebApp::running_as(address, process);
    app.wait_ready()?;
    for item in 0..50 {
        let answer = http::get(address, &format!("/items/{item}"), &[])?;
        anyhow::ensure!(answer.status == 200, "the app answered {}", answer.status);
    }
    app.stop().context("stopping the web app")?;
    watched.compare()
}
