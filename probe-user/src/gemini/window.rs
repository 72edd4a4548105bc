//! Minutes, days and months in which limits count, in a time zone.

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};

use crate::config::Per;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;
/// The last day that is counted as a day of its own, in the year 9000.
const LAST_MS: i64 = 221_845_392_000_000;

/// From its first millisecond to before that of the next one, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Its first millisecond.
    pub start_ms: i64,
    /// The first one after it.
    pub end_ms: i64,
}

impl Window {
    /// The one that this time is in. A day of the zone may have 23 or 25 hours; one that begins with
    /// a jump of the clock begins after it.
    pub fn at(per: Per, at_ms: i64, zone: &TimeZone) -> Self {
        let at_ms = at_ms.clamp(0, LAST_MS);
        match per {
            Per::Minute => Self::fixed(at_ms, MINUTE_MS),
            // The library fails only near the ends of its calendar.
            Per::Day | Per::Month => {
                calendar(per, at_ms, zone).unwrap_or_else(|_| Self::fixed(at_ms, DAY_MS))
            }
        }
    }

    fn fixed(at_ms: i64, length_ms: i64) -> Self {
        let start_ms = at_ms - at_ms.rem_euclid(length_ms);
        Self {
            start_ms,
            end_ms: start_ms + length_ms,
        }
    }
}

fn calendar(per: Per, at_ms: i64, zone: &TimeZone) -> Result<Window, jiff::Error> {
    let date = zone.to_datetime(Timestamp::from_millisecond(at_ms)?).date();
    let (first, next) = if per == Per::Month {
        let first = date.first_of_month();
        (first, first.checked_add(1.month())?)
    } else {
        (date, date.tomorrow()?)
    };
    Ok(Window {
        start_ms: begin(first, zone)?,
        end_ms: begin(next, zone)?,
    })
}

fn begin(date: Date, zone: &TimeZone) -> Result<i64, jiff::Error> {
    let midnight = date.at(0, 0, 0, 0);
    Ok(zone.to_timestamp(midnight)?.as_millisecond())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn window(per: Per, at: &str, name: &str) -> (String, String) {
        let window = Window::at(per, ms(at), &zone(name));
        let text = |ms| Timestamp::from_millisecond(ms).unwrap().to_string();
        (text(window.start_ms), text(window.end_ms))
    }

    fn is(per: Per, at: &str, name: &str, from: &str, to: &str) {
        assert_eq!(
            window(per, at, name),
            (from.to_owned(), to.to_owned()),
            "{per} of {at} in {name}"
        );
    }

    /// A limit that begins an hour early or late lets a day's use pass twice.
    #[test]
    fn days_begin_at_the_zone_s_midnight_and_have_its_hours() {
        let day = Per::Day;
        is(
            day,
            "2026-01-31T23:59:59.999Z",
            "UTC",
            "2026-01-31T00:00:00Z",
            "2026-02-01T00:00:00Z",
        );
        // 23 hours.
        is(
            day,
            "2026-03-29T01:30:00Z",
            "Europe/Berlin",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        );
        // 25 hours, seen from both hours that are called two.
        for at in ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"] {
            is(
                day,
                at,
                "Europe/Berlin",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            );
        }
        // Google's own day.
        is(
            day,
            "2026-11-01T06:59:00Z",
            "America/Los_Angeles",
            "2026-10-31T07:00:00Z",
            "2026-11-01T07:00:00Z",
        );
        // A quarter of an hour.
        is(
            day,
            "2026-01-01T18:15:00Z",
            "Asia/Kathmandu",
            "2026-01-01T18:15:00Z",
            "2026-01-02T18:15:00Z",
        );
    }

    #[test]
    fn a_day_whose_midnight_is_jumped_over_begins_after_the_jump() {
        // Clocks went from 00:00 to 01:00.
        is(
            Per::Day,
            "2018-11-04T12:00:00Z",
            "America/Sao_Paulo",
            "2018-11-04T03:00:00Z",
            "2018-11-05T02:00:00Z",
        );
        // There was no 30 December.
        is(
            Per::Day,
            "2011-12-30T09:59:59Z",
            "Pacific/Apia",
            "2011-12-29T10:00:00Z",
            "2011-12-30T10:00:00Z",
        );
    }

    #[test]
    fn months_have_their_days() {
        is(
            Per::Month,
            "2028-02-29T12:00:00Z",
            "UTC",
            "2028-02-01T00:00:00Z",
            "2028-03-01T00:00:00Z",
        );
        is(
            Per::Month,
            "2026-12-31T23:30:00Z",
            "Europe/Berlin",
            "2026-12-31T23:00:00Z",
            "2027-01-31T23:00:00Z",
        );
        is(
            Per::Minute,
            "2026-01-01T00:00:59.999Z",
            "Asia/Kathmandu",
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:01:00Z",
        );
    }

    proptest! {
        /// Windows cover all time, and no moment is in two of them: what is counted is counted once.
        #[test]
        fn windows_neither_overlap_nor_leave_gaps(
            at_ms in 0..4_102_444_800_000_i64,
            per in prop_oneof![Just(Per::Minute), Just(Per::Day), Just(Per::Month)],
            name in prop_oneof![
                Just("UTC"), Just("Europe/Berlin"), Just("America/Los_Angeles"),
                Just("America/Sao_Paulo"), Just("Pacific/Apia"), Just("Australia/Lord_Howe"),
                Just("Africa/Cairo"), Just("Asia/Kathmandu"),
            ],
        ) {
            let zone = zone(name);
            let window = Window::at(per, at_ms, &zone);
            prop_assert!((window.start_ms..window.end_ms).contains(&at_ms), "{window:?}");
            prop_assert_eq!(Window::at(per, window.start_ms, &zone), window);
            prop_assert_eq!(Window::at(per, window.end_ms - 1, &zone), window);
            let next = Window::at(per, window.end_ms, &zone);
            prop_assert_eq!(next.start_ms, window.end_ms);
        }
    }

    #[test]
    fn a_clock_that_is_far_off_is_no_panic() {
        for at_ms in [i64::MIN, -1, 0, i64::MAX] {
            for per in [Per::Minute, Per::Day, Per::Month] {
                let window = Window::at(per, at_ms, &TimeZone::UTC);
                assert!(window.start_ms < window.end_ms, "{window:?}");
            }
        }
    }
}
