//! What Postgres says itself, where the operator gave a way to ask: sessions, locks, settings,
//! replication.

mod connect;

pub use connect::{ConnectError, Step, connect};
