//! What Postgres and PgBouncer say themselves.
//!
//! While one does not answer, what it said last is left out: Prometheus then shows nothing, which is
//! what is known.

use std::collections::{BTreeMap, BTreeSet};

use super::{epoch_seconds, metric};
use crate::{
    database::{
        AskedDatabase, Blocking, DatabaseCounts, Limits, Link, Pool, PooledDatabase, Pooler,
        Replication, Server, Sessions, Step,
    },
    metrics::{
        families::Families,
        metric::{Counter, Gauge},
    },
};

/// States that always have a series, so that 0 is a statement.
const STATES: [&str; 4] = [
    "active",
    "idle",
    "idle in transaction",
    "idle in transaction (aborted)",
];

pub(super) fn collect(families: &mut Families, databases: &[AskedDatabase]) {
    for report in databases {
        let name = report.name.as_str();
        link(
            families,
            name,
            &report.server,
            &metric::DATABASE_UP,
            &metric::DATABASE_CONNECT_ERRORS,
            &metric::DATABASE_LAST_SUCCESS,
        );
        if let Some(look) = report.server.current() {
            let took = look.took.as_secs_f64();
            families.gauge_float(&metric::DATABASE_LOOK_SECONDS, [name], took);
            server(families, name, &look.found);
        }
        let Some(console) = &report.pooler else {
            continue;
        };
        link(
            families,
            name,
            console,
            &metric::PGBOUNCER_UP,
            &metric::PGBOUNCER_CONNECT_ERRORS,
            &metric::PGBOUNCER_LAST_SUCCESS,
        );
        if let Some(look) = console.current() {
            pooler(families, name, &look.found);
        }
    }
}

fn link<T>(
    families: &mut Families,
    name: &str,
    link: &Link<T>,
    up: &'static Gauge<1>,
    errors: &'static Counter<2>,
    last_success: &'static Gauge<1>,
) {
    families.gauge(up, [name], u64::from(link.current().is_some()));
    for (step, count) in Step::ALL.into_iter().zip(link.failed) {
        families.counter(errors, [name, step.as_str()], count);
    }
    if let Some(look) = &link.look {
        families.gauge_float(last_success, [name], epoch_seconds(look.at));
    }
}

fn server(families: &mut Families, name: &str, server: &Server) {
    let role = if server.is_standby {
        "standby"
    } else {
        "primary"
    };
    families.info(&metric::PG_INFO, [name, &server.version, role]);
    // A part may be missing for two reasons.
    let missing: BTreeSet<&str> = server.missing.iter().map(|missing| missing.part).collect();
    for part in missing {
        families.gauge(&metric::DATABASE_MISSING, [name, part], 1);
    }
    if let Some(of) = &server.sessions {
        sessions(families, name, of, &server.databases);
    }
    if let Some(of) = &server.blocking {
        blocking(families, name, of);
    }
    if let Some(of) = &server.limits {
        limits(families, name, of);
    }
    for counts in &server.databases {
        database(families, name, counts);
    }
    if let Some(of) = &server.checkpoints {
        families.counter(&metric::PG_CHECKPOINTS_TIMED, [name], of.timed);
        families.counter(&metric::PG_CHECKPOINTS_REQ, [name], of.requested);
    }
    if let Some(of) = &server.replication {
        replication(families, name, of);
    }
    for table in &server.tables {
        let labels = [name, &server.datname, &table.schema, &table.name];
        families.gauge(&metric::PG_DEAD_ROWS, labels, table.dead_rows);
        families.gauge(&metric::PG_LIVE_ROWS, labels, table.live_rows);
        if let Some(at) = table.vacuumed_at_seconds {
            families.gauge_float(&metric::PG_LAST_VACUUM, labels, at);
        }
    }
}

fn sessions(
    families: &mut Families,
    name: &str,
    sessions: &Sessions,
    databases: &[DatabaseCounts],
) {
    for database in databases {
        for state in STATES {
            families.gauge(&metric::PG_SESSIONS, [name, &database.datname, state], 0);
        }
    }
    let mut transactions: BTreeMap<[&str; 2], f64> = BTreeMap::new();
    let mut statements: BTreeMap<&str, f64> = BTreeMap::new();
    for group in &sessions.groups {
        let (datname, state) = (group.datname.as_str(), group.state.as_str());
        families.gauge(&metric::PG_SESSIONS, [name, datname, state], group.count);
        if let Some(age) = group.transaction_seconds {
            let oldest = transactions.entry([datname, state]).or_default();
            *oldest = oldest.max(age);
        }
        if let Some(age) = group.statement_seconds {
            let oldest = statements.entry(datname).or_default();
            *oldest = oldest.max(age);
        }
        if state == "active"
            && let (Some(kind), Some(event)) = (&group.wait_event_type, &group.wait_event)
        {
            families.gauge(&metric::PG_WAITS, [name, kind, event], group.count);
        }
    }
    for ([datname, state], age) in transactions {
        families.gauge_float(&metric::PG_MAX_TX, [name, datname, state], age);
    }
    for (datname, age) in statements {
        families.gauge_float(&metric::PG_MAX_QUERY, [name, datname], age);
    }
}

fn blocking(families: &mut Families, name: &str, blocking: &Blocking) {
    families.gauge(&metric::PG_LOCK_WAITS, [name], blocking.waiting);
    let roots = u64::try_from(blocking.chains.len()).unwrap_or(u64::MAX);
    families.gauge(&metric::PG_BLOCKERS, [name], roots);
    let waits = blocking
        .chains
        .iter()
        .map(|chain| chain.longest_wait_seconds());
    let longest = waits.fold(0.0, f64::max);
    families.gauge_float(&metric::PG_BLOCKED_SECONDS, [name], longest);
}

fn limits(families: &mut Families, name: &str, limits: &Limits) {
    for (gauge, number) in [
        (&metric::PG_MAX_CONNECTIONS, limits.max_connections),
        (&metric::PG_SUPERUSER_RESERVED, limits.superuser_reserved),
        (&metric::PG_RESERVED, limits.reserved),
        (&metric::PG_CONNECTIONS_USED, limits.used),
        (&metric::PG_CONNECTIONS_AVAILABLE, limits.available()),
    ] {
        families.gauge(gauge, [name], number);
    }
}

fn database(families: &mut Families, name: &str, counts: &DatabaseCounts) {
    let labels = [name, counts.datname.as_str()];
    families.gauge(&metric::PG_NUMBACKENDS, labels, counts.backends);
    for (counter, number) in [
        (&metric::PG_XACT_COMMIT, counts.committed),
        (&metric::PG_XACT_ROLLBACK, counts.rolled_back),
        (&metric::PG_BLKS_READ, counts.blocks_read),
        (&metric::PG_BLKS_HIT, counts.blocks_hit),
        (&metric::PG_TUP_RETURNED, counts.rows_returned),
        (&metric::PG_TUP_FETCHED, counts.rows_fetched),
        (&metric::PG_TUP_INSERTED, counts.rows_inserted),
        (&metric::PG_TUP_UPDATED, counts.rows_updated),
        (&metric::PG_TUP_DELETED, counts.rows_deleted),
        (&metric::PG_CONFLICTS, counts.conflicts),
        (&metric::PG_TEMP_FILES, counts.temp_files),
        (&metric::PG_TEMP_BYTES, counts.temp_bytes),
        (&metric::PG_DEADLOCKS, counts.deadlocks),
    ] {
        families.counter(counter, labels, number);
    }
    if let Some(bytes) = counts.size_bytes {
        families.gauge(&metric::PG_DATABASE_SIZE, labels, bytes);
    }
}

fn replication(families: &mut Families, name: &str, replication: &Replication) {
    if let Some(behind) = replication.behind_seconds {
        families.gauge_float(&metric::PG_REPLICATION_LAG, [name], behind);
    }
    // Followers of one name and state are one series, with the lag of the one that lags most.
    let mut bytes: BTreeMap<[&str; 2], f64> = BTreeMap::new();
    let mut seconds: BTreeMap<[&str; 2], f64> = BTreeMap::new();
    for follower in &replication.followers {
        let state = follower.state.as_deref().unwrap_or("unknown");
        let key = [follower.application.as_str(), state];
        for (most, behind) in [
            (&mut bytes, follower.behind_bytes),
            (&mut seconds, follower.behind_seconds),
        ] {
            if let Some(behind) = behind {
                let most = most.entry(key).or_default();
                *most = most.max(behind);
            }
        }
    }
    for (gauge, most) in [
        (&metric::PG_FOLLOWER_BYTES, bytes),
        (&metric::PG_FOLLOWER_SECONDS, seconds),
    ] {
        for ([application, state], behind) in most {
            families.gauge_float(gauge, [name, application, state], behind);
        }
    }
    for slot in &replication.slots {
        if let Some(kept) = slot.kept_bytes {
            let active = if slot.active { "true" } else { "false" };
            let labels = [name, slot.name.as_str(), active];
            families.gauge_float(&metric::PG_SLOT_BYTES, labels, kept);
        }
    }
}

fn pooler(families: &mut Families, name: &str, pooler: &Pooler) {
    families.info(&metric::PGBOUNCER_INFO, [name, &pooler.version]);
    pooler.pools.iter().for_each(|of| pool(families, name, of));
    for of in &pooler.databases {
        pooled(families, name, of);
    }
}

fn pool(families: &mut Families, name: &str, pool: &Pool) {
    let labels = [name, pool.datname.as_str(), pool.user.as_str()];
    for (gauge, number) in [
        (&metric::PGBOUNCER_CLIENTS_ACTIVE, pool.clients_active),
        (&metric::PGBOUNCER_CLIENTS_WAITING, pool.clients_waiting),
        (&metric::PGBOUNCER_SERVERS_ACTIVE, pool.servers_active),
        (&metric::PGBOUNCER_SERVERS_IDLE, pool.servers_idle),
        (&metric::PGBOUNCER_SERVERS_USED, pool.servers_used),
        (&metric::PGBOUNCER_SERVERS_TESTED, pool.servers_tested),
        (&metric::PGBOUNCER_SERVERS_LOGIN, pool.servers_login),
    ] {
        if let Some(number) = number {
            families.gauge(gauge, labels, number);
        }
    }
    if let Some(seconds) = pool.maxwait_seconds {
        families.gauge_float(&metric::PGBOUNCER_MAXWAIT, labels, seconds);
    }
}

fn pooled(families: &mut Families, name: &str, database: &PooledDatabase) {
    let labels = [name, database.datname.as_str()];
    for (counter, number) in [
        (&metric::PGBOUNCER_TRANSACTIONS, database.transactions),
        (&metric::PGBOUNCER_QUERIES, database.statements),
        (&metric::PGBOUNCER_RECEIVED, database.received_bytes),
        (&metric::PGBOUNCER_SENT, database.sent_bytes),
    ] {
        if let Some(number) = number {
            families.counter(counter, labels, number);
        }
    }
    for (counter, seconds) in [
        (
            &metric::PGBOUNCER_IN_TRANSACTION,
            database.transaction_seconds,
        ),
        (&metric::PGBOUNCER_QUERY_SECONDS, database.statement_seconds),
        (&metric::PGBOUNCER_WAIT_SECONDS, database.wait_seconds),
    ] {
        if let Some(seconds) = seconds {
            families.counter_float(counter, labels, seconds);
        }
    }
    for (gauge, seconds) in [
        (
            &metric::PGBOUNCER_AVG_QUERY,
            database.mean_statement_seconds,
        ),
        (&metric::PGBOUNCER_AVG_WAIT, database.mean_wait_seconds),
    ] {
        if let Some(seconds) = seconds {
            families.gauge_float(gauge, labels, seconds);
        }
    }
}
