//! Texts of statements, each once.

use std::collections::BTreeMap;

use sqlx::AnyConnection;

use super::{Record, StoreError, now_ms, rows::Insert};

const INSERT: Insert = Insert {
    table: "statements",
    columns: &["fingerprint", "operation", "sql", "seen_ms"],
    // Seldom enough to cost nothing; the row is locked in any case, so that no other host deletes it
    // before this transaction's records refer to it.
    on_conflict: "ON CONFLICT (fingerprint) DO UPDATE SET seen_ms = excluded.seen_ms \
         WHERE statements.seen_ms < excluded.seen_ms - 3600000",
};

/// Writes the texts that the records refer to.
///
/// # Errors
/// As the database says.
pub(super) async fn insert(
    connection: &mut AnyConnection,
    records: &[Record],
) -> Result<(), StoreError> {
    // In one order on all hosts, or two of them could wait for each other.
    let mut texts: BTreeMap<u64, (&str, &str)> = BTreeMap::new();
    for record in records {
        match record {
            Record::SlowQuery(query) => {
                texts.insert(query.fingerprint, (&query.operation, &query.sql));
            }
            Record::QueryStats(rows) => {
                let rows = rows.iter();
                texts.extend(rows.map(|row| (row.fingerprint, (&*row.operation, &*row.sql))));
            }
            _ => {}
        }
    }
    let texts: Vec<_> = texts.into_iter().collect();
    let now = now_ms();
    INSERT
        .run(
            connection,
            &texts,
            |row, (fingerprint, (operation, sql))| {
                row.fingerprint(*fingerprint)
                    .text(operation)
                    .text(sql)
                    .signed(now);
            },
        )
        .await
}
