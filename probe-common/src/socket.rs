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

/// Socket statistics of one service on one CPU.
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
    /// AF_UNIX connections accepted.
    pub unix_accepts: u64,
    /// TCP connections that became known: connected, accepted, or found open.
    pub tcp_opened: u64,
    /// TCP connections of `tcp_opened` that ended.
    pub tcp_closed: u64,
    /// Of `tcp_opened`: those that were open before the probe saw them.
    pub tcp_adopted: u64,
    /// Segments sent again.
    pub tcp_retransmits: u64,
    /// Resets received on established connections.
    pub tcp_resets_received: u64,
    /// Resets sent on established connections.
    pub tcp_resets_sent: u64,
}
kernel_abi!(SocketStats, 4 * (8 + 8 * 32) + 2 * 16 + 8 * 8);

/// Key of the table of failed connection attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ConnectErrorKey {
    /// Service id.
    pub service: u16,
    /// A [`Transport`].
    pub transport: u16,
    /// The positive error number, or [`ERRNO_ABANDONED`].
    pub errno: u32,
}
kernel_abi!(ConnectErrorKey, 8);

/// Error number for an attempt that its own program gave up: the socket was closed while the
/// connection was still being made, as a client does at its own time-out. No errno has it.
pub const ERRNO_ABANDONED: u32 = 0;

/// How two sockets talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Transport {
    /// TCP over IPv4 or IPv6.
    Tcp = 1,
    /// AF_UNIX.
    Unix = 2,
}

/// Services fit the per-service arrays.
const _: () = assert!(MAX_SERVICES <= u16::MAX as usize);
