//! Request and status lines, whole or cut off, and how certain it is that they are ones.
//!
//! Complete heads are parsed by `httparse`; this is for what it cannot answer: whether bytes from
//! which a direction would be picked up are certainly a message's beginning, and what a head
//! whose rest is missing still says.

use crate::wire::classify::{HTTP2_PREFACE, Protocol, looks_like};

use super::exchange::{Method, Version};

/// Whether bytes at the beginning of a call begin a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// They do: the line is complete, and nothing else looks like it.
    Certain,
    /// They may: the line is not complete.
    Possible,
    /// They do not.
    No,
}

/// A request line, or what there is of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: Method,
    /// As far as it goes.
    pub(super) target: &'a [u8],
    /// `None` where the line ends before it.
    pub(super) version: Option<Version>,
}

/// Whether `bytes` begin a request: a method that is registered, or any token if the line as a
/// whole is one.
pub(super) fn request_start(bytes: &[u8]) -> Start {
    let bytes = skip_empty_lines(bytes);
    if bytes.starts_with(HTTP2_PREFACE) {
        return Start::Certain;
    }
    match looks_like(bytes) {
        Protocol::NeedMore | Protocol::Http1Request => match first_line(bytes) {
            Some(line) if whole_request_line(line).is_some() => Start::Certain,
            Some(_) => Start::No,
            None => Start::Possible,
        },
        // An unregistered method: only a complete line tells.
        _ => match first_line(bytes) {
            Some(line) if whole_request_line(line).is_some() => Start::Certain,
            _ => Start::No,
        },
    }
}

/// Whether `bytes` begin a response: `HTTP/1.x` and a status code, up to the line's end.
pub(super) fn response_start(bytes: &[u8]) -> Start {
    let bytes = skip_empty_lines(bytes);
    match looks_like(bytes) {
        Protocol::NeedMore if b"HTTP/1.".starts_with(bytes) || bytes.starts_with(b"HTTP/1.") => {
            Start::Possible
        }
        Protocol::Http1Response => match first_line(bytes) {
            Some(line) if status(line).is_some() => Start::Certain,
            Some(_) => Start::No,
            None => Start::Possible,
        },
        _ => Start::No,
    }
}

/// `bytes` without empty lines before the message, which a recipient ignores (RFC 9112,
/// section 2.2).
pub(super) fn skip_empty_lines(bytes: &[u8]) -> &[u8] {
    let empty = bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    bytes.get(empty..).unwrap_or_default()
}

/// The end of the head that `bytes` begin with: behind the first empty line, counting lines that
/// end in a bare LF (section 2.2). The search begins at `from`, up to which nothing was found.
pub(super) fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let searched = bytes.get(from..)?;
    memchr::memchr_iter(b'\n', searched).find_map(|at| {
        let behind = from + at + 1;
        match bytes.get(behind..)? {
            [b'\n', ..] => Some(behind + 1),
            [b'\r', b'\n', ..] => Some(behind + 2),
            _ => None,
        }
    })
}

/// `bytes` up to the end of the last complete line.
pub(super) fn complete_lines(bytes: &[u8]) -> &[u8] {
    let end = memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1);
    bytes.get(..end).unwrap_or_default()
}

/// Reads a request line that may be cut off; `None` if not even the method is certain.
pub(super) fn request_line(bytes: &[u8]) -> Option<RequestLine<'_>> {
    let (line, complete) = match first_line(bytes) {
        Some(line) => (line, true),
        None => (bytes, false),
    };
    if complete {
        return whole_request_line(line);
    }
    let (method, target) = split_at_space(line)?;
    if !is_token(method) {
        return None;
    }
    let (target, version) = match split_at_space(target) {
        // The version itself may be cut: 1.1 is then what nearly all say, but not certain.
        Some((target, _)) => (target, None),
        None => (target, None),
    };
    Some(RequestLine {
        method: Method::from_token(method),
        target,
        version,
    })
}

/// The status code of a status line, cut off or not.
pub(super) fn status(bytes: &[u8]) -> Option<u16> {
    let rest = bytes.strip_prefix(b"HTTP/1.")?;
    let [b'0' | b'1', b' ', a @ b'1'..=b'9', b, c, behind @ ..] = rest else {
        return None;
    };
    if !(b.is_ascii_digit() && c.is_ascii_digit()) || matches!(behind, [b'!'..=b'~', ..]) {
        return None;
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    Some(digit(a) * 100 + digit(b) * 10 + digit(c))
}

/// Whether the target ends within the bytes at hand, and the path within the target: at a query,
/// or because something follows.
pub(super) fn path_is_whole(bytes: &[u8], line: &RequestLine<'_>) -> bool {
    line.version.is_some()
        || line.target.contains(&b'?')
        || split_at_space(bytes).is_some_and(|(_, rest)| rest.contains(&b' '))
}

fn whole_request_line(line: &[u8]) -> Option<RequestLine<'_>> {
    let (method, rest) = split_at_space(line)?;
    let (target, version) = split_at_space(rest)?;
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return None,
    };
    let plain = |byte: &u8| byte.is_ascii_graphic() || *byte >= 0x80;
    if !is_token(method) || target.is_empty() || !target.iter().all(plain) {
        return None;
    }
    Some(RequestLine {
        method: Method::from_token(method),
        target,
        version: Some(version),
    })
}

/// The first line without its end, if it is complete.
fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    let line = bytes.get(..memchr::memchr(b'\n', bytes)?)?;
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

fn split_at_space(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b' ', bytes)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// RFC 9110, section 5.6.2. Methods are upper-case in practice, and what is not is rather text.
fn is_token(bytes: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_' | b'0'..=b'9');
    bytes.first().is_some_and(u8::is_ascii_uppercase)
        && bytes.len() <= 32
        && bytes.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_lines_are_certain() {
        let cases: [(&[u8], Start); 12] = [
            (b"GET / HTTP/1.1\r\n", Start::Certain),
            (b"\r\nGET / HTTP/1.0\n", Start::Certain),
            (b"FROBNICATE /a HTTP/1.1\r\n", Start::Certain),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Start::Certain),
            (b"GET / HTTP/1.1", Start::Possible),
            (b"GE", Start::Possible),
            (b"", Start::Possible),
            (b"GET / HTTP/2.0\r\n", Start::No),
            (b"GET /a b HTTP/1.1\r\n", Start::No),
            (b"GET / is how it begins\r\n", Start::No),
            (b"{\"a\": 1}", Start::No),
            (b"get / HTTP/1.1\r\n", Start::No),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                request_start(bytes),
                expected,
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        }
        let cases: [(&[u8], Start); 8] = [
            (b"HTTP/1.1 200 OK\r\n", Start::Certain),
            (b"HTTP/1.1 200 \r\n", Start::Certain),
            (b"HTTP/1.0 404\n", Start::Certain),
            (b"HTTP/1.1 200 OK", Start::Possible),
            (b"HT", Start::Possible),
            (b"HTTP/1.1 2000 OK\r\n", Start::No),
            (b"HTTP/1.1 2x0 OK\r\n", Start::No),
            (b"HEAD", Start::No),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                response_start(bytes),
                expected,
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn a_cut_request_line_gives_what_is_certain() {
        let line = request_line(b"POST /a/b?c=d").unwrap();
        assert_eq!(
            (line.method, line.target),
            (Method::Post, b"/a/b?c=d".as_slice())
        );
        assert!(path_is_whole(b"POST /a/b?c=d", &line));
        assert!(!path_is_whole(
            b"POST /a/b",
            &request_line(b"POST /a/b").unwrap()
        ));
        assert!(path_is_whole(
            b"POST /a/b HT",
            &request_line(b"POST /a/b HT").unwrap()
        ));
        assert_eq!(request_line(b"POS"), None);
    }

    #[test]
    fn a_head_ends_at_the_first_empty_line() {
        assert_eq!(head_end(b"a\r\nb\r\n\r\nc", 0), Some(8));
        assert_eq!(head_end(b"a\nb\n\nc", 0), Some(5));
        assert_eq!(head_end(b"a\r\n\nc", 0), Some(4));
        assert_eq!(head_end(b"a\r\nb\r\n\r", 0), None);
        assert_eq!(head_end(b"a\r\nb\r\n\r\n", 3), Some(8));
    }
}
