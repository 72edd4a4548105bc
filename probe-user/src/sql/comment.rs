//! sqlcommenter: key-value pairs that frameworks append to a statement in a comment.

/// A W3C trace context, as in the `traceparent` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Traceparent {
    /// The trace; never 0.
    pub trace_id: u128,
    /// The span that caused the statement; never 0.
    pub span_id: u64,
    /// Bit 0: sampled.
    pub flags: u8,
}

impl Traceparent {
    /// Finds `traceparent='00-...'` in a comment; the quotes may be URL-encoded.
    pub fn in_comment(comment: &[u8]) -> Option<Self> {
        const KEY: &[u8] = b"traceparent=";
        let at = comment
            .windows(KEY.len())
            .position(|window| window == KEY)?;
        let value = comment.get(at + KEY.len()..)?;
        let value = value
            .strip_prefix(b"'")
            .or_else(|| value.strip_prefix(b"%27"))
            .unwrap_or(value);
        Self::parse(value.get(..55)?)
    }

    /// The header's value: version, trace, span and flags (W3C Trace Context, section 3.2).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = std::str::from_utf8(value).ok()?;
        let mut fields = value.split('-');
        let version = hex(fields.next()?, 2)?;
        let trace_id = hex(fields.next()?, 32)?;
        let span_id = u64::try_from(hex(fields.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(fields.next()?, 2)?).ok()?;
        (version != 0xff && trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            flags,
        })
    }
}

/// A field of exactly so many hexadecimal digits in lower case.
fn hex(field: &str, digits: usize) -> Option<u128> {
    let valid = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if field.len() != digits || !field.bytes().all(valid) {
        return None;
    }
    u128::from_str_radix(field, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A statement is tied to its request by this, or to none.
    #[test]
    fn a_trace_is_found_in_a_comment_or_not_at_all() {
        let comment = b"/*db_driver='psycopg',traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'*/";
        let expected = Traceparent {
            trace_id: 0x5bd6_6ef5_0953_69c7_b0d1_f8f4_bd33_716a,
            span_id: 0xc532_cb40_98ac_3dd2,
            flags: 1,
        };
        assert_eq!(Traceparent::in_comment(comment), Some(expected));
        let encoded =
            b"/*traceparent=%2700-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01%27*/";
        assert_eq!(Traceparent::in_comment(encoded), Some(expected));
        for broken in [
            &b"/* traceparent='00-0bd6' */"[..],
            b"/*traceparent='00-00000000000000000000000000000000-c532cb4098ac3dd2-01'*/",
            b"/*traceparent='ff-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'*/",
            b"/*traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-C532CB4098AC3DD2-01'*/",
            b"-- nothing",
        ] {
            assert_eq!(Traceparent::in_comment(broken), None);
        }
    }
}
