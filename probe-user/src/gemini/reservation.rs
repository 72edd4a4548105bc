//! What is asked for before a call, and what is promised to it.

use std::{fmt, str::FromStr};

use super::{Call, CallId, limits::LimitState};

/// What a call is expected to take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Estimate {
    /// The model, with or without `models/` before it.
    pub model: String,
    /// What it is for; empty when nobody says.
    pub feature: String,
    /// The service that makes it; empty when not known.
    pub service: String,
    /// Most tokens that it will take, of all kinds together.
    pub tokens: u64,
    /// By which who asks knows the reservation again.
    pub key: Option<String>,
}

/// A promise that the call fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// To settle it by.
    pub id: ReservationId,
    /// The limits that count the call, after it was reserved.
    pub limits: Vec<LimitState>,
    /// When it is given back unless it was settled, in Unix milliseconds.
    pub expires_at_ms: i64,
}

/// What a reservation was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// When, in Unix milliseconds.
    pub made_ms: i64,
    /// The model, without `models/` before it.
    pub model: String,
    /// What it is for.
    pub feature: String,
    /// The service that asked; empty when not known.
    pub service: String,
}

/// Number of a reservation.
///
/// One that was granted without the store, because it was down, begins with `u`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReservationId(i64);

impl ReservationId {
    /// A new one, for this time in Unix milliseconds.
    pub(super) fn new(at_ms: i64) -> Self {
        Self(Call::new_id(at_ms))
    }

    /// One that no store knows.
    pub(super) fn unstored(at_ms: i64) -> Self {
        Self(-Call::new_id(at_ms).max(1))
    }

    pub(super) fn is_stored(self) -> bool {
        self.0 > 0
    }

    pub(super) fn number(self) -> i64 {
        self.0
    }

    /// From the store.
    pub(super) fn stored(number: i64) -> Self {
        Self(number)
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = if self.is_stored() { 'r' } else { 'u' };
        write!(f, "{letter}{:016x}", self.0.unsigned_abs())
    }
}

impl FromStr for ReservationId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ALLOWED: &str = "allowed is the `reservation` that `reserve` answered";
        let (stored, digits) = match (text.strip_prefix('r'), text.strip_prefix('u')) {
            (Some(digits), _) => (true, digits),
            (_, Some(digits)) => (false, digits),
            _ => return Err(ALLOWED),
        };
        let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = Some(digits)
            .filter(|digits| digits.len() == 16 && hex)
            .and_then(|digits| i64::from_str_radix(digits, 16).ok())
            .filter(|number| *number > 0)
            .ok_or(ALLOWED)?;
        Ok(Self(if stored { number } else { -number }))
    }
}

/// What became of a call that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is counted now.
    New(CallId),
    /// It was reported before, by the same way.
    Duplicate {
        /// The call that it is.
        of: CallId,
    },
    /// It was seen before, by another way.
    Merged {
        /// The call that it is.
        into: CallId,
    },
}

impl Recorded {
    /// The call that it is in the store.
    pub const fn call(self) -> CallId {
        match self {
            Self::New(id) | Self::Duplicate { of: id } | Self::Merged { into: id } => id,
        }
    }
}

/// What became of a reservation that was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Its call is recorded.
    Recorded(Recorded),
    /// It was settled before, and nothing was changed.
    Already {
        /// The call that it was settled with, when it is known.
        call: Option<CallId>,
    },
    /// The store can't be used now; it is settled once it can.
    Queued,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
        for id in [
            ReservationId::new(1_790_000_000_000),
            ReservationId::unstored(5),
        ] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!(!ReservationId::unstored(0).is_stored());
        for wrong in [
            "",
            "r",
            "r1",
            "x0000000000000001",
            "r000000000000000g",
            "r0000000000000000",
        ] {
            assert!(wrong.parse::<ReservationId>().is_err(), "{wrong}");
        }
    }
}
