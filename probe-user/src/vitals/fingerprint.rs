//! Which errors of browsers belong together.
//!
//! A hash of the type, the message without what differs from one time to the next, and the
//! innermost frames of the page's own scripts, by file and function. Lines and columns change with
//! each build, so they count only where a function has no name. Pure.

use twox_hash::XxHash3_64;

use super::stack::{Frame, frames};

/// Frames that count.
const FRAMES: usize = 5;
/// Characters of a message that count.
const MESSAGE_CHARS: usize = 500;
/// Where scripts are that are not the page's: extensions of the browser, and its own code.
const FOREIGN: [&str; 6] = [
    "chrome-extension://",
    "moz-extension://",
    "safari-extension://",
    "safari-web-extension://",
    "webkit-masked-url://",
    "chrome://",
];

/// An error as a browser told it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told<'a> {
    /// Such as `TypeError`; empty when not known.
    pub type_: &'a str,
    /// What it says.
    pub message: &'a str,
    /// Its stack.
    pub stack: Option<&'a str>,
    /// Address of the script, when there is no stack.
    pub source: Option<&'a str>,
    /// Line in it.
    pub line: Option<u32>,
    /// Column in that.
    pub column: Option<u32>,
}

/// The fingerprint of an error: equal for those that belong together.
pub fn fingerprint(told: &Told<'_>) -> u64 {
    let mut text = String::with_capacity(256);
    text.push_str(told.type_);
    text.push('\n');
    text.push_str(&normal_message(told.type_, told.message));
    let frames = frames(told.stack.unwrap_or_default());
    let known = |frame: &&Frame<'_>| !frame.file.is_empty() && !is_foreign(frame.file);
    let own = |frame: &&Frame<'_>| known(frame) && !frame.file.contains("/node_modules/");
    let mut counted: Vec<&Frame<'_>> = frames.iter().filter(own).take(FRAMES).collect();
    if counted.is_empty() {
        counted = frames.iter().filter(known).take(FRAMES).collect();
    }
    for frame in &counted {
        add_frame(&mut text, frame);
    }
    if counted.is_empty()
        && let Some(source) = told.source
    {
        add_frame(
            &mut text,
            &Frame {
                function: None,
                file: source,
                line: told.line,
                column: told.column,
            },
        );
    }
    XxHash3_64::oneshot(text.as_bytes())
}

fn is_foreign(file: &str) -> bool {
    FOREIGN.iter().any(|start| file.starts_with(start))
}

fn add_frame(text: &mut String, frame: &Frame<'_>) {
    text.push('\n');
    text.push_str(&file_name(frame.file));
    match frame
        .function
        .map(short_name)
        .filter(|name| !name.is_empty())
    {
        Some(function) => {
            text.push(' ');
            text.push_str(function);
        }
        None => {
            let number = |number: Option<u32>| number.map_or_else(String::new, |n| n.to_string());
            text.push_str(&format!(":{}:{}", number(frame.line), number(frame.column)));
        }
    }
}

/// The function alone: Chrome writes its object before it, Firefox what it is inside of.
fn short_name(function: &str) -> &str {
    let name = function.trim_end_matches(['<', '/']);
    let name = name.rsplit('/').next().unwrap_or(name);
    name.rsplit('.').next().unwrap_or(name)
}

/// The file's own name, without query and without the hash that a bundler writes into it.
pub(crate) fn file_name(address: &str) -> String {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let name = path
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    const MARKS: [char; 3] = ['.', '-', '_'];
    let cuts = name.match_indices(MARKS).map(|(at, _)| at);
    let (mut kept, mut begin) = (String::with_capacity(name.len()), 0);
    for end in cuts.chain([name.len()]) {
        let part = name.get(begin..end).unwrap_or_default();
        if begin == 0 || !is_build_hash(part.trim_start_matches(MARKS)) {
            kept.push_str(part);
        }
        begin = end;
    }
    kept
}

/// As webpack (hexadecimal), Vite and esbuild (letters and digits) write them.
fn is_build_hash(part: &str) -> bool {
    let bytes = part.as_bytes();
    let has = |test: fn(&u8) -> bool| bytes.iter().any(test);
    let all = |test: fn(&u8) -> bool| bytes.iter().all(test);
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let hex = part.len() >= 6 && digits > 0 && all(u8::is_ascii_hexdigit);
    let mixed_case = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    let letters = has(u8::is_ascii_alphabetic);
    let code = all(u8::is_ascii_alphanumeric)
        && matches!(part.len(), 8 | 12..)
        && letters
        && (digits > 1 || (digits == 1 && mixed_case) || (mixed_case && is_no_word(bytes)));
    hex || code
}

/// Upper case after lower case more than once, or before it: no name of a person's making.
fn is_no_word(bytes: &[u8]) -> bool {
    let pairs = bytes.windows(2).filter(|pair| {
        matches!(pair, [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase()
            || a.is_ascii_lowercase() && b.is_ascii_uppercase())
    });
    pairs.count() > 1
}

/// The message without addresses, quoted parts, ids and numbers.
fn normal_message(type_: &str, message: &str) -> String {
    let message = message.trim();
    let message = message.strip_prefix("Uncaught ").unwrap_or(message);
    let message = message.strip_prefix("(in promise) ").unwrap_or(message);
    let message = match message
        .strip_prefix(type_)
        .and_then(|rest| rest.strip_prefix(": "))
    {
        Some(rest) if !type_.is_empty() => rest,
        _ => message,
    };
    let end = message
        .char_indices()
        .nth(MESSAGE_CHARS)
        .map_or(message.len(), |(at, _)| at);
    let mut rest = message.get(..end).unwrap_or(message);
    let mut normal = String::with_capacity(rest.len());
    while let Some(character) = rest.chars().next() {
        let after_word = normal.ends_with(|last: char| last.is_alphanumeric());
        let taken = if let Some(length) = address(rest).filter(|_| !after_word) {
            normal.push_str("<url>");
            length
        } else if let Some(length) = quoted(rest, character).filter(|_| !after_word) {
            normal.push_str("<text>");
            length
        } else if character.is_ascii_alphanumeric() {
            let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            add_word(&mut normal, rest.get(..length).unwrap_or_default());
            length
        } else {
            normal.push(character);
            character.len_utf8()
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    normal
}

/// Length of the address that the text begins with.
fn address(text: &str) -> Option<usize> {
    let schemes = [
        "http://", "https://", "blob:", "data:", "file://", "ws://", "wss://",
    ];
    schemes.iter().find(|scheme| text.starts_with(**scheme))?;
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ')' | '>' | '<');
    Some(text.find(ends).unwrap_or(text.len()))
}

/// Length of the quoted part that the text begins with.
fn quoted(text: &str, open: char) -> Option<usize> {
    let close = match open {
        '"' | '\'' | '`' => open,
        '“' => '”',
        '‘' => '’',
        '«' => '»',
        _ => return None,
    };
    let inside = text.get(open.len_utf8()..)?;
    let end = inside.find(close)?;
    Some(open.len_utf8() + end + close.len_utf8())
}

/// A word, or what stands for it when it is an id or has numbers.
fn add_word(normal: &mut String, word: &str) {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let is_id = word.len() >= 8 && digits > 0 && word.bytes().all(hex);
    if is_id || (word.len() >= 16 && digits > 2) {
        normal.push_str("<id>");
        return;
    }
    let mut in_number = false;
    for character in word.chars() {
        if !character.is_ascii_digit() {
            normal.push(character);
        } else if !in_number {
            normal.push('#');
        }
        in_number = character.is_ascii_digit();
    }
}

#[cfg(test)]
#[path = "fingerprint_tests.rs"]
mod tests;
