//! HTTP/1.0 and HTTP/1.1 (RFC 9112), from the calls of either end of a connection.
//!
//! A [`Connection`] is fed the reads and writes of one socket and reports each request with what
//! became of it. Of a call, only the first and last bytes may be at hand: content is skipped by
//! its length, chunks by their sizes. Where the bytes that would say what follows are missing, the
//! direction waits for a call that certainly begins a message; what that costs is counted in
//! [`Stats`], and reported as unknown ([`Exchange::status`], [`End`]), never guessed.
//!
//! Responses are paired with requests in order, so that pipelining is exact as long as no framing
//! is lost. Once it is, one assumption is made: that a client which has never been seen to
//! pipeline on this connection does not begin to. Its next request then proves that the response
//! before is over. If a client does pipeline, the rest of the connection is *unpaired*: requests
//! are counted, with unknown status.
//!
//! A connection that was open before is picked up at the first call that begins with a certain
//! request line; responses before that are dropped and counted.

mod body;
mod exchange;
mod fields;
mod head;
mod interest;
mod line;
mod requests;
mod responses;
#[cfg(test)]
mod tests;
mod track;

use std::{collections::VecDeque, sync::Arc};

pub use exchange::{
    Begun, ClientAddress, ContentClass, End, Event, Exchange, Limits, Method, Output, Stats,
    TraceParent, Upgrade, Version,
};

pub use interest::{Asked, Content, Interest, Wanted, Wish};

use super::stream::{Direction, Segment, Side};
use body::Body;
use track::{Call, Place, Track};

/// What a connection is to the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No request has been recognised, or the place in the stream is lost.
    Seeking,
    /// Requests are recognised and paired with their responses.
    Decoding,
    /// Requests are recognised, but responses cannot be paired any more.
    Unpaired,
    /// Became something else by agreement.
    Opaque,
    /// Was never HTTP/1.
    NotHttp1,
    /// Closed.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Decoding,
    Unpaired,
    Opaque,
    NotHttp1,
    Closed,
}

/// A request whose response is not complete.
#[derive(Debug)]
struct Pending {
    /// Its response, or a part of it, may be in bytes that are missing.
    doubtful: bool,
    expects_continue: bool,
    asked_upgrade: Option<Upgrade>,
    /// The content of its response is to be told.
    wanted: bool,
    exchange: Exchange,
}

/// A call that was reported before the one that caused it.
#[derive(Debug)]
struct Held {
    call: Call,
    len: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Held {
    fn of(segment: &Segment<'_>) -> Self {
        let (head, tail) = (segment.head.to_vec(), segment.tail.to_vec());
        Self {
            call: Call::of(segment),
            len: segment.len,
            head,
            tail,
        }
    }

    fn segment(&self) -> Segment<'_> {
        Segment {
            start_ns: self.call.start_ns,
            end_ns: self.call.end_ns,
            len: self.len,
            head: &self.head,
            tail: &self.tail,
        }
    }
}

/// The decoder of one connection. Holds at most `Limits::head_bytes` per direction, one held call
/// of that size, and `Limits::pipeline_depth` requests.
#[derive(Debug)]
pub struct Connection {
    side: Side,
    limits: Limits,
    mode: Mode,
    requests: Track,
    responses: Track,
    /// In the order of the requests; the first is the one whose response is due.
    queue: VecDeque<Pending>,
    /// Number of the latest request.
    serial: u64,
    /// A request was sent before the response to the one before it.
    pipelines: bool,
    /// The client asked before sending the content, and had its final answer.
    content_refused: bool,
    held: Option<Box<Held>>,
    /// The head of the current response was cut, and its content has this length.
    bare_end: Option<u64>,
    /// The current response is chunked, and its framing is lost.
    last_chunk_due: bool,
    /// The last bytes of such a response.
    ending: Vec<u8>,
    interest: Option<Arc<dyn Interest>>,
}

impl Connection {
    /// A connection of which nothing has been seen, new or not. `side` says which end the observed
    /// process is, which decides what a call's two times mean: see [`Exchange`].
    #[must_use]
    pub fn new(side: Side, limits: Limits) -> Self {
        Self {
            side,
            limits,
            mode: Mode::Decoding,
            requests: Track::new(),
            responses: Track::new(),
            queue: VecDeque::new(),
            serial: 0,
            pipelines: false,
            content_refused: false,
            held: None,
            bare_end: None,
            last_chunk_due: false,
            ending: Vec::new(),
            interest: None,
        }
    }

    /// Tells the content of the responses that this one wants, of requests from now on.
    pub fn set_interest(&mut self, interest: Arc<dyn Interest>) {
        self.interest = Some(interest);
    }

    /// Decodes one call. Events and counts are added to `out`.
    pub fn feed(&mut self, direction: Direction, segment: &Segment<'_>, out: &mut Output) {
        if !self.is_decoding() || segment.len == 0 {
            return;
        }
        match direction {
            Direction::ToServer => {
                self.take_requests(segment, out);
                self.replay_held(out);
            }
            // Of an unpaired connection, responses say nothing.
            Direction::ToClient if self.mode == Mode::Decoding => self.take_responses(segment, out),
            Direction::ToClient => {}
        }
    }

    /// An unknown number of bytes of `direction` is missing here.
    pub fn lost(&mut self, direction: Direction, out: &mut Output) {
        if !self.is_decoding() {
            return;
        }
        match direction {
            Direction::ToServer => match self.requests.place {
                Place::Head => self.cut_request(self.requests.last, out),
                _ => self.lose_requests(out),
            },
            Direction::ToClient => {
                self.drop_held(out);
                self.ending.clear();
                self.content_missing(out);
                match &mut self.responses.place {
                    // Lasts until the connection's end anyway; only its size is lost.
                    Place::Body(Body::UntilClose { total }) => *total = None,
                    Place::Head if self.queue.is_empty() => self.responses.lose(),
                    Place::Head => {
                        self.cut_response(self.responses.last, out);
                        self.bare_end = None;
                    }
                    _ => self.lose_responses(out),
                }
            }
        }
    }

    /// The socket was closed, by either end. Reports what was in flight.
    pub fn close(&mut self, closed_ns: u64, out: &mut Output) {
        self.drop_held(out);
        if self.is_decoding() && !self.requests.buffer.is_empty() {
            out.stats.request_heads_unfinished += 1;
        }
        let last_ns = self.responses.last.end_ns;
        let until_close = match self.responses.place {
            Place::Body(Body::UntilClose { total }) => Some(total),
            _ => None,
        };
        let mut first = true;
        while let Some(mut pending) = self.queue.pop_front() {
            let answered = pending.exchange.status.is_some();
            match (until_close, first) {
                (Some(total), true) => {
                    pending.exchange.response_bytes = total;
                    self.report(pending, End::Exact, last_ns, out);
                }
                _ if pending.doubtful && answered => {
                    self.report(pending, End::Inferred, last_ns, out);
                }
                _ if pending.doubtful => self.report(pending, End::Unknown, last_ns, out),
                _ => {
                    out.stats.aborted += 1;
                    pending.exchange.aborted = true;
                    let finished_ns = if answered { last_ns } else { closed_ns };
                    self.report(pending, End::Exact, finished_ns, out);
                }
            }
            first = false;
        }
        self.leave(Mode::Closed);
    }

    /// Requests that wait for their response, or for the rest of it. Those that may be over
    /// already, because bytes are missing, do not count.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.queue
            .iter()
            .filter(|pending| !pending.doubtful)
            .count()
    }

    /// What the connection is at this point.
    #[must_use]
    pub fn state(&self) -> State {
        match self.mode {
            Mode::Decoding if self.requests.place == Place::Seeking => State::Seeking,
            Mode::Decoding => State::Decoding,
            Mode::Unpaired => State::Unpaired,
            Mode::Opaque => State::Opaque,
            Mode::NotHttp1 => State::NotHttp1,
            Mode::Closed => State::Closed,
        }
    }

    /// Numbers of the requests in flight, in their order: the response to the first is due.
    pub fn serials(&self) -> impl Iterator<Item = u64> {
        self.queue.iter().map(|pending| pending.exchange.serial)
    }

    /// Bytes held on the heap, for the caller's own bounds; without the allocator's overhead.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let held = self
            .held
            .as_ref()
            .map_or(0, |held| held.head.len() + held.tail.len());
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let queue = self.queue.iter().map(|pending| {
            size_of::<Pending>() + text(&pending.exchange.path) + text(&pending.exchange.host)
        });
        let buffers = self.requests.buffer.capacity() + self.responses.buffer.capacity();
        held + buffers + self.ending.capacity() + queue.sum::<usize>()
    }

    fn is_decoding(&self) -> bool {
        matches!(self.mode, Mode::Decoding | Mode::Unpaired)
    }

    /// Feeds a response that was reported before its request, now that this one is here.
    fn replay_held(&mut self, out: &mut Output) {
        if self.queue.is_empty() {
            return;
        }
        if let Some(held) = self.held.take() {
            self.take_responses(&held.segment(), out);
        }
    }

    /// The responses of all requests so far may be in missing bytes.
    fn doubt(&mut self) {
        for pending in &mut self.queue {
            pending.doubtful = true;
        }
    }

    /// A new request begins: a client that waits for its answers has had the one before.
    fn settle(&mut self, out: &mut Output) {
        let doubtful = self.queue.iter().filter(|pending| pending.doubtful).count();
        if doubtful == 0 {
            return;
        }
        if doubtful > 1 || self.pipelines {
            return self.unpair(out);
        }
        if let Some(pending) = self.queue.pop_front() {
            let answered = pending.exchange.status.is_some();
            let end = if answered {
                End::Inferred
            } else {
                End::Unknown
            };
            self.last_chunk_due = false;
            self.bare_end = None;
            self.report(pending, end, self.responses.last.end_ns, out);
        }
    }

    /// Tells that some of the content is missing that is due, if it is wanted.
    fn content_missing(&mut self, out: &mut Output) {
        if let Some(serial) = self.wanted_serial() {
            out.events.push(Event::Content(serial, Content::Missing));
        }
    }

    /// The number of the request whose response is due, if its content is wanted.
    fn wanted_serial(&self) -> Option<u64> {
        let front = self.queue.front().filter(|pending| pending.wanted);
        front.map(|pending| pending.exchange.serial)
    }

    /// Gives up on pairing responses with requests.
    fn unpair(&mut self, out: &mut Output) {
        if self.mode != Mode::Decoding {
            return;
        }
        out.stats.unpaired_connections += 1;
        self.mode = Mode::Unpaired;
        self.drop_held(out);
        self.responses.lose();
        while let Some(pending) = self.queue.pop_front() {
            self.report_unpaired(pending, out);
        }
    }

    fn report_unpaired(&mut self, pending: Pending, out: &mut Output) {
        let now_ns = self.requests.first.end_ns.max(self.responses.last.end_ns);
        self.report(pending, End::Unknown, now_ns, out);
    }

    fn report(&mut self, pending: Pending, end: End, finished_ns: u64, out: &mut Output) {
        let mut exchange = pending.exchange;
        exchange.end = end;
        exchange.finished_ns = finished_ns.max(exchange.started_ns);
        if end != End::Exact {
            out.stats.end_uncertain += 1;
        }
        if exchange.status.is_none() && !exchange.aborted {
            out.stats.status_unknown += 1;
        }
        out.events.push(Event::Exchange(exchange));
    }

    /// Nothing more is decoded: what is buffered is freed.
    fn leave(&mut self, mode: Mode) {
        self.mode = mode;
        self.requests.lose();
        self.responses.lose();
        self.queue = VecDeque::new();
        self.held = None;
        self.ending = Vec::new();
    }
}
