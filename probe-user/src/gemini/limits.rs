//! The limits: which calls each of them counts, as what, and how much of it there may be.

use std::{collections::BTreeMap, fmt};

use jiff::tz::TimeZone;

use super::{UNKNOWN_FEATURE, window::Window};
use crate::config::{self, Per};

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Tokens that are paid for.
    Tokens,
    /// Calls.
    Calls,
    /// Billionths of a US dollar.
    NanoUsd,
}

impl Unit {
    /// As it is called in answers and metrics, where amounts of money are in US dollars.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Calls => "calls",
            Self::NanoUsd => "usd",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a call or a reservation takes of each unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Calls.
    pub calls: u64,
    /// Tokens.
    pub tokens: u64,
    /// Billionths of a US dollar.
    pub nano_usd: u64,
}

impl Amounts {
    /// What it takes of one unit.
    pub const fn of(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Tokens => self.tokens,
            Unit::Calls => self.calls,
            Unit::NanoUsd => self.nano_usd,
        }
    }
}

/// One limit of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// As people know it.
    pub name: String,
    /// As the store knows it: what it counts, whatever its name and its amount are. Limits that
    /// only differ in those go on counting where they were.
    pub key: String,
    /// How long it counts.
    pub per: Per,
    /// What it counts.
    pub unit: Unit,
    /// Which models, as [`config::GeminiLimit::model`].
    pub model: Option<String>,
    /// Which feature.
    pub feature: Option<String>,
    /// How much there may be in one window, in the unit.
    pub cap: u64,
}

impl Limit {
    /// Whether it counts calls like this.
    pub fn covers(&self, model: &str, feature: &str) -> bool {
        let model_fits = match self.model.as_deref() {
            None => true,
            Some(pattern) => match pattern.strip_suffix('*') {
                Some(begin) => model.starts_with(begin),
                None => model == pattern,
            },
        };
        model_fits && self.feature.as_deref().is_none_or(|name| name == feature)
    }
}

/// A limit in one of its windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitState {
    /// The limit.
    pub limit: Limit,
    /// Which window.
    pub window: Window,
    /// What calls have used, in its unit. May be more than [`Limit::cap`], because a call can take
    /// more than was reserved for it, and those that nobody asked for count as well.
    pub used: u64,
    /// What open reservations hold.
    pub held: u64,
}

impl LimitState {
    /// What may still be reserved.
    pub fn remaining(&self) -> u64 {
        self.limit
            .cap
            .saturating_sub(self.used.saturating_add(self.held))
    }
}

/// All limits, and the zone of their windows.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    all: Vec<Limit>,
    zone: TimeZone,
}

impl Limits {
    /// From the configuration, which was checked.
    ///
    /// # Errors
    /// The zone is not known.
    pub(super) fn new(config: &config::Gemini) -> Result<Self, jiff::Error> {
        let zone = config.zone()?;
        let mut by_key: BTreeMap<String, Limit> = BTreeMap::new();
        for limit in config.limits.iter().flat_map(of_each_unit) {
            // Of two that count the same, the smaller one is the one that limits.
            let smaller = |other: &Limit| limit.cap < other.cap;
            if by_key.get(&limit.key).is_none_or(smaller) {
                by_key.insert(limit.key.clone(), limit);
            }
        }
        Ok(Self {
            all: by_key.into_values().collect(),
            zone,
        })
    }

    /// The zone of their windows.
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// All of them, in the order of their keys, in which transactions lock them.
    pub(super) fn all(&self) -> &[Limit] {
        &self.all
    }

    /// Those that count a call like this, in the same order.
    pub(super) fn covering<'a>(
        &'a self,
        model: &'a str,
        feature: &'a str,
    ) -> impl Iterator<Item = &'a Limit> {
        let all = self.all.iter();
        all.filter(move |limit| limit.covers(model, feature))
    }

    /// The limit with this key.
    pub(super) fn by_key(&self, key: &str) -> Option<&Limit> {
        let found = self
            .all
            .binary_search_by(|limit| limit.key.as_str().cmp(key));
        found.ok().and_then(|index| self.all.get(index))
    }

    /// The window of a limit at this time.
    pub(super) fn window(&self, limit: &Limit, at_ms: i64) -> Window {
        Window::at(limit.per, at_ms, &self.zone)
    }
}

fn of_each_unit(limit: &config::GeminiLimit) -> impl Iterator<Item = Limit> {
    let units = [
        (Unit::Tokens, limit.tokens),
        (Unit::Calls, limit.calls),
        (Unit::NanoUsd, limit.usd.map(nano)),
    ];
    units.into_iter().filter_map(|(unit, cap)| {
        let model = limit.model.as_deref().map(plain_model).map(str::to_owned);
        let mut key = format!("{}/{unit}", limit.per);
        if let Some(model) = &model {
            key.push_str(&format!("/model={model}"));
        }
        if let Some(feature) = &limit.feature {
            key.push_str(&format!("/feature={feature}"));
        }
        Some(Limit {
            name: limit.label(),
            key,
            per: limit.per,
            unit,
            model,
            feature: limit.feature.clone(),
            cap: cap?,
        })
    })
}

/// Billionths of an amount of US dollars that was checked.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the configuration is checked: from 0 to a thousand million dollars"
)]
fn nano(usd: f64) -> u64 {
    (usd * 1e9).round() as u64
}

/// A model's name without the collection before it: `models/gemini-2.5-pro` is `gemini-2.5-pro`.
pub(super) fn plain_model(name: &str) -> &str {
    name.rsplit_once("models/").map_or(name, |(_, name)| name)
}

/// What a feature is called that nobody named.
pub(super) fn plain_feature(name: &str) -> &str {
    if name.is_empty() {
        UNKNOWN_FEATURE
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(list: &[config::GeminiLimit]) -> Limits {
        Limits::new(&config::Gemini {
            limits: list.to_vec(),
            ..config::Gemini::default()
        })
        .unwrap()
    }

    fn limit() -> config::GeminiLimit {
        config::GeminiLimit::default()
    }

    /// A limit on one model that missed some of its calls would not be one.
    #[test]
    fn a_limit_counts_what_it_says_and_nothing_else() {
        let limits = limits(&[
            config::GeminiLimit {
                tokens: Some(5),
                calls: Some(7),
                ..limit()
            },
            config::GeminiLimit {
                model: Some("models/gemini-2.5-pro".into()),
                usd: Some(0.1),
                ..limit()
            },
            config::GeminiLimit {
                model: Some("gemini-2.5-*".into()),
                feature: Some("search".into()),
                calls: Some(1),
                ..limit()
            },
        ]);
        let keys = |model, feature| -> Vec<&str> {
            let covering = limits.covering(model, feature);
            covering.map(|limit| limit.key.as_str()).collect()
        };
        assert_eq!(keys("gemini-3", "search"), ["day/calls", "day/tokens"]);
        assert_eq!(
            keys("gemini-2.5-pro", "chat"),
            ["day/calls", "day/tokens", "day/usd/model=gemini-2.5-pro"]
        );
        assert_eq!(
            keys("gemini-2.5-pro-001", "search"),
            [
                "day/calls",
                "day/calls/model=gemini-2.5-*/feature=search",
                "day/tokens"
            ]
        );
        let usd = limits.by_key("day/usd/model=gemini-2.5-pro").unwrap();
        assert_eq!(
            (usd.cap, &*usd.name),
            (100_000_000, "day of models/gemini-2.5-pro")
        );
        assert!(limits.by_key("day/usd").is_none());
    }

    #[test]
    fn of_two_limits_on_the_same_the_smaller_one_holds() {
        let one = |name: &str, tokens| config::GeminiLimit {
            name: Some(name.into()),
            tokens: Some(tokens),
            ..limit()
        };
        let limits = limits(&[one("a", 9), one("b", 5), one("c", 7)]);
        let all: Vec<_> = limits
            .all()
            .iter()
            .map(|limit| (&*limit.name, limit.cap))
            .collect();
        assert_eq!(all, [("b", 5)]);
    }

    #[test]
    fn what_is_over_the_limit_leaves_nothing() {
        let limits = limits(&[config::GeminiLimit {
            tokens: Some(5),
            ..limit()
        }]);
        let limit = limits.all()[0].clone();
        let at = |used, held| LimitState {
            window: limits.window(&limit, 0),
            limit: limit.clone(),
            used,
            held,
        };
        assert_eq!(at(2, 1).remaining(), 2);
        assert_eq!(at(2, 9).remaining(), 0);
        assert_eq!(at(u64::MAX, 1).remaining(), 0);
    }

    #[test]
    fn models_are_known_with_and_without_what_is_before_them() {
        for name in [
            "gemini-2.5-pro",
            "models/gemini-2.5-pro",
            "projects/p/locations/l/publishers/google/models/gemini-2.5-pro",
        ] {
            assert_eq!(plain_model(name), "gemini-2.5-pro");
        }
    }
}
