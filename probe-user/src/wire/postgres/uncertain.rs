//! Answers of which a part was not seen: what is certain nevertheless, and where certainty begins
//! again.

use super::super::stream::{Direction, Piece, Segment};
use super::body;
use super::event::{Event, Kind, Outcome, Phase};
use super::frame::{Frame, message_header};
use super::request::{Ending, Request};
use super::session::Session;

impl Session {
    /// An answer to requests that were not seen.
    pub(super) fn answer_to_hidden(&mut self, frame: &Frame<'_>, silent: bool, now: u64) {
        let begun = std::mem::take(&mut self.answering).begun;
        let (outcome, rows) = match frame.kind {
            b'C' => {
                let tag = body::tag(frame.body);
                if tag.is_select && !begun {
                    // It may be the last step of a portal that is reported as well.
                    self.stats.unknown_steps += 1;
                    return;
                }
                (Outcome::Ok, tag.rows)
            }
            b'E' => (Outcome::Error(body::sqlstate(frame.body)), None),
            kind => {
                self.answering.begun = kind != b's' && (begun || matches!(kind, b'2' | b'T'));
                return;
            }
        };
        if silent {
            self.stats.stray_answers += 1;
            return;
        }
        let mut statement = self.statement(None, Kind::Unknown, Phase::Execute);
        statement.outcome = outcome;
        statement.rows = rows;
        statement.finished_ns = Some(now);
        self.report(statement);
    }

    /// Remembers how the latest answer ended, while their number is not known.
    pub(super) fn note_ending(&mut self, frame: &Frame<'_>) {
        self.ending = match frame.kind {
            b'C' => Some(Ending::Complete(body::tag(frame.body))),
            b's' => Some(Ending::Suspended),
            b'E' => Some(Ending::Error(body::sqlstate(frame.body))),
            b'I' => Some(Ending::Empty),
            _ => None,
        };
    }

    /// ReadyForQuery after answers of which a part was not seen. With one batch in flight it is
    /// that batch's, and the end of its last answer is known; with more, nothing is.
    pub(super) fn resolve(&mut self, now: u64, out: &mut Vec<Event>) {
        let hidden = self
            .requests
            .iter()
            .any(|request| matches!(request, Request::Hidden { .. }));
        if self.outstanding != 1 || hidden {
            self.lose(out);
            return;
        }
        self.holed = false;
        let ending = self.ending.take();
        if matches!(self.requests.front(), Some(Request::Query { .. })) {
            self.resolve_simple(ending, now);
        } else {
            self.resolve_extended(ending, now);
        }
    }

    fn resolve_simple(&mut self, ending: Option<Ending>, now: u64) {
        let Some(Request::Query {
            text, next, failed, ..
        }) = self.requests.front()
        else {
            return;
        };
        if *failed {
            return;
        }
        let (left, cut) = text.as_ref().map_or((0, true), |text| {
            (text.parts.len().saturating_sub(*next), text.cut)
        });
        match ending {
            // The last one succeeded, so all did; the tags of the others were not seen.
            Some(Ending::Complete(tag)) if !cut && left > 0 => {
                for index in 1..=left {
                    self.complete_simple((index == left).then_some(tag), now);
                }
            }
            Some(Ending::Error(sqlstate)) if !cut && left == 1 => {
                self.answering.rows = 0;
                self.error(sqlstate, now, now);
                self.rows_unknown();
            }
            // Which of them failed is not known.
            Some(Ending::Error(_)) => self.failed = true,
            _ => {}
        }
    }

    fn resolve_extended(&mut self, ending: Option<Ending>, now: u64) {
        let batch = self
            .requests
            .iter()
            .take_while(|request| !matches!(request, Request::Sync));
        let (mut executes, mut others, mut last_is_execute) = (0, 0, false);
        for request in batch {
            last_is_execute = matches!(request, Request::Execute { .. });
            match request {
                Request::Execute { .. } => executes += 1,
                Request::CopyData => {}
                _ => others += 1,
            }
        }
        match ending {
            Some(ending @ (Ending::Complete(_) | Ending::Suspended | Ending::Empty))
                if last_is_execute =>
            {
                self.all_succeeded(executes, ending, now);
            }
            Some(Ending::Error(sqlstate)) if executes == 1 && others == 0 => {
                self.error(sqlstate, now, now);
                self.rows_unknown();
            }
            None if executes == 0 && others == 0 => {}
            _ => {
                self.failed |= matches!(ending, Some(Ending::Error(_)));
                while self
                    .requests
                    .front()
                    .is_some_and(|request| !matches!(request, Request::Sync))
                {
                    if let Some(request) = self.pop() {
                        self.report_unknown(request);
                    }
                }
            }
        }
    }

    /// Everything up to the next Sync was answered well, or the last answer would not have been.
    fn all_succeeded(&mut self, executes: usize, ending: Ending, now: u64) {
        let mut seen = 0;
        loop {
            match self.requests.front() {
                None | Some(Request::Sync) => return,
                Some(Request::Execute { .. }) => {
                    seen += 1;
                    if seen == executes {
                        self.complete_execute(ending, false, now);
                    } else {
                        self.complete_unseen(now);
                    }
                }
                Some(_) => self.acknowledge(),
            }
        }
    }

    /// An Execute that succeeded, by a tag that was not seen.
    fn complete_unseen(&mut self, now: u64) {
        let tag = body::Tag {
            rows: None,
            ends: None,
            is_select: false,
        };
        self.complete_execute(Ending::Complete(tag), false, now);
    }

    /// How many rows came before the error was not seen.
    fn rows_unknown(&mut self) {
        if let Some(Event::Statement(statement)) = self
            .held
            .iter_mut()
            .rev()
            .find(|event| matches!(event, Event::Statement(_)))
        {
            statement.rows = None;
        }
    }
}

/// Whether messages follow each other from the segment's first byte to its last.
pub(super) fn is_chain(segment: &Segment<'_>, direction: Direction) -> bool {
    let mut at = 0u64;
    let mut first = true;
    while at < segment.len {
        let Some(header) = bytes_at(segment, at) else {
            return false;
        };
        let Some((kind, length)) = message_header(direction, header) else {
            return false;
        };
        // Data and passwords can be followed, but nothing that matters starts with them.
        if first
            && matches!(
                (direction, kind),
                (Direction::ToServer, b'd' | b'c' | b'f' | b'p')
            )
        {
            return false;
        }
        if !first && kind == b'p' && direction == Direction::ToServer {
            return false;
        }
        first = false;
        at += 5 + length;
    }
    at == segment.len && !first
}

/// Five bytes at an offset of the segment, if they are at hand.
fn bytes_at<'a>(segment: &Segment<'a>, at: u64) -> Option<&'a [u8]> {
    let mut start = 0;
    for piece in segment.pieces() {
        if let Piece::Bytes(bytes) = piece
            && let Some(within) = at
                .checked_sub(start)
                .and_then(|at| usize::try_from(at).ok())
            && let Some(header) = bytes.get(within..within + 5)
        {
            return Some(header);
        }
        start += piece.len();
    }
    None
}

/// ReadyForQuery at the end of a segment whose messages can't be followed: the status, and the
/// CommandComplete, PortalSuspended, EmptyQueryResponse or ErrorResponse right before it.
pub(super) fn ready_at_end<'a>(segment: &Segment<'a>) -> Option<(u8, Option<Frame<'a>>)> {
    let Some(Piece::Bytes(bytes)) = segment.pieces().last() else {
        return None;
    };
    let (before, ready) = bytes.split_at_checked(bytes.len().checked_sub(6)?)?;
    let (header, status) = ready.split_at_checked(5)?;
    let status = *status.first()?;
    if header != b"Z\0\0\0\x05" || !matches!(status, b'I' | b'T' | b'E') {
        return None;
    }
    Some((status, ending_before(before)))
}

/// The message that ends these bytes, if it is one that ends an answer and can't be data.
fn ending_before(bytes: &[u8]) -> Option<Frame<'_>> {
    const LONGEST_TAG: usize = 72;
    for kind in [b's', b'I'] {
        if bytes.ends_with(&[kind, 0, 0, 0, 4]) {
            return Some(frame(kind, &[]));
        }
    }
    let from = bytes.len().saturating_sub(LONGEST_TAG);
    for start in (from..bytes.len()).rev() {
        if let Some(body) = exact_body(bytes, start, b'C')
            && body::is_tag(body)
        {
            return Some(frame(b'C', body));
        }
    }
    // Texts of errors may quote anything: the outermost that is well formed counts.
    for start in 0..bytes.len() {
        if let Some(body) = exact_body(bytes, start, b'E')
            && is_error(body)
        {
            return Some(frame(b'E', body));
        }
    }
    None
}

fn frame(kind: u8, body: &[u8]) -> Frame<'_> {
    Frame {
        kind,
        body,
        complete: true,
        begun: 0,
    }
}

/// The body of the message that starts here and ends with the bytes.
fn exact_body(bytes: &[u8], start: usize, kind: u8) -> Option<&[u8]> {
    if bytes.get(start) != Some(&kind) {
        return None;
    }
    let message = bytes.get(start..)?;
    let (_, length) = message_header(Direction::ToClient, message)?;
    let body = message.get(5..)?;
    (body.len() as u64 == length).then_some(body)
}

/// `S`, a severity, `V` and one again (since 9.6), `C` and a code; two NULs at the end.
fn is_error(body: &[u8]) -> bool {
    body.first() == Some(&b'S')
        && body.ends_with(&[0, 0])
        && body::sqlstate(body)
            .0
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}
