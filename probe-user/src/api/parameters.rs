//! Parameters that several endpoints take, and how wrong ones are refused.

use axum::http::StatusCode;
use jiff::Timestamp;

use super::Problem;

const TIME: &str = "allowed is a time such as 2026-01-31T12:00:00Z, or one before now such as 90s, \
                    15m, 2h or 7d";

pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

pub(super) fn refuse(name: &str, value: &str, allowed: &str) -> Problem {
    bad(format!("`{name}` = {value:?}: {allowed}"))
}

pub(super) fn unknown(name: &str, allowed: &str) -> Problem {
    bad(format!(
        "there is no parameter `{name}`; allowed are {allowed}"
    ))
}

/// A time in Unix milliseconds: RFC 3339, or so long before now.
pub(super) fn time(name: &str, value: &str, now_ms: i64) -> Result<i64, Problem> {
    read_time(value, now_ms).ok_or_else(|| refuse(name, value, TIME))
}

fn read_time(text: &str, now_ms: i64) -> Option<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    let units = [
        ('s', 1_000),
        ('m', 60_000),
        ('h', 3_600_000),
        ('d', 86_400_000),
    ];
    let (number, unit_ms) = units
        .into_iter()
        .find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms)))?;
    // A sign is no digit.
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = number.parse().ok().filter(|_| digits)?;
    now_ms.checked_sub(number.checked_mul(unit_ms)?)
}

/// How many, from 1 to `most`.
pub(super) fn limit(name: &str, value: &str, most: u32) -> Result<u32, Problem> {
    let number = value
        .parse()
        .ok()
        .filter(|limit| (1..=most).contains(limit));
    let allowed = || format!("allowed is a whole number from 1 to {most}");
    number.ok_or_else(|| refuse(name, value, &allowed()))
}

/// Sixteen hexadecimal digits.
pub(super) fn fingerprint(name: &str, value: &str) -> Result<u64, Problem> {
    let hex = |byte: u8| byte.is_ascii_hexdigit();
    let digits = Some(value).filter(|value| value.len() == 16 && value.bytes().all(hex));
    let number = digits.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    number.ok_or_else(|| refuse(name, value, "allowed are 16 hexadecimal digits"))
}

/// With milliseconds, in UTC.
pub(super) fn rfc3339(ms: i64) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or_default();
    format!("{at:.3}")
}
