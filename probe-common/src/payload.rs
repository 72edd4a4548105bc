//! What was said on a socket: one record per call, with a bounded part of its bytes.

use crate::kernel_abi;

/// Most bytes of a call's beginning that a record can carry; the daemon sets a lower limit.
pub const MAX_HEAD: usize = 8192;

/// Most bytes of a call's end that a record can carry.
pub const MAX_TAIL: usize = 512;

/// Buffers of a scattered call (`writev`, `sendmsg`, …) that are looked at.
pub const MAX_BUFFERS: usize = 8;

/// Calls on a connection whose bytes may look like nothing before it is left alone.
pub const MAX_LOOKS: u8 = 4;

/// Records that one read of a connection whose bytes are wanted whole may take, of up to
/// [`MAX_HEAD`] bytes each. A TLS record has at most 16 KiB (RFC 8446, section 5.1), and no library
/// hands out more at once.
pub const MAX_PARTS: u32 = 3;

/// Bytes at the beginning of a request in which [`names_a_model`] looks. The longest usual path is that
/// of Vertex AI, whose model's name begins within the first 128.
pub const REQUEST_START: usize = 192;

/// Limits of what a record carries, set by the daemon before the programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PayloadLimits {
    /// Bytes of the beginning, at most [`MAX_HEAD`].
    pub head_bytes: u32,
    /// Bytes of the end, at most [`MAX_TAIL`].
    pub tail_bytes: u32,
    /// A CPU wakes the reader when it has sent this many bytes; before that the reader comes by
    /// itself.
    pub wake_bytes: u32,
    /// 1 when what AI models answer is wanted whole, see [`Whole`].
    pub whole_answers: u32,
}
kernel_abi!(PayloadLimits, 16);

impl PayloadLimits {
    /// Nothing is copied.
    pub const OFF: Self = Self {
        head_bytes: 0,
        tail_bytes: 0,
        wake_bytes: 0,
        whole_answers: 0,
    };
}

/// In front of the bytes of each record: `head_bytes` of the beginning, then `tail_bytes` of the
/// end; what `bytes` says more lies between them and was not copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PayloadHeader {
    /// The connection: a number that is never used again while the probe runs.
    pub stream: u64,
    /// When the call began, `CLOCK_MONOTONIC` nanoseconds.
    pub started_ns: u64,
    /// When it returned.
    pub ended_ns: u64,
    /// Bytes that it moved.
    pub bytes: u64,
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// Records of this stream and direction before this one. A jump tells how many were lost.
    pub sequence: u32,
    /// Service id.
    pub service: u16,
    /// Bytes of the beginning that follow.
    pub head_bytes: u16,
    /// Bytes of the end that follow those.
    pub tail_bytes: u16,
    /// A [`PayloadKind`].
    pub kind: u8,
    /// A [`StreamClass`].
    pub class: u8,
    /// A [`Role`].
    pub role: u8,
    /// A [`crate::socket::Transport`].
    pub transport: u8,
    /// 1 when the bytes are the clear text of an encrypted connection.
    pub tls: u8,
    /// What [`Self::peer`] is: 4 an IPv4 address, 6 a folded IPv6 address, 0 nothing.
    pub peer_family: u8,
    /// Stands for the other end's address: the IPv4 address, or the four words of an IPv6 address
    /// folded into one; 0 when there is none or it is not known.
    pub peer: u32,
    /// Bytes between the head and the tail in this record that say nothing.
    pub unused_bytes: u16,
    /// Calls on this connection before it was recognised, whose bytes looked like nothing.
    pub looks: u8,
    /// Zero.
    pub reserved2: u8,
}
kernel_abi!(PayloadHeader, 64);

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PayloadKind {
    /// The traced process sent bytes.
    Sent = 1,
    /// The traced process received bytes.
    Received = 2,
    /// The connection ended.
    Closed = 3,
    /// What goes through the socket is encrypted from here on. Its clear text may follow, in records
    /// of this connection or, when the program encrypts in memory, in those of another one.
    Encrypted = 4,
    /// The clear text of an encrypted connection is something that is not decoded, such as HTTP/2.
    NotDecoded = 5,
}

/// Whether what an encrypted connection receives is copied whole, in several records a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Whole {
    /// No: only head and tail of each call.
    No = 0,
    /// Yes, since a request began as those to AI models do.
    Yes = 1,
    /// Not any more: the daemon looked closer.
    Refused = 2,
}

/// What a connection's bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamClass {
    /// Nothing is known yet.
    Unknown = 0,
    /// HTTP/1.
    Http1 = 1,
    /// PostgreSQL.
    Postgres = 2,
    /// Something that is not decoded; its bytes are not copied any more.
    Ignored = 3,
    /// A TLS record: what goes through the socket says nothing. Only ever an answer of
    /// [`classify`]; a connection keeps the class of its clear text, see [`Stream::tls`].
    Tls = 4,
}

impl StreamClass {
    /// The class that [`PayloadHeader::class`] says; `None` for a byte that says none.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Unknown,
            1 => Self::Http1,
            2 => Self::Postgres,
            3 => Self::Ignored,
            4 => Self::Tls,
            _ => return None,
        })
    }
}

/// Which end of the connection the traced process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// The connection was open before it was seen.
    Unknown = 0,
    /// It connected.
    Client = 1,
    /// It accepted.
    Server = 2,
}

impl Role {
    /// The role that [`PayloadHeader::role`] says; `None` for a byte that says none.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Unknown,
            1 => Self::Client,
            2 => Self::Server,
            _ => return None,
        })
    }
}

/// What the kernel side remembers of a connection whose bytes are looked at.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Stream {
    /// Its number, see [`PayloadHeader::stream`].
    pub id: u64,
    /// Records of sent bytes so far.
    pub sent: u32,
    /// Records of received bytes so far.
    pub received: u32,
    /// The other end, see [`PayloadHeader::peer`].
    pub peer: u32,
    /// Service id of the process that used it first.
    pub service: u16,
    /// A [`StreamClass`], of the clear text if it is encrypted.
    pub class: u8,
    /// Calls that looked like nothing.
    pub looks: u8,
    /// A [`Role`].
    pub role: u8,
    /// A [`crate::socket::Transport`].
    pub transport: u8,
    /// 1 once what goes through the socket is encrypted.
    pub tls: u8,
    /// A [`Role`]: what the first bytes that were seen say of a connection that was open before. Only for
    /// telling what threads wait for; the decoders look closer.
    pub inferred_role: u8,
    /// Of the other end, see [`PayloadHeader::peer_family`].
    pub peer_family: u8,
    /// A [`Whole`].
    pub whole: u8,
    /// Zero.
    pub reserved2: [u8; 2],
}
kernel_abi!(Stream, 32);

/// Whether a request that begins like this may be one to an AI model: `POST`, and a path with a segment
/// `models`, or one that begins as `tunedModels`, `endpoints` and `interactions` do. Runs in the kernel; the daemon looks at host and path.
#[inline(always)]
pub fn names_a_model(start: &[u8; REQUEST_START]) -> bool {
    const MODELS: u64 = u64::from_be_bytes(*b"/models/");
    const TUNED: u64 = u64::from_be_bytes(*b"/tunedMo");
    const ENDPOINTS: u64 = u64::from_be_bytes(*b"/endpoin");
    const INTERACTIONS: u64 = u64::from_be_bytes(*b"/interac");
    if u32::from_be_bytes([start[0], start[1], start[2], start[3]]) != POST {
        return false;
    }
    let mut window = 0u64;
    // By single bytes: the verifier allows nothing else at offsets that are not aligned.
    for byte in start {
        window = window << 8 | *byte as u64;
        if matches!(window, MODELS | TUNED | ENDPOINTS | INTERACTIONS) {
            return true;
        }
    }
    false
}

/// Which end of a connection of this class sends (or, with `sent` false, receives) bytes that begin like
/// this. Several of Postgres' messages may come from either end.
#[inline(always)]
pub fn infer_role(class: u8, first: &[u8; 8], sent: bool) -> Role {
    const HTTP1: u8 = StreamClass::Http1 as u8;
    const POSTGRES: u8 = StreamClass::Postgres as u8;
    let word = u32::from_be_bytes([first[0], first[1], first[2], first[3]]);
    let asks = match class {
        HTTP1 => word != HTTP,
        POSTGRES => match first[0] {
            0 | b'Q' | b'P' | b'B' | b'X' | b'F' | b'p' | b'f' => true,
            b'T' | b'Z' | b'R' | b'1' | b'2' | b'3' | b'N' | b'K' | b'n' | b't' | b's' => false,
            _ => return Role::Unknown,
        },
        _ => return Role::Unknown,
    };
    if asks == sent {
        Role::Client
    } else {
        Role::Server
    }
}

/// Recognises a protocol by the first bytes of a call in one direction, `bytes` of which exist in
/// all. Runs in the kernel, so it is short; the decoders look closer and may still refuse.
#[inline(always)]
pub fn classify(first: &[u8; 8], bytes: u64) -> StreamClass {
    let word = u32::from_be_bytes([first[0], first[1], first[2], first[3]]);
    let rest = u32::from_be_bytes([first[4], first[5], first[6], first[7]]);
    if bytes >= 8 {
        match word {
            GET | POST | PUT | HEAD | DELE | PATC | OPTI | CONN | TRAC | HTTP => {
                return StreamClass::Http1;
            }
            // HTTP/2's preface.
            PRI => return StreamClass::Ignored,
            _ => {}
        }
        // Startup packets have no type, only a length and a code (PostgreSQL, "Message Formats").
        if word as u64 == bytes && (8..=10_000).contains(&word) {
            match rest {
                PROTOCOL_3_0..=PROTOCOL_3_2 | CANCEL | SSL_REQUEST | GSSENC_REQUEST => {
                    return StreamClass::Postgres;
                }
                _ => {}
            }
        }
    }
    // TLS record: handshake, alert, change cipher spec or application data, version 3.x.
    if bytes >= 5 && (20..=23).contains(&first[0]) && first[1] == 3 && first[2] <= 4 {
        return StreamClass::Tls;
    }
    if bytes >= 5 && is_postgres_type(first[0]) {
        let length = u32::from_be_bytes([first[1], first[2], first[3], first[4]]);
        // The message fits the call, or is the long one that the call begins.
        if (4..=MAX_PLAUSIBLE).contains(&length)
            && (u64::from(length) < bytes || is_long_type(first[0]))
        {
            return StreamClass::Postgres;
        }
    }
    StreamClass::Unknown
}

/// Whether these bytes begin a TLS handshake on a connection that spoke `class` so far: Postgres'
/// SSLRequest and HTTP's CONNECT lead there. Stricter than [`classify`], for a body may begin with
/// anything: type 22, version 3.x, and ClientHello or ServerHello (RFC 8446, sections 4 and 5.1). Some
/// implementations read the five bytes of the record's header by themselves.
#[inline(always)]
pub fn begins_tls(class: u8, first: &[u8; 8], bytes: u64) -> bool {
    // No message of Postgres has this type.
    let certain = class == StreamClass::Postgres as u8 || bytes == 5 || matches!(first[5], 1 | 2);
    bytes >= 5 && first[0] == 22 && first[1] == 3 && first[2] <= 4 && certain
}

/// Records after which a connection does not begin to be encrypted any more.
pub const EARLY_RECORDS: u32 = 8;

const fn ascii(text: &[u8; 4]) -> u32 {
    u32::from_be_bytes(*text)
}
const GET: u32 = ascii(b"GET ");
const POST: u32 = ascii(b"POST");
const PUT: u32 = ascii(b"PUT ");
const HEAD: u32 = ascii(b"HEAD");
const DELE: u32 = ascii(b"DELE");
const PATC: u32 = ascii(b"PATC");
const OPTI: u32 = ascii(b"OPTI");
const CONN: u32 = ascii(b"CONN");
const TRAC: u32 = ascii(b"TRAC");
const HTTP: u32 = ascii(b"HTTP");
const PRI: u32 = ascii(b"PRI ");

const PROTOCOL_3_0: u32 = 0x0003_0000;
const PROTOCOL_3_2: u32 = 0x0003_0002;
const CANCEL: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// Longer messages exist, but not as the first thing that is seen of a connection.
const MAX_PLAUSIBLE: u32 = 64 << 20;

/// Types of messages that begin a call of a client or a server in the middle of a connection.
#[inline(always)]
fn is_postgres_type(byte: u8) -> bool {
    matches!(
        byte,
        b'Q' | b'P'
            | b'B'
            | b'E'
            | b'D'
            | b'C'
            | b'S'
            | b'H'
            | b'X'
            | b'd'
            | b'c'
            | b'f'
            | b'F'
            | b'p'
            | b'T'
            | b'Z'
            | b'R'
            | b'1'
            | b'2'
            | b'3'
            | b'N'
            | b'A'
            | b'I'
            | b'n'
            | b't'
            | b's'
            | b'G'
            | b'W'
            | b'K'
            | b'V'
            | b'v'
    )
}

/// Types whose messages are often longer than one call.
#[inline(always)]
fn is_long_type(byte: u8) -> bool {
    matches!(byte, b'Q' | b'P' | b'B' | b'T' | b'D' | b'd')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_what_they_were_written_for() {
        for class in [
            StreamClass::Unknown,
            StreamClass::Http1,
            StreamClass::Postgres,
            StreamClass::Ignored,
            StreamClass::Tls,
        ] {
            assert_eq!(StreamClass::from_byte(class as u8), Some(class));
        }
        for role in [Role::Unknown, Role::Client, Role::Server] {
            assert_eq!(Role::from_byte(role as u8), Some(role));
        }
        assert_eq!(StreamClass::from_byte(5), None);
        assert_eq!(Role::from_byte(3), None);
    }

    fn class(bytes: &[u8]) -> StreamClass {
        let mut first = [0; 8];
        let n = bytes.len().min(8);
        first[..n].copy_from_slice(&bytes[..n]);
        classify(&first, bytes.len() as u64)
    }

    fn asks(request: &str) -> bool {
        let mut start = [0; REQUEST_START];
        let n = request.len().min(REQUEST_START);
        start[..n].copy_from_slice(&request.as_bytes()[..n]);
        names_a_model(&start)
    }

    /// A call that is not recognised here has gaps in its answer.
    #[test]
    fn requests_to_models_are_known_from_their_first_bytes() {
        for request in [
            "POST /v1beta/models/gemini-2.5-flash:generateContent HTTP/1.1\r\n",
            "POST /v1/models/gemini-3-pro:streamGenerateContent?alt=sse HTTP/1.1\r\n",
            "POST /v1beta1/projects/a-project-of-thirty-characters/locations/northamerica-northeast1/publishers/google/models/gemini-2.5-pro:generateContent HTTP/1.1\r\n",
            "POST /v1beta/interactions HTTP/1.1\r\n",
            "POST /v1beta/tunedModels/mine:generateContent HTTP/1.1\r\n",
            "POST /v1/projects/p/locations/l/endpoints/42:generateContent HTTP/1.1\r\n",
            "POST /proxy/of/somebody/v1/models/x:countTokens HTTP/1.1\r\n",
        ] {
            assert!(asks(request), "{request}");
        }
        for other in [
            "GET /v1beta/models/gemini-2.5-flash HTTP/1.1\r\n",
            "POST /v1/chat/completions HTTP/1.1\r\n",
            "HTTP/1.1 200 OK\r\n/models/",
            "{\"contents\": \"/models/\"}",
            "",
        ] {
            assert!(!asks(other), "{other}");
        }
    }

    #[test]
    fn requests_and_responses_are_http() {
        assert_eq!(class(b"GET / HTTP/1.1\r\n\r\n"), StreamClass::Http1);
        assert_eq!(class(b"HTTP/1.1 200 OK\r\n"), StreamClass::Http1);
        assert_eq!(class(b"OPTIONS * HTTP/1.1\r\n"), StreamClass::Http1);
        assert_eq!(class(b"PRI * HTTP/2.0\r\n"), StreamClass::Ignored);
    }

    #[test]
    fn postgres_is_known_from_its_start_and_from_its_middle() {
        assert_eq!(class(&[0, 0, 0, 8, 4, 210, 22, 47]), StreamClass::Postgres);
        assert_eq!(
            class(b"\0\0\0\x0f\0\x03\0\0user\0a\0"),
            StreamClass::Postgres
        );
        assert_eq!(class(b"Q\0\0\0\x0dSELECT 1\0"), StreamClass::Postgres);
        assert_eq!(class(b"Z\0\0\0\x05I"), StreamClass::Postgres);
        assert_eq!(class(b"S\0\0\0\x04"), StreamClass::Postgres);
    }

    #[test]
    fn who_asks_is_the_client() {
        let [http, postgres] = [StreamClass::Http1 as u8, StreamClass::Postgres as u8];
        for (class, first, sent, role) in [
            (http, b"GET / HT", true, Role::Client),
            (http, b"GET / HT", false, Role::Server),
            (http, b"HTTP/1.1", true, Role::Server),
            (http, b"HTTP/1.1", false, Role::Client),
            (postgres, b"Q\0\0\0\x0dSEL", true, Role::Client),
            (postgres, b"P\0\0\0\x0d\0SE", false, Role::Server),
            (postgres, b"1\0\0\0\x042\0\0", false, Role::Client),
            // DataRow or Describe, CommandComplete or Close.
            (postgres, b"D\0\0\0\x04\0\0\0", true, Role::Unknown),
            (postgres, b"C\0\0\0\x04\0\0\0", false, Role::Unknown),
        ] {
            assert_eq!(infer_role(class, first, sent), role, "{first:?} {sent}");
        }
    }

    #[test]
    fn encryption_is_noticed_on_a_connection_that_began_in_the_clear() {
        let hello = [22, 3, 1, 2, 0, 1, 0, 1];
        let [http, postgres] = [StreamClass::Http1 as u8, StreamClass::Postgres as u8];
        assert!(begins_tls(postgres, &hello, 517));
        assert!(begins_tls(http, &hello, 517));
        // The header alone, and a body that only begins like one.
        assert!(begins_tls(http, &[22, 3, 1, 2, 0, 0, 0, 0], 5));
        assert!(!begins_tls(http, &[22, 3, 1, 2, 0, 9, 0, 1], 517));
        assert!(!begins_tls(postgres, b"Q\0\0\0\x0dSEL", 14));
    }

    #[test]
    fn other_protocols_are_not_taken_for_either() {
        assert_eq!(class(b"*1\r\n$4\r\nPING\r\n"), StreamClass::Unknown);
        assert_eq!(class(b"SSH-2.0-OpenSSH_9.2\r\n"), StreamClass::Unknown);
        assert_eq!(class(&[22, 3, 1, 2, 0, 1, 0, 1]), StreamClass::Tls);
        assert_eq!(class(b"PUTS"), StreamClass::Unknown);
        assert_eq!(class(b""), StreamClass::Unknown);
    }
}
