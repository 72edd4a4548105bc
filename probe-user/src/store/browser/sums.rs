//! The table of what is counted of pages, by window of time.

use std::collections::BTreeMap;

use sqlx::{AnyConnection, AnyPool, Row as _, any::AnyRow};

use super::{BrowserSum, Question, SumKind};
use crate::store::{
    Record, StoreError,
    connections::trusted,
    error::Doing as _,
    rows::{Insert, unsigned},
};

/// The most sums of an answer; those of the largest counts come first.
const MAX_SUMS: usize = 20_000;

/// Which sums are asked for; what is not set takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SumFilter {
    /// Of windows that begin at this time in Unix milliseconds or later.
    pub from_ms: Option<i64>,
    /// Of windows that begin before this time.
    pub to_ms: Option<i64>,
    /// Of pages that call themselves so.
    pub app: Option<String>,
    /// Of this page.
    pub page: Option<String>,
    /// Of these kinds; empty means all.
    pub kinds: Vec<SumKind>,
}

/// A count of a page over some time. See [`BrowserSum`] for its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are those of `BrowserSum`")]
pub struct PageSum {
    pub page: String,
    pub kind: SumKind,
    pub name: String,
    pub detail: String,
    pub count: u64,
    pub bytes: u64,
    pub opaque: u64,
    pub duration_ms: u64,
}

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

/// Adds up what the filter takes, by page, kind, name and detail.
///
/// # Errors
/// As the database says.
pub(in crate::store) async fn sums(
    readers: &AnyPool,
    filter: &SumFilter,
) -> Result<Vec<PageSum>, StoreError> {
    const DOING: &str = "cannot read the sums of pages";
    let mut question = Question::default();
    if let Some(from) = filter.from_ms {
        question.signed("from_ms >= ?", from);
    }
    if let Some(to) = filter.to_ms {
        question.signed("from_ms < ?", to);
    }
    if let Some(app) = &filter.app {
        question.text("app = ?", app);
    }
    if let Some(page) = &filter.page {
        question.text("page = ?", page);
    }
    if !filter.kinds.is_empty() {
        let kinds: Vec<String> = filter
            .kinds
            .iter()
            .map(|kind| kind.as_str().to_owned())
            .collect();
        question.any_of("kind", &kinds);
    }
    let sum = |column: &str| format!("CAST(SUM({column}) AS BIGINT) AS {column}");
    let sql = format!(
        "SELECT page, kind, name, detail, {}, {}, {}, {} FROM browser_sums{} \
         GROUP BY page, kind, name, detail \
         ORDER BY times DESC, page, kind, name, detail LIMIT {MAX_SUMS}",
        sum("times"),
        sum("bytes"),
        sum("opaque"),
        sum("duration_ms"),
        question.conditions()
    );
    let rows = sqlx::query_with(trusted(sql), question.values.finish()?)
        .fetch_all(readers)
        .await
        .doing(DOING)?;
    let sums: Result<Vec<Option<PageSum>>, sqlx::Error> = rows.iter().map(read).collect();
    Ok(sums.doing(DOING)?.into_iter().flatten().collect())
}

/// `None` for a kind that a newer version wrote.
fn read(row: &AnyRow) -> Result<Option<PageSum>, sqlx::Error> {
    let count = |name: &str| row.try_get::<i64, _>(name).map(unsigned);
    let kind: String = row.try_get("kind")?;
    let Some(kind) = SumKind::ALL
        .into_iter()
        .find(|known| known.as_str() == kind)
    else {
        return Ok(None);
    };
    Ok(Some(PageSum {
        page: row.try_get("page")?,
        kind,
        name: row.try_get("name")?,
        detail: row.try_get("detail")?,
        count: count("times")?,
        bytes: count("bytes")?,
        opaque: count("opaque")?,
        duration_ms: count("duration_ms")?,
    }))
}

/// As [`sums`], of windows in memory.
pub(super) fn sums_of<'a>(
    windows: impl Iterator<Item = &'a BrowserSum>,
    filter: &SumFilter,
) -> Vec<PageSum> {
    let is = |wanted: &Option<String>, value: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted == value)
    };
    let mut sums: BTreeMap<(&str, SumKind, &str, &str), PageSum> = BTreeMap::new();
    let taken = windows.filter(|window| {
        filter.from_ms.is_none_or(|from| window.from_ms >= from)
            && filter.to_ms.is_none_or(|to| window.from_ms < to)
            && is(&filter.app, &window.app)
            && is(&filter.page, &window.page)
            && (filter.kinds.is_empty() || filter.kinds.contains(&window.kind))
    });
    for window in taken {
        let key = (&*window.page, window.kind, &*window.name, &*window.detail);
        let sum = sums.entry(key).or_insert_with(|| PageSum {
            page: window.page.clone(),
            kind: window.kind,
            name: window.name.clone(),
            detail: window.detail.clone(),
            count: 0,
            bytes: 0,
            opaque: 0,
            duration_ms: 0,
        });
        sum.count = sum.count.saturating_add(window.count);
        sum.bytes = sum.bytes.saturating_add(window.bytes);
        sum.opaque = sum.opaque.saturating_add(window.opaque);
        sum.duration_ms = sum.duration_ms.saturating_add(window.duration_ms);
    }
    let mut sums: Vec<PageSum> = sums.into_values().collect();
    sums.sort_by_key(|sum| std::cmp::Reverse(sum.count));
    sums
}
