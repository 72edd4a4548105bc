//! `/api/overview`: everything that the live page draws, as totals since the start. The browser
//! makes rates from two answers, so that any number of pages costs the daemon the same.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use probe_common::{
    histogram::{BUCKETS, Histogram, bound_ns},
    socket::{SocketStats, Transport},
};
use serde::Serialize;

mod database;
mod db;
mod traffic;

pub(super) use self::traffic::by_name as services_by_name;
use self::traffic::{StreamNumbers, TrafficNumbers};
use super::{
    App, CollectError,
    findings::{FoundLoop, found_loops},
    host::{HostNumbers, ResourceNumbers},
    json::{About, LossCount, Probe, Program, Service, loss_list, probe_list, program_list},
    source::Reading,
};
use crate::metrics::{
    OwnProcess, ServiceView,
    collect::{ServiceNames, epoch_seconds, resources_by_name, sorted},
    metric::seconds,
    names,
};
use crate::traffic::ServiceReport;

/// The whole answer.
#[derive(Serialize)]
pub(super) struct Overview {
    at_seconds: f64,
    about: About,
    /// Upper bounds of the kernel's buckets; a histogram's last bucket has none.
    bounds_seconds: Vec<f64>,
    /// The same for requests and statements.
    latency_bounds_seconds: Vec<f64>,
    services: Vec<ServiceNumbers>,
    probes: Vec<Probe>,
    programs: Vec<Program>,
    losses: Vec<LossCount>,
    streams: StreamNumbers,
    /// `None` when `host.enabled` is false.
    host: Option<HostNumbers>,
    /// Loops around queries, newest first.
    findings: Vec<FoundLoop>,
    own_process: Option<OwnProcess>,
    read_seconds: f64,
}

#[derive(Serialize)]
struct ServiceNumbers {
    #[serde(flatten)]
    service: Service,
    syscalls: Vec<SyscallNumbers>,
    tcp: TcpNumbers,
    unix: UnixNumbers,
    /// What its processes take from the host; `None` when that is not read.
    resources: Option<ResourceNumbers>,
    #[serde(flatten)]
    traffic: TrafficNumbers,
}

#[derive(Serialize)]
struct SyscallNumbers {
    name: String,
    duration: Buckets,
    errors: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct TcpNumbers {
    connect: Buckets,
    connect_errors: BTreeMap<String, u64>,
    lifetime: Buckets,
    rtt: Buckets,
    accepts: u64,
    open: u64,
    opened: u64,
    closed: u64,
    adopted: u64,
    retransmits: u64,
    resets_received: u64,
    resets_sent: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

#[derive(Serialize)]
struct UnixNumbers {
    connect: Buckets,
    connect_errors: BTreeMap<String, u64>,
    accepts: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

/// A histogram at its full resolution; empty buckets at the end are left out.
#[derive(Serialize)]
struct Buckets {
    count: u64,
    sum_seconds: f64,
    counts: Vec<u64>,
}

pub(super) async fn overview(State(app): State<App>) -> Result<Json<Overview>, CollectError> {
    let reading = app.collector.read().await?;
    Ok(Json(
        tokio::task::spawn_blocking(move || Overview::new(&reading)).await?,
    ))
}

impl Overview {
    fn new(reading: &Reading) -> Self {
        let snapshot = &reading.collected.snapshot;
        Self {
            at_seconds: epoch_seconds(reading.at),
            about: About::from(&reading.status),
            bounds_seconds: (0..BUCKETS).filter_map(bound_ns).map(seconds).collect(),
            latency_bounds_seconds: traffic::latency_bounds_seconds(),
            services: service_numbers(reading),
            probes: probe_list(snapshot),
            programs: program_list(snapshot),
            losses: loss_list(snapshot),
            streams: StreamNumbers::from(&reading.collected.traffic.counts),
            host: reading.collected.host.as_deref().map(HostNumbers::from),
            findings: found_loops(
                &reading.collected.traffic,
                &ServiceNames::new(&reading.collected.services),
            ),
            own_process: reading.own_process,
            read_seconds: reading.read_time.as_secs_f64(),
        }
    }
}

/// What was counted for one name; several ids may share it, as in `/metrics`.
#[derive(Default)]
struct Totals {
    service: Option<Service>,
    syscalls: BTreeMap<u16, Histogram>,
    errors: BTreeMap<u16, BTreeMap<String, u64>>,
    sockets: SocketStats,
    tcp_errors: BTreeMap<String, u64>,
    unix_errors: BTreeMap<String, u64>,
    traffic: Arc<ServiceReport>,
    resources: Option<ResourceNumbers>,
}

fn service_numbers(reading: &Reading) -> Vec<ServiceNumbers> {
    let services = &reading.collected.services;
    let snapshot = &reading.collected.snapshot;
    let names = ServiceNames::new(services);
    let mut by_name: BTreeMap<&str, Totals> = BTreeMap::new();
    for view in services {
        let totals = by_name.entry(&view.name).or_default();
        match &mut totals.service {
            Some(service) => service.merge(view),
            none => *none = Some(Service::from(view)),
        }
    }
    for (key, stats) in &snapshot.syscalls {
        let totals = by_name.entry(names.get(key.service)).or_default();
        totals.syscalls.entry(key.nr).or_default().merge(stats);
    }
    for (key, count) in &snapshot.syscall_errors {
        let totals = by_name.entry(names.get(key.service)).or_default();
        add(
            totals.errors.entry(key.nr).or_default(),
            names::errno(key.errno),
            *count,
        );
    }
    for (id, stats) in sorted(&snapshot.sockets, |id| *id) {
        by_name
            .entry(names.get(id))
            .or_default()
            .sockets
            .merge(stats);
    }
    for (key, count) in &snapshot.connect_errors {
        let totals = by_name.entry(names.get(key.service)).or_default();
        let errors = if key.transport == Transport::Unix as u8 {
            &mut totals.unix_errors
        } else {
            &mut totals.tcp_errors
        };
        add(errors, names::connect_errno(key.errno), *count);
    }
    for (name, report) in traffic::by_name(&reading.collected.traffic, &names) {
        by_name.entry(name).or_default().traffic = report;
    }
    if let Some(host) = reading.collected.host.as_deref() {
        for (name, report) in resources_by_name(host, &names) {
            by_name.entry(name).or_default().resources = Some(ResourceNumbers::new(host, &report));
        }
    }
    by_name
        .into_iter()
        .map(|(name, totals)| totals.finish(name))
        .collect()
}

fn add(errors: &mut BTreeMap<String, u64>, name: impl Into<String>, count: u64) {
    let sum = errors.entry(name.into()).or_default();
    *sum = sum.saturating_add(count);
}

impl Totals {
    fn finish(self, name: &str) -> ServiceNumbers {
        let mut errors = self.errors;
        // An error can be counted a moment before its call; it must be shown all the same.
        let mut syscalls = self.syscalls;
        for nr in errors.keys() {
            syscalls.entry(*nr).or_default();
        }
        let sockets = &self.sockets;
        ServiceNumbers {
            service: self.service.unwrap_or_else(|| {
                Service::from(&ServiceView {
                    name: name.to_owned(),
                    ..ServiceView::default()
                })
            }),
            syscalls: syscalls
                .iter()
                .map(|(nr, stats)| SyscallNumbers {
                    name: names::syscall(*nr).into_owned(),
                    duration: Buckets::from(stats),
                    errors: errors.remove(nr).unwrap_or_default(),
                })
                .collect(),
            unix: UnixNumbers {
                connect: Buckets::from(&sockets.unix_connect),
                connect_errors: self.unix_errors,
                accepts: sockets.unix_accepts,
                sent_bytes: sockets.unix.sent_bytes,
                received_bytes: sockets.unix.received_bytes,
            },
            resources: self.resources,
            tcp: TcpNumbers::new(sockets, self.tcp_errors),
            traffic: TrafficNumbers::from(&*self.traffic),
        }
    }
}

impl TcpNumbers {
    fn new(sockets: &SocketStats, connect_errors: BTreeMap<String, u64>) -> Self {
        Self {
            connect: Buckets::from(&sockets.tcp_connect),
            connect_errors,
            lifetime: Buckets::from(&sockets.tcp_lifetime),
            rtt: Buckets::from(&sockets.tcp_rtt),
            accepts: sockets.tcp_accepts,
            open: sockets.tcp_open(),
            opened: sockets.tcp_opened(),
            closed: sockets.tcp_ended(),
            adopted: sockets.tcp_adopted(),
            retransmits: sockets.tcp_retransmits,
            resets_received: sockets.tcp_resets_received,
            resets_sent: sockets.tcp_resets_sent,
            sent_bytes: sockets.tcp.sent_bytes,
            received_bytes: sockets.tcp.received_bytes,
        }
    }
}

impl Buckets {
    fn new(count: u64, sum_ns: u64, buckets: &[u64]) -> Self {
        let used = buckets
            .iter()
            .rposition(|count| *count > 0)
            .map_or(0, |last| last + 1);
        Self {
            count,
            sum_seconds: seconds(sum_ns),
            counts: buckets.iter().take(used).copied().collect(),
        }
    }
}

impl From<&Histogram> for Buckets {
    fn from(histogram: &Histogram) -> Self {
        Self::new(histogram.count(), histogram.sum_ns, &histogram.buckets)
    }
}
