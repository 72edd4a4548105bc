//! What the processes of each service take from the host.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{ServiceNames, metric};
use crate::{
    host::{GroupReport, HostReport, MEMORY_EVENTS, PRESSURE_RESOURCES, ProcessReport},
    metrics::{families::Families, metric::seconds},
};

pub(super) fn collect(families: &mut Families, host: &HostReport, names: &ServiceNames<'_>) {
    for (service, report) in by_name(host, names) {
        counts(families, host, service, &report);
        gauges(families, host, service, &report);
        group(families, service, &report.group);
    }
}

/// Reports by service name; several ids may share one.
pub(crate) fn by_name<'a>(
    host: &HostReport,
    names: &ServiceNames<'a>,
) -> BTreeMap<&'a str, ProcessReport> {
    let mut reports: BTreeMap<&str, ProcessReport> = BTreeMap::new();
    for (id, report) in &host.services {
        match reports.entry(names.get(*id)) {
            Entry::Vacant(free) => {
                free.insert(report.clone());
            }
            Entry::Occupied(mut known) => known.get_mut().merge(report),
        }
    }
    reports
}

fn counts(families: &mut Families, host: &HostReport, service: &str, report: &ProcessReport) {
    let ticks = |ticks: u64| ticks as f64 / host.ticks_per_second.max(1) as f64;
    let all = report.user_ticks.saturating_add(report.system_ticks);
    let one = [service];
    families.counter_float(&metric::PROCESS_CPU, one, ticks(all));
    families.counter_float(&metric::PROCESS_CPU_SYSTEM, one, ticks(report.system_ticks));
    for (counter, kind, count) in [
        (&metric::PROCESS_DISK_IO, "read", report.read_bytes),
        (&metric::PROCESS_DISK_IO, "write", report.written_bytes),
        (
            &metric::PROCESS_SWITCHES,
            "voluntary",
            report.voluntary_switches,
        ),
        (
            &metric::PROCESS_SWITCHES,
            "involuntary",
            report.involuntary_switches,
        ),
        (&metric::PROCESS_FAULTS, "minor", report.minor_faults),
        (&metric::PROCESS_FAULTS, "major", report.major_faults),
    ] {
        families.counter(counter, [service, kind], count);
    }
}

fn gauges(families: &mut Families, host: &HostReport, service: &str, report: &ProcessReport) {
    let one = [service];
    for (gauge, value) in [
        (&metric::PROCESS_RESIDENT, report.resident_bytes),
        (&metric::PROCESS_VIRTUAL, report.virtual_bytes),
        (&metric::PROCESS_SWAPPED, report.swapped_bytes),
        (&metric::PROCESS_THREADS, report.threads),
        (&metric::PROCESS_OPEN_FDS, report.open_fds),
    ] {
        families.gauge(gauge, one, value);
    }
    if let Some(bytes) = report.proportional_bytes {
        families.gauge(&metric::PROCESS_PROPORTIONAL, one, bytes);
    }
    for (state, count) in &report.sockets {
        families.gauge(&metric::PROCESS_SOCKETS, [service, state], *count);
    }
    if let (Some(start), Some(cpu)) = (report.oldest_start, &host.cpu) {
        let since_boot = start as f64 / host.ticks_per_second.max(1) as f64;
        let start = cpu.boot_time_seconds as f64 + since_boot;
        families.gauge_float(&metric::PROCESS_OLDEST, one, start);
    }
    if let Some(descriptors) = report.fullest {
        families.gauge(&metric::PROCESS_MAX_FDS, one, descriptors.limit);
        families.gauge_float(&metric::PROCESS_FDS_RATIO, one, descriptors.share());
    }
}

fn group(families: &mut Families, service: &str, group: &GroupReport) {
    let one = [service];
    if let Some(cpus) = group.cpu_limit {
        families.gauge_float(&metric::CGROUP_CPU_LIMIT, one, cpus);
    }
    if let Some(bytes) = group.memory_limit {
        families.gauge(&metric::CGROUP_MEMORY_LIMIT, one, bytes);
    }
    if let Some(bytes) = group.memory_used {
        families.gauge(&metric::CGROUP_MEMORY_USED, one, bytes);
    }
    let counts = &group.counts;
    families.counter(&metric::CGROUP_PERIODS, one, counts.periods);
    families.counter(
        &metric::CGROUP_THROTTLED_PERIODS,
        one,
        counts.throttled_periods,
    );
    families.counter_float(
        &metric::CGROUP_THROTTLED_SECONDS,
        one,
        seconds(counts.throttled_ns),
    );
    for (event, count) in MEMORY_EVENTS.into_iter().zip(counts.memory_events) {
        families.counter(&metric::CGROUP_MEMORY_EVENTS, [service, event], count);
    }
    let Some(pressure) = &group.pressure else {
        return;
    };
    for (counter, times) in [
        (&metric::CGROUP_PRESSURE_WAITING, pressure.waiting_us),
        (&metric::CGROUP_PRESSURE_STALLED, pressure.stalled_us),
    ] {
        for (resource, us) in PRESSURE_RESOURCES.into_iter().zip(times) {
            families.counter_float(counter, [service, resource], us as f64 / 1e6);
        }
    }
}
