//! Whether pages and files are within their budgets.
//!
//! What is allowed comes from the configuration and from files of the shape of Lighthouse's
//! `budget.json`; what is so, from the store and from the disk. [`judge`] compares, and is pure.

mod compressed;
mod files;
mod import;
mod judge;
#[cfg(test)]
mod tests;
mod watch;

use serde::Serialize;

use crate::config::PagePattern;

pub use compressed::Sizes;
pub use files::{Files, GlobError, MeasuredFile};
pub use judge::judge_files;
pub use watch::{Budgets, check_imports};

/// Value of the label `page` for budgets of files on the disk.
pub const FILES: &str = "files";

/// One thing that is limited, for some pages.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// For which pages.
    pub pages: PagePattern,
    /// What is limited.
    pub what: What,
    /// The most that is allowed, in the unit of [`What::unit`].
    pub most: f64,
    /// Fewest values that a verdict needs.
    pub min_samples: u64,
    /// Where it stands: `the configuration`, or a file.
    pub from: String,
}

/// What can be limited.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// A vital by its name, such as `LCP`, at the 75th percentile.
    Vital(&'static str),
    /// Files of a page view of this type.
    Requests(&'static str),
    /// Their bytes.
    Bytes(&'static str),
    /// What an imported budget has, and browsers don't tell.
    NotTold(String),
}

impl What {
    /// Value of the label `budget`.
    pub fn label(&self) -> String {
        match self {
            Self::Vital(name) => name.to_ascii_lowercase(),
            Self::Requests(kind) => format!("requests:{kind}"),
            Self::Bytes(kind) => format!("bytes:{kind}"),
            Self::NotTold(name) => name.clone(),
        }
    }

    /// In what it is counted.
    pub fn unit(&self) -> Unit {
        match self {
            Self::Vital("CLS") => Unit::None,
            Self::Vital(_) => Unit::Milliseconds,
            Self::Requests(_) => Unit::Files,
            Self::Bytes(_) => Unit::Bytes,
            Self::NotTold(_) => Unit::None,
        }
    }
}

/// In what something is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Bytes.
    #[serde(rename = "bytes")]
    Bytes,
    /// Files.
    #[serde(rename = "files")]
    Files,
    /// It has none.
    #[serde(rename = "")]
    None,
}

/// Whether something is within its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is not.
    Broken,
    /// It can't be said.
    Unknown,
    /// It is.
    Ok,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Broken, Self::Unknown, Self::Ok];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Unknown => "unknown",
            Self::Ok => "ok",
        }
    }
}

/// What is allowed, what is so, and what that means.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The page; [`FILES`] for files on the disk; the pattern while no page fits it.
    pub page: String,
    /// What is limited, such as `lcp`, `bytes:script` or `gzip:/srv/shop/dist/*.js`.
    pub budget: String,
    /// Whether it is within the budget.
    pub state: State,
    /// Unit of the next two.
    pub unit: Unit,
    /// The most that is allowed.
    pub limit: f64,
    /// What is so; `None` when not known.
    pub actual: Option<f64>,
    /// `actual` as a part of `limit`; `None` when not known, or when nothing is allowed.
    pub ratio: Option<f64>,
    /// Values or page views behind it.
    pub samples: Option<u64>,
    /// Why it is not known, or what else should be known.
    pub why: Option<String>,
    /// Where the budget stands.
    pub from: String,
    /// The files, of a budget for files; the largest first, at most twenty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<MeasuredFile>,
}

/// All verdicts at a time; the broken ones first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// When, in Unix milliseconds; 0 before the first time.
    pub at_ms: i64,
    /// Hours before that which they are about.
    pub window_h: u32,
    /// The verdicts.
    pub verdicts: Vec<Verdict>,
    /// Verdicts that were too many to be kept.
    pub left_out: u64,
    /// Why they are about what is in memory: the store is off, or down.
    pub not_stored: Option<String>,
}

impl Report {
    /// How many verdicts are so.
    pub fn count(&self, state: State) -> u64 {
        let those = self.verdicts.iter().filter(|one| one.state == state);
        those.count() as u64
    }
}
