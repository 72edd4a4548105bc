//! Cuts one direction into messages, across segments and gaps (PostgreSQL documentation,
//! "Message Formats": a type byte, then a length that includes itself).

use super::super::stream::{Direction, Kept};

/// The longest message that PostgreSQL accepts or sends.
const MAX_LENGTH: u32 = 0x3fff_ffff;
/// The longest start-up packet (`MAX_STARTUP_PACKET_LENGTH`).
const MAX_STARTUP: u32 = 10_000;

/// A message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// Its type; 0 for the packets of a start-up, which have none.
    pub(super) kind: u8,
    /// The start of its body, as far as it is at hand and wanted.
    pub(super) body: &'a [u8],
    /// Whether that is the whole body.
    pub(super) complete: bool,
    /// When its first byte changed hands.
    pub(super) begun: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between messages, or in a header.
    Header,
    /// In a body of which so many bytes are to come.
    Body { kind: u8, left: u64 },
    /// The boundaries are not known.
    Lost,
}

/// The messages of one direction.
#[derive(Debug)]
pub(super) struct Framer {
    direction: Direction,
    state: State,
    /// Whether a start-up packet is expected.
    untyped: bool,
    header: [u8; 5],
    have: usize,
    kept: Kept,
    keep: usize,
    begun: u64,
}

impl Framer {
    pub(super) fn new(direction: Direction, keep: usize) -> Self {
        Self {
            direction,
            state: State::Lost,
            untyped: false,
            header: [0; 5],
            have: 0,
            kept: Kept::default(),
            keep,
            begun: 0,
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.state == State::Lost
    }

    /// Whether the next byte is the first of a message.
    pub(super) fn is_between(&self) -> bool {
        self.state == State::Header && self.have == 0
    }

    pub(super) fn lose(&mut self) {
        self.state = State::Lost;
        self.have = 0;
        self.kept.clear();
    }

    /// The next byte is the first of a message.
    pub(super) fn boundary(&mut self, untyped: bool) {
        self.lose();
        self.state = State::Header;
        self.untyped = untyped;
    }

    /// Takes bytes from `input` up to the end of the next message. `None` when it needs more, or
    /// is lost.
    pub(super) fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
        now: u64,
    ) -> Option<Frame<'s>> {
        loop {
            match self.state {
                State::Lost => return None,
                State::Header => {
                    let (kind, length) = self.header(input, now)?;
                    if let Ok(length) = usize::try_from(length)
                        && let Some((body, rest)) = input.split_at_checked(length)
                    {
                        *input = rest;
                        return Some(Frame {
                            kind,
                            body,
                            complete: true,
                            begun: self.begun,
                        });
                    }
                    self.state = State::Body { kind, left: length };
                    self.kept.clear();
                }
                State::Body { kind, left } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let (body, rest) = input.split_at_checked(here)?;
                    *input = rest;
                    let keep = if is_opaque(self.direction, kind) {
                        0
                    } else {
                        self.keep
                    };
                    self.kept.push(body, keep);
                    let left = left - body.len() as u64;
                    if left > 0 {
                        self.state = State::Body { kind, left };
                        return None;
                    }
                    return Some(self.finish(kind, State::Header));
                }
            }
        }
    }

    /// Passes a gap. A message that ends in it is told; what follows in the same gap is lost.
    pub(super) fn gap(&mut self, missing: u64) -> Option<Frame<'_>> {
        match self.state {
            State::Body { kind, left } if missing < left => {
                self.kept.cut();
                self.state = State::Body {
                    kind,
                    left: left - missing,
                };
                None
            }
            State::Body { kind, left } => {
                self.kept.cut();
                let next = if missing > left {
                    State::Lost
                } else {
                    State::Header
                };
                Some(self.finish(kind, next))
            }
            State::Header | State::Lost => {
                self.lose();
                None
            }
        }
    }

    fn finish(&mut self, kind: u8, next: State) -> Frame<'_> {
        self.state = next;
        self.have = 0;
        Frame {
            kind,
            body: self.kept.bytes(),
            complete: !self.kept.is_cut(),
            begun: self.begun,
        }
    }

    /// Type and length of the body, once the header is complete; lost if it can't be one.
    fn header(&mut self, input: &mut &[u8], now: u64) -> Option<(u8, u64)> {
        // Nearly always the whole header is at hand.
        if self.have == 0
            && !self.untyped
            && let Some((whole, rest)) = input.split_first_chunk::<5>()
        {
            *input = rest;
            self.begun = now;
            let header = message_header(self.direction, whole);
            if header.is_none() {
                self.lose();
            }
            return header;
        }
        let wanted = if self.untyped { 4 } else { 5 };
        if self.have == 0 {
            if input.is_empty() {
                return None;
            }
            self.begun = now;
        }
        while self.have < wanted {
            let (byte, rest) = input.split_first()?;
            *self.header.get_mut(self.have)? = *byte;
            self.have += 1;
            *input = rest;
        }
        self.have = 0;
        let header = if self.untyped {
            startup_header(&self.header)
        } else {
            message_header(self.direction, &self.header)
        };
        if header.is_none() {
            self.lose();
        }
        header
    }
}

/// Whether nobody looks into such messages: rows, copied data and passwords.
fn is_opaque(direction: Direction, kind: u8) -> bool {
    match direction {
        Direction::ToServer => matches!(kind, b'd' | b'p'),
        Direction::ToClient => matches!(kind, b'd' | b'D' | b'R' | b'K' | b'V'),
    }
}

fn startup_header(header: &[u8]) -> Option<(u8, u64)> {
    let length = u32::from_be_bytes(header.get(..4)?.try_into().ok()?);
    (8..=MAX_STARTUP)
        .contains(&length)
        .then(|| (0, u64::from(length) - 4))
}

/// Type and length of the body of the message that starts here, if one can start like this.
pub(super) fn message_header(direction: Direction, bytes: &[u8]) -> Option<(u8, u64)> {
    let kind = *bytes.first()?;
    let length = u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?);
    let valid = match direction {
        Direction::ToServer => match kind {
            b'S' | b'H' | b'X' | b'c' => length == 4,
            b'D' | b'C' => (6..=4096).contains(&length),
            b'E' => (9..=4096).contains(&length),
            b'Q' => (5..=MAX_LENGTH).contains(&length),
            b'P' => (8..=MAX_LENGTH).contains(&length),
            b'B' => (12..=MAX_LENGTH).contains(&length),
            b'F' => (14..=MAX_LENGTH).contains(&length),
            b'd' | b'f' | b'p' => (4..=MAX_LENGTH).contains(&length),
            _ => false,
        },
        Direction::ToClient => match kind {
            b'Z' => length == 5,
            b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c' => length == 4,
            b'C' => (5..=256).contains(&length),
            b'K' => (12..=268).contains(&length),
            b't' | b'T' => (6..=MAX_LENGTH).contains(&length),
            b'D' => (6..=MAX_LENGTH).contains(&length),
            b'G' | b'H' | b'W' => (7..=MAX_LENGTH).contains(&length),
            b'E' | b'N' | b'd' | b'V' | b'A' | b'S' | b'R' | b'v' => {
                (4..=MAX_LENGTH).contains(&length)
            }
            _ => false,
        },
    };
    valid.then(|| (kind, u64::from(length) - 4))
}
