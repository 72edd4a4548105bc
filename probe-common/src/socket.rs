//! Socket statistics: connects, accepts, lifetimes, bytes, round-trip times.

use crate::{histogram::Histogram, kernel_abi, target::MAX_SERVICES};

/// What the kernel side remembers of one open TCP socket, keyed by its `struct sock` address.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Socket {
    /// When the connection attempt began, or when the connection was accepted; nanoseconds of
    /// `CLOCK_MONOTONIC`, 0 when it was open before the probe saw it.
    pub opened_ns: u64,
    /// When the smoothed round-trip time was last sampled.
    pub rtt_sampled_ns: u64,
    /// Service id of the process that opened it.
    pub service: u16,
    /// A [`SocketState`].
    pub state: u8,
    /// 1 while the `connect` call that began it has not returned yet.
    pub connect_in_call: u8,
    /// The connection attempt's error once it failed, else 0.
    pub errno: u32,
}
kernel_abi!(Socket, 24);

/// Life of a [`Socket`] entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SocketState {
    /// SYN sent, no answer yet.
    Connecting = 1,
    /// Established.
    Open = 2,
    /// The attempt failed while `connect` was under way; that call's result will tell the error.
    Failed = 3,
    /// The failure was counted; later calls that return the same error are not attempts.
    Reported = 4,
    /// It was established and has ended; the reset that ends it may be sent after that.
    Closed = 5,
}

/// Bytes and calls in one direction and transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Traffic {
    /// Bytes that calls reported as sent.
    pub sent_bytes: u64,
    /// Bytes that calls reported as received; peeked bytes are not counted.
    pub received_bytes: u64,
}
kernel_abi!(Traffic, 16);

impl Traffic {
    /// Adds another CPU's or another service's counts to these.
    pub fn merge(&mut self, other: &Self) {
        self.sent_bytes = self.sent_bytes.wrapping_add(other.sent_bytes);
        self.received_bytes = self.received_bytes.wrapping_add(other.received_bytes);
    }
}

/// Socket statistics of one service on one CPU.
///
/// A field is written by one kernel program only: programs on other hooks may interrupt that one
/// between its load and its store, and an increment of theirs would be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SocketStats {
    /// TCP: from SYN to established, successful attempts.
    pub tcp_connect: Histogram,
    /// TCP: from established or accepted to closed, where the beginning was seen.
    pub tcp_lifetime: Histogram,
    /// TCP: samples of the smoothed round-trip time, at most one a second and connection.
    pub tcp_rtt: Histogram,
    /// AF_UNIX: duration of successful `connect` calls.
    pub unix_connect: Histogram,
    /// TCP traffic.
    pub tcp: Traffic,
    /// AF_UNIX traffic.
    pub unix: Traffic,
    /// TCP connections accepted.
    pub tcp_accepts: u64,
    /// Of `tcp_accepts`: those that had ended before `accept` returned them.
    pub tcp_accepts_ended: u64,
    /// AF_UNIX connections accepted.
    pub unix_accepts: u64,
    /// TCP connections that were open already when they were first used under the probe's eyes.
    pub tcp_adopted_by_use: u64,
    /// TCP connections that were found open when their process was marked.
    pub tcp_adopted_by_scan: u64,
    /// TCP connections that ended.
    pub tcp_closed: u64,
    /// TCP connections whose end was only noticed when their memory was given back.
    pub tcp_destroyed: u64,
    /// Segments sent again.
    pub tcp_retransmits: u64,
    /// Resets received on established connections.
    pub tcp_resets_received: u64,
    /// Resets sent on established connections.
    pub tcp_resets_sent: u64,
    /// Requests that were handed to an io_uring, of any kind. The bytes that they move are not seen.
    pub io_uring_requests: u64,
}
kernel_abi!(SocketStats, 4 * (8 + 8 * 32) + 2 * 16 + 11 * 8);

impl SocketStats {
    /// TCP connections that were open before the probe saw them.
    pub fn tcp_adopted(&self) -> u64 {
        self.tcp_adopted_by_use
            .wrapping_add(self.tcp_adopted_by_scan)
    }

    /// TCP connections that became known: connected, accepted, or found open.
    pub fn tcp_opened(&self) -> u64 {
        self.tcp_connect
            .count()
            .wrapping_add(self.tcp_accepts)
            .wrapping_add(self.tcp_adopted())
    }

    /// Connections of [`Self::tcp_opened`] that have not ended. Counters are read one CPU after the
    /// other, so a connection that ends meanwhile may be seen closed and not yet opened: never
    /// below zero.
    pub fn tcp_open(&self) -> u64 {
        self.tcp_opened().saturating_sub(self.tcp_ended())
    }

    /// Adds another CPU's or another service's counts to these.
    pub fn merge(&mut self, other: &Self) {
        self.tcp_connect.merge(&other.tcp_connect);
        self.tcp_lifetime.merge(&other.tcp_lifetime);
        self.tcp_rtt.merge(&other.tcp_rtt);
        self.unix_connect.merge(&other.unix_connect);
        self.tcp.merge(&other.tcp);
        self.unix.merge(&other.unix);
        for (mine, theirs) in [
            (&mut self.tcp_accepts, other.tcp_accepts),
            (&mut self.tcp_accepts_ended, other.tcp_accepts_ended),
            (&mut self.unix_accepts, other.unix_accepts),
            (&mut self.tcp_adopted_by_use, other.tcp_adopted_by_use),
            (&mut self.tcp_adopted_by_scan, other.tcp_adopted_by_scan),
            (&mut self.tcp_closed, other.tcp_closed),
            (&mut self.tcp_destroyed, other.tcp_destroyed),
            (&mut self.tcp_retransmits, other.tcp_retransmits),
            (&mut self.tcp_resets_received, other.tcp_resets_received),
            (&mut self.tcp_resets_sent, other.tcp_resets_sent),
            (&mut self.io_uring_requests, other.io_uring_requests),
        ] {
            *mine = mine.wrapping_add(theirs);
        }
    }

    /// TCP connections of [`Self::tcp_opened`] that ended.
    pub fn tcp_ended(&self) -> u64 {
        self.tcp_closed
            .wrapping_add(self.tcp_destroyed)
            .wrapping_add(self.tcp_accepts_ended)
    }
}

/// Key of the table of failed connection attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ConnectErrorKey {
    /// Service id.
    pub service: u16,
    /// A [`Transport`].
    pub transport: u8,
    /// A [`Witness`].
    pub witness: u8,
    /// The positive error number, or [`ERRNO_ABANDONED`].
    pub errno: u32,
}
kernel_abi!(ConnectErrorKey, 8);

/// Error number for an attempt that its own program gave up: the socket was closed while the
/// connection was still being made, as a client does at its own time-out. No errno has it.
pub const ERRNO_ABANDONED: u32 = 0;

/// Which kernel program counted: they may interrupt one another, so each has entries of its own,
/// which the daemon adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Witness {
    /// The return of `connect`.
    Call = 1,
    /// The change of the socket's state.
    State = 2,
    /// The end of the socket's memory.
    Destroy = 3,
}

/// How two sockets talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Transport {
    /// TCP over IPv4 or IPv6.
    Tcp = 1,
    /// AF_UNIX.
    Unix = 2,
}

/// Services fit the per-service arrays.
const _: () = assert!(MAX_SERVICES <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_closed_than_opened_is_no_open_connection() {
        let stats = SocketStats {
            tcp_accepts: 1,
            tcp_closed: 2,
            ..SocketStats::default()
        };
        assert_eq!(stats.tcp_open(), 0);
    }

    #[test]
    fn open_connections_are_those_made_accepted_and_found_less_those_ended() {
        let mut stats = SocketStats {
            tcp_accepts: 5,
            tcp_accepts_ended: 1,
            tcp_adopted_by_use: 1,
            tcp_adopted_by_scan: 2,
            tcp_closed: 3,
            tcp_destroyed: 1,
            ..SocketStats::default()
        };
        stats.tcp_connect.observe(1_000);
        assert_eq!(
            (stats.tcp_opened(), stats.tcp_ended(), stats.tcp_open()),
            (9, 5, 4)
        );
        let mut twice = stats;
        twice.merge(&stats);
        assert_eq!(twice.tcp_open(), 8);
    }
}
