//! What statements do over time: sums of short windows, the hours they make up, and what stands out
//! in them.
//!
//! The decoder only has totals since the start. Once a minute, the daemon takes the difference of
//! two reports into a [`History`], which holds the last two hours in memory and hands each window
//! on to the store. After a restart the store gives back what happened before it.

mod difference;
mod full_scan;
mod history;
mod ranking;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

pub use full_scan::suspicion;
pub use history::{History, REACH_MS, Window};
pub(crate) use history::{from_rows, to_rows};
pub use ranking::{HOUR_MS, Ranked, Ranking, Sort, Span, Trend};

use crate::{
    sql::SqlInfo,
    store::Side,
    traffic::{Latencies, Totals},
};

/// Whose statement it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The service that saw it.
    pub service: Arc<str>,
    /// From which end of the connection.
    pub side: Side,
    /// Its fingerprint; `None` stands for all statements without a series of their own, those whose
    /// text was never seen included.
    pub fingerprint: Option<u64>,
}

/// What a statement did within a window of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// Its numbers.
    pub totals: Totals,
    /// Durations of its executions, as far as they are known.
    pub latencies: Latencies,
    /// The database that it ran in last, empty when that is not known.
    pub database: Arc<str>,
    /// The statement without its literals; `None` where the key has no fingerprint.
    pub sql: Option<Arc<SqlInfo>>,
}

impl Sums {
    /// Adds a later window's numbers.
    pub fn add(&mut self, later: &Self) {
        self.totals.add(&later.totals);
        self.latencies.add(&later.latencies);
        if !later.database.is_empty() {
            self.database = Arc::clone(&later.database);
        }
        if self.sql.is_none() {
            self.sql.clone_from(&later.sql);
        }
    }
}

/// Statements of a window.
pub type Statements = BTreeMap<Key, Sums>;
