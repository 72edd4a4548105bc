//! Databases that refuse, end and come back.

use super::*;

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
