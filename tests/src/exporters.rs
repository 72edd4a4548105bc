//! The second sources for resources: node_exporter and process-exporter from Debian's packages.

use std::{net::SocketAddr, process::Command};

use anyhow::{Context, Result, bail, ensure};
use tempfile::NamedTempFile;

use crate::{
    exposition::Metrics,
    http,
    probe::free_address,
    process::Process,
    site::need,
    waiting::{self, PATIENCE},
};

/// A running exporter on a port of its own.
#[derive(Debug)]
pub struct Exporter {
    process: Process,
    address: SocketAddr,
    _config: Option<NamedTempFile>,
}

impl Exporter {
    /// `prometheus-node-exporter` with its default collectors.
    ///
    /// # Errors
    /// It is not installed or does not listen.
    pub fn node() -> Result<Self> {
        let program = need("prometheus-node-exporter", "prometheus-node-exporter")?;
        let address = free_address()?;
        let mut command = Command::new(program);
        command.arg(format!("--web.listen-address={address}"));
        Self::start("node_exporter", command, address, None)
    }

    /// `prometheus-process-exporter` for processes whose command line contains this text, and
    /// their children, as the group `app`.
    ///
    /// # Errors
    /// It is not installed or does not listen.
    pub fn process(command_line: &str) -> Result<Self> {
        let program = need("prometheus-process-exporter", "prometheus-process-exporter")?;
        let address = free_address()?;
        let config = NamedTempFile::new()?;
        let text =
            format!("process_names:\n  - name: app\n    cmdline:\n      - '{command_line}'\n");
        std::fs::write(config.path(), text)?;
        let mut command = Command::new(program);
        command
            .arg(format!("-web.listen-address={address}"))
            .arg("-config.path")
            .arg(config.path());
        Self::start("process-exporter", command, address, Some(config))
    }

    fn start(
        name: &str,
        command: Command,
        address: SocketAddr,
        config: Option<NamedTempFile>,
    ) -> Result<Self> {
        let mut process = Process::spawn(name, command)?;
        waiting::until(&format!("{name} listens"), PATIENCE, || {
            if let Some(status) = process.ended()? {
                bail!("{name} ended with {status}:\n{}", process.output()?);
            }
            let answer = http::get(address, "/metrics", &[]);
            Ok(answer
                .is_ok_and(|answer| answer.status == 200)
                .then_some(()))
        })?;
        Ok(Self {
            process,
            address,
            _config: config,
        })
    }

    /// Its numbers now.
    ///
    /// # Errors
    /// It does not answer with an exposition.
    pub fn metrics(&self) -> Result<Metrics> {
        let answer = http::get(self.address, "/metrics", &[])
            .with_context(|| self.process.output().unwrap_or_default())?;
        ensure!(answer.status == 200, "it answered {}", answer.status);
        Metrics::parse(&answer.body)
    }
}
