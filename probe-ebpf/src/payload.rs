//! What traced processes say on sockets that look like HTTP/1 or Postgres: one record per call,
//! with the true length and a bounded head and tail of the bytes.
//!
//! Hook: the return of socket syscalls (from `sockets`), where the length is known and the bytes
//! are in the program's memory, sent or received. A connection that looks like nothing after a few
//! calls costs one look-up per call from then on.

mod ring;

use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::map,
    maps::{LruHashMap, PerCpuArray},
};
use probe_common::{
    loss::Loss,
    offsets::MISSING,
    payload::{
        EARLY_RECORDS, MAX_LOOKS, PayloadHeader, PayloadKind, PayloadLimits, Role, Stream,
        StreamClass, Whole, begins_tls, classify, infer_role,
    },
    socket::Transport,
};
use ring::first_bytes;

use crate::{
    kernel_memory::{offset, read},
    losses,
    sockets::AF_INET6,
    syscalls::Call,
    tls,
};

/// Connections whose bytes are looked at, by the address of their `struct sock`, or by their own
/// number where a TLS library's clear text has no socket (user-space numbers and kernel addresses
/// don't meet). The least used one makes room: AF_UNIX has no hook that tells its end.
#[map]
static STREAMS: LruHashMap<u64, Stream> = LruHashMap::with_max_entries(1, 0);

/// Streams begun on each CPU, the lower part of their numbers.
#[map]
static STREAM_NUMBERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Streams, by number, that look like calls of AI models from here and that the daemon found to be
/// something else. Few: each is looked up until its stream remembers it.
#[map]
static NOT_WHOLE: LruHashMap<u64, u8> = LruHashMap::with_max_entries(1024, 0);

/// Limits from the configuration; a head of 0 switches this off.
#[unsafe(no_mangle)]
static PAYLOAD_LIMITS: Global<PayloadLimits> = Global::new(PayloadLimits::OFF);

/// Where a call's bytes are in the program's memory.
#[derive(Clone, Copy)]
pub(crate) enum Buffers {
    /// One buffer.
    Flat(u64),
    /// An array of `struct iovec`, and how many.
    Vector(u64, u64),
    /// Not there: `sendfile` and `splice` move bytes inside the kernel. Only the length is told.
    Nowhere,
}

/// Whether bytes are wanted at all. A constant for the verifier.
#[inline(always)]
fn wanted() -> bool {
    PAYLOAD_LIMITS.load().head_bytes != 0
}

/// What is known of a socket's stream, if bytes are wanted.
#[inline(always)]
pub(crate) fn find(sk: *const u8) -> Option<&'static mut Stream> {
    if !wanted() {
        return None;
    }
    stream(sk as u64)
}

/// The stream with this key: the address of its socket, or its own number.
#[inline(always)]
fn stream(key: u64) -> Option<&'static mut Stream> {
    let stream = STREAMS.get_ptr_mut(key)?;
    // SAFETY: a live map value. Two threads that use one connection at once may mix up its
    // sequence, which the daemon then takes for a loss.
    Some(unsafe { &mut *stream })
}

/// A connection begins: whatever was at this address before is over.
#[inline(always)]
pub(crate) fn begin(sk: *const u8, service: u16, transport: Transport, role: Role) {
    if wanted() {
        let stream = new_stream(service, transport, role, peer_of(sk, transport));
        let _ = STREAMS.insert(sk as u64, stream, 0);
    }
}

/// A connection ended.
#[inline(always)]
pub(crate) fn end(key: u64, now_ns: u64) {
    if !wanted() {
        return;
    }
    // SAFETY: the value is copied out at once.
    let Some(stream) = (unsafe { STREAMS.get(key).copied() }) else {
        return;
    };
    let _ = STREAMS.remove(key);
    if stream.sent == 0 && stream.received == 0 {
        return;
    }
    tell(&stream, PayloadKind::Closed, now_ns);
}

/// Sends a record without bytes.
#[inline(always)]
fn tell(stream: &Stream, kind: PayloadKind, now_ns: u64) {
    let header = PayloadHeader {
        stream: stream.id,
        started_ns: now_ns,
        ended_ns: now_ns,
        bytes: 0,
        tgid: 0,
        tid: 0,
        sequence: 0,
        service: stream.service,
        head_bytes: 0,
        tail_bytes: 0,
        kind: kind as u8,
        class: stream.class,
        role: stream.role,
        transport: stream.transport,
        tls: stream.tls,
        peer_family: stream.peer_family,
        peer: stream.peer,
        unused_bytes: 0,
        looks: stream.looks,
        reserved2: 0,
    };
    ring::send_bare(header);
}

/// A stream of which nothing was said yet.
#[inline(always)]
fn new_stream(service: u16, transport: Transport, role: Role, peer: Peer) -> Stream {
    let mut number = 0;
    if let Some(last) = STREAM_NUMBERS.get_ptr_mut(0) {
        // SAFETY: this CPU's own value.
        unsafe {
            *last = (*last).wrapping_add(1);
            number = *last;
        }
    }
    // SAFETY: no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    Stream {
        id: u64::from(cpu) << 48 | number,
        sent: 0,
        received: 0,
        peer: peer.address,
        service,
        class: StreamClass::Unknown as u8,
        looks: 0,
        role: role as u8,
        transport: transport as u8,
        tls: 0,
        inferred_role: Role::Unknown as u8,
        peer_family: peer.family,
        whole: Whole::No as u8,
        reserved2: [0; 2],
    }
}

/// The other end, see [`PayloadHeader::peer`] and [`PayloadHeader::peer_family`].
#[derive(Clone, Copy)]
struct Peer {
    address: u32,
    family: u8,
}

impl Peer {
    const UNKNOWN: Self = Self {
        address: 0,
        family: 0,
    };
}

/// Who is at the other end.
#[inline(always)]
fn peer_of(sk: *const u8, transport: Transport) -> Peer {
    let (v4, v6) = (offset!(sock_daddr), offset!(sock_v6_daddr));
    if transport as u8 != Transport::Tcp as u8 {
        return Peer::UNKNOWN;
    }
    if v6 != MISSING as usize
        && let Ok(AF_INET6) = read::<u16>(sk, offset!(sock_family))
        && let Ok([a, b, c, d]) = read::<[u32; 4]>(sk, v6)
    {
        return Peer {
            address: a ^ b ^ c ^ d,
            family: 6,
        };
    }
    if v4 == MISSING as usize {
        return Peer::UNKNOWN;
    }
    let family = if v6 == MISSING as usize { 0 } else { 4 };
    read::<u32>(sk, v4).map_or(Peer::UNKNOWN, |address| Peer { address, family })
}

/// A call that moved bytes through a socket.
pub(crate) struct Moved {
    /// Sent or received.
    pub(crate) kind: PayloadKind,
    /// How many.
    pub(crate) bytes: u64,
    /// Where they are.
    pub(crate) buffers: Buffers,
}

/// Sends a record of a syscall that moved bytes, if the connection looks like something.
/// `known` is what [`find`] found.
#[inline(always)]
pub(crate) fn record(
    call: &Call,
    sk: *const u8,
    transport: Transport,
    known: Option<&'static mut Stream>,
    moved: &Moved,
) {
    if !wanted() || moved.bytes == 0 {
        return;
    }
    let Some(stream) = known.or_else(|| {
        let begun = new_stream(
            call.service,
            transport,
            Role::Unknown,
            peer_of(sk, transport),
        );
        let _ = STREAMS.insert(sk as u64, begun, 0);
        stream(sk as u64)
    }) else {
        return;
    };
    if stream.class == StreamClass::Ignored as u8 {
        return;
    }
    if stream.tls != 0 {
        return tls::through(sk);
    }
    if stream.class == StreamClass::Unknown as u8 {
        let Some(first) = first_bytes(moved.buffers, moved.bytes) else {
            return losses::count(Loss::PayloadUnreadable);
        };
        match classify(&first, moved.bytes) {
            StreamClass::Tls => {
                return encrypted(stream, sk, call.now_ns);
            }
            StreamClass::Unknown => {
                stream.looks += 1;
                if stream.looks >= MAX_LOOKS {
                    stream.class = StreamClass::Ignored as u8;
                }
                return;
            }
            class => {
                stream.class = class as u8;
                infer(stream, &first, moved);
            }
        }
        if stream.class == StreamClass::Ignored as u8 {
            return;
        }
    } else if stream.sent.wrapping_add(stream.received) < EARLY_RECORDS
        && let Some(first) = first_bytes(moved.buffers, moved.bytes)
        && begins_tls(stream.class, &first, moved.bytes)
    {
        return encrypted(stream, sk, call.now_ns);
    }
    let started_ns = call.now_ns.saturating_sub(call.duration_ns);
    let header = header(stream, moved, call.service, started_ns, call.now_ns);
    match moved.buffers {
        Buffers::Flat(address) => ring::send_flat(header, address),
        Buffers::Vector(vector, count) => ring::send_vector(&header, vector, count),
        Buffers::Nowhere => ring::send_bare(header),
    }
}

/// Who made a connection that was open before, by what is said on it.
#[inline(always)]
fn infer(stream: &mut Stream, first: &[u8; 8], moved: &Moved) {
    if stream.role == Role::Unknown as u8 {
        let sent = matches!(moved.kind, PayloadKind::Sent);
        stream.inferred_role = infer_role(stream.class, first, sent) as u8;
    }
}

/// The connection turned out to be encrypted.
#[inline(always)]
fn encrypted(stream: &mut Stream, sk: *const u8, now_ns: u64) {
    stream.tls = 1;
    if stream.class == StreamClass::Http1 as u8 {
        // Through a tunnel anything may be said.
        stream.class = StreamClass::Unknown as u8;
        stream.looks = 0;
    }
    tell(stream, PayloadKind::Encrypted, now_ns);
    tls::through(sk);
}

/// What a record says before its bytes; counts it in the stream's sequence.
#[inline(always)]
fn header(
    stream: &mut Stream,
    moved: &Moved,
    service: u16,
    started_ns: u64,
    ended_ns: u64,
) -> PayloadHeader {
    let sequence = match moved.kind {
        PayloadKind::Sent => {
            stream.sent = stream.sent.wrapping_add(1);
            stream.sent
        }
        _ => {
            stream.received = stream.received.wrapping_add(1);
            stream.received
        }
    };
    let ids = bpf_get_current_pid_tgid();
    PayloadHeader {
        stream: stream.id,
        started_ns,
        ended_ns,
        bytes: moved.bytes,
        tgid: (ids >> 32) as u32,
        tid: ids as u32,
        sequence: sequence.wrapping_sub(1),
        service,
        head_bytes: 0,
        tail_bytes: 0,
        kind: moved.kind as u8,
        class: stream.class,
        role: stream.role,
        transport: stream.transport,
        tls: stream.tls,
        peer_family: stream.peer_family,
        peer: stream.peer,
        unused_bytes: 0,
        looks: stream.looks,
        reserved2: 0,
    }
}

/// Begins a stream of clear text that no socket is known for; its number is its key.
#[inline(always)]
pub(crate) fn begin_alone(service: u16) -> u64 {
    let mut stream = new_stream(service, Transport::Tcp, Role::Unknown, Peer::UNKNOWN);
    stream.tls = 1;
    let _ = STREAMS.insert(stream.id, stream, 0);
    stream.id
}

/// Sends a record of clear text that went into or came out of a TLS library; `false` when the
/// stream of that key is not known any more.
#[inline(always)]
pub(crate) fn record_clear(
    key: u64,
    service: u16,
    started_ns: u64,
    address: u64,
    moved: &Moved,
) -> bool {
    let Some(stream) = stream(key) else {
        return false;
    };
    if stream.class == StreamClass::Ignored as u8 {
        return true;
    }
    stream.tls = 1;
    if stream.class == StreamClass::Unknown as u8 {
        let Some(first) = first_bytes(moved.buffers, moved.bytes) else {
            losses::count(Loss::PayloadUnreadable);
            return true;
        };
        // It is never left alone: an answer that had begun before comes in many calls, and requests
        // may follow. But by then it is no connection to Postgres.
        let looked = stream.looks >= MAX_LOOKS;
        match classify(&first, moved.bytes) {
            StreamClass::Unknown | StreamClass::Tls => {
                stream.looks += u8::from(!looked);
                return true;
            }
            StreamClass::Postgres if looked => return true,
            class => {
                stream.class = class as u8;
                infer(stream, &first, moved);
            }
        }
        if stream.class == StreamClass::Ignored as u8 {
            // SAFETY: no preconditions.
            tell(stream, PayloadKind::NotDecoded, unsafe {
                bpf_ktime_get_ns()
            });
            return true;
        }
    }
    let whole = wants_whole(stream, address, moved);
    // SAFETY: no preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let header = header(stream, moved, service, started_ns, now_ns);
    if whole {
        stream.received = stream.received.wrapping_add(ring::parts(moved.bytes) - 1);
        ring::send_whole(&header, address);
    } else {
        ring::send_flat(header, address);
    }
    true
}

/// Whether this call is to be copied whole: it received more than a record has room for, and a request
/// on its connection looked like one to an AI model, whose answer says at its end what it cost. A
/// request itself never is: only its head matters, and it may bring images.
#[inline(always)]
fn wants_whole(stream: &mut Stream, address: u64, moved: &Moved) -> bool {
    let limits = PAYLOAD_LIMITS.load();
    if limits.whole_answers == 0 || stream.class != StreamClass::Http1 as u8 {
        return false;
    }
    if matches!(moved.kind, PayloadKind::Sent) {
        let is_server =
            stream.role == Role::Server as u8 || stream.inferred_role == Role::Server as u8;
        if stream.whole == Whole::No as u8 && !is_server && ring::asks_a_model(address, moved.bytes)
        {
            stream.whole = Whole::Yes as u8;
        }
        return false;
    }
    if stream.whole != Whole::Yes as u8 || moved.bytes <= u64::from(limits.head_bytes) {
        return false;
    }
    if NOT_WHOLE.get_ptr(stream.id).is_some() {
        stream.whole = Whole::Refused as u8;
        return false;
    }
    true
}

/// Bytes were sent that no record can show. The jump in the sequence tells the daemon.
#[inline(always)]
pub(crate) fn missed_sent(sk: *const u8) {
    if let Some(stream) = find(sk) {
        stream.sent = stream.sent.wrapping_add(1);
    }
}
