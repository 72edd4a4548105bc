//! The server's direction: responses, paired with their requests in order.

use crate::wire::stream::{Segment, Side};

use super::body::{Body, Chunked, Passed};
use super::exchange::{End, Event, Output, Upgrade};
use super::head::{Framing, ResponseHead};
use super::interest::{self, Content};
use super::line::{self, Start};
use super::requests::behind;
use super::track::{Assembled, Call, Place, pieces};
use super::{Connection, Held, Method, Mode};

/// What ends a chunked body without trailers, behind a chunk's data.
const LAST_CHUNK: [u8; 7] = *b"\r\n0\r\n\r\n";

impl Connection {
    pub(super) fn take_responses(&mut self, segment: &Segment<'_>, out: &mut Output) {
        let call = Call::of(segment);
        let (head, gap, tail) = pieces(segment);
        self.answer_unfinished_request(head, call, out);
        if self.queue.is_empty() {
            return self.hold_or_drop(segment, out);
        }
        self.find_response(head, call, out);
        self.read_responses(head, call, out);
        if gap > 0 {
            self.ending.clear();
            self.skip_responses(gap, call, out);
            self.end_of_cut_head(tail, call, out);
        }
        self.read_responses(tail, call, out);
        self.responses.last = call;
        if self.last_chunk_due {
            self.look_for_last_chunk(if gap > 0 { tail } else { head }, call, out);
        }
    }

    /// A server may refuse a request before its head is complete: what there is of it counts.
    fn answer_unfinished_request(&mut self, head: &[u8], call: Call, out: &mut Output) {
        let unfinished = self.queue.is_empty()
            && self.requests.place == Place::Head
            && line::request_start(&self.requests.buffer) == Start::Certain;
        if unfinished && line::response_start(head) == Start::Certain {
            self.cut_request(call, out);
        }
    }

    /// A response nobody asked for. Of a client with several threads, the read of the response may
    /// be reported before the write of the request: one call is kept for that case.
    fn hold_or_drop(&mut self, segment: &Segment<'_>, out: &mut Output) {
        let start = line::response_start(segment.head);
        let room = segment.head.len() + segment.tail.len() <= self.limits.head_bytes;
        let first = self.held.is_none() && self.side == Side::Client;
        if first && room && start == Start::Certain && self.responses.place == Place::Head {
            self.held = Some(Box::new(Held::of(segment)));
            return;
        }
        self.drop_held(out);
        self.drop_response(start == Start::Certain, out);
    }

    /// Drops what is held, if its request did not come.
    pub(super) fn drop_held(&mut self, out: &mut Output) {
        if self.held.take().is_some() {
            self.drop_response(true, out);
        }
    }

    fn drop_response(&mut self, begins: bool, out: &mut Output) {
        if begins {
            out.stats.responses_without_request += 1;
        } else {
            out.stats.segments_skipped += 1;
        }
        self.responses.lose();
    }

    /// At the beginning of a call: whether it is where a lost place is found again. That is a
    /// status line whose request was sent after the place was lost.
    fn find_response(&mut self, head: &[u8], call: Call, out: &mut Output) {
        let Some(front) = self
            .queue
            .front()
            .filter(|_| self.responses.place == Place::Seeking)
        else {
            return;
        };
        let early = call.answered_ns(self.side) < front.exchange.started_ns;
        if !front.doubtful && !early && line::response_start(head) != Start::No {
            return self.responses.probe();
        }
        out.stats.segments_skipped += 1;
        if !front.doubtful && !early {
            // The response that is due may be in here.
            self.doubt();
        }
    }

    fn read_responses(&mut self, mut bytes: &[u8], call: Call, out: &mut Output) {
        while !bytes.is_empty() && self.is_decoding() {
            match &mut self.responses.place {
                Place::Seeking => return,
                Place::Body(_) => match self.read_content(bytes, out) {
                    Passed::Open => return,
                    Passed::Done { used, total } => {
                        self.response_ends(Some(total), End::Exact, call, out);
                        bytes = behind(bytes, used);
                    }
                    Passed::Lost => {
                        out.stats.malformed_chunks += 1;
                        return self.lose_responses(out);
                    }
                },
                Place::Head if self.queue.is_empty() => {
                    if !line::skip_empty_lines(bytes).is_empty() {
                        self.drop_response(true, out);
                    }
                    return;
                }
                Place::Head => {
                    let limit = self.limits.head_bytes;
                    match self
                        .responses
                        .assemble(bytes, call, limit, line::response_start)
                    {
                        Assembled::Incomplete => return,
                        Assembled::NotAStart => {
                            out.stats.segments_skipped += 1;
                            self.responses.lose();
                            return self.doubt();
                        }
                        Assembled::TooLong(partial) => {
                            self.begin_cut_response(&partial, call, out);
                            self.bare_end = None;
                            return;
                        }
                        Assembled::Whole(head, rest) => {
                            self.begin_response(&head, call, out);
                            bytes = rest;
                        }
                    }
                }
            }
        }
    }

    /// Reads a part of a body, and tells its content where that is wanted.
    fn read_content(&mut self, bytes: &[u8], out: &mut Output) -> Passed {
        let wanted = self.wanted_serial();
        let Place::Body(body) = &mut self.responses.place else {
            return Passed::Lost;
        };
        let Some(serial) = wanted else {
            return body.read(bytes);
        };
        let mut content = Vec::new();
        let passed = body.read_content(bytes, |part| content.extend_from_slice(part));
        if !content.is_empty() {
            let content = Event::Content(serial, Content::Bytes(content));
            out.events.push(content);
        }
        passed
    }

    fn skip_responses(&mut self, gap: u64, call: Call, out: &mut Output) {
        if !self.is_decoding() {
            return;
        }
        match &mut self.responses.place {
            Place::Seeking => {}
            Place::Body(body) => {
                let passed = body.skip(gap);
                self.content_missing(out);
                match passed {
                    Passed::Open => {}
                    Passed::Done { used, total } => {
                        self.response_ends(Some(total), End::Exact, call, out);
                        if used < gap {
                            self.lose_responses(out);
                        }
                    }
                    Passed::Lost => self.lose_responses(out),
                }
            }
            Place::Head => self.cut_response(call, out),
        }
    }

    /// Bytes are missing where a head was due.
    pub(super) fn cut_response(&mut self, call: Call, out: &mut Output) {
        let partial = self.responses.take_partial();
        if partial.is_empty() {
            self.lose_responses(out);
        } else {
            self.begin_cut_response(&partial, call, out);
        }
    }

    /// The place is lost: which responses were in the missing bytes is not known.
    pub(super) fn lose_responses(&mut self, out: &mut Output) {
        if self.responses.place != Place::Seeking {
            out.stats.desynchronised += 1;
        }
        if let Place::Body(Body::Chunked(_)) = self.responses.place {
            self.last_chunk_due = true;
        }
        self.content_missing(out);
        self.responses.lose();
        self.doubt();
    }

    fn begin_response(&mut self, head: &[u8], call: Call, out: &mut Output) {
        let first = self.responses.first;
        let Some(method) = self.answered_method(first, out) else {
            return;
        };
        let Some(response) = ResponseHead::parse(head) else {
            out.stats.malformed_heads += 1;
            return self.lose_responses(out);
        };
        if std::mem::take(&mut self.responses.probing) {
            out.stats.synchronised += 1;
        }
        self.responses.place = Place::Head;
        if !self.accept(&response, method, call, out) {
            return;
        }
        self.content_begins(head, out);
        let body = match response.framing(method) {
            Framing::None => return self.response_ends(Some(0), End::Exact, call, out),
            Framing::Length(total) => Body::Length { left: total, total },
            Framing::Chunked => Body::Chunked(Chunked::default()),
            Framing::UntilClose => Body::UntilClose { total: Some(0) },
            Framing::Unknown => return self.lose_responses(out),
        };
        self.responses.place = Place::Body(body);
    }

    fn begin_cut_response(&mut self, partial: &[u8], call: Call, out: &mut Output) {
        let first = self.responses.first;
        if self.responses.probing && line::response_start(partial) != Start::Certain {
            self.responses.lose();
            return self.doubt();
        }
        let Some(method) = self.answered_method(first, out) else {
            return;
        };
        out.stats.heads_cut += 1;
        let Some(response) = ResponseHead::parse_cut(partial) else {
            return self.lose_responses(out);
        };
        if !self.accept(&response, method, call, out) {
            if self.is_decoding() {
                // An interim response: where the final one begins is in the missing bytes.
                self.lose_responses(out);
            }
            return;
        }
        self.content_begins(partial, out);
        match response.framing(method) {
            Framing::None => self.bare_end = Some(0),
            Framing::Length(total) => self.bare_end = Some(total),
            Framing::Chunked => self.last_chunk_due = true,
            Framing::UntilClose | Framing::Unknown => {}
        }
        self.lose_responses(out);
    }

    /// The head of the response that is due is over.
    fn content_begins(&self, head: &[u8], out: &mut Output) {
        let Some(serial) = self.wanted_serial() else {
            return;
        };
        let value = |name| interest::field(head, name).unwrap_or_default();
        let begins = Content::Begins {
            kind: value("content-type"),
            encoding: value("content-encoding"),
        };
        out.events.push(Event::Content(serial, begins));
    }

    /// The method of the request that a response which begins at `first` answers; `None`, and the
    /// response is dropped, if it began before the request that waits.
    fn answered_method(&mut self, first: Call, out: &mut Output) -> Option<Method> {
        let exchange = self.queue.front().map(|front| &front.exchange)?;
        if first.answered_ns(self.side) >= exchange.started_ns {
            return Some(exchange.method);
        }
        self.drop_response(true, out);
        None
    }

    /// Notes a response with the request that waits; whether it is final and the connection stays
    /// HTTP/1.
    fn accept(
        &mut self,
        response: &ResponseHead,
        method: Method,
        call: Call,
        out: &mut Output,
    ) -> bool {
        if matches!(response.status, 100 | 102..=199) {
            out.stats.interim_responses += 1;
            return false;
        }
        out.stats.responses += 1;
        let first_byte_ns = self.responses.first.answered_ns(self.side);
        let Some(front) = self.queue.front_mut() else {
            return false;
        };
        front.exchange.status = Some(response.status);
        front.exchange.first_byte_ns = Some(first_byte_ns);
        front.exchange.content = response.content;
        let upgrade = match (response.status, method) {
            (101, _) => response
                .upgrade
                .or(front.asked_upgrade)
                .unwrap_or(Upgrade::Other),
            (200..=299, Method::Connect) => Upgrade::Tunnel,
            _ => return true,
        };
        front.exchange.upgrade = Some(upgrade);
        self.response_ends(None, End::Exact, call, out);
        self.become_opaque(upgrade, out);
        false
    }

    /// The response of the request that waits is complete.
    fn response_ends(&mut self, content: Option<u64>, end: End, call: Call, out: &mut Output) {
        self.responses.place = Place::Head;
        let Some(mut pending) = self.queue.pop_front() else {
            return;
        };
        pending.exchange.response_bytes = content;
        if let Some(next) = self.queue.front() {
            // Asked before the answer to this one: the client does not wait.
            self.pipelines |= call.answered_ns(self.side) > next.exchange.started_ns;
        }
        if let Place::Body(body) = &self.requests.place {
            let current = pending.exchange.serial == self.serial;
            self.content_refused = current && pending.expects_continue && body.untouched();
        }
        self.last_chunk_due = false;
        self.bare_end = None;
        self.report(pending, end, call.end_ns, out);
    }

    /// The head was cut, but said how long the content is: if this call's last bytes are an empty
    /// line and content of just that length, the response ends here. The empty line cannot be part
    /// of the head, and content that began earlier would be longer.
    fn end_of_cut_head(&mut self, tail: &[u8], call: Call, out: &mut Output) {
        let Some(content) = self.bare_end.take().filter(|_| self.queue.len() == 1) else {
            return;
        };
        let before = usize::try_from(content)
            .ok()
            .and_then(|content| tail.len().checked_sub(content))
            .and_then(|end| tail.get(..end));
        if before.is_some_and(|head| head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n")) {
            self.response_ends(Some(content), End::Exact, call, out);
            // The call is used up; `read_responses` must not read its tail again.
            self.responses.lose();
        }
    }

    /// The framing of a chunked body is lost, but its last chunk is the last thing in a call.
    fn look_for_last_chunk(&mut self, bytes: &[u8], call: Call, out: &mut Output) {
        let kept = bytes.len().saturating_sub(LAST_CHUNK.len());
        self.ending
            .extend_from_slice(bytes.get(kept..).unwrap_or_default());
        let surplus = self.ending.len().saturating_sub(LAST_CHUNK.len());
        self.ending.drain(..surplus);
        let alone = self.queue.len() == 1 && self.responses.place == Place::Seeking;
        let known = self
            .queue
            .front()
            .is_some_and(|front| front.exchange.status.is_some());
        if alone && known && self.ending == LAST_CHUNK {
            self.response_ends(None, End::Inferred, call, out);
            self.responses.lose();
        }
    }

    fn become_opaque(&mut self, upgrade: Upgrade, out: &mut Output) {
        out.stats.upgrades += 1;
        out.events.push(super::Event::Opaque(upgrade));
        while let Some(pending) = self.queue.pop_front() {
            self.report_unpaired(pending, out);
        }
        self.leave(Mode::Opaque);
    }
}
