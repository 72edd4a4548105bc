//! The tables of errors: each report, and what it looks like once for each release.

use std::collections::BTreeMap;

use sqlx::AnyConnection;

use super::BrowserError;
use crate::store::{Record, StoreError, now_ms, rows::Insert};

const INSERT: Insert = Insert {
    table: "browser_errors",
    columns: &[
        "id",
        "at_ms",
        "host",
        "app",
        "release",
        "page",
        "fingerprint",
        "times",
    ],
    on_conflict: "ON CONFLICT (id) DO NOTHING",
};

const INSERT_SAMPLE: Insert = Insert {
    table: "browser_error_samples",
    columns: &[
        "app",
        "fingerprint",
        "release",
        "kind",
        "error_type",
        "message",
        "stack",
        "source",
        "line_number",
        "column_number",
        "first_ms",
        "seen_ms",
    ],
    // Seldom enough to cost nothing; the row is locked in any case, as those of `statements` are.
    on_conflict: "ON CONFLICT (app, fingerprint, release) DO UPDATE SET \
         first_ms = CASE WHEN excluded.first_ms < browser_error_samples.first_ms \
         THEN excluded.first_ms ELSE browser_error_samples.first_ms END, \
         seen_ms = excluded.seen_ms \
         WHERE browser_error_samples.seen_ms < excluded.seen_ms - 3600000 \
         OR excluded.first_ms < browser_error_samples.first_ms",
};

/// Writes those of the records that belong here.
///
/// # Errors
/// As the database says.
pub(in crate::store) async fn insert(
    connection: &mut AnyConnection,
    records: &[Record],
) -> Result<(), StoreError> {
    let mut errors: Vec<&BrowserError> = Vec::new();
    // In one order on all hosts, or two of them could wait for each other.
    let mut samples: BTreeMap<(&str, u64, &str), (&BrowserError, i64)> = BTreeMap::new();
    for record in records {
        let Record::BrowserErrors(list) = record else {
            continue;
        };
        for error in list {
            errors.push(error);
            let (_, first_ms) = samples
                .entry((&error.app, error.fingerprint, &error.release))
                .or_insert((error, error.at_ms));
            *first_ms = error.at_ms.min(*first_ms);
        }
    }
    let samples: Vec<(&BrowserError, i64)> = samples.into_values().collect();
    let now = now_ms();
    INSERT_SAMPLE
        .run(connection, &samples, |row, (error, first_ms)| {
            row.text(&error.app)
                .fingerprint(error.fingerprint)
                .text(&error.release)
                .text(&error.kind)
                .text(&error.type_)
                .text(&error.message)
                .optional_text(error.stack.as_deref())
                .optional_text(error.source.as_deref())
                .optional_count(error.line.map(u64::from))
                .optional_count(error.column.map(u64::from))
                .signed(*first_ms)
                .signed(now);
        })
        .await?;
    INSERT
        .run(connection, &errors, |row, error| {
            row.signed(error.id)
                .signed(error.at_ms)
                .text(&error.host)
                .text(&error.app)
                .text(&error.release)
                .text(&error.page)
                .fingerprint(error.fingerprint)
                .count(error.count);
        })
        .await
}
