//! Calls of AI models that services made over TLS: recognised by host and path of decoded requests,
//! and told with what their answers say about them.
//!
//! An answer's content is read as it comes and not kept. A call waits for the route of the request that
//! it was made for as statements do (see `correlation`), and goes without it where that is not certain.
//! What could not be read is counted by reason ([`CallProblem`]); such a call is incomplete, never one
//! with a wrong number.

mod settings;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use rustc_hash::FxHashMap;
pub use settings::ModelSettings;

use super::{
    RouteKey,
    correlation::{Call, RequestKey, Unattributed},
};
use crate::{
    gemini::{
        Operation, Outcome, Target, Usage,
        stream::{Problem, ResponseReader, Summary},
    },
    wire::http1::{Content, End, Exchange, Wanted},
};

/// Calls that may wait for the end of the requests they were made for, over all requests.
const WAITING: usize = 1_024;
/// Calls that may wait to be taken.
const READY: usize = 4_096;
/// Connections that may wait to be told to the kernel side as others than was thought.
const REFUSED: usize = 1_024;
/// How long a call whose request is over may be silent. A call that a program goes on with behind
/// its request, and whose model thinks for longer, is told as incomplete.
const SILENCE_NS: u64 = 5_000_000_000;
/// How long one waits for the end of its request.
const PATIENCE_NS: u64 = 60_000_000_000;

/// Why something of a call could not be known, or the call itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallProblem {
    /// Its request was made before its process was traced, or was lost, or too little of its head was copied:
    /// no call is told.
    RequestNotSeen,
    /// Bytes of its answer were lost on the way.
    BytesMissing,
    /// Its answer was broken off, by either end.
    BrokenOff,
    /// Its answer's end was not seen: its connection could not be followed, or the probe ended.
    EndNotSeen,
    /// Too many answers were read at once, so this one was not.
    TooManyAtOnce,
    /// Its answer could not be understood: an unknown compression, or something else than JSON.
    NotUnderstood,
    /// It was read, but there was no room to hand it on: it is not told.
    Dropped,
}

impl CallProblem {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::RequestNotSeen,
        Self::BytesMissing,
        Self::BrokenOff,
        Self::EndNotSeen,
        Self::TooManyAtOnce,
        Self::NotUnderstood,
        Self::Dropped,
    ];

    /// Value of the label `problem`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestNotSeen => "request_not_seen",
            Self::BytesMissing => "bytes_missing",
            Self::BrokenOff => "broken_off",
            Self::EndNotSeen => "end_not_seen",
            Self::TooManyAtOnce => "too_many_at_once",
            Self::NotUnderstood => "not_understood",
            Self::Dropped => "dropped",
        }
    }
}

/// How often each [`CallProblem`] occurred, in the order of [`CallProblem::ALL`].
pub type CallProblems = [u64; CallProblem::ALL.len()];

/// One call of a model, as its client's connection showed it. Times are `CLOCK_MONOTONIC` nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCall {
    /// Service id.
    pub service: u16,
    /// The model that the path names, else the one that the answer names.
    pub model: Option<String>,
    /// What was asked of it.
    pub operation: Operation,
    /// Value of the request's field that says what it is for.
    pub feature: Option<Box<str>>,
    /// The request that it was certainly made for.
    pub route: Option<RouteKey>,
    /// First byte of the request.
    pub started_ns: u64,
    /// Last byte of the answer.
    pub finished_ns: u64,
    /// First byte of the answer's content.
    pub first_chunk_ns: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Its tokens, as far as the answer told them.
    pub usage: Option<Usage>,
    /// The answer's id.
    pub response_id: Option<String>,
}

/// A call whose answer is due.
#[derive(Debug)]
struct Open {
    wanted: Box<Wanted>,
    target: Target,
    service: u16,
    tgid: u32,
    tid: u32,
    by_thread: Result<RequestKey, Unattributed>,
    reader: Option<ResponseReader>,
    first_chunk_ns: Option<u64>,
    last_ns: u64,
    /// The request that it was made for has been answered without waiting for it.
    left_alone: Option<LeftAlone>,
}

/// What became of the request of a call that went on.
#[derive(Debug)]
pub(super) struct LeftAlone {
    /// Its route, where it is certain that the call was for it.
    pub(super) route: Option<RouteKey>,
    /// When it was over.
    pub(super) at_ns: u64,
}

/// A call that is over, and whom it may have been made for.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) call: Box<ModelCall>,
    pub(super) trace: Option<u128>,
    pub(super) by_thread: Result<RequestKey, Unattributed>,
    /// Its request was over before it was.
    pub(super) left_alone: Option<LeftAlone>,
}

/// A call that is over, waiting with its request.
#[derive(Debug)]
pub(super) struct WaitingCall {
    pub(super) call: Box<ModelCall>,
    /// Whether a trace tells its request, so that doubts about threads are none about it.
    pub(super) by_trace: bool,
}

/// Follows calls, and holds them until they are taken.
#[derive(Debug, Default)]
pub(super) struct ModelCalls {
    settings: Option<Arc<ModelSettings>>,
    // By the kernel side's numbers: nobody can choose them to collide.
    open: FxHashMap<RequestKey, Open>,
    /// Those of them whose answers are read.
    reading: usize,
    ready: Vec<ModelCall>,
    waiting: usize,
    /// Connections that the kernel side takes for ones to models, and that are not.
    refused: Vec<u64>,
    /// Calls that are over, by service and how they ended.
    ended: BTreeMap<u16, BTreeMap<&'static str, u64>>,
    problems: CallProblems,
}

impl ModelCalls {
    /// `None`: nothing is recognised.
    pub(super) fn new(settings: Option<ModelSettings>) -> Self {
        Self {
            settings: settings.map(Arc::new),
            ..Self::default()
        }
    }

    /// By what connections of clients recognise calls; `None` when nobody wants them.
    pub(super) fn settings(&self) -> Option<Arc<ModelSettings>> {
        self.settings.clone()
    }

    pub(super) fn count(&mut self, problem: CallProblem, times: u64) {
        if let Some(count) = self.problems.get_mut(problem as usize) {
            *count = count.saturating_add(times);
        }
    }

    /// How often each problem occurred.
    pub(super) fn problems(&self) -> CallProblems {
        self.problems
    }

    /// How many calls of a service are over, by how they ended.
    pub(super) fn ended(&self, service: u16) -> BTreeMap<&'static str, u64> {
        self.ended.get(&service).cloned().unwrap_or_default()
    }

    /// A call begins; `by_thread` is the request that its thread works for.
    pub(super) fn begin(
        &mut self,
        call: &Call,
        wanted: Box<Wanted>,
        by_thread: Result<RequestKey, Unattributed>,
    ) {
        let Some(target) = wanted.path.as_deref().and_then(Target::from_path) else {
            return;
        };
        // One that is not read is still told, so it is remembered; decoders bound how many there are.
        let key = RequestKey {
            stream: call.stream,
            serial: wanted.serial,
        };
        self.open.insert(
            key,
            Open {
                wanted,
                target,
                service: call.service,
                tgid: call.tgid,
                tid: call.tid,
                by_thread,
                reader: None,
                first_chunk_ns: None,
                last_ns: call.ended_ns,
                left_alone: None,
            },
        );
    }

    /// Whether a thread receives an answer on this connection that another has asked for.
    pub(super) fn receives_for_another(&self, call: &Call, due: u64) -> bool {
        let key = RequestKey {
            stream: call.stream,
            serial: due,
        };
        self.open.get(&key).is_some_and(|open| open.tid != call.tid)
    }

    /// Content of an answer has come.
    pub(super) fn content(&mut self, key: RequestKey, content: &Content, at_ns: u64) {
        let room = self.settings.as_ref().map_or(0, |it| it.readers);
        let Some(open) = self.open.get_mut(&key) else {
            return;
        };
        open.last_ns = at_ns;
        match (content, &mut open.reader) {
            (Content::Begins { .. }, Some(_)) => {}
            (Content::Begins { .. }, None) if self.reading >= room => {
                self.count(CallProblem::TooManyAtOnce, 1);
            }
            (Content::Begins { kind, encoding }, reader) => {
                self.reading += 1;
                *reader = Some(ResponseReader::new(kind, encoding));
            }
            (Content::Bytes(bytes), Some(reader)) => {
                open.first_chunk_ns.get_or_insert(at_ns);
                reader.push(bytes);
            }
            (Content::Missing, Some(reader)) => reader.gap(),
            (Content::Bytes(_) | Content::Missing, None) => {}
        }
    }

    /// A request is over; what is known of it if it was a call.
    pub(super) fn end(&mut self, key: RequestKey, exchange: &Exchange) -> Option<Ended> {
        let open = self.open.remove(&key)?;
        let whole = exchange.end == End::Exact && !exchange.aborted;
        let fallback = match exchange.aborted {
            true => CallProblem::BrokenOff,
            false => CallProblem::EndNotSeen,
        };
        Some(self.close(open, exchange.status, whole, exchange.finished_ns, fallback))
    }

    /// The connection of these requests is not followed any more.
    pub(super) fn lose(&mut self, key: RequestKey) -> Option<Ended> {
        let open = self.open.remove(&key)?;
        let last_ns = open.last_ns;
        Some(self.close(open, None, false, last_ns, CallProblem::EndNotSeen))
    }

    /// A request of a service has been answered: calls that were made for it and have no answer yet go
    /// on by themselves, or never come to an end that shows. `route` is that of the request, for those
    /// that were made at this time.
    pub(super) fn request_over<'a>(
        &mut self,
        request: RequestKey,
        at_ns: u64,
        route: impl Fn(u64) -> Option<&'a RouteKey>,
    ) {
        let of_it = |open: &&mut Open| open.by_thread.as_ref().ok() == Some(&request);
        for open in self.open.values_mut().filter(of_it) {
            // One that names its trace is found by that.
            if open.wanted.trace.is_none() {
                let route = route(open.wanted.started_ns).cloned();
                open.left_alone = Some(LeftAlone { route, at_ns });
            }
        }
    }

    /// Takes out the calls whose request is over and whose answer has not gone on since: a library that
    /// encrypts in memory shows no end of its connection.
    pub(super) fn give_up(&mut self, now_ns: u64) -> Vec<Ended> {
        let is_over = |open: &Open| {
            let over = open.left_alone.as_ref();
            over.is_some_and(|it| now_ns.saturating_sub(it.at_ns.max(open.last_ns)) > SILENCE_NS)
        };
        let over = self.open.iter().filter(|(_, open)| is_over(open));
        let keys: Vec<RequestKey> = over.map(|(key, _)| *key).collect();
        keys.into_iter().filter_map(|key| self.lose(key)).collect()
    }

    /// Takes out the calls of processes that have ended, or all of them: nothing more will be seen of
    /// them. The library that encrypts in memory does not tell the end of a process.
    pub(super) fn lose_all(&mut self, of: Option<&HashSet<u32>>) -> Vec<Ended> {
        let is_lost = |open: &Open| of.is_none_or(|processes| processes.contains(&open.tgid));
        let lost = self.open.iter().filter(|(_, open)| is_lost(open));
        let keys: Vec<RequestKey> = lost.map(|(key, _)| *key).collect();
        keys.into_iter().filter_map(|key| self.lose(key)).collect()
    }

    fn close(
        &mut self,
        open: Open,
        status: Option<u16>,
        whole: bool,
        finished_ns: u64,
        fallback: CallProblem,
    ) -> Ended {
        self.reading -= usize::from(open.reader.is_some());
        let summary = open.reader.map(ResponseReader::finish);
        let (outcome, problem) = judge(summary.as_ref(), status, whole, fallback);
        if let Some(problem) = problem {
            self.count(problem, 1);
        }
        let ended = self.ended.entry(open.service).or_default();
        *ended.entry(outcome.as_str()).or_default() += 1;
        let summary = summary.unwrap_or_default();
        let model = open.target.model.or(summary.model_version);
        let call = ModelCall {
            service: open.service,
            model,
            operation: open.target.operation,
            feature: open.wanted.field.filter(|feature| !feature.is_empty()),
            route: None,
            started_ns: open.wanted.started_ns,
            finished_ns,
            first_chunk_ns: open.first_chunk_ns,
            outcome,
            usage: summary.usage,
            response_id: summary.response_id,
        };
        let trace = open.wanted.trace;
        Ended {
            call: Box::new(call),
            trace: trace.map(|trace| u128::from_be_bytes(trace.trace_id)),
            by_thread: open.by_thread,
            left_alone: open.left_alone,
        }
    }

    /// Whether one more may wait for its request; if so, it does.
    pub(super) fn may_wait(&mut self) -> bool {
        let may = self.waiting < WAITING;
        self.waiting += usize::from(may);
        may
    }

    /// Whether any waits for its request.
    pub(super) fn any_waits(&self) -> bool {
        self.waiting > 0
    }

    /// One that waited waits no longer.
    pub(super) fn waited(&mut self, call: ModelCall) {
        self.waiting = self.waiting.saturating_sub(1);
        self.hand_out(call);
    }

    /// Nothing more will be known of it.
    pub(super) fn hand_out(&mut self, call: ModelCall) {
        if self.ready.len() < READY {
            self.ready.push(call);
        } else {
            self.count(CallProblem::Dropped, 1);
        }
    }

    /// Those of which nothing more will be known, in the order of that.
    pub(super) fn take(&mut self) -> Vec<ModelCall> {
        std::mem::take(&mut self.ready)
    }

    /// The kernel side is to copy no more than usual of this connection.
    pub(super) fn refuse(&mut self, stream: u64) {
        // One that finds no room asks for it again with its next request.
        if self.refused.len() < REFUSED {
            self.refused.push(stream);
        }
    }

    /// The connections that were refused since the last call.
    pub(super) fn take_refused(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.refused)
    }

    /// Forgets those of services whose ids are about to be given to others.
    pub(super) fn forget(&mut self, services: &[u16]) {
        let before = self.ready.len() + self.open.len();
        self.ready.retain(|call| !services.contains(&call.service));
        self.open
            .retain(|_, open| !services.contains(&open.service));
        let gone = before - self.ready.len() - self.open.len();
        self.reading = self.open.values().filter(|it| it.reader.is_some()).count();
        self.count(CallProblem::Dropped, gone as u64);
        self.ended.retain(|service, _| !services.contains(service));
    }
}

impl WaitingCall {
    /// Whether it has waited long enough.
    pub(super) fn is_late(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.call.finished_ns) > PATIENCE_NS
    }
}

/// How a call ended, and what was in the way of knowing more. `whole`: HTTP says that the answer is
/// there to its end.
fn judge(
    summary: Option<&Summary>,
    status: Option<u16>,
    whole: bool,
    fallback: CallProblem,
) -> (Outcome, Option<CallProblem>) {
    let problem = match summary {
        Some(summary) if summary.problems.contains(&Problem::Gap) => {
            Some(CallProblem::BytesMissing)
        }
        _ if !whole => Some(fallback),
        Some(summary) if !summary.complete => Some(CallProblem::NotUnderstood),
        _ => None,
    };
    let told = summary.and_then(|summary| summary.error);
    let failed = status.filter(|status| !(200..300).contains(status));
    if let Some(status) = failed.or_else(|| told.and_then(|error| error.code.or(status))) {
        let code = told.and_then(|error| error.status);
        // An error counts as what it is though its text was cut, or is none of the API's.
        let cut = problem.filter(|problem| *problem != CallProblem::NotUnderstood);
        return (Outcome::Error { status, code }, cut);
    }
    let read = summary.is_some_and(|summary| summary.complete);
    // Framing that was lost does not matter once the answer itself is complete, unless more could follow.
    if read && whole {
        (Outcome::Ok, None)
    } else {
        (Outcome::Incomplete, problem)
    }
}
