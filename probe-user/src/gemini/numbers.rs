//! What this daemon has counted since its start, for metrics: sums by labels whose number is bounded.
//!
//! Pure: who has a [`Call`] to record counts it here once, and puts in what limits and the month
//! stand at.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, Cost, ErrorCode, Mismatch, Operation, Outcome, Source, Usage};

/// What a model, a feature or a kind of error is called that came when there was no more room.
pub const OTHER: &str = "other";

/// Pairs of a model and a feature that are told apart; later ones have the feature [`OTHER`].
const MAX_PAIRS: usize = 500;
/// Models, operations and errors whose durations are told apart; later ones are [`OTHER`].
const MAX_DURATIONS: usize = 300;
/// Models, statuses and codes of errors that are told apart; later ones are [`OTHER`].
const MAX_ERRORS: usize = 500;

/// Upper bounds of [`Durations`] in nanoseconds: 10 ms doubling to 82 s, as OpenTelemetry's
/// conventions for `gen_ai.client.operation.duration` have it, and two more for models that think
/// for minutes.
pub const BOUNDS_NS: [u64; 16] = {
    let mut bounds = [0; 16];
    let mut at = 0;
    while at < bounds.len() {
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated by the compiler, which refuses an index out of range"
        )]
        {
            bounds[at] = 10_000_000 << at;
        }
        at += 1;
    }
    bounds
};

/// Durations in the buckets of [`BOUNDS_NS`] and one without a bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durations {
    /// Per bucket, not cumulative.
    pub counts: [u64; BOUNDS_NS.len() + 1],
    /// Sum of the observations in nanoseconds.
    pub sum_ns: u64,
}

impl Durations {
    /// Adds one observation.
    pub fn observe(&mut self, ns: u64) {
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < ns);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// Tokens by kind; no token is in two of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of prompts, without those from a cache.
    pub input: u64,
    /// Of prompts, from a cache.
    pub cached: u64,
    /// Results of tools.
    pub tool_use: u64,
    /// Of answers, without thoughts.
    pub output: u64,
    /// Thoughts.
    pub thoughts: u64,
}

impl Tokens {
    /// Adds those of one call.
    pub fn add(&mut self, usage: &Usage) {
        let cached = usage.cached.min(usage.prompt);
        for (sum, tokens) in [
            (&mut self.input, usage.prompt - cached),
            (&mut self.cached, cached),
            (&mut self.tool_use, usage.tool_use),
            (&mut self.output, usage.output),
            (&mut self.thoughts, usage.thoughts),
        ] {
            *sum = sum.saturating_add(tokens);
        }
    }

    /// All that go to the model.
    pub fn all_input(&self) -> u64 {
        self.input
            .saturating_add(self.cached)
            .saturating_add(self.tool_use)
    }

    /// All that come from it.
    pub fn all_output(&self) -> u64 {
        self.output.saturating_add(self.thoughts)
    }

    /// Kinds with their names.
    pub fn by_name(&self) -> [(&'static str, u64); 5] {
        [
            ("input", self.input),
            ("cached", self.cached),
            ("tool_use", self.tool_use),
            ("output", self.output),
            ("thoughts", self.thoughts),
        ]
    }
}

/// A model and a feature.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The model.
    pub model: String,
    /// The feature.
    pub feature: String,
}

/// Sums of one [`Pair`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// Calls that ended well.
    pub ok: u64,
    /// Calls that ended with an error.
    pub errors: u64,
    /// Calls whose answer broke off.
    pub incomplete: u64,
    /// Their tokens.
    pub tokens: Tokens,
    /// What is known of their cost, in billionths of a US dollar.
    pub nano_usd: u128,
    /// Calls that have a cost which nobody knows, as their model has no price.
    pub unknown_model: u64,
    /// Calls that have a cost which nobody knows, as their answer told no tokens.
    pub no_usage: u64,
}

/// Whose durations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timed {
    /// The model.
    pub model: String,
    /// As [`Operation::as_str`].
    pub operation: &'static str,
    /// Status or code of the error, `incomplete`, or empty.
    pub error: String,
}

/// An error of the API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiError {
    /// The model.
    pub model: String,
    /// Status of HTTP.
    pub status: String,
    /// As [`ErrorCode::as_str`], or empty.
    pub code: &'static str,
}

/// How far one limit is used, in one of its units. Of all hosts that share the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitLevel {
    /// The limit's name.
    pub limit: String,
    /// `minute`, `day` or `month`.
    pub per: &'static str,
    /// In what it is counted: `tokens`, `calls`, or `usd`, whose amounts are billionths of one.
    pub unit: &'static str,
    /// Which model it is for; `None` for all.
    pub model: Option<String>,
    /// Which feature it is for; `None` for all.
    pub feature: Option<String>,
    /// What calls have used that are over, in this window.
    pub used: u64,
    /// What is kept for calls under way.
    pub reserved: u64,
    /// The most that may be used.
    pub cap: u64,
    /// When the window began, in Unix milliseconds.
    pub from_ms: i64,
    /// When it ends and the use is 0 again.
    pub resets_at_ms: i64,
}

impl LimitLevel {
    /// Used and reserved as a part of the cap; above 1 when calls that nobody asked for went over it.
    pub fn ratio(&self) -> f64 {
        let taken = self.used.saturating_add(self.reserved);
        match self.cap {
            0 => f64::from(u8::from(taken > 0)),
            cap => taken as f64 / cap as f64,
        }
    }
}

/// What this month costs, of all hosts that share the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month {
    /// What is known of its cost so far, in billionths of a US dollar.
    pub nano_usd: u64,
    /// What it will be at its end, when the days that are left are like those that were.
    pub projected_nano_usd: Option<u64>,
    /// Calls of it whose cost is not known.
    pub unpriced_calls: u64,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Numbers {
    max_models: usize,
    max_features: usize,
    models: BTreeSet<String>,
    features: BTreeSet<String>,
    /// By model and feature.
    pub pairs: BTreeMap<Pair, Sums>,
    /// How long calls took.
    pub durations: BTreeMap<Timed, Durations>,
    /// How long the first piece of an answer took, by model and operation.
    pub first_chunks: BTreeMap<Timed, Durations>,
    /// Errors by model, status and code.
    pub errors: BTreeMap<ApiError, u64>,
    /// Calls that the API refused as too many, by model.
    pub throttled: BTreeMap<String, u64>,
    /// Calls by who saw them, in the order of [`Source::ALL`].
    pub sources: [u64; Source::ALL.len()],
    /// Contradictions in what answers told, in the order of [`Mismatch::ALL`].
    pub mismatches: [u64; Mismatch::ALL.len()],
    /// Calls that were refused here, by the name of the limit or the reason.
    pub refusals: BTreeMap<String, u64>,
    /// Reports of a call that was recorded already under the same key.
    pub duplicates: u64,
    /// Reports of a call that was seen already by somebody else.
    pub merged: u64,
    /// Calls that could not be recorded, by the reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Use of the limits as it was last looked at.
    pub limits: Vec<LimitLevel>,
    /// This month as it was last looked at.
    pub month: Option<Month>,
}

impl Numbers {
    /// None yet. Models and features beyond these numbers become [`OTHER`].
    pub fn new(max_models: usize, max_features: usize) -> Self {
        Self {
            max_models,
            max_features,
            ..Self::default()
        }
    }

    /// Counts a call that was recorded. To be called once for each.
    pub fn count(&mut self, call: &Call) {
        let model = bounded(&mut self.models, self.max_models, &call.model);
        let feature = bounded(&mut self.features, self.max_features, &call.feature);
        self.add(&model, feature, call);
        self.time(&model, call);
        if let Outcome::Error { status, code } = call.outcome {
            self.error(&model, status, code);
        }
        if call.outcome.is_throttled() {
            increase(self.throttled.entry(model).or_default());
        }
        let source = Source::ALL.iter().position(|one| *one == call.source);
        if let Some(count) = source.and_then(|at| self.sources.get_mut(at)) {
            increase(count);
        }
        let mismatch = call.usage.as_ref().and_then(|usage| usage.mismatch);
        let at = Mismatch::ALL.iter().position(|one| Some(*one) == mismatch);
        if let Some(count) = at.and_then(|at| self.mismatches.get_mut(at)) {
            increase(count);
        }
    }

    /// Counts a call that was refused, by the name of the limit, or by the reason when it was none.
    pub fn refused(&mut self, by: &str) {
        // Limits come from the configuration, so there are few.
        increase(self.refusals.entry(by.to_owned()).or_default());
    }

    /// Counts a report under a key that was there.
    pub fn duplicate(&mut self) {
        increase(&mut self.duplicates);
    }

    /// Counts a report of a call that somebody else saw as well.
    pub fn merged(&mut self) {
        increase(&mut self.merged);
    }

    /// Counts calls that could not be recorded.
    pub fn dropped(&mut self, reason: &'static str, calls: u64) {
        let count = self.dropped.entry(reason).or_default();
        *count = count.saturating_add(calls);
    }

    fn add(&mut self, model: &str, feature: String, call: &Call) {
        let pair = |feature: String| Pair {
            model: model.to_owned(),
            feature,
        };
        let mut key = pair(feature);
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&key) {
            key = pair(OTHER.to_owned());
        }
        let sums = self.pairs.entry(key).or_default();
        increase(match call.outcome {
            Outcome::Ok => &mut sums.ok,
            Outcome::Error { .. } => &mut sums.errors,
            Outcome::Incomplete => &mut sums.incomplete,
        });
        // Tokens that are counted only are not used.
        if let Some(usage) = &call.usage
            && call.operation != Operation::CountTokens
        {
            sums.tokens.add(usage);
        }
        match &call.cost {
            Cost::Known { nano_usd, .. } => {
                sums.nano_usd = sums.nano_usd.saturating_add(u128::from(*nano_usd));
            }
            Cost::UnknownModel => increase(&mut sums.unknown_model),
            Cost::NoUsage => increase(&mut sums.no_usage),
            Cost::Free => {}
        }
    }

    fn time(&mut self, model: &str, call: &Call) {
        let error = match call.outcome {
            Outcome::Ok => String::new(),
            // In the middle of a stream that began well.
            Outcome::Error {
                status: 200,
                code: Some(code),
            } => code.as_str().to_owned(),
            Outcome::Error { status, .. } => status.to_string(),
            Outcome::Incomplete => "incomplete".to_owned(),
        };
        let key = Timed {
            model: model.to_owned(),
            operation: call.operation.as_str(),
            error,
        };
        timed(&mut self.durations, key.clone()).observe(call.duration_ns);
        if let Some(ns) = call.first_chunk_ns {
            let error = String::new();
            timed(&mut self.first_chunks, Timed { error, ..key }).observe(ns);
        }
    }

    fn error(&mut self, model: &str, status: u16, code: Option<ErrorCode>) {
        let mut key = ApiError {
            model: model.to_owned(),
            status: status.to_string(),
            code: code.map_or("", ErrorCode::as_str),
        };
        if self.errors.len() >= MAX_ERRORS && !self.errors.contains_key(&key) {
            key = ApiError {
                model: OTHER.to_owned(),
                status: OTHER.to_owned(),
                code: OTHER,
            };
        }
        increase(self.errors.entry(key).or_default());
    }
}

fn increase(count: &mut u64) {
    *count = count.saturating_add(1);
}

/// The name, or [`OTHER`] when it is new and there are enough.
fn bounded(known: &mut BTreeSet<String>, most: usize, name: &str) -> String {
    if !known.contains(name) {
        if known.len() >= most {
            return OTHER.to_owned();
        }
        known.insert(name.to_owned());
    }
    name.to_owned()
}

fn timed(durations: &mut BTreeMap<Timed, Durations>, mut key: Timed) -> &mut Durations {
    if durations.len() >= MAX_DURATIONS && !durations.contains_key(&key) {
        key = Timed {
            model: OTHER.to_owned(),
            operation: OTHER,
            error: OTHER.to_owned(),
        };
    }
    durations.entry(key).or_default()
}

#[cfg(test)]
mod tests;
