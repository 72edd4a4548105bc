//! What calls used and cost in a day, a week or a month, by feature, model or service, beside the period
//! before, and what the month will cost.

mod period;
mod sums;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::Serialize;
use sqlx::AnyPool;

use super::Tokens;
use crate::store::StoreError;

pub use period::{Period, UnknownPeriod};
pub use sums::By;

use period::Span;

const DAY_MS: i64 = 86_400_000;
/// The days that tell what the rest of the month will be like.
const TREND_MS: i64 = 7 * DAY_MS;
/// Groups that a report shows; the others are together in the last one.
pub const MAX_GROUPS: usize = 500;
/// What the last group is called then.
pub const OTHERS: &str = "(others)";

/// Sums of some calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// All of them.
    pub calls: u64,
    /// Those that ended with an error.
    pub errors: u64,
    /// Those of these that the API refused as too many.
    pub throttled: u64,
    /// Those whose answer broke off.
    pub incomplete: u64,
    /// Their tokens; those that were only counted (`countTokens`) are not used.
    pub tokens: Tokens,
    /// What is known of their cost, in billionths of a US dollar.
    pub nano_usd: u64,
    /// Calls whose cost is known.
    pub priced: u64,
    /// Calls that have a cost which nobody knows.
    pub unpriced: u64,
    /// How long all of them took, in nanoseconds.
    pub duration_ns: u64,
}

impl Totals {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.calls, other.calls),
            (&mut self.errors, other.errors),
            (&mut self.throttled, other.throttled),
            (&mut self.incomplete, other.incomplete),
            (&mut self.tokens.input, other.tokens.input),
            (&mut self.tokens.cached, other.tokens.cached),
            (&mut self.tokens.tool_use, other.tokens.tool_use),
            (&mut self.tokens.output, other.tokens.output),
            (&mut self.tokens.thoughts, other.tokens.thoughts),
            (&mut self.nano_usd, other.nano_usd),
            (&mut self.priced, other.priced),
            (&mut self.unpriced, other.unpriced),
            (&mut self.duration_ns, other.duration_ns),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// Mean cost of the calls whose cost is known, in billionths of a US dollar; `None` without any.
    pub fn nano_usd_per_call(&self) -> Option<u64> {
        self.nano_usd.checked_div(self.priced)
    }
}

/// The calls of one feature, model or service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which one.
    pub name: String,
    /// In the period.
    pub now: Totals,
    /// In the period before.
    pub before: Totals,
}

/// What the month costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MonthCost {
    /// Its begin, in Unix milliseconds.
    pub from_ms: i64,
    /// The first millisecond of the next.
    pub to_ms: i64,
    /// What is known of its cost so far, in billionths of a US dollar.
    pub nano_usd: u64,
    /// Calls of it whose cost is not known.
    pub unpriced: u64,
    /// What it will be at its end, if the days that are left are like the last seven; `None` while
    /// there is not a whole day to judge by.
    pub projected_nano_usd: Option<u64>,
}

/// The whole report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Of what length.
    pub period: Period,
    /// By what the calls are told apart.
    pub by: By,
    /// Its begin and the end of what was looked at, which is now for a period that is not over; in Unix
    /// milliseconds.
    pub from_ms: i64,
    /// See [`Self::from_ms`].
    pub to_ms: i64,
    /// When the period ends.
    pub ends_ms: i64,
    /// Begin and end of what it is compared with: the period before, up to the same point when
    /// the period is not over.
    pub before_ms: (i64, i64),
    /// The groups, the costliest first, then those with most tokens.
    pub groups: Vec<Group>,
    /// The sum of all groups.
    pub total: Group,
    /// The month that runs now.
    pub month: MonthCost,
}

/// Makes the report of the period that `at_ms` is in.
///
/// # Errors
/// The store can't be read.
pub(super) async fn make(
    readers: &AnyPool,
    zone: &TimeZone,
    (period, by): (Period, By),
    (at_ms, now_ms): (i64, i64),
) -> Result<Report, StoreError> {
    let span = period.at(at_ms, zone);
    let to_ms = now_ms.clamp(span.start_ms, span.end_ms);
    let before = period.before(span, zone);
    let before_to = if to_ms < span.end_ms {
        // As far as this one is; a day or month that is shorter ends before that.
        (before.start_ms + (to_ms - span.start_ms)).min(before.end_ms)
    } else {
        before.end_ms
    };
    let now = sums::by(readers, by, (span.start_ms, to_ms)).await?;
    let then = sums::by(readers, by, (before.start_ms, before_to)).await?;
    let (groups, total) = groups(now, then);
    Ok(Report {
        period,
        by,
        from_ms: span.start_ms,
        to_ms,
        ends_ms: span.end_ms,
        before_ms: (before.start_ms, before_to),
        groups,
        total,
        month: month(readers, zone, now_ms).await?,
    })
}

/// What the month costs that runs now.
///
/// # Errors
/// The store can't be read.
pub(super) async fn month(
    readers: &AnyPool,
    zone: &TimeZone,
    now_ms: i64,
) -> Result<MonthCost, StoreError> {
    let span = Period::Month.at(now_ms, zone);
    let so_far = sums::all(readers, (span.start_ms, now_ms)).await?;
    let last_days = sums::all(readers, (now_ms - TREND_MS, now_ms)).await?;
    let first_ms = sums::first(readers).await?;
    let known_ms = first_ms.map_or(0, |first_ms| (now_ms - first_ms).min(TREND_MS));
    Ok(MonthCost {
        from_ms: span.start_ms,
        to_ms: span.end_ms,
        nano_usd: so_far.nano_usd,
        unpriced: so_far.unpriced,
        projected_nano_usd: projected(so_far.nano_usd, last_days.nano_usd, known_ms, span, now_ms),
    })
}

fn projected(so_far: u64, last_days: u64, known_ms: i64, span: Span, now_ms: i64) -> Option<u64> {
    if known_ms < DAY_MS {
        return None;
    }
    let left = u128::try_from(span.end_ms - now_ms).unwrap_or(0);
    let known = u128::try_from(known_ms).ok()?;
    let more = u128::from(last_days) * left / known;
    u64::try_from(u128::from(so_far) + more).ok()
}

/// Both periods' sums side by side, in order, and their total.
fn groups(
    now: BTreeMap<String, Totals>,
    mut then: BTreeMap<String, Totals>,
) -> (Vec<Group>, Group) {
    let mut groups: Vec<Group> = now
        .into_iter()
        .map(|(name, now)| Group {
            before: then.remove(&name).unwrap_or_default(),
            name,
            now,
        })
        .collect();
    groups.extend(then.into_iter().map(|(name, before)| Group {
        name,
        now: Totals::default(),
        before,
    }));
    let tokens = |one: &Totals| one.tokens.all_input() + one.tokens.all_output();
    groups.sort_by(|a, b| {
        let rank = |one: &Group| (one.now.nano_usd, tokens(&one.now), one.now.calls);
        rank(b).cmp(&rank(a)).then_with(|| a.name.cmp(&b.name))
    });
    let total = together("total", &groups);
    if groups.len() > MAX_GROUPS {
        let rest = groups.split_off(MAX_GROUPS - 1);
        groups.push(together(OTHERS, &rest));
    }
    (groups, total)
}

fn together(name: &str, groups: &[Group]) -> Group {
    let mut sum = Group {
        name: name.to_owned(),
        now: Totals::default(),
        before: Totals::default(),
    };
    for group in groups {
        sum.now.add(&group.now);
        sum.before.add(&group.before);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nano_usd: u64) -> Totals {
        Totals {
            calls: 1,
            priced: 1,
            nano_usd,
            ..Totals::default()
        }
    }

    #[test]
    fn the_month_is_projected_from_the_last_days_and_not_from_its_own_first_hour() {
        let span = Span {
            start_ms: 0,
            end_ms: 30 * DAY_MS,
        };
        // 70 in seven days, half of a day into the month, of which 5 were spent.
        let now = DAY_MS / 2;
        assert_eq!(projected(5, 70, 7 * DAY_MS, span, now), Some(5 + 295));
        // Two days are known: 10 a day.
        assert_eq!(
            projected(20, 20, 2 * DAY_MS, span, 2 * DAY_MS),
            Some(20 + 280)
        );
        // Some hours say nothing about a month.
        assert_eq!(projected(20, 20, DAY_MS / 2, span, DAY_MS / 2), None);
        assert_eq!(projected(0, 0, 0, span, 0), None);
    }

    #[test]
    fn the_costliest_comes_first_and_what_has_gone_is_not_forgotten() {
        let now = BTreeMap::from([("a".to_owned(), of(5)), ("b".to_owned(), of(9))]);
        let then = BTreeMap::from([("a".to_owned(), of(4)), ("c".to_owned(), of(7))]);
        let (groups, total) = groups(now, then);
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["b", "a", "c"]);
        assert_eq!((total.now.nano_usd, total.before.nano_usd), (14, 11));
        assert_eq!(total.now.nano_usd_per_call(), Some(7));
        assert_eq!(Totals::default().nano_usd_per_call(), None);
    }

    #[test]
    fn many_groups_are_together_in_the_last_and_nothing_is_lost() {
        let now: BTreeMap<String, Totals> =
            (0..2_000).map(|n| (format!("f{n:04}"), of(n))).collect();
        let all: u64 = (0..2_000).sum();
        let (groups, total) = groups(now, BTreeMap::new());
        assert_eq!(groups.len(), MAX_GROUPS);
        assert_eq!(groups.last().map(|last| last.name.as_str()), Some(OTHERS));
        let sum: u64 = groups.iter().map(|group| group.now.nano_usd).sum();
        assert_eq!((sum, total.now.nano_usd), (all, all));
    }
}
