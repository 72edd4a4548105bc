//! Process life: children of traced processes are traced from their first instruction, and the
//! daemon hears of forks, execs and exits.
//!
//! Hooks: `tp_btf/sched_process_fork`, `tp_btf/sched_process_exec`, `tp_btf/sched_process_exit`
//! (Linux 5.5), `tp_btf/mark_victim` (with the task as its argument: Linux 6.8, and what was brought
//! back to 6.1 and 6.6; before that the program is refused, and kills are not counted). Reads `tgid`, `pid`, `exit_code` of `task_struct` and `live` of `signal_struct`.
//! Rare, so their cost is of no account.

use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map},
    maps::{PerCpuArray, RingBuf},
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use probe_common::{
    event::{ProcessEvent, ProcessEventKind},
    loss::Loss,
    target::{MAX_SERVICES, UNTRACED},
};

use crate::{
    kernel_memory::{load, offset},
    losses,
    syscalls::{self, Call, MAX_ERRNO},
    tls, traced,
};

/// Process events on their way to the daemon.
#[map]
static PROCESS_EVENTS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Processes that were killed because memory ran out, by service id.
#[map]
static OOM_KILLS: PerCpuArray<u64> = PerCpuArray::with_max_entries(MAX_SERVICES as u32, 0);

/// 1 when the daemon wants to hear of every exec of the host, not only of traced processes'.
#[unsafe(no_mangle)]
static ALL_EXECS: Global<u8> = Global::new(0);

/// A task was copied, and has not run yet.
#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(ctx: BtfTracePointContext) {
    // SAFETY: both arguments are typed `struct task_struct`.
    let (parent, child) = unsafe {
        (
            load::<u32>(ctx.arg(0), offset!(task_tgid)),
            load::<u32>(ctx.arg(1), offset!(task_tgid)),
        )
    };
    if parent == child {
        return; // A thread.
    }
    let service = traced::service_of(parent);
    if service == UNTRACED {
        return;
    }
    traced::set_service(child, service);
    send(ProcessEventKind::Fork, child, parent, 0, service);
}

/// A process runs another program now.
#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(ctx: BtfTracePointContext) {
    // SAFETY: the first argument is a typed `struct task_struct`.
    let tgid = unsafe { load::<u32>(ctx.arg(0), offset!(task_tgid)) };
    let service = traced::service_of(tgid);
    if service != UNTRACED || ALL_EXECS.load() != 0 {
        send(ProcessEventKind::Exec, tgid, 0, 0, service);
    }
}

/// A thread ends. Its process ends with the last one.
#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) {
    let task = ctx.arg::<*const u8>(0);
    // SAFETY: the argument is a typed `struct task_struct`, and `signal` is typed with it.
    let (tgid, tid, status, live) = unsafe {
        (
            load::<u32>(task, offset!(task_tgid)),
            load::<u32>(task, offset!(task_pid)),
            load::<u32>(task, offset!(task_exit_code)),
            load::<u32>(
                load::<*const u8>(task, offset!(task_signal)),
                offset!(signal_live),
            ),
        )
    };
    let service = traced::service_of(tgid);
    if service == UNTRACED {
        return;
    }
    syscalls::forget_thread(tid);
    tls::forget_thread(tid);
    if live == 0 {
        traced::set_service(tgid, UNTRACED);
        send(ProcessEventKind::Exit, tgid, 0, status, service);
    }
    debug!(&ctx, "thread {} of {} ended, {} left", tid, tgid, live);
}

/// Memory ran out, of the host or of a control group, and this process has to die for it.
#[btf_tracepoint(function = "mark_victim")]
fn mark_victim(ctx: BtfTracePointContext) {
    // SAFETY: the first argument is a typed `struct task_struct`.
    let tgid = unsafe { load::<u32>(ctx.arg(0), offset!(task_tgid)) };
    let service = traced::service_of(tgid);
    if service == UNTRACED {
        return;
    }
    if let Some(kills) = OOM_KILLS.get_ptr_mut(u32::from(service)) {
        // SAFETY: this CPU's own value, and nothing else writes it.
        unsafe { *kills = (*kills).wrapping_add(1) };
    }
}

/// A file was mapped. When that is to execute it, it may be a library whose calls are to be followed.
#[inline(always)]
pub(crate) fn on_map(call: &Call) {
    /// `PROT_EXEC` and `MAP_ANONYMOUS` in `include/uapi/asm-generic/mman-common.h`.
    const PROT_EXEC: u64 = 4;
    const MAP_ANONYMOUS: u64 = 0x20;
    if tls::FOLLOW_TLS.load() == 0
        || (-MAX_ERRNO..0).contains(&call.result)
        || call.arg2() & PROT_EXEC == 0
        || call.arg3() & MAP_ANONYMOUS != 0
    {
        return;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    send(ProcessEventKind::Map, tgid, 0, 0, call.service);
}

#[inline(always)]
fn send(kind: ProcessEventKind, tgid: u32, parent_tgid: u32, status: u32, service: u16) {
    let event = ProcessEvent {
        // SAFETY: no preconditions.
        at_ns: unsafe { bpf_ktime_get_ns() },
        kind: kind as u32,
        tgid,
        parent_tgid,
        status,
        service: u32::from(service),
        reserved: 0,
    };
    if PROCESS_EVENTS.output::<ProcessEvent>(event, 0).is_err() {
        losses::count(Loss::EventRingFull);
    }
}
