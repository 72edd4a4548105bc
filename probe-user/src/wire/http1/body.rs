//! Where a message's content ends (RFC 9112, sections 6 and 7), with bytes at hand or skipped.

/// Content that is being passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// `Content-Length`: bytes still to come, and in all.
    Length { left: u64, total: u64 },
    /// `Transfer-Encoding: chunked`.
    Chunked(Chunked),
    /// Up to the end of the connection; bytes so far, if none is missing.
    UntilClose { total: Option<u64> },
}

/// What became of a body when bytes were read or skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// All of the bytes belong to the body, which goes on.
    Open,
    /// The body ended; `used` bytes belong to it, and its content has `total` bytes.
    Done { used: u64, total: u64 },
    /// The framing is broken, or lost in bytes that are not at hand.
    Lost,
}

impl Body {
    /// Reads `bytes`, as far as they belong to the body.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Passed {
        self.read_content(bytes, |_| ())
    }

    /// As [`Self::read`]; hands the content among them to `take`, without the framing.
    pub(super) fn read_content(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) -> Passed {
        if let Self::Chunked(chunked) = self {
            return chunked.read(bytes, take);
        }
        let passed = self.skip(bytes.len() as u64);
        let content = match passed {
            Passed::Done { used, .. } => usize::try_from(used).ok(),
            Passed::Open | Passed::Lost => None,
        };
        take(content.and_then(|used| bytes.get(..used)).unwrap_or(bytes));
        passed
    }

    /// Passes over `count` bytes that are not at hand.
    pub(super) fn skip(&mut self, count: u64) -> Passed {
        match self {
            Self::Length { left, total } => {
                if count < *left {
                    *left -= count;
                    return Passed::Open;
                }
                Passed::Done {
                    used: *left,
                    total: *total,
                }
            }
            Self::Chunked(chunked) => chunked.skip(count),
            Self::UntilClose { total } => {
                *total = total.and_then(|total| total.checked_add(count));
                Passed::Open
            }
        }
    }

    /// Whether nothing of the body has been seen yet.
    pub(super) fn untouched(&self) -> bool {
        match self {
            Self::Length { left, total } => left == total,
            Self::Chunked(chunked) => *chunked == Chunked::default(),
            Self::UntilClose { total } => *total == Some(0),
        }
    }
}

/// Position within a chunked body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunked {
    place: Place,
    /// Bytes of content announced by the chunks so far.
    total: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the size; digits so far.
    Size {
        value: u64,
        digits: u8,
    },
    /// Behind the size, up to the line's end: extensions are ignored (section 7.1.1).
    Extension {
        value: u64,
    },
    /// In a chunk's data.
    Data {
        left: u64,
    },
    /// Behind the data: CR LF.
    DataCr,
    DataLf,
    /// In the trailer section: at the start of a line, or within one.
    TrailerStart,
    TrailerLine,
    /// Behind the CR of the empty line that ends the message.
    End,
}

impl Default for Place {
    fn default() -> Self {
        Self::Size {
            value: 0,
            digits: 0,
        }
    }
}

/// 16 hexadecimal digits fill 64 bits; nobody sends more, except to confuse parsers.
const MAX_SIZE_DIGITS: u8 = 16;

impl Chunked {
    fn read(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) -> Passed {
        let mut rest = bytes;
        loop {
            if let Place::Data { left } = self.place {
                // A chunk that goes on beyond memory's address space ends elsewhere anyway.
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                let (content, behind) = rest.split_at_checked(here).unwrap_or((rest, &[]));
                take(content);
                rest = behind;
                let left = left - here as u64;
                if left > 0 {
                    self.place = Place::Data { left };
                    return Passed::Open;
                }
                self.place = Place::DataCr;
            }
            let Some((byte, behind)) = rest.split_first() else {
                return Passed::Open;
            };
            rest = behind;
            match self.step(*byte) {
                Some(Some(place)) => self.place = place,
                Some(None) => {
                    let used = (bytes.len() - rest.len()) as u64;
                    return Passed::Done {
                        used,
                        total: self.total,
                    };
                }
                None => return Passed::Lost,
            }
        }
    }

    /// One byte of framing: the next place, `Some(None)` at the end, `None` if it is broken.
    fn step(&mut self, byte: u8) -> Option<Option<Place>> {
        let next = match (self.place, byte) {
            (Place::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16)?;
                if digits == MAX_SIZE_DIGITS {
                    return None;
                }
                Place::Size {
                    value: value << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (Place::Size { digits: 0, .. }, _) => return None,
            (Place::Size { value, .. } | Place::Extension { value }, b'\n') => {
                self.total = self.total.checked_add(value)?;
                match value {
                    0 => Place::TrailerStart,
                    left => Place::Data { left },
                }
            }
            (Place::Size { value, .. }, b';' | b' ' | b'\t' | b'\r') => Place::Extension { value },
            (Place::Size { .. }, _) => return None,
            (Place::Extension { value }, _) => Place::Extension { value },
            (Place::DataCr, b'\r') => Place::DataLf,
            // A bare LF is tolerated (section 2.2), as most implementations do.
            (Place::DataCr | Place::DataLf, b'\n') => Place::default(),
            (Place::DataCr | Place::DataLf, _) => return None,
            (Place::TrailerStart, b'\r') => Place::End,
            (Place::TrailerStart | Place::End, b'\n') => return Some(None),
            (Place::TrailerStart | Place::TrailerLine, _) => match byte {
                b'\n' => Place::TrailerStart,
                _ => Place::TrailerLine,
            },
            (Place::End, _) => return None,
            // `read` passes over data before it asks.
            (Place::Data { .. }, _) => return None,
        };
        Some(Some(next))
    }

    /// Skips within a chunk's data and over the CR LF behind it; anything further hides a size.
    fn skip(&mut self, count: u64) -> Passed {
        let (data, ending) = match self.place {
            Place::Data { left } => (left, 2),
            Place::DataCr => (0, 2),
            Place::DataLf => (0, 1),
            _ => {
                return if count == 0 {
                    Passed::Open
                } else {
                    Passed::Lost
                };
            }
        };
        self.place = match count.checked_sub(data) {
            None => Place::Data { left: data - count },
            Some(past) => match (past, ending) {
                (0, 2) => Place::DataCr,
                (0, _) | (1, 2) => Place::DataLf,
                (1, _) | (2, 2) => Place::default(),
                _ => return Passed::Lost,
            },
        };
        Passed::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(bytes: &[u8]) -> Passed {
        Body::Chunked(Chunked::default()).read(bytes)
    }

    #[test]
    fn chunks_extensions_and_trailers_end_where_the_rfc_says() {
        let whole = b"4;name=\"v\"\r\nWiki\r\n5 \r\npedia\r\n0\r\nExpires: never\r\n\r\n";
        let expected = Passed::Done {
            used: whole.len() as u64,
            total: 9,
        };
        assert_eq!(chunked(whole), expected);
        // What follows belongs to the next message.
        assert_eq!(chunked(&[whole.as_slice(), b"GET /"].concat()), expected);
        assert_eq!(
            chunked(b"3\nabc\n0\n\n"),
            Passed::Done { used: 9, total: 3 }
        );
        assert_eq!(chunked(b"0\r\n\r\n"), Passed::Done { used: 5, total: 0 });
        assert_eq!(chunked(b"0\r\n"), Passed::Open);
    }

    #[test]
    fn broken_sizes_are_broken_not_guessed() {
        for bytes in [
            "\r\n",
            "x",
            "-1\r\n",
            "3\r\nabcd",
            "11111111111111111\r\n",
            "0\r\n\r!",
        ] {
            assert_eq!(chunked(bytes.as_bytes()), Passed::Lost, "{bytes:?}");
        }
        // Two sizes whose sum does not fit.
        let mut body = Body::Chunked(Chunked::default());
        assert_eq!(body.read(b"ffffffffffffffff\r\n"), Passed::Open);
        assert_eq!(body.skip(u64::MAX), Passed::Open);
        assert_eq!(body.read(b"\r\n1\r\n"), Passed::Lost);
    }

    #[test]
    fn a_gap_is_followed_as_far_as_a_size_reaches() {
        for (gap, rest) in [
            (9_u64, b"x\r\n0\r\n\r\n".as_slice()),
            (10, b"\r\n0\r\n\r\n"),
            (11, b"\n0\r\n\r\n"),
            (12, b"0\r\n\r\n"),
        ] {
            let mut body = Body::Chunked(Chunked::default());
            assert_eq!(body.read(b"a\r\n"), Passed::Open);
            assert_eq!(body.skip(gap), Passed::Open);
            let used = rest.len() as u64;
            assert_eq!(
                body.read(rest),
                Passed::Done { used, total: 10 },
                "gap of {gap}"
            );
        }
        let mut body = Body::Chunked(Chunked::default());
        assert_eq!(body.read(b"a\r\n"), Passed::Open);
        assert_eq!(body.skip(13), Passed::Lost);
        assert_eq!(chunked(b"a"), Passed::Open);
        assert_eq!(Body::Chunked(Chunked::default()).skip(1), Passed::Lost);
    }
}
