//! Every key that can be set, and what is allowed for it, in words.
//!
//! One table for messages, suggestions, the environment and the tests.

/// A key, with its sections before it, and the end of the sentence that says what it takes.
pub(super) struct Key {
    /// Dotted path; keys of one `[[service]]` are written as if there were only one.
    pub(super) path: &'static str,
    /// What may be given, such as `allowed is true or false`.
    pub(super) allowed: &'static str,
}

const LEVELS: &str = r#"allowed are "off", "error", "warn", "info", "debug", "trace""#;
const SWITCH: &str = "allowed is true or false";
const SECTION: &str = "allowed is a table, written as a [section]";
const REGEX: &str = "allowed is a regular expression";
const REGEXES: &str = "allowed is a list of regular expressions";
const NAME: &str =
    "allowed are 1 to 64 of the characters A-Z a-z 0-9 _ . @ -, but not \"other\" or \"unknown\"";
const SLOW: &str =
    "allowed is a whole number of milliseconds from 0 (every statement) to 86400000, or -1 (none)";
const RATE: &str = "allowed is a whole number of beacons from 1 to 1000000";
const BUDGET_MS: &str = "allowed is a whole number of milliseconds from 1 to 60000";
const BUDGET_SIZE: &str = "allowed is a whole number from 0 to 1000000000000";
const USER: &str = "allowed is a user's name or number";

/// The largest size of a kernel table that is accepted.
pub(super) const MAX_TABLE: u32 = 16_777_216;
/// One less than what a record has room for: the kernel side's masks cannot say more.
pub(super) const MAX_HEAD_BYTES: u32 = 8_191;
/// Likewise for the end of a call.
pub(super) const MAX_TAIL_BYTES: u32 = 511;
/// The largest ring buffer that is accepted, in bytes.
pub(super) const MAX_RING_BYTES: u32 = 1 << 30;
/// The largest number of series of one kind and service that is accepted.
pub(super) const MAX_SERIES: u32 = 100_000;
/// The largest number of learned routes, and of statements with series of their own.
pub(super) const MAX_TOP: u32 = 10_000;
/// The most bytes of one head or statement that is kept together.
pub(super) const MAX_KEPT_BYTES: u32 = 1 << 20;
/// The largest number of things that a connection waits for or remembers.
pub(super) const MAX_REMEMBERED: u32 = 65_536;
/// The longest time between two scans, in seconds.
pub(super) const MAX_INTERVAL_S: u32 = 3600;

impl Key {
    /// Whether it holds other keys and no value of its own.
    pub(super) fn is_section(&self) -> bool {
        self.allowed == SECTION
    }

    /// Whether its value may hold a password, so that no message shows it.
    pub(super) fn is_secret(&self) -> bool {
        self.path == "database" || self.path.ends_with("url")
    }

    /// Whether it takes regular expressions.
    pub(super) fn is_regex(&self) -> bool {
        self.allowed == REGEX || self.allowed == REGEXES
    }
}

/// All keys, sections included.
pub(super) const KEYS: &[Key] = &[
    key(
        "listen",
        r#"allowed is an IP address with a port, such as "127.0.0.1:9738" or "[::]:9738""#,
    ),
    key("log", SECTION),
    key("log.level", LEVELS),
    key("log.format", r#"allowed are "text", "json""#),
    key("log.kernel_level", LEVELS),
    key("kernel", SECTION),
    key(
        "kernel.program_stats",
        r#"allowed are "sampled", "always", "off""#,
    ),
    key(
        "kernel.program_stats_every",
        "allowed is a whole number of seconds from 1 to 3600, more than `kernel.program_stats_for`",
    ),
    key(
        "kernel.program_stats_for",
        "allowed is a whole number of seconds, at least 1 and less than `kernel.program_stats_every`",
    ),
    key(
        "kernel.max_sockets",
        "allowed is a whole number from 1 to 16777216",
    ),
    key(
        "kernel.max_syscall_series",
        "allowed is a whole number from 1 to 16777216",
    ),
    key(
        "kernel.event_ring_bytes",
        "allowed is a power of two that is a multiple of the page size, at most 1073741824",
    ),
    key(
        "kernel.max_streams",
        "allowed is a whole number from 1 to 16777216",
    ),
    key(
        "kernel.payload_ring_bytes",
        "allowed is a power of two that is a multiple of the page size, at most 1073741824",
    ),
    key(
        "kernel.payload_head_bytes",
        "allowed is a whole number of bytes from 64 to 8191",
    ),
    key(
        "kernel.payload_tail_bytes",
        "allowed is a whole number of bytes from 0 to 511",
    ),
    key("kernel.probes", SECTION),
    key("kernel.probes.syscalls", SWITCH),
    key("kernel.probes.sockets", SWITCH),
    key("kernel.probes.payload", SWITCH),
    key("kernel.probes.tls", SWITCH),
    key("kernel.probes.scheduler", SWITCH),
    key("kernel.probes.block", SWITCH),
    key("kernel.probes.process", SWITCH),
    key("discovery", SECTION),
    key("discovery.enabled", SWITCH),
    key(
        "discovery.interval_s",
        "allowed is a whole number of seconds from 1 to 3600",
    ),
    key(
        "discovery.cgroup",
        r#"allowed is a cgroup's path, such as "/system.slice""#,
    ),
    key("discovery.user", USER),
    key(
        "discovery.netns",
        r#"allowed is a process id or the absolute path of a namespace file, such as "/run/netns/blue""#,
    ),
    key("discovery.exe_include", REGEXES),
    key("discovery.exe_exclude", REGEXES),
    key(
        "service",
        "allowed is a list of tables, each written as [[service]]",
    ),
    key("service.name", NAME),
    key(
        "service.exe",
        r#"allowed is an absolute path or a file name, such as "nginx""#,
    ),
    key("service.cmdline", REGEX),
    key("service.user", USER),
    key(
        "service.unit",
        r#"allowed is the name of a systemd unit, such as "nginx.service""#,
    ),
    key(
        "service.cgroup",
        r#"allowed is a cgroup's path, such as "/system.slice/nginx.service""#,
    ),
    key(
        "service.ports",
        "allowed is a list of TCP ports from 1 to 65535",
    ),
    key(
        "service.pids",
        "allowed is a list of process ids greater than 1",
    ),
    key(
        "service.routes",
        r#"allowed is a list of paths, each with or without a method before it, such as "/items/{id}" or "GET /files/*""#,
    ),
    key("service.slow_ms", SLOW),
    key("http", SECTION),
    key(
        "http.max_routes",
        "allowed is a whole number from 1 to 10000",
    ),
    key("sql", SECTION),
    key(
        "sql.top_fingerprints",
        "allowed is a whole number from 1 to 10000",
    ),
    key("sql.slow_ms", SLOW),
    key("sql.capture_literals", SWITCH),
    key(
        "sql.database",
        "allowed is a list of tables, each written as [[sql.database]]",
    ),
    key(
        "sql.database.name",
        "allowed is the name of a database as clients give it, of 1 to 63 bytes",
    ),
    key("sql.database.slow_ms", SLOW),
    key("wire", SECTION),
    key(
        "wire.max_series",
        "allowed is a whole number from 1 to 100000",
    ),
    key(
        "wire.http_head_bytes",
        "allowed is a whole number of bytes from 1024 to 1048576",
    ),
    key(
        "wire.http_pipeline",
        "allowed is a whole number from 1 to 65536",
    ),
    key(
        "wire.sql_bytes",
        "allowed is a whole number of bytes from 1024 to 1048576",
    ),
    key(
        "wire.postgres_pipeline",
        "allowed is a whole number from 1 to 65536",
    ),
    key(
        "wire.postgres_statements",
        "allowed is a whole number from 1 to 65536",
    ),
    key(
        "wire.postgres_portals",
        "allowed is a whole number from 1 to 65536",
    ),
    key("n_plus_one", SECTION),
    key("n_plus_one.enabled", SWITCH),
    key(
        "n_plus_one.min_count",
        "allowed is a whole number from 3 to 1000",
    ),
    key(
        "n_plus_one.min_ms",
        "allowed is a whole number of milliseconds from 0 to 60000",
    ),
    key(
        "n_plus_one.max_gap_ms",
        "allowed is a whole number of milliseconds from 1 to 10000",
    ),
    key(
        "n_plus_one.cooldown_s",
        "allowed is a whole number of seconds from 0 to 86400",
    ),
    key("host", SECTION),
    key("host.enabled", SWITCH),
    key("host.per_cpu", SWITCH),
    key(
        "host.pss_interval_s",
        "allowed is a whole number of seconds from 0 to 3600",
    ),
    key(
        "host.sockets_interval_s",
        "allowed is a whole number of seconds from 0 to 3600",
    ),
    key("host.mountpoint_exclude", REGEXES),
    key(
        "database",
        "allowed is a list of tables, each written as [[database]]",
    ),
    key("database.name", NAME),
    key(
        "database.url",
        r#"allowed is an address such as "postgres://hostprobe@127.0.0.1:5432/shop?sslmode=require" or "postgres:///shop?host=/run/postgresql""#,
    ),
    key(
        "database.password_file",
        r#"allowed is the absolute path of a file with the password, such as "/etc/hostprobe/shop.password""#,
    ),
    key("database.service", NAME),
    key(
        "database.pgbouncer_url",
        r#"allowed is the address of a PgBouncer's admin console, such as "postgres://stats@127.0.0.1:6432/pgbouncer""#,
    ),
    key(
        "database.interval_s",
        "allowed is a whole number of seconds from 1 to 3600",
    ),
    key("database.advice", SWITCH),
    key("advice", SECTION),
    key(
        "advice.interval_s",
        "allowed is a whole number of seconds from 1 to 86400",
    ),
    key("advice.top", "allowed is a whole number from 1 to 200"),
    key(
        "advice.recent_s",
        "allowed is a whole number of seconds from 1 to 2592000",
    ),
    key(
        "advice.min_rows",
        "allowed is a whole number from 0 to 4294967295",
    ),
    key(
        "advice.min_bytes",
        "allowed is a whole number of bytes from 0 to 4294967295",
    ),
    key(
        "advice.min_cost",
        "allowed is a whole number from 0 to 4294967295",
    ),
    key(
        "advice.min_improvement",
        "allowed is a share of the cost from 0.1 to 0.99",
    ),
    key(
        "advice.max_candidates",
        "allowed is a whole number from 1 to 100",
    ),
    key(
        "advice.statement_timeout_ms",
        "allowed is a whole number of milliseconds from 10 to 60000",
    ),
    key(
        "advice.round_timeout_s",
        "allowed is a whole number of seconds from 1 to 600",
    ),
    key(
        "advice.unused_after_days",
        "allowed is a whole number of days from 0 to 3650",
    ),
    key("store", SECTION),
    key(
        "store.url",
        r#"allowed are "sqlite:///var/lib/hostprobe/hostprobe.db" (an absolute path), "postgres://hostprobe@127.0.0.1:5432/hostprobe", "none""#,
    ),
    key(
        "store.password_file",
        r#"allowed is the absolute path of a file with the password, such as "/etc/hostprobe/store.password""#,
    ),
    key(
        "store.retention_days",
        "allowed is a whole number of days from 1 to 3650",
    ),
    key(
        "store.max_bytes",
        "allowed is a whole number of bytes, at least 1048576",
    ),
    key("store.queue", "allowed is a whole number from 1 to 1000000"),
    key(
        "store.flush_ms",
        "allowed is a whole number of milliseconds from 10 to 500",
    ),
    key("queries", SECTION),
    key(
        "queries.window_s",
        "allowed is a whole number of seconds from 1 to 600",
    ),
    key("vitals", SECTION),
    key("vitals.enabled", SWITCH),
    key(
        "vitals.listen",
        r#"allowed is an IP address with a port, such as "0.0.0.0:9739", and another than `listen`"#,
    ),
    key(
        "vitals.allowed_origins",
        r#"allowed is a list of origins, such as "https://example.org", "https://*.example.org", "http://localhost:*", "null" or "*""#,
    ),
    key(
        "vitals.trusted_proxies",
        r#"allowed is a list of IP addresses and networks, such as "10.0.0.0/8""#,
    ),
    key(
        "vitals.sample_rate",
        "allowed is a share of the page loads from 0 to 1",
    ),
    key(
        "vitals.slow_ms",
        "allowed is a whole number of milliseconds from 0 to 600000",
    ),
    key(
        "vitals.max_body",
        "allowed is a whole number of bytes from 1024 to 65536",
    ),
    key("vitals.client_rate", RATE),
    key("vitals.client_burst", RATE),
    key("vitals.rate", RATE),
    key("vitals.burst", RATE),
    key(
        "vitals.max_clients",
        "allowed is a whole number from 1 to 1000000",
    ),
    key(
        "vitals.pages",
        r#"allowed is a list of at most 1000 paths, such as "/items/{id}" or "/docs/*""#,
    ),
    key(
        "vitals.max_pages",
        "allowed is a whole number from 0 to 1000",
    ),
    key(
        "vitals.source_maps",
        r#"allowed is the absolute path of a folder, such as "/srv/shop/maps""#,
    ),
    key(
        "vitals.budget_window_h",
        "allowed is a whole number of hours from 1 to 720",
    ),
    key(
        "vitals.budget_files",
        "allowed is a list of at most 20 absolute paths of files of the shape of Lighthouse's budget.json",
    ),
    key("vitals.budget", SECTION),
    key(
        "vitals.budget.page",
        r#"allowed is a page as it is labelled, with "*" for anything, such as "/shop/*""#,
    ),
    key("vitals.budget.lcp_ms", BUDGET_MS),
    key("vitals.budget.inp_ms", BUDGET_MS),
    key("vitals.budget.fcp_ms", BUDGET_MS),
    key("vitals.budget.ttfb_ms", BUDGET_MS),
    key("vitals.budget.cls", "allowed is a number above 0, up to 10"),
    key(
        "vitals.budget.min_samples",
        "allowed is a whole number from 1 to 1000000",
    ),
    key("vitals.budget.requests", SECTION),
    key("vitals.budget.requests.script", BUDGET_SIZE),
    key("vitals.budget.requests.css", BUDGET_SIZE),
    key("vitals.budget.requests.image", BUDGET_SIZE),
    key("vitals.budget.requests.font", BUDGET_SIZE),
    key("vitals.budget.requests.fetch", BUDGET_SIZE),
    key("vitals.budget.requests.other", BUDGET_SIZE),
    key("vitals.budget.requests.total", BUDGET_SIZE),
    key("vitals.budget.bytes", SECTION),
    key("vitals.budget.bytes.script", BUDGET_SIZE),
    key("vitals.budget.bytes.css", BUDGET_SIZE),
    key("vitals.budget.bytes.image", BUDGET_SIZE),
    key("vitals.budget.bytes.font", BUDGET_SIZE),
    key("vitals.budget.bytes.fetch", BUDGET_SIZE),
    key("vitals.budget.bytes.other", BUDGET_SIZE),
    key("vitals.budget.bytes.total", BUDGET_SIZE),
    key("vitals.budget.files", SECTION),
    key(
        "vitals.budget.files.glob",
        r#"allowed is a path with "*", "**", "?" or "{a,b}", such as "/srv/shop/dist/*.js""#,
    ),
    key("vitals.budget.files.of", r#"allowed are "each", "all""#),
    key("vitals.budget.files.raw", BUDGET_SIZE),
    key("vitals.budget.files.gzip", BUDGET_SIZE),
    key("vitals.budget.files.brotli", BUDGET_SIZE),
    key("gemini", SECTION),
    key(
        "gemini.timezone",
        r#"allowed is the name of a time zone that this host knows, such as "UTC" or "America/Los_Angeles""#,
    ),
    key(
        "gemini.lease_s",
        "allowed is a whole number of seconds from 1 to 3600",
    ),
    key(
        "gemini.when_store_is_down",
        r#"allowed are "refuse", "allow""#,
    ),
    key(
        "gemini.unknown_price",
        r#"allowed are "refuse", "count_calls""#,
    ),
    key(
        "gemini.prices",
        r#"allowed is the absolute path of a file with prices, such as "/etc/hostprobe/gemini-prices.json""#,
    ),
    key(
        "gemini.hosts",
        r#"allowed is a list of up to 16 host names, such as "generativelanguage.googleapis.com""#,
    ),
    key(
        "gemini.feature_header",
        r#"allowed is the name of a header, such as "x-hostprobe-feature""#,
    ),
    key(
        "gemini.max_features",
        "allowed is a whole number from 1 to 1000",
    ),
    key(
        "gemini.max_models",
        "allowed is a whole number from 1 to 1000",
    ),
    key("gemini.gateway", SECTION),
    key("gemini.gateway.enabled", SWITCH),
    key(
        "gemini.gateway.upstream",
        r#"allowed is an address with https, or with http on this host, without user or query, such as "https://generativelanguage.googleapis.com""#,
    ),
    key(
        "gemini.gateway.ca_file",
        r#"allowed is the absolute path of a file with certificates in PEM format, such as "/etc/ssl/certs/proxy.pem""#,
    ),
    key(
        "gemini.gateway.max_request_bytes",
        "allowed is a whole number of bytes from 1024 to 1073741824",
    ),
    key(
        "gemini.gateway.max_calls",
        "allowed is a whole number from 1 to 192",
    ),
    key(
        "gemini.gateway.connect_timeout_s",
        "allowed is a whole number of seconds from 1 to 300",
    ),
    key(
        "gemini.gateway.idle_timeout_s",
        "allowed is a whole number of seconds from 1 to 3600",
    ),
    key(
        "gemini.gateway.assumed_output_tokens",
        "allowed is a whole number from 0 to 1000000",
    ),
    key(
        "gemini.limit",
        "allowed is a list of up to 64 tables, each written as [[gemini.limit]]",
    ),
    key(
        "gemini.limit.name",
        "allowed are 1 to 128 bytes without control characters",
    ),
    key(
        "gemini.limit.per",
        r#"allowed are "minute", "day", "month""#,
    ),
    key(
        "gemini.limit.tokens",
        "allowed is a whole number from 0 to 1000000000000000",
    ),
    key(
        "gemini.limit.calls",
        "allowed is a whole number from 0 to 1000000000000000",
    ),
    key(
        "gemini.limit.usd",
        "allowed is a number of US dollars from 0 to 1000000000",
    ),
    key(
        "gemini.limit.model",
        r#"allowed is the name of a model, such as "gemini-2.5-pro", or how names begin, such as "gemini-2.5-*""#,
    ),
    key(
        "gemini.limit.feature",
        "allowed are 1 to 128 bytes without control characters",
    ),
    key("api", SECTION),
    key(
        "api.token_files",
        r#"allowed is a list of absolute paths of files with one token a line, such as "/etc/hostprobe/tokens""#,
    ),
    key("privileges", SECTION),
    key("privileges.drop", SWITCH),
];

const fn key(path: &'static str, allowed: &'static str) -> Key {
    Key { path, allowed }
}

/// Finds the entry for a path such as `service[2].ports[0]`.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    let plain = without_indices(path);
    KEYS.iter().find(|key| key.path == plain)
}

/// The known key that looks most like `path`, if one does.
pub(super) fn nearest(path: &str) -> Option<&'static str> {
    let plain = without_indices(path);
    let (section, last) = split_last(&plain);
    KEYS.iter()
        .map(|key| {
            // Right name in the wrong section is the likeliest mistake, then a slip of the pen.
            let (key_section, key_last) = split_last(key.path);
            let score = if key_last == last && !last.is_empty() {
                0.95
            } else if key_section == section {
                // What they share must not make them look alike.
                strsim::jaro_winkler(key_last, last)
            } else {
                strsim::jaro_winkler(key.path, &plain) * 0.95
            };
            (score, key.path)
        })
        .filter(|(score, _)| *score > 0.85)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, path)| path)
}

fn split_last(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

fn without_indices(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut inside = false;
    for character in path.chars() {
        match character {
            '[' => inside = true,
            ']' => inside = false,
            _ if inside => {}
            _ => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_and_a_wrong_section_both_lead_to_the_right_key() {
        assert_eq!(nearest("kernel.max_socket"), Some("kernel.max_sockets"));
        assert_eq!(nearest("kernel.kernel_level"), Some("log.kernel_level"));
        assert_eq!(nearest("service[3].restart"), None);
        assert_eq!(nearest("service[3].cmd_line"), Some("service.cmdline"));
        assert_eq!(nearest("listn"), Some("listen"));
    }

    #[test]
    fn indices_do_not_hide_a_key() {
        assert!(find("service[12].ports[0]").is_some());
        assert!(find("service[12].port").is_none());
    }
}
