//! Which protocol the first bytes of one direction of a connection are.
//!
//! This is the specification for the kernel's own classification: every rule needs only the first
//! few bytes, no state and no allocation, and [`looks_like`] is a `const fn`, so that the tables
//! can be checked while compiling. It names what the bytes *look like*; the decoders decide.

/// What the first bytes of one direction look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// An HTTP/1.x request line (RFC 9112, section 3) with a registered method.
    Http1Request,
    /// An HTTP/1.x status line (RFC 9112, section 4).
    Http1Response,
    /// A Postgres packet without a type byte: start-up, cancel, SSL or GSS request.
    PostgresStartup,
    /// A typed Postgres message that only a client sends.
    PostgresFrontend,
    /// A typed Postgres message that only a server sends.
    PostgresBackend,
    /// A TLS record header (RFC 8446, section 5.1; the same since SSL 3).
    TlsRecord,
    /// The HTTP/2 connection preface (RFC 9113, section 3.4), TLS or not.
    Http2Preface,
    /// None of these; more bytes would not change that.
    Unknown,
    /// Too few bytes to tell, but none of the above is excluded.
    NeedMore,
}

/// Methods that a request line is recognised by, each with its space: RFC 9110, PATCH, QUERY,
/// and WebDAV (RFC 4918, RFC 3253, RFC 5323).
pub const METHODS: [&[u8]; 24] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"PATCH ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
    b"TRACE ",
    b"QUERY ",
    b"PROPFIND ",
    b"PROPPATCH ",
    b"MKCOL ",
    b"COPY ",
    b"MOVE ",
    b"LOCK ",
    b"UNLOCK ",
    b"REPORT ",
    b"SEARCH ",
    b"PURGE ",
    b"ACL ",
    b"BIND ",
    b"CHECKOUT ",
    b"MKACTIVITY ",
];

/// Bytes after which [`looks_like`] never answers [`Protocol::NeedMore`]: the longest method, its
/// space, and the first byte of the target.
pub const ENOUGH: usize = 14;

/// The first bytes of HTTP/2 with prior knowledge.
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// The largest start-up packet that a Postgres server accepts (`MAX_STARTUP_PACKET_LENGTH`).
const POSTGRES_STARTUP_MAX: u32 = 10_000;
/// Protocol codes of the untyped packets beside start-up: cancel, SSL, GSS encryption.
const POSTGRES_REQUESTS: [u32; 3] = [80_877_102, 80_877_103, 80_877_104];
/// What a TLS record may carry (RFC 8446, section 5.2), with the room older versions needed.
const TLS_RECORD_MAX: u16 = 16_384 + 2_048;
/// Longer typed messages exist, but a connection does not begin with one.
const POSTGRES_MESSAGE_MAX: u32 = 1 << 30;

/// Names the protocol that `bytes`, the first bytes of one direction, look like.
///
/// Typed Postgres messages are recognised where type, length and first payload byte leave no
/// doubt which side sends them; `CopyData`, which both send, is [`Protocol::Unknown`].
#[must_use]
pub const fn looks_like(bytes: &[u8]) -> Protocol {
    match bytes {
        [] => Protocol::NeedMore,
        [0, rest @ ..] => startup(rest),
        [0x14..=0x17, rest @ ..] => tls(rest),
        [b'H', b'T' | b'E', ..] | [b'H'] => http_or_head(bytes),
        [b'P', b'R', b'I', ..] => match begins(bytes, HTTP2_PREFACE) {
            Begins::Yes => Protocol::Http2Preface,
            Begins::No => Protocol::Unknown,
            Begins::NotYet => Protocol::NeedMore,
        },
        // The second byte of a Postgres message is the top of its length: never a letter.
        [_, b'A'..=b'Z' | b' ', ..] => request(bytes),
        [b'1'..=b'3' | b'A'..=b'Z' | b'c'..=b'v'] => Protocol::NeedMore,
        [kind, rest @ ..] => postgres(*kind, rest),
    }
}

enum Begins {
    Yes,
    No,
    NotYet,
}

/// Whether `bytes` begin with `pattern`, as far as they go.
const fn begins(mut bytes: &[u8], mut pattern: &[u8]) -> Begins {
    loop {
        match (bytes, pattern) {
            (_, []) => return Begins::Yes,
            ([], _) => return Begins::NotYet,
            ([byte, bytes_left @ ..], [wanted, pattern_left @ ..]) => {
                if *byte != *wanted {
                    return Begins::No;
                }
                bytes = bytes_left;
                pattern = pattern_left;
            }
        }
    }
}

/// `HTTP/1.x nnn` is an answer; everything else with an H may be `HEAD`.
const fn http_or_head(bytes: &[u8]) -> Protocol {
    match begins(bytes, b"HTTP/1.") {
        Begins::No => request(bytes),
        Begins::NotYet => Protocol::NeedMore,
        Begins::Yes => match bytes {
            [_, _, _, _, _, _, _] => Protocol::NeedMore,
            [_, _, _, _, _, _, _, b'0' | b'1'] => Protocol::NeedMore,
            [_, _, _, _, _, _, _, b'0' | b'1', b' '] => Protocol::NeedMore,
            [_, _, _, _, _, _, _, b'0' | b'1', b' ', b'1'..=b'9', ..] => Protocol::Http1Response,
            _ => Protocol::Unknown,
        },
    }
}

/// A registered method, a space, and what a target may begin with (RFC 9112, section 3.2).
const fn request(bytes: &[u8]) -> Protocol {
    let mut methods: &[&[u8]] = &METHODS;
    let mut possible = false;
    while let [method, rest @ ..] = methods {
        methods = rest;
        match begins(bytes, method) {
            Begins::No => {}
            Begins::NotYet => possible = true,
            Begins::Yes => {
                return match bytes.split_at(method.len()).1 {
                    [] => Protocol::NeedMore,
                    // CONNECT names host and port; the others a path, `*` or a whole URI.
                    [first, ..] => match (method, first) {
                        (
                            [b'C', b'O', b'N', ..],
                            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'[',
                        ) => Protocol::Http1Request,
                        (_, b'/' | b'*' | b'h' | b'H') => Protocol::Http1Request,
                        _ => Protocol::Unknown,
                    },
                };
            }
        }
    }
    if possible {
        Protocol::NeedMore
    } else {
        Protocol::Unknown
    }
}

/// Length and protocol code, after the length's first byte, which is 0.
const fn startup(rest: &[u8]) -> Protocol {
    match rest {
        [0, b, c, d, e, f, g, ..] => {
            let length = u32::from_be_bytes([0, 0, *b, *c]);
            let code = u32::from_be_bytes([*d, *e, *f, *g]);
            let known = code >> 16 == 3
                || code == POSTGRES_REQUESTS[0]
                || code == POSTGRES_REQUESTS[1]
                || code == POSTGRES_REQUESTS[2];
            if length >= 8 && length <= POSTGRES_STARTUP_MAX && known {
                Protocol::PostgresStartup
            } else {
                Protocol::Unknown
            }
        }
        [] | [0, ..] => Protocol::NeedMore,
        _ => Protocol::Unknown,
    }
}

/// Version and length of a TLS record, after its type.
const fn tls(rest: &[u8]) -> Protocol {
    match rest {
        [3, 0..=4, high, low, ..] => {
            let length = u16::from_be_bytes([*high, *low]);
            if length > 0 && length <= TLS_RECORD_MAX {
                Protocol::TlsRecord
            } else {
                Protocol::Unknown
            }
        }
        [] | [3] | [3, 0..=4] | [3, 0..=4, _] => Protocol::NeedMore,
        _ => Protocol::Unknown,
    }
}

/// Length and the beginning of the payload of a typed Postgres message.
const fn postgres(kind: u8, rest: &[u8]) -> Protocol {
    let [a, b, c, d, payload @ ..] = rest else {
        // The top byte of a length below 1 GiB.
        return match rest {
            [] | [0..=0x3f, ..] => Protocol::NeedMore,
            _ => Protocol::Unknown,
        };
    };
    let length = u32::from_be_bytes([*a, *b, *c, *d]);
    if length < 4 || length > POSTGRES_MESSAGE_MAX {
        return Protocol::Unknown;
    }
    match (kind, length) {
        // Query, Parse, Bind, password and FunctionCall; CopyFail; Terminate, Sync, Flush.
        (b'Q' | b'P' | b'B' | b'p' | b'F' | b'f', 5..) => Protocol::PostgresFrontend,
        (b'X' | b'S' | b'H', 4) => Protocol::PostgresFrontend,
        // Parse/Bind/CloseComplete, NoData, PortalSuspended, EmptyQuery.
        (b'1' | b'2' | b'3' | b'n' | b's' | b'I', 4) => Protocol::PostgresBackend,
        // ReadyForQuery with one of its three states.
        (b'Z', 5) => match payload {
            [] => Protocol::NeedMore,
            [b'I' | b'T' | b'E', ..] => Protocol::PostgresBackend,
            _ => Protocol::Unknown,
        },
        // Authentication, BackendKeyData, ParameterStatus, Copy responses, RowDescription,
        // ParameterDescription, notices and notifications, FunctionCallResponse, negotiation.
        (
            b'R' | b'K' | b'S' | b'G' | b'H' | b'W' | b'T' | b't' | b'N' | b'A' | b'V' | b'v',
            6..,
        ) => Protocol::PostgresBackend,
        // Both sides use these letters: the first byte of the payload tells them apart.
        (b'D', 6..) => match payload {
            [] => Protocol::NeedMore,
            // Describe of a statement or a portal.
            [b'S' | b'P', ..] => Protocol::PostgresFrontend,
            // DataRow: at most 1664 columns, so that the top byte is at most 6.
            [0..=6, ..] => Protocol::PostgresBackend,
            _ => Protocol::Unknown,
        },
        (b'E', 6..) => match payload {
            [] => Protocol::NeedMore,
            // ErrorResponse begins with the severity: ERROR, FATAL or PANIC.
            [b'S', b'E' | b'F' | b'P', ..] => Protocol::PostgresBackend,
            [b'S'] => Protocol::NeedMore,
            // Execute of the unnamed portal, or of one whose name is no severity.
            _ => Protocol::PostgresFrontend,
        },
        (b'C', 6..) => match payload {
            [] => Protocol::NeedMore,
            // Close of the unnamed statement or portal; a longer name could be a command's tag.
            [b'S' | b'P', 0, ..] => Protocol::PostgresFrontend,
            [b'S' | b'P'] => Protocol::NeedMore,
            // CommandComplete: `SELECT 1`, `INSERT 0 1`, ...
            [b'A'..=b'Z', b'A'..=b'Z', ..] => Protocol::PostgresBackend,
            [b'A'..=b'Z'] => Protocol::NeedMore,
            _ => Protocol::Unknown,
        },
        _ => Protocol::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The kernel's tables are built from these rules while compiling.
    const _: () = assert!(matches!(looks_like(b"GET /"), Protocol::Http1Request));

    #[test]
    fn every_protocol_is_known_by_its_first_bytes() {
        let cases: [(&[u8], Protocol); 37] = [
            (b"", Protocol::NeedMore),
            (b"G", Protocol::NeedMore),
            (b"GET", Protocol::NeedMore),
            (b"GET ", Protocol::NeedMore),
            (b"GET /", Protocol::Http1Request),
            (b"OPTIONS *", Protocol::Http1Request),
            (b"GET http://a/", Protocol::Http1Request),
            (b"CONNECT a.example:443 HTTP/1.1", Protocol::Http1Request),
            (b"CONNECT [::1]:443 HTTP/1.1", Protocol::Http1Request),
            (b"MKACTIVITY /", Protocol::Http1Request),
            (b"HEAD /x", Protocol::Http1Request),
            (b"H", Protocol::NeedMore),
            (b"HELO mail.example", Protocol::Unknown),
            (b"GETX /", Protocol::Unknown),
            (b"GET it", Protocol::Unknown),
            (b"HTTP/1.1 200 OK", Protocol::Http1Response),
            (b"HTTP/1.0 404", Protocol::Http1Response),
            (b"HTTP/1.1", Protocol::NeedMore),
            (b"HTTP/2 200", Protocol::Unknown),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol::Http2Preface),
            (b"PRI", Protocol::NeedMore),
            (&[0, 0, 0, 8, 4, 210, 22, 47], Protocol::PostgresStartup),
            (&[0, 0, 0, 40, 0, 3, 0, 0, b'u'], Protocol::PostgresStartup),
            (&[0, 0, 0, 40, 0, 3, 0, 2, b'u'], Protocol::PostgresStartup),
            (&[0, 0, 0, 40, 0, 2, 0, 0], Protocol::Unknown),
            (b"Q\0\0\0\x0dSELECT 1\0", Protocol::PostgresFrontend),
            (b"S\0\0\0\x04", Protocol::PostgresFrontend),
            (b"S\0\0\0\x16application", Protocol::PostgresBackend),
            (b"Z\0\0\0\x05I", Protocol::PostgresBackend),
            (b"D\0\0\0\x06S\0", Protocol::PostgresFrontend),
            (b"D\0\0\0\x0b\0\x01\0\0\0\x011", Protocol::PostgresBackend),
            (b"E\0\0\0\x09\0\0\0\0\0", Protocol::PostgresFrontend),
            (b"E\0\0\0\x5aSERROR\0", Protocol::PostgresBackend),
            (b"C\0\0\0\x0dSELECT 1\0", Protocol::PostgresBackend),
            (&[0x16, 3, 1, 2, 0, 1], Protocol::TlsRecord),
            (&[0x17, 3, 3, 0xff, 0xff], Protocol::Unknown),
            (b"\xff\xfe\0\0\0\0\0\0", Protocol::Unknown),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                looks_like(bytes),
                expected,
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        }
    }

    /// The kernel side decides what is copied at all: what it passes over, no decoder can find.
    #[test]
    fn the_kernel_side_says_the_same_but_where_it_cannot_look_closer() {
        use probe_common::payload::{StreamClass, classify};
        let same: [&[u8]; 27] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /orders HTTP/1.1\r\n",
            b"PUT /orders/1 HTTP/1.1\r\n",
            b"HEAD /x HTTP/1.1\r\n",
            b"PATCH /x HTTP/1.1\r\n",
            b"DELETE /x HTTP/1.1\r\n",
            b"OPTIONS * HTTP/1.1\r\n",
            b"CONNECT a.example:443 HTTP/1.1\r\n",
            b"TRACE / HTTP/1.1\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.0 404 Not Found\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &[0, 0, 0, 8, 4, 210, 22, 47],
            &[0, 0, 0, 8, 4, 210, 22, 48],
            b"\0\0\0\x0f\0\x03\0\0user\0a\0",
            b"\0\0\0\x0f\0\x03\0\x02user\0a\0",
            b"Q\0\0\0\x0dSELECT 1\0",
            b"P\0\0\0\x10s1\0SELECT 1\0\0\0S\0\0\0\x04",
            b"S\0\0\0\x04",
            b"X\0\0\0\x04",
            b"Z\0\0\0\x05I",
            b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I",
            b"D\0\0\0\x0b\0\x01\0\0\0\x011",
            b"E\0\0\0\x1bSERROR\0C23505\0Mtext\0\0\0\0",
            b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I",
            b"\x16\x03\x01\x02\0\x01\0\x01",
            b"SSH-2.0-OpenSSH_9.2\r\n",
        ];
        // The kernel side looks at eight bytes, and knows the methods that web apps use; the
        // decoders refuse what only looks like theirs.
        let closer: [(&[u8], StreamClass); 6] = [
            (b"PROPFIND /dav HTTP/1.1\r\n", StreamClass::Unknown),
            (b"QUERY /search HTTP/1.1\r\n", StreamClass::Unknown),
            (b"GET it while it is hot\r\n", StreamClass::Http1),
            (b"HTTP/2 200\r\n", StreamClass::Http1),
            (b"\x17\x03\x03\xff\xff\0\0\0", StreamClass::Tls),
            (b"d\0\0\0\x081\t2\n", StreamClass::Postgres),
        ];
        let by_kernel = |bytes: &[u8]| {
            let mut first = [0; 8];
            let length = bytes.len().min(8);
            first[..length].copy_from_slice(&bytes[..length]);
            classify(&first, bytes.len() as u64)
        };
        let by_decoders = |bytes: &[u8]| match looks_like(bytes) {
            Protocol::Http1Request | Protocol::Http1Response => StreamClass::Http1,
            Protocol::PostgresStartup | Protocol::PostgresFrontend | Protocol::PostgresBackend => {
                StreamClass::Postgres
            }
            Protocol::TlsRecord => StreamClass::Tls,
            Protocol::Http2Preface => StreamClass::Ignored,
            Protocol::Unknown | Protocol::NeedMore => StreamClass::Unknown,
        };
        for bytes in same {
            let text = bytes.escape_ascii();
            assert_eq!(by_kernel(bytes), by_decoders(bytes), "{text}");
        }
        for (bytes, kernel) in closer {
            let text = bytes.escape_ascii();
            assert_eq!(by_kernel(bytes), kernel, "{text}");
            assert_ne!(
                by_decoders(bytes),
                kernel,
                "{text} is no difference any more"
            );
        }
    }

    #[test]
    fn a_verdict_is_never_taken_back_by_more_bytes() {
        let starts: [&[u8]; 8] = [
            b"DELETE /a HTTP/1.1\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &[0, 0, 0, 8, 4, 210, 22, 47, 0, 0, 0, 0, 0, 0],
            b"Q\0\0\0\x0dSELECT 1\0",
            b"C\0\0\0\x0dSELECT 1\0\0\0\0\0",
            &[0x16, 3, 1, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            b"quit or something like it\r\n",
        ];
        for bytes in starts {
            let last = looks_like(bytes);
            for cut in 0..bytes.len() {
                let verdict = looks_like(&bytes[..cut]);
                assert!(
                    verdict == last || (verdict == Protocol::NeedMore && cut < ENOUGH),
                    "{:?} -> {verdict:?}, whole -> {last:?}",
                    bytes[..cut].escape_ascii().to_string()
                );
            }
        }
    }
}
