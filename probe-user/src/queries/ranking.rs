//! Which statements matter most, and whether that is new.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use super::{History, Key, Statements, Sums, Window, difference, suspicion};
use crate::{
    metrics::{collect::ServiceNames, metric::seconds},
    store::Side,
    traffic::{Report, Totals},
};

/// What trends compare with, in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;

/// Less observed time than this, or than ten windows where those are shorter, makes no trend.
const ENOUGH_MS: i64 = 600_000;
const ENOUGH_WINDOWS: i64 = 10;

/// The time that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// So many milliseconds until now.
    Last(i64),
    /// All of it; trends are those of the last hour then.
    SinceStart,
}

/// What decides the order; always most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Time of all executions.
    Total,
    /// Time of one execution.
    Mean,
    /// The duration that one of twenty executions exceeds.
    P95,
    /// Executions.
    Calls,
    /// Rows of one execution.
    Rows,
    /// Executions that failed.
    Errors,
}

/// The same statement in the hour before, for one hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Executions an hour then.
    pub calls_per_hour: f64,
    /// Time in seconds that they took an hour.
    pub seconds_per_hour: f64,
    /// Mean time of one in seconds; `None` when there was none.
    pub mean_seconds: Option<f64>,
    /// By how much there are more executions now: 0.5 is half as many again; `None` when there were
    /// none before.
    pub calls_change: Option<f64>,
    /// Likewise the time of all of them.
    pub total_change: Option<f64>,
    /// Likewise the mean.
    pub mean_change: Option<f64>,
}

/// One statement's numbers.
#[derive(Debug, Clone)]
pub struct Ranked {
    /// Whose it is.
    pub key: Key,
    /// What it did.
    pub sums: Sums,
    /// Its part of the time of all statements of this service and side.
    pub share: f64,
    /// What changed; `None` when the hour before was not observed.
    pub trend: Option<Trend>,
    /// Why it may read whole tables.
    pub full_scan: Option<String>,
}

/// Everything that can be ranked, in no order.
#[derive(Debug)]
pub struct Ranking {
    /// Begin of the time, Unix milliseconds.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
    /// How much of it was observed, in milliseconds.
    pub observed_ms: i64,
    /// The hour that trends compare with, without its statements.
    pub before: Window,
    /// Why there are no trends.
    pub no_trend: Option<String>,
    /// Statements with a series of their own.
    pub statements: Vec<Ranked>,
    /// All others, by service and side, with their share.
    pub rest: Vec<(Key, Totals, f64)>,
}

impl Ranking {
    /// Puts together what is known now.
    pub(crate) fn new(
        history: &History,
        report: &Report,
        names: &ServiceNames<'_>,
        span: Span,
        started_ms: i64,
        now_ms: i64,
    ) -> Self {
        let last_ms = match span {
            Span::Last(ms) => ms,
            Span::SinceStart => HOUR_MS,
        };
        let recent = history.between(
            now_ms.saturating_sub(last_ms),
            now_ms,
            Some((report, names)),
        );
        let shown = match span {
            Span::Last(_) => None,
            Span::SinceStart => Some(Window {
                from_ms: started_ms,
                to_ms: now_ms,
                observed_ms: now_ms.saturating_sub(started_ms),
                statements: difference::between(&Report::default(), report, names),
            }),
        };
        let mut before =
            history.between(recent.from_ms.saturating_sub(HOUR_MS), recent.from_ms, None);
        let no_trend = no_trend(&before, history.window_ms());
        let old = std::mem::take(&mut before.statements);
        let compare = |key: &Key| {
            let (now, old) = (recent.statements.get(key), old.get(key));
            let trend = Trend::new(now, recent.observed_ms, old, before.observed_ms);
            no_trend.is_none().then_some(trend)
        };
        let shown = shown.as_ref().unwrap_or(&recent);
        let (statements, rest) = rank(&shown.statements, compare);
        Self {
            from_ms: shown.from_ms,
            to_ms: shown.to_ms,
            observed_ms: shown.observed_ms,
            before,
            no_trend,
            statements,
            rest,
        }
    }

    /// Brings the statements into this order; equals by service, side and fingerprint.
    pub fn sort(&mut self, by: Sort) {
        let weight = |one: &Ranked| {
            let totals = &one.sums.totals;
            let per_call = |number: f64| number / totals.calls.max(1) as f64;
            match by {
                Sort::Total => totals.busy_ns as f64,
                Sort::Mean => per_call(totals.busy_ns as f64),
                Sort::P95 => one.sums.latencies.quantile(0.95).unwrap_or(0) as f64,
                Sort::Calls => totals.calls as f64,
                Sort::Rows => per_call(totals.rows as f64),
                Sort::Errors => totals.errors as f64,
            }
        };
        self.statements.sort_by(|one, other| {
            let order = weight(other).partial_cmp(&weight(one));
            order
                .unwrap_or(Ordering::Equal)
                .then_with(|| one.key.cmp(&other.key))
        });
    }
}

fn no_trend(before: &Window, window_ms: i64) -> Option<String> {
    let enough_ms = ENOUGH_MS.min(window_ms.saturating_mul(ENOUGH_WINDOWS));
    (before.observed_ms < enough_ms).then(|| {
        format!(
            "of the hour before, only {} s were observed; {} s are needed",
            before.observed_ms / 1_000,
            enough_ms / 1_000
        )
    })
}

fn rank(
    statements: &Statements,
    trend: impl Fn(&Key) -> Option<Trend>,
) -> (Vec<Ranked>, Vec<(Key, Totals, f64)>) {
    // The fastest statement tells what the way to the server and back takes at least.
    let mut of_side: BTreeMap<(Arc<str>, Side), (u64, Option<u64>)> = BTreeMap::new();
    for (key, sums) in statements {
        let whole = of_side.entry((Arc::clone(&key.service), key.side));
        let (busy_ns, fastest_ns) = whole.or_default();
        *busy_ns = busy_ns.saturating_add(sums.totals.busy_ns);
        let median = sums.latencies.quantile(0.5);
        *fastest_ns = [*fastest_ns, median].into_iter().flatten().min();
    }
    let whole = |key: &Key| {
        let side = (Arc::clone(&key.service), key.side);
        of_side.get(&side).copied().unwrap_or_default()
    };
    let share = |key: &Key, totals: &Totals| totals.busy_ns as f64 / whole(key).0.max(1) as f64;
    let (named, rest): (Vec<_>, Vec<_>) = statements
        .iter()
        .partition(|(key, _)| key.fingerprint.is_some());
    let named = named.into_iter().map(|(key, sums)| Ranked {
        share: share(key, &sums.totals),
        trend: trend(key),
        full_scan: suspicion(sums, whole(key).1),
        key: key.clone(),
        sums: sums.clone(),
    });
    let rest = rest.into_iter().map(|(key, sums)| {
        let share = share(key, &sums.totals);
        (key.clone(), sums.totals.clone(), share)
    });
    (named.collect(), rest.collect())
}

impl Trend {
    fn new(now: Option<&Sums>, now_ms: i64, before: Option<&Sums>, before_ms: i64) -> Self {
        let numbers = |sums: Option<&Sums>, ms: i64| {
            let totals = sums.map(|sums| sums.totals.clone()).unwrap_or_default();
            let hours = ms.max(1) as f64 / HOUR_MS as f64;
            let (calls, spent) = (totals.calls as f64, seconds(totals.busy_ns));
            let mean = (totals.calls > 0).then(|| spent / calls);
            (calls / hours, spent / hours, mean)
        };
        let (calls_now, seconds_now, mean_now) = numbers(now, now_ms);
        let (calls, spent, mean) = numbers(before, before_ms);
        let change = |now: f64, before: f64| (before > 0.0).then(|| now / before - 1.0);
        Self {
            calls_per_hour: calls,
            seconds_per_hour: spent,
            mean_seconds: mean,
            calls_change: change(calls_now, calls),
            total_change: change(seconds_now, spent),
            mean_change: mean_now
                .zip(mean)
                .and_then(|(now, before)| change(now, before)),
        }
    }
}
