//! What Postgres says itself, where the operator gave a way to ask: sessions, locks, settings,
//! replication.

pub mod advice;
mod connect;

pub use connect::{ConnectError, Step, connect};
