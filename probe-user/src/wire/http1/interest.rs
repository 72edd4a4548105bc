//! Content of the responses that somebody asks for.
//!
//! The decoder passes over content. Whoever needs some of it says so per request, by its host and path
//! alone, and gets it in pieces as it comes, without the framing of chunks. Nothing of it is kept here.

use std::fmt;

use super::exchange::{Method, TraceParent};

/// Longest value of a field that is told, in bytes; a longer one is left out.
const FIELD_BYTES: usize = 256;

/// Says whose responses are wanted.
pub trait Interest: fmt::Debug + Send + Sync {
    /// Whether the content of the response to this request is wanted.
    fn wish(&self, request: &Asked<'_>) -> Wish;

    /// Name of the field of such a request whose value is told with it; in any case.
    fn field(&self) -> &str;
}

/// What a wish is made by.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Request method.
    pub method: Method,
    /// Host, and port if given; `None` where it was not seen.
    pub host: Option<&'a str>,
    /// Path without query; `None` where it was cut off.
    pub path: Option<&'a str>,
}

/// What is wanted of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The content of its response.
    Content,
    /// Nothing.
    Nothing,
    /// Nothing, nor of any other request to this host.
    Foreign,
    /// Too little of its head was seen to tell.
    Unclear,
}

/// A request whose response's content is wanted. Its query is not here, since keys may be in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its number on this connection.
    pub serial: u64,
    /// Host, and port if given.
    pub host: Option<Box<str>>,
    /// Path without query.
    pub path: Option<Box<str>>,
    /// Value of [`Interest::field`], if it has one of at most 256 bytes.
    pub field: Option<Box<str>>,
    /// Trace context, if well-formed.
    pub trace: Option<TraceParent>,
    /// As [`super::Exchange::started_ns`].
    pub started_ns: u64,
}

/// A piece of wanted content, in the order of the bytes.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// The response's head is over; its `Content-Type` and `Content-Encoding`, empty if it has none.
    Begins {
        /// `Content-Type`.
        kind: Box<str>,
        /// `Content-Encoding`.
        encoding: Box<str>,
    },
    /// These bytes.
    Bytes(Vec<u8>),
    /// Bytes that are not at hand, of any number.
    Missing,
}

/// Shows no content: what people ask and are answered must not end up in a log by accident.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begins { kind, encoding } => f
                .debug_struct("Begins")
                .field("kind", kind)
                .field("encoding", encoding)
                .finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Missing => f.write_str("Missing"),
        }
    }
}

/// The value of the first field of this name in a head, which may be cut off.
pub(super) fn field(head: &[u8], name: &str) -> Option<Box<str>> {
    let lines = head.split_inclusive(|byte| *byte == b'\n').skip(1);
    // The value of a line that is cut off would be read as another.
    let mut whole = lines.filter(|line| line.ends_with(b"\n"));
    let value = whole.find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (found, value) = line.split_at_checked(colon)?;
        let is_it = found.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        is_it.then(|| value.get(1..).unwrap_or_default().trim_ascii())
    })?;
    let text = std::str::from_utf8(value).ok()?;
    (text.len() <= FIELD_BYTES).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_name_and_only_when_it_is_whole() {
        let head =
            b"POST / HTTP/1.1\r\nHost: a\r\nX-Feature:  chat \r\nx-feature: other\r\nX-Cut: ab";
        assert_eq!(field(head, "x-feature").as_deref(), Some("chat"));
        assert_eq!(field(head, "HOST").as_deref(), Some("a"));
        assert_eq!(field(head, "x-cut"), None);
        assert_eq!(field(head, "feature"), None);
        assert_eq!(field(b"x-feature: chat\r\n", "x-feature"), None);
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "v".repeat(257));
        assert_eq!(field(long.as_bytes(), "x"), None);
    }

    #[test]
    fn content_is_not_shown() {
        let shown = format!("{:?}", Content::Bytes(b"a secret".to_vec()));
        assert_eq!(shown, "Bytes(8 bytes)");
    }
}
