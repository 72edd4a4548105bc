//! The requests that wait for answers, in order: what the client has sent and the server, which
//! works them off one by one, has not answered yet.

use std::collections::VecDeque;
use std::sync::Arc;

use super::body;
use super::event::{Event, Kind, Outcome, Phase, SessionInfo, Statement};
use super::frame::Frame;
use super::limits::{Limits, Stats};
use super::portals::Names;
use super::request::{Answering, Ending, Request};
use crate::sql::{Effect, Parsed, Part, SqlCache};

/// Statements that are held back until their ReadyForQuery tells the state of the transaction.
const MAX_HELD: usize = 256;
/// Batches after each of which the client waited for the answer, until it is taken to wait always.
const TRUSTED_AFTER: u32 = 8;
/// Batches whose tags must fit their statements after certainty began again.
const PROBATION: u8 = 16;
/// A pause after which a client that keeps several batches in flight is taken to have had all its
/// answers.
const QUIET_NS: u64 = 1_000_000_000;

/// The state of one session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) limits: Limits,
    pub(super) stats: Stats,
    pub(super) info: Arc<SessionInfo>,
    pub(super) names: Names,
    pub(super) requests: VecDeque<Request>,
    /// Requests among them that a ReadyForQuery ends.
    pub(super) outstanding: usize,
    /// Statements among them.
    waiting: usize,
    pub(super) answering: Answering,
    /// Whether the server skips everything up to the next Sync.
    pub(super) skipping: bool,
    /// Whether a part of the answers to what waits was not seen.
    pub(super) holed: bool,
    /// The latest end of an answer since then.
    pub(super) ending: Option<Ending>,
    /// Counts the client's segments; and in which of them a batch ended last.
    pub(super) segment: u64,
    batch_ended_in: Option<u64>,
    /// Whether the client was seen to send a batch while another one was not answered.
    pub(super) deep: bool,
    /// Whether the observed process is the server, which answers everything before it reads on.
    pub(super) at_server: bool,
    /// Batches that were sent when everything before had been answered.
    waited: u32,
    /// Whether no answer and no loss was seen yet.
    pub(super) fresh: bool,
    /// Whether the latest that was seen or lost is a ReadyForQuery.
    pub(super) answers_ended: bool,
    /// When the latest answer came.
    pub(super) answered_at: u64,
    pub(super) in_block: bool,
    /// In the batch at hand: whether a statement ended, failed, ended its transaction itself.
    pub(super) executed: bool,
    pub(super) failed: bool,
    pub(super) ended: bool,
    pub(super) backslash_escapes: bool,
    /// Batches for which a contradiction still ends the certainty that has only just begun again.
    pub(super) probation: u8,
    /// Events that wait for ReadyForQuery, and the statements among them.
    pub(super) held: Vec<Event>,
    pub(super) batch: u32,
}

impl Session {
    pub(super) fn new(limits: Limits, at_server: bool) -> Self {
        Self {
            at_server,
            waited: 0,
            fresh: true,
            answers_ended: false,
            limits,
            stats: Stats::default(),
            info: Arc::default(),
            names: Names::new(&limits),
            requests: VecDeque::new(),
            outstanding: 0,
            waiting: 0,
            answering: Answering::default(),
            skipping: false,
            holed: false,
            ending: None,
            segment: 0,
            batch_ended_in: None,
            deep: false,
            answered_at: 0,
            in_block: false,
            executed: false,
            failed: false,
            ended: false,
            backslash_escapes: false,
            probation: 0,
            held: Vec::new(),
            batch: 0,
        }
    }

    /// Whether what waits may not be what the next answers answer.
    pub(super) fn is_uncertain(&self) -> bool {
        self.holed || matches!(self.requests.front(), Some(Request::Hidden { .. }))
    }

    /// A message of the client's, after the start-up. Returns whether a batch began, before whose
    /// answers nothing else can come.
    pub(super) fn request(
        &mut self,
        frame: &Frame<'_>,
        now: u64,
        cache: &mut SqlCache,
        out: &mut Vec<Event>,
    ) -> bool {
        let at = frame.begun;
        if self.skipping && frame.kind != b'S' {
            self.stats.skipped += u64::from(frame.kind == b'E');
            return false;
        }
        let request = match frame.kind {
            b'Q' => {
                let (text, cut) = body::text(frame.body);
                let text = Some(self.text(text, cut, cache));
                let shared = self.waiting > 0;
                Request::Query {
                    text,
                    next: 0,
                    failed: false,
                    shared,
                    at,
                }
            }
            b'P' => {
                let (name, text) = body::parse(frame.body);
                let text = text.map(|(text, cut)| self.text(text, cut, cache));
                Request::Parse { name, text, at }
            }
            b'B' => {
                let (portal, statement, parameters) = body::bind(frame.body, frame.complete);
                Request::Bind {
                    portal,
                    statement,
                    parameters,
                    at,
                }
            }
            b'E' => {
                let portal = body::execute(frame.body);
                Request::Execute {
                    portal,
                    shared: self.waiting > 0,
                    at,
                }
            }
            b'D' | b'C' => match (frame.kind, body::target(frame.body)) {
                (b'D', Some((b'S', name))) => Request::DescribeStatement { name, at },
                (b'D', Some((b'P', name))) => Request::DescribePortal { name, at },
                (b'C', Some((b'S', name))) => Request::CloseStatement { name, at },
                (b'C', Some((b'P', name))) => Request::ClosePortal { name, at },
                _ => {
                    // Its target is not at hand, so that its answer can't be told.
                    self.requests_hidden();
                    return false;
                }
            },
            b'F' => Request::Function,
            b'S' => {
                self.skipping = false;
                Request::Sync
            }
            b'd' | b'c' | b'f' => {
                // Only a COPY that has not begun yet cares where its data started.
                let wanted = self.answering.copy.is_none()
                    && self.requests.back().is_some_and(|last| {
                        !matches!(last, Request::CopyData | Request::Hidden { .. })
                    });
                if !wanted {
                    return false;
                }
                Request::CopyData
            }
            _ => return false,
        };
        let begins = self.begins_batch(&request);
        if begins {
            self.batch_begins(now, out);
        }
        self.push(request);
        begins
    }

    fn begins_batch(&self, request: &Request) -> bool {
        !matches!(request, Request::Sync | Request::CopyData)
            && self
                .requests
                .back()
                .is_none_or(|last| last.ends_batch() || matches!(last, Request::Hidden { .. }))
    }

    fn batch_begins(&mut self, now: u64, out: &mut Vec<Event>) {
        let new_segment = self.batch_ended_in != Some(self.segment);
        if self.is_uncertain() {
            if new_segment && self.all_answered(now) {
                self.give_up(out);
                self.fresh = false;
                self.probation = if self.at_server { 0 } else { PROBATION };
            } else {
                // A client that goes on although nothing was lost since it asked does not wait.
                self.deep |= new_segment && self.outstanding > 0 && !self.holed;
            }
        } else if new_segment && self.outstanding > 0 {
            self.deep = true;
        } else if new_segment {
            self.waited = self.waited.saturating_add(1);
        }
    }

    /// Whether everything that was asked before has certainly been answered, so that what the
    /// client sends now begins a batch.
    fn all_answered(&self, now: u64) -> bool {
        let quiet = now.saturating_sub(self.answered_at) >= QUIET_NS;
        let waits = self.at_server || !self.deep || quiet;
        if self.fresh {
            return true;
        }
        if matches!(self.requests.back(), Some(Request::Hidden { .. })) {
            // What was not seen may have been the start of the same batch.
            return waits && self.answers_ended;
        }
        // A server works off a batch before it reads the next; a client may not wait.
        self.at_server
            || (waits && self.answers_ended)
            || (!self.deep && self.waited >= TRUSTED_AFTER)
    }

    fn text(&mut self, text: &[u8], cut: bool, cache: &mut SqlCache) -> Arc<Parsed> {
        let limited = text.get(..self.limits.sql_bytes).unwrap_or(text);
        let cut = cut || limited.len() < text.len();
        self.stats.cut_texts += u64::from(cut);
        cache.parse(limited, cut, self.backslash_escapes)
    }

    fn push(&mut self, request: Request) {
        self.answers_ended = false;
        if self.requests.len() >= self.limits.pipeline {
            self.stats.overflowed += 1;
            if !matches!(self.requests.back(), Some(Request::Hidden { .. })) {
                self.requests.push_back(Request::Hidden { silent: false });
            }
            return;
        }
        if let Some(Request::Hidden { silent }) = self.requests.back_mut() {
            // The answers that come may be to this request, which is going to be reported.
            *silent = true;
        }
        if request.ends_batch() {
            self.outstanding += 1;
            self.batch_ended_in = Some(self.segment);
        }
        self.waiting += usize::from(request.is_statement());
        self.requests.push_back(request);
    }

    /// Takes the request whose answer is complete.
    pub(super) fn pop(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.outstanding -= usize::from(request.ends_batch());
        self.waiting -= usize::from(request.is_statement());
        self.answering = Answering::default();
        Some(request)
    }

    /// Requests were sent that nobody saw.
    pub(super) fn requests_hidden(&mut self) {
        self.stats.desynchronised += 1;
        self.skipping = false;
        self.fresh = false;
        self.answers_ended = false;
        self.names.doubt();
        if !matches!(self.requests.back(), Some(Request::Hidden { .. })) {
            self.requests.push_back(Request::Hidden { silent: false });
        }
    }

    /// A part of the answers was not seen.
    pub(super) fn answers_hidden(&mut self) {
        self.stats.desynchronised += 1;
        self.ending = None;
        self.fresh = false;
        self.answers_ended = false;
        self.holed = self
            .requests
            .iter()
            .any(|request| !matches!(request, Request::Hidden { .. }));
    }

    /// The answers can't be told to belong to the requests any more.
    pub(super) fn lose(&mut self, out: &mut Vec<Event>) {
        self.give_up(out);
        self.requests.push_back(Request::Hidden { silent: true });
    }

    /// Nothing of what waits can be answered any more: reports it as unknown.
    pub(super) fn give_up(&mut self, out: &mut Vec<Event>) {
        while let Some(request) = self.pop() {
            self.report_unknown(request);
        }
        self.names.doubt_portals();
        self.holed = false;
        self.ending = None;
        self.skipping = false;
        self.flush(None, out);
        // Whether the block at hand is still open is not known; the next ReadyForQuery tells.
        self.ended = true;
    }

    /// Reports a request whose answer was not seen, and forgets what it may have changed.
    pub(super) fn report_unknown(&mut self, request: Request) {
        match request {
            Request::Parse { name, .. } | Request::CloseStatement { name, .. } => match name {
                Some(name) => self.names.forget_statement(name),
                None => self.names.doubt(),
            },
            Request::Bind {
                portal,
                statement,
                parameters,
                at,
            } => {
                let text = statement.and_then(|name| self.names.statement(name));
                if let Some(portal) = portal {
                    // Its Execute follows, and shows what it was bound to.
                    let bound = super::portals::Portal::new(text, parameters, at);
                    self.names.bind(portal, bound);
                }
            }
            Request::ClosePortal { name, .. } => {
                name.and_then(|name| self.names.take_portal(name));
            }
            Request::Execute { portal, shared, .. } => {
                if portal.is_none() {
                    self.names.doubt_portals();
                }
                let Some(portal) = portal.and_then(|name| self.names.take_portal(name)) else {
                    // It may be a further step of a statement that is reported as well.
                    self.stats.unknown_steps += 1;
                    return;
                };
                let mut statement = self.statement(portal.part(), Kind::Extended, Phase::Execute);
                statement.started_ns = Some(portal.bound_at);
                statement.shared_latency = shared;
                statement.parameters = portal.parameters;
                self.report(statement);
            }
            Request::Query {
                text,
                next,
                failed,
                shared,
                at,
            } if !failed => {
                let parts = text.as_ref().and_then(|text| text.parts.get(next..));
                for part in parts.unwrap_or_default() {
                    let mut statement = self.statement(Some(part), Kind::Simple, Phase::Execute);
                    statement.started_ns = Some(at);
                    statement.shared_latency = shared;
                    statement.parameters = part.info.complete.then_some(part.literals);
                    self.report(statement);
                    // It may have changed the names as it says.
                    if part.effect != Effect::None {
                        self.names.doubt();
                    }
                }
            }
            _ => {}
        }
    }

    /// A statement of which nothing but its text is known.
    pub(super) fn statement(&self, part: Option<&Part>, kind: Kind, phase: Phase) -> Statement {
        Statement {
            sql: part.map(|part| Arc::clone(&part.info)),
            traceparent: part.and_then(|part| part.traceparent),
            text: part.and_then(|part| part.text.clone()),
            session: Arc::clone(&self.info),
            kind,
            phase,
            started_ns: None,
            first_byte_ns: None,
            finished_ns: None,
            busy_ns: None,
            rows: None,
            outcome: Outcome::Unknown,
            transaction_status: None,
            batch: 1,
            shared_latency: false,
            parameters: None,
            copy: None,
            fetches: u32::from(phase == Phase::Execute),
        }
    }

    /// Holds a statement back until its batch is answered.
    pub(super) fn report(&mut self, statement: Statement) {
        self.stats.statements += 1;
        self.stats.unknown_outcome += u64::from(statement.outcome == Outcome::Unknown);
        self.stats.unknown_sql += u64::from(statement.sql.is_none());
        self.batch = self.batch.saturating_add(1);
        self.held.push(Event::Statement(statement));
    }

    /// Hands out what was held back, when that is enough or the batch is answered.
    pub(super) fn flush(
        &mut self,
        status: Option<super::event::TransactionStatus>,
        out: &mut Vec<Event>,
    ) {
        for event in &mut self.held {
            if let Event::Statement(statement) = event {
                statement.transaction_status = status;
                statement.batch = self.batch;
                statement.shared_latency |= self.batch > 1;
            }
        }
        out.append(&mut self.held);
        self.batch = 0;
    }

    /// Bounds what is held back.
    pub(super) fn spill(&mut self, out: &mut Vec<Event>) {
        if self.held.len() >= MAX_HELD {
            let batch = self.batch;
            self.flush(None, out);
            self.batch = batch;
        }
    }
}
