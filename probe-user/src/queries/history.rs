//! The last two hours, window by window.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Key, Statements, Sums, difference};
use crate::{
    metrics::collect::ServiceNames,
    sql::{Operation, SqlInfo},
    store::{QueryStats, Side, buckets},
    traffic::{Latencies, Report, Totals},
};

/// How far back windows are remembered, in milliseconds.
pub const REACH_MS: i64 = 2 * 3_600_000 + 600_000;

/// Statements over all windows; the oldest windows make room. Some hundred bytes each.
const MAX_STATEMENTS: usize = 20_000;

/// What all statements did within some time.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Its begin, Unix milliseconds.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
    /// How much of the time between was observed, in milliseconds.
    pub observed_ms: i64,
    /// What was observed.
    pub statements: Statements,
}

impl Window {
    fn add(&mut self, later: &Self) {
        if self.observed_ms == 0 {
            self.from_ms = later.from_ms;
        }
        self.from_ms = self.from_ms.min(later.from_ms);
        self.to_ms = self.to_ms.max(later.to_ms);
        self.observed_ms = self.observed_ms.saturating_add(later.observed_ms);
        for (key, sums) in &later.statements {
            match self.statements.get_mut(key) {
                Some(known) => known.add(sums),
                None => {
                    self.statements.insert(key.clone(), sums.clone());
                }
            }
        }
    }
}

/// What statements did in the last two hours. Shared by those who ask and the one task that adds.
#[derive(Debug, Default)]
pub struct History(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Oldest first.
    windows: VecDeque<Window>,
    /// Statements in them.
    statements: usize,
    /// The report at the end of the latest window.
    last: Report,
    /// When that was; `None` before the first.
    last_ms: Option<i64>,
    /// How long one window is.
    window_ms: i64,
}

impl History {
    /// Counting begins now, Unix milliseconds; windows will be so many milliseconds long.
    pub fn begin(&self, now_ms: i64, window_ms: i64) {
        let mut inner = self.inner();
        inner.last_ms = Some(now_ms);
        inner.window_ms = window_ms;
    }

    /// How long one window is, in milliseconds.
    pub fn window_ms(&self) -> i64 {
        self.inner().window_ms
    }

    /// Ends a window with this report, and returns it.
    pub(crate) fn add(&self, report: Report, names: &ServiceNames<'_>, now_ms: i64) -> Window {
        let mut inner = self.inner();
        let window = inner.current(&report, names, now_ms).unwrap_or_default();
        inner.last = report;
        inner.last_ms = Some(now_ms);
        inner.push_back(window.clone());
        window
    }

    /// Takes windows of a former run from the store, oldest first. Those that overlap with what is
    /// known already are left out.
    pub fn remember(&self, windows: Vec<Window>) {
        let mut inner = self.inner();
        for window in windows.into_iter().rev() {
            let first = inner.windows.front().map(|known| known.from_ms);
            if first
                .or(inner.last_ms)
                .is_none_or(|first| window.to_ms <= first)
            {
                inner.statements += window.statements.len();
                inner.windows.push_front(window);
            }
        }
        inner.make_room();
    }

    /// What happened in windows that lie for the greater part within a time (Unix milliseconds).
    /// The report, which is the latest, tells what has happened since the last window ended.
    pub(crate) fn between(
        &self,
        from_ms: i64,
        to_ms: i64,
        report: Option<(&Report, &ServiceNames<'_>)>,
    ) -> Window {
        let inner = self.inner();
        let mut sum = Window {
            from_ms,
            to_ms: from_ms,
            ..Window::default()
        };
        let within = |window: &&Window| {
            let middle_ms = window.from_ms.midpoint(window.to_ms);
            from_ms <= middle_ms && middle_ms < to_ms
        };
        for window in inner.windows.iter().filter(within) {
            sum.add(window);
        }
        let current = report.and_then(|(report, names)| inner.current(report, names, to_ms));
        if let Some(current) = current {
            sum.add(&current);
        }
        sum
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What has happened since the last window ended; `None` when the report is older than that.
    fn current(&self, report: &Report, names: &ServiceNames<'_>, now_ms: i64) -> Option<Window> {
        let from_ms = self.last_ms?;
        if report.at_ns < self.last.at_ns || now_ms <= from_ms {
            return None;
        }
        Some(Window {
            from_ms,
            to_ms: now_ms,
            observed_ms: now_ms.saturating_sub(from_ms),
            statements: difference::between(&self.last, report, names),
        })
    }

    fn push_back(&mut self, window: Window) {
        if window.observed_ms > 0 {
            self.statements += window.statements.len();
            self.windows.push_back(window);
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        let newest_ms = self.windows.back().map_or(0, |window| window.to_ms);
        while let Some(oldest) = self.windows.front()
            && (self.statements > MAX_STATEMENTS || newest_ms - oldest.to_ms > REACH_MS)
        {
            self.statements -= oldest.statements.len();
            self.windows.pop_front();
        }
    }
}

/// A window as the store keeps it. Quiet is told apart from absent: a window without statements is
/// one row of none.
pub(crate) fn to_rows(window: &Window, host: &str) -> Vec<QueryStats> {
    let row = |key: &Key, sums: &Sums| {
        let sql = sums.sql.as_deref();
        let buckets: buckets::Counts = sums
            .latencies
            .iter()
            .map(|(bucket, count)| (u32::from(bucket), count))
            .collect();
        QueryStats {
            from_ms: window.from_ms,
            to_ms: window.to_ms,
            host: host.to_owned(),
            service: key.service.to_string(),
            side: key.side,
            database: (!sums.database.is_empty()).then(|| sums.database.to_string()),
            fingerprint: key.fingerprint.unwrap_or(REST),
            operation: sql.map_or_else(String::new, |sql| sql.operation.as_str().to_owned()),
            sql: sql.map_or_else(String::new, |sql| sql.text.to_string()),
            calls: sums.totals.calls,
            errors: sums.totals.errors,
            rows: sums.totals.rows,
            busy_ns: sums.totals.busy_ns,
            buckets: buckets::encode(&buckets),
        }
    };
    if window.statements.is_empty() {
        let nobody = Key {
            service: Arc::default(),
            side: Side::Server,
            fingerprint: None,
        };
        return vec![row(&nobody, &Sums::default())];
    }
    let statements = window.statements.iter();
    statements.map(|(key, sums)| row(key, sums)).collect()
}

/// Stands for the statements without a series; no text has this fingerprint but by an accident of
/// one in 2^64.
const REST: u64 = 0;

/// What one host's rows say that the store has summed up over some time; `None` when there are
/// none.
pub(crate) fn from_rows(rows: Vec<QueryStats>, host: &str) -> Option<Window> {
    let mut window: Option<Window> = None;
    for row in rows.into_iter().filter(|row| row.host == host) {
        let window = window.get_or_insert_with(|| Window {
            from_ms: row.from_ms,
            to_ms: row.to_ms,
            ..Window::default()
        });
        window.from_ms = window.from_ms.min(row.from_ms);
        window.to_ms = window.to_ms.max(row.to_ms);
        if row.calls == 0 {
            continue;
        }
        let counts = buckets::decode(&row.buckets).unwrap_or_default();
        let known = counts.into_iter().map(|(bucket, count)| {
            // What does not fit is no bucket of ours, and refused as such.
            (u16::try_from(bucket).unwrap_or(u16::MAX), count)
        });
        let sums = Sums {
            totals: Totals {
                calls: row.calls,
                errors: row.errors,
                rows: row.rows,
                busy_ns: row.busy_ns,
            },
            latencies: Latencies::from_buckets(known).unwrap_or_default(),
            database: row.database.as_deref().unwrap_or_default().into(),
            sql: (row.fingerprint != REST).then(|| {
                Arc::new(SqlInfo {
                    fingerprint: row.fingerprint,
                    operation: Operation::of_label(&row.operation),
                    complete: !row.sql.ends_with('…'),
                    text: row.sql.into(),
                })
            }),
        };
        let key = Key {
            service: row.service.into(),
            side: row.side,
            fingerprint: (row.fingerprint != REST).then_some(row.fingerprint),
        };
        window.statements.entry(key).or_default().add(&sums);
    }
    let mut window = window?;
    window.observed_ms = window.to_ms.saturating_sub(window.from_ms);
    Some(window)
}
