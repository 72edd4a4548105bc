//! Why something was not recorded, reserved or settled.

use super::{PricesError, limits::LimitState, reservation::ReservationId};
use crate::store::StoreError;

/// Why a call is not recorded or settled.
#[derive(Debug, thiserror::Error)]
pub enum GeminiError {
    /// The zone is not known.
    #[error("cannot use the time zone of `gemini.timezone`: {0}")]
    Zone(#[from] jiff::Error),
    /// The file of prices can't be used.
    #[error(transparent)]
    Prices(#[from] PricesError),
    /// The store can't be used now; nothing was recorded.
    #[error("nothing was recorded: {0}")]
    Store(#[from] StoreError),
    /// The key was used for something else.
    #[error(
        "the idempotency key {key:?} was used for another call; a key belongs to one call, whatever \
         happens to it"
    )]
    KeyReused {
        /// The key.
        key: String,
    },
    /// There is no such reservation, or it was long ago.
    #[error("there is no reservation {0}; reservations that were not settled go after two days")]
    NoReservation(ReservationId),
}

/// Why nothing is reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// A limit does not allow it.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The store can't be used now, and the configuration refuses then.
    #[error("nothing can be reserved while the store cannot be used: {0}")]
    Unavailable(#[from] StoreError),
    /// The key was used for something else, or for a reservation that is over.
    #[error("the idempotency key {key:?} was used for {what}; take another one")]
    KeyReused {
        /// The key.
        key: String,
        /// For what.
        what: &'static str,
    },
}

/// A limit that does not allow a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The limit and its use; of several, the one that begins anew last.
    pub state: LimitState,
    /// What was asked for, in its unit; `None` when the model has no known price.
    pub wanted: Option<u64>,
    /// Seconds until it begins anew, at least one.
    pub retry_after_s: u64,
}

impl Refusal {
    /// Whether waiting does not help.
    pub fn is_lasting(&self) -> bool {
        self.wanted.is_none() || self.never_fits()
    }

    /// Whether it is more than the limit ever allows.
    pub fn never_fits(&self) -> bool {
        self.wanted
            .is_some_and(|wanted| wanted > self.state.limit.cap)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let limit = &self.state.limit;
        let amount = |amount| Amount(amount, limit.unit);
        let Some(wanted) = self.wanted else {
            return write!(
                f,
                "the limit `{}` is in US dollars, and the model has no known price; give it one in \
                 `gemini.prices`, or set `gemini.unknown_price` to \"count_calls\"",
                limit.name
            );
        };
        write!(
            f,
            "the limit `{}` allows {} a {}, of which {} are used and {} reserved",
            limit.name,
            amount(limit.cap),
            limit.per,
            amount(self.state.used),
            amount(self.state.held),
        )?;
        if self.never_fits() {
            write!(f, "; {} are more than it ever allows", amount(wanted))
        } else {
            write!(
                f,
                "; {} more do not fit until it begins anew in {} s",
                amount(wanted),
                self.retry_after_s
            )
        }
    }
}

/// An amount with its unit.
struct Amount(u64, super::Unit);

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.1 {
            super::Unit::NanoUsd => {
                let (dollars, rest) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
                let digits = format!("{rest:09}");
                let digits = digits.trim_end_matches('0');
                // Cents at least, as prices are written.
                write!(f, "{dollars}.{digits:0<2} USD")
            }
            unit => write!(f, "{} {unit}", self.0),
        }
    }
}
