//! One direction of a connection: its place in the stream, and heads put together from calls.

use std::borrow::Cow;

use crate::wire::stream::{Piece, Segment, Side};

use super::body::Body;
use super::line::{self, Start};

/// Times of a system call, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
}

impl Call {
    pub(super) fn of(segment: &Segment<'_>) -> Self {
        Self {
            start_ns: segment.start_ns,
            end_ns: segment.end_ns,
        }
    }

    /// When bytes of a request passed between the observed process and the kernel.
    pub(super) fn asked_ns(self, side: Side) -> u64 {
        match side {
            Side::Server => self.end_ns,
            Side::Client => self.start_ns,
        }
    }

    /// When bytes of a response passed between the observed process and the kernel.
    pub(super) fn answered_ns(self, side: Side) -> u64 {
        match side {
            Side::Server => self.start_ns,
            Side::Client => self.end_ns,
        }
    }
}

/// Where a direction is in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At or in a head.
    Head,
    /// In a message's content.
    Body(Body),
    /// Unknown: waiting for a call that certainly begins a message.
    Seeking,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) place: Place,
    /// The head so far, if one call did not bring all of it.
    pub(super) buffer: Vec<u8>,
    /// Bytes of `buffer` in which the head's end was not found.
    searched: usize,
    /// The head is only taken for one if its first line is certain.
    pub(super) probing: bool,
    /// The call with the first byte of the head that was put together last.
    pub(super) first: Call,
    /// The call seen last.
    pub(super) last: Call,
}

/// A head, if it is there.
#[derive(Debug)]
pub(super) enum Assembled<'a> {
    /// All bytes are taken, and more are needed.
    Incomplete,
    /// It was taken for a message's beginning on probation, and is none.
    NotAStart,
    /// Longer than the limit; what there is of it.
    TooLong(Vec<u8>),
    /// The head, and the bytes behind it.
    Whole(Cow<'a, [u8]>, &'a [u8]),
}

impl Track {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Seeking,
            buffer: Vec::new(),
            searched: 0,
            probing: false,
            first: Call::default(),
            last: Call::default(),
        }
    }

    /// Gives up the place in the stream.
    pub(super) fn lose(&mut self) {
        self.place = Place::Seeking;
        self.forget();
    }

    /// Takes up a place at a message's beginning that has yet to prove to be one.
    pub(super) fn probe(&mut self) {
        self.place = Place::Head;
        self.forget();
        self.probing = true;
    }

    fn forget(&mut self) {
        self.buffer = Vec::new();
        self.searched = 0;
        self.probing = false;
    }

    /// What there is of a head that will not be completed.
    pub(super) fn take_partial(&mut self) -> Vec<u8> {
        self.searched = 0;
        std::mem::take(&mut self.buffer)
    }

    /// Puts a head together; without a copy if all of it is in `bytes`.
    pub(super) fn assemble<'a>(
        &mut self,
        bytes: &'a [u8],
        call: Call,
        limit: usize,
        start: fn(&[u8]) -> Start,
    ) -> Assembled<'a> {
        let before = self.buffer.len();
        if before == 0 {
            let bytes = line::skip_empty_lines(bytes);
            if bytes.is_empty() {
                return Assembled::Incomplete;
            }
            self.first = call;
            if let Some(end) = line::head_end(bytes, 0).filter(|end| *end <= limit) {
                let (head, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
                return self.proven(Cow::Borrowed(head), rest, start);
            }
            self.buffer.extend(bytes.iter().take(limit));
        } else {
            let room = limit.saturating_sub(before);
            self.buffer.extend(bytes.iter().take(room));
            // The newline before the empty line may have been the last byte searched.
            let from = self.searched.saturating_sub(3);
            if let Some(end) = line::head_end(&self.buffer, from) {
                let rest = bytes.get(end.saturating_sub(before)..).unwrap_or_default();
                let mut head = self.take_partial();
                head.truncate(end);
                return self.proven(Cow::Owned(head), rest, start);
            }
        }
        self.searched = self.buffer.len();
        if self.probing && start(&self.buffer) == Start::No {
            return Assembled::NotAStart;
        }
        if self.buffer.len() >= limit {
            return Assembled::TooLong(self.take_partial());
        }
        Assembled::Incomplete
    }

    fn proven<'a>(
        &self,
        head: Cow<'a, [u8]>,
        rest: &'a [u8],
        start: fn(&[u8]) -> Start,
    ) -> Assembled<'a> {
        if self.probing && start(&head) != Start::Certain {
            return Assembled::NotAStart;
        }
        Assembled::Whole(head, rest)
    }
}

/// A segment's bytes: those before the gap, the gap's length, those behind it.
pub(super) fn pieces<'a>(segment: &Segment<'a>) -> (&'a [u8], u64, &'a [u8]) {
    let (mut head, mut gap, mut tail): (&[u8], u64, &[u8]) = (&[], 0, &[]);
    for piece in segment.pieces() {
        match piece {
            Piece::Gap(missing) => gap = missing,
            Piece::Bytes(bytes) if head.is_empty() && gap == 0 => head = bytes,
            Piece::Bytes(bytes) => tail = bytes,
        }
    }
    (head, gap, tail)
}
