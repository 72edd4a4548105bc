//! Process life, as the kernel side tells it to the daemon.

use crate::kernel_abi;

/// What happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ProcessEventKind {
    /// A traced process made a child; the child is traced already.
    Fork = 1,
    /// A process runs another program now. Sent for every process when discovery wants it.
    Exec = 2,
    /// The last thread of a traced process ended.
    Exit = 3,
    /// A traced process mapped a file to execute it: a library, as the dynamic linker does at the
    /// start and `dlopen` later.
    Map = 4,
}

/// One process event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ProcessEvent {
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub at_ns: u64,
    /// A [`ProcessEventKind`].
    pub kind: u32,
    /// The process (thread group) that it happened to; the child for `Fork`.
    pub tgid: u32,
    /// `Fork`: the parent's process id. Else 0.
    pub parent_tgid: u32,
    /// `Exit`: the wait status as the kernel keeps it (`exit code << 8 | signal`). Else 0.
    pub status: u32,
    /// Service id at that moment, 0 for an untraced process.
    pub service: u32,
    /// Zero.
    pub reserved: u32,
}
kernel_abi!(ProcessEvent, 32);
