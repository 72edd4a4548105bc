//! The Postgres that is measured: one cluster, started anew for each measurement with the settings
//! that the variant wants.

use anyhow::{Result, ensure};

use crate::{
    postgres::{Cluster, Postgres},
    process::Process,
};

/// Rows of `pgbench_accounts`, for one of pgbench's units of scale.
pub(super) const ACCOUNTS: u64 = 100_000;

/// What observes Postgres from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// Nothing.
    Nothing,
    /// `pg_stat_statements`, with its defaults.
    PgStatStatements,
    /// `log_min_duration_statement = 0`: each statement into the log, which is a file.
    LogAll,
}

/// A cluster with pgbench's tables.
#[derive(Debug)]
pub(super) struct Server(Cluster);

impl Server {
    /// Makes and fills a cluster.
    ///
    /// # Errors
    /// Postgres is not installed.
    pub(super) fn create() -> Result<Self> {
        let server = Self(Cluster::create()?);
        let postgres = server.start(Inside::Nothing)?;
        postgres.fill()?;
        // Otherwise the first variants would do the work of a later vacuum.
        postgres.psql(&postgres.over_unix(), &["VACUUM FREEZE", "CHECKPOINT"])?;
        postgres.stop()?;
        Ok(server)
    }

    /// Starts it, with everything in its caches.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start(&self, inside: Inside) -> Result<Postgres> {
        let mut command = self.0.command()?;
        let settings: &[&str] = match inside {
            Inside::Nothing => &["shared_preload_libraries="],
            Inside::PgStatStatements => &["shared_preload_libraries=pg_stat_statements"],
            Inside::LogAll => &["shared_preload_libraries=", "log_min_duration_statement=0"],
        };
        // Background work of its own would fall into some measurements and not into others.
        for setting in [&["shared_buffers=128MB", "autovacuum=off"], settings].concat() {
            command.args(["-c", setting]);
        }
        let process = Process::spawn("postgres", command)?;
        let mut postgres = self.0.clone().running_as(process);
        postgres.wait_ready()?;
        Ok(postgres)
    }
}

/// Whether `pg_stat_statements` has counted at least so many statements. It is asked after the
/// measurement; the view is made only then.
///
/// # Errors
/// It has not, so it was not measured.
pub(super) fn check_pg_stat_statements(postgres: &Postgres, least: u64) -> Result<()> {
    let counted = postgres.psql(
        &postgres.over_unix(),
        &[
            "CREATE EXTENSION IF NOT EXISTS pg_stat_statements",
            "SELECT sum(calls) FROM pg_stat_statements",
        ],
    )?;
    let counted: u64 = counted.trim().parse()?;
    ensure!(
        counted >= least,
        "pg_stat_statements counted {counted} of {least} statements"
    );
    Ok(())
}
