//! A connection to a configured database, or at which step there is none.

use std::{fmt, io, path::Path, time::Duration};

use sqlx::{
    ConnectOptions as _, PgConnection, Postgres,
    postgres::{PgArguments, PgConnectOptions},
    query::Query,
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::config;

/// How long finding the server's address may take.
const RESOLVE: Duration = Duration::from_secs(5);
/// How long all else may take until the server is ready for statements.
const ESTABLISH: Duration = Duration::from_secs(10);
/// How long a bare connection may take, when all that is known is that the whole took too long.
const PROBE: Duration = Duration::from_secs(3);

/// What the server makes of each session of ours: it must not change anything, and not stand in the
/// way of anybody. The limits are in milliseconds.
const SESSION: [(&str, &str); 4] = [
    ("default_transaction_read_only", "on"),
    ("statement_timeout", "5000"),
    ("lock_timeout", "1000"),
    ("idle_in_transaction_session_timeout", "10000"),
];

/// What our sessions are called, so that they can be told from those of the programs.
pub(super) const APPLICATION_NAME: &str = "hostprobe";

/// Opens a connection to a configured database: read-only, with limits on the time that statements
/// and locks may take, as application `hostprobe`.
///
/// # Errors
/// The step that failed, with what to do. No message holds a password.
pub async fn connect(database: &config::Database) -> Result<PgConnection, ConnectError> {
    let mut options = options(&database.url)?.options(SESSION);
    if let Some(path) = &database.password_file {
        let password = read_password(path).await.map_err(|error| {
            let what = format!("cannot read {}: {error}", path.display());
            ConnectError::new(Step::Auth, &options, what)
        })?;
        options = options.password(&password);
    }
    establish(&options).await
}

/// What an address says, with what is ours.
pub(super) fn options(url: &config::DatabaseUrl) -> Result<PgConnectOptions, ConnectError> {
    let options = url.options().map_err(|error| ConnectError {
        step: Step::Server,
        place: url.to_string(),
        what: error.to_string(),
        hint: "correct the address in [[database]]".to_owned(),
    })?;
    // Our statements are the same all day: nothing is to be learned from them in the log.
    Ok(options
        .application_name(APPLICATION_NAME)
        .disable_statement_logging())
}

/// Goes through all steps until the server is ready for statements.
pub(super) async fn establish(options: &PgConnectOptions) -> Result<PgConnection, ConnectError> {
    resolve(options).await?;
    match timeout(ESTABLISH, options.connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(ConnectError::judge(options, &error)),
        Err(_) => Err(too_slow(options).await),
    }
}

/// One of our statements. Its text is sent each time, so that it has one in what is traced of the
/// server, also when the connection is older than the trace.
pub(super) fn statement(text: &'static str) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(text).persistent(false)
}

/// The first line of a file, without its end.
async fn read_password(path: &Path) -> io::Result<String> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path));
    let text = read.await.map_err(io::Error::other)??;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

async fn resolve(options: &PgConnectOptions) -> Result<(), ConnectError> {
    if is_unix_socket(options) {
        return Ok(());
    }
    let address = (options.get_host(), options.get_port());
    let what = match timeout(RESOLVE, lookup_host(address)).await {
        Ok(Ok(mut addresses)) => match addresses.next() {
            Some(_) => return Ok(()),
            None => "the name has no address".to_owned(),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", RESOLVE.as_secs()),
    };
    Err(ConnectError::new(Step::Dns, options, what))
}

/// Why nothing came of it in time: whether the host took the connection at all.
async fn too_slow(options: &PgConnectOptions) -> ConnectError {
    let seconds = ESTABLISH.as_secs();
    let address = (options.get_host(), options.get_port());
    if !is_unix_socket(options)
        && !matches!(timeout(PROBE, TcpStream::connect(address)).await, Ok(Ok(_)))
    {
        let what = format!("no answer within {seconds} s");
        return ConnectError::new(Step::Tcp, options, what);
    }
    let what = format!("it takes connections, but was not ready within {seconds} s");
    ConnectError::new(Step::Server, options, what)
}

fn is_unix_socket(options: &PgConnectOptions) -> bool {
    options.get_socket().is_some() || options.get_host().starts_with('/')
}

/// How far a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Finding the address of the host's name.
    Dns,
    /// Connecting, over TCP or to a Unix socket.
    Tcp,
    /// Agreeing on encryption.
    Tls,
    /// Being let in as this user.
    Auth,
    /// Being let into this database.
    Rights,
    /// Anything else for which the server does not serve: it is full, starting, or no Postgres.
    Server,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Self; 6] = [
        Self::Dns,
        Self::Tcp,
        Self::Tls,
        Self::Auth,
        Self::Rights,
        Self::Server,
    ];

    /// Value of the label `step`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Rights => "rights",
            Self::Server => "server",
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::Dns => "name resolution (DNS) failed",
            Self::Tcp => "connecting failed",
            Self::Tls => "TLS failed",
            Self::Auth => "authentication failed",
            Self::Rights => "rights are missing",
            Self::Server => "the server does not serve us",
        }
    }
}

/// Why there is no connection. Two that are equal have the same cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {}: {what}; {hint}", step.in_words())]
pub struct ConnectError {
    /// How far it came.
    pub step: Step,
    /// Host and port, or the socket's path.
    pub place: String,
    /// What the system or the server said.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

impl ConnectError {
    fn new(step: Step, options: &PgConnectOptions, what: String) -> Self {
        let socket = is_unix_socket(options);
        let hint = match step {
            Step::Dns => "check the host's name in `url`, and the resolver of this host",
            Step::Tcp if socket => {
                "check the socket's path and port in `url`, and that the server runs"
            }
            Step::Tcp => {
                "check host and port in `url`, that the server runs and listens there, and firewalls between"
            }
            Step::Tls => "check `sslmode` and `sslrootcert` in `url`",
            Step::Auth => "check user and password, and the server's pg_hba.conf",
            Step::Rights => "grant what docs/database.md lists",
            Step::Server => "check that `url` leads to Postgres itself, and the server's log",
        };
        Self {
            step,
            place: place(options),
            what,
            hint: hint.to_owned(),
        }
    }

    /// A connection that was there and is of no use any more.
    pub(super) fn lost(place: &str, what: &str) -> Self {
        Self {
            step: Step::Server,
            place: place.to_owned(),
            what: format!("it stopped answering: {what}"),
            hint: "a new connection is opened".to_owned(),
        }
    }

    /// Sorts what the library says.
    fn judge(options: &PgConnectOptions, error: &sqlx::Error) -> Self {
        let new = |step, what: &dyn fmt::Display| Self::new(step, options, what.to_string());
        match error {
            sqlx::Error::Io(error) => match error.kind() {
                // The library hands errors of the TLS handshake on as errors of the socket.
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => new(Step::Tls, error),
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe => new(
                    Step::Server,
                    &"it closed the connection instead of answering",
                ),
                _ => new(Step::Tcp, error),
            },
            sqlx::Error::Tls(error) => new(Step::Tls, error),
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                Self::judge_sqlstate(options, &code, error.message())
            }
            other => new(Step::Server, other),
        }
    }

    /// Sorts what the server says (appendix A of Postgres' documentation).
    fn judge_sqlstate(options: &PgConnectOptions, code: &str, message: &str) -> Self {
        let what = format!("{message} (SQLSTATE {code})");
        let of = |step| Self::new(step, options, what.clone());
        let hinted = |step, hint: &str| Self {
            hint: hint.to_owned(),
            ..of(step)
        };
        match code {
            // pg_hba.conf has lines for encrypted connections only.
            "28000" if message.ends_with("no encryption") || message.ends_with("SSL off") => {
                hinted(
                    Step::Tls,
                    "the server wants encryption: set `sslmode=require` in `url`, or add a line to pg_hba.conf",
                )
            }
            _ if code.starts_with("28") => of(Step::Auth),
            "42501" => of(Step::Rights),
            "3D000" => hinted(Step::Server, "check the database's name in `url`"),
            "53300" => hinted(
                Step::Server,
                "all connections are taken: raise max_connections, put a pooler before it, or \
                 keep some for us (reserved_connections from Postgres 16 on)",
            ),
            "57P03" => hinted(Step::Server, "it starts or stops; it is tried again"),
            "08P01" if message.contains("startup parameter") => hinted(
                Step::Server,
                "this is PgBouncer: let `url` lead to Postgres itself, and `pgbouncer_url` to \
                 its admin console",
            ),
            _ => of(Step::Server),
        }
    }
}

/// Where it was tried, for people.
fn place(options: &PgConnectOptions) -> String {
    let port = options.get_port();
    match options.get_socket() {
        Some(socket) => format!("{}/.s.PGSQL.{port}", socket.display()),
        None if options.get_host().starts_with('/') => {
            format!("{}/.s.PGSQL.{port}", options.get_host())
        }
        None if options.get_host().contains(':') => format!("[{}]:{port}", options.get_host()),
        None => format!("{}:{port}", options.get_host()),
    }
}
