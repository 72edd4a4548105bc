//! The table of vitals, and their quantiles.

use std::collections::BTreeMap;

use sqlx::{AnyConnection, AnyPool, Row as _, any::AnyRow};

use super::{Question, WebVital};
use crate::store::{
    Record, StoreError,
    connections::trusted,
    error::Doing as _,
    rows::{Insert, unsigned},
};

/// Groups of an answer when nothing else is asked for.
const DEFAULT_GROUPS: u32 = 1_000;
/// The most groups of an answer.
pub const MAX_GROUPS: u32 = 10_000;

/// By what values are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// The page.
    Page,
    /// `mobile`, `tablet`, `desktop`.
    Device,
    /// The day in UTC; as a group's value the number of days since 1970.
    Day,
    /// What the page calls itself.
    App,
    /// Release of the page.
    Release,
    /// Such as `4g`.
    Connection,
    /// Such as `navigate`.
    Navigation,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Page,
        Self::Device,
        Self::Day,
        Self::App,
        Self::Release,
        Self::Connection,
        Self::Navigation,
    ];

    /// As it is asked for.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Device => "device",
            Self::Day => "day",
            Self::App => "app",
            Self::Release => "release",
            Self::Connection => "connection",
            Self::Navigation => "navigation",
        }
    }

    const fn column(self) -> &'static str {
        match self {
            Self::Day => "CAST(at_ms / 86400000 AS TEXT)",
            other => other.as_str(),
        }
    }

    fn of(self, vital: &WebVital) -> String {
        match self {
            Self::Page => vital.page.clone(),
            Self::Device => vital.device.clone(),
            Self::Day => (vital.at_ms / 86_400_000).to_string(),
            Self::App => vital.app.clone(),
            Self::Release => vital.release.clone(),
            Self::Connection => vital.connection.clone(),
            Self::Navigation => vital.navigation.clone(),
        }
    }
}

/// Which values are asked for; what is not set takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VitalFilter {
    /// Told at this time in Unix milliseconds or later.
    pub from_ms: Option<i64>,
    /// Told before this time.
    pub to_ms: Option<i64>,
    /// Such as `LCP`.
    pub name: Option<String>,
    /// Values that a row must have.
    pub only: Vec<(By, String)>,
    /// How the values are grouped, beside their names.
    pub by: Vec<By>,
    /// At most so many groups; 0 means [`DEFAULT_GROUPS`], and [`MAX_GROUPS`] is the most.
    pub limit: u32,
}

impl VitalFilter {
    fn limit(&self) -> u32 {
        match self.limit {
            0 => DEFAULT_GROUPS,
            limit => limit.min(MAX_GROUPS),
        }
    }

    fn takes(&self, vital: &WebVital) -> bool {
        self.from_ms.is_none_or(|from| vital.at_ms >= from)
            && self.to_ms.is_none_or(|to| vital.at_ms < to)
            && self.name.as_ref().is_none_or(|name| *name == vital.name)
            && self.only.iter().all(|(by, value)| by.of(vital) == *value)
    }
}

/// The values of one vital in one group. A quantile is the least value that so much of the weight
/// is not above; none is interpolated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VitalGroup {
    /// Such as `LCP`.
    pub name: String,
    /// In the order of [`VitalFilter::by`].
    pub values: Vec<String>,
    /// Values that were told.
    pub samples: u64,
    /// Page loads that they stand for, in thousandths: each counts as often as its sample rate says.
    pub weight_milli: u64,
    /// Half of the weight is not above; as [`WebVital::value_micro`], as all of these.
    pub p50_micro: i64,
    /// Three quarters of the weight are not above.
    pub p75_micro: i64,
    /// Nineteen of twenty are not above.
    pub p95_micro: i64,
    /// Part of the weight that is good.
    pub good_milli: u64,
    /// Part of the weight that needs improvement.
    pub needs_improvement_milli: u64,
    /// Part of the weight that is poor.
    pub poor_milli: u64,
}

/// Groups, those of the most weight first, and whether there are more.
pub(in crate::store) type Groups = (Vec<VitalGroup>, bool);

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

/// Finds the groups of those values that the filter takes.
///
/// # Errors
/// As the database says.
pub(in crate::store) async fn groups(
    readers: &AnyPool,
    filter: &VitalFilter,
) -> Result<Groups, StoreError> {
    const DOING: &str = "cannot read vitals";
    let mut question = Question::default();
    if let Some(from) = filter.from_ms {
        question.signed("at_ms >= ?", from);
    }
    if let Some(to) = filter.to_ms {
        question.signed("at_ms < ?", to);
    }
    if let Some(name) = &filter.name {
        question.text("name = ?", name);
    }
    for (by, value) in &filter.only {
        question.text(&format!("{} = ?", by.column()), value);
    }
    let limit = filter.limit();
    let conditions = question.conditions();
    let columns: Vec<String> = (0..)
        .zip(&filter.by)
        .map(|(n, by)| format!(", {} AS d{n}", by.column()))
        .collect();
    let columns = columns.concat();
    let parts: Vec<String> = filter
        .by
        .iter()
        .map(|by| format!(", {}", by.column()))
        .collect();
    let parts = parts.concat();
    let names: Vec<String> = (0..filter.by.len()).map(|n| format!(", d{n}")).collect();
    let names = names.concat();
    let quantile = |percent: u32| {
        format!("MIN(CASE WHEN not_above * 100 >= whole * {percent} THEN value_micro END)")
    };
    let rated = |rating: &str| {
        format!("CAST(SUM(CASE WHEN rating = '{rating}' THEN weight_milli ELSE 0 END) AS BIGINT)")
    };
    let sql = format!(
        "WITH v AS (SELECT name{columns}, value_micro, rating, weight_milli, \
         SUM(weight_milli) OVER (PARTITION BY name{parts} ORDER BY value_micro, id \
         ROWS UNBOUNDED PRECEDING) AS not_above, \
         SUM(weight_milli) OVER (PARTITION BY name{parts}) AS whole \
         FROM web_vitals{conditions}) \
         SELECT name{names}, COUNT(*) AS samples, CAST(MAX(whole) AS BIGINT) AS weight, \
         {} AS p50, {} AS p75, {} AS p95, {} AS good, {} AS needs, {} AS poor \
         FROM v GROUP BY name{names} ORDER BY MAX(whole) DESC, name{names} LIMIT {}",
        quantile(50),
        quantile(75),
        quantile(95),
        rated("good"),
        rated("needs-improvement"),
        rated("poor"),
        u64::from(limit) + 1
    );
    let rows = sqlx::query_with(trusted(sql), question.values.finish()?)
        .fetch_all(readers)
        .await
        .doing(DOING)?;
    let groups: Result<Vec<VitalGroup>, sqlx::Error> =
        rows.iter().map(|row| read(row, filter.by.len())).collect();
    Ok(cut(groups.doing(DOING)?, limit))
}

fn read(row: &AnyRow, dimensions: usize) -> Result<VitalGroup, sqlx::Error> {
    let number = |name: &str| row.try_get::<i64, _>(name);
    let count = |name: &str| number(name).map(unsigned);
    Ok(VitalGroup {
        name: row.try_get("name")?,
        values: (0..dimensions)
            .map(|n| row.try_get(format!("d{n}").as_str()))
            .collect::<Result<_, _>>()?,
        samples: count("samples")?,
        weight_milli: count("weight")?,
        p50_micro: number("p50")?,
        p75_micro: number("p75")?,
        p95_micro: number("p95")?,
        good_milli: count("good")?,
        needs_improvement_milli: count("needs")?,
        poor_milli: count("poor")?,
    })
}

fn cut(mut groups: Vec<VitalGroup>, limit: u32) -> Groups {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = groups.len() > limit;
    groups.truncate(limit);
    (groups, more)
}

/// As [`groups`], of values in memory.
pub(super) fn groups_of<'a>(
    vitals: impl Iterator<Item = &'a WebVital>,
    filter: &VitalFilter,
) -> Groups {
    let mut groups: BTreeMap<(&str, Vec<String>), Vec<&WebVital>> = BTreeMap::new();
    for vital in vitals.filter(|vital| filter.takes(vital)) {
        let values = filter.by.iter().map(|by| by.of(vital)).collect();
        groups.entry((&vital.name, values)).or_default().push(vital);
    }
    let mut groups: Vec<VitalGroup> = groups
        .into_iter()
        .map(|((name, values), mut vitals)| {
            vitals.sort_by_key(|vital| vital.value_micro);
            let weight = |vital: &&WebVital| weight_milli(vital.sample_rate);
            let whole: u64 = vitals.iter().map(weight).sum();
            let quantile = |percent: u64| {
                let mut not_above = 0;
                let reached = vitals.iter().find(|vital| {
                    not_above += weight(vital);
                    not_above * 100 >= whole * percent
                });
                reached.map_or(0, |vital| vital.value_micro)
            };
            let rated = |rating: &str| {
                let those = vitals.iter().filter(|vital| vital.rating == rating);
                those.map(weight).sum()
            };
            VitalGroup {
                name: name.to_owned(),
                values,
                samples: vitals.len() as u64,
                weight_milli: whole,
                p50_micro: quantile(50),
                p75_micro: quantile(75),
                p95_micro: quantile(95),
                good_milli: rated("good"),
                needs_improvement_milli: rated("needs-improvement"),
                poor_milli: rated("poor"),
            }
        })
        .collect();
    // They are sorted by their names and values already.
    groups.sort_by_key(|group| std::cmp::Reverse(group.weight_milli));
    cut(groups, filter.limit())
}
