//! The table of what is counted of pages, by window of time.

use sqlx::AnyConnection;

use super::BrowserSum;
use crate::store::{Record, StoreError, rows::Insert};

const INSERT: Insert = Insert {
    table: "browser_sums",
    columns: &[
        "from_ms",
        "to_ms",
        "host",
        "app",
        "page",
        "kind",
        "name",
        "detail",
        "times",
        "bytes",
        "opaque",
        "duration_ms",
    ],
    on_conflict: "ON CONFLICT DO NOTHING",
};

/// Writes those of the records that belong here.
///
/// # Errors
/// As the database says.
pub(in crate::store) async fn insert(
    connection: &mut AnyConnection,
    records: &[Record],
) -> Result<(), StoreError> {
    let sums: Vec<&BrowserSum> = records
        .iter()
        .filter_map(|record| match record {
            Record::BrowserSums(sums) => Some(sums),
            _ => None,
        })
        .flatten()
        .collect();
    INSERT
        .run(connection, &sums, |row, sum| {
            row.signed(sum.from_ms)
                .signed(sum.to_ms)
                .text(&sum.host)
                .text(&sum.app)
                .text(&sum.page)
                .text(sum.kind.as_str())
                .text(&sum.name)
                .text(&sum.detail)
                .count(sum.count)
                .count(sum.bytes)
                .count(sum.opaque)
                .count(sum.duration_ms);
        })
        .await
}
