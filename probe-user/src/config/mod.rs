//! The configuration: what can be set, its defaults, and how file, environment and flags become
//! one [`Config`].
//!
//! The structures here are the whole surface. [`keys`] lists every key with what is allowed,
//! [`load`] reads and overlays the sources, [`check`] says what single values can't say.
//! A later part of the daemon adds its section as one more field of [`Config`] and its keys to the
//! table; a test holds the two and `deploy/hostprobe.example.toml` together.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

mod advice;
mod api;
mod budget;
mod check;
mod database;
mod gateway;
mod gemini;
mod host;
mod keys;
mod load;
mod paths;
mod queries;
mod sql;
mod store;
mod values;
mod vitals;

pub use advice::Advice;
pub use api::Api;
pub use budget::{Budget, ByType, DEFAULT_MIN_SAMPLES, FileBudget, Of, PagePattern, TOTAL};
pub use database::{Database, DatabaseUrl};
pub use gateway::{GeminiGateway, UpstreamUrl};
pub(crate) use gemini::MAX_LEASE_S;
pub(crate) use gemini::MAX_NAME;
pub use gemini::{Gemini, GeminiLimit, Per, UnknownPrice, WhenStoreIsDown};
pub use host::Host;
pub use load::{ConfigError, DEFAULT_FILE, Origin, Problem, Setting, Sources};
pub use queries::Queries;
pub use sql::{Sql, SqlDatabase, slow_ns};
pub use store::{Store, StoreUrl};
pub use values::{NetnsSpec, Pattern, UserSpec};
pub use vitals::{Network, OriginPattern, PortPattern, Vitals};

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where `/metrics` and the other pages are served.
    pub listen: SocketAddr,
    /// What the daemon writes to its log.
    pub log: Log,
    /// The kernel side: which probes, and how much memory.
    pub kernel: Kernel,
    /// Finding services without being told.
    pub discovery: Discovery,
    /// The services to trace, in the order in which they claim processes.
    #[serde(rename = "service", skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// Requests.
    pub http: Http,
    /// Statements.
    pub sql: Sql,
    /// Memory of decoding.
    pub wire: Wire,
    /// When a loop around a query is worth a finding.
    pub n_plus_one: NPlusOne,
    /// Resources of the host and of the services' processes.
    pub host: Host,
    /// Postgres servers to ask, in the order in which they are shown.
    #[serde(rename = "database", skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<Database>,
    /// Which indexes are worth proposing.
    pub advice: Advice,
    /// Where slow queries and the like are kept.
    pub store: Store,
    /// What is remembered of statements over time.
    pub queries: Queries,
    /// What browsers may send.
    pub vitals: Vitals,
    /// Usage of the Gemini API, and its limits.
    pub gemini: Gemini,
    /// Who may write to the daemon.
    pub api: Api,
    /// What the daemon keeps of its rights.
    pub privileges: Privileges,
}

/// Section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Least severe message that is written.
    pub level: LogLevel,
    /// How a message is written.
    pub format: LogFormat,
    /// Least severe message that the kernel programs send.
    pub kernel_level: LogLevel,
}

/// Severity of log messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What keeps the probe from doing its work.
    Error,
    /// What makes its numbers incomplete.
    Warn,
    /// What it does.
    Info,
    /// How it decides.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// The level as it is spelled in the configuration; a `tracing` filter as well.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How log messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Section `[kernel]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kernel {
    /// Whether the cost of the kernel programs is measured.
    pub program_stats: ProgramStats,
    /// With [`ProgramStats::Sampled`]: seconds from the start of one measurement to the next.
    pub program_stats_every: u32,
    /// With [`ProgramStats::Sampled`]: seconds that one measurement lasts.
    pub program_stats_for: u32,
    /// Open TCP connections that are followed at once.
    pub max_sockets: u32,
    /// Pairs of service and syscall that are told apart.
    pub max_syscall_series: u32,
    /// Bytes of the ring buffer that carries process events.
    pub event_ring_bytes: u32,
    /// Connections whose bytes are looked at, at once.
    pub max_streams: u32,
    /// Bytes of the ring buffer that carries what is said on sockets.
    pub payload_ring_bytes: u32,
    /// Bytes that are copied of the beginning of each read and write.
    pub payload_head_bytes: u32,
    /// Bytes that are copied of the end of each read and write.
    pub payload_tail_bytes: u32,
    /// Which probes are loaded.
    pub probes: Probes,
}

/// Whether the kernel measures the run time of the programs. Measuring itself costs some tens of
/// nanoseconds for each run of each BPF program on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgramStats {
    /// A short while at a time.
    Sampled,
    /// All the time.
    Always,
    /// Never.
    Off,
}

/// Section `[kernel.probes]`: one switch per probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Probes {
    /// Count, errors and latency of syscalls.
    pub syscalls: bool,
    /// TCP and AF_UNIX connections.
    pub sockets: bool,
    /// Requests and statements on those connections.
    pub payload: bool,
    /// Requests and statements that a TLS library encrypts.
    pub tls: bool,
    /// Where the time of threads goes, and page faults.
    pub scheduler: bool,
    /// Requests to block devices.
    pub block: bool,
    /// Exec, fork, exit, and kills for lack of memory.
    pub process: bool,
}

/// Section `[discovery]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Discovery {
    /// `None`: exactly when no service is configured. See [`Config::discovery_enabled`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Seconds between two looks at all processes, for configured services too.
    pub interval_s: u32,
    /// Only processes in this cgroup or below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Only processes of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserSpec>,
    /// Only processes in this network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsSpec>,
    /// Only executables whose path matches one of these; empty means all.
    pub exe_include: Vec<Pattern>,
    /// Never executables whose path matches one of these.
    pub exe_exclude: Vec<Pattern>,
}

/// One `[[service]]`. All criteria that are given must hold for a process; `pids` alone suffice.
/// Children of a process that was taken always belong to the same service, unless they run a
/// program that another service names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// Value of the `service` label.
    pub name: String,
    /// Path of the executable, or its last component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Found anywhere in the command line, whose arguments are joined by one space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<Pattern>,
    /// Effective user of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserSpec>,
    /// systemd unit; `.service` may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The cgroup or one above it, as in `/proc/PID/cgroup`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// TCP ports; the process listens on at least one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Process ids; each means the process that has it when the configuration is loaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pids: Vec<u32>,
    /// Milliseconds from which on its statements are slow, as [`Sql::slow_ms`], which counts when
    /// this is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_ms: Option<i32>,
    /// Routes of its requests, as [`Router::new`](crate::routes::Router::new) reads them; what
    /// matches none is learned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
}

/// Section `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Learned routes of each service; requests beyond are `other`.
    pub max_routes: u32,
}

/// Section `[wire]`: what the decoders may remember. All but [`Wire::max_series`] is for each
/// connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wire {
    /// Series of each service and kind: requests answered, requests made, statements executed,
    /// statements sent.
    pub max_series: u32,
    /// Bytes of a request's or response's head that comes in several calls.
    pub http_head_bytes: u32,
    /// Requests without an answer.
    pub http_pipeline: u32,
    /// Bytes of a statement's text that are looked at.
    pub sql_bytes: u32,
    /// Messages to Postgres without an answer.
    pub postgres_pipeline: u32,
    /// Named prepared statements.
    pub postgres_statements: u32,
    /// Named portals.
    pub postgres_portals: u32,
}

/// Section `[n_plus_one]`: one query that runs again and again within one request, or within one
/// burst on a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NPlusOne {
    /// Whether statements are compared at all.
    pub enabled: bool,
    /// Fewest executions of one query.
    pub min_count: u32,
    /// Shortest time that they take together, pauses between them included, in milliseconds.
    pub min_ms: u32,
    /// Longest pause of the client, of at least half of the pauses, in milliseconds.
    pub max_gap_ms: u32,
    /// Seconds until the same finding is logged again.
    pub cooldown_s: u32,
}

/// Section `[privileges]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privileges {
    /// Gives up, once the probes are loaded, every capability that is not needed any more.
    pub drop: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9738)),
            log: Log::default(),
            kernel: Kernel::default(),
            discovery: Discovery::default(),
            services: Vec::new(),
            http: Http::default(),
            sql: Sql::default(),
            wire: Wire::default(),
            n_plus_one: NPlusOne::default(),
            host: Host::default(),
            databases: Vec::new(),
            advice: Advice::default(),
            store: Store::default(),
            queries: Queries::default(),
            vitals: Vitals::default(),
            gemini: Gemini::default(),
            api: Api::default(),
            privileges: Privileges::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            format: LogFormat::Text,
            kernel_level: LogLevel::Warn,
        }
    }
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            program_stats: ProgramStats::Sampled,
            program_stats_every: 15,
            program_stats_for: 1,
            max_sockets: 65_536,
            max_syscall_series: 8_192,
            event_ring_bytes: 262_144,
            max_streams: 16_384,
            payload_ring_bytes: 4_194_304,
            payload_head_bytes: 4_096,
            payload_tail_bytes: 128,
            probes: Probes::default(),
        }
    }
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            syscalls: true,
            sockets: true,
            payload: true,
            tls: true,
            scheduler: true,
            block: true,
            process: true,
        }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            enabled: None,
            interval_s: 10,
            cgroup: None,
            user: None,
            netns: None,
            exe_include: Vec::new(),
            exe_exclude: Vec::new(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { max_routes: 200 }
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            max_series: 2_000,
            http_head_bytes: 16_384,
            http_pipeline: 64,
            sql_bytes: 16_384,
            postgres_pipeline: 16_384,
            postgres_statements: 512,
            postgres_portals: 64,
        }
    }
}

impl Default for NPlusOne {
    fn default() -> Self {
        Self {
            enabled: true,
            min_count: 5,
            min_ms: 50,
            max_gap_ms: 20,
            cooldown_s: 300,
        }
    }
}

impl Default for Privileges {
    fn default() -> Self {
        Self { drop: true }
    }
}

impl Config {
    /// Reads file, environment and flags, later ones winning, and checks the result.
    ///
    /// # Errors
    /// [`ConfigError::Read`] when the file can't be read, [`ConfigError::Invalid`] with every
    /// problem that was found, not only the first.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        load::load(sources)
    }

    /// Whether services are looked for: as configured, else exactly when none is configured.
    pub fn discovery_enabled(&self) -> bool {
        self.discovery.enabled.unwrap_or(self.services.is_empty())
    }

    /// The effective configuration as TOML; loading it again gives an equal one.
    ///
    /// # Errors
    /// None that is known: every value here has a TOML form.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// Sections that differ in `new` and only take effect at the next start: a reload changes
    /// the targets and nothing else.
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        [
            ("listen", self.listen != new.listen),
            ("log", self.log != new.log),
            ("kernel", self.kernel != new.kernel),
            ("http", self.http != new.http),
            ("sql", self.sql != new.sql),
            ("wire", self.wire != new.wire),
            ("n_plus_one", self.n_plus_one != new.n_plus_one),
            ("host", self.host != new.host),
            ("database", self.databases != new.databases),
            ("advice", self.advice != new.advice),
            ("store", self.store != new.store),
            ("queries", self.queries != new.queries),
            ("vitals", self.vitals != new.vitals),
            ("gemini", self.gemini != new.gemini),
            ("api", self.api != new.api),
            ("privileges", self.privileges != new.privileges),
        ]
        .into_iter()
        .filter_map(|(section, differs)| differs.then_some(section))
        .collect()
    }
}

#[cfg(test)]
mod tests;
