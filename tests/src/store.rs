//! What the probe has kept, read by others: Python's sqlite3, and psql.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{postgres::Postgres, process::run, site::need};

/// Runs one statement in an SQLite file; the first column of the first row of what it returns.
///
/// # Errors
/// Python is not installed, or the statement failed.
pub fn sqlite(file: &Path, statement: &str) -> Result<String> {
    const PROGRAM: &str = "import sqlite3, sys\n\
        with sqlite3.connect(sys.argv[1], timeout=30) as connection:\n    \
            row = connection.execute(sys.argv[2]).fetchone()\n\
        print('' if row is None else row[0])";
    let mut command = Command::new(need("python3", "python3")?);
    command.args(["-c", PROGRAM]).arg(file).arg(statement);
    Ok(run("python3", command)?.trim().to_owned())
}

/// Where records are kept, for one who looks from outside.
#[derive(Clone, Copy, Debug)]
pub enum Kept<'a> {
    /// In an SQLite file.
    Sqlite(&'a Path),
    /// In a Postgres database.
    Postgres(&'a Postgres),
}

impl Kept<'_> {
    /// One number.
    ///
    /// # Errors
    /// The statement failed, or returned something else.
    pub fn number(self, statement: &str) -> Result<u64> {
        let text = match self {
            Self::Sqlite(file) => sqlite(file, statement)?,
            Self::Postgres(postgres) => {
                let path = "SET search_path = hostprobe";
                postgres.psql(&postgres.over_unix(), &[path, statement])?
            }
        };
        text.parse()
            .with_context(|| format!("{statement}: {text:?}"))
    }

    /// Executions of the statement with this normalised text.
    ///
    /// # Errors
    /// As [`Self::number`].
    pub fn calls(self, sql: &str) -> Result<u64> {
        self.number(&format!(
            "SELECT COALESCE(SUM(q.calls), 0) FROM query_stats q \
             JOIN statements s ON s.fingerprint = q.fingerprint WHERE s.sql = '{sql}'"
        ))
    }
}
