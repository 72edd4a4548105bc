//! The second source: what `strace -c` counts for the very same execution.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tempfile::NamedTempFile;

use crate::{
    checks::same,
    exposition::Metrics,
    process::Process,
    site::need,
    waiting::{self, PATIENCE},
};

/// Calls and errors by syscall, as strace counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that returned, by syscall.
    pub calls: BTreeMap<String, u64>,
    /// Calls of these that failed, by syscall.
    pub errors: BTreeMap<String, u64>,
}

/// An strace that follows a process and its children to their end.
#[derive(Debug)]
pub struct Strace {
    process: Process,
    summary: NamedTempFile,
}

impl Strace {
    /// Attaches to a process that holds still, see [`crate::process::run_stopped`].
    ///
    /// # Errors
    /// strace is not installed or may not trace.
    pub fn attach(pid: u32) -> Result<Self> {
        let program = need("strace", "strace")?;
        let summary = NamedTempFile::new()?;
        let mut command = Command::new(program);
        command
            .args(["-c", "-f", "-S", "name", "-U", "name,calls,errors", "-o"])
            .arg(summary.path())
            .args(["-p", &pid.to_string()]);
        let mut process = Process::spawn("strace", command)?;
        waiting::until("strace is attached", PATIENCE, || {
            if process.ended()?.is_some() {
                bail!("strace ended:\n{}", process.output()?);
            }
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let tracer = status
                .lines()
                .find_map(|line| line.strip_prefix("TracerPid:"))
                .context("no TracerPid in the status of the process")?;
            Ok((tracer.trim() != "0").then_some(()))
        })?;
        Ok(Self { process, summary })
    }

    /// Waits until everything that it follows has ended.
    ///
    /// # Errors
    /// strace failed or its summary can't be read.
    pub fn finish(mut self) -> Result<Counts> {
        self.process.wait_success()?;
        parse(&std::fs::read_to_string(self.summary.path())?)
    }

    /// Leaves the processes alone and reports what was seen so far.
    ///
    /// # Errors
    /// strace does not end or its summary can't be read.
    pub fn detach(mut self) -> Result<Counts> {
        self.process.signal(Signal::SIGINT)?;
        self.process.wait_ended(PATIENCE)?;
        parse(&std::fs::read_to_string(self.summary.path())?)
    }
}

impl Counts {
    /// The service's calls and errors are these and no others.
    ///
    /// # Errors
    /// Says which syscalls differ, and by how much.
    pub fn same_as(&self, metrics: &Metrics, service: &str) -> Result<()> {
        let labels = [("service", service)];
        let calls = metrics.counts_by("syscall", "hostprobe_syscalls_total", &labels);
        same("calls by strace and by the probe", &self.calls, &calls)?;
        let errors = metrics.counts_by("syscall", "hostprobe_syscall_errors_total", &labels);
        same("errors by strace and by the probe", &self.errors, &errors)
    }
}

fn parse(summary: &str) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut rules = 0;
    for line in summary.lines() {
        if line.starts_with("---") {
            rules += 1;
            continue;
        }
        // Between the two rules: name, calls, and errors where there were any.
        if rules != 1 {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, calls, errors) = match words[..] {
            [name, calls] => (name, calls, "0"),
            [name, calls, errors] => (name, calls, errors),
            _ => bail!("not a line of strace's summary: {line}"),
        };
        counts.calls.insert(name.into(), calls.parse()?);
        let errors: u64 = errors.parse()?;
        if errors != 0 {
            counts.errors.insert(name.into(), errors);
        }
    }
    if rules < 2 {
        bail!("strace's summary is not complete:\n{summary}");
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read() {
        let summary = "syscall              calls    errors\n\
                       ---------------- --------- ---------\n\
                       access                   2         2\n\
                       read                    10          \n\
                       ---------------- --------- ---------\n\
                       total                   12         2\n";
        let counts = parse(summary).unwrap();
        assert_eq!(counts.calls["read"], 10);
        assert_eq!(counts.errors["access"], 2);
        assert_eq!(counts.errors.len(), 1);
        assert!(parse("syscall calls\n").is_err());
    }
}
