//! The tables of errors: each report, and what it looks like once for each release.

mod read;
mod remembered;

use std::collections::BTreeMap;

use sqlx::AnyConnection;

use super::{BrowserError, Question};
use crate::store::{Record, StoreError, now_ms, rows::Insert};

pub(in crate::store) use read::groups;
pub(super) use remembered::groups_of;

/// Groups of an answer when nothing else is asked for.
const DEFAULT_ERRORS: u32 = 50;
/// The most groups of an answer.
pub const MAX_ERRORS: u32 = 500;
/// Releases and pages of a group that are named.
const PORTIONS: usize = 10;

/// In which order errors are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ErrorSort {
    /// The most frequent first.
    #[default]
    Count,
    /// The one that happened last first.
    Last,
    /// The newest first.
    First,
}

/// Which errors are asked for; what is not set takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorFilter {
    /// Told at this time in Unix milliseconds or later.
    pub from_ms: Option<i64>,
    /// Told before this time.
    pub to_ms: Option<i64>,
    /// Of pages that call themselves so.
    pub app: Option<String>,
    /// Of this release.
    pub release: Option<String>,
    /// On this page.
    pub page: Option<String>,
    /// With this fingerprint.
    pub fingerprint: Option<u64>,
    /// In this order.
    pub sort: ErrorSort,
    /// At most so many groups; 0 means [`DEFAULT_ERRORS`], and [`MAX_ERRORS`] is the most.
    pub limit: u32,
}

impl ErrorFilter {
    fn limit(&self) -> u32 {
        match self.limit {
            0 => DEFAULT_ERRORS,
            limit => limit.min(MAX_ERRORS),
        }
    }

    fn takes(&self, error: &BrowserError) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == value)
        };
        self.from_ms.is_none_or(|from| error.at_ms >= from)
            && self.to_ms.is_none_or(|to| error.at_ms < to)
            && self.fingerprint.is_none_or(|one| one == error.fingerprint)
            && is(&self.app, &error.app)
            && is(&self.release, &error.release)
            && is(&self.page, &error.page)
    }

    fn question(&self) -> Question {
        let mut question = Question::default();
        if let Some(from) = self.from_ms {
            question.signed("e.at_ms >= ?", from);
        }
        if let Some(to) = self.to_ms {
            question.signed("e.at_ms < ?", to);
        }
        if let Some(fingerprint) = self.fingerprint {
            question.text("e.fingerprint = ?", &format!("{fingerprint:016x}"));
        }
        for (condition, value) in [
            ("e.app = ?", &self.app),
            ("e.release = ?", &self.release),
            ("e.page = ?", &self.page),
        ] {
            if let Some(value) = value {
                question.text(condition, value);
            }
        }
        question
    }
}

/// Errors that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorGroup {
    /// What the pages call themselves.
    pub app: String,
    /// What they have in common.
    pub fingerprint: u64,
    /// Times that they happened, of those that were asked for.
    pub count: u64,
    /// Page lives in which they did.
    pub reports: u64,
    /// When one was told first at all, in Unix milliseconds.
    pub first_ms: i64,
    /// When one was told last, of those that were asked for.
    pub last_ms: i64,
    /// The releases in which they happened most.
    pub releases: Vec<Portion>,
    /// The pages on which they happened most.
    pub pages: Vec<Portion>,
    /// What they look like.
    pub sample: Sample,
}

/// A part of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    /// Of which release, or on which page.
    pub name: String,
    /// Times.
    pub count: u64,
    /// When first, in Unix milliseconds.
    pub first_ms: i64,
    /// When last.
    pub last_ms: i64,
}

/// What an error looks like, in the newest release that has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// That release.
    pub release: String,
    /// As [`BrowserError::kind`], as all that follows.
    pub kind: String,
    /// Such as `TypeError`.
    pub type_: String,
    /// What it says.
    pub message: String,
    /// The stack.
    pub stack: Option<String>,
    /// Address of the script.
    pub source: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
    /// Column in that.
    pub column: Option<u32>,
}

/// Groups, and whether there are more.
pub(in crate::store) type Groups = (Vec<ErrorGroup>, bool);

const INSERT: Insert = Insert {
    table: "browser_errors",
    columns: &[
        "id",
        "at_ms",
        "host",
        "app",
        "release",
        "page",
        "fingerprint",
        "times",
    ],
    on_conflict: "ON CONFLICT (id) DO NOTHING",
};

const INSERT_SAMPLE: Insert = Insert {
    table: "browser_error_samples",
    columns: &[
        "app",
        "fingerprint",
        "release",
        "kind",
        "error_type",
        "message",
        "stack",
        "source",
        "line_number",
        "column_number",
        "first_ms",
        "seen_ms",
    ],
    // Seldom enough to cost nothing; the row is locked in any case, as those of `statements` are.
    on_conflict: "ON CONFLICT (app, fingerprint, release) DO UPDATE SET \
         first_ms = CASE WHEN excluded.first_ms < browser_error_samples.first_ms \
         THEN excluded.first_ms ELSE browser_error_samples.first_ms END, \
         seen_ms = excluded.seen_ms \
         WHERE browser_error_samples.seen_ms < excluded.seen_ms - 3600000 \
         OR excluded.first_ms < browser_error_samples.first_ms",
};

/// Writes those of the records that belong here.
///
/// # Errors
/// As the database says.
pub(in crate::store) async fn insert(
    connection: &mut AnyConnection,
    records: &[Record],
) -> Result<(), StoreError> {
    let mut errors: Vec<&BrowserError> = Vec::new();
    // In one order on all hosts, or two of them could wait for each other.
    let mut samples: BTreeMap<(&str, u64, &str), (&BrowserError, i64)> = BTreeMap::new();
    for record in records {
        let Record::BrowserErrors(list) = record else {
            continue;
        };
        for error in list {
            errors.push(error);
            let (_, first_ms) = samples
                .entry((&error.app, error.fingerprint, &error.release))
                .or_insert((error, error.at_ms));
            *first_ms = error.at_ms.min(*first_ms);
        }
    }
    let samples: Vec<(&BrowserError, i64)> = samples.into_values().collect();
    let now = now_ms();
    INSERT_SAMPLE
        .run(connection, &samples, |row, (error, first_ms)| {
            row.text(&error.app)
                .fingerprint(error.fingerprint)
                .text(&error.release)
                .text(&error.kind)
                .text(&error.type_)
                .text(&error.message)
                .optional_text(error.stack.as_deref())
                .optional_text(error.source.as_deref())
                .optional_count(error.line.map(u64::from))
                .optional_count(error.column.map(u64::from))
                .signed(*first_ms)
                .signed(now);
        })
        .await?;
    INSERT
        .run(connection, &errors, |row, error| {
            row.signed(error.id)
                .signed(error.at_ms)
                .text(&error.host)
                .text(&error.app)
                .text(&error.release)
                .text(&error.page)
                .fingerprint(error.fingerprint)
                .count(error.count);
        })
        .await
}
