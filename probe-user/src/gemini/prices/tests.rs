use serde_json::json;

use super::*;
use crate::gemini::Audio;

/// 2026-11-25, 2026-12-01 and 2027-01-01, 00:00 UTC.
const NOVEMBER: i64 = 1_795_564_800_000;
const DECEMBER: i64 = 1_796_083_200_000;
const JANUARY: i64 = 1_798_761_600_000;

fn usage(value: serde_json::Value) -> Usage {
    Usage::from_json(&value).unwrap()
}

fn nano_usd(prices: &Prices, model: &str, usage: &Usage, at_ms: i64) -> u64 {
    match prices.cost(model, usage, at_ms) {
        Cost::Known { nano_usd, .. } => nano_usd,
        other => panic!("{model}: {other:?}"),
    }
}

/// What people complain of in other tables: each is money that is wrong on the bill.
#[test]
fn known_mistakes_of_other_tables_are_not_made() {
    let prices = Prices::built_in();
    // 2.5 Flash: 300 in, 30 cached, 2,500 out, 1,000 audio, 100 audio cached, nanodollars a token.
    let flash = "gemini-2.5-flash";
    let cases = [
        (
            "plain",
            json!({"promptTokenCount": 1000, "candidatesTokenCount": 100}),
            1000 * 300 + 100 * 2500,
        ),
        (
            "cached tokens are cheaper, and not billed twice",
            json!({"promptTokenCount": 1000, "cachedContentTokenCount": 900, "candidatesTokenCount": 0}),
            100 * 300 + 900 * 30,
        ),
        (
            "thoughts are output",
            json!({"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 1000, "totalTokenCount": 1015}),
            10 * 300 + 1005 * 2500,
        ),
        (
            "thoughts within the candidates are billed once",
            json!({"promptTokenCount": 10, "candidatesTokenCount": 1005, "thoughtsTokenCount": 1000, "totalTokenCount": 1015}),
            10 * 300 + 1005 * 2500,
        ),
        (
            "thoughts that only the total shows",
            json!({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 1015}),
            10 * 300 + 1005 * 2500,
        ),
        (
            "results of tools are input",
            json!({"promptTokenCount": 10, "candidatesTokenCount": 5, "toolUsePromptTokenCount": 200, "totalTokenCount": 215}),
            210 * 300 + 5 * 2500,
        ),
        (
            "audio has its own price, cached or not",
            json!({"promptTokenCount": 1000, "cachedContentTokenCount": 100, "candidatesTokenCount": 0,
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 500}],
                "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 60}]}),
            440 * 1000 + 60 * 100 + 40 * 30 + 460 * 300,
        ),
        (
            "batch mode is half",
            json!({"promptTokenCount": 1000, "candidatesTokenCount": 100, "batch": true}),
            1000 * 150 + 100 * 1250,
        ),
    ];
    for (what, told, expected) in cases {
        assert_eq!(
            nano_usd(&prices, flash, &usage(told), NOVEMBER),
            expected,
            "{what}"
        );
    }
}

#[test]
fn a_tier_takes_the_whole_call_once() {
    let prices = Prices::built_in();
    let told = |prompt: u64| {
        usage(
            json!({"promptTokenCount": prompt, "cachedContentTokenCount": 1000, "candidatesTokenCount": 10}),
        )
    };
    let cost = |prompt| nano_usd(&prices, "gemini-2.5-pro", &told(prompt), NOVEMBER);
    assert_eq!(cost(200_000), 199_000 * 1_250 + 1_000 * 125 + 10 * 10_000);
    // Not only the tokens above it, and not both prices.
    assert_eq!(cost(200_001), 199_001 * 2_500 + 1_000 * 250 + 10 * 15_000);
}

#[test]
fn a_model_without_a_price_is_unknown_and_never_free() {
    let prices = Prices::built_in();
    let told = usage(json!({"promptTokenCount": 1000, "candidatesTokenCount": 100}));
    for model in [
        "gemini-9-new",
        "gemini-2.5-flash-image",
        "gemini-2.5-pro-preview-06-05",
        "tunedModels/gemini-2.5-pro",
        "",
        "models/",
    ] {
        assert_eq!(
            prices.cost(model, &told, NOVEMBER),
            Cost::UnknownModel,
            "{model}"
        );
        assert_eq!(prices.worst_case(model, 1000, NOVEMBER), None, "{model}");
    }
    for model in prices.models() {
        assert!(nano_usd(&prices, model, &told, NOVEMBER) > 0, "{model}");
    }
}

#[test]
fn the_price_is_that_of_the_time_of_the_call_and_says_so() {
    let prices = Prices::built_in();
    let told = usage(json!({"promptTokenCount": 1_000_000, "candidatesTokenCount": 0}));
    let at = |model: &str, at_ms| match prices.cost(model, &told, at_ms) {
        Cost::Known { nano_usd, price } => (nano_usd, price.to_string()),
        other => panic!("{other:?}"),
    };
    let usd = 1_000_000_000;
    let version = |text: &str| format!("2026-11-24/{text}");
    assert_eq!(
        at("gemini-4-argon", DECEMBER - 1),
        (2 * usd, version("gemini-4-argon@always"))
    );
    assert_eq!(
        at("gemini-4-argon", DECEMBER),
        (4 * usd, version("gemini-4-argon@2026-12-01"))
    );
    // What an alias stands for, with its change.
    assert_eq!(at("models/gemini-flash-latest", JANUARY - 1).0, 750_000_000);
    assert_eq!(
        at("models/gemini-flash-latest", JANUARY),
        (1_500_000_000, version("gemini-3.8-flash@2027-01-01"))
    );
    assert_eq!(
        at("gemini-2.5-pro-001", NOVEMBER),
        (2_500_000_000, version("gemini-2.5-pro@always>200000"))
    );
}

#[test]
fn small_and_large_sums_have_no_error() {
    let prices = Prices::built_in();
    let one = usage(json!({"promptTokenCount": 1, "cachedContentTokenCount": 1}));
    assert_eq!(
        nano_usd(&prices, "gemini-2.5-flash-lite", &one, NOVEMBER),
        10
    );
    let most = crate::gemini::MAX_TOKENS;
    let large = Usage {
        prompt: most,
        output: most,
        thoughts: most,
        tool_use: most,
        ..Usage::default()
    };
    assert_eq!(
        nano_usd(&prices, "gemini-3.1-pro-preview", &large, NOVEMBER),
        2 * most * 4_000 + 2 * most * 18_000
    );
    // Fields that no call can have don't break the sum.
    let odd = Usage {
        prompt: 1,
        cached: 5,
        audio: Audio {
            prompt: 9,
            cached: 9,
            output: 9,
        },
        ..Usage::default()
    };
    assert_eq!(nano_usd(&prices, "gemini-2.5-flash", &odd, NOVEMBER), 100);
}

#[test]
fn the_worst_case_is_never_below_the_cost() {
    let prices = Prices::built_in();
    let told = usage(
        json!({"promptTokenCount": 150_000, "candidatesTokenCount": 60_000,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 150_000}]}),
    );
    for model in prices.models() {
        let worst = prices
            .worst_case(model, told.billed_total(), NOVEMBER)
            .unwrap();
        assert!(
            worst >= nano_usd(&prices, model, &told, NOVEMBER),
            "{model}"
        );
    }
}

#[test]
fn a_file_replaces_models_and_leaves_the_others() {
    let prices = file::replaced(
        r#"{"version": "ours-1", "tool_use": "free",
            "aliases": {"chat": "gemini-2.5-pro"},
            "models": {
              "gemini-2.5-flash": [{"input": 0.01875, "output": 1},
                                   {"from": "2026-12-01T00:00:00-08:00", "input": 3, "output": 4}],
              "gemini-pro-latest": [{"input": 7, "output": 8}]}}"#,
    )
    .unwrap();
    let told = usage(json!({"promptTokenCount": 3, "toolUsePromptTokenCount": 1000}));
    // 3 × 18.75 = 56.25, rounded once.
    assert_eq!(nano_usd(&prices, "gemini-2.5-flash", &told, NOVEMBER), 56);
    let eight_hours = 8 * 3_600_000;
    assert_eq!(
        nano_usd(
            &prices,
            "gemini-2.5-flash",
            &told,
            DECEMBER + eight_hours - 1
        ),
        56
    );
    assert_eq!(
        nano_usd(&prices, "gemini-2.5-flash", &told, DECEMBER + eight_hours),
        9_000
    );
    assert_eq!(nano_usd(&prices, "chat", &told, NOVEMBER), 3 * 1_250);
    assert_eq!(
        nano_usd(&prices, "gemini-pro-latest", &told, NOVEMBER),
        21_000
    );
    let Cost::Known { price, .. } = prices.cost("chat", &told, NOVEMBER) else {
        panic!("known");
    };
    assert_eq!(price.as_str(), "ours-1+2026-11-24/gemini-2.5-pro@always");
    let alone = file::replaced(
        r#"{"version": "x", "built_in": false, "models": {"m": [{"input": 1, "output": 1}]}}"#,
    )
    .unwrap();
    assert_eq!(
        alone.cost("gemini-2.5-pro", &told, NOVEMBER),
        Cost::UnknownModel
    );
}

#[test]
fn a_wrong_file_says_where_and_what_is_allowed() {
    let row = |row: &str| format!(r#"{{"version": "x", "models": {{"m": [{row}]}}}}"#);
    let cases = [
        ("{".to_owned(), "the file: EOF"),
        (
            row(r#"{"input": -1, "output": 1}"#),
            "models.m[0].input: -1 is no price; allowed are US dollars",
        ),
        (
            row(r#"{"input": 1e9, "output": 1}"#),
            "models.m[0].input: 1000000000.0 is no price",
        ),
        (
            row(r#"{"input": 0.0000001, "output": 1}"#),
            "models.m[0].input: 1e-7 is no price",
        ),
        (
            row(r#"{"input": "1", "output": 1}"#),
            "models.m[0].input: invalid type: string",
        ),
        (
            row(r#"{"input": 1}"#),
            "models.m[0]: missing field `output`",
        ),
        (
            row(r#"{"input": 1, "output": 1, "ouput": 2}"#),
            "models.m[0].ouput: unknown field `ouput`",
        ),
        (
            row(r#"{"input": 1, "output": 1, "from": "soon"}"#),
            "models.m[0].from: is \"soon\"; allowed is a day",
        ),
        (
            row(r#"{"from": "2026-12-01", "input": 1, "output": 1}, {"input": 1, "output": 1}"#),
            "models.m[1].from: is not after the row before it",
        ),
        (
            row(
                r#"{"input": 1, "output": 1, "over": {"prompt_tokens": 0, "input": 1, "output": 1}}"#,
            ),
            "models.m[0].over.prompt_tokens: is 0",
        ),
        (row(""), "models.m: is empty"),
        (
            r#"{"version": "", "models": {"models/M": [{"input": 1, "output": 1}]}}"#.to_owned(),
            "models.models/M: is not the name of a model",
        ),
        (
            r#"{"version": "x", "tool_use": "output", "models": {}}"#.to_owned(),
            "tool_use: unknown variant `output`",
        ),
    ];
    for (text, part) in cases {
        let problems = file::replaced(&text).unwrap_err();
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(texts.join("; ").contains(part), "{text}: {texts:?}");
    }
    let missing = Prices::load(Path::new("/nowhere/prices.json")).unwrap_err();
    assert!(
        missing.to_string().contains("/nowhere/prices.json"),
        "{missing}"
    );
}

#[test]
fn a_call_costs_by_how_it_ended() {
    let prices = Prices::built_in();
    let told = usage(json!({"promptTokenCount": 10, "candidatesTokenCount": 0}));
    let call = |operation, outcome, usage: Option<&Usage>| {
        prices.cost_of(&Call {
            id: 1,
            key: None,
            response_id: None,
            at_ms: NOVEMBER,
            host: String::new(),
            service: String::new(),
            feature: String::new(),
            route: None,
            model: "gemini-2.5-pro".to_owned(),
            operation,
            source: crate::gemini::Source::Wire,
            outcome,
            duration_ns: 1,
            first_chunk_ns: None,
            usage: usage.cloned(),
            cost: Cost::NoUsage,
        })
    };
    let error = Outcome::Error {
        status: 429,
        code: None,
    };
    let generate = Operation::GenerateContent;
    assert_eq!(call(generate, error, None), Cost::Free);
    assert_eq!(call(generate, Outcome::Ok, None), Cost::NoUsage);
    assert_eq!(call(generate, Outcome::Incomplete, None), Cost::NoUsage);
    assert_eq!(
        call(Operation::CountTokens, Outcome::Ok, Some(&told)),
        Cost::Free
    );
    // An error in the middle of a stream comes after tokens that are billed.
    assert_eq!(call(generate, error, Some(&told)).nano_usd(), Some(12_500));
    assert!(built_in_is_read());
}

fn built_in_is_read() -> bool {
    file::built_in().is_ok()
}
