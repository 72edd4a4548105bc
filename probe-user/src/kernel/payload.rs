//! Reads records of socket payload from the kernel's ring.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, RingBuf},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use probe_common::payload::PayloadHeader;
use tracing::debug;

use super::tables::{TableError, typed};

/// The reading end of the ring.
pub struct PayloadRing {
    ring: RingBuf<MapData>,
    not_whole: HashMap<MapData, u64, u8>,
}

/// One call on a connection.
#[derive(Debug, Clone, Copy)]
pub struct PayloadRecord<'a> {
    /// What the kernel says about it.
    pub header: PayloadHeader,
    /// The first bytes of the call.
    pub head: &'a [u8],
    /// The last bytes of the call; those between the two were not copied.
    pub tail: &'a [u8],
}

impl PayloadRing {
    /// Takes the ring out of the loaded object.
    ///
    /// # Errors
    /// The object lacks it.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, TableError> {
        Ok(Self {
            ring: typed(ebpf, "PAYLOAD")?,
            not_whole: typed(ebpf, "NOT_WHOLE")?,
        })
    }

    /// Waits until much is there, or for `patience`: the kernel side wakes the reader only when
    /// the ring fills up.
    ///
    /// # Errors
    /// `poll` failed for another reason than a signal.
    pub fn wait(&self, patience: Duration) -> io::Result<()> {
        let mut fds = [PollFd::new(self.ring_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn ring_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        // SAFETY: the ring owns its descriptor and outlives the borrow.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }

    /// Has the kernel side copy no more of this connection than of any other.
    pub fn refuse(&mut self, stream: u64) {
        // If it fails, more is copied than is needed, and that is all.
        if let Err(error) = self.not_whole.insert(stream, 1, 0) {
            debug!("cannot refuse a connection: {error}");
        }
    }

    /// Hands every record that waits to `each`; returns how many, and how many were malformed.
    pub fn drain(&mut self, mut each: impl FnMut(PayloadRecord<'_>)) -> Drained {
        let mut drained = Drained::default();
        while let Some(item) = self.ring.next() {
            match parse(&item) {
                Some(record) => {
                    drained.records += 1;
                    each(record);
                }
                None => drained.malformed += 1,
            }
        }
        drained
    }
}

impl AsFd for PayloadRing {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.ring_fd()
    }
}

/// What [`PayloadRing::drain`] found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records.
    pub records: u64,
    /// Records whose lengths contradict each other; the daemon and its object differ.
    pub malformed: u64,
}

/// Takes a record apart; `None` when its lengths contradict each other.
fn parse(bytes: &[u8]) -> Option<PayloadRecord<'_>> {
    let (header, rest) = bytes.split_at_checked(size_of::<PayloadHeader>())?;
    // SAFETY: the length is that of the header, whose every bit pattern is valid; the read does
    // not rely on alignment.
    let header = unsafe { header.as_ptr().cast::<PayloadHeader>().read_unaligned() };
    let (head, rest) = rest.split_at_checked(header.head_bytes.into())?;
    let (_, rest) = rest.split_at_checked(header.unused_bytes.into())?;
    let (tail, _) = rest.split_at_checked(header.tail_bytes.into())?;
    let copied = u64::from(header.head_bytes) + u64::from(header.tail_bytes);
    (copied <= header.bytes).then_some(PayloadRecord { header, head, tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(head: &[u8], tail: &[u8], total: u64) -> Vec<u8> {
        bytes_apart(head, b"", tail, total)
    }

    fn bytes_apart(head: &[u8], unused: &[u8], tail: &[u8], total: u64) -> Vec<u8> {
        let header = PayloadHeader {
            stream: 7,
            started_ns: 1,
            ended_ns: 2,
            bytes: total,
            tgid: 3,
            tid: 4,
            sequence: 0,
            service: 1,
            head_bytes: head.len().try_into().unwrap(),
            tail_bytes: tail.len().try_into().unwrap(),
            kind: 1,
            class: 1,
            role: 1,
            transport: 1,
            unused_bytes: unused.len().try_into().unwrap(),
            ..PayloadHeader::default()
        };
        // SAFETY: the header is made of integers without padding.
        let header: [u8; size_of::<PayloadHeader>()] = unsafe { std::mem::transmute(header) };
        [&header, head, unused, tail].concat()
    }

    #[test]
    fn head_and_tail_are_told_apart() {
        let bytes = bytes(b"GET /", b"\r\n\r\n", 900);
        let record = parse(&bytes).unwrap();
        assert_eq!(
            (record.head, record.tail),
            (&b"GET /"[..], &b"\r\n\r\n"[..])
        );
    }

    /// Records that the kernel side puts together in the ring itself have room between the two.
    #[test]
    fn what_lies_between_head_and_tail_is_skipped() {
        let bytes = bytes_apart(b"GET /", b"\0\0\0", b"\r\n\r\n", 900);
        let record = parse(&bytes).unwrap();
        assert_eq!(
            (record.head, record.tail),
            (&b"GET /"[..], &b"\r\n\r\n"[..])
        );
    }

    #[test]
    fn a_record_cut_anywhere_is_refused() {
        let whole = bytes(b"GET /", b"\r\n", 7);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_none(), "{length}");
        }
        assert!(parse(&whole).is_some());
    }

    #[test]
    fn more_bytes_than_the_call_moved_are_refused() {
        assert!(parse(&bytes(b"GET /", b"", 4)).is_none());
    }
}
