//! What browsers said: vitals, errors, and sums of everything else.
//!
//! What a browser says is taken as it is: the intake has checked and bounded it before.

pub(super) mod errors;
mod recent;
pub(super) mod sums;
pub(super) mod vitals;

use super::{SlowQuery, rows::Values};

pub use errors::{ErrorFilter, ErrorGroup, ErrorSort, MAX_ERRORS, Portion, Sample};
pub(super) use recent::RecentBeacons;
pub use sums::{PageSum, SumFilter};
pub use vitals::{By, MAX_GROUPS, VitalFilter, VitalGroup};

/// What was found, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// What was found, in the order that was asked for.
    pub items: Vec<T>,
    /// Whether there is more than the limit.
    pub more: bool,
    /// Why it is what is in memory: the store is off, or down.
    pub not_stored: Option<String>,
}

/// One value of one page life. A browser tells some values several times while they grow; the last
/// one counts, so a row with the same id and name is replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct WebVital {
    /// The browser's own id of this value.
    pub id: String,
    /// When it was last told, in Unix milliseconds.
    pub at_ms: i64,
    /// The host that was told.
    pub host: String,
    /// What the page calls itself; empty when it does not say.
    pub app: String,
    /// Release of the page; empty when it does not say.
    pub release: String,
    /// The page, folded.
    pub page: String,
    /// `mobile`, `tablet`, `desktop` or `unknown`.
    pub device: String,
    /// Such as `4g`.
    pub connection: String,
    /// Such as `navigate` or `back-forward-cache`.
    pub navigation: String,
    /// `LCP`, `INP`, `CLS`, `FCP`, `TTFB` or `FID`.
    pub name: String,
    /// Microseconds; of CLS, which has no unit, millionths.
    pub value_micro: i64,
    /// `good`, `needs-improvement` or `poor`.
    pub rating: String,
    /// Selector of the element that decided.
    pub target: Option<String>,
    /// Address of what decided, such as the image.
    pub url: Option<String>,
    /// How far the page was loaded.
    pub load_state: Option<String>,
    /// Which part of the page loads is told of, above 0 and up to 1; each stands for `1 / rate`.
    pub sample_rate: f64,
}

/// An error that scripts did not catch, in one page life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserError {
    /// Made by [`BrowserError::new_id`].
    pub id: i64,
    /// What belongs together, by the fingerprint of its type, message and stack.
    pub fingerprint: u64,
    /// When it was told, in Unix milliseconds.
    pub at_ms: i64,
    /// The host that was told.
    pub host: String,
    /// What the page calls itself; empty when it does not say.
    pub app: String,
    /// Release of the page; empty when it does not say.
    pub release: String,
    /// The page, folded.
    pub page: String,
    /// `error` or `unhandledrejection`.
    pub kind: String,
    /// Such as `TypeError`; empty when not known.
    pub type_: String,
    /// What it says.
    pub message: String,
    /// The stack as the browser wrote it, cut off.
    pub stack: Option<String>,
    /// Address of the script.
    pub source: Option<String>,
    /// Line in it, from 1.
    pub line: Option<u32>,
    /// Column in that, from 1.
    pub column: Option<u32>,
    /// Times that it happened.
    pub count: u64,
}

impl BrowserError {
    /// An id as [`SlowQuery::new_id`] makes them.
    pub fn new_id(at_ms: i64) -> i64 {
        SlowQuery::new_id(at_ms)
    }
}

/// What is counted of a page beside its vitals and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SumKind {
    /// Views of it; `name` and `detail` are empty.
    View,
    /// What users did: `name` is that of the action, `detail` such as `click`.
    Action,
    /// Calls of its scripts that failed or were slow: `name` is method and route, `detail` the
    /// status or the reason.
    Call,
    /// Files that it loaded: `name` is the type such as `script`.
    Resource,
}

impl SumKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::View, Self::Action, Self::Call, Self::Resource];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Action => "action",
            Self::Call => "call",
            Self::Resource => "resource",
        }
    }
}

/// One count of a page in a window of time. Windows of one host never overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserSum {
    /// Begin of the window, in Unix milliseconds.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
    /// The host that was told.
    pub host: String,
    /// What the page calls itself; empty when it does not say.
    pub app: String,
    /// The page, folded.
    pub page: String,
    /// What is counted.
    pub kind: SumKind,
    /// See [`SumKind`].
    pub name: String,
    /// See [`SumKind`].
    pub detail: String,
    /// How many, as they were told: not scaled by the sample rate.
    pub count: u64,
    /// Bytes over the network, as far as the browser tells them.
    pub bytes: u64,
    /// Those of `count` whose bytes are not told: from the cache, or from another origin without
    /// `Timing-Allow-Origin`.
    pub opaque: u64,
    /// Time of all of them, in milliseconds.
    pub duration_ms: u64,
}

impl WebVital {
    pub(super) fn bytes(&self) -> usize {
        let optional = [&self.target, &self.url, &self.load_state];
        let texts = [
            &self.id,
            &self.host,
            &self.app,
            &self.release,
            &self.page,
            &self.device,
            &self.connection,
            &self.navigation,
            &self.name,
            &self.rating,
        ];
        size_of::<Self>()
            + texts.iter().map(|text| text.len()).sum::<usize>()
            + optional_bytes(&optional)
    }
}

impl BrowserError {
    pub(super) fn bytes(&self) -> usize {
        let texts = [
            &self.host,
            &self.app,
            &self.release,
            &self.page,
            &self.kind,
            &self.type_,
            &self.message,
        ];
        size_of::<Self>()
            + texts.iter().map(|text| text.len()).sum::<usize>()
            + optional_bytes(&[&self.stack, &self.source])
    }
}

impl BrowserSum {
    pub(super) fn bytes(&self) -> usize {
        let texts = [&self.host, &self.app, &self.page, &self.name, &self.detail];
        size_of::<Self>() + texts.iter().map(|text| text.len()).sum::<usize>()
    }
}

fn optional_bytes(texts: &[&Option<String>]) -> usize {
    texts
        .iter()
        .map(|text| text.as_ref().map_or(0, String::len))
        .sum()
}

/// Conditions of a question, with a mark where each value belongs, and the values.
#[derive(Default)]
struct Question {
    conditions: Vec<String>,
    values: Values,
    count: usize,
}

impl Question {
    fn text(&mut self, condition: &str, value: &str) {
        self.add(condition);
        self.values.text(value);
    }

    fn signed(&mut self, condition: &str, value: i64) {
        self.add(condition);
        self.values.signed(value);
    }

    fn any_of(&mut self, column: &str, values: &[String]) {
        let places: Vec<String> = values
            .iter()
            .map(|value| {
                self.values.text(value);
                self.count += 1;
                format!("${}", self.count)
            })
            .collect();
        self.conditions
            .push(format!("{column} IN ({})", places.join(", ")));
    }

    fn add(&mut self, condition: &str) {
        self.count += 1;
        let place = format!("${}", self.count);
        self.conditions.push(condition.replace('?', &place));
    }

    /// From `WHERE` on; empty when there are none.
    fn conditions(&self) -> String {
        match self.conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", self.conditions.join(" AND ")),
        }
    }
}
