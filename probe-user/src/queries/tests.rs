//! What a user would lose if these failed: windows whose numbers do not add up, or a trend that
//! compares with an hour that was never seen.

use std::sync::Arc;

use super::*;
use crate::{
    metrics::{ServiceView, collect::ServiceNames},
    sql::Operation,
    traffic::{DatabaseReport, Fingerprint, FingerprintReport, Report, ServiceReport, Timing},
};

const MINUTE_MS: i64 = 60_000;

fn totals(calls: u64) -> Totals {
    Totals {
        calls,
        errors: 0,
        rows: calls,
        busy_ns: calls * 1_000_000,
    }
}

fn series(fingerprint: u64, calls: u64) -> Fingerprint {
    let sql = SqlInfo {
        text: format!("select {fingerprint} from t").into(),
        fingerprint,
        operation: Operation::Select,
        complete: true,
    };
    let mut series = Fingerprint::with(sql.into(), "shop".into(), totals(calls), Timing::default());
    series.latencies.observe_many(1_000_000, calls);
    series
}

/// Statements of service 1 since the start.
fn report(at_ns: u64, top: &[(u64, u64)], other: u64) -> Report {
    let top = top.iter();
    let service = ServiceReport {
        database_client: DatabaseReport {
            fingerprints: FingerprintReport {
                top: top.map(|(print, calls)| series(*print, *calls)).collect(),
                other: totals(other),
                unknown: Totals::default(),
            },
            ..DatabaseReport::default()
        },
        ..ServiceReport::default()
    };
    Report {
        services: [(1, Arc::new(service))].into(),
        at_ns,
        ..Report::default()
    }
}

fn views() -> Vec<ServiceView> {
    vec![ServiceView {
        id: 1,
        name: "web".into(),
        ..ServiceView::default()
    }]
}

fn calls(window: &Window) -> Vec<(Option<u64>, u64)> {
    let statements = window.statements.iter();
    statements
        .map(|(key, sums)| (key.fingerprint, sums.totals.calls))
        .collect()
}

#[test]
fn a_window_has_what_happened_in_it() {
    let (views, history) = (views(), History::default());
    let names = ServiceNames::new(&views);
    history.begin(0, MINUTE_MS);
    let first = history.add(report(1, &[(1, 10)], 3), &names, MINUTE_MS);
    assert_eq!(calls(&first), [(None, 3), (Some(1), 10)]);
    let second = history.add(report(2, &[(1, 10), (2, 4)], 3), &names, 2 * MINUTE_MS);
    assert_eq!(calls(&second), [(Some(2), 4)]);
    let now = report(3, &[(1, 15), (2, 4)], 3);
    let last = history.between(MINUTE_MS, 3 * MINUTE_MS, Some((&now, &names)));
    assert_eq!(calls(&last), [(Some(1), 5), (Some(2), 4)]);
    assert_eq!((last.from_ms, last.observed_ms), (MINUTE_MS, 2 * MINUTE_MS));
    let sums = last.statements.values().next().unwrap();
    assert_eq!(sums.latencies.count(), 5);
}

/// A statement that loses its series leaves what it did hours ago to `other`: no window may show
/// that as new.
#[test]
fn a_displaced_statement_does_not_repeat_its_past() {
    let (views, history) = (views(), History::default());
    let names = ServiceNames::new(&views);
    history.begin(0, MINUTE_MS);
    history.add(report(1, &[(1, 1_000), (2, 5)], 0), &names, MINUTE_MS);
    // It ran twice more before it went; the newcomer had run once unseen.
    let now = report(2, &[(2, 5), (3, 7)], 1_003);
    let second = history.add(now, &names, 2 * MINUTE_MS);
    assert_eq!(calls(&second), [(None, 3), (Some(3), 7)]);
    // And what comes back begins at zero.
    let back = report(3, &[(1, 4), (3, 7)], 1_008);
    let third = history.add(back, &names, 3 * MINUTE_MS);
    assert_eq!(calls(&third), [(Some(1), 4)]);
}

#[test]
fn a_service_whose_id_was_given_to_another_begins_anew() {
    let (views, history) = (views(), History::default());
    let names = ServiceNames::new(&views);
    history.begin(0, MINUTE_MS);
    history.add(report(1, &[(1, 1_000)], 5), &names, MINUTE_MS);
    let second = history.add(report(2, &[(1, 3)], 2), &names, 2 * MINUTE_MS);
    assert_eq!(calls(&second), [(None, 2), (Some(1), 3)]);
}

#[test]
fn memory_is_bounded_by_time_and_by_statements() {
    let (views, history) = (views(), History::default());
    let names = ServiceNames::new(&views);
    history.begin(0, MINUTE_MS);
    for minute in 1..=200 {
        let now = report(minute, &[(1, minute)], 0);
        history.add(now, &names, i64::try_from(minute).unwrap() * MINUTE_MS);
    }
    let all = history.between(0, i64::MAX, None);
    assert_eq!(all.observed_ms, REACH_MS + MINUTE_MS);
    let many: Vec<_> = (0..900).map(|print| (print, 1)).collect();
    for minute in 201..=240 {
        let many: Vec<_> = many.iter().map(|(p, n)| (*p, n * minute)).collect();
        let now = report(minute, &many, 0);
        history.add(now, &names, i64::try_from(minute).unwrap() * MINUTE_MS);
    }
    let all = history.between(0, i64::MAX, None);
    assert_eq!(all.observed_ms, 22 * MINUTE_MS);
}

#[test]
fn the_store_gives_back_what_it_was_given() {
    let (views, history) = (views(), History::default());
    let names = ServiceNames::new(&views);
    history.begin(0, MINUTE_MS);
    let window = history.add(report(1, &[(1, 10)], 3), &names, MINUTE_MS);
    let mut rows = to_rows(&window, "here");
    rows.extend(to_rows(&window, "elsewhere"));
    let read = from_rows(rows, "here").unwrap();
    assert_eq!(read.statements, window.statements);
    assert_eq!((read.from_ms, read.observed_ms), (0, MINUTE_MS));
    assert!(from_rows(to_rows(&window, "elsewhere"), "here").is_none());
    // A quiet minute was observed all the same.
    let quiet = Window {
        from_ms: 0,
        to_ms: 5,
        observed_ms: 5,
        ..Window::default()
    };
    let read = from_rows(to_rows(&quiet, "here"), "here").unwrap();
    assert!(read.statements.is_empty() && read.observed_ms == 5);

    let later = History::default();
    later.begin(2 * MINUTE_MS, MINUTE_MS);
    later.remember(vec![window.clone(), quiet]);
    // The quiet one lies within the other: once is enough.
    assert_eq!(later.between(0, i64::MAX, None).observed_ms, 5);
}
