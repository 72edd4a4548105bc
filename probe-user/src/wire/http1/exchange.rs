//! What the decoder reports: exchanges, connections that left HTTP/1, and what stayed uncertain.

use std::fmt;
use std::net::IpAddr;

use crate::wire::classify::Protocol;

use super::interest::{Content, Wanted};

/// A request method as a metric label: the methods that OpenTelemetry's conventions list, and
/// one value for all others, so that a client cannot make series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `CONNECT`
    Connect,
    /// `DELETE`
    Delete,
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `OPTIONS`
    Options,
    /// `PATCH`
    Patch,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `QUERY`
    Query,
    /// `TRACE`
    Trace,
    /// Any other token. Methods are case-sensitive (RFC 9110, section 9.1), so `get` is one.
    Other,
}

impl Method {
    /// The method that `token` names.
    #[must_use]
    pub fn from_token(token: &[u8]) -> Self {
        match token {
            b"CONNECT" => Self::Connect,
            b"DELETE" => Self::Delete,
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"QUERY" => Self::Query,
            b"TRACE" => Self::Trace,
            _ => Self::Other,
        }
    }

    /// The value of the label `http_request_method`; `_OTHER` as OpenTelemetry asks.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Query => "QUERY",
            Self::Trace => "TRACE",
            Self::Other => "_OTHER",
        }
    }
}

/// The version in the request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// What a connection became when it stopped being HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Upgrade {
    /// `Upgrade: websocket` (RFC 6455).
    WebSocket,
    /// `Upgrade: h2c`, HTTP/2 without TLS.
    H2c,
    /// A tunnel, opened by CONNECT (RFC 9110, section 9.3.6).
    Tunnel,
    /// Anything else that was agreed on by 101.
    Other,
}

/// What kind of content the response declared, as far as it changes what a duration means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ContentClass {
    /// No `Content-Type`, or not seen.
    #[default]
    Unknown,
    /// `text/event-stream`: the response lasts as long as the client listens.
    EventStream,
    /// `text/html` and `application/xhtml+xml`.
    Page,
    /// `application/json` and everything that ends in `+json`.
    Json,
    /// `application/grpc...`, newline-delimited JSON and other types that are made to stream.
    Stream,
    /// Any other type.
    Other,
}

/// The `traceparent` of a request (W3C Trace Context, section 3.2), if it was well-formed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// Trace id, never all zero.
    pub trace_id: [u8; 16],
    /// Id of the caller's span, never all zero.
    pub parent_id: [u8; 8],
    /// Whether the caller recorded its span.
    pub sampled: bool,
}

impl TraceParent {
    /// The trace id as 32 lower-case hexadecimal digits, as exemplars show it.
    #[must_use]
    pub fn trace_id_hex(&self) -> String {
        use std::fmt::Write as _;
        self.trace_id
            .iter()
            .fold(String::with_capacity(32), |mut text, byte| {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            })
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TraceParent({}, sampled: {})",
            self.trace_id_hex(),
            self.sampled
        )
    }
}

/// The client that a proxy says the request came from: personal data, to be hashed with a salt
/// and forgotten. `Debug` does not show it, so that it does not end up in a log by accident.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// Wraps an address.
    #[must_use]
    pub const fn new(address: IpAddr) -> Self {
        Self(address)
    }

    /// The address itself. Hash it; never store, log or export it.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

impl fmt::Debug for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientAddress(..)")
    }
}

/// How sure `Exchange::finished_ns` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The protocol's own framing (or the connection's end) said so.
    Exact,
    /// Bytes are missing, and something later proves that the response was over: the client's next
    /// request, or the terminator of a chunked body. `finished_ns` is the last call seen before.
    Inferred,
    /// Nothing says when it was over. The request counts; its duration must not be observed.
    Unknown,
}

/// One request and what became of it.
///
/// Times are those of the system call, in nanoseconds of the segments' clock, seen from the
/// process that is observed. A **server** has the request when the read that carried it *returns*,
/// and answers when a write *begins*; a **client** asks when its write *begins*, and has the answer
/// when a read *returns*. Otherwise a server would be charged for waiting for the next request of
/// a keep-alive connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The request's number on this connection, from 1, in the order of the requests.
    pub serial: u64,
    /// Request method.
    pub method: Method,
    /// Path of the target without query and fragment, as sent (not decoded). `*` for the server
    /// as a whole, empty for CONNECT, `None` where the path was cut off by missing bytes or longer
    /// than `Limits::target_bytes`.
    pub path: Option<Box<str>>,
    /// Host, and port if given: the target's authority, else the `Host` field.
    pub host: Option<Box<str>>,
    /// Version of the request.
    pub version: Version,
    /// Final status; `None` if there was no response, or if it is not certain which it was.
    pub status: Option<u16>,
    /// Server: end of the read with the request's first byte. Client: start of that write.
    pub started_ns: u64,
    /// End of the call with the request's last byte; `None` if it is not certain which, or if the
    /// response was over before the request was.
    pub request_complete_ns: Option<u64>,
    /// First byte of the final response (interim ones do not count). Server: start of the write.
    /// Client: end of the read.
    pub first_byte_ns: Option<u64>,
    /// End of the call with the last byte of the response; of an aborted exchange without any
    /// response: the time the connection closed.
    pub finished_ns: u64,
    /// How sure `finished_ns` is.
    pub end: End,
    /// Bytes of the request's content, framing not counted; `None` where not certain.
    pub request_bytes: Option<u64>,
    /// Bytes of the response's content, framing not counted; `None` where not certain.
    pub response_bytes: Option<u64>,
    /// Trace context of the request, if well-formed.
    pub trace: Option<TraceParent>,
    /// First address of `X-Forwarded-For`, `Forwarded` or `X-Real-IP`, in this order.
    pub forwarded_for: Option<ClientAddress>,
    /// What the response contained.
    pub content: ContentClass,
    /// What the connection became with this exchange.
    pub upgrade: Option<Upgrade>,
    /// The connection closed before the response was complete.
    pub aborted: bool,
}

/// A request whose head is complete, or as complete as it will get: from now on it is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its number on this connection, from 1; its [`Exchange`] has the same.
    pub serial: u64,
    /// Request method.
    pub method: Method,
    /// Trace context of the request, if well-formed.
    pub trace: Option<TraceParent>,
    /// As [`Exchange::started_ns`].
    pub started_ns: u64,
}

/// What decoding a segment brought to light, in the order of the bytes. Each [`Begun`] is followed
/// by exactly one [`Exchange`] of the same serial, at the latest when the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request is in flight. Its path is told at its end, when there is an answer to judge it by.
    Begun(Begun),
    /// A request is over.
    Exchange(Exchange),
    /// The content of the response to the request that has just begun is wanted.
    Wanted(Box<Wanted>),
    /// The request that has just begun goes to a host of whose responses none is wanted.
    Foreign,
    /// Of the request that has just begun too little was seen to tell whether its response is wanted.
    Unclear,
    /// Wanted content of the response to the request of this number; between its [`Event::Wanted`] and
    /// its [`Event::Exchange`].
    Content(u64, Content),
    /// The connection no longer speaks HTTP/1, by agreement; nothing of it is decoded any more.
    Opaque(Upgrade),
    /// The connection never spoke HTTP/1; nothing of it is decoded any more.
    NotHttp1(Protocol),
}

/// Where a connection, or all connections of a shard, put what they found.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// To be drained by the caller.
    pub events: Vec<Event>,
    /// Only ever grows.
    pub stats: Stats,
}

/// Bounds on what one connection may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest head (request or status line and fields) that is put together from several calls,
    /// in bytes, per direction.
    pub head_bytes: usize,
    /// Requests without an answer; more than that, and answers are no longer paired.
    pub pipeline_depth: usize,
    /// Longest target, in bytes; the path of a longer one is unknown unless it ends before.
    pub target_bytes: usize,
    /// Longest host that is kept, in bytes; a longer one is unknown.
    pub host_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 16 * 1024,
            pipeline_depth: 64,
            target_bytes: 2048,
            host_bytes: 256,
        }
    }
}

/// What was seen, and what could not be known. Everything that limits or gaps cost is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Request heads understood.
    pub requests: u64,
    /// Final responses paired with their request.
    pub responses: u64,
    /// Interim responses: 100, 102, 103, ...
    pub interim_responses: u64,
    /// Final responses, or parts of them, whose request was not seen: dropped.
    pub responses_without_request: u64,
    /// Requests whose path was cut off by missing bytes or by the limit.
    pub targets_cut: u64,
    /// Heads that missing bytes or the limit cut: the fields behind are unknown.
    pub heads_cut: u64,
    /// Times a direction lost its place: what follows is skipped up to a certain boundary.
    pub desynchronised: u64,
    /// Times a direction found a certain boundary again, or for the first time.
    pub synchronised: u64,
    /// Calls skipped because their place in the stream was not known.
    pub segments_skipped: u64,
    /// Heads that are not HTTP/1, where one was due.
    pub malformed_heads: u64,
    /// Bodies whose chunked framing is broken.
    pub malformed_chunks: u64,
    /// Exchanges reported without a status though the connection did not end: bytes were missing.
    pub status_unknown: u64,
    /// Exchanges whose end was inferred, or is not known.
    pub end_uncertain: u64,
    /// Connections closed while a response was due or incomplete, per request.
    pub aborted: u64,
    /// Connections closed in the middle of a request head.
    pub request_heads_unfinished: u64,
    /// Connections whose answers are no longer paired: bytes are missing and the client pipelines.
    pub unpaired_connections: u64,
    /// Connections that exceeded `Limits::pipeline_depth`.
    pub pipelines_too_deep: u64,
    /// Connections that became something else, by 101 or CONNECT.
    pub upgrades: u64,
    /// Connections that were never HTTP/1.
    pub not_http1: u64,
}
