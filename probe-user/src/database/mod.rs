//! What Postgres and PgBouncer say themselves, where the operator gave a way to ask.
//!
//! [`connect`] opens a connection or says at which step it failed; [`watch`](self) looks at each
//! database again and again, on one connection each, and publishes a [`AskedDatabase`]. What the
//! rights do not allow is missing with its reason, and nothing else is.

mod activity;
pub mod advice;
mod blocking;
mod connect;
mod look;
mod pgbouncer;
mod report;
mod rights;
mod statement;
mod statistics;
mod watch;

pub use activity::{Headroom, Limits, Session, SessionGroup, Sessions};
pub use blocking::{Blocking, Chain, Waiting};
pub use connect::{ConnectError, Step, connect};
pub use pgbouncer::{Pool, PooledDatabase, Pooler};
pub use report::{AskedDatabase, Link, Look, Server};
pub use rights::{Extension, Missing};
pub use statistics::{Checkpoints, DatabaseCounts, Follower, Replication, Slot, Table};
pub use watch::{Databases, inspect};
