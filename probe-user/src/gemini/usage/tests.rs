use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(value: Value) -> Usage {
    Usage::from_json(&value).unwrap()
}

fn error(value: Value) -> String {
    Usage::from_json(&value).unwrap_err().to_string()
}

/// Prompt, cached, output, thoughts, tools.
fn parts(usage: &Usage) -> [u64; 5] {
    [
        usage.prompt,
        usage.cached,
        usage.output,
        usage.thoughts,
        usage.tool_use,
    ]
}

#[test]
fn every_kind_of_token_of_the_api_is_counted_once() {
    let usage = read(json!({
        "promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 20,
        "thoughtsTokenCount": 30, "toolUsePromptTokenCount": 7, "totalTokenCount": 157,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 90}, {"modality": "AUDIO", "tokenCount": 10}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}],
        "trafficType": "ON_DEMAND", "somethingNew": {"x": 1}
    }));
    assert_eq!(parts(&usage), [100, 40, 20, 30, 7]);
    assert_eq!(
        (usage.audio, usage.mismatch, usage.billed_total()),
        (
            Audio {
                prompt: 10,
                cached: 4,
                output: 0
            },
            None,
            157
        )
    );
}

#[test]
fn all_forms_of_one_call_are_the_same_tokens() {
    let forms = [
        json!({"promptTokenCount": 9, "cachedContentTokenCount": 4, "candidatesTokenCount": 5,
               "thoughtsTokenCount": 3, "toolUsePromptTokenCount": 2, "totalTokenCount": 19}),
        // As `model_dump()` of the Python SDK has it.
        json!({"prompt_token_count": 9, "cached_content_token_count": 4, "candidates_token_count": 5,
               "thoughts_token_count": 3, "tool_use_prompt_token_count": 2, "total_token_count": 19,
               "prompt_tokens_details": null}),
        json!({"total_input_tokens": 9, "total_cached_tokens": 4, "total_output_tokens": 5,
               "total_thought_tokens": 3, "total_tool_use_tokens": 2, "total_tokens": 19,
               "input_tokens_by_modality": [{"modality": "text", "tokens": 9}]}),
        json!({"prompt_tokens": 9, "cached_tokens": 4, "output_tokens": 5, "thoughts_tokens": 3,
               "tool_use_tokens": 2, "total_tokens": 19}),
        json!({"input_tokens": 9, "cached_tokens": 4, "output_tokens": 5, "thought_tokens": 3,
               "tool_use_tokens": 2}),
    ];
    for form in forms {
        let usage = read(form.clone());
        assert_eq!(parts(&usage), [9, 4, 5, 3, 2], "{form}");
        assert_eq!(usage.mismatch, None, "{form}");
    }
}

#[test]
fn contradictions_are_told_and_the_tokens_still_counted() {
    use Mismatch::*;
    let cases = [
        // Some backends count thoughts as part of the candidates.
        (
            (100, 0, 50, Some(30), 0, Some(150)),
            [100, 0, 20, 30, 0],
            Some(ThoughtsInOutput),
        ),
        // Thoughts that nobody tells are in the total.
        (
            (100, 0, 50, None, 0, Some(180)),
            [100, 0, 80, 0, 0],
            Some(TotalAboveParts),
        ),
        (
            (100, 0, 50, Some(30), 20, Some(180)),
            [100, 0, 50, 30, 20],
            Some(ToolUseNotInTotal),
        ),
        (
            (100, 140, 50, None, 0, None),
            [240, 140, 50, 0, 0],
            Some(CachedNotInPrompt),
        ),
        (
            (100, 0, 50, Some(30), 0, Some(90)),
            [100, 0, 50, 30, 0],
            Some(TotalBelowParts),
        ),
        (
            (100, 0, 50, Some(30), 0, Some(170)),
            [100, 0, 40, 30, 0],
            Some(TotalBelowParts),
        ),
        ((100, 0, 0, None, 0, Some(100)), [100, 0, 0, 0, 0], None),
    ];
    for ((prompt, cached, output, thoughts, tools, total), counted, mismatch) in cases {
        let value = json!({"promptTokenCount": prompt, "cachedContentTokenCount": cached,
            "candidatesTokenCount": output, "thoughtsTokenCount": thoughts,
            "toolUsePromptTokenCount": tools, "totalTokenCount": total});
        let usage = read(value.clone());
        assert_eq!(parts(&usage), counted, "{value}");
        assert_eq!(usage.mismatch, mismatch, "{value}");
    }
    let usage = read(json!({"total_tokens": 12}));
    assert_eq!((usage.output, usage.mismatch), (12, Some(OnlyTotal)));
}

#[test]
fn what_is_wrong_is_named_with_what_is_allowed() {
    let cases = [
        (
            json!({"promptTokenCount": -1}),
            "promptTokenCount is -1; allowed is a whole number from 0",
        ),
        (
            json!({"promptTokenCount": "12"}),
            "promptTokenCount is \"12\"; allowed is a whole number",
        ),
        (
            json!({"output_tokens": 1.5}),
            "output_tokens is 1.5; allowed",
        ),
        (
            json!({"output_tokens": 1_000_000_001_u64}),
            "output_tokens is 1000000001; allowed",
        ),
        (
            json!({"promptTokenCount": 1, "promptTokensDetails": 3}),
            "promptTokensDetails is 3; allowed is a list",
        ),
        (
            json!({"promptTokenCount": 1, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": []}]}),
            "promptTokensDetails[0].tokenCount is a list; allowed",
        ),
        (
            json!({"prompt_tokens": 1, "batch": "yes"}),
            "batch is \"yes\"; allowed is true or false",
        ),
        (
            json!({"promptTokenCount": 1, "total_input_tokens": 1}),
            "promptTokenCount and total_input_tokens belong to different forms",
        ),
        (
            json!({"promtTokenCount": 1}),
            "has no token count; known are promptTokenCount",
        ),
        (json!({}), "has no token count"),
        (json!([]), "is a list; allowed is an object"),
    ];
    for (value, part) in cases {
        let text = error(value.clone());
        assert!(text.contains(part), "{value}: {text}");
    }
    let long = error(json!({"promptTokenCount": "x".repeat(10_000)}));
    assert!(long.len() < 200, "a value is shown cut: {long}");
}

proptest! {
    #[test]
    fn whatever_the_counts_no_token_is_counted_twice_or_lost(
        prompt in 0_u64..=MAX_TOKENS, cached in 0_u64..=MAX_TOKENS, output in 0_u64..=MAX_TOKENS,
        thoughts in 0_u64..=MAX_TOKENS, tools in 0_u64..=MAX_TOKENS, total in proptest::option::of(0_u64..=MAX_TOKENS),
        audio in 0_u64..=MAX_TOKENS,
    ) {
        let usage = read(json!({"prompt_tokens": prompt, "cached_tokens": cached,
            "output_tokens": output, "thoughts_tokens": thoughts, "tool_use_tokens": tools,
            "total_tokens": total, "audio_prompt_tokens": audio, "audio_output_tokens": audio}));
        prop_assert!(usage.cached <= usage.prompt);
        prop_assert!(usage.audio.prompt <= usage.prompt && usage.audio.output <= usage.output);
        let sum = usage.prompt + usage.tool_use + usage.output + usage.thoughts;
        prop_assert_eq!(usage.billed_total(), sum);
        // Without a contradiction nothing was changed.
        if usage.mismatch.is_none() {
            prop_assert_eq!(parts(&usage), [prompt, cached, output, thoughts, tools]);
            if let Some(total) = total {
                prop_assert_eq!(sum, total);
            }
        }
        // A total that covers its parts is what is billed.
        if usage.mismatch == Some(Mismatch::TotalAboveParts) {
            prop_assert_eq!(Some(sum), total);
        }
    }
}
