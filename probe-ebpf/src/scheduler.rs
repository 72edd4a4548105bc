//! Where the time of a service's threads goes: running, waiting for a processor, or waiting for
//! something else, and for what. Page faults on the way.
//!
//! Hooks: `tp_btf/sched_switch` (with the previous state as its fourth argument: Linux 5.18),
//! `tp_btf/sched_wakeup`, `tp_btf/sched_wakeup_new` (Linux 5.5). Reads `pid`, `tgid`, `flags`,
//! `in_iowait`, `min_flt`, `maj_flt`, `se.sum_exec_runtime` and `sched_info.run_delay` of `task_struct`; for a thread that waits in a syscall on a
//! descriptor, also its registers and the way from there to the socket, as `sockets` does. Switches of
//! untraced threads cost one array look-up for each of the two. `docs/performance.md` has what was
//! measured.
//!
//! How long a thread ran and how long it waited for its processor are the kernel's own numbers, which
//! `/proc/PID/schedstat` shows, too: read when the thread leaves its processor, so that one hook counts
//! each stretch. The others only tell when a wait ends, and what threads are doing now: on 6.18, some
//! wake-ups and arrivals were not seen by any program (about one in a thousand), departures all were.
//!
//! All three run with interrupts off, so they do not interrupt one another on a CPU and may write the
//! same counters. What happens to one thread is ordered by the lock of its run queue, so its slot has
//! one writer at a time.

use aya_ebpf::{
    Global,
    bindings::BPF_F_MMAPABLE,
    helpers::{bpf_ktime_get_ns, generated::bpf_task_pt_regs},
    macros::{btf_tracepoint, map},
    maps::{Array, HashMap, PerCpuArray},
    programs::BtfTracePointContext,
};
use probe_common::{
    loss::Loss,
    scheduler::{OffCpuReason, SchedulerStats, ThreadSchedule, ThreadState, WaitKind},
    syscall::MAX_SYSCALLS,
    target::{MAX_SERVICES, UNTRACED},
};

use crate::{
    kernel_memory::{current_task, load, offset, register},
    losses,
    sockets::{self, Peer},
    syscalls, traced,
};

/// Counters by service id.
#[map]
static SCHEDULER_STATS: PerCpuArray<SchedulerStats> =
    PerCpuArray::with_max_entries(MAX_SERVICES as u32, 0);

/// What each thread does: slot `tid & (slots - 1)`. The daemon reads it for what is not over yet.
#[map]
static SCHEDULE: Array<ThreadSchedule> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Threads whose slot belongs to another one. Made at once: a switch is no place to ask for memory.
#[map]
static SCHEDULE_OVERFLOW: HashMap<u32, ThreadSchedule> = HashMap::with_max_entries(4096, 0);

/// [`WaitKind`] by number of the syscall, for the architecture that this kernel runs on.
#[unsafe(no_mangle)]
static WAIT_KINDS: Global<[u8; MAX_SYSCALLS]> = Global::new([0; MAX_SYSCALLS]);

/// `PF_EXITING` in `include/linux/sched.h`.
const PF_EXITING: u32 = 4;
/// `TASK_UNINTERRUPTIBLE`.
const TASK_UNINTERRUPTIBLE: u32 = 2;
/// `TASK_DEAD`: this was the thread's last time.
const TASK_DEAD: u32 = 0x80;

/// A processor goes from one thread to another.
#[btf_tracepoint(function = "sched_switch")]
fn sched_switch(ctx: BtfTracePointContext) {
    let previous = ctx.arg::<*const u8>(1);
    let next = ctx.arg::<*const u8>(2);
    let leaving = service_of(previous);
    let arriving = service_of(next);
    if leaving == UNTRACED && arriving == UNTRACED {
        return;
    }
    // SAFETY: no preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if leaving != UNTRACED {
        let preempted = ctx.arg::<u64>(0) as u8 != 0;
        leave(
            previous,
            leaving,
            preempted,
            ctx.arg::<u64>(3) as u32,
            now_ns,
        );
    }
    if arriving != UNTRACED {
        arrive(next, arriving, now_ns);
    }
}

/// What a thread waited for has happened.
#[btf_tracepoint(function = "sched_wakeup")]
fn sched_wakeup(ctx: BtfTracePointContext) {
    let task = ctx.arg::<*const u8>(0);
    let service = service_of(task);
    if service == UNTRACED {
        return;
    }
    let Some(slot) = slot_of(task, service) else {
        return;
    };
    // Threads are also woken before they have left their processor; they just go on.
    let waited = slot.state == ThreadState::Waiting as u8;
    if !waited && slot.state != ThreadState::Unknown as u8 {
        return;
    }
    // SAFETY: no preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if waited && let Some(stats) = stats(service) {
        let waited_ns = now_ns.saturating_sub(slot.since_ns);
        count_wait(stats, slot.reason, waited_ns);
    }
    slot.state = ThreadState::Runnable as u8;
    slot.since_ns = now_ns;
}

/// A thread begins.
#[btf_tracepoint(function = "sched_wakeup_new")]
fn sched_wakeup_new(ctx: BtfTracePointContext) {
    let task = ctx.arg::<*const u8>(0);
    let service = service_of(task);
    if service == UNTRACED {
        return;
    }
    if let Some(slot) = slot_of(task, service) {
        slot.state = ThreadState::Runnable as u8;
        slot.reason = OffCpuReason::Other as u8;
        slot.minor_faults = 0;
        slot.major_faults = 0;
        slot.ran_ns = 0;
        slot.queued_ns = 0;
        // SAFETY: no preconditions.
        slot.since_ns = unsafe { bpf_ktime_get_ns() };
    }
}

/// The service of a thread, [`UNTRACED`] for none.
#[inline(always)]
fn service_of(task: *const u8) -> u16 {
    // SAFETY: callers pass a tracepoint's typed `struct task_struct`.
    let tgid = unsafe { load::<u32>(task, offset!(task_tgid)) };
    if tgid == 0 {
        return UNTRACED; // The idle thread.
    }
    let service = traced::service_of(tgid);
    if service != UNTRACED {
        return service;
    }
    // A process is not traced any more when its last thread begins to end, which may take a while:
    // its memory is given back. Its slot still knows.
    // SAFETY: as above.
    if unsafe { load::<u32>(task, offset!(task_flags)) } & PF_EXITING == 0 {
        return UNTRACED;
    }
    // SAFETY: as above.
    let tid = unsafe { load::<u32>(task, offset!(task_pid)) };
    match find(tid) {
        Some(slot) => slot.service,
        None => UNTRACED,
    }
}

#[inline(always)]
fn stats(service: u16) -> Option<&'static mut SchedulerStats> {
    let stats = SCHEDULER_STATS.get_ptr_mut(u32::from(service))?;
    // SAFETY: this CPU's own value, which lives as long as the map.
    Some(unsafe { &mut *stats })
}

/// The slot that this thread holds.
#[inline(always)]
fn find(tid: u32) -> Option<&'static mut ThreadSchedule> {
    let slot = SCHEDULE.get_ptr_mut(tid & syscalls::THREAD_MASK.load())?;
    // SAFETY: a live map value, see the module's text for who writes it.
    let slot = unsafe { &mut *slot };
    if slot.tid == tid {
        return Some(slot);
    }
    if slot.tid == 0 {
        return None;
    }
    let slot = SCHEDULE_OVERFLOW.get_ptr_mut(tid)?;
    // SAFETY: as above.
    Some(unsafe { &mut *slot })
}

/// The slot of this thread; a new one in state [`ThreadState::Unknown`] when it has none.
#[inline(always)]
fn slot_of(task: *const u8, service: u16) -> Option<&'static mut ThreadSchedule> {
    // SAFETY: callers pass a tracepoint's typed `struct task_struct`.
    let tid = unsafe { load::<u32>(task, offset!(task_pid)) };
    let slot = SCHEDULE.get_ptr_mut(tid & syscalls::THREAD_MASK.load())?;
    // SAFETY: as in `find`. Two threads race for it only when their ids are equal modulo the table's
    // size; the loser finds another's id next time.
    let slot = unsafe { &mut *slot };
    if slot.tid == tid && slot.service == service {
        return Some(slot);
    }
    let fresh = ThreadSchedule {
        since_ns: 0,
        // SAFETY: as above.
        ran_ns: unsafe { load(task, offset!(task_sum_exec_runtime)) },
        // SAFETY: as above.
        queued_ns: unsafe { load(task, offset!(task_run_delay)) },
        // What the thread did before it was traced is not counted.
        // SAFETY: as above.
        minor_faults: unsafe { load::<u64>(task, offset!(task_min_flt)) } as u32,
        // SAFETY: as above.
        major_faults: unsafe { load::<u64>(task, offset!(task_maj_flt)) } as u32,
        tid,
        service,
        state: ThreadState::Unknown as u8,
        reason: OffCpuReason::Other as u8,
    };
    if slot.tid == 0 || slot.tid == tid {
        *slot = fresh;
        return Some(slot);
    }
    if let Some(slot) = SCHEDULE_OVERFLOW.get_ptr_mut(tid) {
        // SAFETY: as above.
        let slot = unsafe { &mut *slot };
        if slot.service != service {
            *slot = fresh;
        }
        return Some(slot);
    }
    if SCHEDULE_OVERFLOW.insert(tid, fresh, 0).is_err() {
        losses::count(Loss::ScheduleTableFull);
    }
    let slot = SCHEDULE_OVERFLOW.get_ptr_mut(tid)?;
    // SAFETY: as above.
    Some(unsafe { &mut *slot })
}

/// Gives up the slot of a thread that has ended.
#[inline(always)]
fn forget(slot: &mut ThreadSchedule) {
    let tid = slot.tid;
    if let Some(own) = SCHEDULE.get_ptr_mut(tid & syscalls::THREAD_MASK.load())
        // SAFETY: a live map value.
        && unsafe { (*own).tid } == tid
    {
        slot.tid = 0;
        slot.state = ThreadState::Unknown as u8;
        return;
    }
    let _ = SCHEDULE_OVERFLOW.remove(tid);
}

/// Adds up a wait that is over.
#[inline(always)]
fn count_wait(stats: &mut SchedulerStats, reason: u8, ns: u64) {
    if let Some(waits) = stats.off_cpu.get_mut(reason as usize) {
        waits.ns = waits.ns.wrapping_add(ns);
    }
}

/// Adds up what a thread did until now that it loses its processor.
#[inline(always)]
fn leave(task: *const u8, service: u16, preempted: bool, state: u32, now_ns: u64) {
    let (Some(slot), Some(stats)) = (slot_of(task, service), stats(service)) else {
        return;
    };
    if slot.state != ThreadState::Unknown as u8 {
        count_time(task, slot, stats, now_ns);
    }
    count_faults(task, slot, stats);
    if state & TASK_DEAD != 0 {
        return forget(slot);
    }
    // A thread that was about to wait and is preempted on the way there still wants to run.
    let reason = if preempted || state == 0 {
        OffCpuReason::Preempted
    } else {
        reason(task, slot.tid, state)
    };
    if let Some(off_cpu) = stats.off_cpu.get_mut(reason as usize) {
        off_cpu.count = off_cpu.count.wrapping_add(1);
    }
    slot.state = if reason as u8 == OffCpuReason::Preempted as u8 {
        ThreadState::Runnable as u8
    } else {
        ThreadState::Waiting as u8
    };
    slot.reason = reason as u8;
    slot.since_ns = now_ns;
}

/// A thread has a processor now.
#[inline(always)]
fn arrive(task: *const u8, service: u16, now_ns: u64) {
    let Some(slot) = slot_of(task, service) else {
        return;
    };
    if slot.state == ThreadState::Waiting as u8 {
        // Since Linux 6.12 a thread may be woken before its switch is told; or a signal came on its way
        // to wait.
        slot.state = ThreadState::Resumed as u8;
    } else {
        slot.state = ThreadState::Running as u8;
        slot.since_ns = now_ns;
    }
}

/// How long the thread ran and, before that, waited for its processor.
#[inline(always)]
fn count_time(task: *const u8, slot: &mut ThreadSchedule, stats: &mut SchedulerStats, now_ns: u64) {
    // SAFETY: callers pass a tracepoint's typed `struct task_struct`.
    let (ran_ns, queued_ns) = unsafe {
        (
            load::<u64>(task, offset!(task_sum_exec_runtime)),
            load::<u64>(task, offset!(task_run_delay)),
        )
    };
    let ran = ran_ns.wrapping_sub(slot.ran_ns);
    let queued = queued_ns.wrapping_sub(slot.queued_ns);
    slot.ran_ns = ran_ns;
    slot.queued_ns = queued_ns;
    stats.on_cpu.observe(ran);
    stats.run_queue.observe(queued);
    if slot.reason == OffCpuReason::Preempted as u8 {
        count_wait(stats, slot.reason, queued);
    } else if slot.state == ThreadState::Waiting as u8 || slot.state == ThreadState::Resumed as u8 {
        // What is left of the time since it left its processor.
        let away = now_ns.saturating_sub(slot.since_ns);
        count_wait(
            stats,
            slot.reason,
            away.saturating_sub(ran.wrapping_add(queued)),
        );
    }
}

/// Page faults since the last look. The kernel's own numbers are exact; a hook on each fault is not
/// needed, and exists on x86 only.
#[inline(always)]
fn count_faults(task: *const u8, slot: &mut ThreadSchedule, stats: &mut SchedulerStats) {
    // SAFETY: callers pass a tracepoint's typed `struct task_struct`.
    let (minor, major) = unsafe {
        (
            load::<u64>(task, offset!(task_min_flt)) as u32,
            load::<u64>(task, offset!(task_maj_flt)) as u32,
        )
    };
    let more = u64::from(minor.wrapping_sub(slot.minor_faults));
    stats.minor_faults = stats.minor_faults.wrapping_add(more);
    let more = u64::from(major.wrapping_sub(slot.major_faults));
    stats.major_faults = stats.major_faults.wrapping_add(more);
    slot.minor_faults = minor;
    slot.major_faults = major;
}

/// What the thread that runs now is about to wait for.
#[inline(always)]
fn reason(task: *const u8, tid: u32, state: u32) -> OffCpuReason {
    const RECEIVE: u8 = WaitKind::Receive as u8;
    const SEND: u8 = WaitKind::Send as u8;
    const CONNECT: u8 = WaitKind::Connect as u8;
    const ACCEPT: u8 = WaitKind::Accept as u8;
    const LOCK: u8 = WaitKind::Lock as u8;
    const DISK: u8 = WaitKind::Disk as u8;
    const SLEEP: u8 = WaitKind::Sleep as u8;
    const POLL: u8 = WaitKind::Poll as u8;

    if state & TASK_UNINTERRUPTIBLE != 0 && in_iowait(task) {
        return OffCpuReason::Disk;
    }
    let Some(nr) = syscalls::under_way(tid) else {
        return OffCpuReason::Other;
    };
    match wait_kind(nr) {
        RECEIVE => match peer_of_first_argument() {
            Peer::Client => OffCpuReason::Request,
            Peer::Postgres => OffCpuReason::Database,
            Peer::Other => OffCpuReason::Network,
            Peer::NoSocket => OffCpuReason::Other,
        },
        SEND => match peer_of_first_argument() {
            Peer::Postgres => OffCpuReason::Database,
            Peer::Client | Peer::Other => OffCpuReason::Network,
            Peer::NoSocket => OffCpuReason::Other,
        },
        CONNECT => OffCpuReason::Network,
        ACCEPT => OffCpuReason::Request,
        LOCK => OffCpuReason::Lock,
        DISK => OffCpuReason::Disk,
        SLEEP => OffCpuReason::Sleep,
        POLL => OffCpuReason::Poll,
        _ => OffCpuReason::Other,
    }
}

/// Whether the kernel itself calls the wait one for I/O.
#[inline(always)]
fn in_iowait(task: *const u8) -> bool {
    let bit = offset!(task_in_iowait);
    // SAFETY: a tracepoint's typed `struct task_struct`; the byte holds nothing but bit fields.
    unsafe { load::<u8>(task, bit / 8) >> (bit % 8) & 1 != 0 }
}

#[inline(always)]
fn wait_kind(nr: u32) -> u8 {
    let kinds = (&raw const WAIT_KINDS).cast::<u8>();
    // SAFETY: the mask keeps the index inside the table, for us and for the verifier.
    unsafe { core::ptr::read_volatile(kinds.add(nr as usize & (MAX_SYSCALLS - 1))) }
}

/// Who is at the other end of the descriptor that the current thread's syscall is about.
#[inline(always)]
fn peer_of_first_argument() -> Peer {
    // SAFETY: the current task is typed, and what the helper returns is, too.
    let fd = unsafe {
        let registers = bpf_task_pt_regs(current_task() as *mut _) as *const u8;
        load::<u64>(registers, register!(args[0]))
    };
    sockets::peer_of(fd)
}
