//! Syscalls: how many, how long, which errors, per service and syscall; exact.
//!
//! Hooks: `tp_btf/sys_enter`, `tp_btf/sys_exit` (Linux 5.5). Every syscall of the host passes
//! here, so an untraced process costs one array look-up per hook. `docs/performance.md` has what
//! was measured.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map},
    maps::{Array, HashMap, PerCpuArray, PerCpuHashMap},
    programs::BtfTracePointContext,
};
use probe_common::{
    loss::Loss,
    syscall::{
        HOT_SYSCALLS, MAX_SYSCALLS, SyscallErrorKey, SyscallKey, SyscallKind, SyscallLanes,
        SyscallStats,
    },
    target::{MAX_SERVICES, ThreadSlot, UNTRACED},
};

use crate::{
    kernel_memory::{load, register},
    losses, sockets, traced,
};

/// Where each thread is: slot `tid & (slots - 1)`.
#[map]
static THREADS: Array<ThreadSlot> = Array::with_max_entries(1, 0);

/// Threads whose slot was taken by another one.
#[map]
static THREADS_OVERFLOW: HashMap<u32, ThreadSlot> =
    HashMap::with_max_entries(16384, BPF_F_NO_PREALLOC);

/// The fast lane: where in [`SYSCALLS_HOT`] the daemon put a busy (service, syscall), 0 for
/// nowhere. Both look-ups are inlined by the kernel (since 6.10), which spares the calls that cost
/// most on processors with return mitigations.
#[map]
static SYSCALL_LANES: Array<SyscallLanes> =
    Array::with_max_entries(MAX_SERVICES as u32, BPF_F_MMAPABLE);

/// Latency of busy pairs, by lane. A pair's total is this and its entry in [`SYSCALLS`].
#[map]
static SYSCALLS_HOT: PerCpuArray<SyscallStats> =
    PerCpuArray::with_max_entries(HOT_SYSCALLS as u32, 0);

/// Latency per service and syscall.
#[map]
static SYSCALLS: PerCpuHashMap<SyscallKey, SyscallStats> =
    PerCpuHashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// A histogram without observations, for new entries: on the stack it would take more than half of
/// what all functions on the way share until Linux 6.12.
#[map]
static SYSCALL_NONE: Array<SyscallStats> = Array::with_max_entries(1, 0);

/// Failures per service, syscall and errno.
#[map]
static SYSCALL_ERRORS: PerCpuHashMap<SyscallErrorKey, u64> =
    PerCpuHashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// Slots in [`THREADS`] minus one; a power of two minus one.
#[unsafe(no_mangle)]
pub(crate) static THREAD_MASK: Global<u32> = Global::new(0);

/// [`SyscallKind`] by number, for the architecture that this kernel runs on.
#[unsafe(no_mangle)]
static SYSCALL_KINDS: Global<[u8; MAX_SYSCALLS]> = Global::new([0; MAX_SYSCALLS]);

/// 1 when calls are to be counted and timed per service. With 0 the hooks only serve `sockets`.
#[unsafe(no_mangle)]
static COUNT_SYSCALLS: Global<u8> = Global::new(1);

/// The largest error number that a syscall can return (`MAX_ERRNO` in `include/linux/err.h`).
pub(crate) const MAX_ERRNO: i64 = 4095;

#[inline(always)]
fn kind_of(nr: u32) -> u8 {
    let kinds = (&raw const SYSCALL_KINDS).cast::<u8>();
    // SAFETY: the mask keeps the index inside the table, for us and for the verifier.
    unsafe { core::ptr::read_volatile(kinds.add(nr as usize & (MAX_SYSCALLS - 1))) }
}

/// A syscall that has just returned in a traced thread.
pub(crate) struct Call {
    /// `struct pt_regs`, typed for the verifier.
    registers: *const u8,
    /// The thread's service.
    pub(crate) service: u16,
    /// A [`SyscallKind`].
    pub(crate) kind: u8,
    /// What it returned.
    pub(crate) result: i64,
    /// How long it took.
    pub(crate) duration_ns: u64,
    /// When it returned.
    pub(crate) now_ns: u64,
}

impl Call {
    /// The first argument. Arguments survive the call in the saved registers.
    #[inline(always)]
    pub(crate) fn arg0(&self) -> u64 {
        // SAFETY: `registers` is typed.
        unsafe { load(self.registers, register!(args[0])) }
    }

    /// The second argument.
    #[inline(always)]
    pub(crate) fn arg1(&self) -> u64 {
        // SAFETY: as above.
        unsafe { load(self.registers, register!(args[1])) }
    }

    /// The third argument.
    #[inline(always)]
    pub(crate) fn arg2(&self) -> u64 {
        // SAFETY: as above.
        unsafe { load(self.registers, register!(args[2])) }
    }

    /// The fourth argument.
    #[inline(always)]
    pub(crate) fn arg3(&self) -> u64 {
        // SAFETY: as above.
        unsafe { load(self.registers, register!(args[3])) }
    }
}

/// Remembers when a traced thread entered a syscall.
#[btf_tracepoint(function = "sys_enter")]
fn sys_enter(ctx: BtfTracePointContext) {
    let ids = bpf_get_current_pid_tgid();
    if traced::service_of((ids >> 32) as u32) == UNTRACED {
        return;
    }
    enter(ids as u32, ctx.arg::<u64>(1) as u32);
}

#[inline(always)]
fn enter(tid: u32, nr: u32) {
    let Some(slot) = THREADS.get_ptr_mut(tid & THREAD_MASK.load()) else {
        return;
    };
    // SAFETY: the slot is a live map value. Two threads race for it only when their ids are equal
    // modulo the table's size; the loser finds another's id at its exit, and is counted there.
    unsafe {
        if (*slot).tid == 0 || (*slot).tid == tid {
            (*slot).tid = tid;
            (*slot).nr = nr;
            (*slot).entered_ns = bpf_ktime_get_ns();
            return;
        }
    }
    let state = ThreadSlot {
        // SAFETY: no preconditions.
        entered_ns: unsafe { bpf_ktime_get_ns() },
        tid,
        nr,
    };
    if THREADS_OVERFLOW.insert(tid, state, 0).is_err() {
        losses::count(Loss::ThreadTableFull);
    }
}

/// Counts a traced thread's syscall when it returns, and hands those that touch sockets on.
#[btf_tracepoint(function = "sys_exit")]
fn sys_exit(ctx: BtfTracePointContext) {
    let ids = bpf_get_current_pid_tgid();
    let service = traced::service_of((ids >> 32) as u32);
    if service == UNTRACED {
        return;
    }
    let result = ctx.arg::<i64>(1);
    let registers = ctx.arg::<*const u8>(0);
    let Some(call) = leave(ids as u32) else {
        return began_untraced(registers, result);
    };
    // SAFETY: no preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let duration_ns = now_ns.saturating_sub(call.entered_ns);
    if call.nr as usize >= MAX_SYSCALLS {
        return losses::count(Loss::UnknownSyscall);
    }
    let kind = kind_of(call.nr);
    if kind == SyscallKind::Probe as u8 {
        return;
    }
    if COUNT_SYSCALLS.load() != 0 {
        count(
            SyscallKey {
                service,
                nr: call.nr as u16,
            },
            duration_ns,
        );
        if (-MAX_ERRNO..0).contains(&result) {
            count_error(SyscallErrorKey {
                service,
                nr: call.nr as u16,
                errno: -result as u32,
            });
        }
    }
    if kind != SyscallKind::Other as u8 && sockets::concern(kind, result) {
        sockets::on_call(&Call {
            registers,
            service,
            kind,
            result,
            duration_ns,
            now_ns,
        });
    }
}

/// Takes the thread's call out of its slot; `None` when its entry was not seen.
#[inline(always)]
fn leave(tid: u32) -> Option<ThreadSlot> {
    let slot = THREADS.get_ptr_mut(tid & THREAD_MASK.load())?;
    // SAFETY: as in `enter`.
    unsafe {
        if (*slot).tid == tid {
            let state = *slot;
            (*slot).tid = 0;
            return Some(state);
        }
    }
    leave_overflow(tid)
}

#[inline(always)]
fn leave_overflow(tid: u32) -> Option<ThreadSlot> {
    // SAFETY: the value is copied out before the entry is removed, and only this thread removes it.
    let state = unsafe { *THREADS_OVERFLOW.get(tid)? };
    let _ = THREADS_OVERFLOW.remove(tid);
    Some(state)
}

/// The number of the syscall that the thread is in; `None` when it is in none, or began it untraced.
#[inline(always)]
pub(crate) fn under_way(tid: u32) -> Option<u32> {
    let slot = THREADS.get_ptr_mut(tid & THREAD_MASK.load())?;
    // SAFETY: a live map value; a thread that holds a slot writes it itself.
    let (holder, nr) = unsafe { ((*slot).tid, (*slot).nr) };
    if holder == tid {
        return Some(nr);
    }
    if holder == 0 {
        return None;
    }
    // SAFETY: the value is copied out at once.
    unsafe { THREADS_OVERFLOW.get(tid) }.map(|state| state.nr)
}

/// Forgets a thread that ends in the middle of a syscall, as every thread does.
#[inline(always)]
pub(crate) fn forget_thread(tid: u32) {
    let _ = leave(tid);
}

/// A return without an entry. A new child's first return is its parent's call, which is counted
/// there; anything else began before the process was traced.
#[inline(always)]
fn began_untraced(registers: *const u8, result: i64) {
    // SAFETY: `sys_exit`'s first argument is the typed `struct pt_regs`.
    let nr = unsafe { load::<u64>(registers, register!(nr)) } as u32;
    if !(result == 0 && kind_of(nr) == SyscallKind::Fork as u8) {
        losses::count(Loss::CallBeganUntraced);
    }
}

#[inline(always)]
fn count(key: SyscallKey, duration_ns: u64) {
    if let Some(lanes) = SYSCALL_LANES.get_ptr(u32::from(key.service)) {
        let nr = key.nr as usize & (MAX_SYSCALLS - 1);
        // SAFETY: the mask keeps the index inside the table; the daemon stores 16 bits at once.
        let lane =
            unsafe { core::ptr::read_volatile((&raw const (*lanes).lane).cast::<u16>().add(nr)) };
        if lane != 0
            && let Some(stats) = SYSCALLS_HOT.get_ptr_mut(u32::from(lane))
        {
            // SAFETY: this CPU's own value; `sys_exit` is not interrupted by itself.
            unsafe { (*stats).observe(duration_ns) };
            return;
        }
    }
    if let Some(stats) = SYSCALLS.get_ptr_mut(key) {
        // SAFETY: this CPU's own value; `sys_exit` is not interrupted by itself.
        unsafe { (*stats).observe(duration_ns) };
        return;
    }
    count_first(key, duration_ns);
}

/// Kept out of line so that the common path stays small.
#[inline(never)]
fn count_first(key: SyscallKey, duration_ns: u64) {
    // All CPUs' values start at zero; only the one made here may be lost to a race, so look again.
    if let Some(none) = SYSCALL_NONE.get(0) {
        let _ = SYSCALLS.insert(key, none, u64::from(BPF_NOEXIST));
    }
    match SYSCALLS.get_ptr_mut(key) {
        // SAFETY: as in `count`.
        Some(stats) => unsafe { (*stats).observe(duration_ns) },
        None => losses::count(Loss::SyscallTableFull),
    }
}

#[inline(always)]
fn count_error(key: SyscallErrorKey) {
    if let Some(errors) = SYSCALL_ERRORS.get_ptr_mut(key) {
        // SAFETY: as in `count`.
        unsafe { *errors = (*errors).wrapping_add(1) };
        return;
    }
    count_first_error(key);
}

/// Kept out of line so that the common path stays small.
#[inline(never)]
fn count_first_error(key: SyscallErrorKey) {
    let _ = SYSCALL_ERRORS.insert(key, 0u64, u64::from(BPF_NOEXIST));
    match SYSCALL_ERRORS.get_ptr_mut(key) {
        // SAFETY: as in `count`.
        Some(errors) => unsafe { *errors = (*errors).wrapping_add(1) },
        None => losses::count(Loss::ErrorTableFull),
    }
}
