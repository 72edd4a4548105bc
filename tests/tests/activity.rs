//! What Postgres and PgBouncer say themselves: compared with what psql says, and with what the test
//! has done to them.

use std::{
    collections::BTreeMap,
    io::{PipeWriter, Write as _},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use end_to_end::{
    exposition::Metrics,
    pgbouncer::PgBouncer,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, free_address, run_to_end},
    process::Process,
    site::{Site, need},
    waiting::{self, PATIENCE},
};
use serde_json::Value;

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

const SHOP: [(&str, &str); 1] = [("database", "shop")];

/// A database that is looked at every second.
fn database(name: &str, url: &str) -> String {
    format!("[[database]]\nname = \"{name}\"\nurl = \"{url}\"\ninterval_s = 1\n")
}

fn config(postgres: &Postgres) -> Config {
    Config::new()
        .service("server", &[postgres.pid()])
        .with(&database("shop", &postgres.url_over_tcp()))
}

/// The answer about one database.
fn asked(probe: &Probe, name: &str) -> Result<Value> {
    let response = probe.get("/api/database", &[])?;
    ensure!(response.status == 200, "{}", response.body);
    find(&serde_json::from_str(&response.body)?, name)
}

fn find(answer: &Value, name: &str) -> Result<Value> {
    let databases = answer["databases"].as_array().context("no list")?;
    let mut found = databases.iter().filter(|database| database["name"] == name);
    found
        .next()
        .cloned()
        .with_context(|| format!("{name} is not in {answer}"))
}

/// A session that does what is written to it.
fn session(arguments: &[String]) -> Result<(Process, PipeWriter)> {
    let psql = need("/usr/lib/postgresql/15/bin/psql", "postgresql-client-15")?;
    let mut command = Command::new(psql);
    command.args(["-X", "-q"]).args(arguments).arg("postgres");
    let (input, orders) = std::io::pipe()?;
    let process = Process::spawn_with_input("psql", command, Stdio::from(input))?;
    Ok((process, orders))
}

fn states(metrics: &Metrics) -> BTreeMap<String, u64> {
    metrics.counts_by("state", "hostprobe_pg_stat_activity_sessions", &SHOP)
}

/// Operators compare the two, and stop believing the one that is wrong.
#[test]
fn sessions_are_those_that_pg_stat_activity_has() -> Result<()> {
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    let probe = Probe::start(&site, &config(&postgres))?;
    let mut open = Vec::new();
    for order in [
        "SELECT 1;\n",
        "SELECT 2;\n",
        "BEGIN; SELECT 1;\n",
        "BEGIN; SELECT 1 / 0;\n",
        "SELECT pg_sleep(600), 'secret';\n",
    ] {
        let (process, mut orders) = session(&postgres.over_tcp())?;
        orders.write_all(order.as_bytes())?;
        open.push((process, orders));
    }
    let states_of_postgres = || -> Result<BTreeMap<String, u64>> {
        let rows = postgres.psql(
            &postgres.over_unix(),
            &["SELECT state, count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
               AND pid <> pg_backend_pid() AND application_name <> 'hostprobe' GROUP BY 1"],
        )?;
        rows.lines()
            .map(|row| {
                let (state, count) = row.split_once('|').context("no state")?;
                Ok((state.to_owned(), count.parse()?))
            })
            .collect()
    };
    let expected = BTreeMap::from([
        ("idle".to_owned(), 2),
        ("idle in transaction".to_owned(), 1),
        ("idle in transaction (aborted)".to_owned(), 1),
        ("active".to_owned(), 1),
    ]);
    waiting::until("all sessions are as they should be", PATIENCE, || {
        Ok((states_of_postgres()? == expected).then_some(()))
    })?;
    probe.eventually(|metrics| {
        ensure!(states(metrics) == expected, "{:?}", states(metrics));
        ensure!(metrics.count("hostprobe_database_up", &SHOP) == 1);
        let sleeping = [("database", "shop"), ("wait_event", "PgSleep")];
        let sleeping = metrics.count("hostprobe_pg_stat_activity_waiting_sessions", &sleeping);
        ensure!(sleeping == 1, "{sleeping} sessions sleep");
        let oldest = metrics.sum(
            "hostprobe_pg_stat_activity_max_query_duration_seconds",
            &SHOP,
        );
        ensure!(oldest > 0.0, "the oldest statement is {oldest} s old");
        let used = metrics.count("hostprobe_pg_connections_used", &SHOP);
        ensure!(
            used == 6,
            "{used} connections are used, not five and our own"
        );
        let max = metrics.count("hostprobe_pg_settings_max_connections", &SHOP);
        ensure!(max == 50, "{max}");
        let missing = metrics.count("hostprobe_database_part_missing", &SHOP);
        // A superuser may see all; but the extension is not created.
        ensure!(missing == 1, "{missing} parts are missing");
        Ok(())
    })?;
    let answer = asked(&probe, "shop")?;
    let shown = answer["server"]["sessions"]["notable"].to_string();
    ensure!(shown.contains("select pg_sleep(?), ?"), "{shown}");
    ensure!(
        !answer.to_string().contains("secret"),
        "a literal is shown: {answer}"
    );
    let tool = "application_name\":\"hostprobe";
    ensure!(
        !answer.to_string().contains(tool),
        "our own session is shown"
    );
    // Counters are those of the server's own views.
    let commits = |metrics: &Metrics| {
        metrics.count(
            "hostprobe_pg_stat_database_xact_commit_total",
            &[("database", "shop"), ("datname", "postgres")],
        )
    };
    let before = probe.eventually(|metrics| Ok(commits(metrics)))?;
    postgres.psql(&postgres.over_unix(), &["SELECT 1"; 20])?;
    probe.eventually(|metrics| {
        ensure!(
            commits(metrics) >= before + 20,
            "{} after {before}",
            commits(metrics)
        );
        Ok(())
    })?;
    postgres.psql(
        &postgres.over_unix(),
        &["SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"],
    )?;
    drop(open);
    probe.stop()?;
    postgres.stop()
}

/// At night somebody has to know whom to ask, and whom to end.
#[test]
fn a_lock_pile_up_names_the_one_that_blocks_all_others() -> Result<()> {
    const WAITING: u64 = 5;
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    let probe = Probe::start(&site, &config(&postgres))?;
    let unix = postgres.over_unix();
    postgres.psql(
        &unix,
        &[
            "CREATE TABLE orders (id int PRIMARY KEY, note text)",
            "INSERT INTO orders VALUES (1, '')",
        ],
    )?;
    let (_blocker, mut blocker) = session(&postgres.over_tcp())?;
    blocker.write_all(
        b"SET application_name = 'billing'; BEGIN; UPDATE orders SET note = 'secret' WHERE id = 1;\n",
    )?;
    waiting::until("the row is locked", PATIENCE, || {
        let held = postgres.psql(
            &unix,
            &["SELECT count(*) FROM pg_stat_activity WHERE application_name = 'billing' AND state = 'idle in transaction'"],
        )?;
        Ok((held == "1").then_some(()))
    })?;
    let pid = postgres.psql(
        &unix,
        &["SELECT pid FROM pg_stat_activity WHERE application_name = 'billing'"],
    )?;
    let mut blocked = Vec::new();
    for _ in 0..WAITING {
        let (process, mut orders) = session(&postgres.over_tcp())?;
        orders.write_all(b"UPDATE orders SET note = 'private' WHERE id = 1;\n")?;
        blocked.push((process, orders));
    }
    probe.eventually(|metrics| {
        let waiting = metrics.count("hostprobe_pg_lock_waiting_sessions", &SHOP);
        ensure!(waiting == WAITING, "{waiting} sessions wait, not {WAITING}");
        let blocking = metrics.count("hostprobe_pg_blocking_sessions", &SHOP);
        ensure!(blocking == 1, "{blocking} sessions block, not 1");
        let waited = metrics.sum("hostprobe_pg_lock_max_wait_seconds", &SHOP);
        ensure!(waited > 0.0, "waited for {waited} s");
        Ok(())
    })?;
    let answer = asked(&probe, "shop")?;
    let chain = &answer["server"]["locks"]["chains"][0];
    let sentence = chain["sentence"].as_str().context("no sentence")?;
    ensure!(
        sentence.starts_with(&format!(
            "pid {pid} (billing as postgres, idle in transaction for "
        )) && sentence.contains("last: update orders set note = ? where id = ?")
            && sentence.contains(&format!("has blocked {WAITING} sessions for ")),
        "{sentence}"
    );
    ensure!(
        chain["root"]["pid"] == pid.parse::<i64>()? && chain["deadlock"] == false,
        "{chain}"
    );
    let text = answer.to_string();
    ensure!(
        !text.contains("secret") && !text.contains("private"),
        "{text}"
    );
    blocker.write_all(b"COMMIT;\n")?;
    probe.eventually(|metrics| {
        let waiting = metrics.count("hostprobe_pg_lock_waiting_sessions", &SHOP);
        ensure!(waiting == 0, "{waiting} sessions wait still");
        Ok(())
    })?;
    drop(blocked);
    probe.stop()?;
    postgres.stop()
}

/// The page goes down with the last connection: the probe says so before, and what it is then.
#[test]
fn the_end_of_all_connections_is_seen_and_survived() -> Result<()> {
    let site = site()?;
    let postgres = Cluster::create()?
        .with("max_connections = 8\nsuperuser_reserved_connections = 3")?
        .start()?;
    postgres.psql(
        &postgres.over_unix(),
        &[
            "CREATE ROLE app LOGIN",
            "CREATE ROLE hostprobe LOGIN",
            "GRANT pg_monitor TO hostprobe",
        ],
    )?;
    let url = format!("postgres://hostprobe@{}/postgres", postgres.address());
    let config = Config::new()
        .service("server", &[postgres.pid()])
        .with(&database("shop", &url));
    let probe = Probe::start(&site, &config)?;
    let available = |expected: u64| {
        probe.eventually(|metrics| {
            ensure!(
                metrics.count("hostprobe_database_up", &SHOP) == 1,
                "it is down"
            );
            let available = metrics.count("hostprobe_pg_connections_available", &SHOP);
            ensure!(
                available == expected,
                "{available} are available, not {expected}"
            );
            Ok(())
        })
    };
    available(4)?;
    let as_app: Vec<String> = postgres
        .over_tcp()
        .into_iter()
        .map(|argument| {
            if argument == "postgres" {
                "app".into()
            } else {
                argument
            }
        })
        .collect();
    let mut open = Vec::new();
    for _ in 0..4 {
        let (process, mut orders) = session(&as_app)?;
        orders.write_all(b"SELECT 1;\n")?;
        open.push((process, orders));
    }
    available(0)?;
    let connections = asked(&probe, "shop")?["server"]["connections"].clone();
    ensure!(connections["headroom"] == "none", "{connections}");
    let verdict = connections["verdict"].as_str().unwrap_or_default();
    ensure!(
        verdict.starts_with("all 5 connections are used"),
        "{verdict}"
    );
    // A second probe, as after a restart, finds no room; it says why and comes in later.
    let late = Probe::start(&site, &config)?;
    late.eventually(|metrics| {
        ensure!(metrics.count("hostprobe_database_up", &SHOP) == 0);
        ensure!(
            failures(metrics, "shop") == ["server"],
            "{:?}",
            failures(metrics, "shop")
        );
        Ok(())
    })?;
    let problem = asked(&late, "shop")?["problem"].to_string();
    ensure!(
        problem.contains("53300") && problem.contains("max_connections"),
        "{problem}"
    );
    open.truncate(2);
    waiting::eventually(PATIENCE, || {
        ensure!(
            late.metrics()?.count("hostprobe_database_up", &SHOP) == 1,
            "still down"
        );
        Ok(())
    })?;
    drop(open);
    late.stop()?;
    probe.stop()?;
    postgres.stop()
}

/// Steps at which attempts have failed.
fn failures(metrics: &Metrics, name: &str) -> Vec<String> {
    let labels = [("database", name)];
    let steps = metrics.counts_by("step", "hostprobe_database_connect_errors_total", &labels);
    steps
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(step, _)| step)
        .collect()
}

/// "It does not work" is no message: whether to call the network's people, the database's or to
/// correct a password is decided by the step.
#[test]
fn a_connection_that_fails_names_its_step_and_no_password() -> Result<()> {
    let site = site()?;
    let plain = Cluster::create()?
        .with_access_rules(
            "local all postgres trust\n\
             host all hostprobe 127.0.0.1/32 scram-sha-256\n\
             hostssl all encrypted 127.0.0.1/32 trust\n\
             host all guest 127.0.0.1/32 trust\n",
        )?
        .with_tls()?
        .start()?;
    plain.psql(
        &plain.over_unix(),
        &[
            "CREATE ROLE hostprobe LOGIN PASSWORD 'right'",
            "CREATE ROLE encrypted LOGIN",
            "CREATE ROLE guest LOGIN",
            "CREATE DATABASE closed",
            "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
        ],
    )?;
    let without_tls = Cluster::create()?.start()?;
    let (at, other) = (plain.address(), without_tls.address());
    let closed = free_address()?;
    let passwords = tempfile::TempDir::new()?;
    let password_file = passwords.path().join("password");
    std::fs::write(&password_file, "right\n")?;
    let cases = [
        ("good", String::new(), ""),
        (
            "dns",
            "postgres://a:pa55word@no-such-host.invalid/x".to_owned(),
            "name resolution (DNS) failed",
        ),
        (
            "tcp",
            format!("postgres://a:pa55word@{closed}/x"),
            "connecting failed: Connection refused",
        ),
        (
            "tcp-socket",
            format!(
                "postgres://a:pa55word@localhost:{}/x?host=/nowhere",
                closed.port()
            ),
            "/nowhere/.s.PGSQL.",
        ),
        (
            "tls",
            format!("postgres://postgres:pa55word@{other}/postgres?sslmode=require"),
            "TLS failed: server does not support TLS",
        ),
        (
            "tls-ca",
            format!("postgres://encrypted:pa55word@{at}/postgres?sslmode=verify-full"),
            "TLS failed: ",
        ),
        (
            "tls-wanted",
            format!("postgres://encrypted:pa55word@{at}/postgres?sslmode=disable"),
            "sslmode=require",
        ),
        (
            "auth",
            format!("postgres://hostprobe:pa55word@{at}/postgres"),
            "authentication failed: password authentication failed",
        ),
        (
            "rights",
            format!("postgres://guest:pa55word@{at}/closed"),
            "rights are missing: permission denied for database",
        ),
        (
            "server",
            format!("postgres://guest:pa55word@{at}/missing"),
            "database \"missing\" does not exist",
        ),
    ];
    let mut config = Config::new().service("server", &[plain.pid()]);
    for (name, url, _) in cases.iter().skip(1) {
        config = config.with(&database(name, url));
    }
    let good = database(
        "good",
        &format!("postgres://hostprobe:pa55word@{at}/postgres?sslmode=require"),
    );
    config = config.with(&format!(
        "{good}password_file = \"{}\"",
        password_file.display()
    ));
    let probe = Probe::start(&site, &config)?;
    waiting::eventually(PATIENCE, || {
        let metrics = probe.metrics()?;
        for (name, _, _) in &cases {
            let up = metrics.count("hostprobe_database_up", &[("database", name)]);
            ensure!(up == u64::from(*name == "good"), "{name} is {up}");
            let expected: &[&str] = match name.split('-').next().unwrap_or_default() {
                "good" => &[],
                step => &[step],
            };
            let failed = failures(&metrics, name);
            ensure!(failed == expected, "{name} fails at {failed:?}");
            let labels = [("database", *name)];
            let times = metrics.count("hostprobe_database_connect_errors_total", &labels);
            // Twice, so that repeated failures are seen not to be logged again.
            ensure!(
                times >= 2 || *name == "good",
                "{name} was tried {times} times"
            );
        }
        Ok(())
    })?;
    let log = probe.log();
    let api = probe.get("/api/database", &[])?.body;
    let page = probe.get("/metrics", &[])?.body;
    let check = {
        let mut command = site.hostprobe("check");
        command.arg("--config").arg(probe.config_path());
        run_to_end(command, PATIENCE)?.1
    };
    let printed = {
        let mut command = site.hostprobe("config");
        command.arg("--config").arg(probe.config_path());
        run_to_end(command, PATIENCE)?.1
    };
    for (name, _, message) in cases.iter().skip(1) {
        let field = format!("database=\"{name}\"");
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&field)).collect();
        ensure!(
            lines.len() == 1,
            "{name} is logged {} times: {lines:?}",
            lines.len()
        );
        ensure!(
            lines.concat().contains(message),
            "{lines:?} lacks {message}"
        );
        ensure!(check.contains(message), "{check}\nlacks {message}");
    }
    for (what, text) in [
        ("log", &log),
        ("api", &api),
        ("metrics", &page),
        ("check", &check),
        ("config", &printed),
    ] {
        ensure!(
            !text.contains("pa55word"),
            "a password is in {what}: {text}"
        );
        ensure!(!text.contains("right\""), "a password is in {what}: {text}");
    }
    probe.stop()?;
    without_tls.stop()?;
    plain.stop()
}

/// A database is restarted for an update: nobody wants to restart what watches it, too.
#[test]
fn a_database_that_was_stopped_is_asked_again_when_it_is_back() -> Result<()> {
    let site = site()?;
    let cluster = Cluster::create()?;
    let postgres = cluster.clone().start()?;
    let probe = Probe::start(&site, &config(&postgres))?;
    let is_up = |expected: u64| {
        waiting::eventually(PATIENCE, || {
            let metrics = probe.metrics()?;
            let up = metrics.count("hostprobe_database_up", &SHOP);
            ensure!(up == expected, "up is {up}");
            let sessions = metrics
                .matching("hostprobe_pg_stat_activity_sessions", &SHOP)
                .count();
            ensure!(
                (sessions > 0) == (expected == 1),
                "{sessions} series of sessions"
            );
            Ok(metrics.sum("hostprobe_database_last_success_timestamp_seconds", &SHOP))
        })
    };
    let first = is_up(1)?;
    postgres.stop()?;
    let while_down = is_up(0)?;
    ensure!(
        while_down >= first && first > 0.0,
        "{while_down} after {first}"
    );
    let problem = asked(&probe, "shop")?["problem"].clone();
    ensure!(!problem.is_null(), "there is no problem");
    let postgres = cluster.start()?;
    ensure!(is_up(1)? > while_down);
    ensure!(asked(&probe, "shop")?["problem"].is_null());
    probe.stop()?;
    postgres.stop()
}

/// With a pool that is too small, the app is slow and the database bored: only PgBouncer knows why.
#[test]
fn clients_that_wait_for_pgbouncer_are_counted() -> Result<()> {
    const CLIENTS: usize = 4;
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    let pgbouncer = PgBouncer::start(&postgres, 1)?;
    let lines = format!("pgbouncer_url = \"{}\"", pgbouncer.console_url());
    let config = config(&postgres).with(&lines);
    let probe = Probe::start(&site, &config)?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (process, mut orders) = session(&pgbouncer.arguments())?;
        orders.write_all(b"SELECT pg_sleep(600);\n")?;
        clients.push((process, orders));
    }
    let pool = [
        ("database", "shop"),
        ("datname", "postgres"),
        ("user", "postgres"),
    ];
    probe.eventually(|metrics| {
        ensure!(
            metrics.count("hostprobe_pgbouncer_up", &SHOP) == 1,
            "it is down"
        );
        for (metric, expected) in [
            ("hostprobe_pgbouncer_pools_client_active_connections", 1),
            (
                "hostprobe_pgbouncer_pools_client_waiting_connections",
                CLIENTS as u64 - 1,
            ),
            ("hostprobe_pgbouncer_pools_server_active_connections", 1),
        ] {
            let count = metrics.count(metric, &pool);
            ensure!(count == expected, "{metric} is {count}, not {expected}");
        }
        let maxwait = metrics.sum("hostprobe_pgbouncer_pools_client_maxwait_seconds", &pool);
        ensure!(maxwait > 0.0, "maxwait is {maxwait}");
        Ok(())
    })?;
    // Let one after the other have its turn; then the waiting is in the counters.
    waiting::until("all clients were served", PATIENCE, || {
        let ended = postgres.psql(
            &postgres.over_unix(),
            &["SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid()"],
        )?;
        Ok(ended.is_empty().then_some(()))
    })?;
    drop(clients);
    waiting::eventually(PATIENCE, || {
        let metrics = probe.metrics()?;
        let waiting = metrics.count(
            "hostprobe_pgbouncer_pools_client_waiting_connections",
            &pool,
        );
        ensure!(waiting == 0, "{waiting} wait still");
        let labels = [("database", "shop"), ("datname", "postgres")];
        let queries = metrics.count("hostprobe_pgbouncer_stats_queries_pooled_total", &labels);
        ensure!(queries >= CLIENTS as u64, "{queries} statements");
        let waited = metrics.sum(
            "hostprobe_pgbouncer_stats_client_wait_seconds_total",
            &labels,
        );
        ensure!(waited > 0.0, "waited for {waited} s");
        Ok(())
    })?;
    let console = asked(&probe, "shop")?["pgbouncer"].clone();
    ensure!(
        console["version"]
            .as_str()
            .is_some_and(|version| version.starts_with("1.")),
        "{console}"
    );
    probe.stop()?;
    drop(pgbouncer);
    postgres.stop()
}

/// The documented grants must be enough, and less must be said, not hidden.
#[test]
fn the_documented_rights_are_enough_and_missing_ones_are_named() -> Result<()> {
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    let unix = postgres.over_unix();
    postgres.psql(
        &unix,
        &[
            "CREATE ROLE hostprobe LOGIN",
            "CREATE TABLE orders (id int PRIMARY KEY)",
        ],
    )?;
    let (_other, mut other) = session(&unix)?;
    other.write_all(b"BEGIN; SELECT 1;\n")?;
    waiting::eventually(PATIENCE, || {
        let there = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
        let there = postgres.psql(&unix, &[there])?;
        ensure!(there == "1", "{there} sessions are idle in a transaction");
        Ok(())
    })?;
    let directory = tempfile::TempDir::new()?;
    let path = directory.path().join("hostprobe.toml");
    let url = format!("postgres://hostprobe@{}/postgres", postgres.address());
    std::fs::write(&path, database("shop", &url))?;
    let check = || -> Result<(Value, BTreeMap<String, String>)> {
        let mut command = site.hostprobe("check");
        command.arg("--json").arg("--config").arg(&path);
        let (status, output) = run_to_end(command, PATIENCE)?;
        ensure!(status.success(), "{output}");
        let start = output.find('{').context("no JSON")?;
        let answer: Value = serde_json::from_str(output.get(start..).unwrap_or_default())?;
        let database = find(&answer, "shop")?;
        let missing = database["server"]["missing"]
            .as_array()
            .context("no list")?;
        let missing = missing.iter().map(|missing| {
            let text = |key: &str| missing[key].as_str().unwrap_or_default().to_owned();
            (text("part"), text("remedy"))
        });
        Ok((database["server"].clone(), missing.collect()))
    };
    let explain = || -> Result<String> {
        let mut arguments = postgres.over_tcp();
        arguments.extend(["-U".to_owned(), "hostprobe".to_owned()]);
        postgres.psql(&arguments, &["EXPLAIN SELECT * FROM orders WHERE id = 1"])
    };
    let (server, missing) = check()?;
    let parts: Vec<&str> = missing.keys().map(String::as_str).collect();
    ensure!(
        parts == ["hypopg", "other_sessions", "tables"],
        "{missing:?}"
    );
    ensure!(server["sessions"]["by_state"]["unknown"] == 1, "{server}");
    ensure!(explain()?.is_empty(), "EXPLAIN needs no right to read");
    // What it says to do is what is done, word for word.
    for part in ["other_sessions", "tables"] {
        let remedy = missing.get(part).context("no remedy")?;
        ensure!(remedy.starts_with("GRANT "), "{remedy}");
        postgres.psql(&unix, &[remedy])?;
    }
    let (server, missing) = check()?;
    let parts: Vec<&str> = missing.keys().map(String::as_str).collect();
    ensure!(parts == ["hypopg"], "{missing:?}");
    let states = &server["sessions"]["by_state"];
    ensure!(
        states["idle in transaction"] == 1 && states["unknown"].is_null(),
        "{server}"
    );
    for part in ["connections", "locks", "checkpoints", "replication"] {
        ensure!(!server[part].is_null(), "{part} is missing: {server}");
    }
    ensure!(
        explain()?.contains("orders"),
        "EXPLAIN is refused with the documented rights"
    );
    let mut arguments = postgres.over_tcp();
    arguments.extend(["-U".to_owned(), "hostprobe".to_owned()]);
    postgres.psql(&arguments, &["DELETE FROM orders"])?;
    drop(other);
    postgres.stop()
}

/// Who watches is seen by itself: its statements must have a name in the numbers of the server, or
/// everybody looks for the program that sends them.
#[test]
fn the_probe_s_own_statements_are_named_in_what_it_traces() -> Result<()> {
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    let probe = Probe::start(&site, &config(&postgres).with_payload())?;
    let calls = |metrics: &Metrics, labels: &[(&str, &str)]| {
        metrics.count("hostprobe_postgres_fingerprint_calls_total", labels)
    };
    let unknown = [("service", "server"), ("fingerprint", "unknown")];
    let named = |metrics: &Metrics| {
        let mut texts = metrics.matching("hostprobe_sql_fingerprint_info", &[]);
        let ours = "from pg_catalog.pg_stat_activity";
        let found = texts.any(|info| info.labels["db_query_text"].contains(ours));
        ensure!(found, "no statement of ours has its text");
        Ok((
            calls(metrics, &[("service", "server")]),
            calls(metrics, &unknown),
        ))
    };
    // One may have been under way when the trace began.
    let (all, not_known) = probe.eventually(named)?;
    waiting::eventually(PATIENCE, || {
        let metrics = probe.metrics()?;
        let (now, not_known_now) = named(&metrics)?;
        ensure!(now >= all + 16, "{now} statements after {all}");
        ensure!(
            not_known_now == not_known,
            "{not_known_now} are not known, after {not_known}"
        );
        Ok(())
    })?;
    probe.stop()?;
    postgres.stop()
}

/// A standby that lags answers with yesterday's data.
#[test]
fn a_standby_that_lags_is_seen_from_both_sides() -> Result<()> {
    let site = site()?;
    let primary = Cluster::create()?.start()?;
    let standby = Cluster::standby_of(&primary)?.start()?;
    let config = Config::new()
        .service("server", &[primary.pid()])
        .with(&database("primary", &primary.url_over_tcp()))
        .with(&database("standby", &standby.url_over_tcp()));
    let probe = Probe::start(&site, &config)?;
    let replay = |order: &str| -> Result<()> {
        let ok = standby.psql(
            &standby.over_unix(),
            &[&format!("SELECT pg_wal_replay_{order}()")],
        )?;
        if ok.contains("ERROR") {
            bail!("{ok}")
        } else {
            Ok(())
        }
    };
    // How old the data is can be said from the first transaction that was replayed.
    primary.psql(&primary.over_unix(), &["CREATE TABLE first ()"])?;
    waiting::until("the standby follows", PATIENCE, || {
        let query = "SELECT pg_last_xact_replay_timestamp() IS NOT NULL";
        let follows = standby.psql(&standby.over_unix(), &[query])?;
        Ok((follows == "t").then_some(()))
    })?;
    replay("pause")?;
    waiting::until("replay is paused", PATIENCE, || {
        let state = standby.psql(
            &standby.over_unix(),
            &["SELECT pg_get_wal_replay_pause_state()"],
        )?;
        Ok((state == "paused").then_some(()))
    })?;
    primary.psql(
        &primary.over_unix(),
        &["CREATE TABLE filled AS SELECT g, repeat('x', 100) FROM generate_series(1, 10000) g"],
    )?;
    let behind = |metrics: &Metrics| {
        let bytes = metrics.sum(
            "hostprobe_pg_stat_replication_replay_lag_bytes",
            &[("database", "primary")],
        );
        let lag = [("database", "standby")];
        let known = metrics
            .matching("hostprobe_pg_replication_lag_seconds", &lag)
            .count();
        (
            bytes,
            known,
            metrics.sum("hostprobe_pg_replication_lag_seconds", &lag),
        )
    };
    probe.eventually(|metrics| {
        let (bytes, _, seconds) = behind(metrics);
        ensure!(bytes >= 1e6, "the primary says {bytes} bytes");
        ensure!(seconds > 0.0, "the standby says {seconds} s");
        let role = metrics
            .matching("hostprobe_pg_server_info", &[("database", "standby")])
            .next();
        let role = role.and_then(|info| info.labels.get("role").cloned());
        ensure!(role.as_deref() == Some("standby"), "{role:?}");
        Ok(())
    })?;
    replay("resume")?;
    probe.eventually(|metrics| {
        let (bytes, known, seconds) = behind(metrics);
        ensure!(
            bytes < 1e6 && known == 1 && seconds == 0.0,
            "{bytes} bytes, {seconds} s"
        );
        Ok(())
    })?;
    probe.stop()?;
    standby.stop()?;
    primary.stop()
}
