//! Promises to calls that were not made yet, and what becomes of them.

use sqlx::Row as _;

use super::{
    ATTEMPTS, LONGEST_LEASE_MS, Ledger,
    counting::{self, Changes, signed},
    recording::{amounts, lock},
    was_given_up,
};
use crate::{
    config::UnknownPrice,
    gemini::{
        Amounts, Call, Estimate, GeminiError, Outcome, Refusal, Reservation, ReservationId,
        ReserveError, Reserved, Settled,
        limits::{Limit, LimitState, Unit, plain_feature, plain_model},
    },
    store::{Doing as _, StoreError, Transaction, unsigned},
};

/// Reservations that one transaction gives back.
const AT_ONCE: u32 = 64;

const RESERVING: &str = "cannot reserve";
const SETTLING: &str = "cannot settle a reservation";
const GIVING_BACK: &str = "cannot give reservations back";

/// States of a reservation.
const OPEN: i64 = 0;
const SETTLED: i64 = 1;
const EXPIRED: i64 = 2;
const RELEASED: i64 = 3;

impl Ledger {
    /// Promises that a call fits into all limits that count it, or says which one it does not fit.
    /// `nano_usd` is the most that it costs, `None` when its model has no known price.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub(in crate::gemini) async fn reserve(
        &self,
        want: &Estimate,
        nano_usd: Option<u64>,
        host: &str,
        now_ms: i64,
    ) -> Result<Reservation, ReserveError> {
        let mut attempt = 1;
        loop {
            match self.try_reserve(want, nano_usd, host, now_ms).await {
                Err(ReserveError::Unavailable(error))
                    if was_given_up(&error) && attempt < ATTEMPTS => {}
                // What those hold who are gone is free; it may be enough.
                Err(ReserveError::Refused(refusal))
                    if !refusal.is_lasting()
                        && attempt < ATTEMPTS
                        && self.expire(now_ms).await? > 0 => {}
                other => return other,
            }
            attempt += 1;
        }
    }

    async fn try_reserve(
        &self,
        want: &Estimate,
        nano_usd: Option<u64>,
        host: &str,
        now_ms: i64,
    ) -> Result<Reservation, ReserveError> {
        let model = plain_model(&want.model);
        let feature = plain_feature(&want.feature);
        let covering: Vec<&Limit> = self.limits().covering(model, feature).collect();
        let amounts = Amounts {
            calls: 1,
            tokens: want.tokens,
            nano_usd: nano_usd.unwrap_or(0),
        };
        let mut transaction = self.begin().await?;
        if nano_usd.is_none() && self.0.unknown_price == UnknownPrice::Refuse {
            let mut in_usd = covering.iter().filter(|limit| limit.unit == Unit::NanoUsd);
            if let Some(limit) = in_usd.next() {
                let state = self.level(&mut transaction, limit, now_ms).await?;
                return Err(refused(state, None, now_ms));
            }
        }
        let id = ReservationId::new(now_ms);
        let expires_at_ms = now_ms.saturating_add(self.0.lease_ms);
        // First, so that two with one key wait for each other before they hold anything.
        let made = sqlx::query(
            "INSERT INTO gemini_reservations (id, made_ms, expires_ms, state, host, service, feature, \
             model, tokens, nano_usd, idempotency_key) \
             VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
        )
        .bind(id.number())
        .bind(now_ms)
        .bind(expires_at_ms)
        .bind(host.to_owned())
        .bind(want.service.clone())
        .bind(feature.to_owned())
        .bind(model.to_owned())
        .bind(signed(want.tokens))
        .bind(signed(amounts.nano_usd))
        .bind(want.key.clone())
        .execute(&mut *transaction)
        .await
        .doing(RESERVING)?;
        if made.rows_affected() == 0 {
            return self.reserved_before(transaction, want, &covering).await;
        }
        let mut limits = Vec::with_capacity(covering.len());
        for limit in &covering {
            let window = self.limits().window(limit, now_ms);
            let amount = amounts.of(limit.unit);
            match counting::hold(&mut transaction, limit, window, amount).await? {
                Some(state) => limits.push(state),
                None => {
                    let state = self.level(&mut transaction, limit, now_ms).await?;
                    transaction.rollback().await?;
                    let (state, wanted) = self
                        .worst(state, amount, &covering, &amounts, now_ms)
                        .await?;
                    return Err(refused(state, Some(wanted), now_ms));
                }
            }
        }
        for state in &limits {
            let amount = amounts.of(state.limit.unit);
            hold_row(&mut transaction, id, state, amount).await?;
        }
        transaction.commit().await?;
        Ok(Reservation {
            id,
            limits,
            expires_at_ms,
        })
    }

    /// Of the limits without room the one that begins anew last, and what was wanted of it: who comes
    /// again then is not refused by another one.
    async fn worst(
        &self,
        state: LimitState,
        wanted: u64,
        covering: &[&Limit],
        amounts: &Amounts,
        now_ms: i64,
    ) -> Result<(LimitState, u64), StoreError> {
        let readers = self.store().readers()?;
        let mut worst = (state, wanted);
        for limit in covering {
            let wanted = amounts.of(limit.unit);
            let window = self.limits().window(limit, now_ms);
            if window.end_ms <= worst.0.window.end_ms {
                continue;
            }
            if let Some(state) = counting::look(&readers, limit, window).await?
                && wanted > state.remaining()
            {
                worst = (state, wanted);
            }
        }
        Ok(worst)
    }

    async fn level(
        &self,
        transaction: &mut Transaction,
        limit: &Limit,
        now_ms: i64,
    ) -> Result<LimitState, StoreError> {
        let window = self.limits().window(limit, now_ms);
        let found = counting::look(&mut **transaction, limit, window).await?;
        Ok(found.unwrap_or_else(|| LimitState {
            limit: limit.clone(),
            window,
            used: 0,
            held: 0,
        }))
    }

    /// The reservation that was made with this key.
    async fn reserved_before(
        &self,
        mut transaction: Transaction,
        want: &Estimate,
        covering: &[&Limit],
    ) -> Result<Reservation, ReserveError> {
        let key = want.key.clone().unwrap_or_default();
        let row = sqlx::query(
            "SELECT id, made_ms, expires_ms, state, feature, model, tokens \
             FROM gemini_reservations WHERE idempotency_key = $1",
        )
        .bind(key.clone())
        .fetch_optional(&mut *transaction)
        .await
        .doing(RESERVING)?;
        let Some(row) = row else {
            // Its number was taken by another host, which happens once in a lifetime.
            return Err(StoreError::Timeout("cannot find a number for a reservation").into());
        };
        let number = |name: &str| row.try_get::<i64, _>(name).doing(RESERVING);
        let text = |name: &str| row.try_get::<String, _>(name).doing(RESERVING);
        let same = text("model")? == plain_model(&want.model)
            && text("feature")? == plain_feature(&want.feature)
            && number("tokens")? == signed(want.tokens);
        if !same {
            let what = "another reservation";
            return Err(ReserveError::KeyReused { key, what });
        }
        if number("state")? != OPEN {
            let what = "a reservation that is over";
            return Err(ReserveError::KeyReused { key, what });
        }
        let made_ms = number("made_ms")?;
        let mut limits = Vec::new();
        for limit in covering {
            limits.push(self.level(&mut transaction, limit, made_ms).await?);
        }
        Ok(Reservation {
            id: ReservationId::stored(number("id")?),
            limits,
            expires_at_ms: number("expires_ms")?,
        })
    }

    /// What a reservation was made for; `None` when there is none of this number.
    ///
    /// # Errors
    /// The store can't be used.
    pub(in crate::gemini) async fn reserved(
        &self,
        id: ReservationId,
    ) -> Result<Option<Reserved>, StoreError> {
        let row = sqlx::query(
            "SELECT made_ms, model, feature, service FROM gemini_reservations WHERE id = $1",
        )
        .bind(id.number())
        .fetch_optional(&self.store().readers()?)
        .await
        .doing(SETTLING)?;
        let Some(row) = row else { return Ok(None) };
        let text = |name: &str| row.try_get::<String, _>(name).doing(SETTLING);
        Ok(Some(Reserved {
            made_ms: row.try_get("made_ms").doing(SETTLING)?,
            model: text("model")?,
            feature: text("feature")?,
            service: text("service")?,
        }))
    }

    /// Replaces what a reservation holds by what its call took, in the windows in which it was
    /// reserved. A call whose answer told nothing, though it was made, or broke off, took the
    /// estimate, unless it has told more.
    ///
    /// # Errors
    /// The store can't be used, or there is no such reservation.
    pub(in crate::gemini) async fn settle(
        &self,
        id: ReservationId,
        call: &Call,
    ) -> Result<Settled, GeminiError> {
        let mut attempt = 1;
        loop {
            match self.try_settle(id, call).await {
                Err(GeminiError::Store(error)) if was_given_up(&error) && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn try_settle(&self, id: ReservationId, call: &Call) -> Result<Settled, GeminiError> {
        let mut transaction = self.begin().await?;
        lock(&mut transaction, std::slice::from_ref(call)).await?;
        // Also when it has expired or was given back: what was used was used.
        let row = sqlx::query(
            "UPDATE gemini_reservations SET state = $1 WHERE id = $2 AND state <> $1 \
             RETURNING made_ms, tokens, nano_usd",
        )
        .bind(SETTLED)
        .bind(id.number())
        .fetch_optional(&mut *transaction)
        .await
        .doing(SETTLING)?;
        let Some(row) = row else {
            return settled_before(&mut transaction, id).await;
        };
        let number = |name: &str| row.try_get::<i64, _>(name).doing(SETTLING);
        let made_ms = number("made_ms")?;
        let mut counted = amounts(call);
        let told_nothing = call.usage.is_none() && !matches!(call.outcome, Outcome::Error { .. });
        // What was told so far of an answer that broke off is the least that it took.
        let told_all = !told_nothing && call.outcome != Outcome::Incomplete;
        if !told_all && counted.calls > 0 {
            counted.tokens = counted.tokens.max(unsigned(number("tokens")?));
            counted.nano_usd = counted.nano_usd.max(unsigned(number("nano_usd")?));
        }
        let mut changes = Changes::default();
        drop_holds(&mut transaction, id.number(), &mut changes).await?;
        let taken = self.take(&mut transaction, call, made_ms, counted, &mut changes);
        let recorded = taken.await?;
        sqlx::query("UPDATE gemini_reservations SET call_id = $1 WHERE id = $2")
            .bind(recorded.call())
            .bind(id.number())
            .execute(&mut *transaction)
            .await
            .doing(SETTLING)?;
        changes.apply(&mut transaction, self.limits()).await?;
        transaction.commit().await?;
        Ok(Settled::Recorded(recorded))
    }

    /// Gives a reservation back whose call was not made; one that is over stays as it is. Whether it
    /// was open.
    ///
    /// # Errors
    /// The store can't be used.
    pub(in crate::gemini) async fn release(&self, id: ReservationId) -> Result<bool, StoreError> {
        let mut attempt = 1;
        loop {
            match self.end(&[id.number()], RELEASED).await {
                Err(error) if was_given_up(&error) && attempt < ATTEMPTS => attempt += 1,
                other => return other.map(|ended| ended > 0),
            }
        }
    }

    /// Gives back what was reserved for calls that were never settled; how many reservations.
    ///
    /// # Errors
    /// The store can't be used.
    pub(in crate::gemini) async fn expire(&self, now_ms: i64) -> Result<u64, StoreError> {
        let sql = format!(
            "SELECT id FROM gemini_reservations WHERE state = $1 \
             AND (expires_ms <= $2 OR expires_ms > $3) ORDER BY id LIMIT {AT_ONCE}"
        );
        let mut expired = 0;
        let mut attempt = 1;
        loop {
            let rows = sqlx::query(crate::store::trusted(sql.clone()))
                .bind(OPEN)
                .bind(now_ms)
                .bind(now_ms.saturating_add(LONGEST_LEASE_MS))
                .fetch_all(&self.store().readers()?)
                .await
                .doing(GIVING_BACK)?;
            let ids: Result<Vec<i64>, sqlx::Error> =
                rows.iter().map(|row| row.try_get(0)).collect();
            let ids = ids.doing(GIVING_BACK)?;
            if ids.is_empty() {
                return Ok(expired);
            }
            match self.end(&ids, EXPIRED).await {
                // Another host may have been faster.
                Ok(ended) => expired += ended,
                Err(error) if was_given_up(&error) && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends open reservations without a call; how many were open.
    async fn end(&self, ids: &[i64], state: i64) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let mut changes = Changes::default();
        let mut ended = 0;
        for id in ids {
            let changed = sqlx::query(
                "UPDATE gemini_reservations SET state = $1 WHERE id = $2 AND state = $3",
            )
            .bind(state)
            .bind(*id)
            .bind(OPEN)
            .execute(&mut *transaction)
            .await
            .doing(GIVING_BACK)?;
            if changed.rows_affected() > 0 {
                ended += 1;
                drop_holds(&mut transaction, *id, &mut changes).await?;
            }
        }
        changes.apply(&mut transaction, self.limits()).await?;
        transaction.commit().await?;
        Ok(ended)
    }
}

fn refused(state: LimitState, wanted: Option<u64>, now_ms: i64) -> ReserveError {
    let left_ms = state.window.end_ms.saturating_sub(now_ms);
    ReserveError::Refused(Box::new(Refusal {
        wanted,
        retry_after_s: unsigned(left_ms).div_ceil(1_000).max(1),
        state,
    }))
}

async fn hold_row(
    transaction: &mut Transaction,
    id: ReservationId,
    state: &LimitState,
    amount: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO gemini_holds (reservation_id, limit_key, window_ms, amount) \
         VALUES ($1, $2, $3, $4)",
    )
    .bind(id.number())
    .bind(state.limit.key.clone())
    .bind(state.window.start_ms)
    .bind(signed(amount))
    .execute(&mut **transaction)
    .await
    .doing(RESERVING)
    .map(drop)
}

/// Deletes what a reservation holds, and notes that it is given back.
async fn drop_holds(
    transaction: &mut Transaction,
    id: i64,
    changes: &mut Changes,
) -> Result<(), StoreError> {
    let held = sqlx::query(
        "DELETE FROM gemini_holds WHERE reservation_id = $1 RETURNING limit_key, window_ms, amount",
    )
    .bind(id)
    .fetch_all(&mut **transaction)
    .await
    .doing(GIVING_BACK)?;
    for row in &held {
        let key = row.try_get::<String, _>("limit_key").doing(GIVING_BACK)?;
        let number = |name: &str| row.try_get::<i64, _>(name).doing(GIVING_BACK);
        changes.give_back(key, number("window_ms")?, number("amount")?);
    }
    Ok(())
}

/// What became of a reservation that can't be settled.
async fn settled_before(
    transaction: &mut Transaction,
    id: ReservationId,
) -> Result<Settled, GeminiError> {
    let row = sqlx::query("SELECT call_id FROM gemini_reservations WHERE id = $1")
        .bind(id.number())
        .fetch_optional(&mut **transaction)
        .await
        .doing(SETTLING)?;
    match row {
        None => Err(GeminiError::NoReservation(id)),
        Some(row) => Ok(Settled::Already {
            call: row.try_get::<Option<i64>, _>(0).doing(SETTLING)?,
        }),
    }
}
