//! Calls of Gemini's models: what they used, what they cost, and the limits that hold.
//!
//! Calls come from those who report them, from the gateway and from the wire; [`Gemini`] records each
//! of them once and keeps the limits. Only who asks before a call can be refused: the reserve endpoint
//! and the gateway.

mod call;
mod error;
pub mod gateway;
mod handle;
mod ledger;
mod limits;
mod numbers;
mod prices;
pub mod report;
mod reservation;
pub mod stream;
mod target;
mod usage;
mod window;

pub use call::{
    Call, CallId, Cost, ErrorCode, Operation, Outcome, PriceVersion, Source, UNKNOWN_FEATURE,
};
pub use error::{GeminiError, Refusal, ReserveError};
pub use handle::{Clock, Gemini};
pub use limits::{Amounts, Limit, LimitState, Unit};
pub use numbers::{
    ApiError, BOUNDS_NS, Durations, LimitLevel, Month, Numbers, OTHER, Pair, Sums, Timed, Tokens,
};
pub use prices::{Prices, PricesError, Problem as PriceProblem};
pub use reservation::{Estimate, Recorded, Reservation, ReservationId, Reserved, Settled};
pub use target::Target;
pub use usage::{Audio, Format, MAX_TOKENS, Mismatch, Usage, UsageError};
pub use window::Window;
