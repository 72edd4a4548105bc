//! Values of single fields.

use std::net::{IpAddr, SocketAddr};

use super::exchange::{ContentClass, TraceParent, Upgrade};

/// `1*DIGIT`; `None` for anything else, and for what does not fit 64 bits.
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The first protocol of an `Upgrade` field (RFC 9110, section 7.8).
pub(super) fn upgrade(value: &[u8]) -> Option<Upgrade> {
    let first = value.split(|byte| *byte == b',').next()?.trim_ascii();
    let name = first.split(|byte| *byte == b'/').next()?;
    if name.is_empty() {
        None
    } else if name.eq_ignore_ascii_case(b"websocket") {
        Some(Upgrade::WebSocket)
    } else if name.eq_ignore_ascii_case(b"h2c") {
        Some(Upgrade::H2c)
    } else {
        Some(Upgrade::Other)
    }
}

/// What a `Content-Type` means for a duration.
pub(super) fn content_class(value: &[u8]) -> ContentClass {
    let essence = value
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let is = |wanted: &[u8]| essence.eq_ignore_ascii_case(wanted);
    let begins = |wanted: &[u8]| {
        essence
            .get(..wanted.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(wanted))
    };
    let ends = |wanted: &[u8]| {
        let start = essence.len().checked_sub(wanted.len());
        start
            .and_then(|start| essence.get(start..))
            .is_some_and(|end| end.eq_ignore_ascii_case(wanted))
    };
    if essence.is_empty() {
        ContentClass::Unknown
    } else if is(b"text/event-stream") {
        ContentClass::EventStream
    } else if is(b"text/html") || is(b"application/xhtml+xml") {
        ContentClass::Page
    } else if begins(b"application/grpc")
        || begins(b"multipart/x-mixed-replace")
        || is(b"application/x-ndjson")
        || is(b"application/jsonl")
        || is(b"application/stream+json")
    {
        ContentClass::Stream
    } else if is(b"application/json") || ends(b"+json") {
        ContentClass::Json
    } else {
        ContentClass::Other
    }
}

/// W3C Trace Context, section 3.2.2: version, trace id, parent id, flags. A higher version is read
/// as far as it agrees with this one (section 4.3).
pub(super) fn traceparent(value: &[u8]) -> Option<TraceParent> {
    let (known, rest) = value.split_at_checked(55)?;
    let mut parts = known.split(|byte| *byte == b'-');
    let [version] = hex::<1>(parts.next()?)?;
    let trace_id = hex::<16>(parts.next()?)?;
    let parent_id = hex::<8>(parts.next()?)?;
    let [flags] = hex::<1>(parts.next()?)?;
    let ended = match (version, rest) {
        (0xff, _) => false,
        (_, []) => true,
        (0, _) => false,
        (_, [next, ..]) => *next == b'-',
    };
    let valid = parts.next().is_none() && trace_id != [0; 16] && parent_id != [0; 8];
    (ended && valid).then_some(TraceParent {
        trace_id,
        parent_id,
        sampled: flags & 1 == 1,
    })
}

/// Exactly `N` bytes as lower-case hexadecimal digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | value;
        }
    }
    Some(bytes)
}

/// The first address of a list, as in `X-Forwarded-For`.
pub(super) fn first_address(value: &[u8]) -> Option<IpAddr> {
    address(value.split(|byte| *byte == b',').next()?.trim_ascii())
}

/// The first `for` of a `Forwarded` field (RFC 7239, section 5.2). `unknown` and names that hide
/// the address (section 6.3) identify nobody.
pub(super) fn forwarded(value: &[u8]) -> Option<IpAddr> {
    let element = value.split(|byte| *byte == b',').next()?;
    element.split(|byte| *byte == b';').find_map(|pair| {
        let (name, value) = pair.trim_ascii().split_at_checked(4)?;
        if !name.eq_ignore_ascii_case(b"for=") {
            return None;
        }
        let quoted = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""));
        address(quoted.unwrap_or(value))
    })
}

/// An address with or without port, so that a client's connections are one client.
pub(super) fn address(value: &[u8]) -> Option<IpAddr> {
    // The longest is IPv6 with scope and port.
    let text = std::str::from_utf8(value.get(..value.len().min(80))?)
        .ok()?
        .trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    let bare = text.strip_prefix('[')?.strip_suffix(']')?;
    bare.parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_is_whole_or_absent() {
        let good = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = traceparent(good).unwrap();
        assert_eq!(trace.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(trace.sampled);
        let future = b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more";
        assert!(!traceparent(future).unwrap().sampled);
        for bad in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47360-0f067aa0ba902b7-01",
            "",
        ] {
            assert_eq!(traceparent(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn one_client_has_one_address_however_it_is_written() {
        let client: IpAddr = "203.0.113.7".parse().unwrap();
        for value in ["203.0.113.7", "203.0.113.7:4711", "::ffff:203.0.113.7"] {
            assert_eq!(address(value.as_bytes()), Some(client), "{value}");
        }
        assert_eq!(first_address(b"203.0.113.7, 10.0.0.1"), Some(client));
        assert_eq!(
            forwarded(b"proto=https;For=\"203.0.113.7:80\", for=10.0.0.1"),
            Some(client)
        );
        let six: IpAddr = "2001:db8::1".parse().unwrap();
        for value in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443"] {
            assert_eq!(address(value.as_bytes()), Some(six), "{value}");
        }
        for nobody in ["unknown", "_hidden", "", "999.1.1.1", "localhost"] {
            assert_eq!(address(nobody.as_bytes()), None, "{nobody}");
        }
    }

    #[test]
    fn lengths_are_digits_that_fit() {
        assert_eq!(decimal(b"0042"), Some(42));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+1", "-1", "1.0", "0x10", "18446744073709551616"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn content_that_streams_is_told_apart() {
        assert_eq!(
            content_class(b"text/event-stream; charset=utf-8"),
            ContentClass::EventStream
        );
        assert_eq!(
            content_class(b"application/problem+json"),
            ContentClass::Json
        );
        assert_eq!(content_class(b"Text/HTML"), ContentClass::Page);
        assert_eq!(
            content_class(b"application/grpc-web+proto"),
            ContentClass::Stream
        );
        assert_eq!(content_class(b"image/png"), ContentClass::Other);
        assert_eq!(content_class(b""), ContentClass::Unknown);
    }
}
