//! SQL: any text is split and normalised, and what is normalised stays what it is.
//!
//! `cargo +nightly fuzz run sql NEW fuzz/corpus/sql -- -max_len=4096`, where NEW is an empty
//! directory: it takes what is found, so that the committed corpus stays small.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe_user::sql::{Lexer, SqlCache};

fuzz_target!(|data: &[u8]| {
    let Some((options, text)) = data.split_first() else {
        return;
    };
    let (cut, escapes) = (options & 1 != 0, options & 2 != 0);
    // Tokens cover the text in order, and the lexer always moves on.
    let mut end = 0;
    for token in Lexer::new(text, escapes) {
        assert!(token.offset >= end && !token.text.is_empty());
        end = token.offset + token.text.len();
    }
    assert!(end <= text.len());
    let mut cache = SqlCache::new(4, 1 << 16);
    let first = cache.parse(text, cut, escapes);
    assert_eq!(first, cache.parse(text, cut, escapes));
    assert_eq!(first, SqlCache::new(4, 1 << 16).parse(text, cut, escapes));
    for part in &first.parts {
        assert!(!part.info.text.is_empty() || cut);
        // A literal leaves at least a mark: the output is bounded by the input, whose bytes may
        // each become a replacement character or get a space on both sides.
        assert!(part.info.text.len() <= 5 * text.len() + 16);
    }
});
