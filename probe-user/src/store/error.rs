//! What can go wrong.

use std::path::PathBuf;

/// Why the store can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The configuration can't be followed.
    #[error("{0}")]
    Configuration(String),
    /// It was written by a newer hostprobe.
    #[error(
        "the store {location} has schema version {found}, written by a newer hostprobe; this one \
         ({program}) knows versions up to {known}: install a newer hostprobe, or set `store.url` to \
         another place"
    )]
    Newer {
        /// Where, without its password.
        location: String,
        /// Version of its schema.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
        /// Version of this program.
        program: &'static str,
    },
    /// It holds something else.
    #[error(
        "{location} holds other tables, but no store of hostprobe: set `store.url` to another place"
    )]
    NotAStore {
        /// Where, without its password.
        location: String,
    },
    /// The directory or the file can't be made.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The SQLite file is not the one any more that was opened.
    #[error("the file {} was deleted or replaced", .0.display())]
    FileGone(PathBuf),
    /// The database refuses, or is not there.
    #[error("{doing}: {source}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// What the database or its driver says.
        source: sqlx::Error,
    },
    /// It did not answer in time.
    #[error("{0}: no answer in time")]
    Timeout(&'static str),
    /// It is down; why was found out before.
    #[error("the store is down: {0}")]
    Down(String),
    /// None is configured.
    #[error("no store is configured (`store.url` is \"none\")")]
    Off,
}

impl StoreError {
    /// Whether trying again can't help, so that the daemon should not start.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Configuration(_) | Self::Newer { .. } | Self::NotAStore { .. }
        )
    }

    /// Whether the database refused what a record holds (SQLSTATE classes 22 and 23), so that
    /// writing it again can't help, but others may be written.
    pub(crate) fn is_about_a_record(&self) -> bool {
        let Self::Database { source, .. } = self else {
            return false;
        };
        match source {
            sqlx::Error::Encode(_) => true,
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                // SQLite's codes are numbers of up to four digits.
                code.len() == 5 && (code.starts_with("22") || code.starts_with("23"))
            }),
            _ => false,
        }
    }
}

/// Says what was tried when it failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Database { doing, source })
    }
}
