//! What TCP's own tracepoints tell. They run in whatever context the packet arrives in, so the
//! socket's entry, not the current process, says whose it is.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use probe_common::{
    payload::Role,
    socket::{ERRNO_ABANDONED, Socket, SocketState, Transport, Witness},
    target::UNTRACED,
};

use super::table::{
    EMPTY, IPPROTO_TCP, SOCKETS, TCP_CLOSE, TCP_ESTABLISHED, TCP_SYN_SENT, count_connect_error,
    insert, stats,
};
use crate::{
    kernel_memory::{load, offset},
    payload, traced,
};

/// Follows a connection from the attempt to its end.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: BtfTracePointContext) {
    let sk = ctx.arg::<*const u8>(0);
    match ctx.arg::<i32>(2) as u8 {
        TCP_SYN_SENT => attempt(sk),
        TCP_ESTABLISHED => established(sk),
        TCP_CLOSE => ended(sk),
        _ => {}
    }
}

/// The SYN is about to be sent, in the context of the process that wants the connection.
#[inline(always)]
fn attempt(sk: *const u8) {
    let service = traced::service_of((bpf_get_current_pid_tgid() >> 32) as u32);
    if service == UNTRACED {
        return;
    }
    // SAFETY: the tracepoint's argument is a typed `struct sock`.
    if unsafe { load::<u16>(sk, offset!(sock_protocol)) } != IPPROTO_TCP {
        return;
    }
    let socket = Socket {
        // SAFETY: no preconditions.
        opened_ns: unsafe { bpf_ktime_get_ns() },
        service,
        state: SocketState::Connecting as u8,
        connect_in_call: 1,
        ..EMPTY
    };
    // A socket whose earlier attempt failed may be used again.
    let _ = SOCKETS.remove(sk as u64);
    insert(sk, &socket);
    payload::begin(sk, service, Transport::Tcp, Role::Client);
}

#[inline(always)]
fn established(sk: *const u8) {
    let Some(socket) = SOCKETS.get_ptr_mut(sk as u64) else {
        return;
    };
    // SAFETY: a live map value; the socket's own lock orders its state changes.
    let socket = unsafe { &mut *socket };
    if socket.state != SocketState::Connecting as u8 {
        return;
    }
    // SAFETY: no preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if let Some(stats) = stats(socket.service) {
        stats
            .tcp_connect
            .observe(now_ns.saturating_sub(socket.opened_ns));
    }
    socket.state = SocketState::Open as u8;
    socket.opened_ns = now_ns;
}

#[inline(always)]
fn ended(sk: *const u8) {
    let Some(socket) = SOCKETS.get_ptr_mut(sk as u64) else {
        return;
    };
    // SAFETY: as in `established`.
    let socket = unsafe { &mut *socket };
    if socket.state == SocketState::Connecting as u8 {
        // SAFETY: the tracepoint's argument is a typed `struct sock`.
        let errno = unsafe { load::<u32>(sk, offset!(sock_err)) };
        if socket.connect_in_call != 0 {
            // The call that is under way will return the error, and knows more than this.
            socket.state = SocketState::Failed as u8;
            socket.errno = errno;
            return;
        }
        // No error: the program itself closed the socket, as at a time-out of its own.
        count_connect_error(socket.service, Transport::Tcp, Witness::State, errno);
        socket.state = SocketState::Reported as u8;
        return;
    }
    if socket.state != SocketState::Open as u8 {
        return;
    }
    let service = socket.service;
    let opened_ns = socket.opened_ns;
    socket.state = SocketState::Closed as u8;
    if let Some(stats) = stats(service) {
        // SAFETY: no preconditions.
        let now_ns = unsafe { bpf_ktime_get_ns() };
        stats.tcp_closed = stats.tcp_closed.wrapping_add(1);
        if opened_ns != 0 {
            stats.tcp_lifetime.observe(now_ns.saturating_sub(opened_ns));
        }
    }
}

/// The socket's memory is about to be reused: whatever is left of it must go.
#[btf_tracepoint(function = "tcp_destroy_sock")]
fn tcp_destroy_sock(ctx: BtfTracePointContext) {
    let sk = ctx.arg::<*const u8>(0) as u64;
    // SAFETY: the value is copied out at once.
    let Some(socket) = (unsafe { SOCKETS.get(sk).copied() }) else {
        return;
    };
    let _ = SOCKETS.remove(sk);
    // Not when the state changes: a reset of the peer's closes the socket while the call that moved
    // the last bytes may still be under way, and what it moved is told when it returns.
    // SAFETY: no preconditions.
    payload::end(sk, unsafe { bpf_ktime_get_ns() });
    if socket.state == SocketState::Reported as u8 || socket.state == SocketState::Closed as u8 {
        return;
    }
    if socket.state == SocketState::Open as u8 {
        // Its change of state was not seen.
        if let Some(stats) = stats(socket.service) {
            stats.tcp_destroyed = stats.tcp_destroyed.wrapping_add(1);
        }
        return;
    }
    // The attempt failed while its `connect` was under way, and that call never returned.
    let errno = if socket.state == SocketState::Failed as u8 {
        socket.errno
    } else {
        ERRNO_ABANDONED
    };
    count_connect_error(socket.service, Transport::Tcp, Witness::Destroy, errno);
}

/// Counts segments sent again, SYNs included.
#[btf_tracepoint(function = "tcp_retransmit_skb")]
fn tcp_retransmit_skb(ctx: BtfTracePointContext) {
    if let Some(service) = service_of(ctx.arg::<*const u8>(0))
        && let Some(stats) = stats(service)
    {
        stats.tcp_retransmits = stats.tcp_retransmits.wrapping_add(1);
    }
}

/// Counts resets that end an established connection; a refused attempt is an error of its own.
#[btf_tracepoint(function = "tcp_receive_reset")]
fn tcp_receive_reset(ctx: BtfTracePointContext) {
    if let Some(service) = established_service_of(ctx.arg::<*const u8>(0))
        && let Some(stats) = stats(service)
    {
        stats.tcp_resets_received = stats.tcp_resets_received.wrapping_add(1);
    }
}

/// Counts resets sent on established connections.
#[btf_tracepoint(function = "tcp_send_reset")]
fn tcp_send_reset(ctx: BtfTracePointContext) {
    if let Some(service) = established_service_of(ctx.arg::<*const u8>(0))
        && let Some(stats) = stats(service)
    {
        stats.tcp_resets_sent = stats.tcp_resets_sent.wrapping_add(1);
    }
}

/// The service of a socket, used as a number only: resets may come with no socket at all.
#[inline(always)]
fn service_of(sk: *const u8) -> Option<u16> {
    // SAFETY: the value is copied out at once.
    unsafe { SOCKETS.get(sk as u64) }.map(|socket| socket.service)
}

/// Likewise, of a connection that is or was established.
#[inline(always)]
fn established_service_of(sk: *const u8) -> Option<u16> {
    // SAFETY: as above.
    let socket = unsafe { SOCKETS.get(sk as u64) }?;
    let established =
        socket.state == SocketState::Open as u8 || socket.state == SocketState::Closed as u8;
    established.then_some(socket.service)
}
