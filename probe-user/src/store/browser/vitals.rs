//! The table of vitals.

use std::collections::BTreeMap;

use sqlx::AnyConnection;

use super::WebVital;
use crate::store::{Record, StoreError, rows::Insert};

const INSERT: Insert = Insert {
    table: "web_vitals",
    columns: &[
        "id",
        "name",
        "at_ms",
        "host",
        "app",
        "release",
        "page",
        "device",
        "connection",
        "navigation",
        "value_micro",
        "rating",
        "target",
        "url",
        "load_state",
        "weight_milli",
    ],
    // Beacons may come in another order than they were sent.
    on_conflict: "ON CONFLICT (id, name) DO UPDATE SET at_ms = excluded.at_ms, \
         page = excluded.page, value_micro = excluded.value_micro, rating = excluded.rating, \
         target = excluded.target, url = excluded.url, load_state = excluded.load_state \
         WHERE excluded.at_ms >= web_vitals.at_ms",
};

/// Writes those of the records that belong here.
///
/// # Errors
/// As the database says.
pub(in crate::store) async fn insert(
    connection: &mut AnyConnection,
    records: &[Record],
) -> Result<(), StoreError> {
    // One statement may change a row once only; and in one order on all hosts, or two of them could
    // wait for each other.
    let mut vitals: BTreeMap<(&str, &str), &WebVital> = BTreeMap::new();
    for record in records {
        let Record::WebVital(vital) = record else {
            continue;
        };
        let last = vitals.entry((&vital.id, &vital.name)).or_insert(vital);
        if vital.at_ms >= last.at_ms {
            *last = vital;
        }
    }
    let vitals: Vec<&WebVital> = vitals.into_values().collect();
    INSERT
        .run(connection, &vitals, |row, vital| {
            row.text(&vital.id)
                .text(&vital.name)
                .signed(vital.at_ms)
                .text(&vital.host)
                .text(&vital.app)
                .text(&vital.release)
                .text(&vital.page)
                .text(&vital.device)
                .text(&vital.connection)
                .text(&vital.navigation)
                .signed(vital.value_micro)
                .text(&vital.rating)
                .optional_text(vital.target.as_deref())
                .optional_text(vital.url.as_deref())
                .optional_text(vital.load_state.as_deref())
                .count(weight_milli(vital.sample_rate));
        })
        .await
}

/// Page loads that one stands for, in thousandths; a rate that is none counts as 1.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is from 1,000 to 1,000,000"
)]
pub(super) fn weight_milli(sample_rate: f64) -> u64 {
    let rate = if sample_rate > 0.0 { sample_rate } else { 1.0 };
    (1e3 / rate.clamp(1e-3, 1.0)).round() as u64
}
