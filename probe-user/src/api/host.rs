//! `/api/host`: resources of the host and of the services' processes. Counts are totals, as in
//! `/api/overview`: the reader makes rates from two answers.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::Serialize;

use super::{App, CollectError};
use crate::{
    host::{
        CPU_MODES, DiskOperations, FileSystemReport, HostReport, InterfaceReport, MEMORY_EVENTS,
        MemoryReport, PRESSURE_RESOURCES, Pressure, ProcessReport,
    },
    metrics::{
        collect::{ServiceNames, epoch_seconds, resources_by_name},
        metric::seconds,
    },
};

/// The whole answer.
#[derive(Serialize)]
pub(super) struct HostAnswer {
    at_seconds: f64,
    /// `None` when `host.enabled` is false.
    host: Option<HostNumbers>,
    services: BTreeMap<String, ResourceNumbers>,
}

pub(super) async fn host(State(app): State<App>) -> Result<Json<HostAnswer>, CollectError> {
    let reading = app.collector.read().await?;
    let names = ServiceNames::new(&reading.collected.services);
    let report = reading.collected.host.as_deref();
    let mut services = BTreeMap::new();
    if let Some(host) = report {
        for (name, service) in resources_by_name(host, &names) {
            services.insert(name.to_owned(), ResourceNumbers::new(host, &service));
        }
    }
    Ok(Json(HostAnswer {
        at_seconds: epoch_seconds(reading.at),
        host: report.map(HostNumbers::from),
        services,
    }))
}

/// The host's own numbers. What the kernel does not tell is `null`, or not in a list.
#[derive(Serialize)]
pub(super) struct HostNumbers {
    kernel: String,
    machine: String,
    distribution: String,
    uptime_seconds: Option<f64>,
    cpus: Option<usize>,
    /// CPU seconds by mode since boot.
    cpu_seconds: BTreeMap<&'static str, f64>,
    load: Option<[f64; 3]>,
    memory: Option<MemoryNumbers>,
    pressure: BTreeMap<&'static str, PressureNumbers>,
    disks: Vec<DiskNumbers>,
    file_systems: Vec<FileSystemNumbers>,
    interfaces: Vec<InterfaceNumbers>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
    oom_kills: Option<u64>,
    sample_seconds: f64,
}

#[derive(Serialize)]
struct MemoryNumbers {
    total_bytes: u64,
    available_bytes: u64,
    used_bytes: u64,
    cached_bytes: u64,
    swap_total_bytes: u64,
    swap_free_bytes: u64,
}

#[derive(Serialize)]
struct PressureNumbers {
    /// Seconds for which some thread waited, since boot.
    some_seconds: f64,
    /// Seconds for which all that could have run waited; not told by all kernels.
    full_seconds: Option<f64>,
    /// The kernel's average of `some` over ten seconds, from 0 to 1.
    some_share: f64,
}

#[derive(Serialize)]
struct DiskNumbers {
    device: String,
    reads: OperationNumbers,
    writes: OperationNumbers,
    busy_seconds: f64,
    in_flight: u64,
}

#[derive(Serialize)]
struct OperationNumbers {
    count: u64,
    bytes: u64,
    seconds: f64,
}

#[derive(Serialize)]
struct FileSystemNumbers {
    mountpoint: String,
    device: String,
    fstype: String,
    size_bytes: Option<u64>,
    available_bytes: Option<u64>,
    read_only: Option<bool>,
    unresponsive: bool,
}

#[derive(Serialize)]
struct InterfaceNumbers {
    device: String,
    received_bytes: u64,
    sent_bytes: u64,
    errors: u64,
    dropped: u64,
}

/// What one service takes.
#[derive(Serialize)]
pub(super) struct ResourceNumbers {
    processes: u64,
    threads: u64,
    cpu_seconds: f64,
    cpu_system_seconds: f64,
    resident_bytes: u64,
    proportional_bytes: Option<u64>,
    swapped_bytes: u64,
    read_bytes: u64,
    written_bytes: u64,
    minor_faults: u64,
    major_faults: u64,
    voluntary_switches: u64,
    involuntary_switches: u64,
    open_fds: u64,
    /// Of the process that is nearest to its limit, from 0 to 1.
    worst_fd_ratio: Option<f64>,
    /// TCP sockets by state.
    sockets: BTreeMap<&'static str, u64>,
    cpu_limit: Option<f64>,
    memory_limit_bytes: Option<u64>,
    memory_used_bytes: Option<u64>,
    throttled_seconds: f64,
    throttled_periods: u64,
    periods: u64,
    memory_events: BTreeMap<&'static str, u64>,
    /// Seconds for which some task of its control groups waited, by resource; `None` where that is not measured.
    pressure_waiting_seconds: Option<BTreeMap<&'static str, f64>>,
    /// Seconds for which none of their tasks could do anything else.
    pressure_stalled_seconds: Option<BTreeMap<&'static str, f64>>,
}

impl From<&HostReport> for HostNumbers {
    fn from(report: &HostReport) -> Self {
        let ticks = |ticks: u64| ticks as f64 / report.ticks_per_second.max(1) as f64;
        let cpu = report.cpu.as_ref();
        let modes = cpu.map(|cpu| CPU_MODES.into_iter().zip(cpu.all));
        Self {
            kernel: report.about.kernel.clone(),
            machine: report.about.machine.clone(),
            distribution: report.about.distribution.clone(),
            uptime_seconds: report.uptime_seconds,
            cpus: cpu.map(|cpu| cpu.each.len()),
            cpu_seconds: modes
                .into_iter()
                .flatten()
                .map(|(mode, time)| (mode, ticks(time)))
                .collect(),
            load: report.load,
            memory: report.memory.as_ref().map(MemoryNumbers::from),
            pressure: report
                .pressure
                .iter()
                .map(|pressure| (pressure.resource, PressureNumbers::from(pressure)))
                .collect(),
            disks: report
                .disks
                .iter()
                .map(|disk| DiskNumbers {
                    device: disk.device.clone(),
                    reads: OperationNumbers::from(&disk.read),
                    writes: OperationNumbers::from(&disk.write),
                    busy_seconds: disk.busy_ms as f64 / 1e3,
                    in_flight: disk.in_flight,
                })
                .collect(),
            file_systems: report
                .file_systems
                .iter()
                .map(FileSystemNumbers::from)
                .collect(),
            interfaces: report
                .interfaces
                .iter()
                .map(InterfaceNumbers::from)
                .collect(),
            open_fds: report.descriptors.map(|files| files.open),
            max_fds: report.descriptors.map(|files| files.limit),
            oom_kills: report.paging.and_then(|paging| paging.oom_kills),
            sample_seconds: report.sample_time.as_secs_f64(),
        }
    }
}

impl From<&MemoryReport> for MemoryNumbers {
    fn from(memory: &MemoryReport) -> Self {
        Self {
            total_bytes: memory.total,
            available_bytes: memory.available,
            used_bytes: memory.used(),
            cached_bytes: memory.cached,
            swap_total_bytes: memory.swap_total,
            swap_free_bytes: memory.swap_free,
        }
    }
}

impl From<&Pressure> for PressureNumbers {
    fn from(pressure: &Pressure) -> Self {
        let [some_share, ..] = pressure.some.shares;
        Self {
            some_seconds: pressure.some.total_us as f64 / 1e6,
            full_seconds: pressure.full.map(|stall| stall.total_us as f64 / 1e6),
            some_share,
        }
    }
}

impl From<&DiskOperations> for OperationNumbers {
    fn from(operations: &DiskOperations) -> Self {
        Self {
            count: operations.count,
            bytes: operations.bytes,
            seconds: operations.ms as f64 / 1e3,
        }
    }
}

impl From<&FileSystemReport> for FileSystemNumbers {
    fn from(report: &FileSystemReport) -> Self {
        Self {
            mountpoint: report.mount.mountpoint.clone(),
            device: report.mount.device.clone(),
            fstype: report.mount.fstype.clone(),
            size_bytes: report.room.map(|room| room.size),
            available_bytes: report.room.map(|room| room.available),
            read_only: report.room.map(|room| room.read_only),
            unresponsive: report.hangs,
        }
    }
}

impl From<&InterfaceReport> for InterfaceNumbers {
    fn from(report: &InterfaceReport) -> Self {
        let (received, sent) = (&report.received, &report.sent);
        Self {
            device: report.device.clone(),
            received_bytes: received.bytes,
            sent_bytes: sent.bytes,
            errors: received.errors.saturating_add(sent.errors),
            dropped: received.dropped.saturating_add(sent.dropped),
        }
    }
}

impl ResourceNumbers {
    pub(super) fn new(host: &HostReport, report: &ProcessReport) -> Self {
        let ticks = |ticks: u64| ticks as f64 / host.ticks_per_second.max(1) as f64;
        let counts = &report.group.counts;
        let events = MEMORY_EVENTS.into_iter().zip(counts.memory_events);
        let pressure = report.group.pressure;
        let by_resource = |times: [u64; PRESSURE_RESOURCES.len()]| {
            let seconds = times.map(|us| us as f64 / 1e6);
            PRESSURE_RESOURCES.into_iter().zip(seconds).collect()
        };
        Self {
            processes: report.processes,
            threads: report.threads,
            cpu_seconds: ticks(report.user_ticks.saturating_add(report.system_ticks)),
            cpu_system_seconds: ticks(report.system_ticks),
            resident_bytes: report.resident_bytes,
            proportional_bytes: report.proportional_bytes,
            swapped_bytes: report.swapped_bytes,
            read_bytes: report.read_bytes,
            written_bytes: report.written_bytes,
            minor_faults: report.minor_faults,
            major_faults: report.major_faults,
            voluntary_switches: report.voluntary_switches,
            involuntary_switches: report.involuntary_switches,
            open_fds: report.open_fds,
            worst_fd_ratio: report.fullest.map(|descriptors| descriptors.share()),
            sockets: report.sockets.clone(),
            cpu_limit: report.group.cpu_limit,
            memory_limit_bytes: report.group.memory_limit,
            memory_used_bytes: report.group.memory_used,
            throttled_seconds: seconds(counts.throttled_ns),
            throttled_periods: counts.throttled_periods,
            periods: counts.periods,
            memory_events: events.collect(),
            pressure_waiting_seconds: pressure.map(|pressure| by_resource(pressure.waiting_us)),
            pressure_stalled_seconds: pressure.map(|pressure| by_resource(pressure.stalled_us)),
        }
    }
}
