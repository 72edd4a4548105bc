//! Syscall statistics and the kinds of syscall that move bytes through sockets.

use crate::{histogram::Histogram, kernel_abi};

/// Syscall numbers below this bound are told apart; Linux is at about 470.
pub const MAX_SYSCALLS: usize = 512;

/// Key of the latency table: one entry per service and syscall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SyscallKey {
    /// Service id.
    pub service: u16,
    /// Syscall number on this architecture.
    pub nr: u16,
}
kernel_abi!(SyscallKey, 4);

/// Key of the error table: one entry per service, syscall and error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SyscallErrorKey {
    /// Service id.
    pub service: u16,
    /// Syscall number on this architecture.
    pub nr: u16,
    /// The positive error number.
    pub errno: u32,
}
kernel_abi!(SyscallErrorKey, 8);

/// Pairs of service and syscall that can have a lane of their own; lane 0 means none.
pub const HOT_SYSCALLS: usize = 512;

/// The lane of each syscall of one service.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct SyscallLanes {
    /// Lane by syscall number, 0 for none.
    pub lane: [u16; MAX_SYSCALLS],
}
kernel_abi!(SyscallLanes, 2 * MAX_SYSCALLS);

/// Latency of completed calls; the number of calls is the histogram's count.
pub type SyscallStats = Histogram;

/// What a syscall does to a socket. The daemon fills a table from syscall number to kind for the
/// architecture that it runs on, so that one kernel object serves all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SyscallKind {
    /// Nothing that the socket probe looks at.
    Other = 0,
    /// `write`, `sendto`: bytes sent on the first argument, from the buffer in the second.
    Send = 1,
    /// `read`: bytes received on the first argument, into the buffer in the second.
    Receive = 2,
    /// `recvfrom`: as `Receive`, with flags in the fourth argument.
    ReceiveFrom = 3,
    /// `recvmsg`: as `Receive`, with flags in the third argument.
    ReceiveMessage = 4,
    /// `sendmmsg`: the result counts messages, each has its own length.
    SendMessages = 5,
    /// `recvmmsg`: likewise, with flags in the fourth argument.
    ReceiveMessages = 6,
    /// `sendfile`: bytes sent on the first argument.
    SendFile = 7,
    /// `splice`: received from the first argument, sent on the third.
    Splice = 8,
    /// `connect`: the first argument.
    Connect = 9,
    /// `accept`, `accept4`: the result is the new descriptor.
    Accept = 10,
    /// `exit`, `exit_group`: never return.
    Exit = 11,
    /// `fork`, `vfork`, `clone`, `clone3`: return twice, in the parent and as 0 in the child.
    Fork = 12,
    /// `writev`: as `Send`, from an array of buffers.
    SendVector = 13,
    /// `readv`: as `Receive`, into an array of buffers.
    ReceiveVector = 14,
    /// `sendmsg`: as `Send`, from the buffers of a message.
    SendMessage = 15,
    /// `mmap`: a file that is mapped to be executed may be a library.
    Map = 16,
    /// `uretprobe`, `uprobe`: how the kernel (since 6.11) enters the programs on functions. Not a call
    /// of the program's, and not counted.
    Probe = 17,
}

/// Where the architecture keeps a function's first arguments and its result in `struct pt_regs`, by
/// its calling convention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FunctionRegisters {
    /// First to fourth argument, in bytes from the start of the structure.
    pub args: [u32; 4],
    /// The result.
    pub result: u32,
}
kernel_abi!(FunctionRegisters, 20);

/// Where the architecture keeps a syscall's arguments and number in `struct pt_regs` once the
/// call returns. Part of the user ABI, so the daemon knows them without type information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RegisterOffsets {
    /// First to fourth argument, in bytes from the start of the structure.
    pub args: [u32; 4],
    /// The syscall's number.
    pub nr: u32,
}
kernel_abi!(RegisterOffsets, 20);
