//! What traced processes say on sockets that look like HTTP/1 or Postgres: one record per call,
//! with the true length and a bounded head and tail of the bytes.
//!
//! Hook: the return of socket syscalls (from `sockets`), where the length is known and the bytes
//! are in the program's memory, sent or received. A connection that looks like nothing after a few
//! calls costs one look-up per call from then on.

use aya_ebpf::{
    Global,
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_probe_read_user,
        generated::{bpf_probe_read_user as probe_read_user, bpf_ringbuf_output},
    },
    macros::map,
    maps::{LruHashMap, PerCpuArray, RingBuf},
};
use probe_common::{
    loss::Loss,
    offsets::MISSING,
    payload::{
        EARLY_RECORDS, MAX_BUFFERS, MAX_HEAD, MAX_LOOKS, MAX_TAIL, PayloadHeader, PayloadKind,
        PayloadLimits, Role, Stream, StreamClass, begins_tls, classify,
    },
    socket::Transport,
};

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

/// Records on their way to the daemon.
#[map]
static PAYLOAD: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Where a record of scattered buffers is put together. Twice the head: the verifier adds the largest offset to the
/// largest length.
#[map]
static RECORD: PerCpuArray<Record> = PerCpuArray::with_max_entries(1, 0);

/// Streams begun on each CPU, the lower part of their numbers.
#[map]
static STREAM_NUMBERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Bytes that each CPU has sent since it woke the reader.
#[map]
static UNWOKEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Limits from the configuration; a head of 0 switches this off.
#[unsafe(no_mangle)]
static PAYLOAD_LIMITS: Global<PayloadLimits> = Global::new(PayloadLimits::OFF);

#[repr(C)]
struct Record {
    header: PayloadHeader,
    bytes: [u8; 2 * MAX_HEAD + MAX_TAIL],
}

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
        reserved: 0,
        peer: stream.peer,
        unused_bytes: 0,
        reserved2: 0,
    };
    if PAYLOAD
        .output::<PayloadHeader>(header, u64::from(BPF_RB_NO_WAKEUP))
        .is_err()
    {
        losses::count(Loss::PayloadRingFull);
    }
}

/// A stream of which nothing was said yet.
#[inline(always)]
fn new_stream(service: u16, transport: Transport, role: Role, peer: u32) -> Stream {
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
        peer,
        service,
        class: StreamClass::Unknown as u8,
        looks: 0,
        role: role as u8,
        transport: transport as u8,
        tls: 0,
        reserved: 0,
        reserved2: 0,
    }
}

/// Stands for the other end's address, see [`PayloadHeader::peer`].
#[inline(always)]
fn peer_of(sk: *const u8, transport: Transport) -> u32 {
    let (v4, v6) = (offset!(sock_daddr), offset!(sock_v6_daddr));
    if transport as u8 != Transport::Tcp as u8 {
        return 0;
    }
    if v6 != MISSING as usize
        && let Ok(AF_INET6) = read::<u16>(sk, offset!(sock_family))
        && let Ok([a, b, c, d]) = read::<[u32; 4]>(sk, v6)
    {
        return a ^ b ^ c ^ d;
    }
    if v4 == MISSING as usize {
        return 0;
    }
    read::<u32>(sk, v4).unwrap_or(0)
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
            class => stream.class = class as u8,
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
        Buffers::Flat(address) => send_flat(header, address),
        Buffers::Vector(vector, count) => send_vector(&header, vector, count),
        Buffers::Nowhere => reserve_and_send::<SMALL, 0>(header, 0),
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
        reserved: 0,
        peer: stream.peer,
        unused_bytes: 0,
        reserved2: 0,
    }
}

/// Begins a stream of clear text that no socket is known for; its number is its key.
#[inline(always)]
pub(crate) fn begin_alone(service: u16) -> u64 {
    let mut stream = new_stream(service, Transport::Tcp, Role::Unknown, 0);
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
        match classify(&first, moved.bytes) {
            StreamClass::Unknown | StreamClass::Tls => {
                stream.looks += 1;
                if stream.looks >= MAX_LOOKS {
                    stream.class = StreamClass::Ignored as u8;
                }
                return true;
            }
            class => stream.class = class as u8,
        }
        if stream.class == StreamClass::Ignored as u8 {
            return true;
        }
    }
    // SAFETY: no preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let header = header(stream, moved, service, started_ns, now_ns);
    send_flat(header, address);
    true
}

/// Room in the ring for the messages of most protocols, for most heads of HTTP, for the default limit
/// and for the largest one.
const SMALL: usize = 192;
const MEDIUM: usize = 1024;
const LARGE: usize = 4096;

/// A record in the ring.
#[repr(C)]
struct Room<const HEAD: usize, const TAIL: usize> {
    header: PayloadHeader,
    head: [u8; HEAD],
    tail: [u8; TAIL],
}

/// Sends a record with the head and the tail of one buffer, in the smallest room that holds them.
#[inline(always)]
fn send_flat(mut header: PayloadHeader, address: u64) {
    let limits = PAYLOAD_LIMITS.load();
    let head = header.bytes.min(u64::from(limits.head_bytes));
    let tail = (header.bytes - head).min(u64::from(limits.tail_bytes));
    header.head_bytes = head as u16;
    header.tail_bytes = tail as u16;
    if tail != 0 || head > MEDIUM as u64 {
        send_long(&header, address);
    } else if head <= SMALL as u64 {
        reserve_and_send::<SMALL, 0>(header, address);
    } else {
        reserve_and_send::<MEDIUM, 0>(header, address);
    }
}

/// Kept out of line so that the common path stays small.
#[inline(never)]
fn send_long(header: &PayloadHeader, address: u64) {
    if header.head_bytes <= LARGE as u16 {
        reserve_and_send::<LARGE, MAX_TAIL>(*header, address);
    } else {
        reserve_and_send::<MAX_HEAD, MAX_TAIL>(*header, address);
    }
}

/// Copies from the program's memory into the ring: nothing is put together elsewhere, because that
/// would be a second copy, and because uprobes may be preempted, so that a buffer of the CPU's own
/// would not be theirs.
#[inline(always)]
fn reserve_and_send<const HEAD: usize, const TAIL: usize>(mut header: PayloadHeader, address: u64) {
    let (head, tail) = (header.head_bytes, header.tail_bytes);
    header.unused_bytes = if tail == 0 {
        0
    } else {
        (HEAD as u16).wrapping_sub(head)
    };
    let Some(mut room) = PAYLOAD.reserve::<Room<HEAD, TAIL>>(0) else {
        return losses::count(Loss::PayloadRingFull);
    };
    let room_at = room.as_mut_ptr();
    // Comparisons that the verifier remembers: what is longer cannot be here.
    let (head, tail) = (opaque(head.into()), opaque(tail.into()));
    // SAFETY: room for it.
    unsafe { (&raw mut (*room_at).header).write(header) };
    let mut read = 0;
    if head > HEAD as u32 || tail > TAIL as u32 {
        read = -1;
    } else if head != 0 {
        // SAFETY: the length is at most that of the array.
        read = unsafe {
            probe_read_user(
                (&raw mut (*room_at).head).cast(),
                head,
                address as *const core::ffi::c_void,
            )
        };
    }
    if TAIL != 0 && tail != 0 && tail <= TAIL as u32 && read == 0 {
        let at = address + header.bytes - u64::from(tail);
        // SAFETY: as above.
        read = unsafe {
            probe_read_user(
                (&raw mut (*room_at).tail).cast(),
                tail,
                at as *const core::ffi::c_void,
            )
        };
    }
    if read == 0 {
        room.submit(u64::from(wake(size_of::<Room<HEAD, TAIL>>() as u64)));
    } else {
        room.discard(u64::from(BPF_RB_NO_WAKEUP));
        losses::count(Loss::PayloadUnreadable);
    }
}

/// Sends a record of scattered buffers, of which the first few are looked at. They are put together
/// in this CPU's own memory, since each begins where the one before ended.
#[inline(never)]
fn send_vector(header: &PayloadHeader, vector: u64, count: u64) {
    let Some(record) = RECORD.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's own value; `sys_exit` is not interrupted by itself, and nobody else comes
    // here.
    let record = unsafe { &mut *record };
    record.header = *header;
    match copy_vector(record, vector, count, header.bytes) {
        Some(copied) => send(record, copied),
        None => losses::count(Loss::PayloadUnreadable),
    }
}

/// Bytes were sent that no record can show. The jump in the sequence tells the daemon.
#[inline(always)]
pub(crate) fn missed_sent(sk: *const u8) {
    if let Some(stream) = find(sk) {
        stream.sent = stream.sent.wrapping_add(1);
    }
}

/// Reads the first bytes of a call; zeros where it has fewer, and where they are nowhere.
#[inline(always)]
fn first_bytes(buffers: Buffers, bytes: u64) -> Option<[u8; 8]> {
    let address = match buffers {
        Buffers::Flat(address) => address,
        Buffers::Vector(vector, _) => {
            // SAFETY: the helper checks the user's address itself.
            unsafe { bpf_probe_read_user(vector as *const u64) }.ok()?
        }
        Buffers::Nowhere => return Some([0; 8]),
    };
    let mut read = [0u64; 2];
    let length = if bytes < 8 { bytes } else { 8 };
    // SAFETY: the destination has sixteen bytes.
    let result = unsafe {
        probe_read_user(
            read.as_mut_ptr().cast(),
            opaque(length) & 0xf,
            address as *const core::ffi::c_void,
        )
    };
    (result == 0).then_some(read[0].to_le_bytes())
}

/// Forgets what compiler and verifier know of a number, its upper half included. The compiler would
/// leave out a mask that it can prove needless, and with it what older verifiers (Linux 6.1) need to
/// see; and those derive bounds that contradict each other from what they remember. A load of half
/// of what was stored is a number that nobody knows.
#[inline(always)]
fn opaque(number: u64) -> u32 {
    // SAFETY: a live local, and the target is little-endian.
    unsafe { core::ptr::read_volatile((&raw const number).cast::<u32>()) }
}

/// Copies `length` bytes of the program's memory to `offset` of the record.
#[inline(always)]
fn copy(record: &mut Record, offset: u64, address: u64, length: u64) -> bool {
    if length == 0 {
        return true;
    }
    // Masks rather than comparisons: the verifier remembers them.
    let offset = opaque(offset) as usize & (2 * MAX_HEAD - 1);
    let length = opaque(length) & (MAX_HEAD as u32 - 1);
    // SAFETY: offset plus length stay inside `bytes`, which is as long as both masks allow.
    unsafe {
        probe_read_user(
            (&raw mut record.bytes).cast::<u8>().add(offset).cast(),
            length,
            address as *const core::ffi::c_void,
        ) == 0
    }
}

/// Copies head and tail of a vector of buffers, of which the first few are looked at; the number of
/// bytes copied, `None` when unreadable.
#[inline(always)]
fn copy_vector(record: &mut Record, vector: u64, count: u64, bytes: u64) -> Option<u64> {
    let limits = PAYLOAD_LIMITS.load();
    let head_limit = u64::from(limits.head_bytes) & (MAX_HEAD as u64 - 1);
    let tail_limit = u64::from(limits.tail_bytes) & (MAX_TAIL as u64 - 1);
    let mut rest = bytes;
    let mut head = 0u64;
    let mut tail = 0u64;
    for index in 0..MAX_BUFFERS as u64 {
        if index >= count || rest == 0 {
            break;
        }
        let entry = vector + index * 16;
        // SAFETY: the helper checks the user's address itself.
        let (address, length) = unsafe {
            (
                bpf_probe_read_user(entry as *const u64).ok()?,
                bpf_probe_read_user((entry + 8) as *const u64).ok()?,
            )
        };
        let length = length.min(rest);
        rest -= length;
        let more = length.min(head_limit - head);
        if !copy(record, head, address, more) {
            return None;
        }
        head = (head + more) & (MAX_HEAD as u64 - 1);
        if rest == 0 {
            tail = (length - more).min(tail_limit);
            if !copy(record, head, address + length - tail, tail) {
                return None;
            }
        }
    }
    record.header.head_bytes = head as u16;
    record.header.tail_bytes = tail as u16;
    Some(head + tail)
}

/// Whether the reader is to be woken: only when this CPU has sent much since it woke it last. To ask
/// the ring how much waits would touch memory that the reader writes.
#[inline(always)]
fn wake(bytes: u64) -> u32 {
    let Some(unwoken) = UNWOKEN.get_ptr_mut(0) else {
        return BPF_RB_NO_WAKEUP;
    };
    // SAFETY: this CPU's own value. An uprobe that is preempted here may lose some bytes, or wake
    // once too often.
    unsafe {
        *unwoken += bytes;
        if *unwoken < u64::from(PAYLOAD_LIMITS.load().wake_bytes) {
            return BPF_RB_NO_WAKEUP;
        }
        *unwoken = 0;
    }
    BPF_RB_FORCE_WAKEUP
}

/// Puts the record into the ring.
#[inline(always)]
fn send(record: &mut Record, copied: u64) {
    let ring = (&raw const PAYLOAD).cast_mut().cast::<core::ffi::c_void>();
    let length =
        size_of::<PayloadHeader>() as u64 + u64::from(opaque(copied) & (2 * MAX_HEAD as u32 - 1));
    let flags = wake(length);
    // SAFETY: the length is at most header and bytes together.
    let result =
        unsafe { bpf_ringbuf_output(ring, (&raw mut *record).cast(), length, u64::from(flags)) };
    if result != 0 {
        losses::count(Loss::PayloadRingFull);
    }
}
