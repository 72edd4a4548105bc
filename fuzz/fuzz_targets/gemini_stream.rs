//! Answers of the Gemini API: any bytes, in any form and coding, cut anywhere, are read within bounds.
//!
//! The first byte chooses the form and the coding, the second how long the pieces are that the rest
//! comes in, and where bytes of it are missing.
//!
//! `cargo +nightly fuzz run gemini_stream NEW fuzz/corpus/gemini_stream -- -max_len=4096`, where NEW is
//! an empty directory: it takes what is found, so that the committed corpus stays small.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe_user::gemini::stream::{ResponseReader, Summary};

const KINDS: [&str; 3] = ["", "application/json", "text/event-stream"];
const CODINGS: [&str; 5] = ["", "gzip", "deflate", "br", "zstd"];

fn read(kind: &str, coding: &str, body: &[u8], piece: usize, gap: Option<usize>) -> Summary {
    let mut reader = ResponseReader::new(kind, coding);
    for (index, bytes) in body.chunks(piece).enumerate() {
        if gap == Some(index) {
            reader.gap();
        } else {
            reader.push(bytes);
        }
    }
    reader.finish()
}

fuzz_target!(|data: &[u8]| {
    let [form, cut, body @ ..] = data else {
        return;
    };
    let kind = KINDS[usize::from(*form) % KINDS.len()];
    let coding = CODINGS[usize::from(*form) / KINDS.len() % CODINGS.len()];
    let piece = usize::from(cut & 15) + 1;
    let cut_up = read(kind, coding, body, piece, None);
    if coding.is_empty() {
        assert_eq!(cut_up, read(kind, coding, body, 4096, None));
    }
    for summary in [
        read(kind, coding, body, piece, Some(usize::from(cut >> 4))),
        cut_up,
    ] {
        let short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= 256);
        assert!(short(&summary.model_version) && short(&summary.response_id));
        // Each kind of problem once; a complete answer has none but in its usage.
        assert!(summary.problems.len() <= 6, "{:?}", summary.problems);
        let _ = format!("{summary:?}");
    }
});
