//! What is answered.

use axum::http::{StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    api::Problem,
    gemini::{Cost, LimitState, Recorded, Refusal, Reservation, Settled, Unit},
};

/// What became of a batch, in its order.
#[derive(Serialize)]
pub(super) struct Calls {
    pub(super) calls: Vec<Call>,
}

/// What became of a call.
#[derive(Serialize)]
pub(super) struct Call {
    /// Text, because it is larger than the numbers that JSON has everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    /// `recorded`, `duplicate`, `merged`, `already_settled`.
    state: &'static str,
    /// `known`, `unknown_model`, `no_usage`, `free`.
    cost: &'static str,
    /// `None` when it is not known.
    cost_usd: Option<f64>,
}

pub(super) fn call(recorded: Recorded, cost: &Cost) -> Call {
    Call {
        call: Some(recorded.call().to_string()),
        state: match recorded {
            Recorded::New(_) => "recorded",
            Recorded::Duplicate { .. } => "duplicate",
            Recorded::Merged { .. } => "merged",
        },
        cost: cost.as_str(),
        cost_usd: cost.nano_usd().map(dollars),
    }
}

pub(super) fn settled(settled: Settled, cost: &Cost) -> Call {
    match settled {
        Settled::Recorded(recorded) => call(recorded, cost),
        Settled::Already { call } => Call {
            call: call.map(|id| id.to_string()),
            state: "already_settled",
            cost: cost.as_str(),
            cost_usd: cost.nano_usd().map(dollars),
        },
        Settled::Queued => Call {
            call: None,
            state: "queued",
            cost: cost.as_str(),
            cost_usd: cost.nano_usd().map(dollars),
        },
    }
}

pub(super) fn reservation(reservation: &Reservation) -> Value {
    let of = |unit: Unit| {
        let limits = reservation.limits.iter();
        let limits = limits.filter(|state| state.limit.unit == unit);
        limits
            .map(LimitState::remaining)
            .min()
            .map(|amount| amount_of(unit, amount))
    };
    json!({
        "reservation": reservation.id.to_string(),
        "expires_at": time(reservation.expires_at_ms),
        // Of the limit that leaves least; null where none counts it.
        "remaining": {
            "tokens": of(Unit::Tokens),
            "calls": of(Unit::Calls),
            "usd": of(Unit::NanoUsd),
        },
        "limits": reservation.limits.iter().map(limit).collect::<Vec<_>>(),
    })
}

pub(super) fn refusal(refusal: &Refusal) -> Problem {
    let state = &refusal.state;
    let requested = refusal
        .wanted
        .map(|wanted| amount_of(state.limit.unit, wanted));
    Problem::new(StatusCode::TOO_MANY_REQUESTS, refusal.to_string())
        .with("limit", limit(state))
        .with("requested", requested.unwrap_or(Value::Null))
        .with("resets_at", time(state.window.end_ms))
        .with("retry_after_seconds", refusal.retry_after_s)
        .with("never_fits", refusal.is_lasting())
        .with_header(header::RETRY_AFTER, refusal.retry_after_s)
}

pub(super) fn limit(state: &LimitState) -> Value {
    let limit = &state.limit;
    let amount = |amount| amount_of(limit.unit, amount);
    json!({
        "name": limit.name,
        "per": limit.per.as_str(),
        "unit": limit.unit.as_str(),
        "model": limit.model,
        "feature": limit.feature,
        "limit": amount(limit.cap),
        "used": amount(state.used),
        "reserved": amount(state.held),
        "remaining": amount(state.remaining()),
        "resets_at": time(state.window.end_ms),
    })
}

fn amount_of(unit: Unit, amount: u64) -> Value {
    match unit {
        Unit::NanoUsd => json!(dollars(amount)),
        Unit::Tokens | Unit::Calls => json!(amount),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "billionths of a dollar beyond millions of dollars do not matter"
)]
fn dollars(nano_usd: u64) -> f64 {
    nano_usd as f64 / 1e9
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}
