//! One look at a server: all that can be read, and why the rest can't.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use sqlx::PgConnection;

use super::{
    activity, blocking,
    report::Server,
    rights::{self, Extension, Facts, Missing},
    statement::Statements,
    statistics::{self, Table},
};

/// How long what is expensive to read, or hardly changes, is kept.
const KEPT: Duration = Duration::from_secs(60);

/// Looks at one server, over one connection after another.
pub(super) struct Looker {
    statements: Statements,
    wants_advice: bool,
    kept: Option<(Instant, Kept)>,
}

/// What is not read at each look.
#[derive(Clone, Default)]
struct Kept {
    facts: Facts,
    extensions: Vec<Extension>,
    sizes: Vec<(String, i64)>,
    tables: Vec<Table>,
    missing: Vec<Missing>,
}

impl Looker {
    pub(super) fn new(wants_advice: bool) -> Self {
        Self {
            statements: Statements::new(),
            wants_advice,
            kept: None,
        }
    }

    /// Reads everything. The next look reads all anew when another server may answer.
    ///
    /// # Errors
    /// The connection is lost. A part that can't be read is no error, but in
    /// [`Server::missing`].
    pub(super) async fn look(
        &mut self,
        connection: &mut PgConnection,
    ) -> Result<Server, sqlx::Error> {
        let kept = self.kept(connection).await?;
        let (facts, statements) = (&kept.facts, &mut self.statements);
        let query_bytes = usize::try_from(facts.query_bytes).unwrap_or(usize::MAX);
        statements.configure(query_bytes, facts.backslash_escapes);
        let mut missing = Parts(kept.missing);
        let connection = &mut *connection;
        let sessions = activity::sessions(connection, statements);
        let sessions = missing
            .read("sessions", "what sessions do", sessions)
            .await?;
        let waits = blocking::blocking(connection, statements, facts.version_number);
        let blocking = missing
            .read("locks", "who waits for whose locks", waits)
            .await?;
        let limits = activity::limits(connection);
        let limits = missing
            .read("limits", "how many connections are left", limits)
            .await?;
        let databases = statistics::databases(connection);
        let databases = missing
            .read("databases", "counters of databases", databases)
            .await?;
        let mut databases = databases.unwrap_or_default();
        for database in &mut databases {
            let mut sizes = kept.sizes.iter();
            let size = sizes.find(|(name, _)| *name == database.datname);
            database.size_bytes = size.map(|(_, bytes)| activity::count(*bytes));
        }
        let checkpoints = statistics::checkpoints(connection, facts.version_number);
        let checkpoints = missing
            .read("checkpoints", "checkpoints", checkpoints)
            .await?;
        let replication = statistics::replication(connection, facts.is_standby);
        let replication = missing
            .read("replication", "who follows", replication)
            .await?;
        Ok(Server {
            version: kept.facts.version,
            is_standby: kept.facts.is_standby,
            user: kept.facts.user,
            datname: kept.facts.datname,
            sessions,
            blocking,
            limits,
            databases,
            checkpoints,
            replication,
            tables: kept.tables,
            extensions: kept.extensions,
            missing: missing.0,
        })
    }

    /// Another server may answer on the next connection, or the same with other rights.
    pub(super) fn forget(&mut self) {
        self.kept = None;
    }

    async fn kept(&mut self, connection: &mut PgConnection) -> Result<Kept, sqlx::Error> {
        if let Some((at, kept)) = &self.kept
            && at.elapsed() < KEPT
        {
            return Ok(kept.clone());
        }
        let facts = rights::facts(connection).await?;
        let mut missing = Parts(Vec::new());
        let extensions = rights::extensions(connection);
        let extensions = missing.read("extensions", "which extensions are there", extensions);
        let extensions = extensions.await?.unwrap_or_default();
        let sizes = statistics::sizes(connection);
        let sizes = missing.read("sizes", "sizes of databases", sizes).await?;
        let tables = statistics::tables(connection);
        let tables = missing
            .read("tables", "dead rows of tables", tables)
            .await?;
        let unreadable = rights::unreadable(connection);
        let unreadable = missing.read("rights", "which tables may be read", unreadable);
        let unreadable = unreadable.await?.unwrap_or_default();
        let more = rights::missing(&facts, &extensions, unreadable, self.wants_advice);
        missing.0.extend(more);
        let kept = Kept {
            facts,
            extensions,
            sizes: sizes.unwrap_or_default(),
            tables: tables.unwrap_or_default(),
            missing: missing.0,
        };
        self.kept = Some((Instant::now(), kept.clone()));
        Ok(kept)
    }
}

/// Collects what could not be read.
struct Parts(Vec<Missing>);

impl Parts {
    /// What was read, or `None` with a note when the server refuses it.
    async fn read<T>(
        &mut self,
        part: &'static str,
        cost: &str,
        read: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<Option<T>, sqlx::Error> {
        match read.await {
            Ok(read) => Ok(Some(read)),
            Err(error) if is_lost(&error) => Err(error),
            Err(error) => {
                let why = match &error {
                    sqlx::Error::Database(error) => {
                        let code = error.code().unwrap_or_default();
                        format!("{} (SQLSTATE {code})", error.message())
                    }
                    other => other.to_string(),
                };
                self.0.push(Missing {
                    part,
                    why,
                    cost: cost.to_owned(),
                    remedy: "see the rights in docs/database.md".to_owned(),
                });
                Ok(None)
            }
        }
    }
}

/// Whether there is no connection any more.
fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        // 57P01 to 57P05 end the session.
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("57P") || code.starts_with("08")),
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        _ => false,
    }
}
