use std::io::Write as _;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::gemini::Format;

fn read(kind: &str, coding: &str, pieces: &[&[u8]]) -> Summary {
    let mut reader = ResponseReader::new(kind, coding);
    for piece in pieces {
        reader.push(piece);
    }
    reader.finish()
}

fn read_text(kind: &str, text: &str) -> Summary {
    read(kind, "", &[text.as_bytes()])
}

fn tokens(summary: &Summary) -> Option<(u64, u64)> {
    let usage = summary.usage.as_ref()?;
    Some((usage.prompt, usage.output))
}

/// A chunk of an answer with text and, when given, tokens.
fn chunk(text: &str, counts: Option<(u64, u64)>) -> Value {
    let mut chunk = json!({
        "candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}],
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r-1",
    });
    if let Some((prompt, output)) = counts {
        chunk["usageMetadata"] = json!({
            "promptTokenCount": prompt,
            "candidatesTokenCount": output,
            "totalTokenCount": prompt + output,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        });
    }
    chunk
}

fn sse(chunks: &[Value]) -> String {
    let event = |chunk: &Value| format!("data: {chunk}\r\n\r\n");
    chunks.iter().map(event).collect()
}

const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json; charset=UTF-8";

#[test]
fn a_plain_answer_tells_its_tokens_model_and_id() {
    let text = serde_json::to_string_pretty(&chunk("Hello", Some((7, 3)))).unwrap();
    let summary = read_text(JSON, &text);
    assert_eq!(tokens(&summary), Some((7, 3)));
    assert_eq!(summary.model_version.as_deref(), Some("gemini-2.5-flash"));
    assert_eq!(summary.response_id.as_deref(), Some("r-1"));
    assert!(summary.complete);
    assert_eq!((summary.error, summary.problems), (None, vec![]));
}

/// Adding the chunks up would bill a stream many times over.
#[test]
fn of_a_stream_the_last_usage_with_tokens_wins() {
    let chunks = [
        chunk("a", Some((7, 1))),
        chunk("b", Some((7, 5))),
        chunk("c", Some((0, 0))),
        chunk("d", None),
    ];
    for (kind, text) in [
        (EVENTS, sse(&chunks)),
        ("", sse(&chunks)),
        (JSON, serde_json::to_string(&chunks).unwrap()),
        ("", serde_json::to_string_pretty(&chunks).unwrap()),
    ] {
        let summary = read_text(kind, &text);
        assert_eq!(tokens(&summary), Some((7, 5)), "{text}");
        assert!(summary.complete, "{text}");
    }
}

#[test]
fn both_formats_are_read_plain_and_streamed() {
    let usage = json!({"total_input_tokens": 9, "total_output_tokens": 4, "total_tokens": 13});
    let plain = json!({
        "id": "v1_x", "model": "gemini-3-pro", "status": "completed", "usage": usage,
        "steps": [{"type": "model_output", "usage": {"total_input_tokens": 1}}],
    });
    let events = [
        json!({"event_type": "interaction.created",
               "interaction": {"id": "v1_x", "model": "gemini-3-pro", "status": "in_progress"}}),
        json!({"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "hi"},
               "metadata": {"total_usage": {"total_input_tokens": 9, "total_output_tokens": 1}}}),
        json!({"event_type": "interaction.completed",
               "interaction": {"id": "v1_x", "status": "completed", "usage": usage}}),
    ];
    let mut stream: String = events
        .iter()
        .map(|event| {
            let name = event["event_type"].as_str().unwrap();
            format!("event: {name}\nid: 1\n: a comment\ndata: {event}\n\n")
        })
        .collect();
    stream.push_str("data: [DONE]\n\n");
    for (kind, text) in [(JSON, plain.to_string()), (EVENTS, stream)] {
        let summary = read_text(kind, &text);
        assert_eq!(tokens(&summary), Some((9, 4)), "{text}");
        assert_eq!(summary.usage.as_ref().unwrap().format, Format::Interactions);
        assert_eq!(summary.response_id.as_deref(), Some("v1_x"));
        assert_eq!(summary.model_version.as_deref(), Some("gemini-3-pro"));
        assert!(
            summary.complete && summary.problems.is_empty(),
            "{summary:?}"
        );
    }
}

#[test]
fn an_interaction_that_failed_is_an_error_though_its_status_is_200() {
    let failed =
        json!({"event_type": "error", "error": {"code": "https://x/errors/y", "message": "m"}});
    let summary = read_text(EVENTS, &sse(&[failed]));
    let other = ApiError {
        code: None,
        status: Some(ErrorCode::Other),
    };
    assert_eq!(summary.error, Some(other));
    let failed = json!({"id": "v1", "status": "failed"}).to_string();
    assert_eq!(read_text(JSON, &failed).error, Some(ApiError::default()));
}

#[test]
fn errors_are_found_in_whatever_form_they_come() {
    let error = json!({"error": {
        "details": [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "status": "NO", "code": 1}],
        "code": 429, "message": "quota: {\"code\": 500}", "status": "RESOURCE_EXHAUSTED",
    }});
    let pretty = serde_json::to_string_pretty(&error).unwrap();
    let good = sse(&[chunk("a", Some((7, 1)))]);
    for (kind, text, begun) in [
        (JSON, error.to_string(), false),
        (JSON, format!("[{pretty}]"), false),
        (
            EVENTS,
            good.clone() + &sse(std::slice::from_ref(&error)),
            true,
        ),
        // As the API does when a stream breaks.
        (EVENTS, good.clone() + &pretty, true),
        (EVENTS, pretty.clone() + "\n", false),
        (
            JSON,
            format!("[{},\n{pretty}]", chunk("a", Some((7, 1)))),
            true,
        ),
    ] {
        let summary = read_text(kind, &text);
        let expected = ApiError {
            code: Some(429),
            status: Some(ErrorCode::ResourceExhausted),
        };
        assert_eq!(summary.error, Some(expected), "{text}");
        // What was told before the error was used.
        assert_eq!(tokens(&summary), begun.then_some((7, 1)), "{text}");
        assert!(summary.complete, "{text}: {:?}", summary.problems);
    }
}

#[test]
fn what_broke_off_is_not_complete() {
    let whole = chunk("Hello", Some((7, 3))).to_string();
    for cut in 1..whole.len() {
        let summary = read_text(JSON, &whole[..cut]);
        assert!(!summary.complete, "{}", &whole[..cut]);
    }
    let first = sse(&[chunk("a", Some((7, 1)))]);
    let stream = first.clone() + &sse(&[chunk("b", Some((7, 2)))]);
    for cut in 1..stream.len() {
        let summary = read_text(EVENTS, &stream[..cut]);
        let last = stream[..cut].rsplit("\r\n\r\n").next().unwrap();
        let whole = match last.strip_prefix("data: ") {
            Some(data) => serde_json::from_str::<Value>(data).is_ok(),
            None => last.is_empty(),
        };
        assert_eq!(summary.complete, whole, "{last:?}");
    }
    for text in ["", " ", "[", "<html>502</html>", "{\"a\" 1}", "nonsense"] {
        assert!(!read_text(JSON, text).complete, "{text}");
    }
    assert!(!read_text(EVENTS, ": only a comment\n\n").complete);
}

fn encoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let level = Compression::default();
    match coding {
        "gzip" => {
            // Two members, as some servers flush.
            let (first, second) = bytes.split_at(bytes.len() / 2);
            let mut all = Vec::new();
            for part in [first, second] {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(part).unwrap();
                all.extend(encoder.finish().unwrap());
            }
            all
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "bare" => {
            let mut encoder = DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut out = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 5, 22);
            encoder.write_all(bytes).unwrap();
            drop(encoder);
            out
        }
        "zstd" => zstd::encode_all(bytes, 3).unwrap(),
        _ => bytes.to_vec(),
    }
}

/// The value of the header for what [`encoded`] makes.
fn header(coding: &str) -> &str {
    match coding {
        "bare" => "deflate",
        other => other,
    }
}

const CODINGS: [&str; 6] = ["", "gzip", "deflate", "bare", "br", "zstd"];

#[test]
fn every_coding_is_undone_wherever_it_is_cut() {
    let text = sse(&[chunk("Größe €", Some((7, 1))), chunk("b", Some((7, 2)))]);
    let expected = read_text(EVENTS, &text);
    assert_eq!(tokens(&expected), Some((7, 2)));
    for coding in CODINGS {
        let bytes = encoded(coding, text.as_bytes());
        for cut in 0..=bytes.len() {
            let (first, second) = bytes.split_at(cut);
            let summary = read(EVENTS, header(coding), &[first, second]);
            assert_eq!(summary, expected, "{coding} cut at {cut}");
        }
        if !coding.is_empty() {
            // A compressed answer that broke off tells what it had told.
            let summary = read(EVENTS, header(coding), &[&bytes[..bytes.len() / 3]]);
            assert!(!summary.complete, "{coding}");
        }
    }
}

#[test]
fn what_can_t_be_undone_is_said() {
    let text = chunk("a", Some((1, 1))).to_string();
    let unknown = read(JSON, "snappy", &[text.as_bytes()]);
    assert_eq!(unknown.problems, [Problem::Encoding]);
    let both = read(JSON, "gzip, br", &[text.as_bytes()]);
    assert_eq!(both.problems, [Problem::Encoding]);
    for coding in ["gzip", "br", "zstd"] {
        let wrong = read(JSON, coding, &[text.as_bytes()]);
        assert_eq!(wrong.problems[0], Problem::Compression, "{coding}");
        assert!(!wrong.complete);
    }
    // A window of a gigabyte.
    let large = read(JSON, "br", &[&[0x91, 0x1f, 0, 0]]);
    assert_eq!(large.problems[0], Problem::Encoding);
}

/// An image in an answer is megabytes; the probe reads many answers at once.
#[test]
fn a_large_part_is_not_held() {
    let mut reader = ResponseReader::new(JSON, "");
    reader.push(b"{\"candidates\":[{\"content\":{\"parts\":[{\"inlineData\":{\"data\":\"");
    for _ in 0..256 {
        reader.push(&[b'A'; 64 * 1024]);
        assert!(reader.body.sink().heap_bytes() < 4096);
    }
    reader.push(b"\"}}]}}],\"usageMetadata\":{\"promptTokenCount\":3}}");
    let summary = reader.finish();
    assert_eq!(tokens(&summary), Some((3, 0)));
    assert!(summary.complete);
}

#[test]
fn a_usage_beyond_all_measure_is_said_and_not_held() {
    let mut reader = ResponseReader::new(JSON, "");
    reader.push(b"{\"usageMetadata\":{\"x\":\"");
    for _ in 0..64 {
        reader.push(&[b'A'; 64 * 1024]);
        assert!(reader.body.sink().heap_bytes() < 64 * 1024);
    }
    reader.push(b"\"}}");
    let summary = reader.finish();
    assert_eq!(summary.problems, [Problem::TooLarge]);
    assert_eq!(summary.usage, None);
}

/// A model can be made to say anything, also what looks like a usage.
#[test]
fn what_the_model_says_is_not_taken_for_what_the_api_says() {
    let said = "\"usageMetadata\":{\"promptTokenCount\":1} \\\" }}]}";
    let mut answer = chunk(said, Some((7, 3)));
    answer["candidates"][0]["usageMetadata"] = json!({"promptTokenCount": 1000});
    answer["candidates"][0]["error"] = json!({"code": 500});
    answer["args"] = json!({"usageMetadata": {"promptTokenCount": 1000}, "id": "no"});
    for (kind, text) in [(JSON, answer.to_string()), (EVENTS, sse(&[answer]))] {
        let summary = read_text(kind, &text);
        assert_eq!(tokens(&summary), Some((7, 3)));
        assert_eq!(summary.error, None);
        assert_eq!(summary.response_id.as_deref(), Some("r-1"));
    }
}

#[test]
fn after_a_gap_only_what_is_certain_counts() {
    let last = sse(&[chunk("c", Some((7, 9)))]);
    let mut reader = ResponseReader::new(EVENTS, "");
    reader.push(sse(&[chunk("a", Some((7, 1)))]).as_bytes());
    reader.push(b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"");
    reader.gap();
    // The rest of an event that can't be told from the beginning of one.
    reader.push(b"\",\"usageMetadata\":{\"promptTokenCount\":1000}}\r\n\r\n");
    reader.push(last.as_bytes());
    let summary = reader.finish();
    assert_eq!(tokens(&summary), Some((7, 9)));
    assert!(!summary.complete);
    assert_eq!(summary.problems, [Problem::Gap]);

    let mut reader = ResponseReader::new(JSON, "");
    reader.push(b"{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"");
    reader.gap();
    reader.push(b"\",\"usageMetadata\":{\"promptTokenCount\":1000}}");
    let summary = reader.finish();
    assert_eq!((summary.usage, summary.complete), (None, false));
    assert_eq!(summary.problems, [Problem::Gap]);

    let mut reader = ResponseReader::new(EVENTS, "gzip");
    let bytes = encoded("gzip", last.as_bytes());
    reader.push(&bytes[..10]);
    reader.gap();
    reader.push(&bytes[20..]);
    assert_eq!(reader.finish().problems, [Problem::Gap]);
}

#[test]
fn a_usage_that_can_t_be_is_said_and_does_not_replace_one_that_can() {
    let mut wrong = chunk("b", None);
    wrong["usageMetadata"] = json!({"promptTokenCount": -1});
    let mut empty = chunk("c", None);
    empty["usageMetadata"] = json!({"trafficType": "ON_DEMAND"});
    let summary = read_text(EVENTS, &sse(&[chunk("a", Some((7, 1))), wrong, empty]));
    assert_eq!(tokens(&summary), Some((7, 1)));
    assert!(matches!(summary.problems.as_slice(), [Problem::Usage(_)]));
}

#[test]
fn nothing_of_an_answer_is_in_what_is_written_to_the_log() {
    let mut reader = ResponseReader::new(JSON, "");
    reader.push(b"{\"modelVersion\": \"a secret that is no mod");
    assert!(!format!("{reader:?}").contains("secret"));
}

impl Reading {
    fn heap_bytes(&self) -> usize {
        self.scanner.heap_bytes() + self.bare.heap_bytes() + self.begin.0.capacity()
    }
}

fn any_chunk() -> impl Strategy<Value = Value> {
    let counts = proptest::option::of((0_u64..5000, 0_u64..5000));
    let text = prop_oneof![
        "[ -~\\n\\t]{0,40}",
        "\\PC{0,20}",
        Just("\"usageMetadata\":{\"promptTokenCount\":5}".to_owned()),
        Just("\r\n\r\ndata: {}\r\n\r\n".to_owned()),
    ];
    let depth = 0_usize..6;
    (text, counts, depth, any::<bool>()).prop_map(|(text, counts, depth, error)| {
        let mut chunk = chunk(&text, counts);
        let mut nested =
            json!({"usageMetadata": {"promptTokenCount": 77}, "n": -1.5e3, "b": [true, null]});
        for _ in 0..depth {
            nested = json!([{"functionCall": nested}, text]);
        }
        chunk["candidates"][0]["nested"] = nested;
        if error {
            chunk["error"] = json!({"code": 503, "status": "UNAVAILABLE", "message": text});
        }
        chunk
    })
}

/// What a parser that holds everything would say.
fn reference(chunks: &[Value]) -> (Option<(u64, u64)>, bool) {
    let mut found = None;
    for chunk in chunks {
        if let Some(metadata) = chunk.get("usageMetadata") {
            let usage = Usage::from_json(metadata).unwrap();
            if !usage.is_empty() || found.is_none() {
                found = Some((usage.prompt, usage.output));
            }
        }
    }
    (
        found,
        chunks.iter().any(|chunk| chunk.get("error").is_some()),
    )
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.sort_unstable();
    let mut pieces = Vec::new();
    let mut begin = 0;
    for end in at.into_iter().chain([bytes.len()]) {
        pieces.push(&bytes[begin..end]);
        begin = end;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn however_an_answer_is_cut_the_summary_is_that_of_a_whole_parser(
        chunks in prop::collection::vec(any_chunk(), 1..5),
        form in 0_usize..4,
        coding in prop::sample::select(CODINGS.to_vec()),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (kind, text) = match form {
            0 => (EVENTS, sse(&chunks)),
            1 => (EVENTS, sse(&chunks).replace("\r\n", "\r")),
            2 => (JSON, serde_json::to_string(&chunks).unwrap()),
            _ => ("", serde_json::to_string_pretty(&chunks).unwrap()),
        };
        let bytes = encoded(coding, text.as_bytes());
        let summary = read(kind, header(coding), &pieces(&bytes, &cuts));
        let (usage, error) = reference(&chunks);
        prop_assert_eq!(tokens(&summary), usage);
        prop_assert_eq!(summary.error.is_some(), error);
        prop_assert!(summary.complete, "{:?}", summary.problems);
    }

    /// A peer may send anything.
    #[test]
    fn any_bytes_in_any_pieces_give_one_summary_in_bounded_memory(
        bytes in prop::collection::vec(
            prop_oneof![
                prop::sample::select(b"{}[]\",:\\ \r\ndata:error1".to_vec()),
                any::<u8>(),
            ],
            0..200,
        ),
        kind in prop::sample::select(vec!["", EVENTS, JSON]),
        coding in prop::sample::select(CODINGS.to_vec()),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole = read(kind, header(coding), &[&bytes]);
        let cut = read(kind, header(coding), &pieces(&bytes, &cuts));
        prop_assert_eq!(whole, cut);
    }
}
