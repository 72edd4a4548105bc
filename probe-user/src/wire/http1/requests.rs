//! The client's direction: requests, and where they end.

use crate::wire::classify::{HTTP2_PREFACE, Protocol};
use crate::wire::stream::Segment;

use super::body::{Body, Chunked, Passed};
use super::exchange::{Begun, ContentClass, Event, Exchange, Output};
use super::head::{Framing, RequestHead};
use super::interest::{self, Asked, Wanted, Wish};
use super::line::{self, Start};
use super::track::{Assembled, Call, Place, pieces};
use super::{Connection, Mode, Pending};

impl Connection {
    pub(super) fn take_requests(&mut self, segment: &Segment<'_>, out: &mut Output) {
        let call = Call::of(segment);
        let (head, gap, tail) = pieces(segment);
        self.find_request(head, call, out);
        self.read_requests(head, call, out);
        if gap > 0 {
            self.skip_requests(gap, call, out);
        }
        self.read_requests(tail, call, out);
        self.requests.last = call;
    }

    /// At the beginning of a call: whether it is where a lost place is found again.
    fn find_request(&mut self, head: &[u8], call: Call, out: &mut Output) {
        match self.requests.place {
            Place::Head => {}
            Place::Seeking => {
                // As long as a response is due and its direction is in order, what comes is rather
                // the rest of that request than another: its content may look like a request.
                let free = self.queue.iter().all(|pending| pending.doubtful);
                if free && line::request_start(head) != Start::No {
                    self.requests.probe();
                } else {
                    out.stats.segments_skipped += 1;
                }
            }
            // Told in advance that its content is not wanted, the client may not send it
            // (RFC 9110, section 10.1.1).
            Place::Body(_) if self.content_refused => {
                self.content_refused = false;
                if line::request_start(head) == Start::Certain {
                    self.request_ends(None, call);
                    self.requests.probe();
                }
            }
            Place::Body(_) => {}
        }
    }

    fn read_requests(&mut self, mut bytes: &[u8], call: Call, out: &mut Output) {
        while !bytes.is_empty() && self.is_decoding() {
            match &mut self.requests.place {
                Place::Seeking => return,
                Place::Body(body) => match body.read(bytes) {
                    Passed::Open => return,
                    Passed::Done { used, total } => {
                        self.request_ends(Some(total), call);
                        bytes = behind(bytes, used);
                    }
                    Passed::Lost => {
                        out.stats.malformed_chunks += 1;
                        return self.lose_requests(out);
                    }
                },
                Place::Head => {
                    let limit = self.limits.head_bytes;
                    match self
                        .requests
                        .assemble(bytes, call, limit, line::request_start)
                    {
                        Assembled::Incomplete => return,
                        Assembled::NotAStart => {
                            out.stats.segments_skipped += 1;
                            return self.requests.lose();
                        }
                        Assembled::TooLong(partial) => {
                            return self.begin_cut_request(&partial, call, out);
                        }
                        Assembled::Whole(head, rest) => {
                            self.begin_request(&head, call, out);
                            bytes = rest;
                        }
                    }
                }
            }
        }
    }

    fn skip_requests(&mut self, gap: u64, call: Call, out: &mut Output) {
        if !self.is_decoding() {
            return;
        }
        match &mut self.requests.place {
            Place::Seeking => {}
            Place::Body(body) => match body.skip(gap) {
                Passed::Open => {}
                Passed::Done { used, total } => {
                    self.request_ends(Some(total), call);
                    if used < gap {
                        // Another request is hidden behind this one.
                        self.pipelines = true;
                        self.lose_requests(out);
                    }
                }
                Passed::Lost => self.lose_requests(out),
            },
            Place::Head => self.cut_request(call, out),
        }
    }

    /// Bytes are missing where a head was due.
    pub(super) fn cut_request(&mut self, call: Call, out: &mut Output) {
        let partial = self.requests.take_partial();
        if partial.is_empty() {
            self.lose_requests(out);
        } else {
            self.begin_cut_request(&partial, call, out);
        }
    }

    /// The place is lost, and with it requests may be.
    pub(super) fn lose_requests(&mut self, out: &mut Output) {
        if self.requests.place != Place::Seeking {
            out.stats.desynchronised += 1;
        }
        self.requests.lose();
        if self.pipelines {
            // A response to a request that was not seen would be taken for that of another.
            self.unpair(out);
        }
    }

    fn begin_request(&mut self, head: &[u8], call: Call, out: &mut Output) {
        if self.is_http2(head, out) {
            return;
        }
        match RequestHead::parse(head, &self.limits) {
            Some(request) => self.push(request, head, call, out),
            // The server will most likely refuse it: that, too, is an exchange.
            None => {
                out.stats.malformed_heads += 1;
                match RequestHead::parse_cut(head, &self.limits) {
                    Some(request) => self.push(request, head, call, out),
                    None => self.lose_requests(out),
                }
            }
        }
    }

    pub(super) fn begin_cut_request(&mut self, partial: &[u8], call: Call, out: &mut Output) {
        if self.requests.probing && line::request_start(partial) != Start::Certain {
            return self.requests.lose();
        }
        if self.is_http2(partial, out) {
            return;
        }
        match RequestHead::parse_cut(partial, &self.limits) {
            Some(request) => {
                out.stats.heads_cut += 1;
                self.push(request, partial, call, out);
            }
            None => self.lose_requests(out),
        }
    }

    /// HTTP/2 with prior knowledge begins with what looks like a request (RFC 9113, section 3.4).
    fn is_http2(&mut self, head: &[u8], out: &mut Output) -> bool {
        let preface = self.serial == 0 && head.starts_with(HTTP2_PREFACE);
        if preface {
            out.stats.not_http1 += 1;
            out.events.push(Event::NotHttp1(Protocol::Http2Preface));
            self.leave(Mode::NotHttp1);
        }
        preface
    }

    fn push(&mut self, request: RequestHead, head: &[u8], call: Call, out: &mut Output) {
        if std::mem::take(&mut self.requests.probing) {
            out.stats.synchronised += 1;
        }
        out.stats.requests += 1;
        if request.path.is_none() {
            out.stats.targets_cut += 1;
        }
        self.serial += 1;
        self.content_refused = false;
        let framing = request.framing;
        let mut pending = Pending::new(
            request,
            self.serial,
            self.requests.first.asked_ns(self.side),
        );
        self.settle(out);
        if self.mode == Mode::Decoding && self.queue.len() >= self.limits.pipeline_depth {
            out.stats.pipelines_too_deep += 1;
            self.unpair(out);
        }
        out.events.push(Event::Begun(Begun {
            serial: self.serial,
            method: pending.exchange.method,
            trace: pending.exchange.trace,
            started_ns: pending.exchange.started_ns,
        }));
        pending.wanted = self.is_wanted(&pending.exchange, head, out);
        if self.mode == Mode::Decoding {
            self.queue.push_back(pending);
        } else {
            self.report_unpaired(pending, out);
        }
        self.requests.place = match framing {
            Framing::None => return self.request_ends(Some(0), call),
            Framing::Length(total) => Place::Body(Body::Length { left: total, total }),
            Framing::Chunked => Place::Body(Body::Chunked(Chunked::default())),
            // A request never lasts until the connection's end (RFC 9112, section 6.3, item 7).
            Framing::Unknown | Framing::UntilClose => return self.lose_requests(out),
        };
    }

    /// Whether the content of the response to a request is wanted; says so if it is.
    fn is_wanted(&self, exchange: &Exchange, head: &[u8], out: &mut Output) -> bool {
        let Some(interest) = &self.interest else {
            return false;
        };
        let wish = interest.wish(&Asked {
            method: exchange.method,
            host: exchange.host.as_deref(),
            path: exchange.path.as_deref(),
        });
        match wish {
            Wish::Nothing => {}
            Wish::Foreign => out.events.push(Event::Foreign),
            Wish::Unclear => out.events.push(Event::Unclear),
            Wish::Content => out.events.push(Event::Wanted(Box::new(Wanted {
                serial: exchange.serial,
                host: exchange.host.clone(),
                path: exchange.path.clone(),
                field: interest::field(head, interest.field()),
                trace: exchange.trace,
                started_ns: exchange.started_ns,
            }))),
        }
        wish == Wish::Content
    }

    /// The current request is complete; `content` is its length, if known.
    fn request_ends(&mut self, content: Option<u64>, call: Call) {
        self.requests.place = Place::Head;
        self.content_refused = false;
        let serial = self.serial;
        if let Some(pending) = self
            .queue
            .back_mut()
            .filter(|pending| pending.exchange.serial == serial)
        {
            let exchange = &mut pending.exchange;
            exchange.request_complete_ns = content.map(|_| call.end_ns);
            exchange.request_bytes = content;
        }
    }
}

impl Pending {
    fn new(request: RequestHead, serial: u64, started_ns: u64) -> Self {
        Self {
            doubtful: false,
            expects_continue: request.expects_continue,
            asked_upgrade: request.upgrade,
            wanted: false,
            exchange: Exchange {
                serial,
                method: request.method,
                path: request.path,
                host: request.host,
                version: request.version,
                status: None,
                started_ns,
                request_complete_ns: None,
                first_byte_ns: None,
                finished_ns: started_ns,
                end: super::End::Unknown,
                request_bytes: None,
                response_bytes: None,
                trace: request.trace,
                forwarded_for: request.forwarded_for,
                content: ContentClass::Unknown,
                upgrade: None,
                aborted: false,
            },
        }
    }
}

/// `bytes` without the first `used`.
pub(super) fn behind(bytes: &[u8], used: u64) -> &[u8] {
    usize::try_from(used)
        .ok()
        .and_then(|used| bytes.get(used..))
        .unwrap_or_default()
}
