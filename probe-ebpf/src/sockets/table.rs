//! The open TCP connections of traced processes, and the counters of their services.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    macros::map,
    maps::{HashMap, PerCpuArray, PerCpuHashMap},
};
use probe_common::{
    loss::Loss,
    socket::{ConnectErrorKey, Socket, SocketState, SocketStats, Transport, Witness},
    target::MAX_SERVICES,
};

use crate::{
    kernel_memory::{offset, read},
    losses,
};

/// TCP connections by the address of their `struct sock`.
#[map]
pub(super) static SOCKETS: HashMap<u64, Socket> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// Counters by service id.
#[map]
static SOCKET_STATS: PerCpuArray<SocketStats> =
    PerCpuArray::with_max_entries(MAX_SERVICES as u32, 0);

/// Failed connection attempts.
#[map]
static CONNECT_ERRORS: PerCpuHashMap<ConnectErrorKey, u64> =
    PerCpuHashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// `AF_UNIX` in `include/linux/socket.h`.
pub(super) const AF_UNIX: u16 = 1;
/// `AF_INET`.
pub(super) const AF_INET: u16 = 2;
/// `AF_INET6`.
pub(crate) const AF_INET6: u16 = 10;
/// `IPPROTO_TCP` in `include/uapi/linux/in.h`.
pub(super) const IPPROTO_TCP: u16 = 6;

/// TCP states in `include/net/tcp_states.h`.
pub(super) const TCP_ESTABLISHED: u8 = 1;
/// An attempt is under way.
pub(super) const TCP_SYN_SENT: u8 = 2;
/// Answered, not confirmed.
pub(super) const TCP_SYN_RECV: u8 = 3;
/// Over.
pub(super) const TCP_CLOSE: u8 = 7;
/// Waiting for connections.
pub(super) const TCP_LISTEN: u8 = 10;

/// The counters of a service on this CPU. Each program writes fields of its own, see
/// [`SocketStats`].
#[inline(always)]
pub(super) fn stats(service: u16) -> Option<&'static mut SocketStats> {
    let stats = SOCKET_STATS.get_ptr_mut(u32::from(service))?;
    // SAFETY: this CPU's own value, which lives as long as the map.
    Some(unsafe { &mut *stats })
}

/// Counts a failed attempt.
#[inline(always)]
pub(super) fn count_connect_error(
    service: u16,
    transport: Transport,
    witness: Witness,
    errno: u32,
) {
    let key = ConnectErrorKey {
        service,
        transport: transport as u8,
        witness: witness as u8,
        errno,
    };
    if let Some(errors) = CONNECT_ERRORS.get_ptr_mut(key) {
        // SAFETY: this CPU's own value.
        unsafe { *errors = (*errors).wrapping_add(1) };
        return;
    }
    let _ = CONNECT_ERRORS.insert(key, 0u64, u64::from(BPF_NOEXIST));
    match CONNECT_ERRORS.get_ptr_mut(key) {
        // SAFETY: this CPU's own value.
        Some(errors) => unsafe { *errors = (*errors).wrapping_add(1) },
        None => losses::count(Loss::ErrorTableFull),
    }
}

/// What a `struct sock` turned out to be.
pub(super) enum Kind {
    /// TCP, in this state.
    Tcp(u8),
    /// AF_UNIX of any type.
    Unix,
    /// Something that is not counted.
    Other,
}

/// Looks at a socket that is not in the table.
#[inline(always)]
pub(super) fn kind_of(sk: *const u8) -> Result<Kind, i32> {
    let family: u16 = read(sk, offset!(sock_family))?;
    if family == AF_UNIX {
        return Ok(Kind::Unix);
    }
    if family != AF_INET && family != AF_INET6 {
        return Ok(Kind::Other);
    }
    let protocol: u16 = read(sk, offset!(sock_protocol))?;
    if protocol != IPPROTO_TCP {
        return Ok(Kind::Other);
    }
    Ok(Kind::Tcp(read(sk, offset!(sock_state))?))
}

/// Takes a connection that was open before the probe saw it into the table; `false` when it is
/// not one, or is known.
#[inline(always)]
pub(super) fn adopt(sk: *const u8, state: u8, service: u16) -> bool {
    if state == TCP_SYN_SENT || state == TCP_SYN_RECV || state == TCP_CLOSE || state >= TCP_LISTEN {
        return false;
    }
    let socket = Socket {
        service,
        state: SocketState::Open as u8,
        ..EMPTY
    };
    insert(sk, &socket)
}

/// An entry with nothing in it.
pub(super) const EMPTY: Socket = Socket {
    opened_ns: 0,
    rtt_sampled_ns: 0,
    service: 0,
    state: 0,
    connect_in_call: 0,
    errno: 0,
};

/// Puts a new entry into the table; `false` when there was one already or the table is full.
#[inline(always)]
pub(super) fn insert(sk: *const u8, socket: &Socket) -> bool {
    const EEXIST: i32 = -17;
    match SOCKETS.insert(sk as u64, socket, u64::from(BPF_NOEXIST)) {
        Ok(()) => true,
        Err(EEXIST) => false,
        Err(_) => {
            losses::count(Loss::SocketTableFull);
            false
        }
    }
}
