//! Use of limits in their windows: the table that decides whether a call fits.

use std::collections::BTreeMap;

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::{
    gemini::{
        Amounts, Window,
        limits::{Limit, LimitState, Limits, Unit},
    },
    store::{Doing as _, StoreError, Values, trusted, unsigned},
};

const DOING: &str = "cannot count the use of limits";

/// What a transaction changes, limit by limit and window by window, in the order in which it locks
/// them: in one order on all hosts, or two of them could wait for each other.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeMap<(String, i64), Change>);

#[derive(Debug, Default, Clone, Copy)]
struct Change {
    used: i64,
    held: i64,
}

impl Changes {
    /// Counts what a call has used.
    pub(super) fn count(
        &mut self,
        limits: &Limits,
        (model, feature): (&str, &str),
        at_ms: i64,
        amounts: &Amounts,
    ) {
        self.used(limits, (model, feature), at_ms, amounts, 1);
    }

    /// Takes back what was counted before.
    pub(super) fn take_back(
        &mut self,
        limits: &Limits,
        (model, feature): (&str, &str),
        at_ms: i64,
        amounts: &Amounts,
    ) {
        self.used(limits, (model, feature), at_ms, amounts, -1);
    }

    fn used(
        &mut self,
        limits: &Limits,
        (model, feature): (&str, &str),
        at_ms: i64,
        amounts: &Amounts,
        sign: i64,
    ) {
        for limit in limits.covering(model, feature) {
            let window = limits.window(limit, at_ms);
            let change = self.0.entry((limit.key.clone(), window.start_ms));
            let change = change.or_default();
            let amount = signed(amounts.of(limit.unit)).saturating_mul(sign);
            change.used = change.used.saturating_add(amount);
        }
    }

    /// Gives back what was held of a limit.
    pub(super) fn give_back(&mut self, limit_key: String, window_ms: i64, amount: i64) {
        let change = self.0.entry((limit_key, window_ms)).or_default();
        change.held = change.held.saturating_sub(amount);
    }

    /// Writes the changes. The calls and holds that they come from are written before.
    ///
    /// # Errors
    /// As the database says.
    pub(super) async fn apply(
        &self,
        connection: &mut AnyConnection,
        limits: &Limits,
    ) -> Result<(), StoreError> {
        for ((key, window_ms), change) in &self.0 {
            if change.used == 0 && change.held == 0 {
                continue;
            }
            if add(connection, key, *window_ms, *change).await? {
                continue;
            }
            // A limit that is only another host's has no row when it has no use.
            let Some(limit) = limits.by_key(key) else {
                continue;
            };
            let window = limits.window(limit, *window_ms);
            // What is written new has the change in it already.
            if !begin(connection, limit, window).await? {
                add(connection, key, *window_ms, *change).await?;
            }
        }
        Ok(())
    }
}

/// Whether there was a row to change.
async fn add(
    connection: &mut AnyConnection,
    key: &str,
    window_ms: i64,
    change: Change,
) -> Result<bool, StoreError> {
    let changed = sqlx::query(
        "UPDATE gemini_use SET used = used + $1, held = held + $2 \
         WHERE limit_key = $3 AND window_ms = $4",
    )
    .bind(change.used)
    .bind(change.held)
    .bind(key.to_owned())
    .bind(window_ms)
    .execute(connection)
    .await
    .doing(DOING)?;
    Ok(changed.rows_affected() > 0)
}

/// Begins a window of a limit with what is in the store, so that a limit that is new counts what was
/// used before. Whether this transaction did; another one may have done it meanwhile.
///
/// # Errors
/// As the database says.
pub(super) async fn begin(
    connection: &mut AnyConnection,
    limit: &Limit,
    window: Window,
) -> Result<bool, StoreError> {
    let column = match limit.unit {
        Unit::Tokens => "counted_tokens",
        Unit::Calls => "counted_calls",
        Unit::NanoUsd => "counted_nano_usd",
    };
    let mut values = Values::default();
    values
        .text(&limit.key)
        .signed(window.start_ms)
        .signed(window.end_ms);
    let mut condition = String::from("counted_ms >= $2 AND counted_ms < $3");
    let mut place = 4;
    let mut next = || {
        place += 1;
        place - 1
    };
    if let Some(model) = &limit.model {
        match model.strip_suffix('*') {
            Some(start) => {
                values.text(start).count(start.chars().count() as u64);
                let (text, length) = (next(), next());
                condition.push_str(&format!(
                    " AND substr(model, 1, CAST(${length} AS INTEGER)) = ${text}"
                ));
            }
            None => {
                values.text(model);
                condition.push_str(&format!(" AND model = ${}", next()));
            }
        }
    }
    if let Some(feature) = &limit.feature {
        values.text(feature);
        condition.push_str(&format!(" AND feature = ${}", next()));
    }
    // `WHERE true` tells SQLite that ON does not belong to a join.
    let sql = format!(
        "INSERT INTO gemini_use (limit_key, window_ms, ends_ms, used, held) \
         SELECT $1, $2, $3, \
         (SELECT CAST(COALESCE(SUM({column}), 0) AS BIGINT) FROM gemini_calls WHERE {condition}), \
         (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM gemini_holds \
         WHERE limit_key = $1 AND window_ms = $2) \
         WHERE true ON CONFLICT (limit_key, window_ms) DO NOTHING"
    );
    let inserted = sqlx::query_with(trusted(sql), values.finish()?)
        .execute(connection)
        .await
        .doing(DOING)?;
    Ok(inserted.rows_affected() == 1)
}

/// Holds an amount of a limit if that much is left, in one statement that decides and writes: what
/// is left after it, or `None` when it does not fit.
///
/// # Errors
/// As the database says.
pub(super) async fn hold(
    connection: &mut AnyConnection,
    limit: &Limit,
    window: Window,
    amount: u64,
) -> Result<Option<LimitState>, StoreError> {
    if amount > limit.cap {
        return Ok(None);
    }
    let held = hold_in_row(connection, limit, window, amount).await?;
    if held.is_some() || look(&mut *connection, limit, window).await?.is_some() {
        return Ok(held);
    }
    // Its window has not begun yet; should another transaction begin it now, that is as good.
    begin(connection, limit, window).await?;
    hold_in_row(connection, limit, window, amount).await
}

async fn hold_in_row(
    connection: &mut AnyConnection,
    limit: &Limit,
    window: Window,
    amount: u64,
) -> Result<Option<LimitState>, StoreError> {
    let held = sqlx::query(
        "UPDATE gemini_use SET held = held + $1 WHERE limit_key = $2 AND window_ms = $3 \
         AND used + held + $1 <= $4 RETURNING used, held",
    )
    .bind(signed(amount))
    .bind(limit.key.clone())
    .bind(window.start_ms)
    .bind(signed(limit.cap))
    .fetch_optional(connection)
    .await
    .doing(DOING)?;
    held.map(|row| state(limit, window, &row)).transpose()
}

/// What a limit stands at; `None` when its window has not begun.
///
/// # Errors
/// As the database says.
pub(super) async fn look<'c>(
    connection: impl sqlx::Executor<'c, Database = sqlx::Any>,
    limit: &Limit,
    window: Window,
) -> Result<Option<LimitState>, StoreError> {
    let row =
        sqlx::query("SELECT used, held FROM gemini_use WHERE limit_key = $1 AND window_ms = $2")
            .bind(limit.key.clone())
            .bind(window.start_ms)
            .fetch_optional(connection)
            .await
            .doing(DOING)?;
    row.map(|row| state(limit, window, &row)).transpose()
}

fn state(limit: &Limit, window: Window, row: &AnyRow) -> Result<LimitState, StoreError> {
    let number = |name: &str| row.try_get::<i64, _>(name).map(unsigned).doing(DOING);
    Ok(LimitState {
        limit: limit.clone(),
        window,
        used: number("used")?,
        held: number("held")?,
    })
}

/// As SQL has it.
pub(super) fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}
