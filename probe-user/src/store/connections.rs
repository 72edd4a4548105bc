//! Opening the store: files, drivers, settings of a connection.

use std::{path::PathBuf, str::FromStr as _, time::Duration};

use sqlx::{
    AnyConnection, AnyPool, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _,
    any::{AnyConnectOptions, AnyPoolOptions},
};

use tokio::time::timeout;

use super::{
    StoreError,
    error::Doing as _,
    migrations,
    place::{FileId, Place, file_id, make_file},
    transaction::Transactions,
};
use crate::config::DatabaseUrl;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Questions that are answered at once.
const READERS: u32 = 3;

/// For a connection to SQLite. A transaction is safe in the log when the process is killed; the last
/// ones may be lost when power fails, which spares a wait for the disk each time.
const SQLITE_SETTINGS: &str = "PRAGMA busy_timeout = 5000; PRAGMA synchronous = NORMAL; \
     PRAGMA journal_size_limit = 4194304";
/// For the writer: what is written in the file itself. The first one counts only before the first
/// table is made.
const SQLITE_FILE_SETTINGS: &str = "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL";
/// A schema of our own, because the database may be somebody's.
const POSTGRES_SETTINGS: &str = "SET search_path = hostprobe; SET statement_timeout = 60000; \
     SET lock_timeout = 20000; SET idle_in_transaction_session_timeout = 60000";

/// Which SQL is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Begins a transaction that will write. SQLite's own default would find out too late that
    /// another process writes.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }

    /// What is set on each connection.
    pub(super) fn settings(self) -> &'static str {
        match self {
            Self::Sqlite => SQLITE_SETTINGS,
            Self::Postgres => POSTGRES_SETTINGS,
        }
    }
}

/// An open store.
#[derive(Debug)]
pub(super) struct Connections {
    /// For the one task that writes.
    pub(super) writer: AnyConnection,
    /// For everybody who asks.
    pub(super) readers: AnyPool,
    /// For what must be known at once.
    pub(super) transactions: Transactions,
    pub(super) dialect: Dialect,
    /// The SQLite file that is open.
    pub(super) file: Option<(PathBuf, FileId)>,
}

impl Connections {
    /// Opens the store, makes it where it is missing, and brings it to this program's version. Then
    /// says in it who is there, which shows that it can be written.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(super) async fn open(place: &Place, host: &str) -> Result<Self, StoreError> {
        let file = match place {
            Place::Sqlite(path) => Some((path.clone(), make_file(path)?)),
            Place::Postgres { .. } | Place::Memory => None,
        };
        let (mut writer, dialect) = connect(place).await?;
        let options = options(place)?;
        if dialect == Dialect::Sqlite {
            let set = writer.execute(SQLITE_FILE_SETTINGS).await;
            set.doing("cannot set the file up")?;
        }
        migrations::run(&mut writer, dialect, place).await?;
        migrations::say_hello(&mut writer, host).await?;
        let readers = AnyPoolOptions::new()
            .max_connections(READERS)
            .min_connections(0)
            .acquire_timeout(Duration::from_secs(5))
            .idle_timeout(Duration::from_secs(60))
            .after_connect(move |connection, _| {
                Box::pin(async move { connection.execute(dialect.settings()).await.map(drop) })
            })
            .connect_lazy_with(options);
        Ok(Self {
            writer,
            readers,
            transactions: Transactions::new(place, dialect, file.clone())?,
            dialect,
            file,
        })
    }

    /// Whether the SQLite file still is the one that was opened; writing into a deleted one succeeds.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn check_file(&self) -> Result<(), StoreError> {
        match &self.file {
            Some((path, id)) if file_id(path) != Some(*id) => {
                Err(StoreError::FileGone(path.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Runs one statement that has no arguments and belongs to the program.
    ///
    /// # Errors
    /// As the database says.
    pub(super) async fn execute(
        &mut self,
        sql: &'static str,
        doing: &'static str,
    ) -> Result<(), StoreError> {
        self.writer.execute(sql).await.doing(doing).map(drop)
    }
}

/// Makes one connection.
///
/// # Errors
/// The store is not there, or does not answer in time.
pub(super) async fn connect(place: &Place) -> Result<(AnyConnection, Dialect), StoreError> {
    sqlx::any::install_default_drivers();
    let dialect = match place {
        Place::Sqlite(_) | Place::Memory => Dialect::Sqlite,
        Place::Postgres { .. } => Dialect::Postgres,
    };
    let options = options(place)?;
    let connecting = timeout(CONNECT, AnyConnection::connect_with(&options));
    let mut connection = match connecting.await {
        Ok(connected) => connected.doing("cannot connect")?,
        Err(_) => return Err(StoreError::Timeout("cannot connect")),
    };
    let set = connection.execute(dialect.settings()).await;
    set.doing("cannot set the connection up")?;
    Ok((connection, dialect))
}

pub(super) fn options(place: &Place) -> Result<AnyConnectOptions, StoreError> {
    let options = match place {
        Place::Sqlite(path) => sqlite_options(path)?,
        Place::Postgres { url, password_file } => postgres_options(url, password_file.as_deref())?,
        Place::Memory => AnyConnectOptions::from_str("sqlite::memory:").doing("cannot make it")?,
    };
    Ok(options.disable_statement_logging())
}

fn sqlite_options(path: &std::path::Path) -> Result<AnyConnectOptions, StoreError> {
    // The library's own writer leaves the percent sign alone, which its reader then decodes.
    let mut url = String::from("sqlite://");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => url.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => url.push(char::from(*byte)),
            byte => url.push_str(&format!("%{byte:02X}")),
        }
    }
    AnyConnectOptions::from_str(&url).doing("cannot use this path")
}

fn postgres_options(
    url: &DatabaseUrl,
    password_file: Option<&std::path::Path>,
) -> Result<AnyConnectOptions, StoreError> {
    let options = AnyConnectOptions::from_str(url.with_its_password());
    let mut options = options.doing("cannot read the address")?;
    let address = &mut options.database_url;
    if let Some(path) = password_file {
        let text = std::fs::read_to_string(path).map_err(|source| StoreError::File {
            doing: "read the password from",
            path: path.to_owned(),
            source,
        })?;
        let password = text.lines().next().unwrap_or_default();
        // Works for a socket's address as well, and wins over the one before the host.
        address.query_pairs_mut().append_pair("password", password);
    }
    // The library looks a bracketed address up as if it were a name.
    let bare = address
        .host_str()
        .and_then(|host| host.strip_prefix('[')?.strip_suffix(']'))
        .map(str::to_owned);
    if let Some(bare) = bare {
        address.query_pairs_mut().append_pair("hostaddr", &bare);
    }
    if !address
        .query_pairs()
        .any(|(name, _)| name == "application_name")
    {
        address
            .query_pairs_mut()
            .append_pair("application_name", "hostprobe");
    }
    Ok(options)
}

/// Text that the program made itself: migrations with their types filled in.
pub(crate) fn trusted(sql: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql)
}
