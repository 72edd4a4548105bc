//! What a user would lose if these failed: requests that are counted wrongly, or with another
//! request's status.

mod begun;
mod content;
mod gaps;
mod golden;
mod properties;
mod rfc;
mod timing;

use crate::wire::stream::{Direction, Segment, Side};

use super::{Connection, Event, Exchange, Limits, Method, Output, State, Stats};

pub(super) const ASK: Direction = Direction::ToServer;
pub(super) const ANSWER: Direction = Direction::ToClient;

pub(super) fn exchange(event: &Event) -> Option<&Exchange> {
    match event {
        Event::Exchange(exchange) => Some(exchange),
        _ => None,
    }
}

/// A connection whose calls take 10 ns each, 100 ns apart.
pub(super) struct Script {
    pub(super) connection: Connection,
    pub(super) out: Output,
    pub(super) now_ns: u64,
}

impl Script {
    pub(super) fn new(side: Side) -> Self {
        let connection = Connection::new(side, Limits::default());
        Self {
            connection,
            out: Output::default(),
            now_ns: 1000,
        }
    }

    pub(super) fn server() -> Self {
        Self::new(Side::Server)
    }

    /// A call all of whose bytes are at hand.
    pub(super) fn call(&mut self, direction: Direction, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.cut(direction, bytes, bytes.len(), 0)
    }

    pub(super) fn ask(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.call(ASK, bytes)
    }

    pub(super) fn answer(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.call(ANSWER, bytes)
    }

    /// A call of which only the first `head` and the last `tail` bytes are at hand.
    pub(super) fn cut(
        &mut self,
        direction: Direction,
        bytes: impl AsRef<[u8]>,
        head: usize,
        tail: usize,
    ) -> &mut Self {
        let bytes = bytes.as_ref();
        let head = head.min(bytes.len());
        let tail = tail.min(bytes.len() - head);
        let segment = Segment {
            start_ns: self.now_ns,
            end_ns: self.now_ns + 10,
            len: bytes.len() as u64,
            head: &bytes[..head],
            tail: &bytes[bytes.len() - tail..],
        };
        self.now_ns += 100;
        self.connection.feed(direction, &segment, &mut self.out);
        self
    }

    pub(super) fn lost(&mut self, direction: Direction) -> &mut Self {
        self.connection.lost(direction, &mut self.out);
        self
    }

    pub(super) fn close(&mut self) -> &mut Self {
        self.connection.close(self.now_ns, &mut self.out);
        self
    }

    pub(super) fn exchanges(&self) -> Vec<&Exchange> {
        self.out.events.iter().filter_map(exchange).collect()
    }

    /// Path and status of each exchange, in order.
    pub(super) fn results(&self) -> Vec<(&str, Option<u16>)> {
        let exchanges = self.exchanges().into_iter();
        exchanges
            .map(|exchange| (exchange.path.as_deref().unwrap_or("?"), exchange.status))
            .collect()
    }

    /// The only exchange.
    pub(super) fn only(&self) -> &Exchange {
        let exchanges = self.exchanges();
        assert_eq!(exchanges.len(), 1, "{exchanges:#?}");
        exchanges[0]
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.out.stats
    }

    pub(super) fn state(&self) -> State {
        self.connection.state()
    }
}
