//! What was found out about a database: plain values, for metrics, the API and `check`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    activity::{Limits, Sessions},
    blocking::Blocking,
    connect::{ConnectError, Step},
    pgbouncer::Pooler,
    rights::{Extension, Missing},
    statistics::{Checkpoints, DatabaseCounts, Replication, Table},
};

/// What is known of one configured database.
#[derive(Debug, Clone)]
pub struct AskedDatabase {
    /// Its name in the configuration.
    pub name: String,
    /// The service whose statements run there, as configured.
    pub service: Option<String>,
    /// Postgres.
    pub server: Arc<Link<Server>>,
    /// The PgBouncer before it, where one is configured.
    pub pooler: Option<Arc<Link<Pooler>>>,
}

/// The connection to something that is asked, and its latest answer.
#[derive(Debug, Clone, Default)]
pub struct Link<T> {
    /// Where it is, without a password.
    pub place: String,
    /// The latest answer, kept while there is none.
    pub look: Option<Look<T>>,
    /// Why there is no newer answer; `None` while it answers.
    pub error: Option<ConnectError>,
    /// Attempts to connect that failed, by step in the order of [`Step::ALL`].
    pub failed: [u64; Step::ALL.len()],
}

impl<T> Link<T> {
    /// The latest answer, unless a later attempt failed.
    pub fn current(&self) -> Option<&Look<T>> {
        self.look.as_ref().filter(|_| self.error.is_none())
    }

    /// Counts an attempt that failed.
    pub(super) fn fail(&mut self, error: ConnectError) {
        if let Some(count) = self.failed.get_mut(error.step as usize) {
            *count = count.saturating_add(1);
        }
        self.error = Some(error);
    }
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Look<T> {
    /// When it was complete.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What was found.
    pub found: T,
}

/// What Postgres says.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// Its version, such as `15.13`.
    pub version: String,
    /// Whether it follows another one.
    pub is_standby: bool,
    /// As whom we are logged in.
    pub user: String,
    /// The database that we are connected to.
    pub datname: String,
    /// What goes on; `None` when it can't be read.
    pub sessions: Option<Sessions>,
    /// Who waits for whose locks.
    pub blocking: Option<Blocking>,
    /// How many connections may be open.
    pub limits: Option<Limits>,
    /// Counters of each database of the server.
    pub databases: Vec<DatabaseCounts>,
    /// Checkpoints since the statistics were reset.
    pub checkpoints: Option<Checkpoints>,
    /// Who follows, and how far behind.
    pub replication: Option<Replication>,
    /// Tables with the most dead rows, of the database that we are connected to.
    pub tables: Vec<Table>,
    /// Extensions that matter to us.
    pub extensions: Vec<Extension>,
    /// What can't be read, and what that costs.
    pub missing: Vec<Missing>,
}
