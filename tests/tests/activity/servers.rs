//! More than one server: a pooler, a standby, and the probe as a client.

use super::*;

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
