//! What goes into and comes out of a TLS library, before it is encrypted and after it was decrypted.
//!
//! Hooks: uprobes (Linux 4.17, by the perf PMU) on `SSL_read`, `SSL_write`, their `_ex` forms,
//! `SSL_do_handshake`, `SSL_new` and `SSL_free` of each OpenSSL-like library that a traced process
//! has mapped; the daemon attaches them file by file. A call of an untraced process into the same
//! file costs the trap and one array look-up.
//!
//! A connection of the library belongs to a socket when a syscall on one is nested in a call; what
//! the library encrypts in memory, as asynchronous programs have it done, is a stream of its own.

use aya_ebpf::{
    Global,
    bindings::BPF_F_NO_PREALLOC,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user},
    macros::{map, uprobe, uretprobe},
    maps::{HashMap, LruHashMap},
    programs::{ProbeContext, RetProbeContext},
};
use probe_common::{
    loss::Loss,
    payload::PayloadKind,
    syscall::FunctionRegisters,
    target::UNTRACED,
    tls::{TlsCall, TlsOperation, TlsSession, TlsSessionKey},
};

use crate::{
    kernel_memory::{constant, read},
    losses,
    payload::{self, Buffers, Moved},
    traced,
};

/// Calls under way, by thread. An entry stays until its thread ends: to make one for each call would
/// cost more than all the rest.
#[map]
static TLS_CALLS: HashMap<u32, TlsCall> = HashMap::with_max_entries(32_768, BPF_F_NO_PREALLOC);

/// Which stream each connection of a library is.
#[map]
static TLS_SESSIONS: LruHashMap<TlsSessionKey, TlsSession> = LruHashMap::with_max_entries(1, 0);

/// Where this architecture keeps arguments and results.
#[unsafe(no_mangle)]
static FUNCTION_REGISTERS: Global<FunctionRegisters> = Global::new(FunctionRegisters {
    args: [0; 4],
    result: 0,
});

/// 1 when the daemon attaches these programs, and so wants to hear of mapped files.
#[unsafe(no_mangle)]
pub(crate) static FOLLOW_TLS: Global<u8> = Global::new(0);

/// `SSL_read(ssl, buffer, length)` (OpenSSL manual, SSL_read(3)).
#[uprobe]
fn tls_read(ctx: ProbeContext) {
    enter(&ctx, TlsOperation::Read, false);
}

/// `SSL_read_ex(ssl, buffer, length, *read)`.
#[uprobe]
fn tls_read_ex(ctx: ProbeContext) {
    enter(&ctx, TlsOperation::Read, true);
}

/// `SSL_write(ssl, buffer, length)` (OpenSSL manual, SSL_write(3)).
#[uprobe]
fn tls_write(ctx: ProbeContext) {
    enter(&ctx, TlsOperation::Write, false);
}

/// `SSL_write_ex(ssl, buffer, length, *written)`.
#[uprobe]
fn tls_write_ex(ctx: ProbeContext) {
    enter(&ctx, TlsOperation::Write, true);
}

/// `SSL_do_handshake(ssl)`, which `SSL_accept` and `SSL_connect` call: tells the socket.
#[uprobe]
fn tls_handshake(ctx: ProbeContext) {
    enter(&ctx, TlsOperation::Handshake, false);
}

/// One of the calls above returns.
#[uretprobe]
fn tls_return(ctx: RetProbeContext) {
    leave(&ctx);
}

/// `SSL_new` returns: nothing is known yet of the connection at this address.
#[uretprobe]
fn tls_new(ctx: RetProbeContext) {
    if let Some(ids) = traced_ids()
        && let Ok(ssl) = result(&ctx)
    {
        forget_session(ids, ssl);
    }
}

/// `SSL_free(ssl)`.
#[uprobe]
fn tls_free(ctx: ProbeContext) {
    if let Some(ids) = traced_ids()
        && let Ok(ssl) = argument(&ctx, 0)
    {
        forget_session(ids, ssl);
    }
}

/// Process and thread id, if the process is traced.
#[inline(always)]
fn traced_ids() -> Option<u64> {
    let ids = bpf_get_current_pid_tgid();
    (traced::service_of((ids >> 32) as u32) != UNTRACED).then_some(ids)
}

/// An argument of the function. The verifier allows loads from the registers only at offsets that
/// the compiler knew, so this is a read of kernel memory.
#[inline(always)]
fn argument(ctx: &ProbeContext, index: usize) -> Result<u64, i32> {
    let entry = core::mem::offset_of!(FunctionRegisters, args) + 4 * index;
    read(
        ctx.regs.cast_const().cast(),
        constant(&raw const FUNCTION_REGISTERS, entry),
    )
}

#[inline(always)]
fn result(ctx: &RetProbeContext) -> Result<u64, i32> {
    let entry = core::mem::offset_of!(FunctionRegisters, result);
    read(
        ctx.regs.cast_const().cast(),
        constant(&raw const FUNCTION_REGISTERS, entry),
    )
}

#[inline(always)]
fn enter(ctx: &ProbeContext, operation: TlsOperation, counts_through_pointer: bool) {
    let Some(ids) = traced_ids() else {
        return;
    };
    let tid = ids as u32;
    let (Ok(ssl), Ok(buffer)) = (argument(ctx, 0), argument(ctx, 1)) else {
        return losses::count(Loss::ReadFailed);
    };
    let moved_at = if counts_through_pointer {
        match argument(ctx, 3) {
            Ok(address) => address,
            Err(_) => return losses::count(Loss::ReadFailed),
        }
    } else {
        0
    };
    let call = TlsCall {
        ssl,
        buffer,
        moved_at,
        // SAFETY: no preconditions.
        started_ns: unsafe { bpf_ktime_get_ns() },
        socket: 0,
        operation: operation as u64,
    };
    if let Some(slot) = TLS_CALLS.get_ptr_mut(tid) {
        // SAFETY: a live map value that only its own thread uses.
        unsafe {
            if (*slot).operation != TlsOperation::None as u64 {
                losses::count(Loss::TlsCallNested);
            }
            *slot = call;
        }
        return;
    }
    if TLS_CALLS.insert(tid, call, 0).is_err() {
        losses::count(Loss::TlsTableFull);
    }
}

/// Bytes of an encrypted connection went through a socket: if that was within a call into a library,
/// the call's connection belongs to the socket.
#[inline(always)]
pub(crate) fn through(sk: *const u8) {
    if FOLLOW_TLS.load() == 0 {
        return;
    }
    let tid = bpf_get_current_pid_tgid() as u32;
    if let Some(call) = TLS_CALLS.get_ptr_mut(tid) {
        // SAFETY: a live map value that only its own thread uses.
        unsafe {
            if (*call).operation != TlsOperation::None as u64 {
                (*call).socket = sk as u64;
            }
        }
    }
}

#[inline(always)]
fn leave(ctx: &RetProbeContext) {
    let Some(ids) = traced_ids() else {
        return;
    };
    let Some(slot) = TLS_CALLS.get_ptr_mut(ids as u32) else {
        return;
    };
    // SAFETY: a live map value that only its own thread uses.
    let call = unsafe {
        let call = *slot;
        (*slot).operation = TlsOperation::None as u64;
        call
    };
    let kind = match call.operation {
        READ => PayloadKind::Received,
        WRITE => PayloadKind::Sent,
        HANDSHAKE => PayloadKind::Encrypted,
        // Its entry was not seen, or an inner call took its place.
        _ => return,
    };
    let Ok(result) = result(ctx) else {
        return losses::count(Loss::ReadFailed);
    };
    let session_key = TlsSessionKey {
        ssl: call.ssl,
        tgid: (ids >> 32) as u32,
        reserved: 0,
    };
    let known = session(session_key, call.socket);
    // An `int`: 0 and less mean that nothing was moved.
    if call.operation == HANDSHAKE || result as i32 <= 0 {
        return;
    }
    let bytes = if call.moved_at == 0 {
        result as i32 as u64
    } else {
        // SAFETY: the helper checks the user's address itself.
        match unsafe { bpf_probe_read_user(call.moved_at as *const u64) } {
            Ok(bytes) => bytes,
            Err(_) => return losses::count(Loss::PayloadUnreadable),
        }
    };
    if bytes == 0 {
        return;
    }
    let service = traced::service_of((ids >> 32) as u32);
    let moved = Moved {
        kind,
        bytes,
        buffers: Buffers::Flat(call.buffer),
    };
    if known != 0 && payload::record_clear(known, service, call.started_ns, call.buffer, &moved) {
        return;
    }
    // No socket is known for it, or its stream had to make room.
    let stream = payload::begin_alone(service);
    let session = TlsSession {
        stream,
        is_socket: 0,
    };
    let _ = TLS_SESSIONS.insert(session_key, session, 0);
    payload::record_clear(stream, service, call.started_ns, call.buffer, &moved);
}

const READ: u64 = TlsOperation::Read as u64;
const WRITE: u64 = TlsOperation::Write as u64;
const HANDSHAKE: u64 = TlsOperation::Handshake as u64;

/// The key of a connection's stream, 0 when there is none yet. It becomes that of the socket that
/// bytes went through within the call, unless the connection is known as one without a socket.
///
/// A number rather than an `Option`: of that, the compiler would move the undefined part, too,
/// which the verifier refuses.
#[inline(always)]
fn session(key: TlsSessionKey, socket: u64) -> u64 {
    // SAFETY: the value is copied out at once.
    let known = unsafe { TLS_SESSIONS.get(key).copied() };
    if socket == 0 {
        return known.map_or(0, |session| session.stream);
    }
    match known {
        Some(session) if session.is_socket == 0 || session.stream == socket => session.stream,
        _ => {
            let session = TlsSession {
                stream: socket,
                is_socket: 1,
            };
            let _ = TLS_SESSIONS.insert(key, session, 0);
            socket
        }
    }
}

/// Forgets a connection. One without a socket ends here.
#[inline(always)]
fn forget_session(ids: u64, ssl: u64) {
    let key = TlsSessionKey {
        ssl,
        tgid: (ids >> 32) as u32,
        reserved: 0,
    };
    // SAFETY: the value is copied out at once.
    let Some(session) = (unsafe { TLS_SESSIONS.get(key).copied() }) else {
        return;
    };
    let _ = TLS_SESSIONS.remove(key);
    if session.is_socket == 0 {
        // SAFETY: no preconditions.
        payload::end(session.stream, unsafe { bpf_ktime_get_ns() });
    }
}

/// Forgets a thread that ends.
#[inline(always)]
pub(crate) fn forget_thread(tid: u32) {
    if FOLLOW_TLS.load() != 0 {
        let _ = TLS_CALLS.remove(tid);
    }
}
