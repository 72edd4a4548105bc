//! What tokens cost: rows that count from a day on, a built-in table (`prices.json`) and a file that
//! replaces rows of it.
//!
//! Prices are kept as whole picodollars for a token (one US dollar for a million tokens is a million
//! of them), so that sums have no error; a call's cost is rounded once, to nanodollars, half up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Call, Cost, Operation, Outcome, PriceVersion, Usage};

mod file;
mod names;

pub use file::{PricesError, Problem};

/// A table of prices; cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices(Arc<Table>);

#[derive(Debug, PartialEq)]
struct Table {
    version: String,
    tool_use: ToolUse,
    aliases: BTreeMap<String, String>,
    models: BTreeMap<String, Vec<Row>>,
}

/// At which price the results of tools are billed, which go back to the model. Published tables
/// disagree for those of a search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum ToolUse {
    /// That of the prompt.
    #[default]
    Input,
    /// None.
    Free,
}

/// Prices of one model from a time on.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    /// Unix milliseconds; `None` from the beginning.
    from_ms: Option<i64>,
    /// As it was written, for [`PriceVersion`]; `always` without a time.
    from: String,
    rates: Rates,
    batch: Option<Rates>,
    over: Option<Over>,
}

/// Other rates for the **whole** call when the prompt is larger.
#[derive(Debug, Clone, PartialEq)]
struct Over {
    prompt_tokens: u64,
    rates: Rates,
    batch: Option<Rates>,
}

/// Picodollars for each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rates {
    input: u64,
    cached: u64,
    output: u64,
    thoughts: u64,
    audio_input: u64,
    audio_cached: u64,
    audio_output: u64,
}

impl Prices {
    /// The table that the program brings along.
    pub fn built_in() -> Self {
        // A test reads it; should it not be readable, no price is known, which is visible.
        file::built_in().unwrap_or_else(|_| {
            Self(Arc::new(Table {
                version: "none".to_owned(),
                tool_use: ToolUse::Input,
                aliases: BTreeMap::new(),
                models: BTreeMap::new(),
            }))
        })
    }

    /// The built-in table with what a file replaces; see `docs/gemini.md` for its form.
    ///
    /// # Errors
    /// [`PricesError`] names the file and every field that is wrong, with what is allowed.
    pub fn load(path: &Path) -> Result<Self, PricesError> {
        file::load(path)
    }

    /// Version of the table: the day of the built-in one, with the file's version before it.
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// Names of the models whose price is known, sorted.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.0.models.keys().map(String::as_str)
    }

    /// What the tokens of a call of this time, in Unix milliseconds, cost. [`Cost::UnknownModel`]
    /// when no row counts for the model at that time.
    pub fn cost(&self, model: &str, usage: &Usage, at_ms: i64) -> Cost {
        let Some((name, row)) = self.row(model, at_ms) else {
            return Cost::UnknownModel;
        };
        let over = row
            .over
            .as_ref()
            .filter(|over| usage.prompt > over.prompt_tokens);
        let (rates, batch) = match over {
            Some(over) => (over.rates, over.batch),
            None => (row.rates, row.batch),
        };
        // A table without prices for batch mode has at least the normal ones.
        let rates = if usage.batch {
            batch.unwrap_or(rates)
        } else {
            rates
        };
        let pico = rates.of(usage, self.0.tool_use);
        let mut version = format!("{}/{name}@{}", self.0.version, row.from);
        if let Some(over) = over {
            version.push_str(&format!(">{}", over.prompt_tokens));
        }
        if usage.batch && batch.is_some() {
            version.push_str("+batch");
        }
        Cost::Known {
            nano_usd: nano(pico),
            price: PriceVersion::new(&version),
        }
    }

    /// What a whole call costs, by how it ended and what its answer told: [`Cost::Free`] for counting
    /// tokens and for errors that told no tokens, [`Cost::NoUsage`] for an answer that told none.
    pub fn cost_of(&self, call: &Call) -> Cost {
        match (&call.usage, call.operation, call.outcome) {
            (_, Operation::CountTokens, _) => Cost::Free,
            (Some(usage), _, _) => self.cost(&call.model, usage, call.at_ms),
            (None, _, Outcome::Error { .. }) => Cost::Free,
            (None, _, Outcome::Ok | Outcome::Incomplete) => Cost::NoUsage,
        }
    }

    /// The most that so many tokens can cost, whichever kind they are, in nanodollars; `None` when
    /// no row counts for the model at that time.
    pub fn worst_case(&self, model: &str, tokens: u64, at_ms: i64) -> Option<u64> {
        let (_, row) = self.row(model, at_ms)?;
        // Over the threshold when the prompt is, which is at most all of it.
        let over = row
            .over
            .as_ref()
            .filter(|over| tokens > over.prompt_tokens)
            .map_or(0, |over| over.rates.highest());
        let highest = row.rates.highest().max(over);
        Some(nano(u128::from(tokens) * u128::from(highest)))
    }

    /// The row that counts for a model at a time, and the name that it was found by.
    fn row(&self, model: &str, at_ms: i64) -> Option<(&str, &Row)> {
        let table = &*self.0;
        let (name, rows) = names::candidates(model).into_iter().find_map(|name| {
            let name = table.aliases.get(&name).unwrap_or(&name);
            table.models.get_key_value(name.as_str())
        })?;
        // Sorted by their time.
        let row = rows
            .iter()
            .rfind(|row| row.from_ms.is_none_or(|from| from <= at_ms))?;
        Some((name, row))
    }
}

impl Rates {
    /// Picodollars. Each token is in exactly one of the products.
    fn of(&self, usage: &Usage, tool_use: ToolUse) -> u128 {
        // The fields are public, so that what is in another is not taken for granted.
        let cached = usage.cached.min(usage.prompt);
        let audio_cached = usage.audio.cached.min(cached);
        let audio_prompt = usage.audio.prompt.clamp(audio_cached, usage.prompt);
        let audio_fresh = (audio_prompt - audio_cached).min(usage.prompt - cached);
        let audio_output = usage.audio.output.min(usage.output);
        let tools = match tool_use {
            ToolUse::Input => usage.tool_use,
            ToolUse::Free => 0,
        };
        [
            (usage.prompt - cached - audio_fresh, self.input),
            (tools, self.input),
            (audio_fresh, self.audio_input),
            (cached - audio_cached, self.cached),
            (audio_cached, self.audio_cached),
            (usage.output - audio_output, self.output),
            (audio_output, self.audio_output),
            (usage.thoughts, self.thoughts),
        ]
        .into_iter()
        .map(|(tokens, rate)| u128::from(tokens) * u128::from(rate))
        .sum()
    }

    fn highest(&self) -> u64 {
        [
            self.input,
            self.cached,
            self.output,
            self.thoughts,
            self.audio_input,
            self.audio_cached,
            self.audio_output,
        ]
        .into_iter()
        .max()
        .unwrap_or(0)
    }
}

/// Nanodollars of picodollars, half up; at most what the store can keep.
fn nano(pico: u128) -> u64 {
    let nano = (pico + 500) / 1_000;
    u64::try_from(nano.min(i64::MAX.unsigned_abs().into())).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
