//! Requests, and the statements that they wait for.

use super::PAYLOAD_PROBE;

catalogue! {
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
        "Different clients whose requests the service answered in the last five minutes, by the address that a proxy forwards, else by the peer's. Exact up to 3072, else an estimate with a standard error of about 2 %. Addresses are hashed with a key of this run and not kept. An app of browsers that no service is named after is a service here, too, by its sessions."

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
}
