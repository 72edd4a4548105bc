//! What a head says: target, framing, and the few fields that the probe looks at.

use std::mem::MaybeUninit;
use std::net::IpAddr;

use httparse::{EMPTY_HEADER, Header, ParserConfig};

use super::exchange::{ClientAddress, ContentClass, Limits, Method, Upgrade, Version};
use super::fields;
use super::line::{self, RequestLine};

/// Fields in a head; more make it malformed. Servers accept about 100.
const MAX_FIELDS: usize = 256;

/// How a message's content is delimited (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// No content.
    None,
    /// `Content-Length`, greater than zero.
    Length(u64),
    /// `Transfer-Encoding` that ends in `chunked`.
    Chunked,
    /// A response that lasts as long as the connection.
    UntilClose,
    /// Contradictory or incomplete.
    Unknown,
}

/// A request's head.
#[derive(Clone, Debug)]
pub(super) struct RequestHead {
    pub(super) method: Method,
    pub(super) path: Option<Box<str>>,
    pub(super) host: Option<Box<str>>,
    pub(super) version: Version,
    pub(super) framing: Framing,
    pub(super) expects_continue: bool,
    pub(super) upgrade: Option<Upgrade>,
    pub(super) trace: Option<super::TraceParent>,
    pub(super) forwarded_for: Option<ClientAddress>,
}

/// A response's head.
#[derive(Clone, Debug)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    version: Version,
    length: Length,
    coding: Coding,
    pub(super) content: ContentClass,
    pub(super) upgrade: Option<Upgrade>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Length {
    #[default]
    Absent,
    Known(u64),
    /// Not a number, or several that differ.
    Invalid,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    Absent,
    Chunked,
    /// Codings of which the last is not `chunked`.
    Other,
}

#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Length,
    coding: Coding,
    expects_continue: bool,
    upgrade: Option<Upgrade>,
    traceparents: u32,
    trace: Option<super::TraceParent>,
    x_forwarded_for: Option<IpAddr>,
    forwarded: Option<IpAddr>,
    real_ip: Option<IpAddr>,
    content: ContentClass,
}

impl RequestHead {
    /// Parses a complete head, up to and with the empty line.
    pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Option<Self> {
        let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        parser()
            .parse_request_with_uninit_headers(&mut request, bytes, &mut fields)
            .ok()?;
        let line = RequestLine {
            method: Method::from_token(request.method?.as_bytes()),
            target: request.path?.as_bytes(),
            version: Some(version(request.version?)),
        };
        Some(Self::new(
            &line,
            true,
            &Fields::read(request.headers),
            limits,
        ))
    }

    /// What a head that is cut off, or that is malformed behind its first line, still says. Its
    /// framing is unknown: the missing fields could say anything.
    pub(super) fn parse_cut(bytes: &[u8], limits: &Limits) -> Option<Self> {
        let line = line::request_line(bytes)?;
        let whole = line::path_is_whole(bytes, &line);
        // The line of a field that is cut off would be read as another value.
        let mut lines = line::complete_lines(bytes).to_vec();
        lines.extend_from_slice(b"\r\n");
        let mut fields = [EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let head = match parser().parse_request(&mut request, &lines) {
            Ok(httparse::Status::Complete(_)) => {
                Self::new(&line, whole, &Fields::read(request.headers), limits)
            }
            _ => Self::new(&line, whole, &Fields::default(), limits),
        };
        Some(Self {
            framing: Framing::Unknown,
            ..head
        })
    }

    fn new(line: &RequestLine<'_>, whole: bool, fields: &Fields<'_>, limits: &Limits) -> Self {
        let target = Target::of(line, whole, limits);
        let text = |bytes: &[u8]| {
            let kept = bytes.len() <= limits.host_bytes && !bytes.is_empty();
            kept.then(|| String::from_utf8_lossy(bytes).into_owned().into_boxed_str())
        };
        let version = line.version.unwrap_or(Version::Http11);
        let framing = match (fields.coding, fields.length) {
            // HTTP/1.0 knows no codings: what it means is anyone's guess (section 6.1).
            (Coding::Chunked, _) if version == Version::Http11 => Framing::Chunked,
            (Coding::Chunked | Coding::Other, _) | (_, Length::Invalid) => Framing::Unknown,
            (Coding::Absent, Length::Absent | Length::Known(0)) => Framing::None,
            (Coding::Absent, Length::Known(length)) => Framing::Length(length),
        };
        Self {
            method: line.method,
            path: target.path,
            // The authority of the target overrules the field (section 3.2.2).
            host: target.authority.or(fields.host).and_then(text),
            version,
            framing,
            expects_continue: fields.expects_continue,
            upgrade: fields.upgrade,
            trace: fields.trace.filter(|_| fields.traceparents == 1),
            forwarded_for: fields
                .x_forwarded_for
                .or(fields.forwarded)
                .or(fields.real_ip)
                .map(ClientAddress::new),
        }
    }
}

/// The four forms of a target (section 3.2).
struct Target<'a> {
    path: Option<Box<str>>,
    authority: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    fn of(line: &RequestLine<'a>, whole: bool, limits: &Limits) -> Self {
        let target = line.target;
        if line.method == Method::Connect {
            return Self {
                path: Some("".into()),
                authority: whole.then_some(target),
            };
        }
        let (authority, rest) = match split_scheme(target) {
            None => (None, target),
            Some(behind) => {
                let end = behind
                    .iter()
                    .position(|byte| matches!(byte, b'/' | b'?' | b'#'));
                let (authority, rest) = behind.split_at(end.unwrap_or(behind.len()));
                // `user:password@` is deprecated, and a secret.
                let host = authority.rsplit(|byte| *byte == b'@').next();
                (if whole || end.is_some() { host } else { None }, rest)
            }
        };
        let end = rest.iter().position(|byte| matches!(byte, b'?' | b'#'));
        let path = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let known = (whole || end.is_some()) && path.len() <= limits.target_bytes;
        let path = known.then(|| match path {
            // A URI without a path means the root, or for OPTIONS the server (section 3.2.4).
            [] if line.method == Method::Options && end.is_none() => "*".into(),
            [] => "/".into(),
            path => String::from_utf8_lossy(path).into_owned().into_boxed_str(),
        });
        Self { path, authority }
    }
}

/// What is behind `http://` or `https://`.
fn split_scheme(target: &[u8]) -> Option<&[u8]> {
    let at = target.iter().take(8).position(|byte| *byte == b':')?;
    let scheme = target.get(..at)?;
    let known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    target.get(at..)?.strip_prefix(b"://").filter(|_| known)
}

impl ResponseHead {
    /// Parses a complete head, up to and with the empty line.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        parser()
            .parse_response_with_uninit_headers(&mut response, bytes, &mut fields)
            .ok()?;
        let status = response.code.filter(|status| *status >= 100)?;
        Some(Self::new(
            status,
            version(response.version?),
            &Fields::read(response.headers),
        ))
    }

    /// What a head that is cut off still says; the fields are only those at hand.
    pub(super) fn parse_cut(bytes: &[u8]) -> Option<Self> {
        // Digits at the very end of the bytes could be followed by another.
        let status = line::status(bytes).filter(|_| bytes.len() > b"HTTP/1.1 200".len())?;
        let mut lines = line::complete_lines(bytes).to_vec();
        lines.extend_from_slice(b"\r\n");
        let mut fields = [EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        Some(match parser().parse_response(&mut response, &lines) {
            Ok(httparse::Status::Complete(_)) => {
                Self::new(status, Version::Http11, &Fields::read(response.headers))
            }
            _ => Self::new(status, Version::Http11, &Fields::default()),
        })
    }

    fn new(status: u16, version: Version, fields: &Fields<'_>) -> Self {
        Self {
            status,
            version,
            length: fields.length,
            coding: fields.coding,
            content: fields.content,
            upgrade: fields.upgrade,
        }
    }

    /// How the content is delimited, in the order of section 6.3.
    pub(super) fn framing(&self, method: Method) -> Framing {
        if method == Method::Head || matches!(self.status, 100..=199 | 204 | 304) {
            return Framing::None;
        }
        match (self.coding, self.length) {
            (Coding::Chunked, _) if self.version == Version::Http11 => Framing::Chunked,
            (Coding::Chunked | Coding::Other, _) => Framing::UntilClose,
            (Coding::Absent, Length::Invalid) => Framing::Unknown,
            (Coding::Absent, Length::Absent) => Framing::UntilClose,
            (Coding::Absent, Length::Known(0)) => Framing::None,
            (Coding::Absent, Length::Known(length)) => Framing::Length(length),
        }
    }
}

/// As tolerant as the servers are: what they answer is what counts.
fn parser() -> ParserConfig {
    let mut parser = ParserConfig::default();
    parser
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_requests(true)
        .ignore_invalid_headers_in_responses(true);
    parser
}

fn version(minor: u8) -> Version {
    if minor == 0 {
        Version::Http10
    } else {
        Version::Http11
    }
}

impl<'a> Fields<'a> {
    fn read(headers: &[Header<'a>]) -> Self {
        let mut fields = Self::default();
        for header in headers {
            fields.add(header.name, header.value.trim_ascii());
        }
        fields
    }

    fn add(&mut self, name: &str, value: &'a [u8]) {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        // By length first: most fields are none of these.
        match name.len() {
            4 if is("host") => self.host = self.host.or(Some(value)),
            6 if is("expect") => {
                self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue")
            }
            7 if is("upgrade") => self.upgrade = self.upgrade.or_else(|| fields::upgrade(value)),
            9 if is("forwarded") => {
                self.forwarded = self.forwarded.or_else(|| fields::forwarded(value))
            }
            9 if is("x-real-ip") => self.real_ip = self.real_ip.or_else(|| fields::address(value)),
            11 if is("traceparent") => {
                self.traceparents += 1;
                self.trace = fields::traceparent(value);
            }
            12 if is("content-type") => self.content = fields::content_class(value),
            14 if is("content-length") => self.add_length(value),
            15 if is("x-forwarded-for") => {
                self.x_forwarded_for = self
                    .x_forwarded_for
                    .or_else(|| fields::first_address(value));
            }
            17 if is("transfer-encoding") => self.add_coding(value),
            _ => {}
        }
    }

    /// Several equal lengths are one (section 6.3, item 5).
    fn add_length(&mut self, value: &[u8]) {
        for part in value.split(|byte| *byte == b',') {
            let length = fields::decimal(part.trim_ascii());
            self.length = match (self.length, length) {
                (Length::Absent, Some(length)) => Length::Known(length),
                (Length::Known(known), Some(length)) if known == length => self.length,
                _ => Length::Invalid,
            };
        }
    }

    fn add_coding(&mut self, value: &[u8]) {
        for part in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.coding = match part {
                [] => self.coding,
                part if part.eq_ignore_ascii_case(b"chunked") => match self.coding {
                    // Chunked twice is an error of the sender (section 7).
                    Coding::Chunked => Coding::Other,
                    _ => Coding::Chunked,
                },
                // From RFC 2616; says nothing.
                part if part.eq_ignore_ascii_case(b"identity") => self.coding,
                _ => Coding::Other,
            };
        }
    }
}
