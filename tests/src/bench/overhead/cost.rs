//! What running costs: CPU time of process trees, and what the probe itself takes and loses.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

use crate::{
    exposition::Metrics,
    probe::{BEGAN_UNTRACED, Probe},
};

/// What the daemon took during one measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct DaemonCost {
    /// Seconds of CPU time while the load was measured.
    pub(super) cpu_seconds: f64,
    /// Seconds for which the load was measured.
    pub(super) seconds: f64,
    /// Most resident memory since its start in bytes (`VmHWM`), loading included.
    pub(super) peak_resident_bytes: u64,
    /// Resident memory at the end in bytes (`VmRSS`).
    pub(super) resident_bytes: u64,
    /// Events lost by cause, calls that began before the probe came not counted.
    pub(super) lost: BTreeMap<String, u64>,
}

impl DaemonCost {
    /// All that was lost.
    pub(super) fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// The daemon's clock and counters when a measurement begins.
#[derive(Debug)]
pub(super) struct DaemonBefore {
    cpu: Duration,
}

impl DaemonBefore {
    /// Looks at the daemon. Reading its numbers also gives busy syscalls their fast lane, as the
    /// first scrape does.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn look(probe: &Probe) -> Result<Self> {
        probe.metrics()?;
        Ok(Self {
            cpu: cpu_of_tree(probe.pid())?,
        })
    }

    /// Looks again, right after the load has ended.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn after(self, probe: &Probe, seconds: f64) -> Result<DaemonCost> {
        let cpu = cpu_of_tree(probe.pid())?;
        let metrics = probe.metrics()?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", probe.pid()))?;
        Ok(DaemonCost {
            cpu_seconds: cpu.saturating_sub(self.cpu).as_secs_f64(),
            seconds,
            peak_resident_bytes: kilobytes(&status, "VmHWM:")? * 1024,
            resident_bytes: kilobytes(&status, "VmRSS:")? * 1024,
            lost: lost(&metrics),
        })
    }
}

/// Events that the kernel side could not deliver, and records whose numbers tell that they are
/// missing.
fn lost(metrics: &Metrics) -> BTreeMap<String, u64> {
    let mut lost = metrics.counts_by("cause", "hostprobe_events_lost_total", &[]);
    lost.remove(BEGAN_UNTRACED);
    let records = metrics.counts_by(
        "problem",
        "hostprobe_stream_problems_total",
        &[("problem", "record_lost")],
    );
    lost.extend(records);
    lost
}

fn kilobytes(status: &str, name: &str) -> Result<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("no {name} in /proc/PID/status"))?;
    let number = line.trim().trim_end_matches("kB").trim();
    number.parse().with_context(|| format!("{name} {line}"))
}

/// User and system time of a process, of its descendants, and of those that ended and were waited
/// for. What kernel programs take in a process is part of its system time.
///
/// # Errors
/// The process is gone.
pub(super) fn cpu_of_tree(root: u32) -> Result<Duration> {
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no CLK_TCK")?;
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut ticks: BTreeMap<u32, u64> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Processes come and go while we look.
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let stat = Stat::parse(&text).with_context(|| format!("/proc/{pid}/stat: {text}"))?;
        children.entry(stat.parent).or_default().push(pid);
        ticks.insert(pid, stat.ticks);
    }
    ticks
        .get(&root)
        .with_context(|| format!("process {root} is gone"))?;
    let mut total = 0;
    let mut waiting = vec![root];
    while let Some(pid) = waiting.pop() {
        total += ticks.get(&pid).copied().unwrap_or(0);
        waiting.extend(children.remove(&pid).unwrap_or_default());
    }
    let milliseconds = total * 1000 / per_second.unsigned_abs();
    Ok(Duration::from_millis(milliseconds))
}

/// What we need of `/proc/PID/stat` (proc(5)).
struct Stat {
    parent: u32,
    /// utime, stime, cutime and cstime together.
    ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name may hold blanks and brackets; nothing after its last bracket does.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let mut ticks = 0;
        for index in 11..=14 {
            ticks += number(index)?;
        }
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            ticks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_process_with_an_odd_name_are_read() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 0 1 2 3 4 10 20 30 40 20 0 1 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.ticks), (3, 100));
        assert!(Stat::parse("7 (a) S 3").is_none());
    }

    #[test]
    fn our_own_tree_has_taken_time_and_a_missing_one_is_an_error() {
        assert!(cpu_of_tree(std::process::id()).is_ok());
        assert!(cpu_of_tree(u32::MAX).is_err());
    }

    #[test]
    fn memory_is_read_by_name() {
        let status = "Name:\tx\nVmHWM:\t   54056 kB\nVmRSS:\t   42764 kB\n";
        assert_eq!(kilobytes(status, "VmHWM:").unwrap(), 54_056);
        assert!(kilobytes(status, "VmSwap:").is_err());
    }
}
