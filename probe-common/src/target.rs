//! Which process belongs to which service.

use crate::kernel_abi;

/// Process ids per [`TgidPage`]. A page is 4 KiB, so that the table can be mapped into userspace.
pub const TGIDS_PER_PAGE: usize = 2048;

/// The service of processes that nobody asked to trace.
pub const UNTRACED: u16 = 0;

/// Services that can be told apart at once; ids run from 1 to this number minus one.
pub const MAX_SERVICES: usize = 256;

/// One page of the table that maps a thread group id (what userspace calls a process id) to the
/// id of its service. Both sides write single 16-bit entries, so neighbours never disturb each
/// other and no lock is needed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct TgidPage {
    /// Service id by `tgid % TGIDS_PER_PAGE`.
    pub service: [u16; TGIDS_PER_PAGE],
}
kernel_abi!(TgidPage, 4096);

/// Where a thread is between entering a syscall and returning from it.
///
/// Slots are shared by thread ids that are equal modulo the size of the table; `tid` names the
/// one that holds the slot now, 0 none.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ThreadSlot {
    /// `CLOCK_MONOTONIC` at the syscall's entry, in nanoseconds.
    pub entered_ns: u64,
    /// The thread in the syscall.
    pub tid: u32,
    /// The syscall's number.
    pub nr: u32,
}
kernel_abi!(ThreadSlot, 16);
