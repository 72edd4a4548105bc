//! Requests in flight, and the threads that work for them.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroUsize,
};

use lru::LruCache;
use rustc_hash::FxHashMap;

use super::{Call, DbTally, Unattributed, statement_routes::Executed};
use crate::traffic::{model_calls::WaitingCall, n_plus_one::Scope, slow::Waiting};

/// Processes that are remembered to hand work from thread to thread.
const MOVING: usize = 4_096;
/// How long a thread may go on working for a request whose client has gone.
const LINGER_NS: u64 = 10_000_000_000;

/// A request: its connection, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::traffic) struct RequestKey {
    pub(in crate::traffic) stream: u64,
    pub(in crate::traffic) serial: u64,
}

/// A request in flight, and the statements that belong to it so far.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) service: u16,
    pub(super) tgid: u32,
    pub(super) tid: u32,
    /// When its head had been read.
    began_ns: u64,
    trace: Option<u128>,
    /// Whether another request of the same trace was in flight with it.
    shares_trace: bool,
    /// Why what was attributed by thread is not certain any more.
    doubt: Option<Unattributed>,
    pub(super) by_thread: DbTally,
    pub(super) by_trace: DbTally,
    /// When the latest statement that was attributed by thread began.
    pub(super) latest_ns: u64,
    pub(super) scope: Scope,
    /// Its slow statements, which wait for its route.
    pub(super) slow: Vec<Waiting>,
    /// Its calls of models, which do so, too.
    pub(super) calls: Vec<WaitingCall>,
    /// Which statements these are.
    pub(super) executed: Executed,
    /// Servers that its process has pools for, with the time for which each had been saturated when
    /// it began. Emptied by its first statement.
    pub(super) saturated: Vec<(u32, u64)>,
    /// How long it waited for its first statement's connection, once that is known; `None` when it
    /// did not.
    pub(super) waited_ns: Option<u64>,
}

impl InFlight {
    /// The trace that it came with.
    pub(super) fn trace(&self) -> Option<u128> {
        self.trace
    }

    /// Why what was attributed by thread is not certain.
    pub(super) fn doubt(&self) -> Option<Unattributed> {
        self.doubt
    }
}

/// What is known of one thread's work.
#[derive(Debug, Default)]
struct Thread {
    /// Requests that it has read and that are not answered.
    requests: Vec<RequestKey>,
    /// Connections on which it may work for requests that nobody sees.
    blind: usize,
    /// Until when it may work for a request whose client has gone.
    lingers_until_ns: u64,
}

impl Thread {
    fn is_idle(&self, now_ns: u64) -> bool {
        self.requests.is_empty() && self.blind == 0 && now_ns >= self.lingers_until_ns
    }
}

/// All requests in flight. As many as the decoders hold; threads and processes are remembered only
/// as long as they have any.
#[derive(Debug)]
pub(super) struct Flights {
    requests: FxHashMap<RequestKey, InFlight>,
    threads: FxHashMap<u32, Thread>,
    /// Requests in flight by process.
    processes: FxHashMap<u32, usize>,
    /// Requests in flight by service and trace.
    // Whoever sends requests chooses these, so they are hashed with a key.
    traces: HashMap<(u16, u128), BTreeSet<RequestKey>>,
    /// Connections that carry what nobody sees, and the thread that works for it.
    blind: FxHashMap<u64, u32>,
    /// Processes in which one thread goes on with what another has begun.
    moving: LruCache<u32, ()>,
}

impl Flights {
    pub(super) fn new() -> Self {
        Self {
            requests: FxHashMap::default(),
            threads: FxHashMap::default(),
            processes: FxHashMap::default(),
            traces: HashMap::new(),
            blind: FxHashMap::default(),
            moving: LruCache::new(NonZeroUsize::new(MOVING).unwrap_or(NonZeroUsize::MIN)),
        }
    }

    pub(super) fn get_mut(&mut self, key: RequestKey) -> Option<&mut InFlight> {
        self.requests.get_mut(&key)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut InFlight> {
        self.requests.values_mut()
    }

    /// Requests in flight in a process.
    pub(super) fn of_process(&self, tgid: u32) -> usize {
        self.processes.get(&tgid).copied().unwrap_or(0)
    }

    pub(super) fn contains(&self, key: RequestKey) -> bool {
        self.requests.contains_key(&key)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.processes.is_empty()
            && self.traces.is_empty()
            && self.blind.is_empty()
    }

    /// The thread has read the head of a request.
    pub(super) fn begin(&mut self, call: &Call, serial: u64, trace: Option<u128>) {
        let key = RequestKey {
            stream: call.stream,
            serial,
        };
        let mut shares_trace = false;
        if let Some(trace) = trace {
            let same = self.traces.entry((call.service, trace)).or_default();
            shares_trace = !same.is_empty();
            for other in same.iter() {
                if let Some(other) = self.requests.get_mut(other) {
                    other.shares_trace = true;
                }
            }
            same.insert(key);
        }
        self.threads.entry(call.tid).or_default().requests.push(key);
        *self.processes.entry(call.tgid).or_default() += 1;
        self.requests.insert(
            key,
            InFlight {
                service: call.service,
                tgid: call.tgid,
                tid: call.tid,
                began_ns: call.ended_ns,
                trace,
                shares_trace,
                doubt: None,
                by_thread: DbTally::default(),
                by_trace: DbTally::default(),
                latest_ns: 0,
                scope: Scope::default(),
                slow: Vec::new(),
                calls: Vec::new(),
                executed: Executed::default(),
                saturated: Vec::new(),
                waited_ns: None,
            },
        );
    }

    /// The request is over, or not followed any more.
    pub(super) fn end(&mut self, key: RequestKey) -> Option<InFlight> {
        let mut request = self.requests.remove(&key)?;
        if let Some(trace) = request.trace
            && let Some(same) = self.traces.get_mut(&(request.service, trace))
        {
            same.remove(&key);
            if same.is_empty() {
                self.traces.remove(&(request.service, trace));
            }
        }
        if let Some(thread) = self.threads.get_mut(&request.tid) {
            thread.requests.retain(|other| *other != key);
            if thread.is_idle(0) {
                self.threads.remove(&request.tid);
            }
        }
        if let Some(count) = self.processes.get_mut(&request.tgid) {
            *count -= 1;
            if *count == 0 {
                self.processes.remove(&request.tgid);
            }
        }
        if self.moving.contains(&request.tgid) {
            request.doubt.get_or_insert(Unattributed::ThreadChanged);
        }
        Some(request)
    }

    /// A thread has sent a part of the response that is due on a connection.
    pub(super) fn answers(&mut self, call: &Call, key: RequestKey) {
        let reader = self.requests.get(&key).map(|request| request.tid);
        if reader.is_some_and(|reader| reader != call.tid) {
            self.moves(call.tgid);
        }
    }

    /// In this process, who reads a request is not who works for it.
    pub(super) fn moves(&mut self, tgid: u32) {
        self.moving.put(tgid, ());
    }

    /// The client of a request has gone, but the thread may go on working for it.
    pub(super) fn lingers(&mut self, tid: u32, now_ns: u64) {
        let until_ns = now_ns.saturating_add(LINGER_NS);
        self.threads.entry(tid).or_default().lingers_until_ns = until_ns;
    }

    /// From here on the thread may work for requests on this connection that nobody sees.
    pub(super) fn blinds(&mut self, stream: u64, tid: u32) {
        let before = self.blind.insert(stream, tid);
        if before == Some(tid) {
            return;
        }
        self.threads.entry(tid).or_default().blind += 1;
        if let Some(before) = before {
            self.sees_thread(before);
        }
    }

    /// What happens on this connection is seen again, or nothing happens there any more.
    pub(super) fn sees(&mut self, stream: u64) {
        if let Some(tid) = self.blind.remove(&stream) {
            self.sees_thread(tid);
        }
    }

    fn sees_thread(&mut self, tid: u32) {
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.blind = thread.blind.saturating_sub(1);
            if thread.is_idle(0) {
                self.threads.remove(&tid);
            }
        }
    }

    /// What the thread does at the moment may belong to a request that was not seen.
    pub(super) fn doubt_thread(&mut self, tid: u32, why: Unattributed) {
        let Some(thread) = self.threads.get(&tid) else {
            return;
        };
        for key in &thread.requests {
            if let Some(request) = self.requests.get_mut(key) {
                request.doubt.get_or_insert(why);
            }
        }
    }

    /// The one request that a thread works for.
    ///
    /// # Errors
    /// Why it is not certain.
    pub(super) fn of_thread(&self, call: &Call) -> Result<RequestKey, Unattributed> {
        let others = self.processes.contains_key(&call.tgid);
        if others && self.moving.contains(&call.tgid) {
            return Err(Unattributed::ThreadChanged);
        }
        let nothing = if others {
            Unattributed::OtherThread
        } else {
            Unattributed::NoRequest
        };
        let Some(thread) = self.threads.get(&call.tid) else {
            return Err(nothing);
        };
        let certain = thread.blind == 0 && call.started_ns >= thread.lingers_until_ns;
        match (thread.requests.as_slice(), certain) {
            ([], true) => Err(nothing),
            ([], false) => Err(Unattributed::RequestUnknown),
            ([only], true) => Ok(*only),
            _ => Err(Unattributed::SeveralRequests),
        }
    }

    /// The one request of a trace; `None` when no request in flight has it.
    ///
    /// # Errors
    /// Several have it, or had while this one was in flight.
    pub(super) fn of_trace(
        &self,
        service: u16,
        trace: u128,
    ) -> Result<Option<RequestKey>, Unattributed> {
        let Some(same) = self.traces.get(&(service, trace)) else {
            return Ok(None);
        };
        let mut same = same.iter();
        match (same.next(), same.next()) {
            (Some(only), None) => match self.requests.get(only) {
                Some(request) if !request.shares_trace => Ok(Some(*only)),
                _ => Err(Unattributed::SeveralRequests),
            },
            (None, _) => Ok(None),
            _ => Err(Unattributed::SeveralRequests),
        }
    }

    /// The trace of a request.
    pub(super) fn trace_of(&self, key: RequestKey) -> Option<u128> {
        self.requests.get(&key)?.trace
    }

    /// Whether a request had been read at that time.
    pub(super) fn began_before(&self, key: RequestKey, at_ns: Option<u64>) -> bool {
        let began_ns = self.requests.get(&key).map(|request| request.began_ns);
        began_ns.zip(at_ns).is_some_and(|(began, at)| began <= at)
    }

    /// Forgets threads that had lingered.
    pub(super) fn pass_time(&mut self, now_ns: u64) {
        self.threads.retain(|_, thread| !thread.is_idle(now_ns));
    }
}
