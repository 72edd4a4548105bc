//! A running `hostprobe`, its configuration, and what it answers.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{
    exposition::Metrics,
    http::{self, Response},
    process::Process,
    site::Site,
    waiting::{self, PATIENCE},
};

/// The daemon promises to end within this time after `SIGTERM`.
pub const SHUTDOWN: Duration = Duration::from_secs(2);

/// How long the numbers may take to become what they should be: the calls are over, so only the
/// daemon's own reading is waited for.
pub const SETTLING: Duration = Duration::from_secs(10);

/// The cause of loss that is no fault: calls that were under way when the probe came.
pub const BEGAN_UNTRACED: &str = "call_began_untraced";

/// Name of the store in the probe's own directory.
const STORE: &str = "state/hostprobe.db";

/// A configuration file in the making.
#[derive(Clone, Debug, Default)]
pub struct Config {
    text: String,
    payload: bool,
    environment: Vec<(&'static str, &'static str)>,
}

impl Config {
    /// Nothing but a log level.
    pub fn new() -> Self {
        Self {
            text: "[log]\nlevel = \"debug\"\n".into(),
            payload: false,
            environment: Vec::new(),
        }
    }

    /// Adds a service of these processes, and the children that they will have.
    #[must_use]
    pub fn service(mut self, name: &str, pids: &[u32]) -> Self {
        self.text.push_str(&format!(
            "[[service]]\nname = \"{name}\"\npids = {pids:?}\n"
        ));
        self
    }

    /// Has requests and statements decoded, too. Off unless a test is about them: the verifier of
    /// Linux 6.1 walks through that code for seconds when the machine is emulated.
    #[must_use]
    pub fn with_payload(mut self) -> Self {
        self.payload = true;
        self
    }

    /// Logs as it is deployed.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.text = self.text.replace("level = \"debug\"", "level = \"info\"");
        self
    }

    /// Gives the probe a variable of its environment.
    #[must_use]
    pub fn with_environment(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// Adds lines as they are.
    #[must_use]
    pub fn with(mut self, lines: &str) -> Self {
        self.text.push_str(lines);
        self.text.push('\n');
        self
    }

    /// Whether its `[store]` says where the store is.
    fn names_a_store(&self) -> bool {
        let section = self.text.lines().skip_while(|line| *line != "[store]");
        let section = section.skip(1).take_while(|line| !line.starts_with('['));
        section.into_iter().any(|line| line.starts_with("url"))
    }

    /// The file's text, for a probe that listens there.
    pub fn text(&self, address: SocketAddr) -> String {
        format!("listen = \"{address}\"\n{}", self.text)
    }
}

/// A loopback address that nobody listens on now.
///
/// # Errors
/// The loopback interface is down.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .context("binding a loopback port: is the interface lo up?")?;
    Ok(listener.local_addr()?)
}

/// A probe that traces.
#[derive(Debug)]
pub struct Probe {
    process: Process,
    address: SocketAddr,
    directory: TempDir,
    stopped: bool,
}

impl Probe {
    /// Starts the probe and waits until it traces.
    ///
    /// # Errors
    /// It ended or never got ready; the message has its log.
    pub fn start(site: &Site, config: &Config) -> Result<Self> {
        Self::start_at(site, config, free_address()?)
    }

    /// The same at an address that another probe has left.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_at(site: &Site, config: &Config, address: SocketAddr) -> Result<Self> {
        let directory = TempDir::new()?;
        let path = directory.path().join("hostprobe.toml");
        std::fs::write(&path, config.text(address))?;
        let mut command = site.hostprobe("run");
        command.arg("--config").arg(&path);
        if !config.names_a_store() {
            // Never the system's.
            let store = directory.path().join(STORE);
            command.arg("--set");
            command.arg(format!("store.url=sqlite://{}", store.display()));
        }
        if !config.payload {
            command.args(["--set", "kernel.probes.payload=false"]);
        }
        command.envs(config.environment.iter().copied());
        let mut probe = Self {
            process: Process::spawn("hostprobe", command)?,
            address,
            directory,
            stopped: false,
        };
        probe.wait_ready()?;
        Ok(probe)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let process = &mut self.process;
        let address = self.address;
        let ready = waiting::until("the probe is ready", PATIENCE, || {
            if let Some(status) = process.ended()? {
                bail!("hostprobe ended with {status}");
            }
            // A refused connection means that it does not listen yet.
            let answer = http::get(address, "/readyz", &[]);
            Ok(answer
                .is_ok_and(|answer| answer.status == 200)
                .then_some(()))
        });
        if ready.is_err() {
            self.stopped = true;
        }
        ready.with_context(|| format!("its log:\n{}", self.log()))
    }

    /// Process id of the daemon.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("hostprobe.toml")
    }

    /// The file that it keeps records in, unless its configuration names another.
    pub fn store_path(&self) -> PathBuf {
        self.directory.path().join(STORE)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process
            .output()
            .unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// One page.
    ///
    /// # Errors
    /// It does not answer.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
        http::get(self.address, path, headers)
            .with_context(|| format!("the probe's log:\n{}", self.log()))
    }

    /// Its numbers now.
    ///
    /// # Errors
    /// `/metrics` does not answer with an exposition.
    pub fn metrics(&self) -> Result<Metrics> {
        let response = self.get("/metrics", &[])?;
        ensure!(
            response.status == 200,
            "/metrics answered {}: {}",
            response.status,
            response.body
        );
        Metrics::parse(&response.body)
    }

    /// Compares its numbers until the comparison is content, or the time for that is over.
    ///
    /// # Errors
    /// The comparison's last error.
    pub fn eventually<T>(&self, mut compare: impl FnMut(&Metrics) -> Result<T>) -> Result<T> {
        waiting::eventually(SETTLING, || compare(&self.metrics()?))
    }

    /// Replaces the configuration and has it read again.
    ///
    /// # Errors
    /// The file can't be written or the probe is gone.
    pub fn reload(&self, config: &Config) -> Result<()> {
        std::fs::write(self.config_path(), config.text(self.address))?;
        self.process.signal(Signal::SIGHUP)
    }

    /// Ends the probe as an operator would.
    ///
    /// # Errors
    /// It does not end, or its exit code is not 0.
    pub fn stop(self) -> Result<()> {
        self.stop_timed()?;
        Ok(())
    }

    /// As [`Self::stop`]: how long it took, which on a busy or emulated machine says little.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub fn stop_timed(mut self) -> Result<Duration> {
        self.end()
    }

    /// Ends the probe as the kernel would when memory runs out: it can't do anything about it.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill(mut self) -> Result<()> {
        self.stopped = true;
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait_ended(PATIENCE)?;
        Ok(())
    }

    fn end(&mut self) -> Result<Duration> {
        self.stopped = true;
        self.process.signal(Signal::SIGTERM)?;
        let asked = Instant::now();
        let status = self
            .process
            .wait_ended(PATIENCE)
            .with_context(|| format!("its log:\n{}", self.log()))?;
        let took = asked.elapsed();
        ensure!(
            status.code() == Some(0),
            "after SIGTERM hostprobe ended with {status} (signal {:?}); its log:\n{}",
            status.signal(),
            self.log()
        );
        Ok(took)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        let ended = self.end();
        if !std::thread::panicking() {
            ended.expect("the probe ends well");
        }
    }
}

/// Nothing was lost, apart from calls that were under way when the probe came.
///
/// # Errors
/// Names each cause and its count.
pub fn nothing_lost(metrics: &Metrics) -> Result<()> {
    let mut lost = metrics.counts_by("cause", "hostprobe_events_lost_total", &[]);
    lost.remove(BEGAN_UNTRACED);
    ensure!(lost.is_empty(), "events were lost: {lost:?}");
    Ok(())
}

/// Runs a command of the probe that ends by itself: exit status and output.
///
/// # Errors
/// It can't be started or does not end.
pub fn run_to_end(
    command: Command,
    patience: Duration,
) -> Result<(std::process::ExitStatus, String)> {
    let mut process = Process::spawn("hostprobe", command)?;
    let status = process
        .wait_ended(patience)
        .with_context(|| process.output().unwrap_or_default())?;
    Ok((status, process.output()?))
}

/// A copy of the probe that any user may execute.
///
/// # Errors
/// It can't be copied.
pub fn copy_for_everyone(site: &Site, directory: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let everyone = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory, everyone.clone())?;
    let path = directory.join("hostprobe");
    std::fs::copy(&site.hostprobe, &path)?;
    std::fs::set_permissions(&path, everyone)?;
    Ok(path)
}
