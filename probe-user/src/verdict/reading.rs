//! What is read of all services at one moment, by name.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use probe_common::{
    histogram::Histogram,
    scheduler::{OffCpuReason, SchedulerStats},
};

use super::{SchedulerTimes, ServiceTimes, UnderWay, window::Services};
use crate::kernel::{
    scheduler::Ongoing,
    snapshot::{ProbeState, Snapshot},
};
use crate::traffic::{
    self, ConnectionState, DatabaseReport, DbTally, FingerprintReport, ServiceReport, Timing,
};

/// One look at all services.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    pub(super) services: Services,
}

impl Reading {
    /// Adds a service; several of one name are one.
    pub fn add(&mut self, name: &str, times: &ServiceTimes, under_way: UnderWay) {
        let (sum, now) = match self.services.get_mut(name) {
            Some(known) => known,
            None => self.services.entry(Arc::from(name)).or_default(),
        };
        sum.add(times);
        now.requests = now.requests.saturating_add(under_way.requests);
        now.statements = now.statements.saturating_add(under_way.statements);
        now.database = now.database.saturating_add(under_way.database);
    }
}

/// Looks at all services that are known. `snapshot` and `traffic` are of the same moment.
pub fn reading(
    services: &[(u16, String)],
    snapshot: &Snapshot,
    traffic: &traffic::Report,
) -> Reading {
    let watched = snapshot
        .probes
        .iter()
        .any(|probe| probe.name == "scheduler" && probe.state == ProbeState::Active);
    let mut disks: HashMap<u16, Histogram> = HashMap::new();
    for (key, stats) in &snapshot.block {
        disks.entry(key.service).or_default().merge(&stats.latency);
    }
    let mut reading = Reading::default();
    for (id, name) in services {
        let report = traffic.services.get(id);
        let (mut times, under_way) = report
            .map(|report| service_times(report))
            .unwrap_or_default();
        times.scheduler = watched.then(|| {
            let stats = snapshot.scheduler.get(id).copied().unwrap_or_default();
            let ongoing = snapshot.ongoing.get(id).copied().unwrap_or_default();
            SchedulerTimes::new(&stats, &ongoing)
        });
        times.disk = disks.get(id).copied().unwrap_or_default();
        reading.add(name, &times, under_way);
    }
    reading
}

/// What the decoders know of a service.
fn service_times(report: &ServiceReport) -> (ServiceTimes, UnderWay) {
    let sum = |timings: &mut dyn Iterator<Item = &Timing>| {
        timings.fold(Timing::default(), |mut sum, timing| {
            sum.add(timing);
            sum
        })
    };
    fn database<'a>(tallies: impl Iterator<Item = &'a DbTally>) -> u64 {
        tallies.fold(0, |sum, tally| sum.saturating_add(tally.ns))
    }
    let times = ServiceTimes {
        requests: sum(&mut report.http_server.values().map(|series| &series.duration)),
        requests_made: sum(&mut report.http_client.values().map(|series| &series.duration)),
        statements: sum(&mut report
            .postgres_server
            .values()
            .map(|series| &series.duration)),
        statements_ns: busy_ns(&report.database_server.fingerprints),
        database_for_requests_ns: database(report.db.routes.values()),
        database_ns: database(report.db.unattributed.values()),
        ..ServiceTimes::default()
    };
    let under_way = UnderWay {
        requests: report.http_active,
        statements: active(&report.database_server),
        database: active(&report.database_client),
    };
    (times, under_way)
}

impl SchedulerTimes {
    /// What the kernel side counted, and what is not over yet. Of idle time only what is over: threads
    /// that never have anything to do would hide how busy the others are.
    pub fn new(stats: &SchedulerStats, ongoing: &Ongoing) -> Self {
        let over = |reason| stats.off_cpu(reason).ns;
        let until_now = |reason: OffCpuReason| {
            let ongoing = ongoing.off_cpu.get(reason as usize);
            over(reason).saturating_add(ongoing.map_or(0, |off_cpu| off_cpu.ns))
        };
        let idle = [
            OffCpuReason::Request,
            OffCpuReason::Poll,
            OffCpuReason::Sleep,
        ];
        let mut run_queue = stats.run_queue;
        run_queue.sum_ns = run_queue.sum_ns.saturating_add(ongoing.run_queue.ns);
        Self {
            on_cpu_ns: stats.on_cpu.sum_ns.saturating_add(ongoing.on_cpu.ns),
            run_queue,
            database_ns: until_now(OffCpuReason::Database),
            network_ns: until_now(OffCpuReason::Network),
            lock_ns: until_now(OffCpuReason::Lock),
            disk_ns: until_now(OffCpuReason::Disk),
            idle_ns: idle.into_iter().map(over).fold(0, u64::saturating_add),
            other_ns: until_now(OffCpuReason::Other),
        }
    }
}

fn busy_ns(fingerprints: &FingerprintReport) -> u64 {
    let top = fingerprints.top.iter().map(|series| series.totals.busy_ns);
    let rest = [fingerprints.other.busy_ns, fingerprints.unknown.busy_ns];
    top.chain(rest).fold(0, u64::saturating_add)
}

fn active(report: &DatabaseReport) -> u64 {
    let states: &BTreeMap<_, _> = &report.connections.states;
    states.get(&ConnectionState::Active).copied().unwrap_or(0)
}

impl ServiceTimes {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        if let Some(other) = &other.scheduler {
            self.scheduler.get_or_insert_default().add(other);
        }
        self.requests.add(&other.requests);
        self.statements.add(&other.statements);
        self.statements_ns = self.statements_ns.saturating_add(other.statements_ns);
        self.database_for_requests_ns = self
            .database_for_requests_ns
            .saturating_add(other.database_for_requests_ns);
        self.database_ns = self.database_ns.saturating_add(other.database_ns);
        self.requests_made.add(&other.requests_made);
        self.disk.merge(&other.disk);
    }

    /// What was added since; nothing where a total is lower than before, as when a service was
    /// forgotten meanwhile.
    pub fn since(&self, old: &Self) -> Self {
        let scheduler = self.scheduler.as_ref().map(|now| match &old.scheduler {
            Some(old) => now.since(old),
            None => now.clone(),
        });
        Self {
            scheduler,
            requests: timing_since(&self.requests, &old.requests),
            statements: timing_since(&self.statements, &old.statements),
            statements_ns: self.statements_ns.saturating_sub(old.statements_ns),
            database_for_requests_ns: self
                .database_for_requests_ns
                .saturating_sub(old.database_for_requests_ns),
            database_ns: self.database_ns.saturating_sub(old.database_ns),
            requests_made: timing_since(&self.requests_made, &old.requests_made),
            disk: histogram_since(&self.disk, &old.disk),
        }
    }
}

impl SchedulerTimes {
    fn add(&mut self, other: &Self) {
        self.run_queue.merge(&other.run_queue);
        for (sum, ns) in self.sums().into_iter().zip(other.clone().sums()) {
            *sum = sum.saturating_add(*ns);
        }
    }

    fn since(&self, old: &Self) -> Self {
        let mut since = self.clone();
        since.run_queue = histogram_since(&self.run_queue, &old.run_queue);
        for (sum, ns) in since.sums().into_iter().zip(old.clone().sums()) {
            *sum = sum.saturating_sub(*ns);
        }
        since
    }

    fn sums(&mut self) -> [&mut u64; 7] {
        [
            &mut self.on_cpu_ns,
            &mut self.database_ns,
            &mut self.network_ns,
            &mut self.lock_ns,
            &mut self.disk_ns,
            &mut self.idle_ns,
            &mut self.other_ns,
        ]
    }
}

fn timing_since(now: &Timing, old: &Timing) -> Timing {
    let mut since = now.clone();
    since.sum_ns = now.sum_ns.saturating_sub(old.sum_ns);
    for (count, old) in since.counts.iter_mut().zip(old.counts) {
        *count = count.saturating_sub(old);
    }
    since
}

fn histogram_since(now: &Histogram, old: &Histogram) -> Histogram {
    let mut since = *now;
    since.sum_ns = now.sum_ns.saturating_sub(old.sum_ns);
    for (count, old) in since.buckets.iter_mut().zip(old.buckets) {
        *count = count.saturating_sub(old);
    }
    since
}
