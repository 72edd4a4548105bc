//! Requests to block devices: how long they take, how much they move and which fail, per service,
//! device and operation.
//!
//! Hooks: `tp_btf/block_io_start` (Linux 6.5; before that `tp_btf/block_rq_insert`),
//! `tp_btf/block_rq_issue`, `tp_btf/block_rq_complete` (Linux 5.16: their arguments changed until
//! then). Reads `q`, `cmd_flags` and `__data_len` of `request`, `disk` of `request_queue`, `major` and
//! `first_minor` of `gendisk`, `flags` and `tgid` of `task_struct`.
//!
//! A request belongs to the process in whose context it is made. What programs write goes to the page
//! cache first, and a kernel thread makes the requests later: those are the kernel's, under
//! [`KERNEL_SERVICE`]. Requests of untraced processes are not counted.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::bpf_ktime_get_ns,
    macros::{btf_tracepoint, map},
    maps::{Array, HashMap, PerCpuHashMap},
    programs::BtfTracePointContext,
};
use probe_common::{
    block::{BlockKey, BlockOperation, BlockRequest, BlockStats, KERNEL_SERVICE},
    loss::Loss,
    target::UNTRACED,
};

use crate::{
    kernel_memory::{current_task, load, offset},
    losses, traced,
};

/// Requests under way by the address of their `struct request`. An address is used again when the
/// request before it is over, so a forgotten entry does not stay.
#[map]
static BLOCK_REQUESTS: HashMap<u64, BlockRequest> =
    HashMap::with_max_entries(16384, BPF_F_NO_PREALLOC);

/// What is over, by service, device and operation. Written by `block_rq_complete` alone.
#[map]
static BLOCK_STATS: PerCpuHashMap<BlockKey, BlockStats> =
    PerCpuHashMap::with_max_entries(2048, BPF_F_NO_PREALLOC);

/// Statistics without observations, for new entries: too large for the stack.
#[map]
static BLOCK_NONE: Array<BlockStats> = Array::with_max_entries(1, 0);

/// `PF_KTHREAD` in `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;
/// `REQ_OP_MASK` and `enum req_op` in `include/linux/blk_types.h`.
const OPERATION_MASK: u32 = 0xff;

/// A request is made, in the context of who wants it.
#[btf_tracepoint(function = "block_io_start")]
fn block_io_start(ctx: BtfTracePointContext) {
    let request = ctx.arg::<*const u8>(0);
    // SAFETY: no preconditions.
    remember(request, unsafe { bpf_ktime_get_ns() }, 0);
}

/// A request goes to the device.
#[btf_tracepoint(function = "block_rq_issue")]
fn block_rq_issue(ctx: BtfTracePointContext) {
    let request = ctx.arg::<*const u8>(0);
    // SAFETY: no preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let Some(known) = BLOCK_REQUESTS.get_ptr_mut(request as u64) else {
        // Nothing tells of its beginning: one that the kernel makes of others, as flushes are, or one
        // that went to the device at once, on kernels before 6.5.
        return remember(request, now_ns, now_ns);
    };
    // SAFETY: a live map value; a request has one owner at a time.
    let known = unsafe { &mut *known };
    // Sent again after the device was busy: it waits since it was sent first.
    if known.issued_ns == 0 {
        known.issued_ns = now_ns;
    }
}

/// Takes down whose request this is, if it is somebody's whom it is counted for.
#[inline(always)]
fn remember(request: *const u8, queued_ns: u64, issued_ns: u64) {
    let task = current_task();
    // SAFETY: the current task is typed.
    let (flags, tgid) = unsafe {
        (
            load::<u32>(task, offset!(task_flags)),
            load::<u32>(task, offset!(task_tgid)),
        )
    };
    let service = if flags & PF_KTHREAD != 0 {
        KERNEL_SERVICE
    } else {
        match traced::service_of(tgid) {
            UNTRACED => return,
            service => service,
        }
    };
    // SAFETY: the tracepoint's argument is typed, and so is what is reached from it.
    let (command, bytes, disk) = unsafe {
        let queue = load::<*const u8>(request, offset!(request_q));
        (
            load::<u32>(request, offset!(request_cmd_flags)),
            load::<u32>(request, offset!(request_data_len)),
            load::<*const u8>(queue, offset!(request_queue_disk)),
        )
    };
    // SAFETY: as above; a queue without a disk reads as 0.
    let (major, minor) = unsafe {
        (
            load::<u32>(disk, offset!(gendisk_major)),
            load::<u32>(disk, offset!(gendisk_first_minor)),
        )
    };
    let entry = BlockRequest {
        queued_ns,
        issued_ns,
        service,
        operation: operation(command, bytes),
        reserved: 0,
        device: major << 20 | minor,
    };
    if BLOCK_REQUESTS.insert(request as u64, entry, 0).is_err() {
        losses::count(Loss::BlockTableFull);
    }
}

/// What the request does. A write of nothing is what a program's `fsync` becomes.
#[inline(always)]
fn operation(command: u32, bytes: u32) -> u8 {
    let operation = match command & OPERATION_MASK {
        0 => BlockOperation::Read,
        1 if bytes == 0 => BlockOperation::Flush,
        1 | 7 | 9 => BlockOperation::Write,
        2 => BlockOperation::Flush,
        3 | 5 => BlockOperation::Discard,
        _ => BlockOperation::Other,
    };
    operation as u8
}

/// A request, or a part of it, is done.
#[btf_tracepoint(function = "block_rq_complete")]
fn block_rq_complete(ctx: BtfTracePointContext) {
    let request = ctx.arg::<*const u8>(0);
    // SAFETY: the value is copied out at once.
    let Some(known) = (unsafe { BLOCK_REQUESTS.get(request as u64).copied() }) else {
        return;
    };
    let failed = ctx.arg::<u64>(1) as u8 != 0;
    let bytes = ctx.arg::<u64>(2) as u32;
    // SAFETY: the tracepoint's argument is typed.
    let left = unsafe { load::<u32>(request, offset!(request_data_len)) };
    let Some(stats) = stats_of(&known) else {
        return;
    };
    if !failed {
        stats.bytes = stats.bytes.wrapping_add(u64::from(bytes));
        if bytes < left {
            return; // The rest follows.
        }
    }
    let _ = BLOCK_REQUESTS.remove(request as u64);
    if failed {
        stats.errors = stats.errors.wrapping_add(1);
    }
    // SAFETY: no preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    // A flush of a device without a cache is over before it goes anywhere.
    let issued_ns = if known.issued_ns == 0 {
        known.queued_ns
    } else {
        known.issued_ns
    };
    stats.latency.observe(now_ns.saturating_sub(issued_ns));
    let queued = issued_ns.saturating_sub(known.queued_ns);
    stats.queue_ns = stats.queue_ns.wrapping_add(queued);
}

#[inline(always)]
fn stats_of(request: &BlockRequest) -> Option<&'static mut BlockStats> {
    let key = BlockKey {
        device: request.device,
        service: request.service,
        operation: request.operation,
        reserved: 0,
    };
    let found = BLOCK_STATS.get_ptr_mut(key).or_else(|| {
        if let Some(none) = BLOCK_NONE.get(0) {
            let _ = BLOCK_STATS.insert(key, none, u64::from(BPF_NOEXIST));
        }
        BLOCK_STATS.get_ptr_mut(key)
    });
    let Some(stats) = found else {
        losses::count(Loss::BlockTableFull);
        return None;
    };
    // SAFETY: this CPU's own value; `block_rq_complete` is not interrupted by itself.
    Some(unsafe { &mut *stats })
}
