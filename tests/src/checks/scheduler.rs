//! Where the time of threads goes, compared with what the kernel itself says in `/proc`.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::traced::{Workload, is};
use crate::{
    exposition::Metrics,
    probe::{Config, Probe, nothing_lost},
    site::Site,
};

const APP: [(&str, &str); 1] = [("service", "app")];

/// What the kernel says of a process with one thread.
#[derive(Clone, Copy, Debug)]
struct Counted {
    ran: f64,
    queued: f64,
    slices: u64,
    voluntary: u64,
    involuntary: u64,
}

impl Counted {
    fn read(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
        let numbers: Vec<u64> = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [ran, queued, slices] = numbers[..] else {
            bail!("/proc/{pid}/schedstat says {text:?}");
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.with_context(|| format!("/proc/{pid}/status lacks {name}"))?;
            Ok(value.trim().parse()?)
        };
        #[allow(clippy::cast_precision_loss, reason = "a run of seconds")]
        let seconds = |ns: u64| ns as f64 / 1e9;
        Ok(Self {
            ran: seconds(ran),
            queued: seconds(queued),
            slices,
            voluntary: number("voluntary_ctxt_switches:")?,
            involuntary: number("nonvoluntary_ctxt_switches:")?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            ran: self.ran - before.ran,
            queued: self.queued - before.queued,
            slices: self.slices - before.slices,
            voluntary: self.voluntary - before.voluntary,
            involuntary: self.involuntary - before.involuntary,
        }
    }

    fn of(metrics: &Metrics) -> Self {
        let switches = "hostprobe_off_cpu_switches_total";
        let all = metrics.count(switches, &APP);
        let involuntary = metrics.count(switches, &[APP[0], ("reason", "preempted")]);
        Self {
            ran: metrics.sum("hostprobe_cpu_slice_seconds_sum", &APP),
            queued: metrics.sum("hostprobe_runqueue_latency_seconds_sum", &APP),
            slices: metrics.count("hostprobe_cpu_slice_seconds_count", &APP),
            voluntary: all - involuntary,
            involuntary,
        }
    }

    /// Both sides read the same clocks, so they differ by the thread's last few instructions at a gate:
    /// one switch, and a millisecond.
    fn same(self, kernel: Self) -> Result<()> {
        let close = |ours: u64, theirs: u64| ours.abs_diff(theirs) <= 1;
        ensure!(
            (self.ran - kernel.ran).abs() < 0.001
                && (self.queued - kernel.queued).abs() < 0.001
                && close(self.slices, kernel.slices)
                && close(self.voluntary, kernel.voluntary)
                && close(self.involuntary, kernel.involuntary),
            "the kernel says {kernel:?}, the probe {self:?}"
        );
        Ok(())
    }
}

/// Without this a service that starves for processors would look as if it were slow by itself.
pub(super) fn time_is_what_the_kernel_itself_counts(site: &Site) -> Result<()> {
    let mut app = Workload::start(site, &["spin", "ms=1200"])?;
    let mut rival = Workload::start(site, &["spin", "ms=1200"])?;
    let probe = Probe::start(site, &Config::new().service("app", &[app.pid()]))?;
    let before = Counted::read(app.pid())?;
    app.resume()?;
    rival.resume()?;
    app.wait_gate()?;
    rival.wait_gate()?;
    let kernel = probe.eventually(|metrics| {
        let kernel = Counted::read(app.pid())?.since(before);
        Counted::of(metrics).same(kernel)?;
        nothing_lost(metrics)?;
        Ok(kernel)
    })?;
    // Both wanted one processor for the same time.
    ensure!(
        kernel.queued > 0.2 && kernel.involuntary >= 5,
        "the rival was no rival: {kernel:?}"
    );
    app.finish()?;
    rival.finish()?;
    probe.stop()
}

/// Without this a wait for a lock could not be told from being idle.
pub(super) fn waits_are_counted_by_what_they_wait_for(site: &Site) -> Result<()> {
    const WAITS: u64 = 20;
    let mut app = Workload::start(site, &["waits", "count=20", "ms=10"])?;
    let probe = Probe::start(site, &Config::new().service("app", &[app.pid()]))?;
    app.resume()?;
    app.wait_gate()?;
    let metrics = probe.metrics()?;
    nothing_lost(&metrics)?;
    for reason in ["sleep", "lock", "poll", "network"] {
        let labels = [APP[0], ("reason", reason)];
        is(&metrics, "hostprobe_off_cpu_switches_total", &labels, WAITS)?;
        let seconds = metrics.sum("hostprobe_off_cpu_seconds_total", &labels);
        // Timers never fire early, but the kernel rounds a socket's to its ticks, and a late start
        // of the wait is not the wait's.
        ensure!(
            (0.15..2.0).contains(&seconds),
            "{WAITS} waits of 10 ms for {reason} took {seconds} s"
        );
    }
    for reason in ["request", "database", "disk"] {
        let labels = [APP[0], ("reason", reason)];
        let count = metrics.count("hostprobe_off_cpu_switches_total", &labels);
        ensure!(count == 0 || reason == "disk", "{count} waits for {reason}");
    }
    app.finish()?;
    probe.stop()
}

/// Without this a process that vanished for lack of memory would be one that somebody killed.
pub(super) fn a_kill_for_lack_of_memory_is_counted(site: &Site) -> Result<()> {
    let app = Workload::start(site, &["hog"])?;
    let group = MemoryGroup::new(app.pid())?;
    let probe = Probe::start(site, &Config::new().service("app", &[app.pid()]))?;
    is(&probe.metrics()?, "hostprobe_oom_kills_total", &APP, 0)?;
    app.resume()?;
    probe.eventually(|metrics| {
        is(metrics, "hostprobe_oom_kills_total", &APP, 1)?;
        let labels = [APP[0], ("signal", "SIGKILL")];
        is(metrics, "hostprobe_process_exits_total", &labels, 1)
    })?;
    drop(app);
    drop(group);
    probe.stop()
}

/// A control group that a process of 32 MiB fills, of whichever version the host has.
struct MemoryGroup(PathBuf);

impl MemoryGroup {
    fn new(pid: u32) -> Result<Self> {
        let limit = (32 << 20).to_string();
        let v1 = PathBuf::from("/sys/fs/cgroup/memory");
        let root = if v1.join("memory.limit_in_bytes").exists() {
            v1
        } else {
            let v2 = PathBuf::from("/sys/fs/cgroup");
            fs::write(v2.join("cgroup.subtree_control"), "+memory")
                .context("giving the memory controller to control groups")?;
            v2
        };
        let group = Self(root.join(format!("hostprobe-test-{pid}")));
        fs::create_dir(&group.0).with_context(|| format!("making {}", group.0.display()))?;
        let file = ["memory.limit_in_bytes", "memory.max"]
            .into_iter()
            .find(|file| group.0.join(file).exists())
            .context("the control group has no limit of memory")?;
        fs::write(group.0.join(file), &limit)?;
        // Swap would only make it slower.
        for (file, limit) in [
            ("memory.swap.max", "0"),
            ("memory.memsw.limit_in_bytes", &limit),
        ] {
            if group.0.join(file).exists() {
                fs::write(group.0.join(file), limit)?;
            }
        }
        fs::write(group.0.join("cgroup.procs"), pid.to_string())?;
        Ok(group)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Gone with the machine, or left empty: nothing depends on it.
        let _ = fs::remove_dir(&self.0);
    }
}
