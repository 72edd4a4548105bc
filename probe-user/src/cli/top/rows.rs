//! From two answers to what happened between them.

use std::collections::{BTreeMap, btree_map::Entry};

use super::answer::{Answer, Fingerprint, Overview, Requests, Service, Statements, Verdict};
use crate::verdict::quantile;

/// One service.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) processes: u64,
    /// Requests and statements that it answered.
    pub(super) answered: Line,
    pub(super) cpu: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) run_queue_p99: Option<f64>,
    pub(super) disk_p99: Option<f64>,
    pub(super) cause: Option<String>,
    pub(super) slow: bool,
    pub(super) sentence: String,
    pub(super) shares: BTreeMap<String, f64>,
    pub(super) work: BTreeMap<String, f64>,
}

/// What happened again and again under one name; times in seconds, rates a second.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) calls: f64,
    pub(super) errors: f64,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    /// Time that it took, in seconds a second.
    pub(super) busy: f64,
}

/// What a service can be asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Detail {
    pub(super) routes: Vec<Line>,
    pub(super) statements: Vec<Line>,
    pub(super) syscalls: Vec<Line>,
}

/// Errors that a healthy program with non-blocking sockets sees all the time.
const EXPECTED: [&str; 2] = ["EAGAIN", "EINPROGRESS"];

/// Counts of one name, before they become a [`Line`].
#[derive(Debug, Clone, Default)]
struct Counts {
    calls: u64,
    errors: u64,
    sum_seconds: f64,
    counts: Vec<u64>,
}

impl Counts {
    fn add(&mut self, calls: u64, errors: u64, sum_seconds: f64, counts: &[u64]) {
        self.calls = self.calls.saturating_add(calls);
        self.errors = self.errors.saturating_add(errors);
        self.sum_seconds += sum_seconds;
        if self.counts.len() < counts.len() {
            self.counts.resize(counts.len(), 0);
        }
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum = sum.saturating_add(*count);
        }
    }

    fn since(&self, old: &Self) -> Self {
        let mut since = self.clone();
        since.calls = self.calls.saturating_sub(old.calls);
        since.errors = self.errors.saturating_sub(old.errors);
        since.sum_seconds = (self.sum_seconds - old.sum_seconds).max(0.0);
        for (count, old) in since.counts.iter_mut().zip(&old.counts) {
            *count = count.saturating_sub(*old);
        }
        since
    }

    fn line(&self, name: &str, seconds: f64, bounds: &[f64]) -> Line {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rate is shown with three digits"
        )]
        let rate = |count: u64| {
            if seconds > 0.0 {
                count as f64 / seconds
            } else {
                0.0
            }
        };
        Line {
            name: name.to_owned(),
            calls: rate(self.calls),
            errors: rate(self.errors),
            p50: quantile(&self.counts, bounds, 0.5),
            p99: quantile(&self.counts, bounds, 0.99),
            busy: if seconds > 0.0 {
                self.sum_seconds / seconds
            } else {
                0.0
            },
        }
    }
}

type Table = BTreeMap<String, Counts>;

/// The time between two answers, 0 when there is no older one of the same daemon.
pub(super) fn seconds_between(now: &Overview, then: Option<&Overview>) -> f64 {
    then.map_or(0.0, |then| (now.at_seconds - then.at_seconds).max(0.0))
}

/// All services, in the daemon's order.
pub(super) fn rows(now: &Answer, then: Option<&Answer>) -> Vec<Row> {
    let seconds = seconds_between(&now.overview, then.map(|then| &then.overview));
    let services = now.overview.services.iter();
    services
        .map(|service| {
            let old = then.and_then(|then| find(then, &service.name));
            let mut verdicts = now.verdicts.services.iter();
            let verdict = verdicts.find(|verdict| verdict.name == service.name);
            row(now, service, old, verdict, seconds)
        })
        .collect()
}

fn row(
    now: &Answer,
    service: &Service,
    old: Option<&Service>,
    verdict: Option<&Verdict>,
    seconds: f64,
) -> Row {
    let bounds = &now.overview.latency_bounds_seconds;
    let answered = answered(service).since(&old.map(answered).unwrap_or_default());
    let verdict = verdict.cloned().unwrap_or_default();
    Row {
        name: service.name.clone(),
        kind: service.kind.clone(),
        processes: service.processes,
        answered: answered.line(
            &service.name,
            if old.is_some() { seconds } else { 0.0 },
            bounds,
        ),
        cpu: verdict.cpu.or_else(|| cpu(service, old, seconds)),
        resident_bytes: service.resources.as_ref().map(|taken| taken.resident_bytes),
        run_queue_p99: verdict.run_queue_p99_seconds,
        disk_p99: verdict.disk_p99_seconds,
        cause: verdict.cause,
        slow: verdict.slow,
        sentence: verdict.sentence,
        shares: verdict.shares,
        work: verdict.work,
    }
}

/// CPU seconds a second by `/proc`, for a daemon that does not watch the scheduler.
fn cpu(service: &Service, old: Option<&Service>, seconds: f64) -> Option<f64> {
    let (now, old) = (service.resources.as_ref()?, old?.resources.as_ref()?);
    (seconds > 0.0).then(|| (now.cpu_seconds - old.cpu_seconds).max(0.0) / seconds)
}

/// Routes, statements and system calls of one service, most time first.
pub(super) fn detail(now: &Answer, then: Option<&Answer>, name: &str) -> Option<Detail> {
    let service = find(now, name)?;
    let old = then.and_then(|then| find(then, name));
    let seconds = seconds_between(&now.overview, then.map(|then| &then.overview));
    let lines = |table: fn(&Service) -> Table, bounds: &[f64]| {
        let before = old.map(table).unwrap_or_default();
        lines(&table(service), &before, seconds, bounds)
    };
    let bounds = &now.overview.latency_bounds_seconds;
    Some(Detail {
        routes: lines(routes, bounds),
        statements: lines(statements, bounds),
        syscalls: lines(syscalls, &now.overview.bounds_seconds),
    })
}

fn find<'a>(answer: &'a Answer, name: &str) -> Option<&'a Service> {
    let mut services = answer.overview.services.iter();
    services.find(|service| service.name == name)
}

fn lines(now: &Table, before: &Table, seconds: f64, bounds: &[f64]) -> Vec<Line> {
    let nothing = Counts::default();
    let lines = now.iter().map(|(name, counts)| {
        let old = before.get(name).unwrap_or(&nothing);
        (counts.since(old).line(name, seconds, bounds), counts)
    });
    let mut lines: Vec<_> = lines.collect();
    // What a quiet moment can't order, the whole time does.
    lines.sort_by(|(one, one_ever), (other, other_ever)| {
        other
            .busy
            .total_cmp(&one.busy)
            .then(other_ever.sum_seconds.total_cmp(&one_ever.sum_seconds))
    });
    lines.into_iter().map(|(line, _)| line).collect()
}

fn is_failed(requests: &Requests) -> u64 {
    // A response that was broken off may have been meant well.
    if requests.status.is_some_and(|status| status >= 500) {
        requests.calls
    } else {
        requests.aborted
    }
}

fn failed_statements(statements: &Statements) -> u64 {
    if statements.outcome == "error" {
        statements.calls
    } else {
        0
    }
}

fn answered(service: &Service) -> Counts {
    let mut sum = Counts::default();
    for series in &service.http.requests {
        sum.add(
            series.calls,
            is_failed(series),
            series.sum_seconds,
            &series.counts,
        );
    }
    for series in &service.postgres {
        sum.add(
            series.calls,
            failed_statements(series),
            series.sum_seconds,
            &series.counts,
        );
    }
    sum
}

fn routes(service: &Service) -> Table {
    let mut table = Table::new();
    for series in &service.http.requests {
        table
            .entry(format!("{} {}", series.method, series.route))
            .or_default()
            .add(
                series.calls,
                is_failed(series),
                series.sum_seconds,
                &series.counts,
            );
    }
    table
}

/// Those that it executed as a server, else those that it sent.
fn statements(service: &Service) -> Table {
    let Side { server, client } = Side::of(service);
    let mut table = Table::new();
    for series in if server.is_empty() { client } else { server } {
        let name = match &series.text {
            Some(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
            None => format!("({} statements)", series.fingerprint),
        };
        let counts = Counts {
            calls: series.calls,
            errors: series.errors,
            sum_seconds: series.sum_seconds,
            counts: series.counts.clone(),
        };
        match table.entry(name) {
            Entry::Vacant(free) => {
                free.insert(counts);
            }
            Entry::Occupied(mut known) => known.get_mut().add(
                counts.calls,
                counts.errors,
                counts.sum_seconds,
                &counts.counts,
            ),
        }
    }
    table
}

struct Side<'a> {
    server: &'a [Fingerprint],
    client: &'a [Fingerprint],
}

impl<'a> Side<'a> {
    fn of(service: &'a Service) -> Self {
        Self {
            server: &service.database.server.statements,
            client: &service.database.client.statements,
        }
    }
}

fn syscalls(service: &Service) -> Table {
    let calls = service.syscalls.iter().map(|syscall| {
        let errors = syscall.errors.iter();
        let errors = errors.filter(|(name, _)| {
            !EXPECTED.contains(&name.as_str()) && !name.starts_with("ERESTART")
        });
        let counts = Counts {
            calls: syscall.duration.count,
            errors: errors.fold(0, |sum, (_, count)| sum.saturating_add(*count)),
            sum_seconds: syscall.duration.sum_seconds,
            counts: syscall.duration.counts.clone(),
        };
        (syscall.name.clone(), counts)
    });
    calls.collect()
}
