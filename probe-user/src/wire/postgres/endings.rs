//! Statements that end well, and portals that end: what is reported, and what it changes.

use std::sync::Arc;

use super::body::Tag;
use super::event::{Event, Kind, Outcome, Phase, StatisticsDifference};
use super::portals::{Gone, Portal, Progress};
use super::request::{Answering, Ending, Request};
use super::session::Session;
use crate::sql::{Effect, Part};

impl Session {
    /// The statement at hand ended without an error.
    pub(super) fn complete(&mut self, ending: Ending, now: u64) {
        match self.requests.front() {
            Some(Request::Query { .. }) => {
                if let Ending::Complete(tag) = ending {
                    self.complete_simple(Some(tag), now);
                }
            }
            Some(Request::Execute { .. }) => self.complete_execute(ending, true, now),
            _ => {}
        }
    }

    /// One statement of a simple query ended; `None` when its tag was not seen.
    pub(super) fn complete_simple(&mut self, tag: Option<Tag>, now: u64) {
        self.begin_simple(true);
        let Some(Request::Query {
            text,
            next,
            shared,
            at,
            ..
        }) = self.requests.front_mut()
        else {
            return;
        };
        let (text, shared, at) = (text.clone(), *shared, *at);
        let part = text.as_ref().and_then(|text| text.parts.get(*next));
        *next += 1;
        // Further statements of the same text start unseen, when the one before ends.
        let shared = shared
            || text
                .as_ref()
                .is_none_or(|text| text.cut || text.parts.len() > 1);
        let mut statement = self.statement(part, Kind::Simple, Phase::Execute);
        statement.outcome = Outcome::Ok;
        statement.started_ns = Some(at);
        statement.first_byte_ns = self.answering.first_byte;
        statement.finished_ns = Some(now);
        statement.busy_ns = Some(now.saturating_sub(at));
        statement.rows = tag.and_then(|tag| tag.rows);
        statement.shared_latency = shared;
        statement.parameters = part
            .filter(|part| part.info.complete)
            .map(|part| part.literals);
        statement.copy = self.answering.copy;
        statement.sql = self.prepared_by_name(part).or(statement.sql);
        self.answering = Answering::default();
        self.report(statement);
        self.succeeded(part, tag);
    }

    /// `EXECUTE name` runs what was prepared under that name.
    pub(super) fn prepared_by_name(
        &mut self,
        part: Option<&Part>,
    ) -> Option<Arc<crate::sql::SqlInfo>> {
        let Effect::Execute(name) = part?.effect else {
            return None;
        };
        let text = self.names.statement(name)?;
        text.parts.first().map(|part| Arc::clone(&part.info))
    }

    /// A simple query drops the unnamed statement, and the unnamed portal once it runs one.
    pub(super) fn begin_simple(&mut self, runs: bool) {
        let Some(Request::Query { next: 0, .. }) = self.requests.front() else {
            return;
        };
        self.names.forget_statement(0);
        if runs && let Some(gone) = self.names.take_portal(0) {
            self.portal_gone(gone, Gone::Closed);
        }
    }

    /// An Execute ended, at the end of its portal or not.
    pub(super) fn complete_execute(&mut self, ending: Ending, seen: bool, now: u64) {
        let answering = std::mem::take(&mut self.answering);
        let Some(Request::Execute {
            portal: name,
            shared,
            at,
        }) = self.pop()
        else {
            return;
        };
        if name.is_none() {
            // Any of them may have gone on.
            self.names.doubt_portals();
        }
        let known = name.and_then(|name| self.names.take_portal(name));
        if known.is_none() && ends_a_step(ending) {
            // Of a portal whose Bind was not seen: its other steps may be reported as well.
            self.stats.unknown_steps += 1;
            return;
        }
        let mut portal = known.unwrap_or_else(|| Portal::new(None, None, at));
        if matches!(ending, Ending::Empty) {
            return;
        }
        let tag = match ending {
            Ending::Complete(tag) => Some(tag),
            _ => None,
        };
        let first = portal.fetches == 0;
        let started = if first { portal.bound_at } else { at };
        let rows = match tag {
            Some(tag) => tag.rows,
            None => seen.then_some(answering.rows),
        };
        portal.fetches = portal.fetches.saturating_add(1);
        portal.busy_ns = portal.busy_ns.saturating_add(now.saturating_sub(started));
        portal.first_byte = portal.first_byte.or(answering.first_byte);
        portal.finished = now;
        portal.shared |= shared;
        portal.copy = portal.copy.or(answering.copy);
        portal.last_rows = rows.unwrap_or(0);
        portal.rows = match (rows, portal.rows) {
            (Some(rows), Some(before)) => Some(before.saturating_add(rows)),
            _ => None,
        };
        let again = portal.progress == Progress::Done;
        if tag.is_none() {
            portal.progress = Progress::Suspended;
        } else {
            portal.progress = Progress::Done;
            let part = portal.part().cloned();
            // A portal that had come to its end returns nothing more, and is no further call.
            if !again {
                self.report_portal(&portal);
            }
            self.succeeded(part.as_ref(), tag);
        }
        if let Some(name) = name {
            self.names.put_portal(name, portal);
        } else {
            self.portal_gone(portal, Gone::Failed);
        }
    }

    pub(super) fn report_portal(&mut self, portal: &Portal) {
        let part = portal.part();
        let by_name = self.prepared_by_name(part);
        let mut statement = self.statement(part, Kind::Extended, Phase::Execute);
        statement.outcome = Outcome::Ok;
        statement.started_ns = Some(portal.bound_at);
        statement.first_byte_ns = portal.first_byte;
        statement.finished_ns = Some(portal.finished);
        statement.busy_ns = Some(portal.busy_ns);
        statement.rows = portal.rows;
        statement.shared_latency = portal.shared;
        statement.parameters = portal.parameters;
        statement.copy = portal.copy;
        statement.fetches = portal.fetches;
        statement.sql = by_name.or(statement.sql);
        self.report(statement);
        let again = portal.statement.is_some_and(|name| self.names.runs(name));
        if again && portal.is_utility() {
            let rows = portal.rows.unwrap_or(0);
            self.statistics_differ(portal, -1, -i64::try_from(rows).unwrap_or(i64::MAX));
        }
    }

    /// What a statement's success changes.
    pub(super) fn succeeded(&mut self, part: Option<&Part>, tag: Option<Tag>) {
        self.executed = true;
        let effect = part.map_or(&Effect::None, |part| &part.effect);
        let rolled_back_to = self.names.apply(effect);
        if let Some(level) = rolled_back_to {
            self.portals_gone(level, Gone::Failed);
        }
        let partial = matches!(effect, Effect::RollbackTo(_))
            // Of a statement that was not seen, `ROLLBACK` in a block may be `ROLLBACK TO`.
            || (part.is_none() && self.in_block);
        if let Some(committed) = tag.and_then(|tag| tag.ends)
            && !partial
        {
            let gone = if committed {
                Gone::Closed
            } else {
                Gone::Failed
            };
            self.portals_gone(0, gone);
            self.names.end_transaction();
            self.ended = true;
            self.held.push(Event::Transaction {
                committed,
                explicit: true,
            });
        }
    }

    /// A portal is no more: what was not reported yet is, and what the server will not count.
    pub(super) fn portal_gone(&mut self, portal: Portal, gone: Gone) {
        if portal.progress == Progress::Suspended {
            self.report_portal(&portal);
            self.executed = true;
        }
        if !portal.is_select() {
            return;
        }
        let rows = i64::try_from(portal.rows.unwrap_or(0)).unwrap_or(i64::MAX);
        let last = i64::try_from(portal.last_rows).unwrap_or(i64::MAX);
        let (calls, rows) = match (portal.progress, gone) {
            (Progress::Bound, Gone::Closed) => (1, 0),
            (Progress::Bound, Gone::Failed) => (0, 0),
            (_, Gone::Closed) => (0, last - rows),
            (_, Gone::Failed) => (-1, -rows),
        };
        if (calls, rows) != (0, 0) {
            self.statistics_differ(&portal, calls, rows);
        }
    }

    pub(super) fn statistics_differ(&mut self, portal: &Portal, calls: i64, rows: i64) {
        self.held
            .push(Event::StatisticsDiffer(StatisticsDifference {
                sql: portal.part().map(|part| Arc::clone(&part.info)),
                calls,
                rows,
            }));
    }

    pub(super) fn portals_gone(&mut self, level: usize, gone: Gone) {
        while let Some(portal) = self.names.take_portal_since(level) {
            self.portal_gone(portal, gone);
        }
    }
}

/// Whether an Execute that ends like this may be one of several of its portal.
fn ends_a_step(ending: Ending) -> bool {
    match ending {
        Ending::Complete(tag) => tag.is_select,
        Ending::Suspended => true,
        Ending::Empty | Ending::Error(_) => false,
    }
}
