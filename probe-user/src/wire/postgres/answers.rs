//! The server's messages: each answers the first request that waits, or none.

use std::sync::Arc;

use super::body;
use super::event::{CopyDirection, Event, TransactionStatus};
use super::frame::Frame;
use super::portals::{Gone, Portal};
use super::request::{Ending, Request};
use super::session::Session;
use crate::sql::Operation;

/// What a message of the server's means for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on.
    Continue,
    /// From here on it is a stream of replication.
    Replication,
}

impl Session {
    /// A message of the server's, after the start-up.
    pub(super) fn answer(&mut self, frame: &Frame<'_>, now: u64, out: &mut Vec<Event>) -> Next {
        self.answered_at = now;
        self.fresh = false;
        if !matches!(frame.kind, b'S' | b'N' | b'A') {
            self.answers_ended = frame.kind == b'Z';
        }
        while matches!(self.requests.front(), Some(Request::CopyData)) {
            self.pop();
        }
        match frame.kind {
            b'S' => self.parameter_status(frame.body),
            b'N' | b'A' | b'K' | b'R' | b'v' => {}
            b'W' => return Next::Replication,
            b'Z' => match frame
                .body
                .first()
                .copied()
                .and_then(TransactionStatus::of_byte)
            {
                Some(status) => self.ready(status, now, out),
                None => self.violation(out),
            },
            _ if self.holed => self.note_ending(frame),
            _ => self.answer_to_first(frame, now, out),
        }
        if frame.kind == b'E' && body::is_fatal(frame.body) {
            self.session_ends(now, out);
        }
        self.spill(out);
        Next::Continue
    }

    fn answer_to_first(&mut self, frame: &Frame<'_>, now: u64, out: &mut Vec<Event>) {
        let at = frame.begun;
        match (self.requests.front(), frame.kind) {
            (Some(Request::Hidden { silent }), _) => {
                let silent = *silent;
                self.answer_to_hidden(frame, silent, now);
            }
            (None, b'E') => out.push(Event::ServerError {
                sqlstate: body::sqlstate(frame.body),
            }),
            (_, b'E') => self.error(body::sqlstate(frame.body), at, now),
            (Some(Request::Parse { .. }), b'1') | (Some(Request::Bind { .. }), b'2') => {
                self.acknowledge();
            }
            (Some(Request::CloseStatement { .. } | Request::ClosePortal { .. }), b'3') => {
                self.acknowledge();
            }
            (Some(Request::DescribeStatement { .. }), b't') => {}
            (
                Some(Request::DescribeStatement { .. } | Request::DescribePortal { .. }),
                b'T' | b'n',
            ) => {
                self.pop();
            }
            (Some(Request::Function), b'V') => self.stats.function_calls += 1,
            (Some(Request::Query { .. } | Request::Execute { .. }), b'D' | b'T' | b'd' | b'c') => {
                self.answering.rows += u64::from(frame.kind == b'D');
                self.answering.first_byte.get_or_insert(at);
            }
            (Some(Request::Query { .. } | Request::Execute { .. }), b'G' | b'H') => {
                self.answering.first_byte.get_or_insert(at);
                self.copy_begins(frame.kind == b'G');
            }
            (Some(Request::Query { .. } | Request::Execute { .. }), b'C') => {
                self.answering.first_byte.get_or_insert(at);
                if self.probation > 0 && !self.fits(frame.body) {
                    // A client that does not wait: what was taken for answered was not.
                    self.deep = true;
                    return self.violation(out);
                }
                self.complete(Ending::Complete(body::tag(frame.body)), now);
            }
            (Some(Request::Execute { .. }), b's') => {
                self.answering.first_byte.get_or_insert(at);
                self.complete(Ending::Suspended, now);
            }
            (Some(Request::Query { .. }), b'I') => {}
            (Some(Request::Execute { .. }), b'I') => self.complete(Ending::Empty, now),
            _ => self.violation(out),
        }
    }

    /// The server ends the session with an error: no ReadyForQuery follows, and not every socket tells
    /// when it is closed, so that what was held back for those is handed out now.
    fn session_ends(&mut self, now: u64, out: &mut Vec<Event>) {
        if self.holed {
            self.resolve(now, out);
        }
        self.flush(None, out);
    }

    /// Whether a tag can be that of the first request, as far as both are known.
    fn fits(&mut self, tag: &[u8]) -> bool {
        let part = match self.requests.front() {
            Some(Request::Query { text, next, .. }) => text
                .as_ref()
                .and_then(|text| text.parts.get(*next))
                .cloned(),
            Some(Request::Execute {
                portal: Some(name), ..
            }) => {
                let name = *name;
                self.names
                    .portal(name)
                    .and_then(|portal| portal.part().cloned())
            }
            _ => None,
        };
        let Some(part) = part.filter(|part| !part.info.text.starts_with("explain")) else {
            return true;
        };
        match part.info.operation {
            Operation::Commit => tag.starts_with(b"COMMIT") || tag.starts_with(b"ROLLBACK"),
            operation @ (Operation::Select
            | Operation::Insert
            | Operation::Update
            | Operation::Delete
            | Operation::Begin
            | Operation::Rollback
            | Operation::Copy) => {
                let start = tag.starts_with(b"START TRANSACTION") && operation == Operation::Begin;
                start || tag.starts_with(operation.as_str().as_bytes())
            }
            _ => true,
        }
    }

    /// The answer does not fit: the pairing is wrong, so that none of it can be trusted.
    pub(super) fn violation(&mut self, out: &mut Vec<Event>) {
        self.stats.violations += 1;
        self.lose(out);
    }

    /// A COPY ignores the Sync that came before its data.
    fn copy_begins(&mut self, to_server: bool) {
        self.answering.copy = Some(if to_server {
            CopyDirection::In
        } else {
            CopyDirection::Out
        });
        if to_server && matches!(self.requests.front(), Some(Request::Execute { .. })) {
            while matches!(self.requests.get(1), Some(Request::Sync)) {
                self.requests.remove(1);
                self.outstanding -= 1;
            }
        }
    }

    /// Parse, Bind or Close succeeded.
    pub(super) fn acknowledge(&mut self) {
        match self.pop() {
            Some(Request::Parse {
                name: Some(name),
                text,
                ..
            }) => self.names.prepare(name, text),
            Some(Request::Bind {
                portal,
                statement,
                parameters,
                at,
            }) => {
                let text = statement.and_then(|name| self.names.statement(name));
                let bound = Portal {
                    statement,
                    ..Portal::new(text, parameters, at)
                };
                match portal {
                    Some(name) => {
                        if let Some(gone) = self.names.bind(name, bound) {
                            self.portal_gone(gone, Gone::Closed);
                        }
                    }
                    None => self.names.doubt(),
                }
            }
            Some(Request::CloseStatement {
                name: Some(name), ..
            }) => {
                self.names.forget_statement(name);
            }
            Some(Request::ClosePortal {
                name: Some(name), ..
            }) => {
                if let Some(gone) = self.names.take_portal(name) {
                    self.portal_gone(gone, Gone::Closed);
                }
            }
            Some(
                Request::Parse { name: None, .. } | Request::CloseStatement { name: None, .. },
            ) => {
                self.names.doubt();
            }
            _ => {}
        }
    }

    /// ReadyForQuery.
    pub(super) fn ready(&mut self, status: TransactionStatus, now: u64, out: &mut Vec<Event>) {
        self.answers_ended = true;
        self.probation = self.probation.saturating_sub(1);
        if self.holed {
            self.resolve(now, out);
        }
        match self.requests.front() {
            Some(Request::Sync | Request::Function) => {
                self.pop();
            }
            Some(Request::Query { .. }) => self.ready_after_query(),
            Some(Request::Hidden { .. }) | None => {}
            Some(_) => self.violation(out),
        }
        self.transaction_after(status);
        self.flush(Some(status), out);
        out.push(Event::Ready { status, at_ns: now });
    }

    fn ready_after_query(&mut self) {
        if let Some(request) = self.pop()
            && let Request::Query { failed: false, .. } = request
        {
            // Statements of the text without an answer of their own: a cut text, or a violation.
            self.report_unknown(request);
        }
    }

    fn transaction_after(&mut self, status: TransactionStatus) {
        if status == TransactionStatus::Idle {
            let gone = if self.failed {
                Gone::Failed
            } else {
                Gone::Closed
            };
            self.portals_gone(0, gone);
            self.names.end_transaction();
            if !self.in_block && !self.ended && (self.executed || self.failed) {
                self.held.push(Event::Transaction {
                    committed: !self.failed,
                    explicit: false,
                });
            }
        }
        self.in_block = status != TransactionStatus::Idle;
        self.executed = false;
        self.failed = false;
        self.ended = false;
    }

    pub(super) fn parameter_status(&mut self, body: &[u8]) {
        let Some((name, rest)) = body::string(body) else {
            return;
        };
        let Some((value, _)) = body::string(rest) else {
            return;
        };
        match name {
            b"application_name" => {
                Arc::make_mut(&mut self.info).application_name = Some(body::readable(value));
            }
            b"server_version" => {
                Arc::make_mut(&mut self.info).server_version = Some(body::readable(value));
            }
            b"standard_conforming_strings" => self.backslash_escapes = value == b"off",
            _ => {}
        }
    }
}
