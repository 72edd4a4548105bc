//! Calls of Gemini's models: what they used, what they cost, and the limits that hold.

mod call;
mod numbers;
mod prices;
pub mod stream;
mod usage;

pub use call::{
    Call, CallId, Cost, ErrorCode, Operation, Outcome, PriceVersion, Source, UNKNOWN_FEATURE,
};
pub use numbers::{
    ApiError, BOUNDS_NS, Durations, LimitLevel, Month, Numbers, OTHER, Pair, Sums, Timed, Tokens,
};
pub use prices::{Prices, PricesError, Problem as PriceProblem};
pub use usage::{Audio, Format, MAX_TOKENS, Mismatch, Usage, UsageError};
