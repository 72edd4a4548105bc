//! Copies bytes from the program's memory into the ring.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_probe_read_user,
        generated::{bpf_probe_read_user as probe_read_user, bpf_ringbuf_output},
    },
    macros::map,
    maps::{PerCpuArray, RingBuf},
};
use probe_common::{
    loss::Loss,
    payload::{
        MAX_BUFFERS, MAX_HEAD, MAX_PARTS, MAX_TAIL, PayloadHeader, REQUEST_START, names_a_model,
    },
};

use super::{Buffers, PAYLOAD_LIMITS};
use crate::losses;

/// Records on their way to the daemon.
#[map]
static PAYLOAD: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Where a record of scattered buffers is put together. Twice the head: the verifier adds the largest
/// offset to the largest length.
#[map]
static RECORD: PerCpuArray<Record> = PerCpuArray::with_max_entries(1, 0);

/// Bytes that each CPU has sent since it woke the reader.
#[map]
static UNWOKEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[repr(C)]
struct Record {
    header: PayloadHeader,
    bytes: [u8; 2 * MAX_HEAD + MAX_TAIL],
}

/// Sends a record without bytes.
#[inline(always)]
pub(super) fn send_bare(header: PayloadHeader) {
    if PAYLOAD
        .output::<PayloadHeader>(header, u64::from(BPF_RB_NO_WAKEUP))
        .is_err()
    {
        losses::count(Loss::PayloadRingFull);
    }
}

/// Room in the ring for the messages of most protocols, for most heads of HTTP, for the default limit
/// and for the largest one.
const SMALL: usize = 128;
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
pub(super) fn send_flat(mut header: PayloadHeader, address: u64) {
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

/// Records that [`send_whole`] makes of so many bytes.
#[inline(always)]
pub(super) fn parts(bytes: u64) -> u32 {
    if bytes <= MAX_HEAD as u64 {
        1
    } else if bytes <= 2 * MAX_HEAD as u64 {
        2
    } else {
        MAX_PARTS
    }
}

/// Sends all bytes of one buffer, in several records as if each were a call of its own. What is beyond
/// the last one's room is told as missing, as with any call.
#[inline(never)]
pub(super) fn send_whole(header: &PayloadHeader, address: u64) {
    let mut part = *header;
    let mut rest = header.bytes;
    let mut at = address;
    let last = parts(rest) - 1;
    for index in 0..MAX_PARTS {
        if index > last {
            break;
        }
        part.bytes = if index == last { rest } else { MAX_HEAD as u64 };
        let head = part.bytes.min(MAX_HEAD as u64);
        let tail = (part.bytes - head).min(u64::from(PAYLOAD_LIMITS.load().tail_bytes));
        part.head_bytes = head as u16;
        part.tail_bytes = tail as u16;
        send_long(&part, at);
        part.sequence = part.sequence.wrapping_add(1);
        rest -= part.bytes;
        at += MAX_HEAD as u64;
    }
}

/// Whether what is written begins as a request to an AI model does.
#[inline(never)]
pub(super) fn asks_a_model(address: u64, bytes: u64) -> bool {
    let mut start = [0u8; REQUEST_START];
    let length = if bytes < REQUEST_START as u64 {
        bytes
    } else {
        REQUEST_START as u64
    };
    let length = opaque(length);
    if length > REQUEST_START as u32 {
        return false;
    }
    // SAFETY: the length is at most that of the array.
    let read = unsafe {
        probe_read_user(
            start.as_mut_ptr().cast(),
            length,
            address as *const core::ffi::c_void,
        )
    };
    read == 0 && names_a_model(&start)
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
pub(super) fn send_vector(header: &PayloadHeader, vector: u64, count: u64) {
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

/// Reads the first bytes of a call; zeros where it has fewer, and where they are nowhere.
#[inline(always)]
pub(super) fn first_bytes(buffers: Buffers, bytes: u64) -> Option<[u8; 8]> {
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
