//! What returning syscalls tell about sockets.

use aya_ebpf::{Global, helpers::bpf_probe_read_user};
use probe_common::{
    loss::Loss,
    payload::{PayloadKind, Role, Stream, StreamClass},
    socket::{SocketState, Traffic, Transport, Witness},
    syscall::SyscallKind,
};

use super::table::{
    EMPTY, Kind, SOCKETS, TCP_CLOSE, adopt, count_connect_error, insert, kind_of, stats,
};
use crate::{
    kernel_memory::{current_task, load, offset, read},
    losses,
    payload::{self, Buffers, Moved},
    process,
    syscalls::Call,
};

/// `MSG_PEEK` in `include/linux/socket.h`: the bytes stay and will be read again.
const MSG_PEEK: u64 = 2;

/// The smoothed round-trip time of one connection is sampled at most this often.
const RTT_SAMPLE_NS: u64 = 1_000_000_000;

/// Messages of one `sendmmsg` or `recvmmsg` whose lengths are added up.
const MAX_MESSAGES: u64 = 16;

/// `sizeof(struct mmsghdr)` and the offset of its `msg_len`, on 64-bit architectures.
const MMSGHDR_BYTES: u64 = 64;
const MMSGHDR_LEN: u64 = 56;

/// 1 when this kernel has every field that this probe reads. With 0 the verifier drops the code.
#[unsafe(no_mangle)]
static FOLLOW_SOCKETS: Global<u8> = Global::new(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Sent,
    Received,
}

impl Direction {
    #[inline(always)]
    fn kind(self) -> PayloadKind {
        match self {
            Self::Sent => PayloadKind::Sent,
            Self::Received => PayloadKind::Received,
        }
    }
}

/// Whether a call of this kind tells anything with this result. What failed or moved nothing does not,
/// but for attempts to connect; sockets that do nothing else are not adopted.
#[inline(always)]
pub(crate) fn concern(kind: u8, result: i64) -> bool {
    const CONNECT: u8 = SyscallKind::Connect as u8;
    const ACCEPT: u8 = SyscallKind::Accept as u8;
    const RECEIVE: u8 = SyscallKind::Receive as u8;
    const RECEIVE_FROM: u8 = SyscallKind::ReceiveFrom as u8;
    const RECEIVE_MESSAGE: u8 = SyscallKind::ReceiveMessage as u8;
    match kind {
        CONNECT => true,
        // Descriptors begin at 0, and nothing received is the end of what the other side sends.
        ACCEPT | RECEIVE | RECEIVE_FROM | RECEIVE_MESSAGE => result >= 0,
        _ => result > 0,
    }
}

/// Looks at a call that [`concern`]s sockets.
#[inline(always)]
pub(crate) fn on_call(call: &Call) {
    const SEND: u8 = SyscallKind::Send as u8;
    const SEND_VECTOR: u8 = SyscallKind::SendVector as u8;
    const SEND_MESSAGE: u8 = SyscallKind::SendMessage as u8;
    const RECEIVE: u8 = SyscallKind::Receive as u8;
    const RECEIVE_VECTOR: u8 = SyscallKind::ReceiveVector as u8;
    const RECEIVE_FROM: u8 = SyscallKind::ReceiveFrom as u8;
    const RECEIVE_MESSAGE: u8 = SyscallKind::ReceiveMessage as u8;
    const SEND_MESSAGES: u8 = SyscallKind::SendMessages as u8;
    const RECEIVE_MESSAGES: u8 = SyscallKind::ReceiveMessages as u8;
    const SEND_FILE: u8 = SyscallKind::SendFile as u8;
    const SPLICE: u8 = SyscallKind::Splice as u8;
    const CONNECT: u8 = SyscallKind::Connect as u8;
    const ACCEPT: u8 = SyscallKind::Accept as u8;
    const MAP: u8 = SyscallKind::Map as u8;

    if call.kind == MAP {
        return process::on_map(call);
    }
    if FOLLOW_SOCKETS.load() == 0 {
        return;
    }
    if call.kind == CONNECT {
        return on_connect(call);
    }
    if call.kind == ACCEPT {
        return on_accept(call);
    }
    // One path for all of them: each copy of the walk would cost the verifier and the caches.
    let peeked = match call.kind {
        RECEIVE_FROM | RECEIVE_MESSAGES => call.arg3() & MSG_PEEK != 0,
        RECEIVE_MESSAGE => call.arg2() & MSG_PEEK != 0,
        _ => false,
    };
    let direction = match call.kind {
        SEND | SEND_VECTOR | SEND_MESSAGE | SEND_MESSAGES | SEND_FILE => Direction::Sent,
        RECEIVE | RECEIVE_VECTOR | RECEIVE_FROM | RECEIVE_MESSAGE | RECEIVE_MESSAGES | SPLICE => {
            Direction::Received
        }
        _ => return,
    };
    let bytes = match call.kind {
        SEND_MESSAGES | RECEIVE_MESSAGES => message_bytes(call),
        _ => call.result as u64,
    };
    if !peeked && let Some(socket) = transferred(call, call.arg0(), direction, bytes) {
        if bytes == 0 {
            return on_nothing_received(call, &socket);
        }
        let moved = Moved {
            kind: direction.kind(),
            bytes,
            buffers: buffers_of(call),
        };
        payload::record(call, socket.sk, socket.transport, socket.stream, &moved);
    }
    if call.kind == SPLICE
        && let Some(socket) = transferred(call, call.arg2(), Direction::Sent, bytes)
    {
        payload::missed_sent(socket.sk);
    }
}

/// Nothing was received: the other side sends no more. The kernel has no hook for the end of an AF_UNIX
/// socket, so this is the end of what a client reads from one, such as an answer that lasts until the
/// connection's end. A server may still answer.
#[inline(always)]
fn on_nothing_received(call: &Call, socket: &Transferred) {
    // A read of no bytes says nothing; a message's length is not at hand.
    let has_length = call.kind != SyscallKind::ReceiveMessage as u8;
    if has_length && call.arg2() == 0 {
        return;
    }
    if let Some(stream) = &socket.stream
        && stream.transport == Transport::Unix as u8
        && (stream.role == Role::Client as u8 || stream.class == StreamClass::Postgres as u8)
    {
        payload::end(socket.sk as u64, call.now_ns);
    }
}

/// Where the call's bytes are in the program's memory.
#[inline(always)]
fn buffers_of(call: &Call) -> Buffers {
    const FLAT: [u8; 3] = [
        SyscallKind::Send as u8,
        SyscallKind::Receive as u8,
        SyscallKind::ReceiveFrom as u8,
    ];
    const VECTOR: [u8; 2] = [
        SyscallKind::SendVector as u8,
        SyscallKind::ReceiveVector as u8,
    ];
    const MESSAGE: [u8; 2] = [
        SyscallKind::SendMessage as u8,
        SyscallKind::ReceiveMessage as u8,
    ];
    /// `msg_iov` and `msg_iovlen` of `struct user_msghdr` on 64-bit architectures.
    const MSG_IOV: u64 = 16;
    if FLAT.contains(&call.kind) {
        return Buffers::Flat(call.arg1());
    }
    if VECTOR.contains(&call.kind) {
        return Buffers::Vector(call.arg1(), call.arg2());
    }
    // Of several messages the first is looked at. Where they were received, its length is not that of
    // its buffers, unless it is the only one.
    let first_of_several = call.kind == SyscallKind::SendMessages as u8
        || call.kind == SyscallKind::ReceiveMessages as u8 && call.result == 1;
    if first_of_several || MESSAGE.contains(&call.kind) {
        let entry = (call.arg1() + MSG_IOV) as *const [u64; 2];
        // SAFETY: the helper checks the user's address itself.
        if let Ok([vector, count]) = unsafe { bpf_probe_read_user(entry) } {
            return Buffers::Vector(vector, count);
        }
    }
    Buffers::Nowhere
}

/// Adds up the lengths of the messages that `sendmmsg` or `recvmmsg` moved. In line, because of its
/// stack: until Linux 6.12 all functions on the way share 512 bytes.
#[inline(always)]
fn message_bytes(call: &Call) -> u64 {
    let messages = call.result as u64;
    let vector = call.arg1();
    let mut bytes = 0u64;
    for index in 0..MAX_MESSAGES {
        if index >= messages {
            break;
        }
        let length = (vector + index * MMSGHDR_BYTES + MMSGHDR_LEN) as *const u32;
        // SAFETY: the helper checks the user's address itself.
        match unsafe { bpf_probe_read_user(length) } {
            Ok(length) => bytes += u64::from(length),
            Err(_) => losses::count(Loss::ReadFailed),
        }
    }
    if messages > MAX_MESSAGES {
        losses::count_many(Loss::MessagesBeyondLimit, messages - MAX_MESSAGES);
    }
    bytes
}

/// A socket that bytes went through.
struct Transferred {
    sk: *const u8,
    transport: Transport,
    /// What is known of what is said on it.
    stream: Option<&'static mut Stream>,
}

/// Counts bytes if the descriptor is a socket that is counted, and tells which one it is.
#[inline(always)]
fn transferred(call: &Call, fd: u64, direction: Direction, bytes: u64) -> Option<Transferred> {
    let sk = socket_of(fd)?;
    let stream = payload::find(sk);
    // Spares a look into the socket's memory. A socket that is made at the address of an earlier one
    // begins a stream of its own, so this is not out of date.
    if let Some(known) = &stream
        && known.transport == Transport::Unix as u8
    {
        count_unix(call.service, direction, bytes);
        return Some(Transferred {
            sk,
            transport: Transport::Unix,
            stream,
        });
    }
    let transport = count_by_kind(call, sk, direction, bytes)?;
    Some(Transferred {
        sk,
        transport,
        stream,
    })
}

/// Counts bytes of a socket that is not known to be AF_UNIX; `None` when what they say is of no
/// interest.
#[inline(always)]
fn count_by_kind(
    call: &Call,
    sk: *const u8,
    direction: Direction,
    bytes: u64,
) -> Option<Transport> {
    if let Some(socket) = SOCKETS.get_ptr_mut(sk as u64) {
        // SAFETY: a live map value; the fields are read and written whole.
        unsafe {
            if call.now_ns.wrapping_sub((*socket).rtt_sampled_ns) > RTT_SAMPLE_NS {
                (*socket).rtt_sampled_ns = call.now_ns;
                sample_rtt(sk, call.service);
            }
        }
        count_tcp(call.service, direction, bytes);
        return Some(Transport::Tcp);
    }
    match kind_of(sk) {
        Ok(Kind::Tcp(state)) => {
            if adopt(sk, state, call.service)
                && let Some(stats) = stats(call.service)
            {
                stats.tcp_adopted_by_use = stats.tcp_adopted_by_use.wrapping_add(1);
            }
            count_tcp(call.service, direction, bytes);
            // Nothing tells the end of what is over already.
            (state != TCP_CLOSE).then_some(Transport::Tcp)
        }
        Ok(Kind::Unix) => {
            count_unix(call.service, direction, bytes);
            Some(Transport::Unix)
        }
        Ok(Kind::Other) => None,
        Err(_) => {
            losses::count(Loss::ReadFailed);
            None
        }
    }
}

#[inline(always)]
fn count_unix(service: u16, direction: Direction, bytes: u64) {
    if let Some(stats) = stats(service) {
        add(&mut stats.unix, direction, bytes);
    }
}

#[inline(always)]
fn count_tcp(service: u16, direction: Direction, bytes: u64) {
    if let Some(stats) = stats(service) {
        add(&mut stats.tcp, direction, bytes);
    }
}

#[inline(always)]
fn add(traffic: &mut Traffic, direction: Direction, bytes: u64) {
    let counter = match direction {
        Direction::Sent => &mut traffic.sent_bytes,
        Direction::Received => &mut traffic.received_bytes,
    };
    *counter = counter.wrapping_add(bytes);
}

/// Observes the kernel's own smoothed round-trip time (RFC 6298), if it has one yet.
#[inline(always)]
fn sample_rtt(sk: *const u8, service: u16) {
    let Ok(srtt_us) = read::<u32>(sk, offset!(tcp_srtt_us)) else {
        return losses::count(Loss::ReadFailed);
    };
    if srtt_us == 0 {
        return;
    }
    if let Some(stats) = stats(service) {
        // The kernel keeps eight times the value.
        stats.tcp_rtt.observe(u64::from(srtt_us) * 125);
    }
}

/// `connect` returned: the attempt succeeded, failed, or goes on without the caller.
#[inline(always)]
fn on_connect(call: &Call) {
    const EINTR: i64 = -4;
    const EISCONN: i64 = -106;
    const EALREADY: i64 = -114;
    const EINPROGRESS: i64 = -115;
    // The kernel's own, never seen by the program: a signal came, and the call will be made again.
    const ERESTARTSYS: i64 = -512;
    const ERESTARTNOINTR: i64 = -513;

    let Some(sk) = socket_of(call.arg0()) else {
        return;
    };
    let goes_on = matches!(
        call.result,
        EINPROGRESS | EINTR | ERESTARTSYS | ERESTARTNOINTR
    );
    if let Some(socket) = SOCKETS.get_ptr_mut(sk as u64) {
        // SAFETY: a live map value.
        unsafe {
            if (*socket).connect_in_call == 0 {
                // A later call on the same socket: EISCONN, EALREADY, or the pending error, which
                // was counted when the attempt failed.
                return;
            }
            (*socket).connect_in_call = 0;
            if (*socket).state != SocketState::Failed as u8 {
                return;
            }
            // Failed before the call returned: what it returned is the error, unless it returned
            // just before it could know.
            let errno = if goes_on || call.result >= 0 {
                (*socket).errno
            } else {
                -call.result as u32
            };
            (*socket).state = SocketState::Reported as u8;
            count_connect_error((*socket).service, Transport::Tcp, Witness::Call, errno);
        }
        return;
    }
    if call.result < 0 && (goes_on || matches!(call.result, EISCONN | EALREADY)) {
        return;
    }
    match kind_of(sk) {
        Ok(Kind::Unix) if call.result == 0 => {
            payload::begin(sk, call.service, Transport::Unix, Role::Client);
            if let Some(stats) = stats(call.service) {
                stats.unix_connect.observe(call.duration_ns);
            }
        }
        Ok(Kind::Unix) => {
            count_connect_error(
                call.service,
                Transport::Unix,
                Witness::Call,
                -call.result as u32,
            );
        }
        // Refused before a packet was sent: no route, no free port, no permission.
        Ok(Kind::Tcp(_)) if call.result < 0 => {
            count_connect_error(
                call.service,
                Transport::Tcp,
                Witness::Call,
                -call.result as u32,
            );
        }
        Ok(_) => {}
        Err(_) => losses::count(Loss::ReadFailed),
    }
}

/// `accept` returned a new connection.
#[inline(always)]
fn on_accept(call: &Call) {
    let Some(sk) = socket_of(call.result as u64) else {
        return;
    };
    match kind_of(sk) {
        Ok(Kind::Tcp(state)) => {
            let Some(stats) = stats(call.service) else {
                return;
            };
            stats.tcp_accepts = stats.tcp_accepts.wrapping_add(1);
            if state == TCP_CLOSE {
                // Reset by the client while it waited in the queue: its end has been and gone.
                stats.tcp_accepts_ended = stats.tcp_accepts_ended.wrapping_add(1);
                return;
            }
            let socket = probe_common::socket::Socket {
                opened_ns: call.now_ns,
                service: call.service,
                state: SocketState::Open as u8,
                ..EMPTY
            };
            // Whatever was at this address before is over, if its end was missed.
            let _ = SOCKETS.remove(sk as u64);
            insert(sk, &socket);
            payload::begin(sk, call.service, Transport::Tcp, Role::Server);
        }
        Ok(Kind::Unix) => {
            payload::begin(sk, call.service, Transport::Unix, Role::Server);
            if let Some(stats) = stats(call.service) {
                stats.unix_accepts = stats.unix_accepts.wrapping_add(1);
            }
        }
        Ok(Kind::Other) => {}
        Err(_) => losses::count(Loss::ReadFailed),
    }
}

/// The `struct sock` behind a descriptor of the current task; `None` when it is no socket.
///
/// Three reads of memory: the descriptor's file, the file's private data, and the socket's pair of
/// (file, sk). That the pair's file is the one we came from proves that the private data is a
/// socket, so nothing else is mistaken for one.
#[inline(always)]
fn socket_of(fd: u64) -> Option<*const u8> {
    match file_of(fd) {
        Ok(Some((socket, file))) => socket_with_file(socket, file),
        Ok(None) => gone(),
        Err(_) => unreadable(),
    }
}

/// Private data and address of the current task's open file; `None` when there is none of that number.
#[inline(always)]
fn file_of(fd: u64) -> Result<Option<(*const u8, *const u8)>, i32> {
    let fd = fd as u32 as usize;
    // SAFETY: typed pointers all the way from the current task.
    let slots: *const u8 = unsafe {
        let files: *const u8 = load(current_task(), offset!(task_files));
        let table: *const u8 = load(files, offset!(files_fdt));
        if fd >= load::<u32>(table, offset!(fdtable_max_fds)) as usize {
            return Ok(None);
        }
        load(table, offset!(fdtable_fd))
    };
    let file = read::<*const u8>(slots, fd * size_of::<usize>())?;
    if file.is_null() {
        return Ok(None);
    }
    Ok(Some((read(file, offset!(file_private_data))?, file)))
}

/// Who is at the other end of a descriptor.
pub(crate) enum Peer {
    /// Somebody who connected to this process.
    Client,
    /// A Postgres server that this process connected to.
    Postgres,
    /// Another socket, or it is not known who made the connection.
    Other,
    /// It is no socket, or cannot be told.
    NoSocket,
}

/// Who is at the other end of a descriptor of the current task. Counts nothing.
#[inline(always)]
pub(crate) fn peer_of(fd: u64) -> Peer {
    if FOLLOW_SOCKETS.load() == 0 {
        return Peer::NoSocket;
    }
    let Ok(Some((socket, file))) = file_of(fd) else {
        return Peer::NoSocket;
    };
    let Some(sk) = socket_with_file(socket, file) else {
        return Peer::NoSocket;
    };
    let Some(stream) = payload::find(sk) else {
        return Peer::Other;
    };
    let role = if stream.role == Role::Unknown as u8 {
        stream.inferred_role
    } else {
        stream.role
    };
    if role == Role::Server as u8 {
        return Peer::Client;
    }
    if role == Role::Client as u8 && stream.class == StreamClass::Postgres as u8 {
        return Peer::Postgres;
    }
    Peer::Other
}

/// Takes a file into the table if it is an open TCP connection.
#[inline(always)]
pub(crate) fn adopt_file(private_data: *const u8, file: *const u8, service: u16) {
    let Some(sk) = socket_with_file(private_data, file) else {
        return;
    };
    if let Ok(Kind::Tcp(state)) = kind_of(sk)
        && adopt(sk, state, service)
        && let Some(stats) = stats(service)
    {
        stats.tcp_adopted_by_scan = stats.tcp_adopted_by_scan.wrapping_add(1);
    }
}

/// The `struct sock` of what may be a `struct socket`, if it says that it belongs to `file`.
#[inline(always)]
fn socket_with_file(socket: *const u8, file: *const u8) -> Option<*const u8> {
    // Private data of other files may be small numbers or null.
    if (socket as u64) < 4096 {
        return None;
    }
    // Unreadable private data is no pointer, so this is no socket.
    let (owner, sk) = if offset!(socket_sk) == offset!(socket_file) + size_of::<usize>() {
        // Neighbours on every kernel so far: one read for both.
        let [owner, sk] = read::<[*const u8; 2]>(socket, offset!(socket_file)).ok()?;
        (owner, sk)
    } else {
        (
            read::<*const u8>(socket, offset!(socket_file)).ok()?,
            read::<*const u8>(socket, offset!(socket_sk)).ok()?,
        )
    };
    if owner != file {
        return None;
    }
    if sk.is_null() {
        return gone();
    }
    Some(sk)
}

#[inline(always)]
fn gone() -> Option<*const u8> {
    losses::count(Loss::SocketGone);
    None
}

#[inline(always)]
fn unreadable() -> Option<*const u8> {
    losses::count(Loss::ReadFailed);
    None
}
