//! Reading kernel structures at offsets that the daemon found in this kernel's type information.
//!
//! Two ways, with different prices: a direct load through a pointer that the verifier has typed
//! (a tracepoint's argument, the current task, and what is reached from them) costs about one
//! nanosecond; `bpf_probe_read_kernel` about forty, and is needed once a pointer came from memory
//! that the verifier does not follow, such as an element of the descriptor array.

use core::ptr;

use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel},
};
use probe_common::{offsets::Offsets, syscall::RegisterOffsets};

/// Filled by the daemon before the programs are loaded; frozen, so each entry is a constant.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Global<Offsets> = Global::new(Offsets::UNKNOWN);

/// The byte offset of a kernel structure's member, as the verifier's constant.
///
/// Reads the one entry rather than the whole table.
macro_rules! offset {
    ($field:ident) => {
        $crate::kernel_memory::constant(
            &raw const $crate::kernel_memory::OFFSETS,
            core::mem::offset_of!(probe_common::offsets::Offsets, $field),
        )
    };
}
pub(crate) use offset;

/// Reads one `u32` of a table that the daemon filled.
#[inline(always)]
pub(crate) fn constant<T>(table: *const Global<T>, entry: usize) -> usize {
    // SAFETY: `Global` is a transparent wrapper of an initialised table of `u32`, and `entry` is
    // the offset of one of its fields; volatile because the value is replaced at load time, after
    // the compiler saw the initial one.
    unsafe { ptr::read_volatile(table.cast::<u8>().wrapping_add(entry).cast::<u32>()) as usize }
}

/// The current task. Typed for the verifier, so [`load`] works on it.
#[inline(always)]
pub(crate) fn current_task() -> *const u8 {
    // SAFETY: the helper has no preconditions and never returns null.
    unsafe { bpf_get_current_task_btf() as *const u8 }
}

/// Reads a member through a pointer that the verifier has typed.
///
/// # Safety
/// `base` comes from a tracepoint's argument, [`current_task`], or a pointer loaded from one of
/// them. The verifier refuses the program otherwise, and handles a null or stale pointer (the read
/// gives 0).
#[inline(always)]
pub(crate) unsafe fn load<T: Copy>(base: *const u8, offset: usize) -> T {
    // SAFETY: see above; volatile keeps the access as one load of this width, which is what the
    // verifier compares with the member's type.
    unsafe { ptr::read_volatile(base.add(offset).cast::<T>()) }
}

/// Reads kernel memory at any address.
///
/// # Errors
/// The address is not mapped.
#[inline(always)]
pub(crate) fn read<T: Copy>(base: *const u8, offset: usize) -> Result<T, i32> {
    // SAFETY: the helper checks the address itself.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(offset).cast::<T>()) }
}

/// Where this architecture keeps a syscall's arguments and number.
#[unsafe(no_mangle)]
pub(crate) static REGISTERS: Global<RegisterOffsets> = Global::new(RegisterOffsets {
    args: [0; 4],
    nr: 0,
});

/// The byte offset of a saved register, as the verifier's constant.
macro_rules! register {
    (args[$n:literal]) => {
        $crate::kernel_memory::constant(
            &raw const $crate::kernel_memory::REGISTERS,
            core::mem::offset_of!(probe_common::syscall::RegisterOffsets, args) + 4 * $n,
        )
    };
    (nr) => {
        $crate::kernel_memory::constant(
            &raw const $crate::kernel_memory::REGISTERS,
            core::mem::offset_of!(probe_common::syscall::RegisterOffsets, nr),
        )
    };
}
pub(crate) use register;
