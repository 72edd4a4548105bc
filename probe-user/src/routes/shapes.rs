//! What a path segment looks like by itself: ids, dates, hashes, that make a path unique.
//!
//! A segment is folded only if words do not look like that: `v1`, `oauth2`, `2fa` and `facade`
//! stay. What slips through is caught by the learner, which counts.

use std::borrow::Cow;

/// Digits that make a number within a longer segment an id (`img_12345.png`): fewer are names.
const ID_DIGITS_IN_NAME: usize = 4;
/// Hexadecimal digits, not all of one kind, from which they are a hash and no word.
const HASH_DIGITS: usize = 8;
/// Hexadecimal digits that no word has, whatever they are.
const LONG_HASH_DIGITS: usize = 16;
/// Characters from which a mixture of classes is a token.
const TOKEN_CHARACTERS: usize = 10;

/// Folds a segment, or those parts of it that are ids: `42` is `{id}`, `report-2024-01-15.pdf` is
/// `report-{date}.pdf`. Other segments are returned as they are.
pub(super) fn fold(segment: &str) -> Cow<'_, str> {
    // Words are most of what there is, and have neither digits nor much length.
    let digits = segment.bytes().any(|byte| byte.is_ascii_digit());
    if !digits && segment.len() < LONG_HASH_DIGITS && !segment.contains('@') {
        return Cow::Borrowed(segment);
    }
    if let Some(shape) = shape(segment) {
        return Cow::Borrowed(shape);
    }
    if digits {
        fold_parts(segment)
    } else {
        Cow::Borrowed(segment)
    }
}

/// The placeholder for a segment that is an id as a whole.
fn shape(segment: &str) -> Option<&'static str> {
    let bytes = segment.as_bytes();
    let unsigned = bytes
        .strip_prefix(b"-")
        .or(bytes.strip_prefix(b"+"))
        .unwrap_or(bytes);
    if all(unsigned, u8::is_ascii_digit) {
        return Some("{id}");
    }
    if is_uuid(bytes) {
        return Some("{uuid}");
    }
    if is_date(bytes) {
        return Some("{date}");
    }
    if is_ulid(bytes) {
        return Some("{ulid}");
    }
    if is_email(segment) {
        return Some("{email}");
    }
    if is_hash(bytes) {
        return Some("{hash}");
    }
    is_token(bytes).then_some("{token}")
}

/// Folds the parts of names that programs make: `app.3f2a9c1b.js`, `img_12345.png`, `cus_9s6XK...`.
fn fold_parts(segment: &str) -> Cow<'_, str> {
    if let Some(folded) = fold_date_in_name(segment) {
        return Cow::Owned(folded);
    }
    let mut folded = String::new();
    let mut changed = false;
    for piece in segment.split_inclusive(['.', '-', '_', '~', '=', ',', ':']) {
        let separator =
            piece.len() - usize::from(piece.ends_with(['.', '-', '_', '~', '=', ',', ':']));
        let (part, separator) = piece.split_at_checked(separator).unwrap_or((piece, ""));
        match part_shape(part) {
            Some(shape) => {
                changed = true;
                folded.push_str(shape);
            }
            None => folded.push_str(part),
        }
        folded.push_str(separator);
    }
    if changed {
        Cow::Owned(folded)
    } else {
        Cow::Borrowed(segment)
    }
}

fn part_shape(part: &str) -> Option<&'static str> {
    let bytes = part.as_bytes();
    if all(bytes, u8::is_ascii_digit) {
        return (bytes.len() >= ID_DIGITS_IN_NAME).then_some("{id}");
    }
    if is_hash(bytes) {
        return Some("{hash}");
    }
    is_token(bytes).then_some("{token}")
}

/// A date or UUID with its hyphens, before or behind other parts.
fn fold_date_in_name(segment: &str) -> Option<String> {
    let found = |length: usize, is: fn(&[u8]) -> bool, shape: &str| {
        (0..segment.len().saturating_sub(length)).find_map(|at| {
            // A number that goes on is another number.
            let joined = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
            let before = at.checked_sub(1).and_then(|at| segment.as_bytes().get(at));
            let after = segment.as_bytes().get(at + length);
            let middle = segment.get(at..at + length)?;
            if !is(middle.as_bytes()) || joined(before) || joined(after) {
                return None;
            }
            let (head, tail) = (segment.get(..at)?, segment.get(at + length..)?);
            Some(format!("{head}{shape}{tail}"))
        })
    };
    let at_end = |length: usize, is: fn(&[u8]) -> bool, shape: &str| {
        let head = segment.get(..segment.len().checked_sub(length)?)?;
        let tail = segment.get(head.len()..)?;
        let joined = head.ends_with(|c: char| c.is_ascii_alphanumeric());
        (is(tail.as_bytes()) && !joined).then(|| format!("{head}{shape}"))
    };
    let folded = found(36, is_uuid, "{uuid}")
        .or_else(|| at_end(36, is_uuid, "{uuid}"))
        .or_else(|| found(10, is_date, "{date}"))
        .or_else(|| at_end(10, is_date, "{date}"))?;
    // One more round for the rest: `2024-01-15-report-12345.pdf`. Braces end it.
    let (head, tail) = folded.split_once('{')?;
    let (shape, tail) = tail.split_once('}')?;
    Some(format!(
        "{}{{{shape}}}{}",
        fold_plain(head),
        fold_plain(tail)
    ))
}

fn fold_plain(part: &str) -> Cow<'_, str> {
    if part.bytes().any(|byte| byte.is_ascii_digit()) {
        fold_parts(part)
    } else {
        Cow::Borrowed(part)
    }
}

fn all(bytes: &[u8], is: fn(&u8) -> bool) -> bool {
    !bytes.is_empty() && bytes.iter().all(is)
}

/// RFC 9562: 8-4-4-4-12, in braces or not; without hyphens it is a hash.
fn is_uuid(bytes: &[u8]) -> bool {
    let bare = bytes.strip_prefix(b"urn:uuid:").unwrap_or(bytes);
    let mut groups = bare.split(|byte| *byte == b'-');
    let lengths = [8, 4, 4, 4, 12];
    bare.len() == 36
        && lengths.iter().all(|length| {
            groups.next().is_some_and(|group| {
                group.len() == *length && group.iter().all(u8::is_ascii_hexdigit)
            })
        })
}

/// 48 bits of time and 80 of randomness in Crockford's base 32, of one case.
fn is_ulid(bytes: &[u8]) -> bool {
    let crockford = |byte: &u8| {
        let upper = byte.to_ascii_uppercase();
        byte.is_ascii_alphanumeric() && !matches!(upper, b'I' | b'L' | b'O' | b'U')
    };
    let one_case =
        !bytes.iter().any(u8::is_ascii_lowercase) || !bytes.iter().any(u8::is_ascii_uppercase);
    bytes.len() == 26
        && matches!(bytes, [b'0'..=b'7', ..])
        && one_case
        && bytes.iter().all(crockford)
}

/// `YYYY-MM-DD`, also with a time behind it (RFC 3339).
fn is_date(bytes: &[u8]) -> bool {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..] = bytes else {
        return false;
    };
    let digits = [y1, y2, y3, y4, m1, m2, d1, d2]
        .iter()
        .all(|byte| byte.is_ascii_digit());
    let century = matches!((y1, y2), (b'1', b'9') | (b'2', b'0' | b'1'));
    let month = matches!((m1, m2), (b'0', b'1'..=b'9') | (b'1', b'0'..=b'2'));
    let day = matches!(
        (d1, d2),
        (b'0', b'1'..=b'9') | (b'1' | b'2', _) | (b'3', b'0' | b'1')
    );
    let time =
        |byte: &u8| byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b'+' | b'-' | b'Z');
    let timed = match rest {
        [] => true,
        [b'T' | b't' | b' ', rest @ ..] => rest.len() <= 25 && all(rest, time),
        _ => false,
    };
    digits && century && month && day && timed
}

fn is_email(segment: &str) -> bool {
    segment.split_once('@').is_some_and(|(name, domain)| {
        !name.is_empty() && !domain.starts_with('.') && domain.contains('.')
    })
}

/// Hexadecimal digits that are no word: long, or with both letters and digits.
fn is_hash(bytes: &[u8]) -> bool {
    let bare = bytes.strip_prefix(b"0x").unwrap_or(bytes);
    let mixed = bare.iter().any(u8::is_ascii_digit) && bare.iter().any(u8::is_ascii_alphabetic);
    all(bare, u8::is_ascii_hexdigit)
        && (bare.len() >= LONG_HASH_DIGITS || (bare.len() >= HASH_DIGITS && mixed))
}

/// Random characters in base 36, 58, 62 or 64, and signed tokens (RFC 7519): character classes
/// change much more often than in words, also in words that are joined by capitals.
fn is_token(bytes: &[u8]) -> bool {
    #[derive(PartialEq)]
    enum Class {
        Lower,
        Upper,
        Digit,
        Sign,
    }
    let class = |byte: &u8| match byte {
        b'a'..=b'z' => Some(Class::Lower),
        b'A'..=b'Z' => Some(Class::Upper),
        b'0'..=b'9' => Some(Class::Digit),
        b'-' | b'_' | b'=' | b'+' | b'.' | b'~' => Some(Class::Sign),
        _ => None,
    };
    let (mut digits, mut signs, mut dots, mut changes) = (0, 0, 0, 0);
    let mut last = None;
    for byte in bytes {
        let Some(class) = class(byte) else {
            return false;
        };
        match class {
            Class::Digit => digits += 1,
            Class::Sign => {
                signs += 1;
                dots += usize::from(*byte == b'.');
            }
            Class::Lower | Class::Upper => {}
        }
        // A sign separates, in words as in tokens: only what it separates is counted.
        if class != Class::Sign {
            changes += usize::from(last.as_ref().is_some_and(|last| *last != class));
            last = Some(class);
        }
    }
    let length = bytes.len() - signs;
    let random = digits > 0 && changes * 3 >= length && signs * 6 <= length;
    // `eyJ` is `{"` in base 64: the beginning of every signed token. Other dots make file names.
    (bytes.starts_with(b"eyJ") && length >= 16)
        || (length >= TOKEN_CHARACTERS && random && dots == 0)
}
