//! Server-sent events (WHATWG HTML, section 9.2.6), as the API sends streams: line by line, nothing
//! of them held.

/// What a piece of the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Bytes of an event's data. Line ends in it are pieces `"\n"`.
    Data(&'a [u8]),
    /// A line that is no field of an event. Errors come as bare JSON in the midst of a stream; its
    /// line end is a piece, too.
    Bare(&'a [u8]),
    /// The event is over.
    End,
}

/// The names of fields, which all other lines are told from.
const FIELDS: [&[u8]; 4] = [b"data", b"event", b"id", b"retry"];
/// Length of the longest, with its colon.
const LONGEST: usize = 6;

/// The state between two bytes.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Beginning of a line whose field is not known yet.
    begin: Vec<u8>,
    line: Line,
    /// The last byte ended a line with a carriage return; a line feed right behind belongs to it.
    carriage_return: bool,
    /// The current event has data.
    data: bool,
    /// Whether lines are passed over, since bytes of them are missing.
    lost: Lost,
    /// What of a byte order mark has been seen at the very beginning.
    mark: usize,
    begun: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lost {
    #[default]
    No,
    /// In the line that bytes are missing of.
    Line,
    /// In the event that the line was part of; whether its current line has any byte.
    Event { blank: bool },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Begin,
    /// Behind `data:`, where one space is no part of the data.
    Space,
    Data,
    Bare,
    Ignored,
}

impl Lines {
    /// Bytes of the stream are missing here. Data has no line ends in it, so the next blank line is
    /// certain to be the end of an event.
    pub(super) fn lost(&mut self) {
        self.begin.clear();
        self.line = Line::Begin;
        self.lost = Lost::Line;
        self.data = false;
        self.begun = true;
    }

    /// Whether an event has data and no end yet, or a line has only begun.
    pub(super) fn is_within(&self) -> bool {
        self.data || !self.begin.is_empty()
    }

    /// The next bytes.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(Piece<'_>)) {
        let mut rest = bytes;
        while let Some((&byte, behind)) = rest.split_first() {
            if self.carriage_return {
                self.carriage_return = false;
                if byte == b'\n' {
                    rest = behind;
                    continue;
                }
            }
            if !self.begun && self.is_mark(byte) {
                rest = behind;
                continue;
            }
            match byte {
                b'\r' | b'\n' => {
                    self.carriage_return = byte == b'\r';
                    self.end_line(out);
                    rest = behind;
                }
                _ => {
                    let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    let (text, behind) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                    self.text(text, out);
                    rest = behind;
                }
            }
        }
    }

    /// A byte order mark may stand before everything.
    fn is_mark(&mut self, byte: u8) -> bool {
        const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
        if MARK.get(self.mark) == Some(&byte) {
            self.mark += 1;
            self.begun = self.mark == MARK.len();
            return true;
        }
        self.begun = true;
        false
    }

    /// Bytes of one line, without its end.
    fn text(&mut self, text: &[u8], out: &mut dyn FnMut(Piece<'_>)) {
        if self.lost != Lost::No {
            if self.lost != Lost::Line {
                self.lost = Lost::Event { blank: false };
            }
            return;
        }
        let mut rest = text;
        while let (Line::Begin, Some((&byte, behind))) = (self.line, rest.split_first()) {
            self.begin.push(byte);
            rest = behind;
            self.decide(out);
        }
        match self.line {
            Line::Space => {
                if let Some((first, behind)) = rest.split_first() {
                    rest = if *first == b' ' { behind } else { rest };
                    self.line = Line::Data;
                    self.text(rest, out);
                }
            }
            Line::Data if !rest.is_empty() => out(Piece::Data(rest)),
            Line::Bare if !rest.is_empty() => out(Piece::Bare(rest)),
            _ => {}
        }
    }

    /// Finds out what a line is as soon as its beginning says.
    fn decide(&mut self, out: &mut dyn FnMut(Piece<'_>)) {
        let begin = self.begin.as_slice();
        let name = begin.strip_suffix(b":");
        self.line = match name {
            Some(b"data") => {
                if self.data {
                    out(Piece::Data(b"\n"));
                }
                self.data = true;
                Line::Space
            }
            // A comment has no name.
            Some(name) if name.is_empty() || FIELDS.contains(&name) => Line::Ignored,
            None if begin.len() < LONGEST
                && FIELDS.iter().any(|field| field.starts_with(begin)) =>
            {
                return;
            }
            _ => {
                out(Piece::Bare(begin));
                Line::Bare
            }
        };
        self.begin.clear();
    }

    fn end_line(&mut self, out: &mut dyn FnMut(Piece<'_>)) {
        self.begun = true;
        match self.lost {
            Lost::No => {}
            Lost::Event { blank: true } => {
                self.lost = Lost::No;
                return;
            }
            _ => {
                self.lost = Lost::Event { blank: true };
                return;
            }
        }
        // A name alone is a field without a value.
        let blank = self.line == Line::Begin && self.begin.is_empty();
        self.begin.clear();
        if self.line == Line::Bare {
            out(Piece::Bare(b"\n"));
        } else if blank && std::mem::take(&mut self.data) {
            out(Piece::End);
        }
        self.line = Line::Begin;
    }
}
