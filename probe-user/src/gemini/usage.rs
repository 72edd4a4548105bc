//! Tokens of one call, from any of the forms in which they are told: the API's `usageMetadata`, the
//! usage of the Interactions API, or plain counts. Pure.

use serde::Serialize;
use serde_json::{Map, Value};

/// The most tokens that one count may have. No call comes near; more is a mistake, and sums of many
/// such counts still fit.
pub const MAX_TOKENS: u64 = 1_000_000_000;

/// Tokens of one call, each counted in exactly one of `prompt`, `tool_use`, `output` and `thoughts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Of the prompt, with those that came from a cache.
    pub prompt: u64,
    /// Those of `prompt` that came from a cache.
    pub cached: u64,
    /// Of the answer, without thoughts.
    pub output: u64,
    /// Of the model's thinking.
    pub thoughts: u64,
    /// Of the results of tools that were given back to the model; not part of `prompt`.
    pub tool_use: u64,
    /// All of them, as the API says; see [`Usage::billed_total`].
    pub total: Option<u64>,
    /// How many of them are audio, which has prices of its own.
    pub audio: Audio,
    /// Whether the call ran in batch mode, which has prices of its own. The API's answers don't say
    /// so; a member `"batch": true` beside the counts does.
    pub batch: bool,
    /// In which form they were told.
    pub format: Format,
    /// What in them contradicted itself.
    pub mismatch: Option<Mismatch>,
}

/// Tokens of audio.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Audio {
    /// Those of [`Usage::prompt`], with those that came from a cache.
    pub prompt: u64,
    /// Those of [`Usage::cached`].
    pub cached: u64,
    /// Those of [`Usage::output`].
    pub output: u64,
}

/// In which form the tokens were told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `usageMetadata` of `generateContent`, in camel case or as the Python SDK spells it.
    #[default]
    UsageMetadata,
    /// `usage` of the Interactions API.
    Interactions,
    /// Counts as a program of one's own may write them.
    Plain,
}

/// How the counts contradict each other. The call is counted all the same; each kind says how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mismatch {
    /// The output contains the thoughts, as the total shows: the output is taken without them.
    ThoughtsInOutput,
    /// The total leaves out the tokens of tools: they are counted as well.
    ToolUseNotInTotal,
    /// More come from a cache than the prompt has: the prompt is taken as what came from no cache.
    CachedNotInPrompt,
    /// The total is more than its parts: what is missing counts as output.
    TotalAboveParts,
    /// The total is less than its parts: the total counts while it covers the prompt and the
    /// output, else the parts do.
    TotalBelowParts,
    /// Nothing but the total is told: all of it counts as output, whose price is the highest.
    OnlyTotal,
}

impl Mismatch {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ThoughtsInOutput,
        Self::ToolUseNotInTotal,
        Self::CachedNotInPrompt,
        Self::TotalAboveParts,
        Self::TotalBelowParts,
        Self::OnlyTotal,
    ];

    /// As it is stored and called in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ThoughtsInOutput => "thoughts_in_output",
            Self::ToolUseNotInTotal => "tool_use_not_in_total",
            Self::CachedNotInPrompt => "cached_not_in_prompt",
            Self::TotalAboveParts => "total_above_parts",
            Self::TotalBelowParts => "total_below_parts",
            Self::OnlyTotal => "only_total",
        }
    }
}

impl std::str::FromStr for Mismatch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or("not a kind of mismatch")
    }
}

/// Why tokens can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// It is no JSON object.
    #[error("is {found}; allowed is an object with token counts")]
    NotAnObject {
        /// What it is instead.
        found: &'static str,
    },
    /// A member has a value that it can't have.
    #[error("{field} is {value}; allowed is {allowed}")]
    Field {
        /// The member, such as `promptTokenCount` or `promptTokensDetails[0].tokenCount`.
        field: String,
        /// Its value, cut.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// Members of two forms, which would be counted twice.
    #[error("{first} and {second} belong to different forms; give one of them")]
    Mixed {
        /// A member of one form.
        first: &'static str,
        /// A member of the other.
        second: &'static str,
    },
    /// No count at all. A mistake in writing would be a call without tokens.
    #[error(
        "has no token count; known are promptTokenCount, candidatesTokenCount, thoughtsTokenCount, \
         cachedContentTokenCount, toolUsePromptTokenCount, totalTokenCount, or the usage of the \
         Interactions API, or prompt_tokens, output_tokens, thoughts_tokens, cached_tokens, \
         tool_use_tokens, total_tokens"
    )]
    NoCounts,
}

impl UsageError {
    /// The member that is wrong, when it is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Field { field, .. } => Some(field),
            Self::Mixed { first, .. } => Some(first),
            Self::NotAnObject { .. } | Self::NoCounts => None,
        }
    }
}

impl Usage {
    /// Reads an object in any of the forms of [`Format`]. Members that are not known are left alone,
    /// `null` is the same as nothing.
    ///
    /// # Errors
    /// [`UsageError`] names the member, its value and what it may be.
    pub fn from_json(value: &Value) -> Result<Self, UsageError> {
        let Value::Object(object) = value else {
            return Err(UsageError::NotAnObject { found: kind(value) });
        };
        let names = form(object)?;
        let told = Told::read(object, names)?;
        Ok(told.usage(names.format))
    }

    /// Tokens that are paid for, at whatever price: each is counted once.
    pub fn billed_total(&self) -> u64 {
        self.prompt + self.tool_use + self.output + self.thoughts
    }

    /// Whether there is any token in it.
    pub fn is_empty(&self) -> bool {
        self.billed_total() == 0
    }
}

/// The names of one form. Where there are several, they are spellings of one member.
struct Names {
    format: Format,
    prompt: &'static [&'static str],
    cached: &'static [&'static str],
    output: &'static [&'static str],
    thoughts: &'static [&'static str],
    tool_use: &'static [&'static str],
    total: &'static [&'static str],
    audio_prompt: &'static [&'static str],
    audio_cached: &'static [&'static str],
    audio_output: &'static [&'static str],
}

/// In `usageMetadata` and the Interactions API the audio is one of several modalities in a list; in
/// plain counts it is a count.
const FORMS: [Names; 3] = [
    Names {
        format: Format::UsageMetadata,
        prompt: &["promptTokenCount", "prompt_token_count"],
        cached: &["cachedContentTokenCount", "cached_content_token_count"],
        output: &["candidatesTokenCount", "candidates_token_count"],
        thoughts: &["thoughtsTokenCount", "thoughts_token_count"],
        tool_use: &["toolUsePromptTokenCount", "tool_use_prompt_token_count"],
        total: &["totalTokenCount", "total_token_count"],
        audio_prompt: &["promptTokensDetails", "prompt_tokens_details"],
        audio_cached: &["cacheTokensDetails", "cache_tokens_details"],
        audio_output: &["candidatesTokensDetails", "candidates_tokens_details"],
    },
    Names {
        format: Format::Interactions,
        prompt: &["total_input_tokens"],
        cached: &["total_cached_tokens"],
        output: &["total_output_tokens"],
        thoughts: &["total_thought_tokens", "total_reasoning_tokens"],
        tool_use: &["total_tool_use_tokens"],
        // Plain counts have it as well, so alone it is not a sign of this form.
        total: &["total_tokens"],
        audio_prompt: &["input_tokens_by_modality"],
        audio_cached: &["cached_tokens_by_modality"],
        audio_output: &["output_tokens_by_modality"],
    },
    Names {
        format: Format::Plain,
        prompt: &["prompt_tokens", "input_tokens"],
        cached: &["cached_tokens"],
        output: &["output_tokens"],
        thoughts: &["thoughts_tokens", "thought_tokens"],
        tool_use: &["tool_use_tokens"],
        total: &["total_tokens"],
        audio_prompt: &["audio_prompt_tokens", "audio_input_tokens"],
        audio_cached: &["audio_cached_tokens"],
        audio_output: &["audio_output_tokens"],
    },
];

/// The one form that the object has members of.
fn form(object: &Map<String, Value>) -> Result<&'static Names, UsageError> {
    let [_, _, plain] = &FORMS;
    let mut found: Option<(&'static Names, &'static str)> = None;
    for names in &FORMS {
        let parts = [
            names.prompt,
            names.cached,
            names.output,
            names.thoughts,
            names.tool_use,
        ];
        let own_total = if names.format == Format::UsageMetadata {
            names.total
        } else {
            &[]
        };
        let mut known = parts.into_iter().chain([own_total]).flatten();
        let Some(name) = known.find(|name| given(object, name).is_some()) else {
            continue;
        };
        if let Some((_, first)) = found {
            return Err(UsageError::Mixed {
                first,
                second: name,
            });
        }
        found = Some((names, name));
    }
    match found {
        Some((names, _)) => Ok(names),
        None if plain.total.iter().any(|name| given(object, name).is_some()) => Ok(plain),
        None => Err(UsageError::NoCounts),
    }
}

fn given<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// The counts as they are told.
#[derive(Debug, Default)]
struct Told {
    prompt: Option<u64>,
    cached: u64,
    output: Option<u64>,
    thoughts: Option<u64>,
    tool_use: u64,
    total: Option<u64>,
    audio: Audio,
    batch: bool,
}

impl Told {
    fn read(object: &Map<String, Value>, names: &Names) -> Result<Self, UsageError> {
        let count = |names: &[&str]| -> Result<Option<u64>, UsageError> {
            let found = names
                .iter()
                .find_map(|name| given(object, name).map(|value| (name, value)));
            found.map(|(name, value)| tokens(name, value)).transpose()
        };
        let audio = |list: &[&str]| -> Result<u64, UsageError> {
            if names.format == Format::Plain {
                return Ok(count(list)?.unwrap_or(0));
            }
            let found = list
                .iter()
                .find_map(|name| given(object, name).map(|value| (name, value)));
            found.map_or(Ok(0), |(name, value)| audio_of(name, value))
        };
        let batch = match given(object, "batch") {
            None => false,
            Some(Value::Bool(batch)) => *batch,
            Some(other) => return Err(wrong("batch", other, "true or false")),
        };
        Ok(Self {
            prompt: count(names.prompt)?,
            cached: count(names.cached)?.unwrap_or(0),
            output: count(names.output)?,
            thoughts: count(names.thoughts)?,
            tool_use: count(names.tool_use)?.unwrap_or(0),
            total: count(names.total)?,
            audio: Audio {
                prompt: audio(names.audio_prompt)?,
                cached: audio(names.audio_cached)?,
                output: audio(names.audio_output)?,
            },
            batch,
        })
    }

    fn usage(self, format: Format) -> Usage {
        let mut mismatch = None;
        let mut prompt = self.prompt.unwrap_or(0);
        if self.cached > prompt {
            // The prompt can't contain them.
            mismatch = Some(Mismatch::CachedNotInPrompt);
            prompt += self.cached;
        }
        let candidates = self.output.unwrap_or(0);
        let thoughts = self.thoughts.unwrap_or(0);
        let (with_thoughts, by_total) = self.with_thoughts(prompt, candidates, thoughts);
        // The first cause often makes the total wrong as well.
        let mismatch = mismatch.or(by_total);
        let thoughts = thoughts.min(with_thoughts);
        let output = with_thoughts - thoughts;
        let audio_prompt = self.audio.prompt.min(prompt);
        Usage {
            prompt,
            cached: self.cached,
            output,
            thoughts,
            tool_use: self.tool_use,
            total: self.total,
            audio: Audio {
                prompt: audio_prompt,
                cached: self.audio.cached.min(self.cached).min(audio_prompt),
                output: self.audio.output.min(output),
            },
            batch: self.batch,
            format,
            mismatch,
        }
    }

    /// Output and thoughts together. Backends differ on whether the output contains the thoughts,
    /// and the total tells which it is.
    fn with_thoughts(
        &self,
        prompt: u64,
        candidates: u64,
        thoughts: u64,
    ) -> (u64, Option<Mismatch>) {
        let parts = candidates + thoughts;
        let Some(total) = self.total else {
            return (parts, None);
        };
        let nothing_else = self.prompt.is_none()
            && self.output.is_none()
            && self.thoughts.is_none()
            && self.cached == 0
            && self.tool_use == 0;
        if nothing_else && total > 0 {
            return (total, Some(Mismatch::OnlyTotal));
        }
        let Some(rest) = total.checked_sub(prompt + self.tool_use) else {
            return (parts, Some(Mismatch::TotalBelowParts));
        };
        if rest == parts {
            (parts, None)
        } else if rest == candidates {
            (rest, Some(Mismatch::ThoughtsInOutput))
        } else if rest > parts {
            (rest, Some(Mismatch::TotalAboveParts))
        } else if rest + self.tool_use == parts {
            (parts, Some(Mismatch::ToolUseNotInTotal))
        } else if rest > candidates {
            (rest, Some(Mismatch::TotalBelowParts))
        } else {
            (parts, Some(Mismatch::TotalBelowParts))
        }
    }
}

const COUNT: &str = "a whole number from 0 to 1000000000";

fn tokens(name: &str, value: &Value) -> Result<u64, UsageError> {
    let count = value.as_u64().filter(|count| *count <= MAX_TOKENS);
    count.ok_or_else(|| wrong(name, value, COUNT))
}

/// Tokens of audio in a list such as `[{"modality": "AUDIO", "tokenCount": 7}]`.
fn audio_of(name: &str, value: &Value) -> Result<u64, UsageError> {
    const LIST: &str = "a list of objects with a modality and its tokens";
    let Value::Array(list) = value else {
        return Err(wrong(name, value, LIST));
    };
    let mut sum = 0;
    for (index, part) in list.iter().enumerate() {
        let Value::Object(part) = part else {
            return Err(wrong(&format!("{name}[{index}]"), part, LIST));
        };
        let modality = part.get("modality").and_then(Value::as_str);
        if !modality.is_some_and(|modality| modality.eq_ignore_ascii_case("audio")) {
            continue;
        }
        for key in ["tokenCount", "token_count", "tokens"] {
            if let Some(value) = given(part, key) {
                sum += tokens(&format!("{name}[{index}].{key}"), value)?;
                break;
            }
        }
    }
    Ok(sum)
}

fn wrong(field: &str, value: &Value, allowed: &'static str) -> UsageError {
    const SHOWN: usize = 60;
    let value = match value {
        // Not even written out: it may be large.
        Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
        other => {
            let text = other.to_string();
            match text.char_indices().nth(SHOWN) {
                Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
                None => text,
            }
        }
    };
    UsageError::Field {
        field: field.to_owned(),
        value,
        allowed,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
