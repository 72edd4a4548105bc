//! Discovery: with nothing configured the probe finds Postgres and the web app by itself, and
//! with a scope nothing else. The scope is a cgroup of the test's own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use end_to_end::{
    http,
    postgres::Cluster,
    probe::{Config, Probe, nothing_lost},
    process::{Process, run_stopped},
    site::Site,
    web::{self, WebApp},
};

/// A cgroup that is removed again.
struct Cgroup {
    directory: PathBuf,
    /// As in `/proc/PID/cgroup`.
    path: String,
}

impl Cgroup {
    fn new() -> Result<Self> {
        let path = format!("/hostprobe-test-{}", std::process::id());
        // The unified hierarchy where there is one, else version 1's simplest controller.
        let roots = [
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup/pids",
        ];
        for root in roots {
            if !Path::new(root).join("cgroup.procs").exists() {
                continue;
            }
            let directory = Path::new(root).join(&path[1..]);
            std::fs::create_dir(&directory)
                .with_context(|| format!("making the cgroup {}", directory.display()))?;
            return Ok(Self { directory, path });
        }
        bail!("there is no cgroup file system under /sys/fs/cgroup: mount one");
    }

    /// The same command, started inside the cgroup.
    fn command(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        inside
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(self.directory.join("cgroup.procs"))
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            if let Some(value) = value {
                inside.env(key, value);
            }
        }
        if let Some(directory) = command.get_current_dir() {
            inside.current_dir(directory);
        }
        inside
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.directory);
    }
}

#[test]
fn postgres_and_a_web_app_are_found_and_nothing_else() -> Result<()> {
    let site = Site::new(&[env!("CARGO_BIN_EXE_workload")])?;
    // Dropped last, when nothing is in it any more.
    let cgroup = Cgroup::new()?;
    let cluster = Cluster::create()?;
    let command = cgroup.command(&cluster.command()?);
    let mut postgres = cluster.running_as(Process::spawn("postgres", command)?);
    postgres.wait_ready()?;
    postgres.fill()?;
    let (address, command) = web::command()?;
    let app = Process::spawn("uvicorn", cgroup.command(&command))?;
    let mut app = WebApp::running_as(address, app);
    app.wait_ready()?;
    // Outside of the scope, and inside of it without being a server.
    let outside = WebApp::start()?;
    let bystander = cgroup.command(&site.workload(&["idle"]));
    let mut bystander = run_stopped("bystander", &bystander)?;
    bystander.resume()?;
    bystander.wait_stopped()?;

    let scope = format!(
        "[discovery]\nenabled = true\ninterval_s = 1\ncgroup = \"{}\"",
        cgroup.path
    );
    let probe = Probe::start(&site, &Config::new().with(&scope))?;
    let services = probe.eventually(|metrics| {
        let services = metrics.services();
        ensure!(services.len() >= 2, "it found only {services:?}");
        Ok(services)
    })?;
    ensure!(services.len() == 2, "it found {services:?}");
    let database = services
        .iter()
        .find(|name| name.contains("postgres"))
        .with_context(|| format!("no Postgres in {services:?}"))?;
    let web = services
        .iter()
        .find(|name| *name != database)
        .with_context(|| format!("no web app in {services:?}"))?;
    ensure!(
        web.contains("shop"),
        "a person would not call the web app {web:?}: its directory is `shop`"
    );

    let mut pgbench = postgres.pgbench(&postgres.over_tcp())?;
    pgbench.args(["-n", "-C", "-S", "-c", "1", "-t", "20"]);
    end_to_end::process::run("pgbench", pgbench)?;
    for address in [address, outside.address()] {
        for item in 0..20 {
            http::get(address, &format!("/items/{item}"), &[])?;
        }
    }
    probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        let accepts =
            |service: &str| metrics.count("hostprobe_tcp_accepts_total", &[("service", service)]);
        // pgbench asks for the scale on a connection of its own first.
        ensure!(accepts(database) >= 20, "{} at Postgres", accepts(database));
        ensure!(
            accepts(web) == 20,
            "{} accepts at the web app",
            accepts(web)
        );
        let services = metrics.services();
        ensure!(services.len() == 2, "later it found {services:?}");
        Ok(())
    })?;
    probe.stop()?;
    // Its second gate.
    bystander.resume()?;
    bystander.wait_stopped()?;
    bystander.resume()?;
    bystander.wait_success()?;
    outside.stop()?;
    app.stop()?;
    postgres.stop()
}
