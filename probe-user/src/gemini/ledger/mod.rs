//! The ledger: which calls were made, what was promised, and how far each limit is used. Each
//! operation is one transaction, on SQLite and on Postgres, so that several hosts that share a store
//! share its limits.
//!
//! Times come from the caller, so that tests can turn the clock.

mod counting;
mod recording;
mod reserving;
mod row;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{
    limits::{Limit, LimitState, Limits},
    report::{self, By, MonthCost, Period, Report},
};
use crate::{
    config,
    store::{Doing as _, Store, StoreError, Transaction},
};

/// The lease of no host is longer, so a reservation that ends later was made by a clock that was
/// wrong.
const LONGEST_LEASE_MS: i64 = config::MAX_LEASE_S as i64 * 1_000 + 60_000;
/// How long what is over is kept: windows of limits, and reservations by which a late `commit` finds
/// out what became of them.
const OVER_MS: i64 = 2 * 86_400_000;
/// Lock of the host that forgets; the number only has to be one that nobody else takes.
const FORGETTING: i64 = 7_145_012_830_221;
/// Attempts of a transaction that the database gave up for the sake of another one.
const ATTEMPTS: u32 = 4;

/// Does the transactions.
#[derive(Debug, Clone)]
pub(super) struct Ledger(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Store,
    limits: Limits,
    lease_ms: i64,
    unknown_price: config::UnknownPrice,
}

impl Ledger {
    /// Over a store that keeps calls.
    ///
    /// # Errors
    /// The zone is not known.
    pub(super) fn new(config: &config::Gemini, store: Store) -> Result<Self, jiff::Error> {
        Ok(Self(Arc::new(Parts {
            store,
            limits: Limits::new(config)?,
            lease_ms: i64::from(config.lease_s) * 1_000,
            unknown_price: config.unknown_price,
        })))
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    async fn begin(&self) -> Result<Transaction, StoreError> {
        self.0.store.begin().await
    }

    /// What all limits stand at, in the order of their keys.
    ///
    /// # Errors
    /// The store can't be used.
    pub(super) async fn levels(&self, now_ms: i64) -> Result<Vec<LimitState>, StoreError> {
        let mut levels = Vec::new();
        if self.limits().all().is_empty() {
            return Ok(levels);
        }
        let readers = self.0.store.readers()?;
        for limit in self.limits().all() {
            let window = self.limits().window(limit, now_ms);
            levels.push(match counting::look(&readers, limit, window).await? {
                Some(level) => level,
                None => self.begin_window(limit, now_ms).await?,
            });
        }
        Ok(levels)
    }

    /// What calls used and cost in the period that `at_ms` is in.
    ///
    /// # Errors
    /// The store can't be used.
    pub(super) async fn report(
        &self,
        what: (Period, By),
        at_ms: i64,
        now_ms: i64,
    ) -> Result<Report, StoreError> {
        let readers = self.0.store.readers()?;
        report::make(&readers, self.limits().zone(), what, (at_ms, now_ms)).await
    }

    /// What the month costs that runs now.
    ///
    /// # Errors
    /// The store can't be used.
    pub(super) async fn month(&self, now_ms: i64) -> Result<MonthCost, StoreError> {
        let readers = self.0.store.readers()?;
        report::month(&readers, self.limits().zone(), now_ms).await
    }

    async fn begin_window(&self, limit: &Limit, now_ms: i64) -> Result<LimitState, StoreError> {
        let window = self.limits().window(limit, now_ms);
        let mut transaction = self.begin().await?;
        counting::begin(&mut transaction, limit, window).await?;
        let level = counting::look(&mut *transaction, limit, window).await?;
        transaction.commit().await?;
        Ok(level.unwrap_or_else(|| LimitState {
            limit: limit.clone(),
            window,
            used: 0,
            held: 0,
        }))
    }

    /// Forgets windows and reservations that are over for long.
    ///
    /// # Errors
    /// The store can't be used.
    pub(super) async fn forget_old(&self, now_ms: i64) -> Result<(), StoreError> {
        const DOING: &str = "cannot delete what is over";
        let before = now_ms.saturating_sub(OVER_MS);
        for sql in [
            // A window that is asked for again is summed up again.
            "DELETE FROM gemini_use WHERE ends_ms < $1 AND held = 0",
            "DELETE FROM gemini_reservations WHERE state <> 0 AND made_ms < $1",
        ] {
            for attempt in 1..=ATTEMPTS {
                let mut transaction = self.begin().await?;
                // One host at a time: rows come in no order here.
                transaction.lock(FORGETTING).await?;
                let deleted = sqlx::query(sql).bind(before).execute(&mut *transaction);
                match deleted.await.doing(DOING) {
                    Ok(_) => {
                        transaction.commit().await?;
                        break;
                    }
                    Err(error) if was_given_up(&error) && attempt < ATTEMPTS => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// Whether the database gave a transaction up though nothing is wrong with it: a deadlock, or one
/// that was not serialisable.
fn was_given_up(error: &StoreError) -> bool {
    let StoreError::Database { source, .. } = error else {
        return false;
    };
    let code = source.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(&*code, "40P01" | "40001"))
}
