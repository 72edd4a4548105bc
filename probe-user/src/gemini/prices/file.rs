//! Reading a table of prices, the built-in one and the operator's.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Deserializer, de};

use super::{Over, Prices, Rates, Row, Table, ToolUse};

/// The facts, with their sources.
const BUILT_IN: &str = include_str!("../prices.json");

/// The most that a million tokens may cost, in US dollars: more is a mistake.
const MAX_USD: u64 = 100_000;
/// Picodollars for a token that one US dollar for a million tokens is.
const PICO: u64 = 1_000_000;

/// Why a file with prices can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// It can't be read.
    #[error("cannot read the prices in {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It has mistakes.
    #[error("the prices in {} have mistakes: {}", path.display(), listed(problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All that were found; one when the file is no JSON or a value is of the wrong kind.
        problems: Vec<Problem>,
    },
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, such as `models.gemini-2.5-pro[0].input`.
    pub field: String,
    /// What is there and what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

fn listed(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    texts.join("; ")
}

pub(super) fn built_in() -> Result<Prices, Vec<Problem>> {
    let file = parse(BUILT_IN)?;
    Ok(Prices(Arc::new(file.table()?)))
}

pub(super) fn load(path: &Path) -> Result<Prices, PricesError> {
    let text = std::fs::read_to_string(path).map_err(|source| PricesError::Read {
        path: path.to_owned(),
        source,
    })?;
    replaced(&text).map_err(|problems| PricesError::Invalid {
        path: path.to_owned(),
        problems,
    })
}

/// The built-in table with the rows of this text instead of its own, model by model.
pub(super) fn replaced(text: &str) -> Result<Prices, Vec<Problem>> {
    let file = parse(text)?;
    let alone = file.built_in == Some(false);
    let tool_use = file.tool_use;
    let own = file.table()?;
    if alone {
        return Ok(Prices(Arc::new(own)));
    }
    let base = built_in()?;
    let mut aliases = base.0.aliases.clone();
    // A row under the name itself is closer than what the built-in table takes it for.
    aliases.retain(|alias, _| !own.models.contains_key(alias));
    aliases.extend(own.aliases);
    let mut models = base.0.models.clone();
    models.extend(own.models);
    Ok(Prices(Arc::new(Table {
        version: format!("{}+{}", own.version, base.0.version),
        tool_use: tool_use.unwrap_or(base.0.tool_use),
        aliases,
        models,
    })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    /// For who reads the file.
    #[serde(rename = "unit")]
    _unit: Option<String>,
    #[serde(rename = "sources", default)]
    _sources: Vec<String>,
    #[serde(rename = "notes", default)]
    _notes: Vec<String>,
    built_in: Option<bool>,
    tool_use: Option<ToolUse>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    models: BTreeMap<String, Vec<FileRow>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRow {
    from: Option<String>,
    input: Price,
    cached: Option<Price>,
    output: Price,
    thoughts: Option<Price>,
    audio_input: Option<Price>,
    audio_cached: Option<Price>,
    audio_output: Option<Price>,
    batch: Option<Changed>,
    over: Option<FileOver>,
}

/// Rates of batch mode; those that are not given are the normal ones.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changed {
    input: Option<Price>,
    cached: Option<Price>,
    output: Option<Price>,
    thoughts: Option<Price>,
    audio_input: Option<Price>,
    audio_cached: Option<Price>,
    audio_output: Option<Price>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileOver {
    prompt_tokens: u64,
    input: Price,
    cached: Option<Price>,
    output: Price,
    thoughts: Option<Price>,
    audio_input: Option<Price>,
    audio_cached: Option<Price>,
    audio_output: Option<Price>,
    batch: Option<Changed>,
}

/// Picodollars for a token, written as US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Price(u64);

fn parse(text: &str) -> Result<File, Vec<Problem>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let problem = |field: String, message: String| vec![Problem { field, message }];
    let file = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = match error.path().to_string() {
            path if path == "." || path == "?" => "the file".to_owned(),
            path => path,
        };
        problem(field, error.inner().to_string())
    })?;
    json.end()
        .map_err(|error| problem("the file".to_owned(), error.to_string()))?;
    Ok(file)
}

impl File {
    fn table(self) -> Result<Table, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |field: String, message: &str| {
            problems.push(Problem {
                field,
                message: message.to_owned(),
            });
        };
        if !is_name(&self.version) {
            wrong("version".to_owned(), NAME);
        }
        let mut models = BTreeMap::new();
        for (name, rows) in self.models {
            let field = format!("models.{name}");
            if !is_name(&name) || name != name.to_ascii_lowercase() {
                wrong(field.clone(), MODEL);
            }
            if rows.is_empty() {
                wrong(field.clone(), "is empty; allowed is one row or more");
            }
            let mut read: Vec<Row> = Vec::with_capacity(rows.len());
            for (index, row) in rows.into_iter().enumerate() {
                match row.read() {
                    Ok(row) => {
                        let last = read.last().map(|last| last.from_ms);
                        if last.is_some_and(|last| last >= row.from_ms) {
                            let field = format!("{field}[{index}].from");
                            wrong(
                                field,
                                "is not after the row before it; allowed are rows in the order of their times, each with its own",
                            );
                        }
                        read.push(row);
                    }
                    Err((key, message)) => wrong(format!("{field}[{index}].{key}"), &message),
                }
            }
            models.insert(name, read);
        }
        for alias in self.aliases.keys() {
            if !is_name(alias) || *alias != alias.to_ascii_lowercase() {
                wrong(format!("aliases.{alias}"), MODEL);
            }
        }
        match problems.is_empty() {
            true => Ok(Table {
                version: self.version,
                tool_use: self.tool_use.unwrap_or_default(),
                aliases: self.aliases,
                models,
            }),
            false => Err(problems),
        }
    }
}

const NAME: &str = "is not a name; allowed are 1 to 100 letters, digits, and any of . _ - @";
const MODEL: &str = "is not the name of a model; allowed are 1 to 100 small letters, digits, and any of . _ - @, without models/ before them";

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    (1..=100).contains(&text.len()) && text.bytes().all(fits)
}

impl FileRow {
    fn read(self) -> Result<Row, (&'static str, String)> {
        let from_ms = self.from.as_deref().map(time).transpose();
        let from_ms = from_ms.map_err(|message| ("from", message))?;
        let rates = Rates::of_row(&Changed {
            input: Some(self.input),
            cached: self.cached,
            output: Some(self.output),
            thoughts: self.thoughts,
            audio_input: self.audio_input,
            audio_cached: self.audio_cached,
            audio_output: self.audio_output,
        });
        let over = match self.over {
            Some(over) if over.prompt_tokens == 0 => {
                let message =
                    "is 0; allowed is the number of tokens that the normal price is up to";
                return Err(("over.prompt_tokens", message.to_owned()));
            }
            over => over.map(FileOver::read),
        };
        Ok(Row {
            from_ms,
            from: self.from.unwrap_or_else(|| "always".to_owned()),
            batch: self.batch.map(|batch| rates.changed(&batch)),
            rates,
            over,
        })
    }
}

impl FileOver {
    fn read(self) -> Over {
        let rates = Rates::of_row(&Changed {
            input: Some(self.input),
            cached: self.cached,
            output: Some(self.output),
            thoughts: self.thoughts,
            audio_input: self.audio_input,
            audio_cached: self.audio_cached,
            audio_output: self.audio_output,
        });
        Over {
            prompt_tokens: self.prompt_tokens,
            batch: self.batch.map(|batch| rates.changed(&batch)),
            rates,
        }
    }
}

impl Rates {
    /// What is not given has the rate of what it is a kind of, which is never too low: cached tokens
    /// that of the prompt, thoughts that of the output.
    fn of_row(given: &Changed) -> Self {
        let rate = |price: Option<Price>, otherwise: u64| price.map_or(otherwise, |price| price.0);
        let input = rate(given.input, 0);
        let output = rate(given.output, 0);
        let cached = rate(given.cached, input);
        let audio_input = rate(given.audio_input, input);
        // A price for cached text says nothing about audio, unless audio has no price of its own.
        let audio_cached = match given.audio_input {
            Some(audio) if audio.0 != input => audio_input,
            _ => cached,
        };
        Self {
            input,
            cached,
            output,
            thoughts: rate(given.thoughts, output),
            audio_input,
            audio_cached: rate(given.audio_cached, audio_cached),
            audio_output: rate(given.audio_output, output),
        }
    }

    fn changed(&self, given: &Changed) -> Self {
        let rate = |price: Option<Price>, otherwise: u64| price.map_or(otherwise, |price| price.0);
        Self {
            input: rate(given.input, self.input),
            cached: rate(given.cached, self.cached),
            output: rate(given.output, self.output),
            thoughts: rate(given.thoughts.or(given.output), self.thoughts),
            audio_input: rate(given.audio_input, self.audio_input),
            audio_cached: rate(given.audio_cached, self.audio_cached),
            audio_output: rate(given.audio_output, self.audio_output),
        }
    }
}

/// A day (from 00:00 UTC) or a time with its zone.
fn time(text: &str) -> Result<i64, String> {
    let day = text
        .parse::<Date>()
        .ok()
        .filter(|_| text.len() == "2026-12-01".len());
    let day = day.and_then(|day| day.to_zoned_datetime(TimeZone::UTC).ok());
    day.map(|day| day.timestamp())
        .or_else(|| text.parse::<Timestamp>().ok())
        .map(Timestamp::as_millisecond)
        .ok_or_else(|| {
            let shown: String = text.chars().take(60).collect();
            format!(
                "is {shown:?}; allowed is a day such as 2026-12-01 (from 00:00 UTC) or a time such \
                 as 2026-12-01T00:00:00-08:00"
            )
        })
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The shortest text of a float is what was written, so nothing of it is lost.
        let number = serde_json::Number::deserialize(deserializer)?;
        decimal(&number.to_string()).map(Self).ok_or_else(|| {
            de::Error::custom(format!(
                "{number} is no price; allowed are US dollars for a million tokens, from 0 to \
                 {MAX_USD}, with up to six decimals"
            ))
        })
    }
}

/// Picodollars for a token, of dollars for a million tokens.
fn decimal(text: &str) -> Option<u64> {
    const DECIMALS: usize = 6;
    // Written with an exponent only when it is very small or very large.
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > DECIMALS || !all_digits(whole) || !all_digits(fraction)
    {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<DECIMALS$}").parse().ok()?;
    let pico = whole.checked_mul(PICO)?.checked_add(fraction)?;
    (pico <= MAX_USD * PICO).then_some(pico)
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn a_price_has_no_error_of_a_float() {
        assert_eq!(decimal("0.01"), Some(10_000));
        assert_eq!(decimal("0.075"), Some(75_000));
        assert_eq!(decimal("0.01875"), Some(18_750));
        assert_eq!(decimal("10.0"), Some(10_000_000));
        assert_eq!(decimal("100000"), Some(100_000_000_000));
        for wrong in ["-1", "1e-7", "0.0000001", "100001", "NaN", "", ".5"] {
            assert_eq!(decimal(wrong), None, "{wrong}");
        }
    }
}
