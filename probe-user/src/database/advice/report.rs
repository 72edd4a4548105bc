//! What the advice is and what it rests on, as the API shows it.

use std::{collections::BTreeMap, time::SystemTime};

use serde::Serialize;

/// What was found out about all databases.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AdviceReport {
    /// Each configured database that wants advice, in the configuration's order.
    pub databases: Vec<DatabaseAdvice>,
}

/// What was found out about one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DatabaseAdvice {
    /// Its name in the configuration.
    pub name: String,
    /// Its name on the server; empty before the first connection.
    pub database: String,
    /// How the last round went.
    pub state: State,
    /// When the last round that came to its end was over.
    pub finished_at: Option<SystemTime>,
    /// How long that took, in seconds.
    pub round_seconds: f64,
    /// Rounds that came to their end.
    pub rounds: u64,
    /// Rounds that did not.
    pub failures: u64,
    /// Whether HypoPG proves what is proposed.
    pub hypopg: HypoPg,
    /// The statements that were looked at, the costliest first.
    pub looked_at: Vec<LookedAt>,
    /// What is proposed, the most valuable first.
    pub advice: Vec<Advice>,
}

impl DatabaseAdvice {
    /// How many pieces of advice there are of each kind, those without any included.
    pub fn counts(&self) -> BTreeMap<Kind, u64> {
        let mut counts: BTreeMap<Kind, u64> = Kind::ALL.iter().map(|kind| (*kind, 0)).collect();
        for advice in &self.advice {
            *counts.entry(advice.kind).or_default() += 1;
        }
        counts
    }
}

/// How the last round over a database went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// There was none yet.
    #[default]
    Waiting,
    /// It came to its end.
    Done,
    /// It did not, because of this.
    Failed(String),
}

/// Whether HypoPG can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HypoPg {
    /// Whether it can.
    pub usable: bool,
    /// If not, why, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Default for HypoPg {
    fn default() -> Self {
        Self {
            usable: false,
            reason: Some("the database was not asked yet".to_owned()),
        }
    }
}

/// A statement and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LookedAt {
    /// Sixteen hexadecimal digits.
    pub fingerprint: String,
    /// Without literals.
    pub sql: String,
    /// Whether the planner was asked.
    pub planned: bool,
    /// The planner's estimate for it as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// What came of it, in words.
    pub outcome: String,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident $label:literal;)*) => {
        /// What a piece of advice is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Value of the label `kind`, and of `kind` in the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

kinds! {
    /// An index that the planner would use, proven by HypoPG.
    MissingIndex "missing_index";
    /// An index that may help; nothing proves it.
    UnprovenIndex "unproven_index";
    /// The planner's statistics of a table are old: nothing can be said before `ANALYZE`.
    StaleStatistics "stale_statistics";
    /// An index that queries can't use, since its creation failed.
    InvalidIndex "invalid_index";
    /// Two indexes that are the same.
    DuplicateIndex "duplicate_index";
    /// An index that is the start of another.
    RedundantIndex "redundant_index";
    /// An index that no query has used.
    UnusedIndex "unused_index";
}

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One piece of advice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// What it is about.
    pub kind: Kind,
    /// What to do, in one sentence.
    pub summary: String,
    /// The statement that does it. The probe never runs it.
    pub statement: String,
    /// What to think of before.
    pub cautions: Vec<String>,
    /// The table.
    pub table: TableFacts,
    /// The index that is proposed or complained of; `None` for statistics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexFacts>,
    /// What the planner says of all statements together, each as often as it was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<Gain>,
    /// What the index would cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_cost: Option<WriteCost>,
    /// The statements that it is for, the costliest first.
    pub statements: Vec<Evidence>,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TableFacts {
    /// Schema and name, quoted where needed.
    pub name: String,
    /// Rows, by the planner's statistics.
    pub rows: f64,
    /// Size without indexes.
    pub bytes: i64,
}

/// An index.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct IndexFacts {
    /// Its name, quoted where needed.
    pub name: String,
    /// What it is on.
    pub definition: String,
    /// Its size; an estimate for one that does not exist, `None` when nothing estimates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
}

/// By how much the planner's estimate falls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Gain {
    /// The planner's estimate as it is.
    pub cost_before: f64,
    /// With the index.
    pub cost_after: f64,
    /// The share that is saved, from 0 to 1.
    pub saved_share: f64,
}

impl Gain {
    /// From one cost to another.
    pub fn new(cost_before: f64, cost_after: f64) -> Self {
        let saved_share = if cost_before > 0.0 {
            (1.0 - cost_after / cost_before).clamp(0.0, 1.0)
        } else {
            0.0
        };
        Self {
            cost_before,
            cost_after,
            saved_share,
        }
    }
}

/// What an index costs whoever writes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WriteCost {
    /// Rows inserted, updated or deleted since the statistics began: each insert, and each update
    /// that is not heap-only, adds an entry to the index.
    pub rows_inserted: i64,
    /// See there.
    pub rows_updated: i64,
    /// See there.
    pub rows_deleted: i64,
    /// For how long these were counted, at least.
    pub counted_seconds: f64,
    /// Entries that the index would get each second at this rate.
    pub entries_per_second: f64,
    /// Indexes that the table has already.
    pub existing_indexes: usize,
    /// Share of the updates that are heap-only, which spares all indexes.
    pub heap_only_share: f64,
    /// Calls of statements that set a column of the index: these could not be heap-only any more.
    pub updates_of_its_columns: u64,
}

/// A statement, and what an index does for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Evidence {
    /// Sixteen hexadecimal digits.
    pub fingerprint: String,
    /// Without literals.
    pub sql: String,
    /// `SELECT`, `UPDATE`, ...
    pub operation: String,
    /// The services that run it or send it.
    pub services: Vec<String>,
    /// The routes whose requests it was for, as far as they are known.
    pub routes: Vec<String>,
    /// How often it was called.
    pub calls: u64,
    /// The time that took.
    pub total_seconds: f64,
    /// Rows returned or changed.
    pub rows: u64,
    /// What the planner says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<Gain>,
    /// The plan as it is.
    pub plan_before: String,
    /// The plan with the index; `None` when nothing could try it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_after: Option<String>,
}
