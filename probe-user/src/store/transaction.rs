//! Transactions of what must be known at once, such as a reservation against a limit.

use std::{
    ops::{Deref, DerefMut},
    path::PathBuf,
    time::Duration,
};

use sqlx::{Any, AnyConnection, AnyPool, Executor as _, any::AnyPoolOptions};

use super::{
    StoreError,
    connections::{Dialect, options},
    error::Doing as _,
    place::{FileId, Place, file_id},
};

/// Transactions at once. SQLite takes one writer at a time; waiting for it here is in order.
const POSTGRES_TRANSACTIONS: u32 = 8;
/// How long one may wait for its turn.
const TURN: Duration = Duration::from_secs(5);
/// Before the caller's own patience ends, so that a lock never outlives who waited for it.
const POSTGRES_PATIENCE: &str = "SET statement_timeout = 7000; SET lock_timeout = 5000";

/// The connections for them.
#[derive(Clone, Debug)]
pub(super) struct Transactions {
    pool: AnyPool,
    dialect: Dialect,
    /// The SQLite file that is open.
    file: Option<(PathBuf, FileId)>,
}

impl Transactions {
    /// Connections that are made when they are needed.
    ///
    /// # Errors
    /// The address can't be read.
    pub(super) fn new(
        place: &Place,
        dialect: Dialect,
        file: Option<(PathBuf, FileId)>,
    ) -> Result<Self, StoreError> {
        let pool = AnyPoolOptions::new()
            .max_connections(match dialect {
                Dialect::Sqlite => 1,
                Dialect::Postgres => POSTGRES_TRANSACTIONS,
            })
            .min_connections(0)
            .acquire_timeout(TURN)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    connection.execute(dialect.settings()).await?;
                    if dialect == Dialect::Postgres {
                        connection.execute(POSTGRES_PATIENCE).await?;
                    }
                    Ok(())
                })
            });
        // What is in memory is gone with its connection.
        let pool = match place {
            Place::Memory => pool.idle_timeout(None).max_lifetime(None),
            _ => pool.idle_timeout(Duration::from_secs(60)),
        };
        Ok(Self {
            pool: pool.connect_lazy_with(options(place)?),
            dialect,
            file,
        })
    }

    /// The connections themselves.
    pub(super) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    pub(super) async fn begin(&self) -> Result<Transaction, StoreError> {
        // Writing into a file that was deleted succeeds.
        if let Some((path, id)) = &self.file
            && file_id(path) != Some(*id)
        {
            return Err(StoreError::FileGone(path.clone()));
        }
        let begun = self.pool.begin_with(self.dialect.begin()).await;
        Ok(Transaction {
            inner: begun.doing("cannot begin")?,
            dialect: self.dialect,
        })
    }
}

/// One transaction; what is dropped without [`Transaction::commit`] never was.
#[derive(Debug)]
pub(crate) struct Transaction {
    inner: sqlx::Transaction<'static, Any>,
    dialect: Dialect,
}

impl Transaction {
    /// Makes it last.
    ///
    /// # Errors
    /// As the database says; whether it was done is not known then.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await.doing("cannot commit")
    }

    /// Undoes it.
    ///
    /// # Errors
    /// As the database says.
    pub(crate) async fn rollback(self) -> Result<(), StoreError> {
        self.inner.rollback().await.doing("cannot roll back")
    }

    /// Waits until no other transaction has a lock of this number, and has it until the end.
    ///
    /// # Errors
    /// As the database says.
    pub(crate) async fn lock(&mut self, number: i64) -> Result<(), StoreError> {
        // SQLite has one writer at a time in any case.
        if self.dialect == Dialect::Postgres {
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(number)
                .execute(&mut **self)
                .await
                .doing("cannot lock")?;
        }
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.inner
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }
}
