use proptest::prelude::*;

use super::*;
use crate::gemini::PriceVersion;

fn call(model: &str, feature: &str) -> Call {
    Call {
        id: 1,
        key: None,
        response_id: None,
        at_ms: 1_795_564_800_000,
        host: "host".to_owned(),
        service: "shop".to_owned(),
        feature: feature.to_owned(),
        route: None,
        model: model.to_owned(),
        operation: Operation::GenerateContent,
        source: Source::Endpoint,
        outcome: Outcome::Ok,
        duration_ns: 1_500_000_000,
        first_chunk_ns: None,
        usage: Some(Usage {
            prompt: 100,
            cached: 40,
            output: 20,
            thoughts: 30,
            tool_use: 5,
            ..Usage::default()
        }),
        cost: Cost::Known {
            nano_usd: 1_000,
            price: PriceVersion::new("x"),
        },
    }
}

#[test]
fn each_token_of_a_call_is_in_one_sum() {
    let mut numbers = Numbers::new(10, 10);
    numbers.count(&call("pro", "search"));
    let sums = numbers.pairs.values().next().unwrap();
    assert_eq!(
        sums.tokens.by_name().map(|(_, tokens)| tokens),
        [60, 40, 5, 20, 30]
    );
    assert_eq!(
        (sums.tokens.all_input(), sums.tokens.all_output()),
        (105, 50)
    );
    assert_eq!((sums.ok, sums.nano_usd), (1, 1_000));
}

#[test]
fn counting_tokens_uses_none() {
    let mut numbers = Numbers::new(10, 10);
    numbers.count(&Call {
        operation: Operation::CountTokens,
        cost: Cost::Free,
        ..call("pro", "search")
    });
    let sums = numbers.pairs.values().next().unwrap();
    assert_eq!((sums.ok, sums.tokens), (1, Tokens::default()));
}

#[test]
fn quotas_of_the_api_and_other_errors_are_told_apart() {
    let mut numbers = Numbers::new(10, 10);
    for (status, code) in [
        (429, Some(ErrorCode::ResourceExhausted)),
        (503, None),
        (200, Some(ErrorCode::Internal)),
    ] {
        numbers.count(&Call {
            outcome: Outcome::Error { status, code },
            usage: None,
            cost: Cost::Free,
            ..call("pro", "search")
        });
    }
    assert_eq!(numbers.throttled.get("pro"), Some(&1));
    assert_eq!(numbers.errors.len(), 3);
    let errors: Vec<&str> = numbers
        .durations
        .keys()
        .map(|key| key.error.as_str())
        .collect();
    assert_eq!(errors, ["429", "503", "INTERNAL"]);
}

#[test]
fn what_is_not_priced_is_counted_by_the_reason() {
    let mut numbers = Numbers::new(10, 10);
    for cost in [Cost::UnknownModel, Cost::NoUsage, Cost::Free] {
        numbers.count(&Call {
            cost,
            ..call("new", "search")
        });
    }
    let sums = numbers.pairs.values().next().unwrap();
    assert_eq!(
        (sums.unknown_model, sums.no_usage, sums.nano_usd),
        (1, 1, 0)
    );
}

#[test]
fn durations_are_in_the_buckets_of_the_convention() {
    let seconds: Vec<f64> = BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9).collect();
    assert_eq!(seconds.first(), Some(&0.01));
    assert!(seconds.contains(&81.92) && seconds.last() == Some(&327.68));
    let mut durations = Durations::default();
    for ns in [0, 10_000_000, 10_000_001, u64::MAX] {
        durations.observe(ns);
    }
    assert_eq!(
        (
            durations.counts[0],
            durations.counts[1],
            durations.counts[16]
        ),
        (2, 1, 1)
    );
    assert_eq!(durations.count(), 4);
}

proptest! {
    /// A program that makes up names must not fill the memory, and its calls must not get lost.
    #[test]
    fn whatever_the_names_the_series_are_bounded_and_no_call_is_lost(
        names in proptest::collection::vec((0_u16..80, 0_u16..80, 100_u16..600), 1..2_000),
    ) {
        let mut numbers = Numbers::new(30, 40);
        for (model, feature, status) in &names {
            numbers.count(&Call {
                outcome: Outcome::Error { status: *status, code: None },
                first_chunk_ns: Some(5),
                ..call(&format!("m{model}"), &format!("f{feature}"))
            });
        }
        let models: BTreeSet<&str> = numbers.pairs.keys().map(|pair| pair.model.as_str()).collect();
        let features: BTreeSet<&str> = numbers.pairs.keys().map(|pair| pair.feature.as_str()).collect();
        prop_assert!(models.len() <= 31 && features.len() <= 41);
        prop_assert!(numbers.pairs.len() <= MAX_PAIRS + 31);
        prop_assert!(numbers.durations.len() <= MAX_DURATIONS + 1);
        prop_assert!(numbers.errors.len() <= MAX_ERRORS + 1);
        let calls = names.len() as u64;
        prop_assert_eq!(numbers.pairs.values().map(|sums| sums.errors).sum::<u64>(), calls);
        prop_assert_eq!(numbers.errors.values().sum::<u64>(), calls);
        prop_assert_eq!(numbers.durations.values().map(Durations::count).sum::<u64>(), calls);
    }
}
