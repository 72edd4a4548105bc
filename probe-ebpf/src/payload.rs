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
        bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_probe_read_user,
        generated::{
            bpf_probe_read_user as probe_read_user, bpf_ringbuf_output, bpf_ringbuf_query,
        },
    },
    macros::map,
    maps::{LruHashMap, PerCpuArray, RingBuf},
};
use probe_common::{
    loss::Loss,
    payload::{
        MAX_BUFFERS, MAX_HEAD, MAX_LOOKS, MAX_TAIL, PayloadHeader, PayloadKind, PayloadLimits,
        Role, Stream, StreamClass, classify,
    },
    socket::Transport,
};

use crate::{losses, syscalls::Call};

/// Connections whose bytes are looked at, by the address of their `struct sock`. The least used
/// one makes room: AF_UNIX has no hook that tells its end.
#[map]
static STREAMS: LruHashMap<u64, Stream> = LruHashMap::with_max_entries(1, 0);

/// Records on their way to the daemon.
#[map]
static PAYLOAD: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Where a record is put together. Twice the head: the verifier adds the largest offset to the
/// largest length.
#[map]
static RECORD: PerCpuArray<Record> = PerCpuArray::with_max_entries(1, 0);

/// Streams begun on each CPU, the lower part of their numbers.
#[map]
static STREAM_NUMBERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

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

/// A connection begins: whatever was at this address before is over.
#[inline(always)]
pub(crate) fn begin(sk: *const u8, service: u16, transport: Transport, role: Role) {
    if wanted() {
        let stream = new_stream(service, transport, role);
        let _ = STREAMS.insert(sk as u64, stream, 0);
    }
}

/// A connection ended.
#[inline(always)]
pub(crate) fn end(sk: *const u8, now_ns: u64) {
    if !wanted() {
        return;
    }
    // SAFETY: the value is copied out at once.
    let Some(stream) = (unsafe { STREAMS.get(sk as u64).copied() }) else {
        return;
    };
    let _ = STREAMS.remove(sk as u64);
    if stream.sent == 0 && stream.received == 0 {
        return;
    }
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
        kind: PayloadKind::Closed as u8,
        class: stream.class,
        role: stream.role,
        transport: stream.transport,
        tls: 0,
        reserved: 0,
        peer: 0,
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

#[inline(always)]
fn new_stream(service: u16, transport: Transport, role: Role) -> Stream {
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
        class: StreamClass::Unknown as u8,
        looks: 0,
        role: role as u8,
        transport: transport as u8,
        service,
        reserved: 0,
    }
}

/// Sends a record of a call that moved bytes, if the connection looks like something.
#[inline(always)]
pub(crate) fn record(
    call: &Call,
    sk: *const u8,
    transport: Transport,
    kind: PayloadKind,
    bytes: u64,
    buffers: Buffers,
) {
    if !wanted() || bytes == 0 {
        return;
    }
    if STREAMS.get_ptr_mut(sk as u64).is_none() {
        let stream = new_stream(call.service, transport, Role::Unknown);
        let _ = STREAMS.insert(sk as u64, stream, 0);
    }
    let Some(stream) = STREAMS.get_ptr_mut(sk as u64) else {
        return;
    };
    // SAFETY: a live map value. Two threads that use one connection at once may mix up its
    // sequence, which the daemon then takes for a loss.
    let stream = unsafe { &mut *stream };
    if stream.class == StreamClass::Ignored as u8 || stream.class == StreamClass::Tls as u8 {
        return;
    }
    if stream.class == StreamClass::Unknown as u8 {
        let Some(class) = look(buffers, bytes) else {
            return losses::count(Loss::PayloadUnreadable);
        };
        stream.class = class as u8;
        match class {
            StreamClass::Unknown => {
                stream.looks += 1;
                if stream.looks >= MAX_LOOKS {
                    stream.class = StreamClass::Ignored as u8;
                }
                return;
            }
            StreamClass::Ignored | StreamClass::Tls => return,
            StreamClass::Http1 | StreamClass::Postgres => {}
        }
    }
    let sequence = match kind {
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
    let Some(record) = RECORD.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's own value; `sys_exit` is not interrupted by itself.
    let record = unsafe { &mut *record };
    record.header = PayloadHeader {
        stream: stream.id,
        started_ns: call.now_ns.saturating_sub(call.duration_ns),
        ended_ns: call.now_ns,
        bytes,
        tgid: (ids >> 32) as u32,
        tid: ids as u32,
        sequence: sequence.wrapping_sub(1),
        service: call.service,
        head_bytes: 0,
        tail_bytes: 0,
        kind: kind as u8,
        class: stream.class,
        role: stream.role,
        transport: stream.transport,
        tls: 0,
        reserved: 0,
        peer: 0,
        unused_bytes: 0,
        reserved2: 0,
    };
    let copied = match buffers {
        Buffers::Flat(address) => copy_flat(record, address, bytes),
        Buffers::Vector(vector, count) => copy_vector(record, vector, count, bytes),
        Buffers::Nowhere => Some(0),
    };
    match copied {
        Some(copied) => send(record, copied),
        None => losses::count(Loss::PayloadUnreadable),
    }
}

/// Whether the socket is known to be AF_UNIX, which spares a look into its memory. A socket that is
/// made at the address of an earlier one begins a stream of its own, so this is not out of date.
#[inline(always)]
pub(crate) fn is_unix(sk: *const u8) -> bool {
    // SAFETY: the value is read at once.
    unsafe { STREAMS.get(sk as u64) }
        .is_some_and(|stream| stream.transport == Transport::Unix as u8)
}

/// Bytes were sent that no record can show. The jump in the sequence tells the daemon.
#[inline(always)]
pub(crate) fn missed_sent(sk: *const u8) {
    if let Some(stream) = STREAMS.get_ptr_mut(sk as u64) {
        // SAFETY: a live map value.
        unsafe { (*stream).sent = (*stream).sent.wrapping_add(1) };
    }
}

/// Looks at the first bytes of a call.
#[inline(always)]
fn look(buffers: Buffers, bytes: u64) -> Option<StreamClass> {
    let address = match buffers {
        Buffers::Flat(address) => address,
        Buffers::Vector(vector, _) => {
            // SAFETY: the helper checks the user's address itself.
            unsafe { bpf_probe_read_user(vector as *const u64) }.ok()?
        }
        Buffers::Nowhere => return Some(StreamClass::Unknown),
    };
    let mut bytes_read = [0u8; 16];
    let length = if bytes < 8 { bytes } else { 8 };
    // SAFETY: the destination has sixteen bytes.
    let result = unsafe {
        probe_read_user(
            bytes_read.as_mut_ptr().cast(),
            opaque(length) & 0xf,
            address as *const core::ffi::c_void,
        )
    };
    let [a, b, c, d, e, f, g, h, ..] = bytes_read;
    (result == 0).then(|| classify(&[a, b, c, d, e, f, g, h], bytes))
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

/// Copies head and tail of one buffer; the number of bytes copied, `None` when unreadable.
#[inline(always)]
fn copy_flat(record: &mut Record, address: u64, bytes: u64) -> Option<u64> {
    let limits = PAYLOAD_LIMITS.load();
    let head = bytes.min(u64::from(limits.head_bytes) & (MAX_HEAD as u64 - 1));
    let tail = (bytes - head).min(u64::from(limits.tail_bytes) & (MAX_TAIL as u64 - 1));
    if !copy(record, 0, address, head) || !copy(record, head, address + bytes - tail, tail) {
        return None;
    }
    record.header.head_bytes = head as u16;
    record.header.tail_bytes = tail as u16;
    Some(head + tail)
}

/// Likewise for a vector of buffers, of which the first few are looked at.
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

/// Puts the record into the ring; the reader is woken only when much is waiting.
#[inline(always)]
fn send(record: &mut Record, copied: u64) {
    let ring = (&raw const PAYLOAD).cast_mut().cast::<core::ffi::c_void>();
    // `BPF_RB_AVAIL_DATA` is 0.
    // SAFETY: the map is a ring buffer.
    let waiting = unsafe { bpf_ringbuf_query(ring, 0) };
    let flags = if waiting >= u64::from(PAYLOAD_LIMITS.load().wake_bytes) {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    let length =
        size_of::<PayloadHeader>() as u64 + u64::from(opaque(copied) & (2 * MAX_HEAD as u32 - 1));
    // SAFETY: the length is at most header and bytes together.
    let result =
        unsafe { bpf_ringbuf_output(ring, (&raw mut *record).cast(), length, u64::from(flags)) };
    if result != 0 {
        losses::count(Loss::PayloadRingFull);
    }
}
