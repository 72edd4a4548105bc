//! Postgres servers that are asked.

use super::FedBy;

catalogue! {
    DATABASE_UP: Gauge<1> = "hostprobe_database_up"
        ["database"]
        None Databases FedBy::Databases;
        "1 while the configured database answers, else 0; the log, /api/database and 'hostprobe check' say why."
        => "hostprobe_database_up == 0"

    DATABASE_CONNECT_ERRORS: Counter<2> = "hostprobe_database_connect_errors_total"
        ["database", "step"]
        None Databases FedBy::Databases;
        "Attempts to ask the database that failed, by the step: dns, tcp (or the unix socket), tls, auth, rights, server (full, starting, gone in between, or no Postgres)."
        => "sum by (database, step) (increase(hostprobe_database_connect_errors_total[1h])) > 0"

    DATABASE_LAST_SUCCESS: Gauge<1> = "hostprobe_database_last_success_timestamp_seconds"
        ["database"]
        Seconds Databases FedBy::Databases;
        "When the database answered last, in seconds since the epoch."
        => "time() - hostprobe_database_last_success_timestamp_seconds > 60"

    DATABASE_LOOK_SECONDS: Gauge<1> = "hostprobe_database_look_duration_seconds"
        ["database"]
        Seconds Databases FedBy::Databases;
        "Time that the latest look at the database took."

    DATABASE_MISSING: Gauge<2> = "hostprobe_database_part_missing"
        ["database", "part"]
        None Databases FedBy::Databases;
        "1 for each part that the rights, the settings or a missing extension keep from us; 'hostprobe check' says why, what it costs and what to do."

    PG_INFO: Info<3> = "hostprobe_pg_server_info"
        ["database", "version", "role"]
        None Databases FedBy::Databases;
        "Version of the server, and whether it is a primary or a standby. Always 1."

    PG_SESSIONS: Gauge<3> = "hostprobe_pg_stat_activity_sessions"
        ["database", "datname", "state"]
        None Databases FedBy::Databases;
        "Sessions of clients by state, as pg_stat_activity has them, the probe's own left out; unknown where our rights do not show it."
        => "sum by (database, state) (hostprobe_pg_stat_activity_sessions)"

    PG_MAX_TX: Gauge<3> = "hostprobe_pg_stat_activity_max_tx_duration_seconds"
        ["database", "datname", "state"]
        Seconds Databases FedBy::Databases;
        "Age of the oldest transaction in this state; long ones that are idle keep locks, and keep vacuum from its work."
        => "max by (database) (hostprobe_pg_stat_activity_max_tx_duration_seconds{state=~\"idle in transaction.*\"}) > 60"

    PG_MAX_QUERY: Gauge<2> = "hostprobe_pg_stat_activity_max_query_duration_seconds"
        ["database", "datname"]
        Seconds Databases FedBy::Databases;
        "For how long the oldest statement that runs now has run."

    PG_WAITS: Gauge<3> = "hostprobe_pg_stat_activity_waiting_sessions"
        ["database", "wait_event_type", "wait_event"]
        None Databases FedBy::Databases;
        "Active sessions that wait now, by what they wait for."
        => "sum by (database, wait_event_type) (hostprobe_pg_stat_activity_waiting_sessions)"

    PG_LOCK_WAITS: Gauge<1> = "hostprobe_pg_lock_waiting_sessions"
        ["database"]
        None Databases FedBy::Databases;
        "Sessions that wait for a lock."
        => "hostprobe_pg_lock_waiting_sessions > 5"

    PG_BLOCKERS: Gauge<1> = "hostprobe_pg_blocking_sessions"
        ["database"]
        None Databases FedBy::Databases;
        "Sessions that others wait for while they wait for nobody; /api/database names them."

    PG_BLOCKED_SECONDS: Gauge<1> = "hostprobe_pg_lock_max_wait_seconds"
        ["database"]
        Seconds Databases FedBy::Databases;
        "For how long the session that waits longest for a lock has waited."

    PG_MAX_CONNECTIONS: Gauge<1> = "hostprobe_pg_settings_max_connections"
        ["database"]
        None Databases FedBy::Databases;
        "Setting max_connections."
        => "sum by (database) (hostprobe_pg_connections_used) / on (database) (hostprobe_pg_settings_max_connections - hostprobe_pg_settings_superuser_reserved_connections - hostprobe_pg_settings_reserved_connections) > 0.8"

    PG_SUPERUSER_RESERVED: Gauge<1> = "hostprobe_pg_settings_superuser_reserved_connections"
        ["database"]
        None Databases FedBy::Databases;
        "Setting superuser_reserved_connections."

    PG_RESERVED: Gauge<1> = "hostprobe_pg_settings_reserved_connections"
        ["database"]
        None Databases FedBy::Databases;
        "Setting reserved_connections, from Postgres 16 on; else 0."

    PG_CONNECTIONS_USED: Gauge<1> = "hostprobe_pg_connections_used"
        ["database"]
        None Databases FedBy::Databases;
        "Sessions of clients, all of them: they count against max_connections."

    PG_CONNECTIONS_AVAILABLE: Gauge<1> = "hostprobe_pg_connections_available"
        ["database"]
        None Databases FedBy::Databases;
        "Connections that ordinary users may still open."
        => "hostprobe_pg_connections_available < 5"

    PG_NUMBACKENDS: Gauge<2> = "hostprobe_pg_stat_database_numbackends"
        ["database", "datname"]
        None Databases FedBy::Databases;
        "Backends that are connected to the database now."

    PG_XACT_COMMIT: Counter<2> = "hostprobe_pg_stat_database_xact_commit_total"
        ["database", "datname"]
        None Databases FedBy::Databases;
        "Transactions committed."

    PG_XACT_ROLLBACK: Counter<2> = "hostprobe_pg_stat_database_xact_rollback_total"
        ["database", "datname"]
        None Databases FedBy::Databases;
        "Transactions rolled back."

    PG_BLKS_READ: Counter<2> = "hostprobe_pg_stat_database_blks_read_total"
        ["database", "datname"]
        None Databases FedBy::Databases;
        "Blocks that were read from the system."

    PG_BLKS_HIT: Counter<2> = "hostprobe_pg_stat_database_blks_hit_total"
        ["database", "datname"]
        None Databases FedBy::Databases;
        "Blocks that were found in shared buffers."
        => "rate(hostprobe_pg_stat_database_blks_hit_total[5m]) / (rate(hostprobe_pg_stat_database_blks_hit_total[5m]) + rate(hostprobe_pg_stat_database_blks_read_total[5m]))"

    PG_TUP_RETURNED: Counter<2> = "hostprobe_pg_stat_database_tup_returned_total"
        ["database", "datname"]
        None Databases FedBy::Databases;
        "Rows that scans read."

    PG_TUP_FETCHED: Counter<2> = "hostprobe_pg_stat_database_tup_fetched_total"
        ["database", "datname"]
        None Databases FedBy::Databases;
        "Rows that index scans fetched. Far fewer than those read: statements read whole tables."

    PG_TUP_INSERTED: Counter<2> = "hostprobe_pg_stat_database_tup_inserted_total"
        ["database", "datname"]
        None Databases FedBy::Databases;
        "Rows inserted."

    PG_TUP_UPDATED: Counter<2> = "hostprobe_pg_stat_database_tup_updated_total"
        ["database", "datname"]
        None Databases FedBy::Databases;
        "Rows updated."

    PG_TUP_DELETED: Counter<2> = "hostprobe_pg_stat_database_tup_deleted_total"
        ["database", "datname"]
        None Databases FedBy::Databases;
        "Rows deleted."

    PG_CONFLICTS: Counter<2> = "hostprobe_pg_stat_database_conflicts_total"
        ["database", "datname"]
        None Databases FedBy::Databases;
        "Statements cancelled on a standby so that replay could go on."

    PG_TEMP_FILES: Counter<2> = "hostprobe_pg_stat_database_temp_files_total"
        ["database", "datname"]
        None Databases FedBy::Databases;
        "Temporary files: what did not fit into work_mem."

    PG_TEMP_BYTES: Counter<2> = "hostprobe_pg_stat_database_temp_bytes_total"
        ["database", "datname"]
        Bytes Databases FedBy::Databases;
        "Bytes written to temporary files."

    PG_DEADLOCKS: Counter<2> = "hostprobe_pg_stat_database_deadlocks_total"
        ["database", "datname"]
        None Databases FedBy::Databases;
        "Deadlocks."

    PG_DATABASE_SIZE: Gauge<2> = "hostprobe_pg_database_size_bytes"
        ["database", "datname"]
        Bytes Databases FedBy::Databases;
        "Size on disk, looked at once a minute."

    PG_CHECKPOINTS_TIMED: Counter<1> = "hostprobe_pg_checkpoints_timed_total"
        ["database"]
        None Databases FedBy::Databases;
        "Checkpoints because of checkpoint_timeout."

    PG_CHECKPOINTS_REQ: Counter<1> = "hostprobe_pg_checkpoints_req_total"
        ["database"]
        None Databases FedBy::Databases;
        "Checkpoints because much was written, or somebody asked: many say that max_wal_size is small."

    PG_REPLICATION_LAG: Gauge<1> = "hostprobe_pg_replication_lag_seconds"
        ["database"]
        Seconds Databases FedBy::Databases;
        "On a standby: age of the last transaction that it has replayed; 0 when all that it has received is replayed."
        => "hostprobe_pg_replication_lag_seconds > 30"

    PG_FOLLOWER_BYTES: Gauge<3> = "hostprobe_pg_stat_replication_replay_lag_bytes"
        ["database", "application_name", "state"]
        Bytes Databases FedBy::Databases;
        "Bytes of WAL that a follower has not replayed."

    PG_FOLLOWER_SECONDS: Gauge<3> = "hostprobe_pg_stat_replication_replay_lag_seconds"
        ["database", "application_name", "state"]
        Seconds Databases FedBy::Databases;
        "Time from writing here to replaying at the follower; absent while it is idle and up to date."

    PG_SLOT_BYTES: Gauge<3> = "hostprobe_pg_replication_slot_retained_bytes"
        ["database", "slot_name", "active"]
        Bytes Databases FedBy::Databases;
        "Bytes of WAL that are kept for a replication slot. One that nobody uses fills the disk."
        => "hostprobe_pg_replication_slot_retained_bytes{active=\"false\"} > 1e9"

    PG_DEAD_ROWS: Gauge<4> = "hostprobe_pg_stat_user_tables_n_dead_tup"
        ["database", "datname", "schemaname", "relname"]
        None Databases FedBy::Databases;
        "Dead rows of the ten tables with most of them, in the database that we are connected to; looked at once a minute."

    PG_LIVE_ROWS: Gauge<4> = "hostprobe_pg_stat_user_tables_n_live_tup"
        ["database", "datname", "schemaname", "relname"]
        None Databases FedBy::Databases;
        "Rows of the same tables, as the statistics estimate."

    PG_LAST_VACUUM: Gauge<4> = "hostprobe_pg_stat_user_tables_last_vacuum_timestamp_seconds"
        ["database", "datname", "schemaname", "relname"]
        Seconds Databases FedBy::Databases;
        "When the same tables were vacuumed last, by whomever; absent when never."
}
