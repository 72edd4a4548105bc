//! Paths as they are compared: decoded, without empty and dot segments, bounded.

use std::borrow::Cow;

use super::Limits;

/// Stands for segments that are not distinguished.
pub(super) const PARAM: &str = "{param}";
/// Stands for the end of a path that is too long.
pub(super) const REST: &str = "{rest}";

/// A normalised path (RFC 3986, section 6.2.2, and what servers do beyond it).
#[derive(Debug)]
pub(super) struct Path<'a> {
    whole: Cow<'a, str>,
    limits: Limits,
}

impl<'a> Path<'a> {
    /// Normalises `path`: query, fragment and path parameters (`;jsessionid=`) are cut off, percent
    /// encoding is decoded where it gives a plain character, empty segments, a trailing slash, `.`
    /// and `..` are resolved. `/users` and `/users/` are the same.
    ///
    /// `None` if it is no path: `*`, or an authority.
    pub(super) fn parse(path: &'a str, limits: &Limits) -> Option<Self> {
        let end = path.find(['?', '#']).unwrap_or(path.len());
        let path = path.get(..end).unwrap_or_default();
        if !path.starts_with('/') {
            return None;
        }
        let limits = *limits;
        // Nearly all paths are normal already.
        let dotted = path.contains("/.") || path.contains("//");
        let plain = path.len() <= limits.path_bytes && !path.contains(['%', ';']) && !dotted;
        let trailing = path.len() > 1 && path.ends_with('/');
        if plain && !trailing {
            return Some(Self {
                whole: Cow::Borrowed(path),
                limits,
            });
        }
        let (path, cut) = shortened(path, limits.path_bytes);
        let mut segments: Vec<Cow<'_, str>> = Vec::new();
        for segment in path.split('/') {
            let bare = segment.split(';').next().unwrap_or_default();
            match decoded(bare) {
                segment if segment.is_empty() || segment == "." => {}
                segment if segment == ".." => {
                    segments.pop();
                }
                segment => segments.push(segment),
            }
        }
        if cut {
            segments.push(Cow::Borrowed(REST));
        }
        Some(Self {
            whole: Cow::Owned(format!("/{}", segments.join("/"))),
            limits,
        })
    }

    /// The whole path; begins with a slash, and only the root ends in one.
    pub(super) fn as_str(&self) -> &str {
        &self.whole
    }

    /// The segments as the learner sees them: ids folded, the number bounded.
    pub(super) fn segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let limits = self.limits;
        let segments = self.whole.split('/').filter(|segment| !segment.is_empty());
        segments
            .take(limits.segments + 1)
            .enumerate()
            .map(move |(at, segment)| {
                if at == limits.segments || segment == REST {
                    return Cow::Borrowed(REST);
                }
                // Braces would be taken for a placeholder, an encoded `?` for the beginning of a query,
                // control characters for anything.
                let odd =
                    |c: char| matches!(c, '{' | '}' | '?' | '#' | '\u{fffd}') || c.is_control();
                if segment.contains(odd) {
                    return Cow::Borrowed(PARAM);
                }
                let folded = super::shapes::fold(segment);
                if folded.len() > limits.segment_bytes {
                    Cow::Borrowed(PARAM)
                } else {
                    folded
                }
            })
    }
}

/// `path` up to the last slash within `limit`, and whether it was longer.
fn shortened(path: &str, limit: usize) -> (&str, bool) {
    if path.len() <= limit {
        return (path, false);
    }
    let slash = path.bytes().take(limit).rposition(|byte| byte == b'/');
    // A slash is a character's boundary.
    (path.get(..slash.unwrap_or(0)).unwrap_or_default(), true)
}

/// Decodes `%XX`, except where it stands for a slash, which would then be another segment. What is
/// no UTF-8 becomes U+FFFD.
fn decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, behind @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, after @ ..] => hex(*high, *low).map(|byte| (byte, after)),
            _ => None,
        };
        let (byte, after) = escaped
            .filter(|(byte, _)| *byte != b'/')
            .unwrap_or((*first, behind));
        bytes.push(byte);
        rest = after;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}
