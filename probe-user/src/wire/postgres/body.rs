//! Reads the bodies of messages, as far as they are at hand.

use twox_hash::XxHash3_64;

use super::event::SqlState;
use crate::sql::name_id;

/// The bytes before the next NUL, and what follows it; `None` if there is none.
pub(super) fn string(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = body.iter().position(|byte| *byte == 0)?;
    Some((body.get(..end)?, body.get(end + 1..)?))
}

/// Parse: the statement's name, its text, and whether the text's end is missing.
pub(super) fn parse(body: &[u8]) -> (Option<u64>, Option<(&[u8], bool)>) {
    let Some((name, rest)) = string(body) else {
        return (None, None);
    };
    (Some(name_id(name)), Some(text(rest)))
}

/// A text that ends in NUL, and whether that end is missing.
pub(super) fn text(body: &[u8]) -> (&[u8], bool) {
    string(body).map_or((body, true), |(text, _)| (text, false))
}

/// Bind: portal, statement and a hash of the parameters (formats included).
pub(super) fn bind(body: &[u8], complete: bool) -> (Option<u64>, Option<u64>, Option<u64>) {
    let Some((portal, rest)) = string(body) else {
        return (None, None, None);
    };
    let Some((statement, rest)) = string(rest) else {
        return (Some(name_id(portal)), None, None);
    };
    let parameters = complete.then(|| XxHash3_64::oneshot(rest));
    (Some(name_id(portal)), Some(name_id(statement)), parameters)
}

/// Execute: the portal.
pub(super) fn execute(body: &[u8]) -> Option<u64> {
    string(body).map(|(portal, _)| name_id(portal))
}

/// Describe and Close: `S` or `P`, and the name.
pub(super) fn target(body: &[u8]) -> Option<(u8, Option<u64>)> {
    let (kind, name) = body.split_first()?;
    Some((*kind, string(name).map(|(name, _)| name_id(name))))
}

/// ErrorResponse: the code (field `C`; it stands before every text of the user's).
pub(super) fn sqlstate(body: &[u8]) -> SqlState {
    field(body, b'C')
        .and_then(|value| value.try_into().ok())
        .map_or(SqlState::UNKNOWN, SqlState)
}

/// ErrorResponse: whether the server ends the session with it. Field `V` is the severity that is
/// never translated (since 9.6); before that, field `S` in English has to do.
pub(super) fn is_fatal(body: &[u8]) -> bool {
    let severity = field(body, b'V').or_else(|| field(body, b'S'));
    matches!(severity, Some(b"FATAL" | b"PANIC"))
}

/// A field of ErrorResponse.
fn field(mut body: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (field, rest) = body.split_first()?;
        let (value, rest) = string(rest)?;
        if *field == wanted {
            return Some(value);
        }
        body = rest;
    }
}

/// A CommandComplete tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    /// Rows that it tells.
    pub(super) rows: Option<u64>,
    /// Whether it ends a transaction, and how: `Some(true)` for COMMIT.
    pub(super) ends: Option<bool>,
    /// Whether it is a `SELECT`, which a portal may return in steps.
    pub(super) is_select: bool,
}

/// CommandComplete: `SELECT 5`, `INSERT 0 1`, `COMMIT`.
pub(super) fn tag(body: &[u8]) -> Tag {
    let (tag, cut) = text(body);
    let mut rows = None;
    // Half a number is another number.
    if !cut && let Some(space) = tag.iter().rposition(|byte| *byte == b' ') {
        rows = number(tag.get(space + 1..).unwrap_or_default());
    }
    Tag {
        rows,
        ends: match tag {
            _ if cut => None,
            b"COMMIT" => Some(true),
            b"ROLLBACK" => Some(false),
            _ => None,
        },
        is_select: tag.starts_with(b"SELECT"),
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether bytes are a CommandComplete body: letters and spaces, then numbers, then NUL.
pub(super) fn is_tag(body: &[u8]) -> bool {
    let Some((0, tag)) = body.split_last() else {
        return false;
    };
    tag.first().is_some_and(u8::is_ascii_uppercase)
        && tag
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ')
}

/// Text for people; in whatever encoding, so that what is not UTF-8 is replaced.
pub(super) fn readable(bytes: &[u8]) -> Box<str> {
    const LONGEST: usize = 256;
    let bytes = bytes.get(..LONGEST).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned().into_boxed_str()
}
