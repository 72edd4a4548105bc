//! The verdict under three kinds of trouble that a test makes: an app that gets no CPU, one that
//! waits for the disk, and one that waits for Postgres. Each time it must name the right cause for
//! the right service, or a person repairs the wrong thing.
#![allow(
    clippy::indexing_slicing,
    reason = "indexing a JSON value yields null where there is nothing, and never panics"
)]

use std::{
    net::SocketAddr,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use end_to_end::{
    http,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, free_address},
    process::Process,
    site::{Site, need, target_directory},
    waiting,
    web::{self, WebApp},
};
use serde_json::Value;
use tempfile::TempDir;

/// How long the trouble may take to be named: three times what the daemon looks back.
const PATIENCE: Duration = Duration::from_secs(45);

const STATES: [&str; 9] = [
    "on_cpu",
    "run_queue",
    "disk",
    "database",
    "network",
    "lock",
    "other",
    "unknown",
    "idle",
];

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// One worker of `tests/apps/slow`, on the first CPU.
fn slow_app(files: &TempDir, database: Option<&Postgres>) -> Result<WebApp> {
    let address = free_address()?;
    let gunicorn = web::module("slow", "gunicorn")?;
    let mut command = Command::new(need("taskset", "util-linux")?);
    command
        .args(["--cpu-list", "0"])
        .arg(gunicorn.get_program())
        .args(gunicorn.get_args())
        .args(["--workers", "1", "--worker-class", "sync"])
        .arg("--no-control-socket")
        .args(["--bind", &address.to_string(), "app:app"])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DISK_DIRECTORY", files.path());
    if let Some(directory) = gunicorn.get_current_dir() {
        command.current_dir(directory);
    }
    if let Some(database) = database {
        command
            .env("DATABASE_HOST", database.address().ip().to_string())
            .env("DATABASE_PORT", database.address().port().to_string());
    }
    WebApp::serve("gunicorn", address, command)
}

/// On the disk that is under test, which `/tmp` may not be.
fn files() -> Result<TempDir> {
    Ok(TempDir::with_prefix_in("verdict-", target_directory())?)
}

/// One service's verdict; its shares must add up at any time.
fn verdict(probe: &Probe, service: &str) -> Result<Value> {
    let response = probe.get("/api/verdict", &[])?;
    ensure!(response.status == 200, "{}", response.body);
    let answer: Value = serde_json::from_str(&response.body)?;
    let services = answer["services"].as_array().context("no services")?;
    for service in services {
        for shares in ["shares", "work"] {
            let share = |state: &&str| {
                service[shares][state]
                    .as_f64()
                    .context("a share is missing")
            };
            let sum = STATES.iter().map(share).sum::<Result<f64>>()?;
            let nothing = shares == "work" && sum == 0.0;
            let nothing = nothing || answer["window_seconds"] == 0.0;
            ensure!(
                nothing || (sum - 100.0).abs() < 1e-6,
                "{shares} are {sum} %: {service}"
            );
        }
    }
    let one = services.iter().find(|one| one["name"] == service);
    Ok(one
        .with_context(|| format!("{service} is not judged: {answer}"))?
        .clone())
}

/// Asks for a path again and again, until the verdict is as it should be.
fn under_load<T>(
    address: SocketAddr,
    path: &str,
    clients: usize,
    look: impl FnMut() -> Result<T>,
) -> Result<T> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // An answer that fails shows in the verdict.
                    let _ = http::get(address, path, &[]);
                }
            });
        }
        let outcome = waiting::eventually(PATIENCE, look);
        stop.store(true, Ordering::Relaxed);
        outcome
    })
}

/// The verdict names this cause, in a sentence that begins like this, and most of the work.
fn names(probe: &Probe, service: &str, cause: &str, sentence: &str) -> Result<Value> {
    let verdict = verdict(probe, service)?;
    ensure!(
        verdict["cause"] == cause,
        "{cause} is not the cause: {verdict:#}"
    );
    ensure!(verdict["slow"] == true, "{verdict:#}");
    let said = verdict["sentence"].as_str().context("no sentence")?;
    ensure!(said.starts_with(sentence), "{said}");
    Ok(verdict)
}

/// Programs that never stop computing, on the first CPU.
fn hogs(count: usize) -> Result<Vec<Process>> {
    let hog = |_| {
        let mut command = Command::new(need("taskset", "util-linux")?);
        // Ends by itself, should the test be killed: sixty seconds on a CPU are its limit.
        let forever = "ulimit -t 60; while :; do :; done";
        command.args(["--cpu-list", "0", "sh", "-c", forever]);
        Process::spawn("hog", command)
    };
    (0..count).map(hog).collect()
}

#[test]
fn an_app_that_gets_no_cpu_is_short_of_cpu() -> Result<()> {
    let site = site()?;
    let files = files()?;
    let app = slow_app(&files, None)?;
    let config = Config::new().with_payload().service("app", &[app.pid()]);
    let probe = Probe::start(&site, &config)?;
    let _hogs = hogs(4)?;
    let verdict = under_load(app.address(), "/compute", 1, || {
        names(&probe, "app", "run_queue", "app is short of CPU: ")
    })?;
    println!("{}", verdict["sentence"]);
    probe.stop()
}

#[test]
fn an_app_that_writes_past_the_cache_waits_for_the_disk() -> Result<()> {
    let site = site()?;
    let files = files()?;
    let app = slow_app(&files, None)?;
    let config = Config::new().with_payload().service("app", &[app.pid()]);
    let probe = Probe::start(&site, &config)?;
    // Others keep the disk busy, too: 64 MiB again and again.
    let mut command = Command::new("sh");
    let again = "for again in $(seq 2000); do dd if=/dev/zero of=\"$0\" bs=4M count=16 oflag=direct 2>&-; done";
    command.args(["-c", again]).arg(files.path().join("others"));
    let _others = Process::spawn("dd", command)?;
    let verdict = under_load(app.address(), "/disk", 1, || {
        names(&probe, "app", "disk", "app waits ")
    })?;
    println!("{}", verdict["sentence"]);
    ensure!(
        verdict["sentence"]
            .as_str()
            .is_some_and(|said| said.contains("% on disk")),
        "{verdict:#}"
    );
    probe.stop()
}

/// The app waits for Postgres, Postgres computes: two services, two causes.
#[test]
fn an_app_with_a_slow_database_waits_for_postgres() -> Result<()> {
    let site = site()?;
    let files = files()?;
    let postgres = Cluster::create()?.start()?;
    let app = slow_app(&files, Some(&postgres))?;
    let config = Config::new()
        .with_payload()
        .service("app", &[app.pid()])
        .service("database", &[postgres.pid()]);
    let probe = Probe::start(&site, &config)?;
    let verdict = under_load(app.address(), "/database", 1, || {
        names(&probe, "app", "database", "app waits ")
    })?;
    println!("{}", verdict["sentence"]);
    let (app_s, postgres_s) = under_load(app.address(), "/search", 1, || {
        let app = names(&probe, "app", "database", "app waits ")?;
        let postgres = verdict_of_busy_postgres(&probe)?;
        Ok((app, postgres))
    })?;
    println!("{}\n{}", app_s["sentence"], postgres_s["sentence"]);
    // Once nobody asks, nothing is wrong any more.
    let calm = waiting::eventually(PATIENCE, || {
        let calm = self::verdict(&probe, "app")?;
        if calm["slow"] == true {
            bail!("still {calm:#}");
        }
        Ok(calm)
    })?;
    ensure!(calm["cause"].is_null(), "{calm:#}");
    probe.stop()
}

fn verdict_of_busy_postgres(probe: &Probe) -> Result<Value> {
    let verdict = verdict(probe, "database")?;
    let cause = &verdict["cause"];
    // On a machine that has other things to do, it waits for its CPU as well.
    ensure!(
        cause == "on_cpu" || cause == "run_queue",
        "a statement that computes is not seen as that: {verdict:#}"
    );
    Ok(verdict)
}
