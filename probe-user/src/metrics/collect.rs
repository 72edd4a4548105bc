//! From what was counted to families of metrics.
//!
//! A pure function of its inputs: no clock, no files, so that the whole exposition is tested
//! without a kernel.

use std::{
    borrow::Cow,
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use probe_common::{
    loss::Loss,
    socket::{SocketStats, Traffic, Transport},
};

use super::{
    catalogue as metric,
    families::Families,
    metric::{Distribution, seconds},
    names,
    own_process::OwnProcess,
    service::{ServiceView, UNKNOWN_SERVICE},
};
use crate::{
    database::AskedDatabase,
    database::advice::report::DatabaseAdvice,
    host::HostReport,
    kernel::snapshot::{ProbeState, Snapshot},
    store::StoreReport,
    targets::Exit,
    traffic::Report,
    verdict::Report as VerdictReport,
    vitals::Numbers,
};

mod advice;
mod budgets;
mod correlation;
mod database;
mod gemini;
mod host;
mod postgres;
mod process_resources;
mod resources;
mod store;
mod traffic;
mod verdict;
mod vitals;

pub(crate) use process_resources::by_name as resources_by_name;

/// The cause under which runs that the kernel skipped are counted: a program that interrupts itself
/// is not run a second time, so what it would have seen is missing.
pub const PROGRAM_RECURSION: &str = "program_recursion";

/// What was built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// Version of the daemon.
    pub version: String,
    /// Build id of the kernel object.
    pub object_build_id: String,
    /// Version of the compiler, empty when not recorded.
    pub rustc: String,
}

/// Everything that one scrape is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What the kernel side counted.
    pub snapshot: &'a Snapshot,
    /// What was decoded of the services' traffic.
    pub traffic: &'a Report,
    /// Resources of the host and the services' processes; `None` when they are not read.
    pub host: Option<&'a HostReport>,
    /// The services that are known now.
    pub services: &'a [ServiceView],
    /// What was found out about the databases' indexes.
    pub advice: &'a [DatabaseAdvice],
    /// Whether pages and files are within their budgets.
    pub budgets: &'a crate::vitals::budgets::Report,
    /// What the configured databases said.
    pub databases: &'a [AskedDatabase],
    /// How the store does.
    pub store: &'a StoreReport,
    /// Usage of AI models; `None` when it is not recorded.
    pub gemini: Option<&'a crate::gemini::Numbers>,
    /// What browsers sent; `None` when nothing of them is taken.
    pub vitals: Option<&'a Numbers>,
    /// Where the services' time goes.
    pub verdicts: &'a VerdictReport,
    /// What was built.
    pub build: &'a Build,
    /// When counting began.
    pub started_at: SystemTime,
    /// The daemon's own process; `None` when `/proc` could not be read.
    pub own_process: Option<&'a OwnProcess>,
    /// How long reading the kernel's tables took.
    pub read_time: Duration,
}

/// Makes all families. No count gets lost: what belongs to a service that is not in the list goes
/// under the service [`UNKNOWN_SERVICE`].
pub fn collect(inputs: &Inputs<'_>) -> Families {
    let mut families = Families::new();
    let names = ServiceNames::new(inputs.services);
    services(&mut families, inputs.services);
    verdict::collect(&mut families, inputs.verdicts);
    syscalls(&mut families, inputs.snapshot, &names);
    sockets(&mut families, inputs.snapshot, &names);
    traffic::collect(&mut families, inputs.traffic, &names);
    resources::collect(&mut families, inputs, &names);
    if let Some(report) = inputs.host {
        process_resources::collect(&mut families, report, &names);
        host::collect(&mut families, report);
    }
    advice::collect(&mut families, inputs.advice);
    budgets::collect(&mut families, inputs.budgets);
    database::collect(&mut families, inputs.databases);
    store::collect(&mut families, inputs.store);
    if let Some(numbers) = inputs.gemini {
        gemini::collect(&mut families, numbers);
    }
    if let Some(numbers) = inputs.vitals {
        vitals::collect(&mut families, numbers);
    }
    probe(&mut families, inputs);
    if let Some(own) = inputs.own_process {
        own_process(&mut families, own);
    }
    families
}

/// Names of services by id.
pub(crate) struct ServiceNames<'a>(HashMap<u16, &'a str>);

impl<'a> ServiceNames<'a> {
    pub(crate) fn new(services: &'a [ServiceView]) -> Self {
        Self(
            services
                .iter()
                .map(|service| (service.id, service.name.as_str()))
                .collect(),
        )
    }

    pub(crate) fn get(&self, id: u16) -> &'a str {
        self.0.get(&id).copied().unwrap_or(UNKNOWN_SERVICE)
    }
}

/// Entries in the order of their keys. The kernel's tables have none, and floating-point sums of
/// merged series depend on it.
pub(crate) fn sorted<K: Copy, V, O: Ord>(
    map: &HashMap<K, V>,
    order: impl Fn(&K) -> O,
) -> Vec<(K, &V)> {
    let mut entries: Vec<_> = map.iter().map(|(key, value)| (*key, value)).collect();
    entries.sort_by_key(|(key, _)| order(key));
    entries
}

fn services(families: &mut Families, services: &[ServiceView]) {
    for service in services {
        let name = service.name.as_str();
        families.info(
            &metric::SERVICE_INFO,
            [name, &service.kind, &service.found_by],
        );
        families.gauge(&metric::SERVICE_PROCESSES, [name], service.processes);
        families.counter(&metric::PROCESS_STARTS, [name], service.starts);
        families.counter(&metric::SERVICE_RESTARTS, [name], service.restarts);
        for exit in &service.exits {
            let (code, signal) = match exit.outcome {
                Exit::Code(code) => (code.to_string(), Cow::Borrowed("")),
                Exit::Signal(number) => (String::new(), names::signal(number)),
            };
            families.counter(&metric::PROCESS_EXITS, [name, &code, &signal], exit.count);
        }
    }
}

fn syscalls(families: &mut Families, snapshot: &Snapshot, names: &ServiceNames<'_>) {
    for (key, stats) in sorted(&snapshot.syscalls, |key| (key.service, key.nr)) {
        let labels = [names.get(key.service), &names::syscall(key.nr)];
        families.counter(&metric::SYSCALLS, labels, stats.count());
        families.histogram(
            &metric::SYSCALL_DURATION,
            labels,
            Distribution::from_kernel(stats),
        );
    }
    for (key, count) in sorted(&snapshot.syscall_errors, |key| {
        (key.service, key.nr, key.errno)
    }) {
        let syscall = names::syscall(key.nr);
        let labels = [names.get(key.service), &syscall, &names::errno(key.errno)];
        families.counter(&metric::SYSCALL_ERRORS, labels, *count);
    }
}

fn sockets(families: &mut Families, snapshot: &Snapshot, names: &ServiceNames<'_>) {
    for (id, stats) in sorted(&snapshot.sockets, |id| *id) {
        let service = names.get(id);
        tcp(families, service, stats);
        families.histogram(
            &metric::UNIX_CONNECT_DURATION,
            [service],
            Distribution::from_kernel(&stats.unix_connect),
        );
        families.counter(&metric::UNIX_ACCEPTS, [service], stats.unix_accepts);
        socket_io(families, service, "tcp", &stats.tcp);
        socket_io(families, service, "unix", &stats.unix);
    }
    for (key, count) in sorted(&snapshot.connect_errors, |key| {
        (key.service, key.transport, key.errno)
    }) {
        let labels = [names.get(key.service), &names::connect_errno(key.errno)];
        let counter = if key.transport == Transport::Unix as u8 {
            &metric::UNIX_CONNECT_ERRORS
        } else {
            &metric::TCP_CONNECT_ERRORS
        };
        families.counter(counter, labels, *count);
    }
}

fn tcp(families: &mut Families, service: &str, stats: &SocketStats) {
    let label = [service];
    for (histogram, observed) in [
        (&metric::TCP_CONNECT_DURATION, &stats.tcp_connect),
        (&metric::TCP_CONNECTION_DURATION, &stats.tcp_lifetime),
        (&metric::TCP_RTT, &stats.tcp_rtt),
    ] {
        families.histogram(histogram, label, Distribution::from_kernel(observed));
    }
    for (counter, count) in [
        (&metric::TCP_ACCEPTS, stats.tcp_accepts),
        (&metric::TCP_CONNECTIONS_OPENED, stats.tcp_opened()),
        (&metric::TCP_CONNECTIONS_CLOSED, stats.tcp_ended()),
        (&metric::TCP_CONNECTIONS_ADOPTED, stats.tcp_adopted()),
        (&metric::TCP_RETRANSMITS, stats.tcp_retransmits),
    ] {
        families.counter(counter, label, count);
    }
    families.gauge(&metric::TCP_CONNECTIONS_OPEN, label, stats.tcp_open());
    families.counter(&metric::IO_URING_REQUESTS, label, stats.io_uring_requests);
    families.counter(
        &metric::TCP_RESETS,
        [service, "received"],
        stats.tcp_resets_received,
    );
    families.counter(
        &metric::TCP_RESETS,
        [service, "sent"],
        stats.tcp_resets_sent,
    );
}

fn socket_io(families: &mut Families, service: &str, transport: &str, traffic: &Traffic) {
    families.counter(
        &metric::SOCKET_IO,
        [service, transport, "transmit"],
        traffic.sent_bytes,
    );
    families.counter(
        &metric::SOCKET_IO,
        [service, transport, "receive"],
        traffic.received_bytes,
    );
}

/// All losses by cause, also those that are zero.
pub(crate) fn losses(snapshot: &Snapshot) -> impl Iterator<Item = (&'static str, u64)> {
    let recursion = snapshot.programs.iter().fold(0u64, |sum, program| {
        sum.saturating_add(program.recursion_misses)
    });
    Loss::ALL
        .into_iter()
        .map(Loss::name)
        .zip(snapshot.losses)
        .chain(std::iter::once((PROGRAM_RECURSION, recursion)))
}

fn probe(families: &mut Families, inputs: &Inputs<'_>) {
    let snapshot = inputs.snapshot;
    for (cause, count) in losses(snapshot) {
        families.counter(&metric::EVENTS_LOST, [cause], count);
    }
    for probe in &snapshot.probes {
        let up = matches!(probe.state, ProbeState::Active);
        families.gauge(&metric::PROBE_UP, [probe.name], u64::from(up));
    }
    let libraries = snapshot.libraries;
    for (state, count) in [
        ("followed", libraries.followed),
        ("failed", libraries.failed),
    ] {
        families.gauge(&metric::TLS_LIBRARIES, [state], count);
    }
    for program in &snapshot.programs {
        let label = [program.name];
        families.counter(&metric::PROGRAM_RUNS, label, program.runs);
        families.counter_float(&metric::PROGRAM_RUN_SECONDS, label, seconds(program.run_ns));
        families.counter_float(
            &metric::PROGRAM_MEASURED_SECONDS,
            label,
            seconds(program.measured_ns),
        );
        families.gauge(
            &metric::PROGRAM_VERIFIED_INSTRUCTIONS,
            label,
            program.verified_instructions,
        );
    }
    let build = inputs.build;
    families.info(
        &metric::BUILD_INFO,
        [&build.version, &build.object_build_id, &build.rustc],
    );
    families.gauge_float(&metric::START_TIME, [], epoch_seconds(inputs.started_at));
    families.gauge_float(&metric::SCRAPE_DURATION, [], inputs.read_time.as_secs_f64());
}

fn own_process(families: &mut Families, own: &OwnProcess) {
    families.counter_float(&metric::OWN_CPU, [], own.cpu_seconds);
    families.gauge(&metric::OWN_RESIDENT_MEMORY, [], own.resident_memory_bytes);
    families.gauge(&metric::OWN_VIRTUAL_MEMORY, [], own.virtual_memory_bytes);
    families.gauge(&metric::OWN_OPEN_FDS, [], own.open_fds);
    if let Some(max_fds) = own.max_fds {
        families.gauge(&metric::OWN_MAX_FDS, [], max_fds);
    }
    families.gauge_float(&metric::OWN_START_TIME, [], own.start_time_seconds);
}

/// Seconds since the epoch; 0 for a clock before it.
pub(crate) fn epoch_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests;
