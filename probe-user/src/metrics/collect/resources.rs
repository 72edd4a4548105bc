//! What the services' threads and their requests to block devices did.

use probe_common::{
    block::{BlockOperation, KERNEL_SERVICE},
    scheduler::{OffCpuReason, SchedulerStats},
};

use super::{Inputs, ServiceNames, metric, sorted};
use crate::{
    kernel::{scheduler::Ongoing, snapshot::Snapshot},
    metrics::{
        families::Families,
        metric::{Distribution, seconds},
    },
};

/// The `service` of what the kernel does by itself. No service can be called so.
const KERNEL: &str = "[kernel]";

pub(super) fn collect(families: &mut Families, inputs: &Inputs<'_>, names: &ServiceNames<'_>) {
    let snapshot = inputs.snapshot;
    for (id, stats) in sorted(&snapshot.scheduler, |id| *id) {
        scheduler(families, names.get(id), stats);
    }
    for (id, ongoing) in sorted(&snapshot.ongoing, |id| *id) {
        threads(families, names.get(id), ongoing);
    }
    // Also for services that had none, so that the first one is an increase.
    for service in inputs.services {
        families.counter(&metric::OOM_KILLS, [&service.name], 0);
    }
    for (id, kills) in sorted(&snapshot.oom_kills, |id| *id) {
        families.counter(&metric::OOM_KILLS, [names.get(id)], *kills);
    }
    block(families, snapshot, names);
}

fn scheduler(families: &mut Families, service: &str, stats: &SchedulerStats) {
    for (histogram, observed) in [
        (&metric::RUN_QUEUE_LATENCY, &stats.run_queue),
        (&metric::CPU_SLICE, &stats.on_cpu),
    ] {
        families.histogram(histogram, [service], Distribution::from_kernel(observed));
    }
    for reason in OffCpuReason::ALL {
        let labels = [service, reason.name()];
        let off_cpu = stats.off_cpu(reason);
        families.counter_float(&metric::OFF_CPU_SECONDS, labels, seconds(off_cpu.ns));
        families.counter(&metric::OFF_CPU_SWITCHES, labels, off_cpu.count);
    }
    for (kind, faults) in [("minor", stats.minor_faults), ("major", stats.major_faults)] {
        families.counter(&metric::PAGE_FAULTS, [service, kind], faults);
    }
}

fn threads(families: &mut Families, service: &str, ongoing: &Ongoing) {
    let waiting = OffCpuReason::ALL.into_iter().zip(&ongoing.off_cpu);
    let states = [
        ("running", &ongoing.on_cpu),
        ("runnable", &ongoing.run_queue),
    ]
    .into_iter()
    .chain(
        waiting
            .filter(|(reason, _)| reason.voluntary())
            .map(|(reason, off_cpu)| (reason.name(), off_cpu)),
    );
    for (state, threads) in states {
        families.gauge(&metric::SCHEDULER_THREADS, [service, state], threads.count);
    }
}

fn block(families: &mut Families, snapshot: &Snapshot, names: &ServiceNames<'_>) {
    let entries = sorted(&snapshot.block, |key| {
        (key.service, key.device, key.operation)
    });
    for (key, stats) in entries {
        let service = if key.service == KERNEL_SERVICE {
            KERNEL
        } else {
            names.get(key.service)
        };
        let numbers = format!("{}:{}", key.major(), key.minor());
        let device = snapshot.block_devices.get(&key.device).unwrap_or(&numbers);
        let operation = BlockOperation::from_byte(key.operation)
            .unwrap_or(BlockOperation::Other)
            .name();
        let labels = [service, device, operation];
        families.histogram(
            &metric::BLOCK_IO_DURATION,
            labels,
            Distribution::from_kernel(&stats.latency),
        );
        families.counter_float(
            &metric::BLOCK_IO_QUEUE_SECONDS,
            labels,
            seconds(stats.queue_ns),
        );
        families.counter(&metric::BLOCK_IO_BYTES, labels, stats.bytes);
        families.counter(&metric::BLOCK_IO_ERRORS, labels, stats.errors);
    }
}
