//! What users' browsers tell: Web Vitals, errors, failed calls, actions, and whether pages are within
//! their budgets.
//!
//! A beacon is bytes from anybody. [`Beacon::parse`](beacon::Beacon::parse) makes something checked
//! of it, or a [`Refusal`] that says why not; the intake takes it, folds its page, and counts.

pub mod beacon;
pub mod budgets;
pub mod clean;
pub mod faro;
pub mod fingerprint;
pub mod parse;
pub mod refusal;
pub mod script;
pub mod source_maps;
pub mod stack;
pub mod thresholds;

pub use beacon::Beacon;
pub use parse::{Context, Endpoint};
pub use refusal::Refusal;
