//! PgBouncers that are asked.

use super::FedBy;

catalogue! {
    PGBOUNCER_UP: Gauge<1> = "hostprobe_pgbouncer_up"
        ["database"]
        None PgBouncer FedBy::Databases;
        "1 while the admin console of the configured PgBouncer answers, else 0."
        => "hostprobe_pgbouncer_up == 0"

    PGBOUNCER_CONNECT_ERRORS: Counter<2> = "hostprobe_pgbouncer_connect_errors_total"
        ["database", "step"]
        None PgBouncer FedBy::Databases;
        "Attempts to ask PgBouncer that failed, by step."

    PGBOUNCER_LAST_SUCCESS: Gauge<1> = "hostprobe_pgbouncer_last_success_timestamp_seconds"
        ["database"]
        Seconds PgBouncer FedBy::Databases;
        "When PgBouncer answered last, in seconds since the epoch."

    PGBOUNCER_INFO: Info<2> = "hostprobe_pgbouncer_server_info"
        ["database", "version"]
        None PgBouncer FedBy::Databases;
        "Version of PgBouncer. Always 1."

    PGBOUNCER_CLIENTS_ACTIVE: Gauge<3> = "hostprobe_pgbouncer_pools_client_active_connections"
        ["database", "datname", "user"]
        None PgBouncer FedBy::Databases;
        "Clients that are linked to a server connection, or idle."

    PGBOUNCER_CLIENTS_WAITING: Gauge<3> = "hostprobe_pgbouncer_pools_client_waiting_connections"
        ["database", "datname", "user"]
        None PgBouncer FedBy::Databases;
        "Clients that wait for a server connection: the pool is too small, or statements are too slow."
        => "sum by (database, datname) (hostprobe_pgbouncer_pools_client_waiting_connections) > 0"

    PGBOUNCER_SERVERS_ACTIVE: Gauge<3> = "hostprobe_pgbouncer_pools_server_active_connections"
        ["database", "datname", "user"]
        None PgBouncer FedBy::Databases;
        "Server connections that are linked to a client."

    PGBOUNCER_SERVERS_IDLE: Gauge<3> = "hostprobe_pgbouncer_pools_server_idle_connections"
        ["database", "datname", "user"]
        None PgBouncer FedBy::Databases;
        "Server connections that may be used at once."

    PGBOUNCER_SERVERS_USED: Gauge<3> = "hostprobe_pgbouncer_pools_server_used_connections"
        ["database", "datname", "user"]
        None PgBouncer FedBy::Databases;
        "Server connections that were idle for long and are checked before they are used."

    PGBOUNCER_SERVERS_TESTED: Gauge<3> = "hostprobe_pgbouncer_pools_server_testing_connections"
        ["database", "datname", "user"]
        None PgBouncer FedBy::Databases;
        "Server connections that are being checked or reset."

    PGBOUNCER_SERVERS_LOGIN: Gauge<3> = "hostprobe_pgbouncer_pools_server_login_connections"
        ["database", "datname", "user"]
        None PgBouncer FedBy::Databases;
        "Server connections that are logging in."

    PGBOUNCER_MAXWAIT: Gauge<3> = "hostprobe_pgbouncer_pools_client_maxwait_seconds"
        ["database", "datname", "user"]
        Seconds PgBouncer FedBy::Databases;
        "For how long the client that waits longest has waited for a server connection."
        => "max by (database, datname) (hostprobe_pgbouncer_pools_client_maxwait_seconds) > 1"

    PGBOUNCER_TRANSACTIONS: Counter<2> = "hostprobe_pgbouncer_stats_sql_transactions_pooled_total"
        ["database", "datname"]
        None PgBouncer FedBy::Databases;
        "Transactions."

    PGBOUNCER_QUERIES: Counter<2> = "hostprobe_pgbouncer_stats_queries_pooled_total"
        ["database", "datname"]
        None PgBouncer FedBy::Databases;
        "Statements."

    PGBOUNCER_RECEIVED: Counter<2> = "hostprobe_pgbouncer_stats_received_bytes_total"
        ["database", "datname"]
        Bytes PgBouncer FedBy::Databases;
        "Bytes from clients."

    PGBOUNCER_SENT: Counter<2> = "hostprobe_pgbouncer_stats_sent_bytes_total"
        ["database", "datname"]
        Bytes PgBouncer FedBy::Databases;
        "Bytes to clients."

    PGBOUNCER_IN_TRANSACTION: Counter<2> = "hostprobe_pgbouncer_stats_server_in_transaction_seconds_total"
        ["database", "datname"]
        Seconds PgBouncer FedBy::Databases;
        "Time that server connections spent in transactions."

    PGBOUNCER_QUERY_SECONDS: Counter<2> = "hostprobe_pgbouncer_stats_queries_duration_seconds_total"
        ["database", "datname"]
        Seconds PgBouncer FedBy::Databases;
        "Time that server connections spent on statements."

    PGBOUNCER_WAIT_SECONDS: Counter<2> = "hostprobe_pgbouncer_stats_client_wait_seconds_total"
        ["database", "datname"]
        Seconds PgBouncer FedBy::Databases;
        "Time that clients waited for a server connection."
        => "rate(hostprobe_pgbouncer_stats_client_wait_seconds_total[5m]) / rate(hostprobe_pgbouncer_stats_sql_transactions_pooled_total[5m])"

    PGBOUNCER_AVG_QUERY: Gauge<2> = "hostprobe_pgbouncer_stats_avg_query_seconds"
        ["database", "datname"]
        Seconds PgBouncer FedBy::Databases;
        "Mean duration of a statement in the latest period of PgBouncer."

    PGBOUNCER_AVG_WAIT: Gauge<2> = "hostprobe_pgbouncer_stats_avg_wait_seconds"
        ["database", "datname"]
        Seconds PgBouncer FedBy::Databases;
        "Mean wait for a server connection in the latest period of PgBouncer."
}
