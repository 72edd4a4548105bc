//! Section `[gemini]`: usage of the Gemini API, and its limits.

use std::{fmt, path::PathBuf};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::GeminiGateway;

/// Section `[gemini]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gemini {
    /// Name of the zone in which days and months begin, such as `Europe/Berlin`.
    pub timezone: String,
    /// Seconds after which a reservation that was not settled is given back.
    pub lease_s: u32,
    /// What a reservation gets while the store can't be used.
    pub when_store_is_down: WhenStoreIsDown,
    /// What a reservation gets under a limit in USD when its model has no known price.
    pub unknown_price: UnknownPrice,
    /// A file with prices that go before the built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<PathBuf>,
    /// Hosts of the API, and all below them, that calls are recognised by on the wire.
    pub hosts: Vec<String>,
    /// Header of a request that says what it is for.
    pub feature_header: String,
    /// Features that metrics tell apart; the others are `other`.
    pub max_features: u32,
    /// Models that metrics tell apart; the others are `other`.
    pub max_models: u32,
    /// Calls that go through the daemon.
    pub gateway: GeminiGateway,
    /// The limits.
    #[serde(rename = "limit", skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<GeminiLimit>,
}

/// One `[[gemini.limit]]`: what may be used in a minute, a day or a month. At least one of `tokens`,
/// `calls` and `usd` is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeminiLimit {
    /// As it is called in answers and metrics; made from the rest when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long it counts before it begins anew.
    pub per: Per,
    /// Most tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Most calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Most US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// Only calls of this model; with `*` at its end, of all whose names begin so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only calls for this feature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
}

/// How long a limit counts before it begins anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// A minute.
    Minute,
    /// A day of the zone.
    #[default]
    Day,
    /// A month of the zone.
    Month,
}

impl Per {
    /// As it is written in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to reservations while the store can't be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenStoreIsDown {
    /// They are refused, so that no limit is exceeded.
    #[default]
    Refuse,
    /// They are granted without counting, so that the app works.
    Allow,
}

/// What a limit in USD does with a model whose price is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownPrice {
    /// It refuses the call.
    #[default]
    Refuse,
    /// It lets the call pass; limits of tokens and calls count it.
    CountCalls,
}

/// The longest lease: also how far a clock may have been wrong before a reservation is given back.
pub(crate) const MAX_LEASE_S: u32 = 3_600;
/// The most `[[gemini.limit]]`.
pub(super) const MAX_LIMITS: usize = 64;
/// The most tokens and calls of a limit: sums stay far from what a number holds.
pub(super) const MAX_AMOUNT: u64 = 1_000_000_000_000_000;
/// The most US dollars of a limit.
pub(super) const MAX_USD: f64 = 1_000_000_000.0;
/// The longest name of a feature, a model or a limit, in bytes.
pub(crate) const MAX_NAME: usize = 128;

impl Default for Gemini {
    fn default() -> Self {
        Self {
            timezone: "UTC".to_owned(),
            lease_s: 300,
            when_store_is_down: WhenStoreIsDown::default(),
            unknown_price: UnknownPrice::default(),
            prices: None,
            hosts: vec![
                "generativelanguage.googleapis.com".to_owned(),
                "aiplatform.googleapis.com".to_owned(),
            ],
            feature_header: "x-hostprobe-feature".to_owned(),
            max_features: 50,
            max_models: 50,
            gateway: GeminiGateway::default(),
            limits: Vec::new(),
        }
    }
}

impl Gemini {
    /// The zone in which days and months begin.
    ///
    /// # Errors
    /// The time zone database of this host does not know it.
    pub fn zone(&self) -> Result<TimeZone, jiff::Error> {
        match self.timezone.as_str() {
            // Without a database as well.
            "UTC" => Ok(TimeZone::UTC),
            name => TimeZone::get(name),
        }
    }
}

impl GeminiLimit {
    /// Its name; where none is given, what it is for: `day of gemini-2.5-pro for search`.
    pub fn label(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let mut label = self.per.to_string();
        if let Some(model) = &self.model {
            label.push_str(&format!(" of {model}"));
        }
        if let Some(feature) = &self.feature {
            label.push_str(&format!(" for {feature}"));
        }
        label
    }
}
