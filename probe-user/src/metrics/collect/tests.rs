//! What a user would lose: counts, series, or a whole scrape.

use std::collections::HashSet;

use super::*;
use crate::metrics::{
    Families,
    exposition::{Format, write},
    families::Value,
    fixture::{Fixture, histogram, service},
    metric::Metric,
};
use probe_common::{histogram::Histogram, syscall::SyscallKey};

/// A series' value as a number; a histogram's number of observations.
fn value(families: &Families, metric: &Metric, labels: &[&str]) -> Option<f64> {
    let labels: Vec<_> = labels.iter().map(|label| (*label).to_owned()).collect();
    families
        .get(metric)?
        .series
        .get(&labels)
        .map(|value| match value {
            Value::Integer(whole) => *whole as f64,
            Value::Float(number) => *number,
            Value::Distribution(observed) => observed.counts.iter().sum::<u64>() as f64,
        })
}

#[test]
fn every_metric_of_the_catalogue_is_emitted() {
    let families = Fixture::of_size(1, 1).families();
    let emitted: HashSet<_> = families.iter().map(|family| family.metric.name()).collect();
    for metric in metric::all() {
        assert!(
            emitted.contains(metric.name()),
            "{} is documented, not emitted",
            metric.name()
        );
    }
}

#[test]
fn each_number_arrives_under_its_name() {
    let families = Fixture::of_size(1, 1).families();
    let service = "service01";
    let syscall = &*names::syscall(0);
    let expected: &[(&Metric, &[&str], f64)] = &[
        (&metric::SYSCALLS, &[service, syscall], 3.0),
        (&metric::SYSCALL_ERRORS, &[service, syscall, "EAGAIN"], 2.0),
        (&metric::RUN_QUEUE_LATENCY, &[service], 2.0),
        (&metric::CPU_SLICE, &[service], 3.0),
        (&metric::OFF_CPU_SECONDS, &[service, "database"], 0.25),
        (&metric::OFF_CPU_SECONDS, &[service, "sleep"], 0.0),
        (&metric::OFF_CPU_SWITCHES, &[service, "database"], 5.0),
        (&metric::SCHEDULER_THREADS, &[service, "running"], 1.0),
        (&metric::SCHEDULER_THREADS, &[service, "poll"], 2.0),
        (&metric::SERVICE_TIME_SHARE, &[service, "on_cpu"], 0.25),
        (&metric::SERVICE_TIME_SHARE, &[service, "idle"], 0.75),
        (&metric::SERVICE_TIME_SHARE, &[service, "database"], 0.0),
        (&metric::CGROUP_PRESSURE_WAITING, &[service, "io"], 0.75),
        (&metric::CGROUP_PRESSURE_STALLED, &[service, "io"], 0.5),
        (&metric::PAGE_FAULTS, &[service, "minor"], 70.0),
        (&metric::PAGE_FAULTS, &[service, "major"], 1.0),
        (&metric::OOM_KILLS, &[service], 1.0),
        (&metric::BLOCK_IO_DURATION, &[service, "vda", "write"], 2.0),
        (&metric::BLOCK_IO_BYTES, &[service, "vda", "write"], 8192.0),
        (&metric::BLOCK_IO_ERRORS, &["[kernel]", "8:1", "write"], 1.0),
        (&metric::SYSCALL_DURATION, &[service, syscall], 3.0),
        (
            &metric::HTTP_SERVER_DURATION,
            &[service, "GET", "/items/{id}", "200"],
            2.0,
        ),
        (&metric::HTTP_SERVER_ABORTED, &[service, "/items/{id}"], 1.0),
        (&metric::HTTP_DB_STATEMENTS, &[service, "/items/{id}"], 52.0),
        (&metric::HTTP_DB_SECONDS, &[service, "/items/{id}"], 0.04),
        (
            &metric::HTTP_DB_UNATTRIBUTED_STATEMENTS,
            &[service, "several_requests"],
            3.0,
        ),
        (
            &metric::HTTP_DB_UNATTRIBUTED_STATEMENTS,
            &[service, "overflow"],
            0.0,
        ),
        (
            &metric::HTTP_DB_UNATTRIBUTED_SECONDS,
            &[service, "several_requests"],
            0.002,
        ),
        (&metric::N_PLUS_ONE, &[service, "0000000000c0ffee"], 4.0),
        (&metric::N_PLUS_ONE, &[service, "other"], 1.0),
        (&metric::REPEATED_QUERY, &[service, "000000000000beef"], 2.0),
        (&metric::STREAM_PROBLEMS, &["not_compared"], 2.0),
        (
            &metric::HTTP_CLIENT_DURATION,
            &[service, "POST", "api.example", "503"],
            2.0,
        ),
        (
            &metric::POSTGRES_STATEMENTS,
            &[service, "shop", "SELECT", "error"],
            2.0,
        ),
        (
            &metric::POSTGRES_ERRORS,
            &[service, "shop", "23505", "integrity_constraint_violation"],
            2.0,
        ),
        (
            &metric::HTTP_CLIENT_FIRST_BYTE,
            &[service, "POST", "api.example"],
            2.0,
        ),
        (
            &metric::HTTP_CLIENT_REQUEST_BYTES,
            &[service, "api.example"],
            10.0,
        ),
        (
            &metric::HTTP_CLIENT_RESPONSE_BYTES,
            &[service, "api.example"],
            2_000.0,
        ),
        (&metric::HTTP_CLIENT_ABORTED, &[service, "api.example"], 1.0),
        (&metric::ACTIVE_USERS, &[service], 17.0),
        (
            &metric::POSTGRES_TRANSACTIONS,
            &[service, "shop", "committed"],
            6.0,
        ),
        (
            &metric::DB_CLIENT_TRANSACTIONS,
            &[service, "shop", "rolled_back"],
            1.0,
        ),
        (
            &metric::POSTGRES_STATISTICS_DIFFERENCE,
            &[service, "BEGIN", "calls"],
            -3.0,
        ),
        (
            &metric::POSTGRES_FINGERPRINT_CALLS,
            &[service, "000000000000feed"],
            2.0,
        ),
        (
            &metric::POSTGRES_FINGERPRINT_ERRORS,
            &[service, "other"],
            1.0,
        ),
        (
            &metric::POSTGRES_FINGERPRINT_ROWS,
            &[service, "000000000000feed"],
            7.0,
        ),
        (
            &metric::POSTGRES_FINGERPRINT_SECONDS,
            &[service, "unknown"],
            8e-5,
        ),
        (
            &metric::DB_CLIENT_FINGERPRINT_CALLS,
            &[service, "unknown"],
            1.0,
        ),
        (
            &metric::DB_CLIENT_FINGERPRINT_SECONDS,
            &[service, "000000000000feed"],
            3.8e-4,
        ),
        (
            &metric::SQL_FINGERPRINT_INFO,
            &[
                "000000000000feed",
                "SELECT",
                "select * from items where id = $1",
            ],
            1.0,
        ),
        (
            &metric::DB_CONNECTIONS,
            &[service, "server", "idle_in_transaction"],
            2.0,
        ),
        (&metric::DB_CONNECTIONS, &[service, "client", "idle"], 0.0),
        (&metric::DB_CONNECT_DURATION, &[service, "client"], 2.0),
        (&metric::DB_CONNECTS, &[service, "client", "tls"], 2.0),
        (
            &metric::DB_CONNECTION_ERRORS,
            &[service, "client", "too_many_connections"],
            3.0,
        ),
        (
            &metric::DB_SESSION_ERRORS,
            &[service, "server", "admin_shutdown"],
            1.0,
        ),
        (&metric::DB_CANCELS, &[service, "server"], 4.0),
        (&metric::DB_POOL_SATURATED, &[service], 1.5),
        (&metric::DB_POOL_BUSY, &[service], 4.0),
        (&metric::DB_POOL_PEAK, &[service], 5.0),
        (&metric::DB_POOL_WAIT, &[service, "inferred"], 1.0),
        (
            &metric::DB_CLIENT_STATEMENTS,
            &[service, "shop", "SELECT", "error"],
            2.0,
        ),
        (
            &metric::DB_CLIENT_FIRST_BYTE,
            &[service, "shop", "SELECT", "ok"],
            2.0,
        ),
        (&metric::DB_CLIENT_ROWS, &[service, "shop", "SELECT"], 10.0),
        (&metric::POSTGRES_ROWS, &[service, "shop", "SELECT"], 10.0),
        (
            &metric::DB_CLIENT_DURATION,
            &[service, "postgresql", "shop", "SELECT", "23505"],
            2.0,
        ),
        (&metric::STREAM_PROBLEMS, &["uncertain"], 1.0),
        (&metric::TCP_CONNECT_DURATION, &[service], 2.0),
        (&metric::TCP_CONNECTION_DURATION, &[service], 2.0),
        (&metric::TCP_RTT, &[service], 1.0),
        (&metric::UNIX_CONNECT_DURATION, &[service], 1.0),
        (&metric::TCP_CONNECT_ERRORS, &[service, "ECONNREFUSED"], 4.0),
        (&metric::TCP_CONNECT_ERRORS, &[service, "abandoned"], 4.0),
        (&metric::UNIX_CONNECT_ERRORS, &[service, "ENOENT"], 4.0),
        (&metric::TCP_ACCEPTS, &[service], 7.0),
        (&metric::UNIX_ACCEPTS, &[service], 1.0),
        (&metric::TCP_CONNECTIONS_OPEN, &[service], 8.0),
        (&metric::TCP_CONNECTIONS_OPENED, &[service], 10.0),
        (&metric::TCP_CONNECTIONS_CLOSED, &[service], 2.0),
        (&metric::TCP_CONNECTIONS_ADOPTED, &[service], 1.0),
        (&metric::TCP_RETRANSMITS, &[service], 3.0),
        (&metric::TCP_RESETS, &[service, "received"], 1.0),
        (&metric::TCP_RESETS, &[service, "sent"], 2.0),
        (&metric::SOCKET_IO, &[service, "tcp", "transmit"], 10_000.0),
        (&metric::SOCKET_IO, &[service, "tcp", "receive"], 20_000.0),
        (&metric::SOCKET_IO, &[service, "unix", "transmit"], 1.0),
        (&metric::SOCKET_IO, &[service, "unix", "receive"], 2.0),
        (&metric::PROCESS_CPU, &[service], 2.0),
        (&metric::PROCESS_CPU_SYSTEM, &[service], 0.5),
        (&metric::PROCESS_PROPORTIONAL, &[service], 3e7),
        (&metric::PROCESS_FDS_RATIO, &[service], 0.5),
        (&metric::PROCESS_MAX_FDS, &[service], 1_024.0),
        (&metric::PROCESS_DISK_IO, &[service, "write"], 8_192.0),
        (&metric::PROCESS_SWITCHES, &[service, "involuntary"], 30.0),
        (&metric::PROCESS_FAULTS, &[service, "major"], 2.0),
        (&metric::PROCESS_OLDEST, &[service], 1_789_001_000.0),
        (&metric::PROCESS_SOCKETS, &[service, "listen"], 1.0),
        (&metric::CGROUP_CPU_LIMIT, &[service], 1.5),
        (&metric::CGROUP_THROTTLED_PERIODS, &[service], 20.0),
        (&metric::CGROUP_THROTTLED_SECONDS, &[service], 3.0),
        (&metric::CGROUP_MEMORY_EVENTS, &[service, "oom_kill"], 1.0),
        (&metric::HOST_CPU, &["idle"], 50.0),
        (&metric::HOST_LOGICAL_CPU, &["0", "system"], 1.0),
        (&metric::HOST_CPUS, &[], 1.0),
        (&metric::HOST_LOAD5, &[], 0.25),
        (&metric::HOST_PRESSURE_WAITING, &["io"], 2.0),
        (&metric::HOST_PRESSURE_STALLED, &["io"], 0.5),
        (&metric::HOST_PRESSURE, &["io", "full", "60s"], 0.125),
        (&metric::HOST_MEMORY, &["used"], 400_000.0),
        (&metric::HOST_FAULTS, &["minor"], 97.0),
        (&metric::DISK_IO, &["vda", "read"], 40_960.0),
        (&metric::DISK_OPERATION_SECONDS, &["vda", "write"], 0.025),
        (&metric::DISK_BUSY, &["vda"], 1.5),
        (&metric::FS_AVAILABLE, &["/dev/vda", "/", "ext4"], 350.0),
        (&metric::FS_HANGS, &["/dev/vda", "/", "ext4"], 0.0),
        (&metric::NETWORK_DROPPED, &["eth0", "transmit"], 2.0),
        (&metric::HOST_TCP_OPENS, &["in"], 30.0),
        (&metric::HOST_SOCKETS, &["time_wait"], 9.0),
        (&metric::HOST_READ_ERRORS, &["process_stat", "gone"], 1.0),
        (&metric::SERVICE_PROCESSES, &[service], 3.0),
        (&metric::SERVICE_INFO, &[service, "http", "port 8000"], 1.0),
        (&metric::PROCESS_STARTS, &[service], 5.0),
        (&metric::SERVICE_RESTARTS, &[service], 2.0),
        (&metric::PROCESS_EXITS, &[service, "1", ""], 1.0),
        (&metric::PROCESS_EXITS, &[service, "", "SIGKILL"], 1.0),
        (&metric::EVENTS_LOST, &["socket_gone"], 6.0),
        (&metric::EVENTS_LOST, &["program_recursion"], 2.0),
        (&metric::PROBE_UP, &["syscalls"], 1.0),
        (&metric::PROBE_UP, &["sockets"], 0.0),
        (&metric::PROGRAM_RUNS, &["sys_enter"], 1000.0),
        (&metric::PROGRAM_RUN_SECONDS, &["sys_enter"], 9e-5),
        (&metric::PROGRAM_MEASURED_SECONDS, &["sys_enter"], 1.0),
        (
            &metric::PROGRAM_VERIFIED_INSTRUCTIONS,
            &["sys_enter"],
            311.0,
        ),
        (&metric::BUILD_INFO, &["0.1.0", "c0ffee", ""], 1.0),
        (&metric::START_TIME, &[], 1_790_000_000.0),
        (&metric::SCRAPE_DURATION, &[], 0.0015),
        (&metric::OWN_CPU, &[], 1.25),
        (&metric::OWN_MAX_FDS, &[], 1024.0),
    ];
    check(&families, expected);
}

/// What Postgres and PgBouncer say.
#[test]
fn each_answer_of_a_database_arrives_under_its_name() {
    let families = Fixture::of_size(1, 0).families();
    let expected: &[(&Metric, &[&str], f64)] = &[
        (&metric::DATABASE_UP, &["shop-main"], 1.0),
        (&metric::DATABASE_CONNECT_ERRORS, &["shop-main", "tcp"], 3.0),
        (
            &metric::DATABASE_CONNECT_ERRORS,
            &["shop-main", "auth"],
            0.0,
        ),
        (&metric::DATABASE_LAST_SUCCESS, &["shop-main"], 1.79e9),
        (&metric::DATABASE_LOOK_SECONDS, &["shop-main"], 0.008),
        (&metric::DATABASE_MISSING, &["shop-main", "hypopg"], 1.0),
        (&metric::PG_INFO, &["shop-main", "15.13", "primary"], 1.0),
        (&metric::PG_SESSIONS, &["shop-main", "shop", "idle"], 6.0),
        (
            &metric::PG_SESSIONS,
            &["shop-main", "shop", "idle in transaction (aborted)"],
            0.0,
        ),
        (
            &metric::PG_MAX_TX,
            &["shop-main", "shop", "idle in transaction"],
            12.5,
        ),
        (&metric::PG_MAX_QUERY, &["shop-main", "shop"], 4.5),
        (
            &metric::PG_WAITS,
            &["shop-main", "Lock", "transactionid"],
            2.0,
        ),
        (&metric::PG_LOCK_WAITS, &["shop-main"], 1.0),
        (&metric::PG_BLOCKERS, &["shop-main"], 1.0),
        (&metric::PG_BLOCKED_SECONDS, &["shop-main"], 4.5),
        (&metric::PG_MAX_CONNECTIONS, &["shop-main"], 100.0),
        (&metric::PG_SUPERUSER_RESERVED, &["shop-main"], 3.0),
        (&metric::PG_RESERVED, &["shop-main"], 2.0),
        (&metric::PG_CONNECTIONS_USED, &["shop-main"], 80.0),
        (&metric::PG_CONNECTIONS_AVAILABLE, &["shop-main"], 15.0),
        (&metric::PG_NUMBACKENDS, &["shop-main", "shop"], 10.0),
        (&metric::PG_XACT_COMMIT, &["shop-main", "shop"], 500.0),
        (&metric::PG_XACT_ROLLBACK, &["shop-main", "shop"], 5.0),
        (&metric::PG_BLKS_READ, &["shop-main", "shop"], 20.0),
        (&metric::PG_BLKS_HIT, &["shop-main", "shop"], 900.0),
        (&metric::PG_TUP_RETURNED, &["shop-main", "shop"], 30000.0),
        (&metric::PG_TUP_FETCHED, &["shop-main", "shop"], 400.0),
        (&metric::PG_TUP_INSERTED, &["shop-main", "shop"], 30.0),
        (&metric::PG_TUP_UPDATED, &["shop-main", "shop"], 20.0),
        (&metric::PG_TUP_DELETED, &["shop-main", "shop"], 10.0),
        (&metric::PG_CONFLICTS, &["shop-main", "shop"], 1.0),
        (&metric::PG_TEMP_FILES, &["shop-main", "shop"], 2.0),
        (&metric::PG_TEMP_BYTES, &["shop-main", "shop"], 4096.0),
        (&metric::PG_DEADLOCKS, &["shop-main", "shop"], 3.0),
        (&metric::PG_DATABASE_SIZE, &["shop-main", "shop"], 8000000.0),
        (&metric::PG_CHECKPOINTS_TIMED, &["shop-main"], 40.0),
        (&metric::PG_CHECKPOINTS_REQ, &["shop-main"], 4.0),
        (&metric::PG_REPLICATION_LAG, &["shop-main"], 1.5),
        (
            &metric::PG_FOLLOWER_BYTES,
            &["shop-main", "standby", "streaming"],
            4096.0,
        ),
        (
            &metric::PG_FOLLOWER_SECONDS,
            &["shop-main", "standby", "streaming"],
            0.25,
        ),
        (
            &metric::PG_SLOT_BYTES,
            &["shop-main", "standby", "false"],
            16777216.0,
        ),
        (
            &metric::PG_DEAD_ROWS,
            &["shop-main", "shop", "public", "orders"],
            700.0,
        ),
        (
            &metric::PG_LIVE_ROWS,
            &["shop-main", "shop", "public", "orders"],
            1000.0,
        ),
        (
            &metric::PG_LAST_VACUUM,
            &["shop-main", "shop", "public", "orders"],
            1.789e9,
        ),
        (&metric::PGBOUNCER_UP, &["shop-main"], 1.0),
        (
            &metric::PGBOUNCER_CONNECT_ERRORS,
            &["shop-main", "tcp"],
            3.0,
        ),
        (
            &metric::PGBOUNCER_CLIENTS_ACTIVE,
            &["shop-main", "shop", "app"],
            5.0,
        ),
        (
            &metric::PGBOUNCER_CLIENTS_WAITING,
            &["shop-main", "shop", "app"],
            4.0,
        ),
        (
            &metric::PGBOUNCER_SERVERS_ACTIVE,
            &["shop-main", "shop", "app"],
            3.0,
        ),
        (
            &metric::PGBOUNCER_SERVERS_IDLE,
            &["shop-main", "shop", "app"],
            2.0,
        ),
        (
            &metric::PGBOUNCER_SERVERS_USED,
            &["shop-main", "shop", "app"],
            1.0,
        ),
        (
            &metric::PGBOUNCER_SERVERS_TESTED,
            &["shop-main", "shop", "app"],
            0.0,
        ),
        (
            &metric::PGBOUNCER_SERVERS_LOGIN,
            &["shop-main", "shop", "app"],
            0.0,
        ),
        (
            &metric::PGBOUNCER_MAXWAIT,
            &["shop-main", "shop", "app"],
            2.5,
        ),
        (
            &metric::PGBOUNCER_TRANSACTIONS,
            &["shop-main", "shop"],
            60.0,
        ),
        (&metric::PGBOUNCER_QUERIES, &["shop-main", "shop"], 90.0),
        (&metric::PGBOUNCER_RECEIVED, &["shop-main", "shop"], 1000.0),
        (&metric::PGBOUNCER_SENT, &["shop-main", "shop"], 2000.0),
        (
            &metric::PGBOUNCER_IN_TRANSACTION,
            &["shop-main", "shop"],
            3.0,
        ),
        (
            &metric::PGBOUNCER_QUERY_SECONDS,
            &["shop-main", "shop"],
            2.0,
        ),
        (
            &metric::PGBOUNCER_WAIT_SECONDS,
            &["shop-main", "shop"],
            1.25,
        ),
        (&metric::PGBOUNCER_AVG_QUERY, &["shop-main", "shop"], 0.02),
        (&metric::PGBOUNCER_AVG_WAIT, &["shop-main", "shop"], 0.01),
    ];
    check(&families, expected);
}

/// What a database said before it was gone is not what it does now.
#[test]
fn a_database_that_does_not_answer_has_no_numbers_but_that() {
    let mut fixture = Fixture::of_size(1, 0);
    for database in &mut fixture.databases {
        let server = std::sync::Arc::make_mut(&mut database.server);
        server.error = Some(crate::database::ConnectError {
            step: crate::database::Step::Tcp,
            place: String::new(),
            what: String::new(),
            hint: String::new(),
        });
    }
    let families = fixture.families();
    let name: &[&str] = &["shop-main"];
    assert_eq!(value(&families, &metric::DATABASE_UP, name), Some(0.0));
    let last = value(&families, &metric::DATABASE_LAST_SUCCESS, name);
    assert_eq!(last, Some(1.79e9));
    assert!(families.get(&metric::PG_MAX_CONNECTIONS).is_none());
}

fn check(families: &Families, expected: &[(&Metric, &[&str], f64)]) {
    for (metric, labels, number) in expected {
        assert_eq!(
            value(families, metric, labels),
            Some(*number),
            "{}{labels:?}",
            metric.name()
        );
    }
}

/// What a click on a dot in Grafana needs: a trace that exists, in the right bucket, at its time.
#[test]
fn traces_are_tied_to_buckets_with_the_time_of_day() {
    let text = write(&Fixture::of_size(1, 0).families(), Format::OpenMetrics);
    let bucket = |name: &str, labels: &str| {
        let start = format!("{name}_bucket{{{labels}}}");
        let line = text.lines().find(|line| line.starts_with(&start));
        line.unwrap_or_else(|| panic!("no {start}")).to_owned()
    };
    let exemplar = |value| {
        format!(" # {{trace_id=\"0af7651916cd43dd8448eb211c80319c\"}} {value} 1790000000.25")
    };
    for (name, labels, value) in [
        (
            "http_server_request_duration_seconds",
            "service=\"service01\",http_request_method=\"GET\",http_route=\"/items/{id}\",\
             http_response_status_code=\"200\",le=\"0.1\"",
            "0.07",
        ),
        (
            "http_client_request_duration_seconds",
            "service=\"service01\",http_request_method=\"POST\",server_address=\"api.example\",\
             http_response_status_code=\"503\",le=\"0.1\"",
            "0.07",
        ),
        (
            "hostprobe_postgres_statement_duration_seconds",
            "service=\"service01\",db_namespace=\"shop\",db_operation_name=\"SELECT\",\
             outcome=\"ok\",le=\"0.0005\"",
            "0.0003",
        ),
        (
            "db_client_operation_duration_seconds",
            "service=\"service01\",db_system_name=\"postgresql\",db_namespace=\"shop\",\
             db_operation_name=\"SELECT\",error_type=\"\",le=\"0.0005\"",
            "0.0003",
        ),
    ] {
        let line = bucket(name, labels);
        assert!(line.ends_with(&exemplar(value)), "{line}");
    }
    // Buckets of other observations have none.
    assert_eq!(text.matches(" # {").count(), 6);
}

#[test]
fn all_causes_of_loss_are_there_when_nothing_was_lost() {
    let mut fixture = Fixture::of_size(0, 0);
    fixture.snapshot = Snapshot::default();
    let families = fixture.families();
    for cause in Loss::ALL
        .into_iter()
        .map(Loss::name)
        .chain([PROGRAM_RECURSION])
    {
        assert_eq!(
            value(&families, &metric::EVENTS_LOST, &[cause]),
            Some(0.0),
            "{cause}"
        );
    }
}

#[test]
fn counts_of_forgotten_services_are_kept_as_unknown() {
    let mut fixture = Fixture::of_size(1, 0);
    for id in [0, 70, 71] {
        let key = SyscallKey { service: id, nr: 0 };
        fixture.snapshot.syscalls.insert(key, histogram(&[1000]));
    }
    let families = fixture.families();
    let labels = [UNKNOWN_SERVICE, &*names::syscall(0)];
    assert_eq!(value(&families, &metric::SYSCALLS, &labels), Some(3.0));
    assert_eq!(
        value(&families, &metric::SYSCALL_DURATION, &labels),
        Some(3.0)
    );
}

#[test]
fn a_service_without_numbers_is_shown() {
    let mut fixture = Fixture::of_size(0, 0);
    fixture.services.push(service(9));
    let families = fixture.families();
    assert_eq!(
        value(&families, &metric::SERVICE_PROCESSES, &["service09"]),
        Some(3.0)
    );
    assert!(families.get(&metric::SYSCALLS).is_none());
}

/// Two services of one name must not become a duplicate series: Prometheus drops such a scrape.
#[test]
fn services_of_one_name_are_added_up() {
    let mut fixture = Fixture::of_size(2, 1);
    for service in &mut fixture.services {
        service.name = "web".to_owned();
    }
    let families = fixture.families();
    assert_eq!(
        value(&families, &metric::SERVICE_PROCESSES, &["web"]),
        Some(6.0)
    );
    assert_eq!(value(&families, &metric::TCP_ACCEPTS, &["web"]), Some(14.0));
    let info = ["web", "http", "port 8000"];
    assert_eq!(value(&families, &metric::SERVICE_INFO, &info), Some(1.0));
}

#[test]
fn an_empty_histogram_is_no_division_by_zero() {
    let observed = Distribution::from_kernel(&Histogram::EMPTY);
    assert_eq!(observed.counts.iter().sum::<u64>(), 0);
    assert!(observed.sum.abs() < f64::EPSILON);
}
