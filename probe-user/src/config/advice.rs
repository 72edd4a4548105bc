//! Section `[advice]`: which indexes are worth proposing, and how much the search may take.

use serde::{Deserialize, Serialize};

/// Section `[advice]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Advice {
    /// Seconds between two rounds.
    pub interval_s: u32,
    /// Statements of each database that are looked at: those that take most time.
    pub top: u32,
    /// Seconds for which a statement that does not run any more is still looked at.
    pub recent_s: u32,
    /// Rows from which on a table is large.
    pub min_rows: u32,
    /// Bytes from which on a table is large, whatever its rows.
    pub min_bytes: u32,
    /// Smallest cost, by the planner, of what is looked at.
    pub min_cost: u32,
    /// Share of the cost that an index has to save.
    pub min_improvement: f64,
    /// Most indexes that are tried for one statement.
    pub max_candidates: u32,
    /// Longest time that one plan may take.
    pub statement_timeout_ms: u32,
    /// Longest time of one round over one database.
    pub round_timeout_s: u32,
    /// Days without use after which an index counts as unused.
    pub unused_after_days: u32,
}

impl Default for Advice {
    fn default() -> Self {
        Self {
            interval_s: 300,
            top: 20,
            recent_s: 86_400,
            min_rows: 10_000,
            min_bytes: 10 << 20,
            min_cost: 100,
            min_improvement: 0.5,
            max_candidates: 20,
            statement_timeout_ms: 1_000,
            round_timeout_s: 60,
            unused_after_days: 7,
        }
    }
}
