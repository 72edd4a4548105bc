//! Views, actions, calls and resources of pages, summed up for the store window by window.

use std::{collections::BTreeMap, sync::Arc};

use super::beacon::{Beacon, CallReason};
use crate::store::{BrowserSum, SumKind};

/// Different rows of one window; what is beyond is summed under the page `other`.
const ROWS: usize = 5_000;

/// What came since the last window ended.
#[derive(Debug, Default)]
pub(super) struct Sums {
    from_ms: i64,
    rows: BTreeMap<Key, Row>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    app: String,
    page: String,
    kind: SumKind,
    name: String,
    detail: String,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    count: u64,
    bytes: u64,
    opaque: u64,
    duration_ms: u64,
}

impl Sums {
    /// The first window begins.
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            from_ms: now_ms,
            rows: BTreeMap::new(),
        }
    }

    /// Adds what a beacon tells of its page. `routes` are those of its calls.
    pub(super) fn add(&mut self, beacon: &Beacon, app: &str, page: &str, routes: &[Arc<str>]) {
        let mut add = |kind, name: &str, detail: &str, row| {
            let key = Key {
                app: app.to_owned(),
                page: page.to_owned(),
                kind,
                name: name.to_owned(),
                detail: detail.to_owned(),
            };
            self.put(key, row);
        };
        let count = |count| Row {
            count,
            ..Row::default()
        };
        if beacon.started {
            add(SumKind::View, "", "", count(1));
        }
        for action in &beacon.actions {
            add(
                SumKind::Action,
                &action.name,
                action.kind.as_str(),
                count(action.count),
            );
        }
        for (call, route) in beacon.calls.iter().zip(routes) {
            let status = call.status.to_string();
            let detail = match call.reason {
                CallReason::Status => &status,
                reason => reason.as_str(),
            };
            let row = Row {
                count: call.count,
                duration_ms: call.duration_ms,
                ..Row::default()
            };
            add(
                SumKind::Call,
                &format!("{} {route}", call.method),
                detail,
                row,
            );
        }
        for resources in &beacon.resources {
            let row = Row {
                count: resources.count,
                bytes: resources.bytes,
                opaque: resources.opaque,
                duration_ms: resources.duration_ms,
            };
            add(SumKind::Resource, resources.kind.as_str(), "", row);
        }
    }

    fn put(&mut self, key: Key, row: Row) {
        let full = self.rows.len() >= ROWS && !self.rows.contains_key(&key);
        let key = if full {
            let other = || crate::routes::OTHER.to_owned();
            let (name, detail) = match key.kind {
                // Few by themselves.
                SumKind::View | SumKind::Resource => (key.name, key.detail),
                SumKind::Action | SumKind::Call => (other(), String::new()),
            };
            Key {
                app: String::new(),
                page: other(),
                kind: key.kind,
                name,
                detail,
            }
        } else {
            key
        };
        let mine = self.rows.entry(key).or_default();
        mine.count = mine.count.saturating_add(row.count);
        mine.bytes = mine.bytes.saturating_add(row.bytes);
        mine.opaque = mine.opaque.saturating_add(row.opaque);
        mine.duration_ms = mine.duration_ms.saturating_add(row.duration_ms);
    }

    /// Ends the window, and begins the next one where it ended.
    pub(super) fn take(&mut self, now_ms: i64, host: &str) -> Vec<BrowserSum> {
        let from_ms = self.from_ms;
        // A clock that was put back must not make windows that overlap.
        let to_ms = now_ms.max(from_ms + 1);
        self.from_ms = to_ms;
        let rows = std::mem::take(&mut self.rows).into_iter();
        rows.map(|(key, row)| BrowserSum {
            from_ms,
            to_ms,
            host: host.to_owned(),
            app: key.app,
            page: key.page,
            kind: key.kind,
            name: key.name,
            detail: key.detail,
            count: row.count,
            bytes: row.bytes,
            opaque: row.opaque,
            duration_ms: row.duration_ms,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vitals::beacon::{Action, ActionKind};

    #[test]
    fn windows_follow_one_another_and_a_flood_of_names_is_bounded() {
        let mut sums = Sums::new(1_000);
        for n in 0..20_000 {
            let beacon = Beacon {
                started: true,
                actions: vec![Action {
                    name: format!("a{n}"),
                    kind: ActionKind::Click,
                    count: 2,
                }],
                ..Beacon::default()
            };
            sums.add(&beacon, "", "/p", &[]);
        }
        let rows = sums.take(900, "h");
        assert!(rows.len() <= ROWS + 4, "{}", rows.len());
        assert!(
            rows.iter()
                .all(|row| row.from_ms == 1_000 && row.to_ms == 1_001)
        );
        let total = |kind| -> u64 {
            let rows = rows.iter().filter(|row| row.kind == kind);
            rows.map(|row| row.count).sum()
        };
        assert_eq!(
            (total(SumKind::View), total(SumKind::Action)),
            (20_000, 40_000)
        );
        assert!(sums.take(2_000, "h").is_empty());
        assert_eq!(sums.from_ms, 2_000);
    }
}
