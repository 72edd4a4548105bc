//! TCP and AF_UNIX connections, TLS, and what goes through sockets.

use super::{FedBy, PAYLOAD_PROBE, SOCKET_PROBE};

catalogue! {
    TLS_CONNECTIONS: Counter<1> = "hostprobe_tls_connections_total" ["service"]
        None Tls PAYLOAD_PROBE;
        "Connections of the service that carry TLS, whoever encrypts."
        => "rate(hostprobe_tls_connections_total[5m])"

    TLS_DECODED: Counter<1> = "hostprobe_tls_decoded_connections_total" ["service"]
        None Tls FedBy::Probe("tls");
        "Connections of a TLS library whose requests or statements are decoded. Far fewer than hostprobe_tls_connections_total: the service encrypts with something that can't be seen, such as Go's own TLS, or speaks neither HTTP/1 nor Postgres."
        => "rate(hostprobe_tls_decoded_connections_total[5m]) / rate(hostprobe_tls_connections_total[5m])"

    TLS_NOT_DECODED: Counter<1> = "hostprobe_tls_undecoded_connections_total" ["service"]
        None Tls FedBy::Probe("tls");
        "Connections of a TLS library whose clear text begins as HTTP/2, which is not decoded: requests on them, and calls of AI models, are in no other metric."
        => "rate(hostprobe_tls_undecoded_connections_total[5m]) > 0"

    TLS_LIBRARIES: Gauge<1> = "hostprobe_tls_libraries" ["state"]
        None Tls FedBy::Probe("tls");
        "Files with a TLS library that traced processes use: followed, or failed to be."
        => "hostprobe_tls_libraries{state=\"failed\"} > 0"

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
}
