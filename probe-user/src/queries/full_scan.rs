//! Statements that may read whole tables to find a few rows, as far as rows and time can tell.
//!
//! The wire does not show a plan, so this is a suspicion and is called one. Slow for other reasons
//! are: statements that wait for locks (their times scatter: one that waits has others that do not),
//! that are meant to read much (aggregates), that call slow functions, and all of a connection with
//! a long way to its server. What can be told apart from these by rows, time and text is.

use super::Sums;
use crate::{
    metrics::metric::seconds,
    sql::{Operation, SqlInfo},
};

/// Fewest executions to tell from.
const CALLS: u64 = 5;
/// Most rows of one execution that are few.
const FEW_ROWS: f64 = 20.0;
/// Shortest median that is long.
const LONG_NS: u64 = 10_000_000;
/// How many times as long as the fastest statement's median: the network's part is in both.
const LONGER: u64 = 5;
/// How many times as long as the median the 95th percentile may be. Reading the same table takes
/// about the same time; waiting for others does not.
const STEADY: u64 = 4;

/// Words that say that many rows are read on purpose, or that time passes without reading any.
const ON_PURPOSE: [&str; 12] = [
    "group",
    "count(",
    "sum(",
    "avg(",
    "min(",
    "max(",
    "array_agg(",
    "string_agg(",
    "json_agg(",
    "jsonb_agg(",
    "pg_sleep",
    "pg_advisory",
];

/// Why a statement may read whole tables, in one sentence; `None` when nothing speaks for it.
/// `fastest_ns` is the median of the fastest statement of the same service and side.
pub fn suspicion(sums: &Sums, fastest_ns: Option<u64>) -> Option<String> {
    let totals = &sums.totals;
    if totals.calls < CALLS || !could_use_an_index(sums.sql.as_deref()?) {
        return None;
    }
    let rows_per_call = totals.rows as f64 / totals.calls as f64;
    let median_ns = sums.latencies.quantile(0.5)?;
    let late_ns = sums.latencies.quantile(0.95)?;
    let is_long = median_ns >= LONG_NS && median_ns / LONGER >= fastest_ns.unwrap_or(0);
    if rows_per_call > FEW_ROWS || !is_long || late_ns > median_ns.saturating_mul(STEADY) {
        return None;
    }
    Some(format!(
        "{} {:.1} rows per call, yet half of the calls take more than {:.0} ms, and nearly all take \
         about as long, which waiting for locks would not: the server may read many rows to find \
         few. Suspected by rows and time alone; the plan tells (EXPLAIN, or /api/advice with a \
         [[database]]).",
        if sums.sql.as_deref()?.operation == Operation::Select {
            "It returns"
        } else {
            "It changes"
        },
        rows_per_call,
        seconds(median_ns) * 1e3,
    ))
}

/// Whether an index could spare it reading: it has a condition, and is not made to read much. The
/// text is normalised: keywords in lower case, one blank between words.
fn could_use_an_index(sql: &SqlInfo) -> bool {
    let reads = matches!(
        sql.operation,
        Operation::Select | Operation::Update | Operation::Delete
    );
    let mut words = sql.text.split(' ');
    reads
        && words.any(|word| word == "where")
        && !sql.text.split(' ').any(|word| {
            let word = word.trim_start_matches('(');
            ON_PURPOSE.iter().any(|meant| word.starts_with(meant))
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        sql::SqlCache,
        traffic::{Latencies, Totals},
    };

    const MS: u64 = 1_000_000;

    fn statement(sql: &str, rows: u64, durations_ms: &[u64]) -> Sums {
        let mut cache = SqlCache::default();
        let parsed = cache.parse(sql.as_bytes(), false, false);
        let mut latencies = Latencies::default();
        for ms in durations_ms {
            latencies.observe(ms * MS);
        }
        Sums {
            totals: Totals {
                calls: durations_ms.len() as u64,
                rows,
                ..Totals::default()
            },
            latencies,
            database: Arc::default(),
            sql: parsed.parts.first().map(|part| Arc::clone(&part.info)),
        }
    }

    const FIND: &str = "SELECT * FROM orders WHERE customer = 7";

    #[test]
    fn few_rows_and_a_long_steady_time_are_suspected_and_the_sentence_says_why() {
        let why = suspicion(
            &statement(FIND, 8, &[40, 42, 44, 41, 50, 60, 43, 42]),
            Some(MS),
        );
        let why = why.unwrap();
        assert!(why.starts_with("It returns 1.0 rows per call"), "{why}");
        assert!(why.contains("Suspected"), "{why}");
        let update = "UPDATE orders SET done = true WHERE customer = 7";
        assert!(suspicion(&statement(update, 5, &[40; 5]), None).is_some());
    }

    /// Each of these is slow for another reason; a user would look for an index in vain.
    #[test]
    fn what_is_slow_for_another_reason_is_not() {
        let steady = [40; 8];
        for (name, sums, fastest) in [
            ("many rows", statement(FIND, 8 * 500, &steady), MS),
            ("short", statement(FIND, 8, &[2; 8]), MS / 10),
            ("too few calls", statement(FIND, 4, &[40; 4]), MS),
            (
                "waits for locks",
                statement(FIND, 8, &[11, 11, 11, 12, 12, 11, 900, 2_000]),
                MS,
            ),
            ("a far server", statement(FIND, 8, &steady), 30 * MS),
            (
                "no condition",
                statement("SELECT * FROM orders LIMIT 5", 40, &steady),
                MS,
            ),
            (
                "an aggregate",
                statement("SELECT count(*) FROM orders WHERE customer = 7", 8, &steady),
                MS,
            ),
            (
                "a sleep",
                statement(
                    "SELECT name, pg_sleep(1) FROM orders WHERE id = 7",
                    8,
                    &steady,
                ),
                MS,
            ),
            (
                "an insert",
                statement("INSERT INTO orders SELECT 1 WHERE true", 8, &steady),
                MS,
            ),
        ] {
            assert_eq!(suspicion(&sums, Some(fastest)), None, "{name}");
        }
    }
}
