//! What a socket carried, as far as it was captured: the input of every decoder.
//!
//! The kernel side copies only the first and the last bytes of a call, so a direction is a sequence
//! of bytes and gaps of known length. A call whose record was lost altogether is told as a loss of
//! unknown length, after which only the next certain boundary helps.

/// Which way bytes go, whoever is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Requests: written by the client, read by the server.
    ToServer,
    /// Answers: written by the server, read by the client.
    ToClient,
}

/// Which end of the connection the observed process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The process sends the requests.
    Client,
    /// The process answers them.
    Server,
}

/// One read or write call, of one direction.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// When the call was entered, in nanoseconds of the observer's monotonic clock.
    pub start_ns: u64,
    /// When it returned.
    pub end_ns: u64,
    /// How many bytes it really moved.
    pub len: u64,
    /// The first of them.
    pub head: &'a [u8],
    /// The last of them. `head.len() + tail.len() <= len`; what lies between is a gap.
    pub tail: &'a [u8],
}

impl<'a> Segment<'a> {
    /// A segment of which every byte is at hand.
    pub fn whole(start_ns: u64, end_ns: u64, bytes: &'a [u8]) -> Self {
        Self {
            start_ns,
            end_ns,
            len: bytes.len() as u64,
            head: bytes,
            tail: &[],
        }
    }

    /// When the bytes changed hands, as the observed process saw it: the start of a write, the end
    /// of a read. A blocking read may have been entered long before the peer sent anything.
    pub fn instant(&self, direction: Direction, side: Side) -> u64 {
        match (direction, side) {
            (Direction::ToServer, Side::Client) | (Direction::ToClient, Side::Server) => {
                self.start_ns
            }
            (Direction::ToServer, Side::Server) | (Direction::ToClient, Side::Client) => {
                self.end_ns
            }
        }
    }

    /// Whether no byte is missing.
    pub fn is_whole(&self) -> bool {
        self.head.len() as u64 + self.tail.len() as u64 >= self.len
    }

    /// Head, gap and tail, as far as there are any. Bytes beyond `len` are ignored: a record that
    /// contradicts itself must not shift the stream.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'a>> + use<'a> {
        let whole = usize::try_from(self.len).unwrap_or(usize::MAX);
        let head = self.head.get(..whole).unwrap_or(self.head);
        let room = whole - head.len();
        let surplus = self.tail.len().saturating_sub(room);
        let tail = self.tail.get(surplus..).unwrap_or_default();
        let gap = self.len - head.len() as u64 - tail.len() as u64;
        [Piece::Bytes(head), Piece::Gap(gap), Piece::Bytes(tail)]
            .into_iter()
            .filter(|piece| !piece.is_empty())
    }
}

/// Bytes that are at hand, or how many are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// That many bytes that nobody saw.
    Gap(u64),
}

impl Piece<'_> {
    /// Bytes of the stream that it stands for.
    pub fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Gap(missing) => *missing,
        }
    }

    /// Whether it stands for nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The start of a message, kept while the rest of it comes with later segments. Never holds more
/// than its limit: what is beyond is told as cut.
#[derive(Debug, Default)]
pub struct Kept {
    bytes: Vec<u8>,
    cut: bool,
}

impl Kept {
    /// Forgets everything, and gives memory back that an unusually long message took.
    pub fn clear(&mut self) {
        const USUAL: usize = 1024;
        self.bytes.clear();
        self.bytes.shrink_to(USUAL);
        self.cut = false;
    }

    /// Adds what follows. After a cut nothing is added, for it would not follow.
    pub fn push(&mut self, bytes: &[u8], limit: usize) {
        if self.cut {
            return;
        }
        let room = limit.saturating_sub(self.bytes.len());
        match bytes.get(..room) {
            Some(fitting) if fitting.len() < bytes.len() => {
                self.bytes.extend_from_slice(fitting);
                self.cut = true;
            }
            _ => self.bytes.extend_from_slice(bytes),
        }
    }

    /// Notes that what follows is not at hand.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// Whether something is missing at the end.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// What was kept, from the first byte on without a hole.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces<'a>(len: u64, head: &'a [u8], tail: &'a [u8]) -> Vec<Piece<'a>> {
        let segment = Segment {
            start_ns: 1,
            end_ns: 2,
            len,
            head,
            tail,
        };
        segment.pieces().collect()
    }

    /// Were a gap's length wrong, every later message would be read at the wrong place.
    #[test]
    fn pieces_add_up_to_the_true_length() {
        assert_eq!(
            pieces(10, b"abc", b"yz"),
            [Piece::Bytes(b"abc"), Piece::Gap(5), Piece::Bytes(b"yz")]
        );
        assert_eq!(pieces(3, b"abc", b""), [Piece::Bytes(b"abc")]);
        assert_eq!(pieces(7, b"", b""), [Piece::Gap(7)]);
        assert!(pieces(0, b"", b"").is_empty());
        assert_eq!(pieces(2, b"abc", b"z"), [Piece::Bytes(b"ab")]);
        assert_eq!(
            pieces(4, b"abc", b"xyz"),
            [Piece::Bytes(b"abc"), Piece::Bytes(b"z")]
        );
    }

    /// A server that waits in `recv` for an hour has not worked for an hour.
    #[test]
    fn a_read_counts_from_its_end_and_a_write_from_its_start() {
        let segment = Segment::whole(1, 9, b"x");
        assert_eq!(segment.instant(Direction::ToServer, Side::Server), 9);
        assert_eq!(segment.instant(Direction::ToServer, Side::Client), 1);
        assert_eq!(segment.instant(Direction::ToClient, Side::Server), 1);
        assert_eq!(segment.instant(Direction::ToClient, Side::Client), 9);
    }

    /// A connection that sends one endless message must not eat the host's memory.
    #[test]
    fn kept_bytes_are_bounded() {
        let mut kept = Kept::default();
        kept.push(b"abcdef", 4);
        kept.push(b"gh", 4);
        assert_eq!((kept.bytes(), kept.is_cut()), (&b"abcd"[..], true));
        kept.clear();
        kept.push(b"ab", 4);
        kept.push(b"cd", 4);
        assert_eq!((kept.bytes(), kept.is_cut()), (&b"abcd"[..], false));
    }
}
