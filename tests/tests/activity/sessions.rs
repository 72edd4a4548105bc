//! Sessions, and who waits for whom.

use super::*;

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
