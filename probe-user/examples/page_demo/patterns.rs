//! An hour before the demo, in which some statements took less time.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use probe_user::{
    queries::{History, Key, Statements, Sums, Window},
    sql::SqlCache,
    store::Side,
    traffic::{Latencies, Totals},
};

use crate::{TOP, total};

/// By how much each of [`TOP`] ran less then, and took less time; what is not there is new.
const BEFORE: [(f64, f64); 8] = [
    (0.97, 0.35),
    (0.96, 1.0),
    (0.8, 0.9),
    (1.0, 1.02),
    (1.3, 1.0),
    (0.7, 0.9),
    (1.0, 1.0),
    (0.06, 1.0),
];

/// Windows of the hour before, and what the whole hour has to be like: as many seconds as the demo
/// says that it has been running.
const WINDOWS: i64 = 6;
const SECONDS: f64 = 600.0;

/// Began an hour ago, after another hour of a former run.
pub(crate) fn history() -> Arc<History> {
    let history = History::default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
    let began_ms = now_ms - 3_600_000;
    history.begin(began_ms, 60_000);
    let windows = (0..WINDOWS).map(|number| Window {
        from_ms: began_ms - (WINDOWS - number) * 600_000,
        to_ms: began_ms - (WINDOWS - number - 1) * 600_000,
        observed_ms: 600_000,
        statements: statements(),
    });
    history.remember(windows.collect());
    history.into()
}

fn statements() -> Statements {
    let mut cache = SqlCache::default();
    let mut statements = Statements::new();
    for ((text, rate, typical_ns, rows, _), (calls, time)) in TOP.iter().zip(BEFORE) {
        let parsed = cache.parse(text.as_bytes(), false, false);
        let Some(part) = parsed.parts.first() else {
            continue;
        };
        for (service, side, share) in [
            ("postgresql", Side::Server, 1.0),
            ("shop", Side::Client, 0.93),
        ] {
            let key = Key {
                service: service.into(),
                side,
                fingerprint: Some(part.info.fingerprint),
            };
            let calls = total(rate * share * calls, SECONDS / WINDOWS as f64);
            let sums = Sums {
                totals: Totals {
                    calls,
                    errors: 0,
                    rows: total(rate * share * rows, SECONDS / WINDOWS as f64),
                    busy_ns: total(
                        rate * share * typical_ns * time * 2.0,
                        SECONDS / WINDOWS as f64,
                    ),
                },
                latencies: Latencies::default(),
                database: "shop".into(),
                sql: Some(Arc::clone(&part.info)),
            };
            statements.insert(key, sums);
        }
    }
    statements
}
