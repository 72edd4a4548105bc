//! Statements that belong together: those of one request, or of one burst on a connection.

use std::collections::VecDeque;

use super::{group::Group, relevance::is_relevant};
use crate::{
    sql::Operation,
    wire::postgres::{Outcome, Phase, Statement},
};

/// Fingerprints that one scope compares.
const GROUPS: usize = 32;
/// Queries of which is remembered how many rows they returned, and fewest such rows.
const SOURCES: usize = 16;
const MIN_ROWS: u64 = 5;

/// What is compared of one scope.
#[derive(Debug, Default)]
pub(in crate::traffic) struct Scope {
    groups: Vec<Group>,
    /// Queries that returned some rows, newest last.
    sources: VecDeque<Source>,
    /// When the last statement ended, whatever it was.
    ended_ns: u64,
}

/// A query that a loop may run over.
#[derive(Debug, Clone, Copy)]
struct Source {
    fingerprint: u64,
    rows: u64,
    ended_ns: u64,
}

/// What became of a statement.
#[derive(Debug)]
pub(super) enum Added {
    /// It was compared, or there is nothing to compare.
    Compared,
    /// There was no room for its fingerprint.
    NoRoom,
    /// It begins a group of its own, because the group before is over.
    Replaced(Group),
}

impl Scope {
    /// Fingerprints that are compared.
    pub(in crate::traffic) fn len(&self) -> usize {
        self.groups.len()
    }

    /// When the last statement ended; 0 before the first.
    pub(in crate::traffic) fn ended_ns(&self) -> u64 {
        self.ended_ns
    }

    /// Takes a statement; `room` says whether one more group may be held.
    pub(super) fn add(
        &mut self,
        statement: &Statement,
        room: bool,
        window_ns: u64,
        max_gap_ns: u64,
    ) -> Added {
        let (Some(began_ns), Some(ended_ns)) = (statement.started_ns, statement.finished_ns) else {
            return Added::Compared;
        };
        self.ended_ns = self.ended_ns.max(ended_ns);
        let Some(sql) = statement.sql.as_ref() else {
            return Added::Compared;
        };
        if statement.outcome != Outcome::Ok || statement.phase != Phase::Execute {
            return Added::Compared;
        }
        let room = room && self.groups.len() < GROUPS;
        let added = if is_one_round_trip(statement) && is_relevant(sql) {
            let found = self
                .groups
                .iter_mut()
                .find(|group| group.sql.fingerprint == sql.fingerprint);
            match found {
                Some(group) if began_ns.saturating_sub(group.began_ns) <= window_ns => {
                    group.add(statement, began_ns, ended_ns, max_gap_ns);
                    Added::Compared
                }
                Some(group) => Added::Replaced(std::mem::replace(
                    group,
                    Group::new(sql, statement, began_ns, ended_ns),
                )),
                None if room => {
                    self.groups
                        .push(Group::new(sql, statement, began_ns, ended_ns));
                    Added::Compared
                }
                None => Added::NoRoom,
            }
        } else {
            Added::Compared
        };
        if sql.operation == Operation::Select
            && let Some(rows) = statement.rows.filter(|rows| *rows >= MIN_ROWS)
        {
            if self.sources.len() >= SOURCES {
                self.sources.pop_front();
            }
            self.sources.push_back(Source {
                fingerprint: sql.fingerprint,
                rows,
                ended_ns,
            });
        }
        added
    }

    /// Rows that other queries had returned before the group began.
    pub(super) fn rows_before(&self, group: &Group) -> impl Iterator<Item = u64> {
        let (fingerprint, began_ns) = (group.sql.fingerprint, group.began_ns);
        self.sources
            .iter()
            .filter(move |source| source.fingerprint != fingerprint && source.ended_ns <= began_ns)
            .map(|source| source.rows)
    }

    pub(super) fn take_groups(&mut self) -> Vec<Group> {
        std::mem::take(&mut self.groups)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Whether the client sent it alone and waited for it: what goes together with others, as in
/// `executemany` or a pipeline, is done well already.
fn is_one_round_trip(statement: &Statement) -> bool {
    statement.batch <= 1 && !statement.shared_latency && statement.copy.is_none()
}
