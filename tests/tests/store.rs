//! The store under the real daemon: what it has seen is kept, and no fault of the store takes the
//! metrics away.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use end_to_end::{
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, run_to_end},
    process::run,
    site::Site,
    store::{Kept, sqlite},
    waiting::{PATIENCE, eventually},
};
use nix::mount;
use tempfile::TempDir;

/// What [`ask`] asks, as the probe keeps it.
const ASKED: &str = "select ?";

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// A server whose statements the probe sums up each second, and keeps there.
fn config(watched: &Postgres, store: &str) -> Config {
    Config::new()
        .with(&format!("[store]\n{store}\n[queries]\nwindow_s = 1"))
        .with_payload()
        .service("server", &[watched.pid()])
}

fn in_file(path: &Path) -> String {
    format!("url = \"sqlite://{}\"", path.display())
}

/// Has the server execute so many statements.
fn ask(watched: &Postgres, times: usize) -> Result<()> {
    let statements = vec!["SELECT 1"; times];
    watched.psql(&watched.over_unix(), &statements)?;
    Ok(())
}

/// Waits until exactly so many of them are in the store.
fn kept(kept: Kept<'_>, calls: u64) -> Result<()> {
    eventually(PATIENCE, || {
        let found = kept.calls(ASKED)?;
        ensure!(found == calls, "{found} of {calls} executions are kept");
        Ok(())
    })
}

/// Waits until `hostprobe_store_up` has this value, and sees that all else works meanwhile.
fn store_is(probe: &Probe, up: bool) -> Result<()> {
    eventually(PATIENCE, || {
        let metrics = probe.metrics()?;
        let value = metrics.count("hostprobe_store_up", &[]);
        ensure!(value == u64::from(up), "hostprobe_store_up is {value}");
        Ok(())
    })?;
    ensure!(probe.get("/readyz", &[])?.status == 200, "it is not ready");
    let status = probe.get("/api/status", &[])?.body;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let state = status
        .pointer("/store/state")
        .and_then(|state| state.as_str());
    ensure!(state == Some(if up { "up" } else { "down" }), "{status}");
    Ok(())
}

/// One line when it breaks, one when it works again: a log that a person can read.
fn said_once(probe: &Probe) -> Result<()> {
    let log = probe.log();
    for (level, words) in [("WARN", "cannot be used"), ("INFO", "works again")] {
        let lines = log.lines();
        let lines: Vec<&str> = lines
            .filter(|line| line.contains(level) && line.contains(words))
            .collect();
        ensure!(lines.len() == 1, "{level} lines: {lines:#?}");
    }
    Ok(())
}

/// A power cut, the OOM killer, an impatient operator: what was seen before is still known after.
#[test]
fn kill_9_loses_nothing_that_was_written_and_the_files_are_private() -> Result<()> {
    let site = site()?;
    let watched = Cluster::create()?.start()?;
    let folder = TempDir::new()?;
    let file = folder.path().join("state/hostprobe.db");
    let config = config(&watched, &in_file(&file));
    let probe = Probe::start(&site, &config)?;
    ask(&watched, 100)?;
    kept(Kept::Sqlite(&file), 100)?;
    let mode =
        |path: &Path| -> Result<u32> { Ok(fs::metadata(path)?.permissions().mode() & 0o777) };
    let directory = file.parent().context("it lies in a directory")?;
    ensure!(mode(directory)? == 0o700);
    for name in ["hostprobe.db", "hostprobe.db-wal", "hostprobe.db-shm"] {
        ensure!(mode(&directory.join(name))? == 0o600, "{name}");
    }
    probe.kill()?;
    let probe = Probe::start(&site, &config)?;
    kept(Kept::Sqlite(&file), 100)?;
    ask(&watched, 50)?;
    kept(Kept::Sqlite(&file), 150)?;
    // The last window is not over when it is told to stop.
    ask(&watched, 7)?;
    probe.eventually(|metrics| {
        let seen = metrics.count("hostprobe_postgres_statement_duration_seconds_count", &[]);
        ensure!(seen >= 57, "{seen} statements were seen");
        Ok(())
    })?;
    probe.stop()?;
    kept(Kept::Sqlite(&file), 157)
}

/// A file system of a megabyte or two.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    fn mount() -> Result<Self> {
        let directory = TempDir::new()?;
        let flags = mount::MsFlags::empty();
        mount::mount(
            Some("tmpfs"),
            directory.path(),
            Some("tmpfs"),
            flags,
            Some("size=2m"),
        )?;
        Ok(Self { directory })
    }

    fn ballast(&self) -> PathBuf {
        self.directory.path().join("ballast")
    }

    /// Leaves no room.
    fn fill(&self) -> Result<()> {
        let filled = fs::write(self.ballast(), vec![1; 4 << 20]);
        ensure!(filled.is_err(), "there was room for all of it");
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = mount::umount2(self.directory.path(), mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_costs_records_and_nothing_else() -> Result<()> {
    let site = site()?;
    let watched = Cluster::create()?.start()?;
    let disk = SmallDisk::mount()?;
    let file = disk.directory.path().join("hostprobe.db");
    let store = format!("{}\nqueue = 1", in_file(&file));
    let probe = Probe::start(&site, &config(&watched, &store))?;
    ask(&watched, 10)?;
    kept(Kept::Sqlite(&file), 10)?;
    disk.fill()?;
    eventually(PATIENCE, || {
        // Until there is no room in the file for another row either.
        ask(&watched, 10)?;
        let dropped = probe.metrics()?.count(
            "hostprobe_store_dropped_total",
            &[("kind", "query_stats"), ("reason", "queue_full")],
        );
        ensure!(dropped > 0, "nothing was dropped");
        Ok(())
    })?;
    store_is(&probe, false)?;
    fs::remove_file(disk.ballast())?;
    store_is(&probe, true)?;
    said_once(&probe)?;
    let before = Kept::Sqlite(&file).calls(ASKED)?;
    ask(&watched, 10)?;
    eventually(PATIENCE, || {
        let after = Kept::Sqlite(&file).calls(ASKED)?;
        ensure!(after >= before + 10, "{before}, then {after}");
        Ok(())
    })?;
    probe.stop()
}

#[test]
fn what_postgres_misses_while_it_is_away_it_gets_later() -> Result<()> {
    let site = site()?;
    let watched = Cluster::create()?.start()?;
    let cluster = Cluster::create()?;
    let url = format!(
        "url = \"postgresql://postgres:secret@{}/postgres\"",
        cluster.address()
    );
    // It is not there yet.
    let probe = Probe::start(&site, &config(&watched, &url))?;
    store_is(&probe, false)?;
    ask(&watched, 30)?;
    let postgres = cluster.clone().start()?;
    store_is(&probe, true)?;
    kept(Kept::Postgres(&postgres), 30)?;
    said_once(&probe)?;
    postgres.stop()?;
    ask(&watched, 20)?;
    store_is(&probe, false)?;
    let postgres = cluster.start()?;
    store_is(&probe, true)?;
    kept(Kept::Postgres(&postgres), 50)?;
    let dropped = probe.metrics()?.sum("hostprobe_store_dropped_total", &[]);
    ensure!(dropped == 0.0, "{dropped} rows were dropped");
    let shown = probe.get("/api/status", &[])?.body + &probe.log();
    ensure!(shown.contains("postgres:***@"), "{shown}");
    ensure!(!shown.contains("secret"), "{shown}");
    probe.stop()
}

/// Each host keeps its own records in the one database, and both find all of them.
#[test]
fn two_daemons_share_one_postgres() -> Result<()> {
    let site = site()?;
    let watched = Cluster::create()?.start()?;
    let other = Cluster::create()?.start()?;
    let store = Cluster::create()?.start()?;
    let url = format!("url = \"{}\"", store.url_over_tcp());
    let first = Probe::start(&site, &config(&watched, &url))?;
    let second = Probe::start(&site, &config(&other, &url))?;
    for _ in 0..3 {
        ask(&watched, 20)?;
        ask(&other, 10)?;
    }
    kept(Kept::Postgres(&store), 90)?;
    store_is(&first, true)?;
    store_is(&second, true)?;
    first.stop()?;
    second.stop()
}

#[test]
fn a_read_only_file_and_a_deleted_directory_are_recovered_from() -> Result<()> {
    let site = site()?;
    let watched = Cluster::create()?.start()?;
    let folder = TempDir::new()?;
    let directory = folder.path().join("state");
    let file = directory.join("hostprobe.db");
    fs::create_dir(&directory)?;
    fs::write(&file, "")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400))?;
    let probe = Probe::start(&site, &config(&watched, &in_file(&file)))?;
    store_is(&probe, false)?;
    ask(&watched, 10)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    store_is(&probe, true)?;
    kept(Kept::Sqlite(&file), 10)?;
    said_once(&probe)?;
    fs::remove_dir_all(&directory)?;
    ask(&watched, 5)?;
    eventually(PATIENCE, || {
        ensure!(file.exists(), "the file is not there again");
        Ok(())
    })?;
    kept(Kept::Sqlite(&file), 5)?;
    store_is(&probe, true)?;
    probe.stop()
}

/// An old binary must not guess what a newer one has written, nor go on without saying so.
#[test]
fn a_newer_store_keeps_the_daemon_from_starting() -> Result<()> {
    let site = site()?;
    let folder = TempDir::new()?;
    let file = folder.path().join("hostprobe.db");
    let config = Config::new()
        .with(&format!("[store]\n{}", in_file(&file)))
        .service("test", &[std::process::id()]);
    let probe = Probe::start(&site, &config)?;
    let path = folder.path().join("hostprobe.toml");
    fs::write(&path, config.text(probe.address()))?;
    probe.stop()?;
    sqlite(&file, "INSERT INTO hostprobe_migrations VALUES (999, 0)")?;
    let mut command = site.hostprobe("run");
    command.arg("--config").arg(&path);
    command.args(["--set", "kernel.probes.payload=false"]);
    let (status, output) = run_to_end(command, PATIENCE)?;
    ensure!(status.code() == Some(1), "{status}");
    ensure!(
        output.contains("schema version 999") && output.contains("knows versions up to"),
        "{output}"
    );
    Ok(())
}

/// Before the start, an operator learns where records would go, and that they can; no password is
/// shown.
#[test]
fn check_and_config_say_where_the_store_would_be() -> Result<()> {
    let site = site()?;
    let folder = TempDir::new()?;
    let at = |verb: &str, url: &str| -> Result<String> {
        let mut command = site.hostprobe(verb);
        command.args(["--set", &format!("store.url={url}")]);
        run(verb, command)
    };
    let file = folder.path().join("a/b.db");
    let text = at("check", &format!("sqlite://{}", file.display()))?;
    ensure!(
        text.contains(&format!("sqlite://{}", file.display())) && text.contains("can be made"),
        "{text}"
    );
    ensure!(!file.exists(), "check has made it");
    let text = at("check", "postgres://probe:secret@127.0.0.1:1/x")?;
    ensure!(
        text.contains("PROBLEM") && text.contains("cannot connect") && text.contains("probe:***@"),
        "{text}"
    );
    let text = text + &at("config", "postgres://probe:secret@127.0.0.1:1/x")?;
    ensure!(!text.contains("secret"), "{text}");
    Ok(())
}
