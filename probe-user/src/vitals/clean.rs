//! Text of strangers, made fit to keep: bounded, without control characters, queries and fragments.

use std::borrow::Cow;

/// Longest path of a page, in bytes.
pub const PAGE_BYTES: usize = 1024;
/// Longest address, in bytes.
pub const ADDRESS_BYTES: usize = 1024;

/// At most `most` bytes, cut between characters; control characters become spaces, but for the line
/// breaks and tabs of a text of several lines.
pub fn text(text: &str, most: usize, lines: bool) -> String {
    let odd = |c: char| c.is_control() && !(lines && matches!(c, '\n' | '\t'));
    let text = shortened(text.trim(), most);
    if text.contains(odd) {
        text.chars().map(|c| if odd(c) { ' ' } else { c }).collect()
    } else {
        text.to_owned()
    }
}

/// The beginning of a text, at most so many bytes.
fn shortened(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

/// The path of a page: of a path or of a whole address, without query and fragment. `None` when
/// there is nothing left.
pub fn page(page: &str) -> Option<String> {
    let page = without_query(page.trim());
    let path = match page.split_once("://") {
        Some((_, rest)) => match rest.find('/') {
            Some(slash) => rest.get(slash..).unwrap_or("/"),
            None => "/",
        },
        None => page,
    };
    if path.is_empty() {
        return None;
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some(text(&format!("{slash}{path}"), PAGE_BYTES, false))
}

/// An address without user, query and fragment; of `data:` and the like, which hold their content,
/// only the scheme.
pub fn address(address: &str) -> Option<String> {
    let address = without_query(address.trim());
    if address.is_empty() {
        return None;
    }
    let Some((scheme, rest)) = address.split_once(':') else {
        return Some(text(address, ADDRESS_BYTES, false));
    };
    let is_scheme = scheme
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let Some(rest) = rest.strip_prefix("//") else {
        let opaque = is_scheme && !scheme.is_empty() && !rest.starts_with('/');
        let shown = if opaque {
            format!("{scheme}:")
        } else {
            address.to_owned()
        };
        return Some(text(&shown, ADDRESS_BYTES, false));
    };
    let authority = rest.find('/').unwrap_or(rest.len());
    let user = rest
        .get(..authority)
        .and_then(|authority| authority.rfind('@'));
    let rest = user.map_or(rest, |at| rest.get(at + 1..).unwrap_or_default());
    Some(text(&format!("{scheme}://{rest}"), ADDRESS_BYTES, false))
}

fn without_query(address: &str) -> &str {
    let end = address.find(['?', '#']).unwrap_or(address.len());
    address.get(..end).unwrap_or_default()
}

/// A message or stack without the queries of the addresses in it; line and column behind an address
/// stay.
pub fn without_queries(text: &str) -> Cow<'_, str> {
    if !text.contains("://") || !text.contains(['?', '#']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let ends =
            |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '\'' | '"' | '<' | '>' | '`');
        let (address, behind) = from.split_at(from.find(ends).unwrap_or(from.len()));
        match address.find(['?', '#']) {
            Some(query) => {
                let (kept, query) = address.split_at(query);
                out.push_str(kept);
                out.push_str(position(query));
            }
            None => out.push_str(address),
        }
        rest = behind;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The `:line:column` at the end.
fn position(text: &str) -> &str {
    let mut end = text;
    for _ in 0..2 {
        let digits = end.trim_end_matches(|c: char| c.is_ascii_digit());
        match digits.strip_suffix(':') {
            Some(before) if digits.len() < end.len() => end = before,
            _ => break,
        }
    }
    text.get(end.len()..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What users typed into a form ends up in queries, and must not be kept.
    #[test]
    fn queries_and_fragments_are_gone() {
        assert_eq!(page("/orders/17?token=x#y").as_deref(), Some("/orders/17"));
        assert_eq!(page("https://a.example/p?q").as_deref(), Some("/p"));
        assert_eq!(page("https://a.example").as_deref(), Some("/"));
        assert_eq!(page("checkout").as_deref(), Some("/checkout"));
        assert_eq!(page("?q").as_deref(), None);
        assert_eq!(
            address("https://u:p@a.example/x.js?k=1").as_deref(),
            Some("https://a.example/x.js")
        );
        assert_eq!(
            address("data:image/png;base64,AAAA").as_deref(),
            Some("data:")
        );
        assert_eq!(address("/app.js?v=1").as_deref(), Some("/app.js"));
        assert_eq!(
            without_queries("at f (https://a.example/x.js?k=secret:10:5)\n  https://b.example/#z"),
            "at f (https://a.example/x.js:10:5)\n  https://b.example/"
        );
        assert_eq!(
            without_queries("f@http://a.example/x.js?t=12:7"),
            "f@http://a.example/x.js:7"
        );
        assert_eq!(without_queries("what? no://"), "what? no://");
    }

    #[test]
    fn text_is_cut_between_characters_and_has_no_control_characters() {
        assert_eq!(text("ééé", 5, false), "éé");
        assert_eq!(text("a\nb\u{7}c", 80, false), "a b c");
        assert_eq!(text("a\nb\u{7}c", 80, true), "a\nb c");
        assert_eq!(page(&"/ä".repeat(2000)).unwrap().len(), PAGE_BYTES);
    }
}
