//! The host's own numbers.

use super::metric;
use crate::{
    host::{
        CPU_MODES, CpuReport, CpuTimes, DiskReport, FileSystemReport, HostReport, InterfaceReport,
        MemoryReport, Pressure, TcpReport,
    },
    metrics::families::Families,
};

pub(super) fn collect(families: &mut Families, host: &HostReport) {
    let about = &host.about;
    families.info(
        &metric::HOST_INFO,
        [&about.kernel, &about.machine, &about.distribution],
    );
    if let Some(seconds) = host.uptime_seconds {
        families.gauge_float(&metric::HOST_UPTIME, [], seconds);
    }
    if let Some(cpu) = &host.cpu {
        processors(families, host, cpu);
    }
    if let Some([one, five, fifteen]) = host.load {
        families.gauge_float(&metric::HOST_LOAD1, [], one);
        families.gauge_float(&metric::HOST_LOAD5, [], five);
        families.gauge_float(&metric::HOST_LOAD15, [], fifteen);
    }
    for pressure in &host.pressure {
        waiting(families, pressure);
    }
    if let Some(memory) = &host.memory {
        memory_and_swap(families, memory);
    }
    paging(families, host);
    for disk in &host.disks {
        block_device(families, disk);
    }
    for file_system in &host.file_systems {
        room(families, file_system);
    }
    for interface in &host.interfaces {
        network(families, interface);
    }
    if let Some(counts) = &host.tcp {
        tcp(families, counts);
    }
    for (state, count) in &host.sockets {
        families.gauge(&metric::HOST_SOCKETS, [state], *count);
    }
    if let Some(descriptors) = host.descriptors {
        families.gauge(&metric::HOST_OPEN_FDS, [], descriptors.open);
        families.gauge(&metric::HOST_MAX_FDS, [], descriptors.limit);
    }
    for ((source, reason), count) in &host.errors {
        let labels = [*source, reason.as_str()];
        families.counter(&metric::HOST_READ_ERRORS, labels, *count);
    }
    let seconds = host.sample_time.as_secs_f64();
    families.gauge_float(&metric::HOST_SAMPLE_DURATION, [], seconds);
}

fn processors(families: &mut Families, host: &HostReport, cpu: &CpuReport) {
    let seconds = |ticks: u64| ticks as f64 / host.ticks_per_second.max(1) as f64;
    let by_mode = |times: &CpuTimes| CPU_MODES.into_iter().zip(*times);
    for (mode, ticks) in by_mode(&cpu.all) {
        families.counter_float(&metric::HOST_CPU, [mode], seconds(ticks));
    }
    if host.per_cpu {
        for (number, times) in &cpu.each {
            for (mode, ticks) in by_mode(times) {
                let labels = [&number.to_string(), mode];
                families.counter_float(&metric::HOST_LOGICAL_CPU, labels, seconds(ticks));
            }
        }
    }
    for (gauge, value) in [
        (&metric::HOST_CPUS, cpu.each.len() as u64),
        (&metric::HOST_BOOT_TIME, cpu.boot_time_seconds),
        (&metric::HOST_RUNNING, cpu.running),
        (&metric::HOST_BLOCKED, cpu.blocked),
    ] {
        families.gauge(gauge, [], value);
    }
    families.counter(&metric::HOST_FORKS, [], cpu.forks);
    families.counter(&metric::HOST_SWITCHES, [], cpu.context_switches);
    families.counter(&metric::HOST_INTERRUPTS, [], cpu.interrupts);
}

fn waiting(families: &mut Families, pressure: &Pressure) {
    let resource = pressure.resource;
    let some = Some(pressure.some);
    for (kind, counter, stall) in [
        ("some", &metric::HOST_PRESSURE_WAITING, some),
        ("full", &metric::HOST_PRESSURE_STALLED, pressure.full),
    ] {
        let Some(stall) = stall else { continue };
        families.counter_float(counter, [resource], stall.total_us as f64 / 1e6);
        for (window, share) in ["10s", "60s", "300s"].into_iter().zip(stall.shares) {
            let labels = [resource, kind, window];
            families.gauge_float(&metric::HOST_PRESSURE, labels, share);
        }
    }
}

fn memory_and_swap(families: &mut Families, memory: &MemoryReport) {
    for (gauge, bytes) in [
        (&metric::HOST_MEMORY_TOTAL, memory.total),
        (&metric::HOST_MEMORY_AVAILABLE, memory.available),
        (&metric::HOST_MEMORY_SHARED, memory.shared),
        (&metric::HOST_MEMORY_DIRTY, memory.dirty),
        (&metric::HOST_SWAP_TOTAL, memory.swap_total),
        (&metric::HOST_SWAP_FREE, memory.swap_free),
    ] {
        families.gauge(gauge, [], bytes);
    }
    for (state, bytes) in [
        ("used", memory.used()),
        ("free", memory.free),
        ("buffers", memory.buffers),
        ("cached", memory.cached),
    ] {
        families.gauge(&metric::HOST_MEMORY, [state], bytes);
    }
}

fn paging(families: &mut Families, host: &HostReport) {
    let Some(paging) = &host.paging else { return };
    let minor = paging.faults.saturating_sub(paging.major_faults);
    families.counter(&metric::HOST_FAULTS, ["minor"], minor);
    families.counter(&metric::HOST_FAULTS, ["major"], paging.major_faults);
    families.counter(&metric::HOST_SWAPPING, ["in"], paging.swapped_in);
    families.counter(&metric::HOST_SWAPPING, ["out"], paging.swapped_out);
    if let Some(kills) = paging.oom_kills {
        families.counter(&metric::HOST_OOM_KILLS, [], kills);
    }
}

fn block_device(families: &mut Families, disk: &DiskReport) {
    let device = disk.device.as_str();
    let seconds = |milliseconds: u64| milliseconds as f64 / 1e3;
    for (direction, operations) in [("read", &disk.read), ("write", &disk.write)] {
        let labels = [device, direction];
        families.counter(&metric::DISK_IO, labels, operations.bytes);
        families.counter(&metric::DISK_OPERATIONS, labels, operations.count);
        families.counter(&metric::DISK_MERGED, labels, operations.merged);
        let time = seconds(operations.ms);
        families.counter_float(&metric::DISK_OPERATION_SECONDS, labels, time);
    }
    families.counter_float(&metric::DISK_BUSY, [device], seconds(disk.busy_ms));
    families.counter_float(&metric::DISK_WEIGHTED, [device], seconds(disk.weighted_ms));
    families.gauge(&metric::DISK_IN_FLIGHT, [device], disk.in_flight);
}

fn room(families: &mut Families, file_system: &FileSystemReport) {
    let mount = &file_system.mount;
    let labels = [
        mount.device.as_str(),
        mount.mountpoint.as_str(),
        mount.fstype.as_str(),
    ];
    families.gauge(&metric::FS_HANGS, labels, u64::from(file_system.hangs));
    let Some(room) = file_system.room else { return };
    for (gauge, value) in [
        (&metric::FS_SIZE, room.size),
        (&metric::FS_FREE, room.free),
        (&metric::FS_AVAILABLE, room.available),
        (&metric::FS_FILES, room.files),
        (&metric::FS_FILES_FREE, room.files_free),
        (&metric::FS_READONLY, u64::from(room.read_only)),
    ] {
        families.gauge(gauge, labels, value);
    }
}

fn network(families: &mut Families, interface: &InterfaceReport) {
    let device = interface.device.as_str();
    for (direction, packets) in [
        ("receive", &interface.received),
        ("transmit", &interface.sent),
    ] {
        for (counter, count) in [
            (&metric::NETWORK_IO, packets.bytes),
            (&metric::NETWORK_PACKETS, packets.packets),
            (&metric::NETWORK_ERRORS, packets.errors),
            (&metric::NETWORK_DROPPED, packets.dropped),
        ] {
            families.counter(counter, [device, direction], count);
        }
    }
}

fn tcp(families: &mut Families, counts: &TcpReport) {
    for (counter, count) in [
        (&metric::HOST_TCP_SEGMENTS, counts.segments_sent),
        (&metric::HOST_TCP_RETRANSMITS, counts.retransmits),
        (&metric::HOST_TCP_FAILS, counts.attempt_fails),
        (&metric::HOST_LISTEN_OVERFLOWS, counts.listen_overflows),
        (&metric::HOST_LISTEN_DROPS, counts.listen_drops),
    ] {
        families.counter(counter, [], count);
    }
    families.counter(&metric::HOST_TCP_OPENS, ["out"], counts.active_opens);
    families.counter(&metric::HOST_TCP_OPENS, ["in"], counts.passive_opens);
}
