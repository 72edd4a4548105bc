//! PostgreSQL, protocol 3.0 and 3.2 (PostgreSQL documentation, "Frontend/Backend Protocol").
//!
//! One [`Connection`] for each socket is fed what both directions carried, in the order in which
//! the observed process saw it. It mirrors the server: requests wait in order, each of the
//! server's messages answers the first of them, and names of statements and portals change when
//! the answer says so. What is not seen is unknown:
//!
//! - a gap inside of a message is skipped by the message's own length;
//! - a gap that hides where messages start makes a direction *lost*, until a boundary is certain:
//!   messages that follow each other from a segment's first byte to its last, ReadyForQuery as a
//!   segment's last bytes, or the first answer after a client that waits for its answers has sent
//!   the next batch;
//! - answers of which a part is missing are resolved from their end, as far as that is certain.

mod answers;
mod body;
mod endings;
mod event;
mod failures;
mod frame;
mod limits;
mod portals;
mod request;
mod session;
mod startup;
#[cfg(test)]
mod tests;
mod uncertain;

pub use event::{
    Activity, CopyDirection, Event, Kind, Outcome, Phase, SessionInfo, SqlState, Statement,
    StatisticsDifference, TransactionStatus,
};
pub use limits::{Limits, Stats};

use super::stream::{Direction, Piece, Segment, Side};
use crate::sql::SqlCache;
use answers::Next;
use frame::{Frame, Framer};
use request::Request;
use session::Session;
use startup::{Asked, Startup, Step};

/// Bytes of a message that are kept beside its SQL text: names, formats, small parameters.
const BESIDE_SQL: usize = 1024;

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was recognised yet.
    Unknown,
    /// A start-up packet is expected, or under way.
    Startup(Startup),
    /// Requests and answers.
    Open,
    /// Nothing more is decoded: replication, another protocol, or the end.
    Left,
}

/// The decoder of one connection.
#[derive(Debug)]
pub struct Connection {
    side: Side,
    stage: Stage,
    to_server: Framer,
    to_client: Framer,
    session: Session,
    unrecognised: u32,
}

impl Connection {
    /// A connection of which nothing was seen. `side` is the end that is observed.
    pub fn new(side: Side, limits: Limits) -> Self {
        let keep = limits.sql_bytes.saturating_add(BESIDE_SQL);
        let mut session = Session::new(limits, side == Side::Server);
        // What the client may have asked before.
        session
            .requests
            .push_back(Request::Hidden { silent: false });
        Self {
            side,
            stage: Stage::Unknown,
            to_server: Framer::new(Direction::ToServer, keep),
            to_client: Framer::new(Direction::ToClient, keep),
            session,
            unrecognised: 0,
        }
    }

    /// What could not be known so far.
    pub fn stats(&self) -> Stats {
        Stats {
            evicted: self.session.names.evicted,
            ..self.session.stats
        }
    }

    /// What is known of the session.
    pub fn session(&self) -> &SessionInfo {
        &self.session.info
    }

    /// How busy the connection is, as far as was seen.
    pub fn activity(&self) -> Activity {
        let waits = &self.session.requests;
        let is_seen = |request: &Request| !matches!(request, Request::Hidden { .. });
        match self.stage {
            Stage::Unknown => Activity::Unknown,
            // Of what is encrypted only the clear text tells how far it has come.
            Stage::Startup(startup) if startup.encrypted && startup.step == Step::Packet => {
                Activity::Unknown
            }
            Stage::Startup(_) => Activity::Connecting,
            Stage::Left => Activity::Left,
            Stage::Open
                if waits.front().is_some_and(is_seen) || waits.back().is_some_and(is_seen) =>
            {
                Activity::Working
            }
            Stage::Open => Activity::Waiting,
        }
    }

    /// Whether nothing more is decoded, so that the caller may stop to feed it.
    pub fn is_left(&self) -> bool {
        self.stage == Stage::Left
    }

    /// One read or write call.
    pub fn segment(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        cache: &mut SqlCache,
        out: &mut Vec<Event>,
    ) {
        if self.stage == Stage::Left || segment.len == 0 {
            return;
        }
        let now = segment.instant(direction, self.side);
        if direction == Direction::ToServer {
            self.session.segment += 1;
        }
        if self.answers_negotiation(direction, segment, out) {
            return;
        }
        if self.framer(direction).is_lost() && !self.recognise(direction, segment, now, out) {
            return;
        }
        for piece in segment.pieces() {
            match piece {
                Piece::Bytes(bytes) => self.bytes(direction, bytes, now, cache, out),
                Piece::Gap(missing) => self.gap(direction, missing, now, cache, out),
            }
            if self.framer(direction).is_lost() {
                break;
            }
        }
        if self.framer(direction).is_lost() && self.stage != Stage::Left {
            self.after_loss(direction, segment, now, out);
        }
    }

    /// A segment of that direction was lost altogether.
    pub fn lost(&mut self, direction: Direction) {
        if self.stage == Stage::Left {
            return;
        }
        self.session.stats.lost_segments += 1;
        if let Stage::Startup(_) = self.stage {
            // Whatever it was, requests and answers follow; the user is not known then.
            self.stage = Stage::Open;
        }
        self.framer_mut(direction).lose();
        self.lose_track(direction);
    }

    /// The connection was closed: what still waits is unknown.
    pub fn finish(&mut self, out: &mut Vec<Event>) {
        if self.stage == Stage::Left {
            return;
        }
        self.stage = Stage::Left;
        self.session.give_up(out);
        self.session.portals_gone(0, portals::Gone::Failed);
        self.session.flush(None, out);
    }

    fn framer(&self, direction: Direction) -> &Framer {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    fn framer_mut(&mut self, direction: Direction) -> &mut Framer {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }

    fn bytes(
        &mut self,
        direction: Direction,
        mut bytes: &[u8],
        now: u64,
        cache: &mut SqlCache,
        out: &mut Vec<Event>,
    ) {
        match direction {
            Direction::ToServer => {
                while let Some(frame) = self.to_server.next(&mut bytes, now) {
                    match self.stage {
                        Stage::Startup(startup) if startup.step == Step::Packet => {
                            let (next, asked) = startup.packet(&frame, &mut self.session, out);
                            self.stage = Stage::Startup(next);
                            match asked {
                                Asked::Encryption => self.to_server.boundary(true),
                                Asked::Session => {
                                    self.to_server.boundary(false);
                                    self.to_client.boundary(false);
                                }
                                Asked::Nothing => {
                                    self.session.give_up(out);
                                    self.stage = Stage::Left;
                                    return;
                                }
                            }
                        }
                        _ if frame.kind == b'X' => return self.terminated(out),
                        _ => {
                            if self.to_client.is_lost() && frame.kind != b'p' {
                                // The end of the start-up was not seen.
                                self.stage = Stage::Open;
                            }
                            let began = self.session.request(&frame, now, cache, out);
                            if began && self.to_client.is_lost() && self.session.requests.len() == 1
                            {
                                // Everything before was answered: its answer comes next.
                                self.to_client.boundary(false);
                            }
                        }
                    }
                }
            }
            Direction::ToClient => {
                while let Some(frame) = self.to_client.next(&mut bytes, now) {
                    Self::server_frame(&mut self.stage, &mut self.session, &frame, now, out);
                    if self.stage == Stage::Left {
                        return;
                    }
                }
            }
        }
        if self.framer(direction).is_lost() && self.stage != Stage::Left {
            // No message starts like that.
            self.session.stats.violations += 1;
            self.lose_track(direction);
        }
    }

    fn gap(
        &mut self,
        direction: Direction,
        missing: u64,
        now: u64,
        cache: &mut SqlCache,
        out: &mut Vec<Event>,
    ) {
        match direction {
            Direction::ToServer => {
                if let Some(frame) = self.to_server.gap(missing)
                    && self.stage == Stage::Open
                {
                    self.session.request(&frame, now, cache, out);
                }
            }
            Direction::ToClient => {
                if let Some(frame) = self.to_client.gap(missing) {
                    Self::server_frame(&mut self.stage, &mut self.session, &frame, now, out);
                }
            }
        }
        if self.framer(direction).is_lost() && self.stage != Stage::Left {
            self.lose_track(direction);
        }
    }

    fn server_frame(
        stage: &mut Stage,
        session: &mut Session,
        frame: &Frame<'_>,
        now: u64,
        out: &mut Vec<Event>,
    ) {
        if let Stage::Startup(startup) = *stage {
            *stage = startup.answer(frame, session, now, out);
            if *stage == Stage::Left {
                session.give_up(out);
            }
            return;
        }
        if session.answer(frame, now, out) == Next::Replication {
            // The command that started it is no statement.
            session.pop();
            session.give_up(out);
            out.push(Event::Replication);
            *stage = Stage::Left;
        }
    }

    fn terminated(&mut self, out: &mut Vec<Event>) {
        self.finish(out);
        out.push(Event::Terminated);
    }

    /// What a lost boundary means for what waits.
    fn lose_track(&mut self, direction: Direction) {
        match direction {
            Direction::ToServer => self.session.requests_hidden(),
            Direction::ToClient => self.session.answers_hidden(),
        }
    }

    /// The boundaries were lost within this segment: its last bytes may tell where the next starts.
    fn after_loss(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        now: u64,
        out: &mut Vec<Event>,
    ) {
        match direction {
            Direction::ToServer => {
                let last = segment.pieces().last();
                if let Some(Piece::Bytes(bytes)) = last
                    && bytes.ends_with(b"S\0\0\0\x04")
                {
                    self.to_server.boundary(false);
                }
            }
            Direction::ToClient => self.ready_at_end(segment, now, out),
        }
    }

    fn ready_at_end(&mut self, segment: &Segment<'_>, now: u64, out: &mut Vec<Event>) {
        let Some((status, ending)) = uncertain::ready_at_end(segment) else {
            return;
        };
        let Some(status) = TransactionStatus::of_byte(status) else {
            return;
        };
        self.stage = Stage::Open;
        self.session.ending = None;
        let hidden = matches!(self.session.requests.front(), Some(Request::Hidden { .. }));
        match ending {
            Some(ending) if self.session.holed => self.session.note_ending(&ending),
            Some(ending) if hidden => {
                self.session.answer(&ending, now, out);
            }
            _ => {}
        }
        self.session.answered_at = now;
        self.session.ready(status, now, out);
        self.to_client.boundary(false);
    }

    /// Looks for a certain boundary in a segment of a direction that is lost. Returns whether the
    /// segment is to be read from its start.
    fn recognise(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        now: u64,
        out: &mut Vec<Event>,
    ) -> bool {
        if self.stage == Stage::Unknown
            && direction == Direction::ToServer
            && startup::starts_like_one(segment.head)
        {
            self.session.requests.clear();
            self.stage = Stage::Startup(Startup::expected());
            self.to_server.boundary(true);
            return true;
        }
        if uncertain::is_chain(segment, direction) {
            if self.stage == Stage::Unknown {
                self.stage = Stage::Open;
            }
            self.framer_mut(direction).boundary(false);
            return true;
        }
        if direction == Direction::ToClient {
            self.ready_at_end(segment, now, out);
        }
        if self.stage == Stage::Unknown {
            self.unrecognised += 1;
            if self.unrecognised >= self.session.limits.unrecognised_segments {
                self.stage = Stage::Left;
                self.session.give_up(out);
                out.push(Event::NotPostgres);
            }
        }
        false
    }

    /// Takes what is said about encryption, and leaves alone what is encrypted.
    fn answers_negotiation(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        out: &mut Vec<Event>,
    ) -> bool {
        let Stage::Startup(startup) = self.stage else {
            return false;
        };
        match (startup.step, direction) {
            (Step::Packet, Direction::ToServer) => {
                // Records of TLS: the clear text is told apart by how a start-up begins.
                startup.encrypted
                    && self.to_server.is_between()
                    && !(segment.head.len() >= 8 && startup::starts_like_one(segment.head))
            }
            (Step::Packet, Direction::ToClient) => true,
            (Step::Negotiation, Direction::ToServer) => false,
            (Step::Negotiation, Direction::ToClient) => {
                let encrypted = match segment.head.first() {
                    Some(b'S') => {
                        out.push(Event::TlsNegotiated);
                        true
                    }
                    Some(b'G') => {
                        out.push(Event::GssNegotiated);
                        true
                    }
                    Some(b'E') => {
                        self.stage = Stage::Startup(startup.refused());
                        self.to_client.boundary(false);
                        return false;
                    }
                    _ => false,
                };
                self.stage = Stage::Startup(startup.negotiated(encrypted));
                self.to_server.boundary(true);
                true
            }
            (Step::Authentication, _) => false,
        }
    }
}
