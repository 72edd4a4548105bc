//! Days, weeks and months of a time zone.

use std::str::FromStr;

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};

const DAY_MS: i64 = 86_400_000;
/// The last time that is looked at, in the year 9000.
const LAST_MS: i64 = 221_845_392_000_000;

/// How long a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday, as ISO 8601 has it.
    Week,
    /// A month of the calendar.
    Month,
}

/// What is no [`Period`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("allowed are day, week, month")]
pub struct UnknownPeriod;

impl FromStr for Period {
    type Err = UnknownPeriod;

    fn from_str(text: &str) -> Result<Self, UnknownPeriod> {
        match text {
            "day" => Ok(Self::Day),
            "week" => Ok(Self::Week),
            "month" => Ok(Self::Month),
            _ => Err(UnknownPeriod),
        }
    }
}

/// From its first millisecond to before that of the next one, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

impl Period {
    /// As it is called in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The one that this time is in.
    pub(super) fn at(self, at_ms: i64, zone: &TimeZone) -> Span {
        let at_ms = at_ms.clamp(0, LAST_MS);
        // The library fails only near the ends of its calendar.
        self.calendar(at_ms, zone).unwrap_or(Span {
            start_ms: at_ms - at_ms.rem_euclid(DAY_MS),
            end_ms: at_ms - at_ms.rem_euclid(DAY_MS) + DAY_MS,
        })
    }

    /// The one before.
    pub(super) fn before(self, span: Span, zone: &TimeZone) -> Span {
        self.at(span.start_ms - 1, zone)
    }

    fn calendar(self, at_ms: i64, zone: &TimeZone) -> Result<Span, jiff::Error> {
        let date = zone.to_datetime(Timestamp::from_millisecond(at_ms)?).date();
        let (first, next) = match self {
            Self::Day => (date, date.tomorrow()?),
            Self::Week => {
                let since_monday = date.weekday().to_monday_zero_offset();
                let monday = date.checked_sub(i64::from(since_monday).days())?;
                (monday, monday.checked_add(7.days())?)
            }
            Self::Month => {
                let first = date.first_of_month();
                (first, first.checked_add(1.month())?)
            }
        };
        Ok(Span {
            start_ms: begin(first, zone)?,
            end_ms: begin(next, zone)?,
        })
    }
}

fn begin(date: Date, zone: &TimeZone) -> Result<i64, jiff::Error> {
    Ok(zone.to_timestamp(date.at(0, 0, 0, 0))?.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(period: Period, at: &str, zone: &str) -> (String, String) {
        let zone = TimeZone::get(zone).unwrap();
        let at: Timestamp = at.parse().unwrap();
        let span = period.at(at.as_millisecond(), &zone);
        let text = |ms| Timestamp::from_millisecond(ms).unwrap().to_string();
        (text(span.start_ms), text(span.end_ms))
    }

    fn is(period: Period, at: &str, zone: &str, from: &str, to: &str) {
        let expected = (from.to_owned(), to.to_owned());
        assert_eq!(span(period, at, zone), expected, "{period:?} {at} {zone}");
    }

    #[test]
    fn weeks_begin_on_monday_and_have_the_hours_of_their_zone() {
        let week = Period::Week;
        // A Wednesday; a Sunday; a Monday.
        is(
            week,
            "2026-11-25T12:00:00Z",
            "UTC",
            "2026-11-23T00:00:00Z",
            "2026-11-30T00:00:00Z",
        );
        is(
            week,
            "2026-11-29T23:59:59Z",
            "UTC",
            "2026-11-23T00:00:00Z",
            "2026-11-30T00:00:00Z",
        );
        is(
            week,
            "2026-11-30T00:00:00Z",
            "UTC",
            "2026-11-30T00:00:00Z",
            "2026-12-07T00:00:00Z",
        );
        // The week in which clocks go back has an hour more.
        is(
            week,
            "2026-10-25T12:00:00Z",
            "Europe/Berlin",
            "2026-10-18T22:00:00Z",
            "2026-10-25T23:00:00Z",
        );
    }

    #[test]
    fn months_have_their_own_length_and_days_theirs() {
        let month = Period::Month;
        is(
            month,
            "2028-02-29T12:00:00Z",
            "UTC",
            "2028-02-01T00:00:00Z",
            "2028-03-01T00:00:00Z",
        );
        // New Year's Eve in California while it is January in Greenwich.
        is(
            month,
            "2027-01-01T07:59:59Z",
            "America/Los_Angeles",
            "2026-12-01T08:00:00Z",
            "2027-01-01T08:00:00Z",
        );
        is(
            Period::Day,
            "2026-03-29T12:00:00Z",
            "Europe/Berlin",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        );
    }

    #[test]
    fn the_period_before_ends_where_this_one_begins() {
        let zone = TimeZone::get("America/Los_Angeles").unwrap();
        for period in [Period::Day, Period::Week, Period::Month] {
            let at: Timestamp = "2026-03-08T20:00:00Z".parse().unwrap();
            let mut span = period.at(at.as_millisecond(), &zone);
            for _ in 0..40 {
                let before = period.before(span, &zone);
                assert_eq!(before.end_ms, span.start_ms, "{period:?}");
                assert!(before.start_ms < before.end_ms);
                span = before;
            }
        }
    }
}
