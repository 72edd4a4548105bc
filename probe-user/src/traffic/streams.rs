//! The connections that are decoded.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use probe_common::{
    payload::{PayloadKind, REQUEST_START, Role, StreamClass, names_a_model},
    socket::Transport,
};
use rustc_hash::FxHashMap;

use super::{
    ConnectionState, Counts, Limits, RouteKey, ServiceTraffic,
    correlation::{Call, Correlation, RequestKey},
    model_calls::{CallProblem, ModelSettings},
    postgres::Link,
};
use crate::{
    kernel::payload::PayloadRecord,
    wire::{
        http1, postgres,
        stream::{Direction, Segment, Side},
    },
};

/// Connections by the kernel side's number, at most so many.
#[derive(Debug)]
pub(super) struct Streams {
    // The numbers are the kernel side's own: nobody can choose them to collide.
    by_number: FxHashMap<u64, Stream>,
    limits: Limits,
}

/// What the connections of one service are doing.
#[derive(Debug, Default)]
pub(super) struct Now {
    /// Requests that it is answering.
    pub(super) requests: u64,
    /// Connections of its Postgres clients.
    pub(super) server: BTreeMap<ConnectionState, u64>,
    /// Its connections to Postgres.
    pub(super) client: BTreeMap<ConnectionState, u64>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Stream {
    number: u64,
    transport: u8,
    pub(super) service: u16,
    side: Side,
    decoder: Decoder,
    /// Sequence numbers that are due, of sent and of received bytes.
    due: [u32; 2],
    /// Whether what is decoded is the clear text of an encrypted connection.
    tls: bool,
    last_ns: u64,
    link: Link,
    models: Models,
}

/// Whether a connection leads to AI models.
#[derive(Debug, Default)]
struct Models {
    /// A call was made on it.
    called: bool,
    /// The kernel side takes it for one, and copies all that comes.
    marked: bool,
    /// Answers to requests that were not seen.
    unasked: u64,
}

#[derive(Debug)]
enum Decoder {
    Http(Box<http1::Connection>, http1::Output),
    Postgres(Box<postgres::Connection>, Vec<postgres::Event>),
    /// It turned out to be something else, or is not understood.
    None,
}

impl Streams {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            by_number: FxHashMap::default(),
            limits: limits.clone(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Stream> {
        self.by_number.remove(&number)
    }

    /// The connection of a record, and the one that had to make room for it.
    pub(super) fn get(&mut self, record: &PayloadRecord<'_>) -> (&mut Stream, Option<Stream>) {
        let number = record.header.stream;
        let is_full = self.by_number.len() >= self.limits.streams;
        let evicted = if is_full && !self.by_number.contains_key(&number) {
            self.evict()
        } else {
            None
        };
        let stream = self
            .by_number
            .entry(number)
            .or_insert_with(|| Stream::new(record, &self.limits));
        (stream, evicted)
    }

    /// Takes out the connection that was silent longest. A walk over all of them, which only a host
    /// with more connections than the limit pays, and then once per new connection.
    fn evict(&mut self) -> Option<Stream> {
        let silent = self
            .by_number
            .iter()
            .min_by_key(|(_, stream)| stream.last_ns)
            .map(|(number, _)| *number)?;
        self.by_number.remove(&silent)
    }

    /// Takes out the connections of these services.
    pub(super) fn take_of_services(&mut self, services: &[u16]) -> Vec<Stream> {
        self.by_number
            .extract_if(|_, stream| services.contains(&stream.service))
            .map(|(_, stream)| stream)
            .collect()
    }

    /// Takes out the connections that these processes used last and whose end nothing else tells:
    /// the kernel has no hook for the end of a unix socket.
    pub(super) fn take_of_processes(&mut self, processes: &HashSet<u32>) -> Vec<Stream> {
        self.by_number
            .extract_if(|_, stream| {
                stream.transport != Transport::Tcp as u8 && processes.contains(&stream.link.tgid())
            })
            .map(|(_, stream)| stream)
            .collect()
    }

    /// What the connections of each service are doing. A walk over all of them.
    pub(super) fn now(&self) -> BTreeMap<u16, Now> {
        let mut services: BTreeMap<u16, Now> = BTreeMap::new();
        for stream in self.by_number.values() {
            let activity = match &stream.decoder {
                Decoder::Http(connection, _) => {
                    if stream.side == Side::Server {
                        let now = services.entry(stream.service).or_default();
                        now.requests += connection.in_flight() as u64;
                    }
                    continue;
                }
                Decoder::Postgres(connection, _) => Some(connection.activity()),
                Decoder::None => None,
            };
            if let Some(state) = stream.link.state(activity) {
                let now = services.entry(stream.service).or_default();
                let states = match stream.side {
                    Side::Server => &mut now.server,
                    Side::Client => &mut now.client,
                };
                *states.entry(state).or_default() += 1;
            }
        }
        services
    }
}

impl Decoder {
    fn new(side: Side, class: u8, limits: &Limits) -> Self {
        match StreamClass::from_byte(class) {
            Some(StreamClass::Http1) => Self::Http(
                Box::new(http1::Connection::new(side, limits.http)),
                http1::Output::default(),
            ),
            Some(StreamClass::Postgres) => Self::Postgres(
                Box::new(postgres::Connection::new(side, limits.postgres)),
                Vec::new(),
            ),
            _ => Self::None,
        }
    }
}

impl Stream {
    fn new(record: &PayloadRecord<'_>, limits: &Limits) -> Self {
        let header = &record.header;
        let side = side_of(record);
        Self {
            number: header.stream,
            transport: header.transport,
            service: header.service,
            side,
            decoder: Decoder::new(side, header.class, limits),
            tls: false,
            // A stream that is seen from its middle begins with whatever comes.
            due: [u32::MAX; 2],
            last_ns: header.ended_ns,
            link: Link::new(),
            models: Models {
                // An answer that had begun before looked like nothing.
                unasked: u64::from(header.looks != 0),
                ..Models::default()
            },
        }
    }

    /// Notes that clear text of an encrypted connection comes; whether that is its first.
    ///
    /// `models` says whose calls are calls of models.
    pub(super) fn takes_clear_text(
        &mut self,
        record: &PayloadRecord<'_>,
        limits: &Limits,
        models: impl FnOnce() -> Option<Arc<ModelSettings>>,
    ) -> bool {
        if record.header.tls == 0 || self.tls {
            return false;
        }
        self.tls = true;
        // Postgres agrees on encryption and goes on; through a tunnel anything may be said.
        if !matches!(self.decoder, Decoder::Postgres(..)) {
            self.decoder = Decoder::new(self.side, record.header.class, limits);
        }
        if let (Decoder::Http(connection, _), Side::Client) = (&mut self.decoder, self.side)
            && let Some(models) = models()
        {
            connection.set_interest(models);
        }
        true
    }

    /// Decodes one call.
    pub(super) fn feed(
        &mut self,
        record: &PayloadRecord<'_>,
        service: &mut ServiceTraffic,
        correlation: &mut Correlation,
        counts: &mut Counts,
    ) {
        let header = &record.header;
        self.last_ns = header.ended_ns;
        self.link.seen(header);
        let sent = header.kind == PayloadKind::Sent as u8;
        let direction = match (sent, self.side) {
            (true, Side::Client) | (false, Side::Server) => Direction::ToServer,
            (true, Side::Server) | (false, Side::Client) => Direction::ToClient,
        };
        let lost = self.missing(usize::from(sent), header.sequence);
        counts.records_lost += u64::from(lost);
        let segment = Segment {
            start_ns: header.started_ns,
            end_ns: header.ended_ns,
            len: header.bytes,
            head: record.head,
            tail: record.tail,
        };
        let call = Call::from(header);
        match &mut self.decoder {
            Decoder::Http(connection, output) => {
                if self.side == Side::Server {
                    let due = connection.serials().next();
                    match due.filter(|_| lost == 0) {
                        Some(due) if sent => correlation.request_answered(&call, due),
                        // An answer to nothing: its request was not seen.
                        None if sent || lost > 0 => correlation.requests_lost(&call),
                        _ => {}
                    }
                } else if sent {
                    self.models.marked |= self.tls && is_marked(record.head);
                } else if let Some(due) = connection.serials().next().filter(|_| self.models.called)
                {
                    correlation.model_answers(&call, due);
                }
                if lost > 0 {
                    connection.lost(direction, output);
                }
                connection.feed(direction, &segment, output);
            }
            Decoder::Postgres(connection, events) => {
                match (self.side, sent) {
                    (Side::Client, true) => correlation.statement_sent(&call),
                    (Side::Client, false) => correlation.answer_received(&call),
                    (Side::Server, _) => {}
                }
                if lost > 0 {
                    connection.lost(direction);
                }
                connection.segment(direction, &segment, &mut service.postgres.cache, events);
            }
            Decoder::None => return,
        }
        self.take(&call, service, correlation, counts);
    }

    /// Records of a direction that are missing before this one.
    fn missing(&mut self, direction: usize, sequence: u32) -> u32 {
        let Some(due) = self.due.get_mut(direction) else {
            return 0;
        };
        let missing = if *due == u32::MAX {
            0
        } else {
            sequence.wrapping_sub(*due)
        };
        *due = sequence.wrapping_add(1);
        // Two threads on one connection may come in the wrong order; that is no loss of billions.
        if missing > 1 << 24 { 1 } else { missing }
    }

    /// The connection ended.
    pub(super) fn close(
        &mut self,
        at_ns: u64,
        service: &mut ServiceTraffic,
        correlation: &mut Correlation,
        counts: &mut Counts,
    ) {
        match &mut self.decoder {
            Decoder::Http(connection, output) => connection.close(at_ns, output),
            Decoder::Postgres(connection, events) => connection.finish(events),
            Decoder::None => {}
        }
        let nobody = Call {
            stream: self.number,
            service: self.service,
            tgid: 0,
            tid: 0,
            started_ns: at_ns,
            ended_ns: at_ns,
        };
        self.take(&nobody, service, correlation, counts);
        correlation.stream_gone(self.number, std::iter::empty());
    }

    /// The connection made room for another one: what was under way on it is not known.
    pub(super) fn forget(&mut self, correlation: &mut Correlation, counts: &mut Counts) {
        match &mut self.decoder {
            Decoder::Http(connection, _) => {
                counts.uncertain += connection.in_flight() as u64;
                return correlation.stream_gone(self.number, connection.serials());
            }
            Decoder::Postgres(connection, events) => {
                connection.finish(events);
                let is_statement =
                    |event: &postgres::Event| matches!(event, postgres::Event::Statement(_));
                counts.uncertain += events.drain(..).filter(is_statement).count() as u64;
            }
            Decoder::None => {}
        }
        correlation.stream_gone(self.number, std::iter::empty());
    }

    /// Adds what the decoder said of a call to the numbers.
    fn take(
        &mut self,
        call: &Call,
        service: &mut ServiceTraffic,
        correlation: &mut Correlation,
        counts: &mut Counts,
    ) {
        let mut over = false;
        let (side, transport, link) = (self.side, self.transport, &mut self.link);
        let models = &mut self.models;
        match &mut self.decoder {
            Decoder::Http(_, output) => {
                counts.desynchronised += output.stats.desynchronised;
                models.unasked += output.stats.responses_without_request;
                output.stats = http1::Stats::default();
                for event in output.events.drain(..) {
                    match event {
                        http1::Event::Begun(begun) if side == Side::Server => {
                            correlation.request_begins(call, &begun);
                        }
                        http1::Event::Begun(_) => {}
                        http1::Event::Exchange(exchange) => {
                            let peer = link.peer();
                            let route = service.http.exchange(side, &exchange, peer, counts);
                            if side == Side::Client && models.called {
                                correlation.model_call_ends(self.number, &exchange);
                            }
                            if let Some(route) = route {
                                let method = exchange.method.as_str();
                                let route = RouteKey { method, route };
                                correlation.request_ends(self.number, &exchange, route);
                            }
                        }
                        http1::Event::Wanted(wanted) => {
                            models.called = true;
                            correlation.model_called(call, wanted);
                        }
                        http1::Event::Content(serial, content) => {
                            let stream = self.number;
                            let key = RequestKey { stream, serial };
                            correlation.models.content(key, &content, call.ended_ns);
                        }
                        http1::Event::Foreign => {
                            if std::mem::take(&mut models.marked) {
                                correlation.models.refuse(self.number);
                            }
                        }
                        http1::Event::Unclear => {
                            // The kernel side has seen more of it than was copied.
                            models.unasked += u64::from(models.marked);
                            models.called |= models.marked;
                        }
                        http1::Event::Opaque(_) => {
                            if side == Side::Server {
                                correlation.requests_hidden(call);
                            }
                            over = true;
                        }
                        http1::Event::NotHttp1(_) => {
                            counts.not_decoded += 1;
                            over = true;
                        }
                    }
                }
            }
            Decoder::Postgres(connection, events) => {
                for event in events.drain(..) {
                    if let postgres::Event::Statement(statement) = &event {
                        let client = || link.client(transport);
                        let slow = correlation.slow.look(self.service, side, client, statement);
                        if slow.is_some() {
                            service.postgres.slow(side, statement);
                        }
                        match (side, slow) {
                            (Side::Client, slow) => {
                                correlation.statement(self.number, call.service, statement, slow);
                            }
                            (Side::Server, Some(slow)) => correlation.slow.hand_out(*slow),
                            (Side::Server, None) => {}
                        }
                    }
                    let session = connection.session();
                    service.postgres.event(side, &event, session, link, counts);
                }
                over = connection.is_left();
                if side == Side::Client {
                    let state = link.state(Some(connection.activity()));
                    correlation.connection_is(call, link.peer(), state);
                }
            }
            Decoder::None => {}
        }
        if models.called && models.unasked > 0 {
            let unasked = std::mem::take(&mut models.unasked);
            correlation
                .models
                .count(CallProblem::RequestNotSeen, unasked);
        }
        if over {
            // Memory is given back at once; the entry stays so that it is not looked at again.
            self.decoder = Decoder::None;
        }
    }
}

/// Whether the kernel side takes the connection for one to AI models, if a call sends this.
fn is_marked(head: &[u8]) -> bool {
    let mut start = [0; REQUEST_START];
    for (place, byte) in start.iter_mut().zip(head) {
        *place = *byte;
    }
    names_a_model(&start)
}

/// Which end the traced process is: as the kernel side saw it begin, else as the first bytes tell.
fn side_of(record: &PayloadRecord<'_>) -> Side {
    match Role::from_byte(record.header.role) {
        Some(Role::Client) => return Side::Client,
        Some(Role::Server) => return Side::Server,
        _ => {}
    }
    let sent = record.header.kind == PayloadKind::Sent as u8;
    let answer = match StreamClass::from_byte(record.header.class) {
        Some(StreamClass::Http1) => record.head.starts_with(b"HTTP"),
        // Types that only a server sends; those that both send are the client's here.
        _ => record
            .head
            .first()
            .is_some_and(|byte| b"RZT12345nstNAKIGWVv".contains(byte)),
    };
    if sent == answer {
        Side::Server
    } else {
        Side::Client
    }
}
