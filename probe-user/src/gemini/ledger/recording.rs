//! Calls that were made: each is counted once, whoever reports it and however often.

use std::collections::BTreeSet;

use twox_hash::XxHash3_64;

use super::{
    ATTEMPTS, Ledger,
    counting::Changes,
    row::{self, Row, bit, content_hash},
    was_given_up,
};
use crate::{
    gemini::{
        Amounts, Call, GeminiError, Operation, Outcome, Recorded, Source, UNKNOWN_FEATURE,
        limits::{plain_feature, plain_model},
    },
    store::{StoreError, Transaction, Values},
};

/// How far the times of one call may be apart in two reports of it: a program says when it has the
/// answer, or later, and its clock stands where ours does.
const APART_MS: i64 = 5_000;
/// The longest call that is looked for.
const LONGEST_CALL_MS: i64 = 3_600_000;
/// Calls that are compared with one; more of one model with the same tokens are not told apart.
const COMPARED: u32 = 200;

impl Ledger {
    /// Records calls, all of them or none. A call is known again by its key, by the id of its answer, or
    /// by model, tokens and time when another one has seen it. What becomes of each is in the order
    /// of the calls.
    ///
    /// # Errors
    /// The store can't be used, or a key was used for another call.
    pub(in crate::gemini) async fn record(
        &self,
        calls: &[Call],
    ) -> Result<Vec<Recorded>, GeminiError> {
        let mut attempt = 1;
        loop {
            match self.try_record(calls).await {
                Err(GeminiError::Store(error)) if was_given_up(&error) && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn try_record(&self, calls: &[Call]) -> Result<Vec<Recorded>, GeminiError> {
        let mut transaction = self.begin().await?;
        lock(&mut transaction, calls).await?;
        let mut changes = Changes::default();
        let mut recorded = Vec::with_capacity(calls.len());
        for call in calls {
            let (at_ms, counted) = (call.at_ms, amounts(call));
            let taken = self.take(&mut transaction, call, at_ms, counted, &mut changes);
            recorded.push(taken.await?);
        }
        changes.apply(&mut transaction, self.limits()).await?;
        transaction.commit().await?;
        Ok(recorded)
    }

    /// Writes a call, or finds out which one it is. Its use goes to `changes`.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub(super) async fn take(
        &self,
        transaction: &mut Transaction,
        call: &Call,
        counted_ms: i64,
        counted: Amounts,
        changes: &mut Changes,
    ) -> Result<Recorded, GeminiError> {
        let call = plain(call);
        let mut new = Row {
            sources: bit(call.source),
            content_hash: content_hash(&call),
            counted_ms,
            counted,
            call,
        };
        if let Some(same) = self.with_its_key(transaction, &new).await? {
            return Ok(same);
        }
        match self.same_call(transaction, &new).await? {
            Some(old) if old.sources & new.sources != 0 => {
                return Ok(Recorded::Duplicate { of: old.call.id });
            }
            Some(old) => {
                let merged = merged(&old, &new);
                merged.update(transaction).await?;
                let limits = self.limits();
                changes.take_back(limits, names(&old), old.counted_ms, &old.counted);
                changes.count(limits, names(&merged), merged.counted_ms, &merged.counted);
                return Ok(Recorded::Merged { into: old.call.id });
            }
            None => {}
        }
        for _ in 0..ATTEMPTS {
            if new.insert(transaction).await? {
                changes.count(self.limits(), names(&new), counted_ms, &counted);
                return Ok(Recorded::New(new.call.id));
            }
            // Another transaction was faster with its key, or two hosts have made one number.
            if let Some(same) = self.with_its_key(transaction, &new).await? {
                return Ok(same);
            }
            new.call.id = Call::new_id(new.call.at_ms);
        }
        Err(StoreError::Timeout("cannot find a number for a call").into())
    }

    async fn with_its_key(
        &self,
        transaction: &mut Transaction,
        new: &Row,
    ) -> Result<Option<Recorded>, GeminiError> {
        let Some(key) = &new.call.key else {
            return Ok(None);
        };
        let mut values = Values::default();
        values.text(key);
        let found = row::find(transaction, "idempotency_key = $1", values).await?;
        match found.first() {
            None => Ok(None),
            Some(old) if old.content_hash == new.content_hash => {
                Ok(Some(Recorded::Duplicate { of: old.call.id }))
            }
            Some(_) => Err(GeminiError::KeyReused { key: key.clone() }),
        }
    }

    /// The call that this one is, if it was seen before.
    async fn same_call(
        &self,
        transaction: &mut Transaction,
        new: &Row,
    ) -> Result<Option<Row>, StoreError> {
        if let Some(id) = &new.call.response_id {
            let mut values = Values::default();
            values.text(id);
            let mut found = row::find(transaction, "response_id = $1 LIMIT 1", values).await?;
            if let Some(old) = found.pop() {
                return Ok(Some(old));
            }
        }
        let (begin, end) = span(&new.call);
        let mut values = Values::default();
        values
            .text(&new.call.host)
            .signed(begin.saturating_sub(LONGEST_CALL_MS))
            .signed(end.saturating_add(APART_MS))
            .text(&new.call.model)
            .signed(new.sources);
        let condition = format!(
            "host = $1 AND at_ms >= $2 AND at_ms <= $3 AND model = $4 AND (sources & $5) = 0 \
             ORDER BY at_ms DESC LIMIT {COMPARED}"
        );
        let found = row::find(transaction, &condition, values).await?;
        let distance = |old: &Row| {
            let (old_begin, old_end) = span(&old.call);
            old_begin
                .abs_diff(begin)
                .saturating_add(old_end.abs_diff(end))
        };
        let alike = found.into_iter().filter(|old| is_alike(old, new));
        Ok(alike.min_by_key(distance))
    }
}

/// Lets one transaction at a time look for calls of a host and a model: two that don't see each other
/// would count one call twice. In one order, or two transactions could wait for each other.
pub(super) async fn lock(transaction: &mut Transaction, calls: &[Call]) -> Result<(), StoreError> {
    let numbers: BTreeSet<i64> = calls
        .iter()
        .map(|call| {
            let text = format!(
                "hostprobe gemini {} {}",
                call.host,
                plain_model(&call.model)
            );
            XxHash3_64::oneshot(text.as_bytes()).cast_signed()
        })
        .collect();
    for number in numbers {
        transaction.lock(number).await?;
    }
    Ok(())
}

/// What limits count a call as.
pub(super) fn amounts(call: &Call) -> Amounts {
    // It takes nothing of what people limit.
    if call.operation == Operation::CountTokens {
        return Amounts::default();
    }
    Amounts {
        calls: 1,
        tokens: call.usage.as_ref().map_or(0, |usage| usage.billed_total()),
        nano_usd: call.cost.nano_usd().unwrap_or(0),
    }
}

/// With the names that the ledger has.
fn plain(call: &Call) -> Call {
    Call {
        model: plain_model(&call.model).to_owned(),
        feature: plain_feature(&call.feature).to_owned(),
        response_id: call.response_id.clone().filter(|id| !id.is_empty()),
        ..call.clone()
    }
}

fn names(row: &Row) -> (&str, &str) {
    (&row.call.model, &row.call.feature)
}

/// From its begin to its end, in Unix milliseconds.
fn span(call: &Call) -> (i64, i64) {
    let ms = i64::try_from(call.duration_ns / 1_000_000).unwrap_or(i64::MAX);
    (call.at_ms, call.at_ms.saturating_add(ms))
}

/// Whether two who don't know of each other have seen one call. Host and model are the same.
fn is_alike(old: &Row, new: &Row) -> bool {
    let (a, b) = (&old.call, &new.call);
    let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
    if differ(&a.response_id, &b.response_id) {
        return false;
    }
    if !a.service.is_empty() && !b.service.is_empty() && a.service != b.service {
        return false;
    }
    let is_error = |call: &Call| matches!(call.outcome, Outcome::Error { .. });
    if is_error(a) != is_error(b) || tokens(a) != tokens(b) {
        return false;
    }
    let ((a_begin, a_end), (b_begin, b_end)) = (span(a), span(b));
    a_begin <= b_end.saturating_add(APART_MS) && b_begin <= a_end.saturating_add(APART_MS)
}

fn tokens(call: &Call) -> Option<[u64; 5]> {
    let usage = call.usage.as_ref()?;
    Some([
        usage.prompt,
        usage.cached,
        usage.output,
        usage.thoughts,
        usage.tool_use,
    ])
}

/// How much who saw a call is believed.
const fn rank(source: Source) -> u8 {
    match source {
        Source::Wire => 0,
        Source::Endpoint => 1,
        Source::Gateway => 2,
    }
}

/// One call out of two views of it.
fn merged(old: &Row, new: &Row) -> Row {
    let (more, less) = if rank(new.call.source) > rank(old.call.source) {
        (new, old)
    } else {
        (old, new)
    };
    let (a, b) = (&more.call, &less.call);
    let known = |name: &str| !name.is_empty() && name != UNKNOWN_FEATURE;
    let choose = |a: &String, b: &String| if known(a) { a.clone() } else { b.clone() };
    let told = if a.usage.is_some() || b.usage.is_none() {
        more
    } else {
        less
    };
    // Who saw the bytes has the better clock.
    let timed = if matches!(b.source, Source::Wire) && b.duration_ns > 0 {
        b
    } else {
        a
    };
    let outcome = match (a.outcome, b.outcome) {
        (Outcome::Incomplete, other) => other,
        (outcome, _) => outcome,
    };
    Row {
        call: Call {
            id: old.call.id,
            key: old.call.key.clone().or_else(|| new.call.key.clone()),
            response_id: a.response_id.clone().or_else(|| b.response_id.clone()),
            at_ms: timed.at_ms,
            host: old.call.host.clone(),
            service: choose(&a.service, &b.service),
            feature: choose(&a.feature, &b.feature),
            route: a.route.clone().or_else(|| b.route.clone()),
            model: a.model.clone(),
            operation: a.operation,
            source: a.source,
            outcome,
            duration_ns: timed.duration_ns,
            first_chunk_ns: b.first_chunk_ns.or(a.first_chunk_ns),
            usage: told.call.usage.clone(),
            cost: told.call.cost.clone(),
        },
        sources: old.sources | new.sources,
        // So that the report under this key is known again.
        content_hash: if old.call.key.is_some() || new.call.key.is_none() {
            old.content_hash
        } else {
            new.content_hash
        },
        counted_ms: more.counted_ms,
        counted: told.counted,
    }
}
