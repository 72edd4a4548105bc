//! Sums over the calls in the store, in one statement for both databases.

use std::{collections::BTreeMap, str::FromStr};

use sqlx::{AnyPool, Row as _, any::AnyRow};

use super::Totals;
use crate::{
    gemini::Tokens,
    store::{Doing as _, StoreError, trusted, unsigned},
};

const DOING: &str = "cannot read the calls";

/// By what calls are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// What they were for.
    Feature,
    /// Which model.
    Model,
    /// Who made them.
    Service,
}

impl By {
    /// As it is called in the API, and its column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Feature => "feature",
            Self::Model => "model",
            Self::Service => "service",
        }
    }
}

impl FromStr for By {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "feature" => Ok(Self::Feature),
            "model" => Ok(Self::Model),
            "service" => Ok(Self::Service),
            _ => Err("allowed are feature, model, service"),
        }
    }
}

/// Each sum: its name, and of what. Postgres makes a sum of integers wider than they are.
const SUMS: [(&str, &str); 13] = [
    ("calls", "1"),
    ("errors", "CASE WHEN outcome = 'error' THEN 1 ELSE 0 END"),
    (
        "throttled",
        "CASE WHEN outcome = 'error' AND (status = 429 OR error_code = 'RESOURCE_EXHAUSTED') \
         THEN 1 ELSE 0 END",
    ),
    (
        "incomplete",
        "CASE WHEN outcome = 'incomplete' THEN 1 ELSE 0 END",
    ),
    (
        "prompt",
        "CASE WHEN operation = 'count_tokens' THEN 0 ELSE prompt_tokens END",
    ),
    (
        "cached",
        "CASE WHEN operation = 'count_tokens' THEN 0 WHEN cached_tokens > prompt_tokens \
         THEN prompt_tokens ELSE cached_tokens END",
    ),
    (
        "tool_use",
        "CASE WHEN operation = 'count_tokens' THEN 0 ELSE tool_use_tokens END",
    ),
    (
        "output",
        "CASE WHEN operation = 'count_tokens' THEN 0 ELSE output_tokens END",
    ),
    (
        "thoughts",
        "CASE WHEN operation = 'count_tokens' THEN 0 ELSE thoughts_tokens END",
    ),
    ("nano_usd", "cost_nano_usd"),
    ("priced", "CASE WHEN cost = 'known' THEN 1 ELSE 0 END"),
    (
        "unpriced",
        "CASE WHEN cost IN ('unknown_model', 'no_usage') THEN 1 ELSE 0 END",
    ),
    ("duration", "duration_ns"),
];

fn columns() -> String {
    SUMS.map(|(name, of)| format!("CAST(COALESCE(SUM({of}), 0) AS BIGINT) AS {name}_sum"))
        .join(", ")
}

/// Of the calls that began in a span of Unix milliseconds, by their feature, model or service.
///
/// # Errors
/// The store can't be read.
pub(super) async fn by(
    readers: &AnyPool,
    by: By,
    (from_ms, to_ms): (i64, i64),
) -> Result<BTreeMap<String, Totals>, StoreError> {
    let column = by.as_str();
    let sql = format!(
        "SELECT {column} AS name, {} FROM gemini_calls WHERE at_ms >= $1 AND at_ms < $2 \
         GROUP BY {column}",
        columns()
    );
    let rows = sqlx::query(trusted(sql))
        .bind(from_ms)
        .bind(to_ms)
        .fetch_all(readers)
        .await
        .doing(DOING)?;
    rows.iter()
        .map(|row| Ok((row.try_get("name").doing(DOING)?, totals(row)?)))
        .collect()
}

/// Of all calls that began in a span of Unix milliseconds.
///
/// # Errors
/// The store can't be read.
pub(super) async fn all(
    readers: &AnyPool,
    (from_ms, to_ms): (i64, i64),
) -> Result<Totals, StoreError> {
    let sql = format!(
        "SELECT {} FROM gemini_calls WHERE at_ms >= $1 AND at_ms < $2",
        columns()
    );
    let row = sqlx::query(trusted(sql))
        .bind(from_ms)
        .bind(to_ms)
        .fetch_one(readers)
        .await
        .doing(DOING)?;
    totals(&row)
}

/// When the first call began that is kept, in Unix milliseconds.
///
/// # Errors
/// The store can't be read.
pub(super) async fn first(readers: &AnyPool) -> Result<Option<i64>, StoreError> {
    let row = sqlx::query("SELECT MIN(at_ms) AS first_ms FROM gemini_calls")
        .fetch_one(readers)
        .await
        .doing(DOING)?;
    row.try_get("first_ms").doing(DOING)
}

fn totals(row: &AnyRow) -> Result<Totals, StoreError> {
    let sum = |name: &str| {
        let sum = row.try_get::<i64, _>(format!("{name}_sum").as_str());
        sum.map(unsigned).doing(DOING)
    };
    let cached = sum("cached")?;
    Ok(Totals {
        calls: sum("calls")?,
        errors: sum("errors")?,
        throttled: sum("throttled")?,
        incomplete: sum("incomplete")?,
        tokens: Tokens {
            input: sum("prompt")?.saturating_sub(cached),
            cached,
            tool_use: sum("tool_use")?,
            output: sum("output")?,
            thoughts: sum("thoughts")?,
        },
        nano_usd: sum("nano_usd")?,
        priced: sum("priced")?,
        unpriced: sum("unpriced")?,
        duration_ns: sum("duration")?,
    })
}
