//! What a report says is the sum of what was recorded, whatever the period and by whatever it is told apart.

use super::*;
use crate::gemini::{
    ErrorCode,
    report::{By, Period},
};

/// Calls of many kinds over some months, by a little generator of numbers.
fn many(number: u64) -> Vec<Call> {
    let mut seed = 7_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    (0..number)
        .map(|n| {
            let at_ms = NOON - i64::try_from(random(60)).unwrap() * DAY / 2 - 1;
            let outcome = match random(5) {
                0 => Outcome::Error {
                    status: 429,
                    code: Some(ErrorCode::ResourceExhausted),
                },
                1 => Outcome::Incomplete,
                _ => Outcome::Ok,
            };
            let cost = match random(4) {
                0 => Cost::UnknownModel,
                1 => Cost::Free,
                _ => Cost::Known {
                    nano_usd: random(5_000_000),
                    price: PriceVersion::new("p"),
                },
            };
            let prompt = random(900);
            Call {
                // Nothing of it may look like another's.
                response_id: Some(format!("response {n}")),
                at_ms,
                feature: format!("feature {}", random(4)),
                model: format!("model {}", random(3)),
                service: format!("service {}", random(2)),
                operation: [Operation::GenerateContent, Operation::CountTokens]
                    [usize::from(random(6) == 0)],
                outcome,
                cost,
                duration_ns: random(3_000_000_000),
                usage: Some(Usage {
                    prompt,
                    cached: prompt / 3,
                    output: random(90),
                    thoughts: random(50),
                    ..Usage::default()
                }),
                ..call(Source::Endpoint, at_ms, 1)
            }
        })
        .collect()
}

fn name(call: &Call, by: By) -> &str {
    match by {
        By::Feature => &call.feature,
        By::Model => &call.model,
        By::Service => &call.service,
    }
}

pub(super) async fn a_report_is_the_sum_of_its_calls(settings: config::Store) {
    let books = Books::open(&settings, &[]).await;
    let calls = many(300);
    for call in &calls {
        assert!(matches!(books.one(call).await, Recorded::New(_)));
    }
    for period in [Period::Day, Period::Week, Period::Month] {
        for by in [By::Feature, By::Model, By::Service] {
            let report = books.report((period, by), NOON - 1, NOON).await.unwrap();
            let within = |call: &&Call, from, to| call.at_ms >= from && call.at_ms < to;
            let of_now: Vec<&Call> = calls
                .iter()
                .filter(|call| within(call, report.from_ms, report.to_ms))
                .collect();
            let (from, to) = report.before_ms;
            let before = calls.iter().filter(|call| within(call, from, to)).count();
            assert_eq!(report.total.before.calls, before as u64, "{period:?}");
            let sum: u64 = report.groups.iter().map(|group| group.now.calls).sum();
            assert_eq!((sum, report.total.now.calls), (of_now.len() as u64, sum));
            for group in &report.groups {
                let own = || of_now.iter().filter(|call| name(call, by) == group.name);
                let now = &group.now;
                let used = || own().filter(|call| call.operation != Operation::CountTokens);
                let tokens = |of: fn(&Usage) -> u64| -> u64 {
                    used().filter_map(|call| call.usage.as_ref().map(of)).sum()
                };
                let nano: u64 = own()
                    .filter_map(|call| match call.cost {
                        Cost::Known { nano_usd, .. } => Some(nano_usd),
                        _ => None,
                    })
                    .sum();
                let unpriced = own().filter(|call| call.cost == Cost::UnknownModel).count();
                let throttled = own().filter(|call| call.outcome.is_throttled()).count();
                assert_eq!(now.calls, own().count() as u64);
                assert_eq!((now.nano_usd, now.unpriced), (nano, unpriced as u64));
                assert_eq!(
                    (now.throttled, now.errors),
                    (throttled as u64, throttled as u64)
                );
                assert_eq!(
                    now.tokens.input,
                    tokens(|usage| usage.prompt - usage.cached)
                );
                assert_eq!(now.tokens.cached, tokens(|usage| usage.cached));
                assert_eq!(
                    now.tokens.all_output(),
                    tokens(|usage| usage.output + usage.thoughts)
                );
                assert_eq!(
                    now.duration_ns,
                    own().map(|call| call.duration_ns).sum::<u64>()
                );
            }
        }
    }
    books.close().await;
}

pub(super) async fn without_calls_a_report_is_empty_and_projects_nothing(settings: config::Store) {
    let books = Books::open(&settings, &[]).await;
    let what = (Period::Month, By::Model);
    let report = books.report(what, NOON, NOON).await.unwrap();
    assert!(report.groups.is_empty());
    assert_eq!(
        (report.month.nano_usd, report.month.projected_nano_usd),
        (0, None)
    );
    books.close().await;
}
