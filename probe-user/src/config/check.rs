//! What a value's type can't say: ranges, combinations, names.

mod gemini;
mod vitals;

use std::collections::HashMap;
use std::ops::RangeInclusive;

use probe_common::target::MAX_SERVICES;

use super::{
    Advice, Config, Database, DatabaseUrl, Discovery, Host, Kernel, NPlusOne, Service, Sql, Store,
    StoreUrl, UserSpec, Wire, database, keys, sql,
};
use crate::routes::Templates;

/// Names that mean something else as the value of a label.
const RESERVED: [&str; 2] = ["other", "unknown"];
/// Longest name of a service or database.
const MAX_NAME: usize = 64;

/// Each is a connection, a task and some series.
const MAX_DATABASES: usize = 32;

/// One value that can't be used.
pub(super) struct Finding {
    /// Its key.
    pub(super) key: String,
    /// What is allowed.
    pub(super) message: String,
}

/// Finds everything that is wrong with a configuration whose types are right.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    findings.kernel(&config.kernel);
    findings.discovery(&config.discovery, config.services.is_empty());
    findings.services(&config.services);
    findings.range("http.max_routes", config.http.max_routes, 1..=keys::MAX_TOP);
    findings.sql(&config.sql);
    findings.wire(&config.wire);
    findings.n_plus_one(&config.n_plus_one);
    findings.host(&config.host);
    findings.databases(&config.databases);
    findings.advice(&config.advice);
    findings.store(&config.store);
    findings.range("queries.window_s", config.queries.window_s, 1..=600);
    findings.vitals(&config.vitals, config);
    findings.gemini(&config.gemini);
    findings.api(&config.api);
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, key: &str, message: impl Into<String>) {
        self.0.push(Finding {
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// Refuses the value of `key` with the sentence from the table of keys.
    fn refuse(&mut self, key: &str) {
        let allowed = keys::find(key).map_or("not allowed", |key| key.allowed);
        self.add(key, allowed);
    }

    /// As [`Self::refuse`], with what the library that reads the value says of it.
    fn refuse_because(&mut self, key: &str, why: &str) {
        let allowed = keys::find(key).map_or("not allowed", |key| key.allowed);
        self.add(key, format!("{allowed} ({why})"));
    }

    fn range(&mut self, key: &str, value: u32, allowed: RangeInclusive<u32>) {
        if !allowed.contains(&value) {
            self.refuse(key);
        }
    }

    fn kernel(&mut self, kernel: &Kernel) {
        self.range(
            "kernel.max_sockets",
            kernel.max_sockets,
            1..=keys::MAX_TABLE,
        );
        self.range(
            "kernel.max_syscall_series",
            kernel.max_syscall_series,
            1..=keys::MAX_TABLE,
        );
        self.range(
            "kernel.program_stats_every",
            kernel.program_stats_every,
            1..=keys::MAX_INTERVAL_S,
        );
        if kernel.program_stats_for == 0 || kernel.program_stats_for >= kernel.program_stats_every {
            self.refuse("kernel.program_stats_for");
        }
        self.range(
            "kernel.max_streams",
            kernel.max_streams,
            1..=keys::MAX_TABLE,
        );
        self.range(
            "kernel.payload_head_bytes",
            kernel.payload_head_bytes,
            64..=keys::MAX_HEAD_BYTES,
        );
        self.range(
            "kernel.payload_tail_bytes",
            kernel.payload_tail_bytes,
            0..=keys::MAX_TAIL_BYTES,
        );
        self.ring("kernel.event_ring_bytes", kernel.event_ring_bytes);
        self.ring("kernel.payload_ring_bytes", kernel.payload_ring_bytes);
    }

    fn wire(&mut self, wire: &Wire) {
        self.range("wire.max_series", wire.max_series, 1..=keys::MAX_SERIES);
        for (key, bytes) in [
            ("wire.http_head_bytes", wire.http_head_bytes),
            ("wire.sql_bytes", wire.sql_bytes),
        ] {
            self.range(key, bytes, 1024..=keys::MAX_KEPT_BYTES);
        }
        for (key, number) in [
            ("wire.http_pipeline", wire.http_pipeline),
            ("wire.postgres_pipeline", wire.postgres_pipeline),
            ("wire.postgres_statements", wire.postgres_statements),
            ("wire.postgres_portals", wire.postgres_portals),
        ] {
            self.range(key, number, 1..=keys::MAX_REMEMBERED);
        }
    }

    fn ring(&mut self, key: &str, bytes: u32) {
        if !bytes.is_power_of_two()
            || !bytes.is_multiple_of(page_size())
            || bytes > keys::MAX_RING_BYTES
        {
            self.refuse(key);
        }
    }

    fn discovery(&mut self, discovery: &Discovery, alone: bool) {
        self.range(
            "discovery.interval_s",
            discovery.interval_s,
            1..=keys::MAX_INTERVAL_S,
        );
        if let Some(cgroup) = &discovery.cgroup {
            self.cgroup("discovery.cgroup", cgroup);
        }
        match &discovery.netns {
            Some(super::NetnsSpec::OfPid(0)) => self.refuse("discovery.netns"),
            Some(super::NetnsSpec::Path(path)) if !path.is_absolute() => {
                self.refuse("discovery.netns");
            }
            _ => {}
        }
        if let Some(user) = &discovery.user {
            self.user("discovery.user", user);
        }
        // A scope without discovery would be silently without effect.
        if discovery.enabled.is_none() && !alone {
            let given = [
                ("discovery.cgroup", discovery.cgroup.is_some()),
                ("discovery.user", discovery.user.is_some()),
                ("discovery.netns", discovery.netns.is_some()),
                ("discovery.exe_include", !discovery.exe_include.is_empty()),
                ("discovery.exe_exclude", !discovery.exe_exclude.is_empty()),
            ];
            for (key, _) in given.iter().filter(|(_, given)| *given) {
                self.add(
                    key,
                    "has no effect, because configured services switch discovery off; \
                     add `discovery.enabled = true` or leave this out",
                );
            }
        }
    }

    fn n_plus_one(&mut self, section: &NPlusOne) {
        // Two of anything are no loop.
        self.range("n_plus_one.min_count", section.min_count, 3..=1_000);
        self.range("n_plus_one.min_ms", section.min_ms, 0..=60_000);
        self.range("n_plus_one.max_gap_ms", section.max_gap_ms, 1..=10_000);
        self.range("n_plus_one.cooldown_s", section.cooldown_s, 0..=86_400);
    }

    fn host(&mut self, host: &Host) {
        for (key, seconds) in [
            ("host.pss_interval_s", host.pss_interval_s),
            ("host.sockets_interval_s", host.sockets_interval_s),
        ] {
            self.range(key, seconds, 0..=keys::MAX_INTERVAL_S);
        }
    }

    fn sql(&mut self, section: &Sql) {
        self.range(
            "sql.top_fingerprints",
            section.top_fingerprints,
            1..=keys::MAX_TOP,
        );
        self.slow_ms("sql.slow_ms", section.slow_ms);
        for (index, database) in section.databases.iter().enumerate() {
            let at = format!("sql.database[{index}]");
            // Postgres cuts longer names off.
            if database.name.is_empty() || database.name.len() > 63 {
                self.refuse(&format!("{at}.name"));
            }
            self.slow_ms(&format!("{at}.slow_ms"), database.slow_ms);
            let mut earlier = section.databases.iter().take(index);
            if let Some(first) = earlier.position(|other| other.name == database.name) {
                self.add(
                    &format!("{at}.name"),
                    format!("sql.database[{first}] has this name already; each needs its own"),
                );
            }
        }
    }

    fn slow_ms(&mut self, key: &str, value: i32) {
        if !(-1..=sql::MAX_SLOW_MS).contains(&value) {
            self.refuse(key);
        }
    }

    fn store(&mut self, store: &Store) {
        self.range("store.retention_days", store.retention_days, 1..=3_650);
        self.range("store.queue", store.queue, 1..=1_000_000);
        self.range("store.flush_ms", store.flush_ms, 10..=500);
        // Less than that is gone with the schema, its indexes and the log of transactions.
        if store.max_bytes < 1 << 20 {
            self.refuse("store.max_bytes");
        }
        if let Some(StoreUrl::Postgres(url)) = &store.url {
            self.database_url("store.url", url);
        }
        let absolute = |path: &std::path::PathBuf| path.is_absolute();
        if !store.password_file.as_ref().is_none_or(absolute) {
            self.refuse("store.password_file");
        }
    }

    fn services(&mut self, services: &[Service]) {
        let most = MAX_SERVICES - 1;
        if services.len() > most {
            self.add(
                "service",
                format!("at most {most} services can be told apart"),
            );
        }
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (index, service) in services.iter().enumerate() {
            let at = format!("service[{index}]");
            self.service(&at, service);
            if service.name.is_empty() {
                continue;
            }
            if let Some(first) = seen.insert(&service.name, index) {
                self.add(
                    &format!("{at}.name"),
                    format!("service[{first}] has this name already; each needs its own"),
                );
            }
        }
    }

    fn service(&mut self, at: &str, service: &Service) {
        let name = &service.name;
        if !is_name(name) {
            self.refuse(&format!("{at}.name"));
        }
        if !service.has_criterion() {
            self.add(
                at,
                format!(
                    "service `{name}` doesn't say which processes it is; \
                     give one or more of exe, cmdline, user, unit, cgroup, ports, pids"
                ),
            );
        }
        if let Some(exe) = &service.exe
            && (exe.is_empty()
                || exe.ends_with('/')
                || (exe.contains('/') && !exe.starts_with('/')))
        {
            self.refuse(&format!("{at}.exe"));
        }
        if service
            .unit
            .as_ref()
            .is_some_and(|unit| unit.is_empty() || unit.contains('/'))
        {
            self.refuse(&format!("{at}.unit"));
        }
        if let Some(cgroup) = &service.cgroup {
            self.cgroup(&format!("{at}.cgroup"), cgroup);
        }
        if let Some(user) = &service.user {
            self.user(&format!("{at}.user"), user);
        }
        if service.ports.contains(&0) {
            self.refuse(&format!("{at}.ports"));
        }
        if service.pids.iter().any(|pid| *pid < 2) {
            self.refuse(&format!("{at}.pids"));
        }
        if let Some(slow_ms) = service.slow_ms {
            self.slow_ms(&format!("{at}.slow_ms"), slow_ms);
        }
        self.routes(&format!("{at}.routes"), &service.routes);
    }

    fn databases(&mut self, databases: &[Database]) {
        if databases.len() > MAX_DATABASES {
            self.add(
                "database",
                format!("at most {MAX_DATABASES} databases can be asked"),
            );
        }
        for (index, database) in databases.iter().enumerate() {
            let at = format!("database[{index}]");
            self.database(&at, database);
            let earlier = databases.iter().take(index);
            let mut earlier = earlier.map(|database| &database.name);
            if !database.name.is_empty()
                && let Some(first) = earlier.position(|name| *name == database.name)
            {
                self.add(
                    &format!("{at}.name"),
                    format!("database[{first}] has this name already; each needs its own"),
                );
            }
        }
    }

    fn database(&mut self, at: &str, database: &Database) {
        if !is_name(&database.name) {
            self.refuse(&format!("{at}.name"));
        }
        if database.url.is_empty() {
            self.refuse(&format!("{at}.url"));
        } else {
            self.database_url(&format!("{at}.url"), &database.url);
        }
        if let Some(url) = &database.pgbouncer_url {
            self.database_url(&format!("{at}.pgbouncer_url"), url);
        }
        let absolute = |path: &std::path::PathBuf| path.is_absolute();
        if !database.password_file.as_ref().is_none_or(absolute) {
            self.refuse(&format!("{at}.password_file"));
        }
        if !database.service.as_deref().is_none_or(is_name) {
            self.refuse(&format!("{at}.service"));
        }
        self.range(
            &format!("{at}.interval_s"),
            database.interval_s,
            1..=keys::MAX_INTERVAL_S,
        );
    }

    fn advice(&mut self, advice: &Advice) {
        self.range("advice.interval_s", advice.interval_s, 1..=86_400);
        self.range("advice.top", advice.top, 1..=200);
        self.range("advice.recent_s", advice.recent_s, 1..=2_592_000);
        if !(0.1..=0.99).contains(&advice.min_improvement) {
            self.refuse("advice.min_improvement");
        }
        self.range("advice.max_candidates", advice.max_candidates, 1..=100);
        self.range(
            "advice.statement_timeout_ms",
            advice.statement_timeout_ms,
            10..=60_000,
        );
        self.range("advice.round_timeout_s", advice.round_timeout_s, 1..=600);
        self.range(
            "advice.unused_after_days",
            advice.unused_after_days,
            0..=3_650,
        );
    }

    /// Says what is wrong without the address itself, which may hold a password.
    fn database_url(&mut self, key: &str, url: &DatabaseUrl) {
        for name in url.unknown_parameters() {
            let known = database::PARAMETERS.join(", ");
            self.add(
                key,
                format!("parameter `{name}` is not known; allowed are {known}"),
            );
        }
        if let Err(error) = url.options() {
            // The library says of what kind the mistake is, twice.
            let text = error.to_string();
            self.add(key, text.trim_start_matches("error with configuration: "));
        }
    }

    /// Each template alone, then all together, so that the one that is wrong is named.
    fn routes(&mut self, key: &str, routes: &[String]) {
        let allowed = keys::find(key).map_or("", |key| key.allowed);
        let mut single = false;
        for (index, route) in routes.iter().enumerate() {
            if let Err(error) = Templates::new(&[route]) {
                self.add(&format!("{key}[{index}]"), format!("{error}; {allowed}"));
                single = true;
            }
        }
        if !single && let Err(error) = Templates::new(routes) {
            self.add(key, error.to_string());
        }
    }

    fn cgroup(&mut self, key: &str, path: &str) {
        if !path.starts_with('/') || path.trim_matches('/').is_empty() {
            self.refuse(key);
        }
    }

    fn user(&mut self, key: &str, user: &UserSpec) {
        if matches!(user, UserSpec::Name(name) if name.is_empty()) {
            self.refuse(key);
        }
    }
}

impl Service {
    /// Whether it says anything about its processes.
    pub(super) fn has_criterion(&self) -> bool {
        self.has_condition() || !self.pids.is_empty()
    }

    /// Whether both are the same processes.
    pub(crate) fn has_criteria_of(&self, other: &Self) -> bool {
        let alike = Self {
            routes: self.routes.clone(),
            ..other.clone()
        };
        *self == alike
    }

    /// Whether it has a criterion other than process ids.
    pub(crate) fn has_condition(&self) -> bool {
        self.exe.is_some()
            || self.cmdline.is_some()
            || self.user.is_some()
            || self.unit.is_some()
            || self.cgroup.is_some()
            || !self.ports.is_empty()
    }
}

/// Whether a name can be told apart in labels, and needs no quoting there.
fn is_name(name: &str) -> bool {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-'));
    !name.is_empty() && name.len() <= MAX_NAME && plain && !RESERVED.contains(&name)
}

fn page_size() -> u32 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|bytes| u32::try_from(bytes).ok())
        .filter(|bytes| *bytes > 0)
        .unwrap_or(4096)
}
