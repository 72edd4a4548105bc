//! The one table of all metrics. The exposition, `docs/METRICS.md` and the tests are made from it.
//!
//! To add a metric, add a row, emit it in [`collect`](super::collect) through the constant that
//! the row defines, and run the tests with `HOSTPROBE_BLESS=1` to write the documentation.

use super::metric::{
    Buckets, Counter, FedBy, Gauge, Group, HistogramOf, Info, Kind, LatencyOf, Metric, Unit,
};

/// Defines one typed constant per row, and [`ALL`].
macro_rules! catalogue {
    ($(
        $constant:ident: $handle:ident<$labels:literal> =
            $name:literal [$($label:literal),*] $unit:ident $group:ident $fed_by:expr;
            $help:literal
            $(=> $promql:literal)?
    )*) => {
        $(
            #[doc = $help]
            pub static $constant: $handle<$labels> = $handle::new(Metric {
                name: $name,
                kind: catalogue!(@kind $handle),
                unit: Unit::$unit,
                labels: &[$($label),*],
                buckets: catalogue!(@buckets $handle),
                group: Group::$group,
                fed_by: $fed_by,
                help: $help,
                promql: concat!($($promql)?),
            });
        )*

        /// Every metric that exists, in the order of the documentation.
        pub static ALL: &[&Metric] = &[$($constant.metric()),*];
    };
    (@kind Counter) => { Kind::Counter };
    (@kind Gauge) => { Kind::Gauge };
    (@kind HistogramOf) => { Kind::Histogram };
    (@kind LatencyOf) => { Kind::Histogram };
    (@kind Info) => { Kind::Info };
    (@buckets HistogramOf) => { Buckets::Kernel };
    (@buckets LatencyOf) => { Buckets::Latency };
    (@buckets $other:ident) => { Buckets::None };
}

const SYSCALL_PROBE: FedBy = FedBy::Probe("syscalls");
const SOCKET_PROBE: FedBy = FedBy::Probe("sockets");
const PAYLOAD_PROBE: FedBy = FedBy::Probe("payload");
const SCHEDULER_PROBE: FedBy = FedBy::Probe("scheduler");
const BLOCK_PROBE: FedBy = FedBy::Probe("block");

catalogue! {
    SERVICE_INFO: Info<3> = "hostprobe_service_info" ["service", "kind", "found_by"]
        None Services FedBy::Targets;
        "A service that is watched, what it is and how it was found. Always 1."
        => "sum by (service) (rate(hostprobe_syscalls_total[5m])) * on (service) group_left (kind) hostprobe_service_info"

    SERVICE_PROCESSES: Gauge<1> = "hostprobe_service_processes" ["service"]
        None Services FedBy::Targets;
        "Processes of the service that are alive. 0 for a service that is known but not running."
        => "hostprobe_service_processes == 0"

    PROCESS_STARTS: Counter<1> = "hostprobe_process_starts_total" ["service"]
        None Services FedBy::Targets;
        "Processes of the service that started while the probe watched, forks included."
        => "rate(hostprobe_process_starts_total[5m])"

    SERVICE_RESTARTS: Counter<1> = "hostprobe_service_restarts_total" ["service"]
        None Services FedBy::Targets;
        "Times that the service came back after its last process had ended."
        => "increase(hostprobe_service_restarts_total[15m]) > 3"

    PROCESS_EXITS: Counter<3> = "hostprobe_process_exits_total" ["service", "code", "signal"]
        None Services FedBy::Targets;
        "Processes of the service that ended, by exit code or by the signal that killed them; the other label is empty."
        => "increase(hostprobe_process_exits_total{signal=~\"SIGKILL|SIGSEGV|SIGABRT\"}[1h]) > 0"

    HTTP_SERVER_DURATION: LatencyOf<4> = "http_server_request_duration_seconds"
        ["service", "http_request_method", "http_route", "http_response_status_code"]
        Seconds Http PAYLOAD_PROBE;
        "Requests that the service answered: from the request's first byte to the response's last. Status 0: the connection ended first, or the answer was not seen."
        => "histogram_quantile(0.95, sum by (le, service, http_route) (rate(http_server_request_duration_seconds_bucket[5m])))"

    HTTP_SERVER_FIRST_BYTE: LatencyOf<3> = "hostprobe_http_server_first_byte_seconds"
        ["service", "http_request_method", "http_route"]
        Seconds Http PAYLOAD_PROBE;
        "From the request's first byte to the response's first: what a user waits before anything happens."

    HTTP_SERVER_ACTIVE: Gauge<1> = "http_server_active_requests" ["service"]
        None Http PAYLOAD_PROBE;
        "Requests that the service is answering now."

    HTTP_SERVER_REQUEST_BYTES: Counter<2> = "hostprobe_http_server_request_body_bytes_total"
        ["service", "http_route"]
        Bytes Http PAYLOAD_PROBE;
        "Content of requests, where its length is certain."

    HTTP_SERVER_RESPONSE_BYTES: Counter<2> = "hostprobe_http_server_response_body_bytes_total"
        ["service", "http_route"]
        Bytes Http PAYLOAD_PROBE;
        "Content of responses, where its length is certain."

    HTTP_SERVER_ABORTED: Counter<2> = "hostprobe_http_server_aborted_total" ["service", "http_route"]
        None Http PAYLOAD_PROBE;
        "Requests whose connection ended before the response was complete."
        => "sum by (service, http_route) (rate(hostprobe_http_server_aborted_total[5m])) > 0"

    HTTP_CLIENT_DURATION: LatencyOf<4> = "http_client_request_duration_seconds"
        ["service", "http_request_method", "server_address", "http_response_status_code"]
        Seconds Http PAYLOAD_PROBE;
        "Requests that the service made: from the request's first byte to the response's last."
        => "histogram_quantile(0.95, sum by (le, service, server_address) (rate(http_client_request_duration_seconds_bucket[5m])))"

    HTTP_CLIENT_FIRST_BYTE: LatencyOf<3> = "hostprobe_http_client_first_byte_seconds"
        ["service", "http_request_method", "server_address"]
        Seconds Http PAYLOAD_PROBE;
        "Requests that the service made: from the request's first byte to the response's first."

    HTTP_CLIENT_REQUEST_BYTES: Counter<2> = "hostprobe_http_client_request_body_bytes_total"
        ["service", "server_address"]
        Bytes Http PAYLOAD_PROBE;
        "Content of requests that the service made, where its length is certain."

    HTTP_CLIENT_RESPONSE_BYTES: Counter<2> = "hostprobe_http_client_response_body_bytes_total"
        ["service", "server_address"]
        Bytes Http PAYLOAD_PROBE;
        "Content of responses that the service got, where its length is certain."

    HTTP_CLIENT_ABORTED: Counter<2> = "hostprobe_http_client_aborted_total" ["service", "server_address"]
        None Http PAYLOAD_PROBE;
        "Requests that the service made whose connection ended before the response was complete: it gave up, or the server did."
        => "sum by (service, server_address) (rate(hostprobe_http_client_aborted_total[5m])) > 0"

    ACTIVE_USERS: Gauge<1> = "hostprobe_active_users" ["service"]
        None Http PAYLOAD_PROBE;
        "Different clients whose requests the service answered in the last five minutes, by the address that a proxy forwards, else by the peer's. Exact up to 3072, else an estimate with a standard error of about 2 %. Addresses are hashed with a key of this run and not kept."

    HTTP_DB_STATEMENTS: Counter<2> = "hostprobe_http_db_statements_total" ["service", "http_route"]
        None Http PAYLOAD_PROBE;
        "Statements that the service sent while it answered requests of the route, where that is certain. Counted at the request's end."
        => "sum by (service, http_route) (rate(hostprobe_http_db_statements_total[5m])) / sum by (service, http_route) (rate(http_server_request_duration_seconds_count[5m]))"

    HTTP_DB_SECONDS: Counter<2> = "hostprobe_http_db_seconds_total" ["service", "http_route"]
        Seconds Http PAYLOAD_PROBE;
        "Time for which requests of the route waited for statements, as the service saw it, network included. What one connection answers together counts once."
        => "sum by (service, http_route) (rate(hostprobe_http_db_seconds_total[5m])) / sum by (service, http_route) (rate(http_server_request_duration_seconds_sum[5m]))"

    HTTP_DB_UNATTRIBUTED_STATEMENTS: Counter<2> = "hostprobe_http_db_unattributed_statements_total"
        ["service", "reason"]
        None Http PAYLOAD_PROBE;
        "Statements that the service sent and that belong to no request for certain. With the attributed ones these are all, but for those of requests in flight. Reasons: no_request (none in flight in the process), other_thread, several_requests (of the thread or the trace), thread_changed (the process hands work from thread to thread), request_over, request_unknown, records_lost, overflow."
        => "sum by (service) (rate(hostprobe_http_db_unattributed_statements_total[5m])) / (sum by (service) (rate(hostprobe_http_db_unattributed_statements_total[5m])) + sum by (service) (rate(hostprobe_http_db_statements_total[5m])))"

    HTTP_DB_UNATTRIBUTED_SECONDS: Counter<2> = "hostprobe_http_db_unattributed_seconds_total"
        ["service", "reason"]
        Seconds Http PAYLOAD_PROBE;
        "Time of the statements that belong to no request for certain."

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

    TLS_CONNECTIONS: Counter<1> = "hostprobe_tls_connections_total" ["service"]
        None Tls PAYLOAD_PROBE;
        "Connections of the service that carry TLS, whoever encrypts."
        => "rate(hostprobe_tls_connections_total[5m])"

    TLS_DECODED: Counter<1> = "hostprobe_tls_decoded_connections_total" ["service"]
        None Tls FedBy::Probe("tls");
        "Connections of a TLS library whose requests or statements are decoded. Far fewer than hostprobe_tls_connections_total: the service encrypts with something that can't be seen, such as Go's own TLS, or speaks neither HTTP/1 nor Postgres."
        => "rate(hostprobe_tls_decoded_connections_total[5m]) / rate(hostprobe_tls_connections_total[5m])"

    TLS_LIBRARIES: Gauge<1> = "hostprobe_tls_libraries" ["state"]
        None Tls FedBy::Probe("tls");
        "Files with a TLS library that traced processes use: followed, or failed to be."
        => "hostprobe_tls_libraries{state=\"failed\"} > 0"

    RUN_QUEUE_LATENCY: HistogramOf<1> = "hostprobe_runqueue_latency_seconds" ["service"]
        Seconds Scheduler SCHEDULER_PROBE;
        "How long the service's threads waited for a processor: from being woken, or from losing it to another thread or to a limit of the control group, to running. The sum is what /proc/PID/schedstat calls run delay."
        => "histogram_quantile(0.99, sum by (le, service) (rate(hostprobe_runqueue_latency_seconds_bucket[5m])))"

    CPU_SLICE: HistogramOf<1> = "hostprobe_cpu_slice_seconds" ["service"]
        Seconds Scheduler SCHEDULER_PROBE;
        "How long the service's threads ran at a stretch, kernel included. Counted when the stretch ends; the sum is CPU time."
        => "sum by (service) (rate(hostprobe_cpu_slice_seconds_sum[5m]))"

    OFF_CPU_SECONDS: Counter<2> = "hostprobe_off_cpu_seconds_total" ["service", "reason"]
        Seconds Scheduler SCHEDULER_PROBE;
        "How long the service's threads were away from a processor, by what they waited for when that is certain. `preempted`: they wanted to run; this time is also in hostprobe_runqueue_latency_seconds. `request`: a connection, or the next request on one that the service accepted; `database`: a connection that it made to Postgres; `network`: another socket; `lock`: futexes, semaphores, file locks; `disk`; `sleep`; `poll`: one of several descriptors, which in most servers is being idle; `other`. Until they are woken, and counted then."
        => "topk by (service) (3, sum by (service, reason) (rate(hostprobe_off_cpu_seconds_total[5m])))"

    OFF_CPU_SWITCHES: Counter<2> = "hostprobe_off_cpu_switches_total" ["service", "reason"]
        None Scheduler SCHEDULER_PROBE;
        "How often the service's threads left a processor. `preempted` are the involuntary context switches, all others the voluntary ones."
        => "sum by (service) (rate(hostprobe_off_cpu_switches_total{reason!=\"preempted\"}[5m]))"

    SCHEDULER_THREADS: Gauge<2> = "hostprobe_scheduler_threads" ["service", "state"]
        None Scheduler SCHEDULER_PROBE;
        "Threads by what they do now: `running`, `runnable`, or what they wait for, as in hostprobe_off_cpu_seconds_total. Threads that have not moved since they are traced are missing."
        => "hostprobe_scheduler_threads{state=\"lock\"} > 0"

    PAGE_FAULTS: Counter<2> = "hostprobe_page_faults_total" ["service", "kind"]
        None Scheduler SCHEDULER_PROBE;
        "Page faults of the service's threads: `minor` when the page was in memory, `major` when it had to be read. Counted when a thread leaves its processor."
        => "sum by (service) (rate(hostprobe_page_faults_total{kind=\"major\"}[5m])) > 0"

    OOM_KILLS: Counter<1> = "hostprobe_oom_kills_total" ["service"]
        None Scheduler FedBy::Probe("process");
        "Processes of the service that the kernel killed because memory ran out, on the host or in a control group. Counted by kernels since 6.8, and by Debian's 6.1."
        => "increase(hostprobe_oom_kills_total[1h]) > 0"

    BLOCK_IO_DURATION: HistogramOf<3> = "hostprobe_block_io_duration_seconds"
        ["service", "device", "operation"]
        Seconds Block BLOCK_PROBE;
        "Requests to block devices, from their way to the device to their end. `[kernel]` as service: what the kernel writes back or flushes for programs, whoever they are. `flush` of a service: its `fsync`, as the device sees it (since Linux 6.5; before, all flushes are the kernel's)."
        => "histogram_quantile(0.99, sum by (le, service, device) (rate(hostprobe_block_io_duration_seconds_bucket[5m])))"

    BLOCK_IO_QUEUE_SECONDS: Counter<3> = "hostprobe_block_io_queue_seconds_total"
        ["service", "device", "operation"]
        Seconds Block BLOCK_PROBE;
        "How long requests waited for their way to the device."
        => "sum by (service, device) (rate(hostprobe_block_io_queue_seconds_total[5m])) / sum by (service, device) (rate(hostprobe_block_io_duration_seconds_count[5m]))"

    BLOCK_IO_BYTES: Counter<3> = "hostprobe_block_io_bytes_total" ["service", "device", "operation"]
        Bytes Block BLOCK_PROBE;
        "Bytes that requests read, wrote or discarded."
        => "sum by (service, device, operation) (rate(hostprobe_block_io_bytes_total[5m]))"

    BLOCK_IO_ERRORS: Counter<3> = "hostprobe_block_io_errors_total" ["service", "device", "operation"]
        None Block BLOCK_PROBE;
        "Requests that failed."
        => "increase(hostprobe_block_io_errors_total[1h]) > 0"

    STREAMS: Gauge<0> = "hostprobe_streams" []
        None Probe PAYLOAD_PROBE;
        "Connections that are decoded now."

    STREAM_RECORDS: Counter<0> = "hostprobe_stream_records_total" []
        None Probe PAYLOAD_PROBE;
        "Reads and writes that were decoded."

    STREAM_PROBLEMS: Counter<1> = "hostprobe_stream_problems_total" ["problem"]
        None Probe PAYLOAD_PROBE;
        "What decoding could not be sure of: lost records, connections that made room, were something else or lost their place, requests or statements whose text or answer was not seen, and statements that were not compared with others for lack of room."
        => "sum by (problem) (rate(hostprobe_stream_problems_total[5m])) > 0"

    SYSCALLS: Counter<2> = "hostprobe_syscalls_total" ["service", "syscall"]
        None Syscalls SYSCALL_PROBE;
        "Syscalls that returned, successful or not. Counted in the kernel, not sampled."
        => "topk(10, sum by (service, syscall) (rate(hostprobe_syscalls_total[5m])))"

    SYSCALL_ERRORS: Counter<3> = "hostprobe_syscall_errors_total" ["service", "syscall", "errno"]
        None Syscalls SYSCALL_PROBE;
        "Syscalls that returned an error, by the error's name. EAGAIN is normal on non-blocking sockets; ERESTART names are calls that a signal interrupted."
        => "sum by (service, syscall, errno) (rate(hostprobe_syscall_errors_total{errno!~\"EAGAIN|EINPROGRESS|ERESTART.*\"}[5m])) > 0"

    SYSCALL_DURATION: HistogramOf<2> = "hostprobe_syscall_duration_seconds" ["service", "syscall"]
        Seconds Syscalls SYSCALL_PROBE;
        "Time from entering a syscall to returning from it, waiting included: a long poll or read may just mean that there was nothing to do."
        => "histogram_quantile(0.99, sum by (le, service) (rate(hostprobe_syscall_duration_seconds_bucket{syscall=~\"fsync|fdatasync\"}[5m])))"

    TCP_CONNECT_DURATION: HistogramOf<1> = "hostprobe_tcp_connect_duration_seconds" ["service"]
        Seconds Tcp SOCKET_PROBE;
        "Time from the SYN to an established connection, for outgoing connections that succeeded, blocking or not."
        => "histogram_quantile(0.99, sum by (le, service) (rate(hostprobe_tcp_connect_duration_seconds_bucket[5m])))"

    TCP_CONNECT_ERRORS: Counter<2> = "hostprobe_tcp_connect_errors_total" ["service", "errno"]
        None Tcp SOCKET_PROBE;
        "Outgoing connections that failed, by the error's name; 'abandoned' when the program closed the socket before there was an answer, as clients do at their own time-out."
        => "sum by (service, errno) (rate(hostprobe_tcp_connect_errors_total[5m])) > 0"

    TCP_ACCEPTS: Counter<1> = "hostprobe_tcp_accepts_total" ["service"]
        None Tcp SOCKET_PROBE;
        "Incoming connections that the service accepted."
        => "rate(hostprobe_tcp_accepts_total[5m])"

    TCP_CONNECTIONS_OPEN: Gauge<1> = "hostprobe_tcp_connections_open" ["service"]
        None Tcp SOCKET_PROBE;
        "Connections that are open now, of those that the probe knows."
        => "hostprobe_tcp_connections_open"

    TCP_CONNECTIONS_OPENED: Counter<1> = "hostprobe_tcp_connections_opened_total" ["service"]
        None Tcp SOCKET_PROBE;
        "Connections that became known: connected, accepted, or found open."

    TCP_CONNECTIONS_CLOSED: Counter<1> = "hostprobe_tcp_connections_closed_total" ["service"]
        None Tcp SOCKET_PROBE;
        "Known connections that ended."

    TCP_CONNECTIONS_ADOPTED: Counter<1> = "hostprobe_tcp_connections_adopted_total" ["service"]
        None Tcp SOCKET_PROBE;
        "Of the opened connections: those that were open before the probe saw them, so that their beginning is not known."

    TCP_CONNECTION_DURATION: HistogramOf<1> = "hostprobe_tcp_connection_duration_seconds" ["service"]
        Seconds Tcp SOCKET_PROBE;
        "Life of a connection from established or accepted to closed, for connections that began while the probe watched. Short lives say that a pool or keep-alive does not work."
        => "histogram_quantile(0.5, sum by (le, service) (rate(hostprobe_tcp_connection_duration_seconds_bucket[5m]))) < 1"

    TCP_RTT: HistogramOf<1> = "hostprobe_tcp_rtt_seconds" ["service"]
        Seconds Tcp SOCKET_PROBE;
        "The kernel's smoothed round-trip time, sampled at most once a second and connection while it moves data."
        => "histogram_quantile(0.5, sum by (le, service) (rate(hostprobe_tcp_rtt_seconds_bucket[5m])))"

    TCP_RETRANSMITS: Counter<1> = "hostprobe_tcp_retransmits_total" ["service"]
        None Tcp SOCKET_PROBE;
        "Times that TCP sent something again. Segments that the kernel sends again as one packet count once."
        => "rate(hostprobe_tcp_retransmits_total[5m]) > 0"

    TCP_RESETS: Counter<2> = "hostprobe_tcp_resets_total" ["service", "direction"]
        None Tcp SOCKET_PROBE;
        "Resets on established connections: direction is received (the peer hung up hard) or sent (the service did)."
        => "sum by (service, direction) (rate(hostprobe_tcp_resets_total[5m]))"

    UNIX_CONNECT_DURATION: HistogramOf<1> = "hostprobe_unix_connect_duration_seconds" ["service"]
        Seconds Unix SOCKET_PROBE;
        "Duration of successful connects to unix sockets. It grows when the listener's backlog is full."
        => "histogram_quantile(0.99, sum by (le, service) (rate(hostprobe_unix_connect_duration_seconds_bucket[5m])))"

    UNIX_CONNECT_ERRORS: Counter<2> = "hostprobe_unix_connect_errors_total" ["service", "errno"]
        None Unix SOCKET_PROBE;
        "Connects to unix sockets that failed, by the error's name."

    UNIX_ACCEPTS: Counter<1> = "hostprobe_unix_accepts_total" ["service"]
        None Unix SOCKET_PROBE;
        "Incoming unix connections that the service accepted."

    SOCKET_IO: Counter<3> = "hostprobe_socket_io_bytes_total"
        ["service", "network_transport", "network_io_direction"]
        Bytes Traffic SOCKET_PROBE;
        "Bytes that the service's calls sent (transmit) or received (receive), by transport (tcp or unix). Payload as the program sees it: no headers, no retransmits, peeked bytes not counted."
        => "sum by (service, network_io_direction) (rate(hostprobe_socket_io_bytes_total[5m]))"

    IO_URING_REQUESTS: Counter<1> = "hostprobe_io_uring_requests_total" ["service"]
        None Traffic SOCKET_PROBE;
        "Requests of any kind that the service handed to an io_uring. What they move is in no other metric: where this grows, bytes, requests and statements may be missing."
        => "rate(hostprobe_io_uring_requests_total[5m]) > 0"

    PROCESS_CPU: Counter<1> = "hostprobe_process_cpu_seconds_total" ["service"]
        Seconds ProcessResources FedBy::Host;
        "CPU time of the service's processes, user and system, since it is watched. Goes on growing when processes end; children that lived between two scrapes are in it once their parent has waited for them."
        => "rate(hostprobe_process_cpu_seconds_total[5m]) / hostprobe_cgroup_cpu_limit"

    PROCESS_CPU_SYSTEM: Counter<1> = "hostprobe_process_cpu_system_seconds_total" ["service"]
        Seconds ProcessResources FedBy::Host;
        "Of this: in the kernel."
        => "rate(hostprobe_process_cpu_system_seconds_total[5m]) / rate(hostprobe_process_cpu_seconds_total[5m])"

    PROCESS_RESIDENT: Gauge<1> = "hostprobe_process_resident_memory_bytes" ["service"]
        Bytes ProcessResources FedBy::Host;
        "Resident memory, added up over the processes: what they share, such as Postgres' shared buffers, counts for each."
        => "hostprobe_process_resident_memory_bytes"

    PROCESS_PROPORTIONAL: Gauge<1> = "hostprobe_process_proportional_memory_bytes" ["service"]
        Bytes ProcessResources FedBy::Host;
        "Resident memory of which what is shared counts once (PSS). Read less often (host.pss_interval_s); absent until all processes were read."
        => "hostprobe_process_proportional_memory_bytes / hostprobe_cgroup_memory_limit_bytes"

    PROCESS_VIRTUAL: Gauge<1> = "hostprobe_process_virtual_memory_bytes" ["service"]
        Bytes ProcessResources FedBy::Host;
        "Address space."

    PROCESS_SWAPPED: Gauge<1> = "hostprobe_process_swapped_memory_bytes" ["service"]
        Bytes ProcessResources FedBy::Host;
        "Memory in swap."
        => "hostprobe_process_swapped_memory_bytes > 0"

    PROCESS_THREADS: Gauge<1> = "hostprobe_process_threads" ["service"]
        None ProcessResources FedBy::Host;
        "Threads."
        => "deriv(hostprobe_process_threads[1h]) > 0"

    PROCESS_OPEN_FDS: Gauge<1> = "hostprobe_process_open_fds" ["service"]
        None ProcessResources FedBy::Host;
        "Open file descriptors, added up over the processes."

    PROCESS_MAX_FDS: Gauge<1> = "hostprobe_process_max_fds" ["service"]
        None ProcessResources FedBy::Host;
        "Most file descriptors that the process which is nearest to its limit may open."

    PROCESS_FDS_RATIO: Gauge<1> = "hostprobe_process_worst_fd_ratio" ["service"]
        None ProcessResources FedBy::Host;
        "How full that process is, from 0 to 1; at 1 it can't accept a connection or open a file."
        => "hostprobe_process_worst_fd_ratio > 0.8"

    PROCESS_DISK_IO: Counter<2> = "hostprobe_process_disk_io_bytes_total" ["service", "disk_io_direction"]
        Bytes ProcessResources FedBy::Host;
        "Bytes that the processes caused to be read from disks or written to them; what the page cache answers is not in it."
        => "sum by (service, disk_io_direction) (rate(hostprobe_process_disk_io_bytes_total[5m]))"

    PROCESS_SWITCHES: Counter<2> = "hostprobe_process_context_switches_total" ["service", "process_context_switch_type"]
        None ProcessResources FedBy::Host;
        "Times that a thread gave up the CPU (voluntary, to wait for something) or lost it to another (involuntary)."
        => "rate(hostprobe_process_context_switches_total{process_context_switch_type=\"involuntary\"}[5m])"

    PROCESS_FAULTS: Counter<2> = "hostprobe_process_page_faults_total" ["service", "process_paging_fault_type"]
        None ProcessResources FedBy::Host;
        "Page faults: minor ones need no disk, major ones wait for it."
        => "rate(hostprobe_process_page_faults_total{process_paging_fault_type=\"major\"}[5m]) > 0"

    PROCESS_OLDEST: Gauge<1> = "hostprobe_process_oldest_start_time_seconds" ["service"]
        Seconds ProcessResources FedBy::Host;
        "When the oldest process of the service started, in seconds since the epoch."
        => "time() - hostprobe_process_oldest_start_time_seconds < 300"

    PROCESS_SOCKETS: Gauge<2> = "hostprobe_process_tcp_sockets" ["service", "state"]
        None ProcessResources FedBy::Host;
        "TCP sockets that the processes hold, by state; a socket that processes share counts for each. Looked at less often (host.sockets_interval_s). Many in close_wait: the program does not close what its peers have left."
        => "hostprobe_process_tcp_sockets{state=\"close_wait\"} > 100"

    CGROUP_CPU_LIMIT: Gauge<1> = "hostprobe_cgroup_cpu_limit" ["service"]
        None ProcessResources FedBy::Host;
        "CPUs' worth of time that the service may use: the lowest quota of its control groups and those above them, else the host's CPUs."
        => "rate(hostprobe_process_cpu_seconds_total[5m]) / hostprobe_cgroup_cpu_limit > 0.9"

    CGROUP_PERIODS: Counter<1> = "hostprobe_cgroup_cpu_periods_total" ["service"]
        None ProcessResources FedBy::Host;
        "Periods of CPU quotas in which something ran."

    CGROUP_THROTTLED_PERIODS: Counter<1> = "hostprobe_cgroup_cpu_throttled_periods_total" ["service"]
        None ProcessResources FedBy::Host;
        "Of these: those in which the quota was used up, so that threads had to wait for the next."
        => "rate(hostprobe_cgroup_cpu_throttled_periods_total[5m]) / rate(hostprobe_cgroup_cpu_periods_total[5m]) > 0.1"

    CGROUP_THROTTLED_SECONDS: Counter<1> = "hostprobe_cgroup_cpu_throttled_seconds_total" ["service"]
        Seconds ProcessResources FedBy::Host;
        "Time for which they had to wait, added up over CPUs."
        => "rate(hostprobe_cgroup_cpu_throttled_seconds_total[5m]) > 0"

    CGROUP_MEMORY_LIMIT: Gauge<1> = "hostprobe_cgroup_memory_limit_bytes" ["service"]
        Bytes ProcessResources FedBy::Host;
        "Memory that the service may use: the lowest limit of its control groups and those above them, else the host's memory."
        => "hostprobe_cgroup_memory_used_bytes / hostprobe_cgroup_memory_limit_bytes > 0.9"

    CGROUP_MEMORY_USED: Gauge<1> = "hostprobe_cgroup_memory_used_bytes" ["service"]
        Bytes ProcessResources FedBy::Host;
        "Memory that the control groups with the limit use, the page cache included; without a limit, the service's own groups. Absent when these are the root."

    CGROUP_MEMORY_EVENTS: Counter<2> = "hostprobe_cgroup_memory_events_total" ["service", "event"]
        None ProcessResources FedBy::Host;
        "What happened at limits of memory: low, high, max (the limit was hit; v1: failcnt), oom, oom_kill (a process was killed)."
        => "increase(hostprobe_cgroup_memory_events_total{event=\"oom_kill\"}[1h]) > 0"

    HOST_INFO: Info<3> = "hostprobe_host_info" ["kernel", "machine", "distribution"]
        None Host FedBy::Host;
        "The host: release of its kernel, architecture and distribution. Always 1."

    HOST_BOOT_TIME: Gauge<0> = "hostprobe_host_boot_time_seconds" []
        Seconds Host FedBy::Host;
        "When the host was booted, in seconds since the epoch."
        => "time() - hostprobe_host_boot_time_seconds"

    HOST_UPTIME: Gauge<0> = "hostprobe_host_uptime_seconds" []
        Seconds Host FedBy::Host;
        "Time since boot."

    HOST_CPUS: Gauge<0> = "hostprobe_host_cpus" []
        None Host FedBy::Host;
        "CPUs that are online."

    HOST_CPU: Counter<1> = "hostprobe_host_cpu_seconds_total" ["cpu_mode"]
        Seconds Host FedBy::Host;
        "CPU time of all CPUs by mode: user, nice, system, idle, iowait, irq, softirq, steal (the hypervisor gave it to others)."
        => "1 - sum(rate(hostprobe_host_cpu_seconds_total{cpu_mode=~\"idle|iowait\"}[5m])) / sum(rate(hostprobe_host_cpu_seconds_total[5m]))"

    HOST_LOGICAL_CPU: Counter<2> = "hostprobe_host_logical_cpu_seconds_total" ["cpu", "cpu_mode"]
        Seconds Host FedBy::Host;
        "The same for each CPU, when host.per_cpu is set."

    HOST_LOAD1: Gauge<0> = "hostprobe_host_load1" []
        None Host FedBy::Host;
        "Threads that ran, could run or waited for a disk, averaged over one minute."
        => "hostprobe_host_load1 / hostprobe_host_cpus > 2"

    HOST_LOAD5: Gauge<0> = "hostprobe_host_load5" []
        None Host FedBy::Host;
        "Threads that ran, could run or waited for a disk, averaged over five minutes."

    HOST_LOAD15: Gauge<0> = "hostprobe_host_load15" []
        None Host FedBy::Host;
        "Threads that ran, could run or waited for a disk, averaged over fifteen minutes."

    HOST_RUNNING: Gauge<0> = "hostprobe_host_threads_running" []
        None Host FedBy::Host;
        "Threads that run or could run now."

    HOST_BLOCKED: Gauge<0> = "hostprobe_host_threads_blocked" []
        None Host FedBy::Host;
        "Threads that wait for a disk now."

    HOST_FORKS: Counter<0> = "hostprobe_host_forks_total" []
        None Host FedBy::Host;
        "Processes and threads that were made."

    HOST_SWITCHES: Counter<0> = "hostprobe_host_context_switches_total" []
        None Host FedBy::Host;
        "Context switches."

    HOST_INTERRUPTS: Counter<0> = "hostprobe_host_interrupts_total" []
        None Host FedBy::Host;
        "Interrupts."

    HOST_PRESSURE_WAITING: Counter<1> = "hostprobe_host_pressure_waiting_seconds_total" ["resource"]
        Seconds Host FedBy::Host;
        "Time for which some thread waited for the resource: cpu, memory or io (PSI, 'some')."
        => "rate(hostprobe_host_pressure_waiting_seconds_total[5m]) > 0.2"

    HOST_PRESSURE_STALLED: Counter<1> = "hostprobe_host_pressure_stalled_seconds_total" ["resource"]
        Seconds Host FedBy::Host;
        "Time for which threads waited for the resource and nothing else could run (PSI, 'full')."
        => "rate(hostprobe_host_pressure_stalled_seconds_total[5m]) > 0.05"

    HOST_PRESSURE: Gauge<3> = "hostprobe_host_pressure_ratio" ["resource", "kind", "window"]
        None Host FedBy::Host;
        "The kernel's own averages of both, from 0 to 1: kind is some or full, window 10s, 60s or 300s."

    HOST_MEMORY_TOTAL: Gauge<0> = "hostprobe_host_memory_total_bytes" []
        Bytes Host FedBy::Host;
        "Memory of the host."

    HOST_MEMORY_AVAILABLE: Gauge<0> = "hostprobe_host_memory_available_bytes" []
        Bytes Host FedBy::Host;
        "What new programs could have without swapping."
        => "hostprobe_host_memory_available_bytes / hostprobe_host_memory_total_bytes < 0.1"

    HOST_MEMORY: Gauge<1> = "hostprobe_host_memory_usage_bytes" ["system_memory_state"]
        Bytes Host FedBy::Host;
        "Memory by state: used, free, buffers, cached (files, and kernel objects that can be given back). Their sum is all."

    HOST_MEMORY_SHARED: Gauge<0> = "hostprobe_host_memory_shared_bytes" []
        Bytes Host FedBy::Host;
        "Of the cached: shared memory and tmpfs, which can't be given back."

    HOST_MEMORY_DIRTY: Gauge<0> = "hostprobe_host_memory_dirty_bytes" []
        Bytes Host FedBy::Host;
        "Changed and not on disk yet."

    HOST_SWAP_TOTAL: Gauge<0> = "hostprobe_host_swap_total_bytes" []
        Bytes Host FedBy::Host;
        "Swap space."

    HOST_SWAP_FREE: Gauge<0> = "hostprobe_host_swap_free_bytes" []
        Bytes Host FedBy::Host;
        "Unused swap space."

    HOST_SWAPPING: Counter<1> = "hostprobe_host_swap_pages_total" ["system_paging_direction"]
        None Host FedBy::Host;
        "Pages that went to swap (out) or came back (in)."
        => "rate(hostprobe_host_swap_pages_total{system_paging_direction=\"in\"}[5m]) > 0"

    HOST_FAULTS: Counter<1> = "hostprobe_host_page_faults_total" ["system_paging_type"]
        None Host FedBy::Host;
        "Page faults of the whole host, minor or major."

    HOST_OOM_KILLS: Counter<0> = "hostprobe_host_oom_kills_total" []
        None Host FedBy::Host;
        "Processes that the kernel killed because memory ran out, on the host or in a control group."
        => "increase(hostprobe_host_oom_kills_total[1h]) > 0"

    DISK_IO: Counter<2> = "hostprobe_host_disk_io_bytes_total" ["device", "disk_io_direction"]
        Bytes Host FedBy::Host;
        "Bytes that the device read or wrote."

    DISK_OPERATIONS: Counter<2> = "hostprobe_host_disk_operations_total" ["device", "disk_io_direction"]
        None Host FedBy::Host;
        "Reads and writes that it completed."

    DISK_MERGED: Counter<2> = "hostprobe_host_disk_merged_total" ["device", "disk_io_direction"]
        None Host FedBy::Host;
        "Reads and writes that were joined with a neighbour before they got to it."

    DISK_OPERATION_SECONDS: Counter<2> = "hostprobe_host_disk_operation_seconds_total" ["device", "disk_io_direction"]
        Seconds Host FedBy::Host;
        "Time that they took, waiting in its queue included."
        => "rate(hostprobe_host_disk_operation_seconds_total[5m]) / rate(hostprobe_host_disk_operations_total[5m])"

    DISK_BUSY: Counter<1> = "hostprobe_host_disk_io_seconds_total" ["device"]
        Seconds Host FedBy::Host;
        "Time for which it had something to do. A device that works in parallel can do more although it is busy all the time."
        => "rate(hostprobe_host_disk_io_seconds_total[5m]) > 0.9"

    DISK_WEIGHTED: Counter<1> = "hostprobe_host_disk_weighted_io_seconds_total" ["device"]
        Seconds Host FedBy::Host;
        "The same times the operations that were under way; its rate is the queue's average length."
        => "rate(hostprobe_host_disk_weighted_io_seconds_total[5m])"

    DISK_IN_FLIGHT: Gauge<1> = "hostprobe_host_disk_operations_in_flight" ["device"]
        None Host FedBy::Host;
        "Operations that are under way now."

    FS_SIZE: Gauge<3> = "hostprobe_host_filesystem_size_bytes" ["device", "mountpoint", "fstype"]
        Bytes Host FedBy::Host;
        "Size of a file system. Those that only show something of the kernel are left out, and a device is there once."

    FS_FREE: Gauge<3> = "hostprobe_host_filesystem_free_bytes" ["device", "mountpoint", "fstype"]
        Bytes Host FedBy::Host;
        "What is not used."

    FS_AVAILABLE: Gauge<3> = "hostprobe_host_filesystem_avail_bytes" ["device", "mountpoint", "fstype"]
        Bytes Host FedBy::Host;
        "What users without special rights may still use."
        => "hostprobe_host_filesystem_avail_bytes / hostprobe_host_filesystem_size_bytes < 0.1"

    FS_FILES: Gauge<3> = "hostprobe_host_filesystem_files" ["device", "mountpoint", "fstype"]
        None Host FedBy::Host;
        "Files that it has room for; 0 when it has no limit."

    FS_FILES_FREE: Gauge<3> = "hostprobe_host_filesystem_files_free" ["device", "mountpoint", "fstype"]
        None Host FedBy::Host;
        "Files that can still be made."
        => "hostprobe_host_filesystem_files_free / hostprobe_host_filesystem_files < 0.05"

    FS_READONLY: Gauge<3> = "hostprobe_host_filesystem_readonly" ["device", "mountpoint", "fstype"]
        None Host FedBy::Host;
        "1 when nothing can be written, as after an error of its disk."

    FS_HANGS: Gauge<3> = "hostprobe_host_filesystem_unresponsive" ["device", "mountpoint", "fstype"]
        None Host FedBy::Host;
        "1 when it does not answer for five seconds, as a file system over the network whose server is gone."
        => "hostprobe_host_filesystem_unresponsive == 1"

    NETWORK_IO: Counter<2> = "hostprobe_host_network_io_bytes_total" ["device", "network_io_direction"]
        Bytes Host FedBy::Host;
        "Bytes that an interface received or sent (transmit), in the network namespace of the daemon."
        => "rate(hostprobe_host_network_io_bytes_total{device!=\"lo\"}[5m])"

    NETWORK_PACKETS: Counter<2> = "hostprobe_host_network_packets_total" ["device", "network_io_direction"]
        None Host FedBy::Host;
        "Packets."

    NETWORK_ERRORS: Counter<2> = "hostprobe_host_network_errors_total" ["device", "network_io_direction"]
        None Host FedBy::Host;
        "Packets that were damaged or could not be sent."
        => "rate(hostprobe_host_network_errors_total[5m]) > 0"

    NETWORK_DROPPED: Counter<2> = "hostprobe_host_network_dropped_total" ["device", "network_io_direction"]
        None Host FedBy::Host;
        "Packets that were thrown away for lack of room."
        => "rate(hostprobe_host_network_dropped_total[5m]) > 0"

    HOST_TCP_SEGMENTS: Counter<0> = "hostprobe_host_tcp_segments_sent_total" []
        None Host FedBy::Host;
        "TCP segments that were sent for the first time."

    HOST_TCP_RETRANSMITS: Counter<0> = "hostprobe_host_tcp_retransmits_total" []
        None Host FedBy::Host;
        "TCP segments that were sent again."
        => "rate(hostprobe_host_tcp_retransmits_total[5m]) / rate(hostprobe_host_tcp_segments_sent_total[5m]) > 0.01"

    HOST_TCP_OPENS: Counter<1> = "hostprobe_host_tcp_connections_total" ["direction"]
        None Host FedBy::Host;
        "TCP connections that were asked for (out) or taken (in)."

    HOST_TCP_FAILS: Counter<0> = "hostprobe_host_tcp_attempt_fails_total" []
        None Host FedBy::Host;
        "TCP connections that failed before they were established."

    HOST_LISTEN_OVERFLOWS: Counter<0> = "hostprobe_host_tcp_listen_overflows_total" []
        None Host FedBy::Host;
        "Connections that no listener took because its queue was full: the program accepts too slowly, or its backlog is too short."
        => "increase(hostprobe_host_tcp_listen_overflows_total[5m]) > 0"

    HOST_LISTEN_DROPS: Counter<0> = "hostprobe_host_tcp_listen_drops_total" []
        None Host FedBy::Host;
        "Connections that no listener took, for whatever reason."

    HOST_SOCKETS: Gauge<1> = "hostprobe_host_tcp_sockets" ["state"]
        None Host FedBy::Host;
        "TCP sockets by state, those without a process (time_wait) included. Looked at less often (host.sockets_interval_s)."
        => "hostprobe_host_tcp_sockets{state=\"time_wait\"}"

    HOST_OPEN_FDS: Gauge<0> = "hostprobe_host_open_fds" []
        None Host FedBy::Host;
        "Open files of the whole host."

    HOST_MAX_FDS: Gauge<0> = "hostprobe_host_max_fds" []
        None Host FedBy::Host;
        "Most of them that the kernel allows."
        => "hostprobe_host_open_fds / hostprobe_host_max_fds > 0.8"

    HOST_READ_ERRORS: Counter<2> = "hostprobe_host_read_errors_total" ["source", "reason"]
        None Host FedBy::Host;
        "What could not be read, by where and why: gone (a process that ended meanwhile), denied, malformed, truncated (more than is looked at), timed_out, failed."
        => "increase(hostprobe_host_read_errors_total{reason!=\"gone\"}[1h]) > 0"

    HOST_SAMPLE_DURATION: Gauge<0> = "hostprobe_host_sample_duration_seconds" []
        Seconds Host FedBy::Host;
        "Time that it took to read all of this."
        => "max_over_time(hostprobe_host_sample_duration_seconds[1h])"

    EVENTS_LOST: Counter<1> = "hostprobe_events_lost_total" ["cause"]
        None Probe FedBy::Daemon;
        "What happened but is not in the numbers, by cause. Every cause is always present, so that 0 is a statement."
        => "sum by (cause) (increase(hostprobe_events_lost_total[1h])) > 0"

    PROBE_UP: Gauge<1> = "hostprobe_probe_up" ["probe"]
        None Probe FedBy::Daemon;
        "1 while the probe is loaded and attached, else 0; /api/probes and 'hostprobe check' say why."
        => "hostprobe_probe_up == 0"

    PROGRAM_RUNS: Counter<1> = "hostprobe_bpf_program_runs_total" ["program"]
        None Probe FedBy::Daemon;
        "Runs of a kernel program while the kernel measured its run time."

    PROGRAM_RUN_SECONDS: Counter<1> = "hostprobe_bpf_program_run_seconds_total" ["program"]
        Seconds Probe FedBy::Daemon;
        "Time spent in a kernel program while the kernel measured it, summed over CPUs."
        => "rate(hostprobe_bpf_program_run_seconds_total[5m]) / rate(hostprobe_bpf_program_runs_total[5m])"

    PROGRAM_MEASURED_SECONDS: Counter<1> = "hostprobe_bpf_program_measured_seconds_total" ["program"]
        Seconds Probe FedBy::Daemon;
        "Time for which the kernel measured the run time of a program. The load on one CPU is the ratio of the rates."
        => "rate(hostprobe_bpf_program_run_seconds_total[5m]) / rate(hostprobe_bpf_program_measured_seconds_total[5m])"

    PROGRAM_VERIFIED_INSTRUCTIONS: Gauge<1> = "hostprobe_bpf_program_verified_instructions" ["program"]
        None Probe FedBy::Daemon;
        "Instructions that the kernel's verifier looked at when it loaded the program; its limit is one million."

    BUILD_INFO: Info<3> = "hostprobe_build_info" ["version", "object_build_id", "rustc"]
        None Probe FedBy::Daemon;
        "Version of the daemon, build id of its kernel object, and the compiler. Always 1."

    START_TIME: Gauge<0> = "hostprobe_start_time_seconds" []
        Seconds Probe FedBy::Daemon;
        "When the probe began to count, in seconds since the epoch. Counters start at zero then."

    SCRAPE_DURATION: Gauge<0> = "hostprobe_scrape_duration_seconds" []
        Seconds Probe FedBy::Daemon;
        "Time that it took to read the kernel's tables for this scrape."
        => "max_over_time(hostprobe_scrape_duration_seconds[1h])"

    SLOW_QUERIES: Counter<3> = "hostprobe_slow_queries_total" ["service", "side", "db_namespace"]
        None Postgres PAYLOAD_PROBE;
        "Statements that took at least as long as their threshold (sql.slow_ms, that of the service or of the database), as the service saw them as their server or client: every one is counted, whatever the log and the store have room for. /api/slow-queries and hostprobe slow have the statements."
        => "sum by (service, side, db_namespace) (increase(hostprobe_slow_queries_total[1h])) > 0"

    SLOW_QUERIES_DROPPED: Counter<0> = "hostprobe_slow_queries_dropped_total" []
        None Postgres PAYLOAD_PROBE;
        "Slow statements that were counted, but neither logged nor stored, because too many came at once. hostprobe_store_dropped_total has those that the store had no room for."
        => "increase(hostprobe_slow_queries_dropped_total[1h]) > 0"

    STORE_UP: Gauge<0> = "hostprobe_store_up" []
        None Store FedBy::Daemon;
        "1 when the store can be written, 0 while it can't; the log and /api/status say why. Absent when none is configured."
        => "hostprobe_store_up == 0"

    STORE_WRITTEN: Counter<1> = "hostprobe_store_written_total" ["kind"]
        None Store FedBy::Daemon;
        "Rows written to the store, by what they are."

    STORE_DROPPED: Counter<2> = "hostprobe_store_dropped_total" ["kind", "reason"]
        None Store FedBy::Daemon;
        "Rows that were not stored, by what they are and why: too many were waiting (queue_full), the database refuses what is in them (refused), or the daemon ended first (stopped)."
        => "sum by (kind, reason) (increase(hostprobe_store_dropped_total[1h])) > 0"

    STORE_QUEUE: Gauge<0> = "hostprobe_store_queue_records" []
        None Store FedBy::Daemon;
        "Records that wait to be written."
        => "hostprobe_store_queue_records / hostprobe_store_queue_limit_records > 0.5"

    STORE_QUEUE_LIMIT: Gauge<0> = "hostprobe_store_queue_limit_records" []
        None Store FedBy::Daemon;
        "Records that may wait to be written (store.queue)."

    STORE_SIZE: Gauge<0> = "hostprobe_store_size_bytes" []
        Bytes Store FedBy::Daemon;
        "Bytes of the store on the disk: the SQLite file with its log, or the tables in Postgres with their indexes, whichever host wrote them."

    STORE_TRANSACTIONS: Counter<0> = "hostprobe_store_transactions_total" []
        None Store FedBy::Daemon;
        "Batches of records that were committed."

    STORE_FAILURES: Counter<0> = "hostprobe_store_failures_total" []
        None Store FedBy::Daemon;
        "Attempts to open or write the store that failed. The records are kept and tried again."

    STORE_WRITE_SECONDS: Counter<0> = "hostprobe_store_write_seconds_total" []
        Seconds Store FedBy::Daemon;
        "Time that committed batches took."
        => "rate(hostprobe_store_write_seconds_total[5m]) / rate(hostprobe_store_transactions_total[5m])"

    OWN_CPU: Counter<0> = "process_cpu_seconds_total" []
        Seconds OwnProcess FedBy::Daemon;
        "User and system CPU time of the daemon. The kernel programs' time is spent in the observed processes; see the program run time."
        => "rate(process_cpu_seconds_total{job=\"hostprobe\"}[5m])"

    ADVICE: Gauge<2> = "hostprobe_advice" ["database", "kind"]
        None Advice FedBy::Daemon;
        "Pieces of advice on a database's indexes after the last round; /api/advice has them. Absent before the first round."
        => "hostprobe_advice{kind=\"missing_index\"} > 0"

    ADVICE_HYPOPG: Gauge<1> = "hostprobe_advice_hypopg" ["database"]
        None Advice FedBy::Daemon;
        "1 when HypoPG proves what is proposed, 0 when it is missing."

    ADVICE_LAST_ROUND: Gauge<1> = "hostprobe_advice_last_round_timestamp_seconds" ["database"]
        Seconds Advice FedBy::Daemon;
        "When the last round that came to its end was over, in seconds since the epoch."
        => "time() - hostprobe_advice_last_round_timestamp_seconds"

    ADVICE_ROUND_DURATION: Gauge<1> = "hostprobe_advice_round_duration_seconds" ["database"]
        Seconds Advice FedBy::Daemon;
        "How long the last round that came to its end took."

    ADVICE_ROUNDS: Counter<1> = "hostprobe_advice_rounds_total" ["database"]
        None Advice FedBy::Daemon;
        "Rounds of looking for advice that came to their end."

    ADVICE_ERRORS: Counter<1> = "hostprobe_advice_errors_total" ["database"]
        None Advice FedBy::Daemon;
        "Rounds of looking for advice that failed, since the database could not be asked; /api/advice says why."
        => "increase(hostprobe_advice_errors_total[1h])"

    OWN_RESIDENT_MEMORY: Gauge<0> = "process_resident_memory_bytes" []
        Bytes OwnProcess FedBy::Daemon;
        "Resident memory of the daemon."

    OWN_VIRTUAL_MEMORY: Gauge<0> = "process_virtual_memory_bytes" []
        Bytes OwnProcess FedBy::Daemon;
        "Address space of the daemon."

    OWN_OPEN_FDS: Gauge<0> = "process_open_fds" []
        None OwnProcess FedBy::Daemon;
        "Open file descriptors of the daemon."

    OWN_MAX_FDS: Gauge<0> = "process_max_fds" []
        None OwnProcess FedBy::Daemon;
        "Most file descriptors that the daemon may open; absent when there is no limit."

    OWN_START_TIME: Gauge<0> = "process_start_time_seconds" []
        Seconds OwnProcess FedBy::Daemon;
        "When the daemon's process started, in seconds since the epoch."

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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_in_both_formats() {
        let mut seen = HashSet::new();
        for metric in ALL {
            let family = metric
                .name
                .trim_end_matches("_total")
                .trim_end_matches("_info");
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
            assert!(
                family == metric.name || seen.insert(family),
                "{family} is a family in OpenMetrics and another metric's name"
            );
        }
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let word = regex::Regex::new("^[a-z][a-z0-9]*(_[a-z0-9]+)*$").unwrap();
        for metric in ALL {
            let name = metric.name;
            assert!(word.is_match(name), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}"
            );
            assert_eq!(name.ends_with("_info"), metric.kind == Kind::Info, "{name}");
            let base = name.trim_end_matches("_total");
            assert!(base.ends_with(metric.unit.name()), "{name} lacks its unit");
            for reserved in ["_bucket", "_sum", "_count", "_created", "_gsum"] {
                assert!(!name.ends_with(reserved), "{name}");
            }
            for label in metric.labels {
                assert!(
                    word.is_match(label) && !["le", "quantile"].contains(label),
                    "{name}"
                );
            }
            assert_eq!(
                metric.labels.iter().collect::<HashSet<_>>().len(),
                metric.labels.len(),
                "{name} has a label twice"
            );
        }
    }

    #[test]
    fn every_metric_says_what_it_is() {
        for metric in ALL {
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            assert!(
                metric.promql.is_empty() || metric.promql.contains(metric.name),
                "the example of {} does not use it",
                metric.name
            );
        }
    }
}
