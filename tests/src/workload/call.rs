//! The syscalls of the workloads, each counted with the kernel's answer.
//!
//! Raw on purpose: the C library would choose another syscall, retry, or make one of its own.

pub mod message;
pub mod socket;

use std::{ffi::CStr, ptr, time::Duration};

use libc::{c_int, c_long, c_void};
use nix::errno::Errno;

use super::tally;

/// What a call returns: the kernel's result, or the error.
pub type Answer = std::result::Result<usize, Errno>;

/// A descriptor.
pub type Fd = c_int;

const SIGNAL_SET_SIZE: usize = 8;

macro_rules! names {
    ($($constant:ident = $name:literal),* $(,)?) => {
        /// The name of a syscall that the workloads make, as strace and the kernel write it.
        pub(super) fn name(number: usize) -> &'static str {
            match number as c_long {
                $(libc::$constant => $name,)*
                _ => panic!("syscall {number} has no name in the workload's table"),
            }
        }
    };
}

names! {
    SYS_accept4 = "accept4", SYS_bind = "bind", SYS_clock_nanosleep = "clock_nanosleep",
    SYS_clone = "clone", SYS_close = "close", SYS_connect = "connect", SYS_dup = "dup",
    SYS_epoll_ctl = "epoll_ctl", SYS_epoll_pwait = "epoll_pwait",
    SYS_getpid = "getpid", SYS_getppid = "getppid", SYS_getsockopt = "getsockopt",
    SYS_kill = "kill", SYS_listen = "listen", SYS_memfd_create = "memfd_create",
    SYS_mkdirat = "mkdirat", SYS_openat = "openat", SYS_pipe2 = "pipe2", SYS_ppoll = "ppoll",
    SYS_read = "read", SYS_readv = "readv", SYS_recvfrom = "recvfrom",
    SYS_recvmmsg = "recvmmsg", SYS_recvmsg = "recvmsg", SYS_sendfile = "sendfile",
    SYS_sendmmsg = "sendmmsg", SYS_sendmsg = "sendmsg", SYS_sendto = "sendto",
    SYS_setsockopt = "setsockopt", SYS_shutdown = "shutdown", SYS_socket = "socket",
    SYS_socketpair = "socketpair", SYS_splice = "splice", SYS_wait4 = "wait4",
    SYS_write = "write", SYS_writev = "writev",
}

/// Private: the callers in this file pass, as addresses, only live memory of the length that
/// they pass beside it.
fn uncounted(number: c_long, arguments: [usize; 6]) -> Answer {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: see above; what the kernel writes stays within the buffers named by the arguments.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(result as usize)
    }
}

fn counted(number: c_long, arguments: [usize; 6]) -> Answer {
    let answer = uncounted(number, arguments);
    tally::count(number, answer.err());
    answer
}

fn address<T: ?Sized>(value: &T) -> usize {
    ptr::from_ref(value).cast::<c_void>() as usize
}

fn address_mut<T: ?Sized>(value: &mut T) -> usize {
    ptr::from_mut(value).cast::<c_void>() as usize
}

/// Zeroed memory that children share.
pub(super) fn shared_memory(length: usize) -> *mut c_void {
    // SAFETY: a new anonymous mapping touches no memory of ours.
    let memory = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(memory, libc::MAP_FAILED, "no memory for the tally");
    memory
}

/// Stops the process without counting the call.
pub(super) fn stop_uncounted(pid: c_int) {
    uncounted(
        libc::SYS_kill,
        [pid as usize, libc::SIGSTOP as usize, 0, 0, 0, 0],
    )
    .expect("a process may signal itself");
}

/// `getppid`.
pub fn getppid() -> Answer {
    counted(libc::SYS_getppid, [0; 6])
}

/// `openat` relative to the working directory.
pub fn open(path: &CStr, flags: c_int) -> Answer {
    counted(
        libc::SYS_openat,
        [
            libc::AT_FDCWD as usize,
            path.as_ptr() as usize,
            flags as usize,
            0o600,
            0,
            0,
        ],
    )
}

/// `mkdirat` relative to the working directory.
pub fn mkdir(path: &CStr) -> Answer {
    counted(
        libc::SYS_mkdirat,
        [
            libc::AT_FDCWD as usize,
            path.as_ptr() as usize,
            0o700,
            0,
            0,
            0,
        ],
    )
}

/// `close`.
pub fn close(fd: Fd) -> Answer {
    counted(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0])
}

/// `dup`.
pub fn dup(fd: Fd) -> Answer {
    counted(libc::SYS_dup, [fd as usize, 0, 0, 0, 0, 0])
}

/// `pipe2`: the end to read from, the end to write to.
pub fn pipe(flags: c_int) -> Result<(Fd, Fd), Errno> {
    let mut ends: [Fd; 2] = [0; 2];
    counted(
        libc::SYS_pipe2,
        [address_mut(&mut ends), flags as usize, 0, 0, 0, 0],
    )?;
    Ok((ends[0], ends[1]))
}

/// `memfd_create`.
pub fn memory_file() -> Answer {
    counted(
        libc::SYS_memfd_create,
        [c"workload".as_ptr() as usize, 0, 0, 0, 0, 0],
    )
}

/// `read`.
pub fn read(fd: Fd, buffer: &mut [u8]) -> Answer {
    counted(
        libc::SYS_read,
        [fd as usize, address_mut(buffer), buffer.len(), 0, 0, 0],
    )
}

/// `write`.
pub fn write(fd: Fd, buffer: &[u8]) -> Answer {
    counted(
        libc::SYS_write,
        [fd as usize, address(buffer), buffer.len(), 0, 0, 0],
    )
}

/// `clock_nanosleep` on the monotonic clock.
pub fn sleep(milliseconds: u64) -> Answer {
    let time = libc::timespec {
        tv_sec: (milliseconds / 1000) as i64,
        tv_nsec: (milliseconds % 1000 * 1_000_000) as i64,
    };
    counted(
        libc::SYS_clock_nanosleep,
        [libc::CLOCK_MONOTONIC as usize, 0, address(&time), 0, 0, 0],
    )
}

/// `clone` as fork: `body` runs in the child, which then ends with the code that it returns.
/// The body may make counted calls only: nothing of the C library survives a raw fork unharmed.
pub fn fork(body: impl FnOnce() -> c_int) -> Answer {
    match uncounted(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0, 0]) {
        Ok(0) => {
            let code = body();
            let _ = uncounted(libc::SYS_exit_group, [code as usize, 0, 0, 0, 0, 0]);
            unreachable!("exit_group does not return");
        }
        // Both return from the one call; it counts once.
        answer => {
            tally::count(libc::SYS_clone, answer.err());
            answer
        }
    }
}

/// `wait4` for one child; its wait status.
pub fn wait(pid: usize) -> Result<c_int, Errno> {
    let mut status: c_int = 0;
    counted(libc::SYS_wait4, [pid, address_mut(&mut status), 0, 0, 0, 0])?;
    Ok(status)
}

/// `getpid` and `kill`: ends this process by a signal.
pub fn end_by(signal: c_int) {
    let Ok(pid) = counted(libc::SYS_getpid, [0; 6]) else {
        return;
    };
    // It returns in the kernel, where it is observed, but never to us.
    tally::count(libc::SYS_kill, None);
    let _ = uncounted(libc::SYS_kill, [pid, signal as usize, 0, 0, 0, 0]);
}

/// `ppoll` on one descriptor; 0 when the time ran out.
pub fn poll(fd: Fd, events: i16, milliseconds: Option<u64>) -> Answer {
    let mut entry = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    let time = milliseconds.map(|milliseconds| libc::timespec {
        tv_sec: (milliseconds / 1000) as i64,
        tv_nsec: (milliseconds % 1000 * 1_000_000) as i64,
    });
    let time_address = time.as_ref().map_or(0, address);
    counted(
        libc::SYS_ppoll,
        [
            address_mut(&mut entry),
            1,
            time_address,
            0,
            SIGNAL_SET_SIZE,
            0,
        ],
    )
}

/// `epoll_ctl` and `epoll_pwait`: waits for events of one descriptor.
pub fn epoll(epoll: Fd, fd: Fd, events: u32) -> Answer {
    let mut event = libc::epoll_event { events, u64: 0 };
    counted(
        libc::SYS_epoll_ctl,
        [
            epoll as usize,
            libc::EPOLL_CTL_ADD as usize,
            fd as usize,
            address(&event),
            0,
            0,
        ],
    )?;
    let ready = counted(
        libc::SYS_epoll_pwait,
        [
            epoll as usize,
            address_mut(&mut event),
            1,
            usize::MAX,
            0,
            SIGNAL_SET_SIZE,
        ],
    )?;
    counted(
        libc::SYS_epoll_ctl,
        [
            epoll as usize,
            libc::EPOLL_CTL_DEL as usize,
            fd as usize,
            address(&event),
            0,
            0,
        ],
    )?;
    Ok(ready)
}

/// Sleeps; not counted.
pub(super) fn uncounted_sleep(duration: Duration) -> Answer {
    let time = timespec(duration);
    uncounted(
        libc::SYS_clock_nanosleep,
        [libc::CLOCK_MONOTONIC as usize, 0, address(&time), 0, 0, 0],
    )
}

/// Waits for a futex that nobody wakes; not counted.
pub(super) fn uncounted_futex_wait(duration: Duration) -> Result<(), Errno> {
    let word = 0_u32;
    let time = timespec(duration);
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let arguments = [address(&word), operation as usize, 0, address(&time), 0, 0];
    match uncounted(libc::SYS_futex, arguments) {
        Err(Errno::ETIMEDOUT) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(Errno::EALREADY),
    }
}

/// Waits for no descriptor at all; not counted.
pub(super) fn uncounted_poll(duration: Duration) -> Answer {
    let time = timespec(duration);
    uncounted(libc::SYS_ppoll, [0, 0, address(&time), 0, 0, 0])
}

/// Reads one byte; not counted.
pub(super) fn uncounted_read(fd: Fd) -> Answer {
    let mut byte = [0_u8];
    uncounted(
        libc::SYS_read,
        [fd as usize, address_mut(&mut byte), 1, 0, 0, 0],
    )
}

/// Two connected sockets; a read from the first gives up after `patience`. Not counted.
pub(super) fn silent_pair(patience: Duration) -> Result<(Fd, Fd), Errno> {
    let mut pair = [0 as c_int; 2];
    uncounted(
        libc::SYS_socketpair,
        [
            libc::AF_UNIX as usize,
            libc::SOCK_STREAM as usize,
            0,
            address_mut(&mut pair),
            0,
            0,
        ],
    )?;
    let time = libc::timeval {
        tv_sec: patience.as_secs() as libc::time_t,
        tv_usec: patience.subsec_micros().into(),
    };
    uncounted(
        libc::SYS_setsockopt,
        [
            pair[0] as usize,
            libc::SOL_SOCKET as usize,
            libc::SO_RCVTIMEO as usize,
            address(&time),
            size_of_val(&time),
            0,
        ],
    )?;
    Ok((pair[0], pair[1]))
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs() as libc::time_t,
        tv_nsec: duration.subsec_nanos().into(),
    }
}
