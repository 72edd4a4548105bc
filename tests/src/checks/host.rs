//! Resources of a service under limits.

use anyhow::{Result, ensure};

use super::traced::Workload;
use crate::{
    control_group::ControlGroup,
    probe::{Config, Probe},
    site::Site,
};

const APP: [(&str, &str); 1] = [("service", "app")];
const MEMORY: u64 = 64 << 20;

/// Without this a container that is out of CPU would look idle beside the host's CPUs.
pub(super) fn limits_of_a_control_group_are_the_ceiling(site: &Site) -> Result<()> {
    let group = ControlGroup::create("hostprobe-check")?;
    group.limit_cpu(20_000, 100_000)?;
    group.limit_memory(MEMORY)?;
    let workload = Workload::start(site, &["busy"])?;
    group.add(workload.pid())?;
    let probe = Probe::start(site, &Config::new().service("app", &[workload.pid()]))?;
    let before = group.throttling()?;
    workload.resume()?;
    probe.eventually(|metrics| {
        let throttled = metrics.count("hostprobe_cgroup_cpu_throttled_periods_total", &APP);
        ensure!(throttled >= 3, "{throttled} periods were throttled");
        Ok(())
    })?;
    let metrics = probe.metrics()?;
    let now = group.throttling()?;
    let cpus = metrics.sum("hostprobe_cgroup_cpu_limit", &APP);
    ensure!(cpus == 0.2, "the limit is {cpus} CPUs");
    let memory = metrics.count("hostprobe_cgroup_memory_limit_bytes", &APP);
    ensure!(memory == MEMORY, "the limit is {memory} bytes");
    for (name, before, now) in [
        ("hostprobe_cgroup_cpu_periods_total", before[0], now[0]),
        (
            "hostprobe_cgroup_cpu_throttled_periods_total",
            before[1],
            now[1],
        ),
    ] {
        let counted = metrics.count(name, &APP);
        ensure!(
            counted > 0 && counted <= now - before,
            "{name} is {counted}, the kernel counts {}",
            now - before
        );
    }
    let seconds = metrics.sum("hostprobe_cgroup_cpu_throttled_seconds_total", &APP);
    ensure!(seconds > 0.0, "no time was throttled");
    probe.stop()
}
