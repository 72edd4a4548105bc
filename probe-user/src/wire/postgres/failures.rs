//! Statements that fail, in whichever step.

use super::event::{Event, Kind, Outcome, Phase, SqlState, Statement};
use super::portals::{Gone, Portal};
use super::request::Request;
use super::session::Session;

impl Session {
    /// ErrorResponse to the first request that waits.
    pub(super) fn error(&mut self, sqlstate: SqlState, at: u64, now: u64) {
        self.failed = true;
        let outcome = Outcome::Error(sqlstate);
        match self.requests.front() {
            Some(Request::Query { .. }) => {
                self.begin_simple(false);
                self.fail_simple(outcome, at, now);
            }
            Some(Request::Sync | Request::Function) => {
                self.held.push(Event::ServerError { sqlstate });
            }
            _ => self.fail_extended(outcome, at, now),
        }
        // In a block only what was created since the latest savepoint fails with it.
        self.portals_gone(self.names.level(), Gone::Failed);
    }

    pub(super) fn fail_simple(&mut self, outcome: Outcome, error_at: u64, now: u64) {
        let Some(Request::Query {
            text,
            next,
            failed,
            shared,
            at,
        }) = self.requests.front_mut()
        else {
            return;
        };
        let (text, shared, at) = (text.clone(), *shared, *at);
        // A syntax error anywhere fails the whole text before its first statement runs.
        let parts = text.as_ref().map(|text| &*text.parts).unwrap_or_default();
        let syntax = matches!(outcome, Outcome::Error(SqlState(code)) if &code == b"42601");
        let whole = syntax && *next == 0 && parts.len() > 1;
        let part = parts.get(*next).filter(|_| !whole);
        *failed = true;
        let behind = parts.len().saturating_sub(*next + 1);
        self.stats.skipped += behind as u64;
        let mut statement = self.statement(part, Kind::Simple, Phase::Execute);
        statement.outcome = outcome;
        statement.started_ns = Some(at);
        statement.first_byte_ns = self.answering.first_byte.or(Some(error_at));
        statement.finished_ns = Some(now);
        statement.busy_ns = Some(now.saturating_sub(at));
        statement.rows = Some(self.answering.rows);
        statement.shared_latency = shared || parts.len() > 1;
        statement.parameters = part
            .filter(|part| part.info.complete)
            .map(|part| part.literals);
        statement.copy = self.answering.copy;
        self.report(statement);
    }

    /// An error in the extended protocol: the rest up to the next Sync is skipped.
    pub(super) fn fail_extended(&mut self, outcome: Outcome, error_at: u64, now: u64) {
        let answering = std::mem::take(&mut self.answering);
        let Some(request) = self.pop() else { return };
        let mut statement = match request {
            Request::Parse { text, at, name } => {
                if name == Some(0) {
                    self.names.forget_statement(0);
                }
                let part = text.as_ref().and_then(|text| text.parts.first());
                let mut statement = self.statement(part, Kind::Extended, Phase::Parse);
                statement.started_ns = Some(at);
                statement
            }
            Request::Bind {
                statement: name,
                parameters,
                at,
                ..
            } => {
                let text = name.and_then(|name| self.names.statement(name));
                let part = text.as_ref().and_then(|text| text.parts.first());
                let mut statement = self.statement(part, Kind::Extended, Phase::Bind);
                statement.started_ns = Some(at);
                statement.parameters = parameters;
                statement
            }
            Request::Execute { portal, at, shared } => {
                let portal = portal.and_then(|name| self.names.take_portal(name));
                self.failed_portal(portal, answering.rows, shared, at)
            }
            Request::DescribeStatement { name, at } | Request::CloseStatement { name, at } => {
                let text = name.and_then(|name| self.names.statement(name));
                let part = text.as_ref().and_then(|text| text.parts.first());
                let mut statement = self.statement(part, Kind::Extended, Phase::Describe);
                statement.started_ns = Some(at);
                statement
            }
            Request::DescribePortal { name, at } | Request::ClosePortal { name, at } => {
                let portal = name.and_then(|name| self.names.portal(name));
                let part = portal.and_then(|portal| portal.part().cloned());
                let mut statement = self.statement(part.as_ref(), Kind::Extended, Phase::Describe);
                statement.started_ns = Some(at);
                statement
            }
            _ => return,
        };
        statement.outcome = outcome;
        statement.first_byte_ns = answering.first_byte.or(Some(error_at));
        statement.finished_ns = Some(now);
        statement.copy = answering.copy;
        if statement.busy_ns.is_none() {
            statement.busy_ns = statement
                .started_ns
                .map(|started| now.saturating_sub(started));
        }
        self.report(statement);
        self.skip_to_sync();
    }

    pub(super) fn failed_portal(
        &mut self,
        portal: Option<Portal>,
        rows: u64,
        shared: bool,
        at: u64,
    ) -> Statement {
        let part = portal.as_ref().and_then(|portal| portal.part());
        let mut statement = self.statement(part, Kind::Extended, Phase::Execute);
        statement.started_ns = Some(at);
        statement.rows = Some(rows);
        statement.shared_latency = shared;
        if let Some(portal) = portal {
            statement.started_ns = Some(portal.bound_at);
            statement.parameters = portal.parameters;
            statement.fetches = portal.fetches.saturating_add(1);
            statement.rows = portal.rows.map(|before| before.saturating_add(rows));
        }
        statement
    }

    pub(super) fn skip_to_sync(&mut self) {
        while let Some(request) = self.requests.front() {
            match request {
                Request::Sync => return,
                // What of it was skipped is not known.
                Request::Hidden { .. } => return,
                Request::Execute { .. } => self.stats.skipped += 1,
                _ => {}
            }
            self.pop();
        }
        self.skipping = true;
    }
}
