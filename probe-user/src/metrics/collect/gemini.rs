//! Usage of Gemini's models.

use super::metric;
use crate::{
    gemini::{Durations, LimitLevel, Mismatch, Numbers, Source},
    metrics::{families::Families, metric::Distribution},
};

const NANO: f64 = 1e9;

pub(super) fn collect(families: &mut Families, numbers: &Numbers) {
    for (pair, sums) in &numbers.pairs {
        let (model, feature) = (pair.model.as_str(), pair.feature.as_str());
        for (kind, tokens) in sums.tokens.by_name() {
            families.counter(&metric::GEMINI_TOKENS, [model, kind, feature], tokens);
        }
        for (outcome, calls) in [
            ("ok", sums.ok),
            ("error", sums.errors),
            ("incomplete", sums.incomplete),
        ] {
            families.counter(&metric::GEMINI_CALLS, [model, feature, outcome], calls);
        }
        let usd = sums.nano_usd as f64 / NANO;
        families.counter_float(&metric::GEMINI_COST, [model, feature], usd);
        for (reason, calls) in [
            ("unknown_model", sums.unknown_model),
            ("no_usage", sums.no_usage),
        ] {
            families.counter(&metric::GEMINI_UNPRICED, [model, feature, reason], calls);
        }
    }
    for (timed, durations) in &numbers.durations {
        let labels = [timed.model.as_str(), timed.operation, timed.error.as_str()];
        families.histogram(&metric::GEMINI_DURATION, labels, distribution(durations));
    }
    for (timed, durations) in &numbers.first_chunks {
        let labels = [timed.model.as_str(), timed.operation];
        families.histogram(&metric::GEMINI_FIRST_CHUNK, labels, distribution(durations));
    }
    for (error, count) in &numbers.errors {
        let labels = [error.model.as_str(), error.status.as_str(), error.code];
        families.counter(&metric::GEMINI_ERRORS, labels, *count);
    }
    for (model, count) in &numbers.throttled {
        families.counter(&metric::GEMINI_THROTTLED, [model], *count);
    }
    for (source, count) in Source::ALL.iter().zip(numbers.sources) {
        families.counter(&metric::GEMINI_SEEN, [source.as_str()], count);
    }
    for (kind, count) in Mismatch::ALL.iter().zip(numbers.mismatches) {
        families.counter(&metric::GEMINI_MISMATCHES, [kind.as_str()], count);
    }
    for (how, count) in [
        ("duplicate", numbers.duplicates),
        ("merged", numbers.merged),
    ] {
        families.counter(&metric::GEMINI_REPEATED, [how], count);
    }
    for (limit, count) in &numbers.refusals {
        families.counter(&metric::GEMINI_REFUSALS, [limit], *count);
    }
    for (reason, count) in &numbers.dropped {
        families.counter(&metric::GEMINI_DROPPED, [reason], *count);
    }
    if let Some(month) = &numbers.month {
        let cost = month.nano_usd as f64 / NANO;
        families.gauge_float(&metric::GEMINI_MONTH_COST, [], cost);
        if let Some(projected) = month.projected_nano_usd {
            families.gauge_float(&metric::GEMINI_MONTH_PROJECTED, [], projected as f64 / NANO);
        }
        families.gauge(&metric::GEMINI_MONTH_UNPRICED, [], month.unpriced_calls);
    }
    for level in &numbers.limits {
        limit(families, level);
    }
}

fn limit(families: &mut Families, level: &LimitLevel) {
    let labels = [level.limit.as_str(), level.per, level.unit];
    // Amounts of money are kept in billionths.
    let scale = if level.unit == "usd" { NANO } else { 1.0 };
    for (metric, amount) in [
        (&metric::GEMINI_LIMIT_USED, level.used),
        (&metric::GEMINI_LIMIT_RESERVED, level.reserved),
        (&metric::GEMINI_LIMIT_CAP, level.cap),
    ] {
        families.gauge_float(metric, labels, amount as f64 / scale);
    }
    if level.unit == "tokens" {
        let labels = [level.limit.as_str(), level.per];
        families.gauge(&metric::GEMINI_LIMIT_TOKENS, labels, level.cap);
    }
    families.gauge_float(&metric::GEMINI_LIMIT_RATIO, labels, level.ratio());
    let resets_at = level.resets_at_ms as f64 / 1e3;
    families.gauge_float(&metric::GEMINI_LIMIT_RESET, labels, resets_at);
}

fn distribution(durations: &Durations) -> Distribution {
    Distribution {
        counts: durations.counts.to_vec(),
        sum: durations.sum_ns as f64 / NANO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemini::BOUNDS_NS;

    #[test]
    fn buckets_are_those_that_calls_are_counted_in() {
        let seconds = BOUNDS_NS.map(|bound| bound as f64 / NANO);
        assert_eq!(seconds.as_slice(), metric::GEMINI_BOUNDS);
    }

    #[test]
    fn money_is_in_dollars_and_a_limit_says_how_full_it_is() {
        let mut numbers = Numbers::new(10, 10);
        numbers.limits.push(LimitLevel {
            limit: "budget".to_owned(),
            per: "day",
            unit: "usd",
            model: None,
            feature: None,
            used: 1_500_000_000,
            reserved: 500_000_000,
            cap: 4_000_000_000,
            from_ms: 0,
            resets_at_ms: 86_400_000,
        });
        let mut families = Families::new();
        collect(&mut families, &numbers);
        let value = |metric| {
            let series = &families.get(metric).unwrap().series;
            format!("{:?}", series.values().next().unwrap())
        };
        assert!(value(&metric::GEMINI_LIMIT_USED).contains("1.5"));
        assert!(value(&metric::GEMINI_LIMIT_CAP).contains('4'));
        assert!(value(&metric::GEMINI_LIMIT_RATIO).contains("0.5"));
        assert!(value(&metric::GEMINI_LIMIT_RESET).contains("86400"));
        assert!(families.get(&metric::GEMINI_LIMIT_TOKENS).is_none());
    }
}
