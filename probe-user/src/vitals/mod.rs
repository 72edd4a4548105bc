//! What users' browsers tell: Web Vitals, errors, failed calls, actions, and whether pages are within
//! their budgets.
//!
//! A beacon is bytes from anybody. [`Beacon::parse`](beacon::Beacon::parse) makes something checked
//! of it, or a [`Refusal`] that says why not; [`intake`] takes it, folds its page, and counts.

pub mod beacon;
pub mod budgets;
pub mod clean;
pub mod faro;
pub mod fingerprint;
mod ids;
pub mod intake;
pub mod numbers;
pub mod parse;
pub mod refusal;
pub mod script;
pub mod senders;
pub mod source_maps;
pub mod stack;
mod state;
mod sums;
pub mod thresholds;

pub use beacon::Beacon;
pub use intake::Vitals;
pub use numbers::Numbers;
pub use parse::{Context, Endpoint};
pub use refusal::Refusal;
