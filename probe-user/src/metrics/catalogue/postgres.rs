//! Statements and connections to Postgres, as the wire shows them.

use super::PAYLOAD_PROBE;

catalogue! {
    N_PLUS_ONE: Counter<2> = "hostprobe_n_plus_one_total" ["service", "fingerprint"]
        None Postgres PAYLOAD_PROBE;
        "Times that a query ran again and again with other parameters, one round trip each, within one request or one burst on a connection: a join or one query for all would do. /api/n-plus-one has the text."
        => "sum by (service, fingerprint) (increase(hostprobe_n_plus_one_total[1h])) > 0"

    REPEATED_QUERY: Counter<2> = "hostprobe_repeated_query_total" ["service", "fingerprint"]
        None Postgres PAYLOAD_PROBE;
        "Times that a query ran again and again with the same parameters within one request or one burst on a connection: its answer could have been remembered."
        => "sum by (service, fingerprint) (increase(hostprobe_repeated_query_total[1h])) > 0"

    POSTGRES_STATEMENT_DURATION: LatencyOf<4> = "hostprobe_postgres_statement_duration_seconds"
        ["service", "db_namespace", "db_operation_name", "outcome"]
        Seconds Postgres PAYLOAD_PROBE;
        "Statements that the server executed: from their arrival to their completion. Outcome is ok, error or unknown."
        => "histogram_quantile(0.99, sum by (le, service, db_operation_name) (rate(hostprobe_postgres_statement_duration_seconds_bucket[5m])))"

    POSTGRES_STATEMENT_TTFB: LatencyOf<4> = "hostprobe_postgres_statement_ttfb_seconds"
        ["service", "db_namespace", "db_operation_name", "outcome"]
        Seconds Postgres PAYLOAD_PROBE;
        "Statements that the server executed: from their arrival to the first byte of the answer."

    POSTGRES_STATEMENTS: Counter<4> = "hostprobe_postgres_statements_total"
        ["service", "db_namespace", "db_operation_name", "outcome"]
        None Postgres PAYLOAD_PROBE;
        "Statements that the server executed. Equals the calls of pg_stat_statements, errors apart, which that does not count."
        => "sum by (service, db_operation_name) (rate(hostprobe_postgres_statements_total[5m]))"

    POSTGRES_ERRORS: Counter<4> = "hostprobe_postgres_errors_total"
        ["service", "db_namespace", "sqlstate", "sqlstate_class"]
        None Postgres PAYLOAD_PROBE;
        "Statements that failed, by SQLSTATE and the name of its class in appendix A of PostgreSQL's documentation."
        => "sum by (service, sqlstate) (rate(hostprobe_postgres_errors_total[5m])) > 0"

    POSTGRES_ROWS: Counter<3> = "hostprobe_postgres_rows_total"
        ["service", "db_namespace", "db_operation_name"]
        None Postgres PAYLOAD_PROBE;
        "Rows that statements returned or changed, as their command tags say."

    POSTGRES_TRANSACTIONS: Counter<3> = "hostprobe_postgres_transactions_total"
        ["service", "db_namespace", "outcome"]
        None Postgres PAYLOAD_PROBE;
        "Transactions that ended, committed or rolled_back. Statements outside of a transaction block are one each, as in pg_stat_database."
        => "sum by (service, db_namespace) (rate(hostprobe_postgres_transactions_total{outcome=\"rolled_back\"}[5m]))"

    POSTGRES_STATISTICS_DIFFERENCE: Gauge<3> = "hostprobe_postgres_statistics_difference"
        ["service", "db_operation_name", "of"]
        None Postgres PAYLOAD_PROBE;
        "What pg_stat_statements has more (or less, when negative) than was executed, of calls or rows, for reasons that are known: it counts a cursor's rows of the last fetch only, and a prepared BEGIN once."

    POSTGRES_FINGERPRINT_CALLS: Counter<2> = "hostprobe_postgres_fingerprint_calls_total"
        ["service", "fingerprint"]
        None Postgres PAYLOAD_PROBE;
        "Statements that the server executed, by what they look like without their literals, for those that take most of the time; all others are 'other', those whose text was never seen 'unknown'. The sum is that of hostprobe_postgres_statements_total. A statement that gets a series of its own begins at zero; one that loses it leaves its numbers to 'other'."
        => "topk(10, rate(hostprobe_postgres_fingerprint_calls_total[5m])) * on (fingerprint) group_left (db_query_text) hostprobe_sql_fingerprint_info"

    POSTGRES_FINGERPRINT_ERRORS: Counter<2> = "hostprobe_postgres_fingerprint_errors_total"
        ["service", "fingerprint"]
        None Postgres PAYLOAD_PROBE;
        "Of these, those that failed."

    POSTGRES_FINGERPRINT_ROWS: Counter<2> = "hostprobe_postgres_fingerprint_rows_total"
        ["service", "fingerprint"]
        None Postgres PAYLOAD_PROBE;
        "Rows that they returned or changed."

    POSTGRES_FINGERPRINT_SECONDS: Counter<2> = "hostprobe_postgres_fingerprint_seconds_total"
        ["service", "fingerprint"]
        Seconds Postgres PAYLOAD_PROBE;
        "Time that they took, pauses between fetches left out. Statements that were sent and answered together share their time equally."
        => "topk(10, rate(hostprobe_postgres_fingerprint_seconds_total[5m]))"

    SQL_FINGERPRINT_INFO: Info<3> = "hostprobe_sql_fingerprint_info"
        ["fingerprint", "db_operation_name", "db_query_text"]
        None Postgres PAYLOAD_PROBE;
        "What a fingerprint stands for: the statement without its literals, cut after 500 characters. Always 1."

    DB_CONNECTIONS: Gauge<3> = "hostprobe_db_connections" ["service", "side", "state"]
        None Postgres PAYLOAD_PROBE;
        "Connections to Postgres that were used since the probe watches and are open, by what they are doing as ReadyForQuery tells. Side: whether the service is the client or the server; both ends of one connection may be traced, so never add them up."
        => "sum by (service) (hostprobe_db_connections{side=\"client\", state=~\"idle_in_transaction.*\"})"

    DB_CONNECT_DURATION: LatencyOf<2> = "hostprobe_db_connect_duration_seconds" ["service", "side"]
        Seconds Postgres PAYLOAD_PROBE;
        "From the first packet of a connection to Postgres to the first ReadyForQuery: negotiation, authentication and the start of a backend. What a pool saves."

    DB_CONNECTS: Counter<3> = "hostprobe_db_connects_total" ["service", "side", "encryption"]
        None Postgres PAYLOAD_PROBE;
        "Connections to Postgres that came to ReadyForQuery, by how they are encrypted: tls, gss or none."
        => "sum by (service) (rate(hostprobe_db_connects_total{side=\"client\", encryption=\"none\"}[5m]))"

    DB_CONNECTION_ERRORS: Counter<3> = "hostprobe_db_connection_errors_total" ["service", "side", "reason"]
        None Postgres PAYLOAD_PROBE;
        "Connections that Postgres refused at start-up, by the condition's name in appendix A of its documentation, such as too_many_connections or invalid_password. What a client tries with and without TLS at once, as sslmode=prefer does, is one."
        => "sum by (service, reason) (rate(hostprobe_db_connection_errors_total[5m])) > 0"

    DB_SESSION_ERRORS: Counter<3> = "hostprobe_db_session_errors_total" ["service", "side", "reason"]
        None Postgres PAYLOAD_PROBE;
        "Errors that no statement caused, by the condition's name: a shutdown, a time-out of an idle session, a constraint that was deferred to the end of a pipeline."
        => "increase(hostprobe_db_session_errors_total[1h]) > 0"

    DB_CANCELS: Counter<2> = "hostprobe_db_cancel_requests_total" ["service", "side"]
        None Postgres PAYLOAD_PROBE;
        "Requests to cancel a statement of another connection: time-outs of clients, mostly."
        => "sum by (service) (rate(hostprobe_db_cancel_requests_total[5m])) > 0"

    DB_POOL_SATURATED: Counter<1> = "hostprobe_db_pool_saturated_seconds_total" ["service"]
        Seconds Postgres PAYLOAD_PROBE;
        "Time in which, in at least one process of the service, every connection to a database server was busy (working, or in a transaction) while the process had more requests in flight than connections there: one of them may have waited. Its rate is the part of the time, 0 to 1. A worker with one connection that does one thing at a time is never saturated; a service that answers no requests shows 0."
        => "rate(hostprobe_db_pool_saturated_seconds_total[5m]) > 0.1"

    DB_POOL_BUSY: Counter<1> = "hostprobe_db_pool_busy_connection_seconds_total" ["service"]
        Seconds Postgres PAYLOAD_PROBE;
        "Time for which the service's connections to databases were busy (working, or in a transaction), added up over all of them. Its rate is the number of busy connections on average."
        => "rate(hostprobe_db_pool_busy_connection_seconds_total[5m])"

    DB_POOL_PEAK: Gauge<1> = "hostprobe_db_pool_busy_connections_peak" ["service"]
        None Postgres PAYLOAD_PROBE;
        "Most connections of the service to databases that were busy at once, in the last one to two minutes."
        => "max by (service) (max_over_time(hostprobe_db_pool_busy_connections_peak[1h]))"

    DB_POOL_WAIT: LatencyOf<2> = "hostprobe_db_pool_wait_seconds" ["service", "source"]
        Seconds Postgres PAYLOAD_PROBE;
        "How long work waited for a connection. With source inferred: of requests that did, so much of the time from their begin to their first statement as every connection of their process to that server was busy, and only where their statements belong to them for certain. The wait inside of a program is not on the wire: this leaves out the moments in which a connection was handed on, and holds what the program did before it asked for one."
        => "histogram_quantile(0.95, sum by (le, service) (rate(hostprobe_db_pool_wait_seconds_bucket[5m])))"

    DB_CLIENT_DURATION: LatencyOf<5> = "db_client_operation_duration_seconds"
        ["service", "db_system_name", "db_namespace", "db_operation_name", "error_type"]
        Seconds Postgres PAYLOAD_PROBE;
        "Statements as the client saw them, network included. Not to be added to the server's view of the same statements."
        => "histogram_quantile(0.99, sum by (le, service) (rate(db_client_operation_duration_seconds_bucket[5m])))"

    DB_CLIENT_FIRST_BYTE: LatencyOf<4> = "hostprobe_db_client_ttfb_seconds"
        ["service", "db_namespace", "db_operation_name", "outcome"]
        Seconds Postgres PAYLOAD_PROBE;
        "Statements as the client saw them: from sending them to the first byte of the answer."

    DB_CLIENT_STATEMENTS: Counter<4> = "hostprobe_db_client_statements_total"
        ["service", "db_namespace", "db_operation_name", "outcome"]
        None Postgres PAYLOAD_PROBE;
        "Statements that the service sent, timed or not. Outcome is ok, error or unknown."

    DB_CLIENT_ROWS: Counter<3> = "hostprobe_db_client_rows_total"
        ["service", "db_namespace", "db_operation_name"]
        None Postgres PAYLOAD_PROBE;
        "Rows that the service got or changed, as command tags say."

    DB_CLIENT_TRANSACTIONS: Counter<3> = "hostprobe_db_client_transactions_total"
        ["service", "db_namespace", "outcome"]
        None Postgres PAYLOAD_PROBE;
        "Transactions of the service that ended, committed or rolled_back."

    DB_CLIENT_FINGERPRINT_CALLS: Counter<2> = "hostprobe_db_client_fingerprint_calls_total"
        ["service", "fingerprint"]
        None Postgres PAYLOAD_PROBE;
        "Statements that the service sent, by what they look like, as hostprobe_postgres_fingerprint_calls_total; for those whose Postgres runs elsewhere."

    DB_CLIENT_FINGERPRINT_ERRORS: Counter<2> = "hostprobe_db_client_fingerprint_errors_total"
        ["service", "fingerprint"]
        None Postgres PAYLOAD_PROBE;
        "Of these, those that failed."

    DB_CLIENT_FINGERPRINT_ROWS: Counter<2> = "hostprobe_db_client_fingerprint_rows_total"
        ["service", "fingerprint"]
        None Postgres PAYLOAD_PROBE;
        "Rows that they returned or changed."

    DB_CLIENT_FINGERPRINT_SECONDS: Counter<2> = "hostprobe_db_client_fingerprint_seconds_total"
        ["service", "fingerprint"]
        Seconds Postgres PAYLOAD_PROBE;
        "Time that they took as the service saw it, network included."
        => "topk(10, rate(hostprobe_db_client_fingerprint_seconds_total[5m])) * on (fingerprint) group_left (db_query_text) hostprobe_sql_fingerprint_info"

    SLOW_QUERIES: Counter<3> = "hostprobe_slow_queries_total" ["service", "side", "db_namespace"]
        None Postgres PAYLOAD_PROBE;
        "Statements that took at least as long as their threshold (sql.slow_ms, that of the service or of the database), as the service saw them as their server or client: every one is counted, whatever the log and the store have room for. /api/slow-queries and hostprobe slow have the statements."
        => "sum by (service, side, db_namespace) (increase(hostprobe_slow_queries_total[1h])) > 0"

    SLOW_QUERIES_DROPPED: Counter<0> = "hostprobe_slow_queries_dropped_total" []
        None Postgres PAYLOAD_PROBE;
        "Slow statements that were counted, but neither logged nor stored, because too many came at once. hostprobe_store_dropped_total has those that the store had no room for."
        => "increase(hostprobe_slow_queries_dropped_total[1h]) > 0"
}
