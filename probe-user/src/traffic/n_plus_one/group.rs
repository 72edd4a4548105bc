//! Executions of one query within a scope.

use std::sync::Arc;

use super::{Confidence, Pattern, Settings};
use crate::{sql::SqlInfo, wire::postgres::Statement};

/// Distinct parameters that are told apart; what is beyond counts as distinct.
const PARAMETERS: usize = 64;
/// Fewest distinct parameters of an N+1.
const MIN_DISTINCT: u32 = 3;

/// One fingerprint's executions, one after the other.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) sql: Arc<SqlInfo>,
    /// Executions.
    pub(super) count: u32,
    /// When the first began.
    pub(super) began_ns: u64,
    /// When the last ended.
    pub(super) ended_ns: u64,
    /// Time of all executions, without the pauses between them.
    busy_ns: u64,
    /// Pauses of the client between two of them that were short.
    short_gaps: u32,
    /// Executions whose parameters had not been seen before.
    distinct: u32,
    /// Hashes of parameters, with how often each came.
    parameters: Vec<(u64, u32)>,
}

impl Group {
    /// A group of this execution alone.
    pub(super) fn new(
        sql: &Arc<SqlInfo>,
        statement: &Statement,
        began_ns: u64,
        ended_ns: u64,
    ) -> Self {
        let mut group = Self {
            sql: Arc::clone(sql),
            count: 1,
            began_ns,
            ended_ns,
            busy_ns: ended_ns.saturating_sub(began_ns),
            short_gaps: 0,
            distinct: 0,
            parameters: Vec::new(),
        };
        group.compare(statement.parameters);
        group
    }

    /// One more execution; one that began before the last had ended is no separate round trip, and
    /// does not count.
    pub(super) fn add(
        &mut self,
        statement: &Statement,
        began_ns: u64,
        ended_ns: u64,
        max_gap_ns: u64,
    ) {
        let Some(gap_ns) = began_ns.checked_sub(self.ended_ns) else {
            return;
        };
        self.count = self.count.saturating_add(1);
        self.short_gaps += u32::from(gap_ns <= max_gap_ns);
        self.ended_ns = ended_ns;
        let execution_ns = ended_ns.saturating_sub(began_ns);
        self.busy_ns = self.busy_ns.saturating_add(execution_ns);
        self.compare(statement.parameters);
    }

    /// Parameters that were not at hand are neither the same nor others.
    fn compare(&mut self, parameters: Option<u64>) {
        let Some(parameters) = parameters else {
            return;
        };
        if let Some((_, times)) = self
            .parameters
            .iter_mut()
            .find(|(known, _)| *known == parameters)
        {
            *times = times.saturating_add(1);
            return;
        }
        self.distinct = self.distinct.saturating_add(1);
        if self.parameters.len() < PARAMETERS {
            self.parameters.push((parameters, 1));
        }
    }

    /// From the start of the first to the end of the last, pauses included: what a join would save.
    pub(super) fn elapsed_ns(&self) -> u64 {
        self.ended_ns.saturating_sub(self.began_ns)
    }

    /// The time of all executions but one: about what one statement for all would spare, which would
    /// take longer than one of these, but spare the pauses between them as well.
    pub(super) fn wasted_ns(&self) -> u64 {
        let count = u64::from(self.count.max(1));
        self.busy_ns - self.busy_ns / count
    }

    /// What it is, if it is enough of anything.
    pub(super) fn pattern(&self, settings: &Settings) -> Option<Pattern> {
        if self.count < settings.min_count || self.elapsed_ns() < settings.min_ns {
            return None;
        }
        // At most the limit in the middle: half of the pauses are not longer.
        let gaps = self.count.saturating_sub(1);
        if u64::from(self.short_gaps) * 2 < u64::from(gaps) {
            return None;
        }
        if self.distinct >= MIN_DISTINCT.max(self.count / 2) {
            return Some(Pattern::NPlusOne);
        }
        let most = self.parameters.iter().map(|(_, times)| *times).max();
        (most.unwrap_or(0) >= settings.min_count).then_some(Pattern::RepeatedQuery)
    }

    /// How sure it is, given the numbers of rows that other queries had returned before.
    pub(super) fn confidence(&self, mut rows_before: impl Iterator<Item = u64>) -> Confidence {
        let count = u64::from(self.count);
        // Within a fifth of the number of rows.
        let like = |rows: u64| rows * 4 <= count * 5 && count * 5 <= rows * 6;
        if self.count >= 20 || rows_before.any(like) {
            Confidence::High
        } else if self.count >= 10 {
            Confidence::Medium
        } else {
            Confidence::Low
        }
    }
}
