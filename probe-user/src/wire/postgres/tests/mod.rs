mod captures;
mod extended;
mod gaps;
mod messages;
mod uncertain;

use super::*;
use crate::sql::SqlCache;

/// A message of either direction.
pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    message.extend_from_slice(body);
    message
}

pub(super) fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0").as_bytes())
}

pub(super) fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
}

pub(super) fn bind(portal: &str, statement: &str, parameters: &str) -> Vec<u8> {
    message(
        b'B',
        format!("{portal}\0{statement}\0{parameters}\0\0\0\0\0\0").as_bytes(),
    )
}

pub(super) fn execute(portal: &str, rows: u32) -> Vec<u8> {
    let mut body = format!("{portal}\0").into_bytes();
    body.extend_from_slice(&rows.to_be_bytes());
    message(b'E', &body)
}

pub(super) fn close(kind: char, name: &str) -> Vec<u8> {
    message(b'C', format!("{kind}{name}\0").as_bytes())
}

pub(super) fn describe(kind: char, name: &str) -> Vec<u8> {
    message(b'D', format!("{kind}{name}\0").as_bytes())
}

pub(super) fn sync() -> Vec<u8> {
    message(b'S', b"")
}

/// An answer in short: kinds of messages, with what they need.
pub(super) fn answer(short: &str) -> Vec<u8> {
    short.split_whitespace().flat_map(short_message).collect()
}

fn short_message(word: &str) -> Vec<u8> {
    let (kind, rest) = word.split_at(1);
    let kind = kind.as_bytes()[0];
    match kind {
        b'Z' => message(b'Z', rest.as_bytes()),
        b'C' => message(b'C', format!("{}\0", rest.replace('_', " ")).as_bytes()),
        b'E' | b'N' => message(
            kind,
            format!("SERROR\0VERROR\0C{rest}\0Mtext\0\0").as_bytes(),
        ),
        b'D' => (0..rest.parse().unwrap_or(1))
            .flat_map(|_| message(b'D', b"\0\x01\0\0\0\x04data"))
            .collect(),
        b'T' => message(
            b'T',
            b"\0\x01name\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0",
        ),
        b't' => message(b't', b"\0\x00"),
        b'G' | b'H' | b'W' => message(kind, b"\0\0\x01\0\0"),
        b'd' => message(b'd', b"1\tx\n"),
        b'S' => message(b'S', format!("{}\0", rest.replace('=', "\0")).as_bytes()),
        b'A' => message(b'A', b"\0\0\0\x01channel\0payload\0"),
        b'V' => message(b'V', b"\xff\xff\xff\xff"),
        b'R' => message(b'R', b"\0\0\0\0"),
        b'K' => message(b'K', b"\0\0\x10\0\0\0\0\x01"),
        _ => message(kind, b""),
    }
}

pub(super) fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0alice\0database\0shop\0application_name\0app\0\0";
    [
        &u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..],
        body,
    ]
    .concat()
}

/// A decoder under test, with a clock that ticks once a call.
pub(super) struct Wire {
    pub(super) connection: Connection,
    pub(super) cache: SqlCache,
    pub(super) events: Vec<Event>,
    pub(super) now: u64,
}

impl Wire {
    /// A connection that is open already.
    pub(super) fn open() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        Self {
            connection: Connection::new(Side::Server, limits),
            cache: SqlCache::default(),
            events: Vec::new(),
            now: 0,
        }
    }

    /// A connection seen from its start-up on, which has been read.
    pub(super) fn started() -> Self {
        let mut wire = Self::open();
        wire.client(&startup());
        wire.server(&answer("R Sserver_version=15.1 K ZI"));
        wire.events.clear();
        wire
    }

    pub(super) fn client(&mut self, bytes: &[u8]) -> &mut Self {
        self.both(Direction::ToServer, bytes, bytes.len(), 0)
    }

    pub(super) fn server(&mut self, bytes: &[u8]) -> &mut Self {
        self.both(Direction::ToClient, bytes, bytes.len(), 0)
    }

    /// A segment of which only so many first and last bytes are at hand.
    pub(super) fn both(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        head: usize,
        tail: usize,
    ) -> &mut Self {
        self.now += 10;
        let head = head.min(bytes.len());
        let tail = tail.min(bytes.len() - head);
        let segment = Segment {
            start_ns: self.now,
            end_ns: self.now + 1,
            len: bytes.len() as u64,
            head: &bytes[..head],
            tail: &bytes[bytes.len() - tail..],
        };
        self.connection
            .segment(direction, &segment, &mut self.cache, &mut self.events);
        self
    }

    pub(super) fn statements(&self) -> Vec<&Statement> {
        statements(&self.events)
    }

    /// `text rows outcome` of each statement.
    pub(super) fn short(&self) -> Vec<String> {
        self.statements().into_iter().map(short).collect()
    }
}

pub(super) fn statements(events: &[Event]) -> Vec<&Statement> {
    let mut found = Vec::new();
    for event in events {
        if let Event::Statement(statement) = event {
            found.push(statement);
        }
    }
    found
}

pub(super) fn short(statement: &Statement) -> String {
    let text = statement.sql.as_ref().map_or("unknown", |sql| &sql.text);
    let rows = statement
        .rows
        .map_or("-".to_owned(), |rows| rows.to_string());
    let outcome = match &statement.outcome {
        Outcome::Ok => "ok",
        Outcome::Unknown => "unknown",
        Outcome::Error(state) => state.as_str(),
    };
    format!("{text} {rows} {outcome}")
}
