//! What a call will take, from the beginning of its request: the model where the body names it, how many
//! tokens it may answer with, and roughly how many the prompt is. Pure; the prompt is not held.

use serde_json::Value;

use super::super::stream::scan::{Found, Member, Scanner, Shape};

/// Bytes of text that make a token, about, in most languages.
const BYTES_PER_TOKEN: u64 = 4;
/// Bytes of an image, a sound or a film in base64 that make a token, about.
const MEDIA_BYTES_PER_TOKEN: u64 = 512;
/// Least tokens of an image.
const LEAST_MEDIA_TOKENS: u64 = 258;
/// A string of this length that has nothing but the letters of base64 is no text: text has spaces.
const LEAST_MEDIA_BYTES: u64 = 1024;
/// Longest name of a model.
const MAX_MODEL: usize = 128;

/// What the body says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// The model, in the Interactions API.
    pub(super) model: Option<String>,
    /// Most tokens that it may answer with, thoughts included.
    pub(super) max_output: Option<u64>,
    /// Answers that are wanted.
    pub(super) candidates: Option<u64>,
    /// Estimated tokens of what was looked at.
    pub(super) prompt: u64,
    /// What was looked at ended within an image or the like.
    pub(super) in_media: bool,
}

impl Wishes {
    /// Looks at a body, or at its beginning.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut wishes = Self::default();
        let mut scanner = Scanner::<Node>::default();
        scanner.push(body, &mut |found| wishes.take(found));
        let mut strings = Strings::default();
        strings.push(body);
        wishes.prompt = strings.tokens();
        wishes.in_media = strings.is_media();
        wishes
    }

    /// Most tokens that the call will take: those of the prompt, of which `rest` bytes were not looked
    /// at, and for each answer what it may have, or `assumed` when it does not say.
    pub(super) fn tokens(&self, rest: u64, assumed: u64) -> u64 {
        let per_token = if self.in_media {
            MEDIA_BYTES_PER_TOKEN
        } else {
            BYTES_PER_TOKEN
        };
        let output = self
            .max_output
            .unwrap_or(assumed)
            .saturating_mul(self.candidates.unwrap_or(1).max(1));
        self.prompt
            .saturating_add(rest.div_ceil(per_token))
            .saturating_add(output)
            .min(super::super::MAX_TOKENS)
    }

    fn take(&mut self, found: Found<'_, Node, Want>) {
        let Found::Value(want, text) = found else {
            return;
        };
        let Ok(value) = serde_json::from_slice::<Value>(text) else {
            return;
        };
        match want {
            Want::Model => {
                self.model = value
                    .as_str()
                    .filter(|name| !name.is_empty() && name.len() <= MAX_MODEL)
                    .map(str::to_owned);
            }
            Want::MaxOutput => self.max_output = value.as_u64(),
            Want::Candidates => self.candidates = value.as_u64().map(|count| count.min(64)),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Node {
    Request,
    Config,
}

#[derive(Clone, Copy, Debug)]
enum Want {
    Model,
    MaxOutput,
    Candidates,
}

impl Shape for Node {
    type Want = Want;
    const DOCUMENT: Self = Self::Request;

    fn member(self, name: &[u8]) -> Member<Self, Want> {
        match (self, name) {
            (Self::Request, b"model") => Member::Take(Want::Model),
            (Self::Request, b"generationConfig" | b"generation_config") => {
                Member::Enter(Self::Config)
            }
            (Self::Config, b"maxOutputTokens" | b"max_output_tokens") => {
                Member::Take(Want::MaxOutput)
            }
            (Self::Config, b"candidateCount" | b"candidate_count") => {
                Member::Take(Want::Candidates)
            }
            _ => Member::Skip,
        }
    }
}

/// Adds up the strings of a JSON text: names of members and all, which are few beside a prompt.
#[derive(Debug, Default)]
struct Strings {
    text_bytes: u64,
    media_tokens: u64,
    /// Bytes of the current string.
    length: u64,
    within: bool,
    escaped: bool,
    /// Only letters of base64 so far.
    plain: bool,
}

impl Strings {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if !self.within {
                if byte == b'"' {
                    self.within = true;
                    self.plain = true;
                    self.length = 0;
                }
                continue;
            }
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.end();
                    continue;
                }
                _ => {}
            }
            self.length += 1;
            let base64 = byte.is_ascii_alphanumeric()
                || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'\\');
            self.plain &= base64;
        }
    }

    fn is_media(&self) -> bool {
        self.within && self.plain && self.length >= LEAST_MEDIA_BYTES
    }

    fn end(&mut self) {
        if self.is_media() {
            self.media_tokens += (self.length / MEDIA_BYTES_PER_TOKEN).max(LEAST_MEDIA_TOKENS);
        } else {
            self.text_bytes += self.length;
        }
        self.within = false;
    }

    fn tokens(&self) -> u64 {
        let mut all = Self { ..*self };
        if all.within {
            all.end();
        }
        all.text_bytes.div_ceil(BYTES_PER_TOKEN) + all.media_tokens
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(body: &Value) -> Wishes {
        Wishes::of(body.to_string().as_bytes())
    }

    #[test]
    fn a_request_says_what_it_may_take() {
        let text = "word ".repeat(400);
        let body = json!({
            "contents": [{"parts": [{"text": text}], "role": "user"}],
            "generationConfig": {"temperature": 0.5, "maxOutputTokens": 100, "candidateCount": 2},
        });
        let wishes = of(&body);
        assert_eq!((wishes.max_output, wishes.candidates), (Some(100), Some(2)));
        // 2,000 bytes of text, and some names.
        assert!((500..540).contains(&wishes.prompt), "{}", wishes.prompt);
        assert_eq!(wishes.tokens(0, 2048), wishes.prompt + 200);
        let without = of(&json!({"contents": []}));
        assert_eq!(without.tokens(0, 2048), without.prompt + 2048);
    }

    #[test]
    fn the_interactions_api_names_the_model_in_the_body() {
        let body = json!({
            "input": "the model is \"model\": \"other\"",
            "model": "gemini-3-pro",
            "generation_config": {"max_output_tokens": 64},
        });
        let wishes = of(&body);
        assert_eq!(wishes.model.as_deref(), Some("gemini-3-pro"));
        assert_eq!(wishes.max_output, Some(64));
        let long = of(&json!({"model": "m".repeat(129)}));
        assert_eq!(long.model, None);
    }

    /// Taken for text, one photograph would use up a day's limit.
    #[test]
    fn an_image_is_not_counted_as_text() {
        let image = json!({"contents": [{"parts": [
            {"inlineData": {"mimeType": "image/png", "data": "QUJD".repeat(100_000)}},
            {"text": "What is in it?"},
        ]}]});
        let text = image.to_string();
        let wishes = Wishes::of(text.as_bytes());
        assert!((781..850).contains(&wishes.prompt), "{}", wishes.prompt);
        // When only the beginning is looked at, the rest is more of the same.
        let (begin, rest) = text.split_at(100_000);
        let begun = Wishes::of(begin.as_bytes());
        assert!(begun.in_media);
        let all = begun.tokens(rest.len() as u64, 0);
        assert!((700..900).contains(&all), "{all}");
    }

    #[test]
    fn what_is_no_json_is_counted_by_its_strings_and_refused_by_the_api() {
        for body in ["", "{", "[1,2", "\"abc", "{\"model\":", "\u{0}\u{1}"] {
            let wishes = Wishes::of(body.as_bytes());
            assert_eq!(wishes.model, None);
            assert!(wishes.prompt < 3);
        }
        let huge = Wishes::of(b"{\"generationConfig\":{\"maxOutputTokens\":18446744073709551615,\"candidateCount\":9}}");
        assert_eq!(huge.tokens(u64::MAX, 1), crate::gemini::MAX_TOKENS);
    }
}
