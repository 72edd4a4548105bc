//! What differs between processor architectures: syscall numbers and saved registers.

use probe_common::{
    scheduler::WaitKind,
    syscall::{FunctionRegisters, MAX_SYSCALLS, RegisterOffsets, SyscallKind},
};
use syscalls::Sysno;

/// Where `struct pt_regs` keeps arguments and number when a syscall returns
/// (`arch/x86/include/asm/ptrace.h`: `di`, `si`, `dx`, `r10`, `orig_ax`).
#[cfg(target_arch = "x86_64")]
pub const REGISTERS: RegisterOffsets = RegisterOffsets {
    args: [112, 104, 96, 56],
    nr: 120,
};

/// Where `struct pt_regs` keeps arguments and number when a syscall returns
/// (`arch/arm64/include/asm/ptrace.h`: `orig_x0`, since `x0` holds the result by then, `regs[1]`
/// to `regs[3]`, `syscallno`).
#[cfg(target_arch = "aarch64")]
pub const REGISTERS: RegisterOffsets = RegisterOffsets {
    args: [272, 8, 16, 24],
    nr: 280,
};

/// Where `struct pt_regs` keeps a function's arguments and result (System V ABI for x86-64, section
/// 3.2.3: `di`, `si`, `dx`, `cx`, `ax`).
#[cfg(target_arch = "x86_64")]
pub const FUNCTION_REGISTERS: FunctionRegisters = FunctionRegisters {
    args: [112, 104, 96, 88],
    result: 80,
};

/// Where `struct pt_regs` keeps a function's arguments and result (Procedure Call Standard for the
/// Arm 64-bit Architecture, section 6.4: `x0` to `x3`, `x0`).
#[cfg(target_arch = "aarch64")]
pub const FUNCTION_REGISTERS: FunctionRegisters = FunctionRegisters {
    args: [0, 8, 16, 24],
    result: 0,
};

/// The kind of each syscall by its number on this architecture.
pub fn syscall_kinds() -> [u8; MAX_SYSCALLS] {
    by_number(|name| kind_of(name) as u8)
}

/// What each syscall waits for, by its number on this architecture.
pub fn wait_kinds() -> [u8; MAX_SYSCALLS] {
    by_number(|name| wait_of(name) as u8)
}

/// 0 for numbers that no syscall has.
fn by_number(kind_of: impl Fn(&str) -> u8) -> [u8; MAX_SYSCALLS] {
    let mut kinds = [0; MAX_SYSCALLS];
    for syscall in Sysno::iter() {
        let number = usize::try_from(syscall.id()).unwrap_or(usize::MAX);
        if let Some(kind) = kinds.get_mut(number) {
            *kind = kind_of(syscall.name());
        }
    }
    kinds
}

fn wait_of(name: &str) -> WaitKind {
    match name {
        "read" | "readv" | "recvfrom" | "recvmsg" | "recvmmsg" => WaitKind::Receive,
        "write" | "writev" | "sendto" | "sendmsg" | "sendmmsg" | "sendfile" => WaitKind::Send,
        "connect" => WaitKind::Connect,
        "accept" | "accept4" => WaitKind::Accept,
        // A `fcntl` that waits waits for a lock on a file.
        "futex" | "futex_wait" | "futex_waitv" | "futex_requeue" | "semop" | "semtimedop"
        | "flock" | "fcntl" => WaitKind::Lock,
        "fsync" | "fdatasync" | "sync" | "syncfs" | "sync_file_range" | "msync" => WaitKind::Disk,
        "nanosleep" | "clock_nanosleep" => WaitKind::Sleep,
        "epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "poll" | "ppoll" | "select"
        | "pselect6" | "io_uring_enter" | "io_getevents" | "io_pgetevents" => WaitKind::Poll,
        _ => WaitKind::Other,
    }
}

fn kind_of(name: &str) -> SyscallKind {
    match name {
        "write" | "sendto" => SyscallKind::Send,
        "writev" => SyscallKind::SendVector,
        "sendmsg" => SyscallKind::SendMessage,
        "read" => SyscallKind::Receive,
        "readv" => SyscallKind::ReceiveVector,
        "recvfrom" => SyscallKind::ReceiveFrom,
        "recvmsg" => SyscallKind::ReceiveMessage,
        "sendmmsg" => SyscallKind::SendMessages,
        "recvmmsg" => SyscallKind::ReceiveMessages,
        "sendfile" => SyscallKind::SendFile,
        "splice" => SyscallKind::Splice,
        "connect" => SyscallKind::Connect,
        "accept" | "accept4" => SyscallKind::Accept,
        "mmap" => SyscallKind::Map,
        "uretprobe" | "uprobe" => SyscallKind::Probe,
        "exit" | "exit_group" => SyscallKind::Exit,
        "fork" | "vfork" | "clone" | "clone3" => SyscallKind::Fork,
        _ => SyscallKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_calls_are_known_on_this_architecture() {
        let kinds = syscall_kinds();
        for (call, kind) in [
            (Sysno::sendto, SyscallKind::Send),
            (Sysno::recvfrom, SyscallKind::ReceiveFrom),
            (Sysno::accept4, SyscallKind::Accept),
            (Sysno::connect, SyscallKind::Connect),
            (Sysno::clone3, SyscallKind::Fork),
            (Sysno::getppid, SyscallKind::Other),
            (Sysno::mmap, SyscallKind::Map),
        ] {
            assert_eq!(
                kinds[usize::try_from(call.id()).unwrap()],
                kind as u8,
                "{}",
                call.name()
            );
        }
    }

    #[test]
    fn what_calls_wait_for_is_known_on_this_architecture() {
        let kinds = wait_kinds();
        for (call, kind) in [
            (Sysno::futex, WaitKind::Lock),
            (Sysno::fdatasync, WaitKind::Disk),
            (Sysno::clock_nanosleep, WaitKind::Sleep),
            (Sysno::epoll_pwait, WaitKind::Poll),
            (Sysno::recvfrom, WaitKind::Receive),
            (Sysno::wait4, WaitKind::Other),
        ] {
            let number = usize::try_from(call.id()).unwrap();
            assert_eq!(kinds[number], kind as u8, "{}", call.name());
        }
    }

    #[test]
    fn every_syscall_number_fits_the_tables() {
        let largest = Sysno::iter().map(|call| call.id()).max().unwrap();
        assert!(
            usize::try_from(largest).unwrap() < MAX_SYSCALLS,
            "{largest}"
        );
    }
}
