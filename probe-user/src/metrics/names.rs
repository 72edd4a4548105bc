//! Numbers of the kernel's interface as the names that people search for.

use std::borrow::Cow;

use nix::{errno::Errno, sys::signal::Signal};
use probe_common::socket::ERRNO_ABANDONED;

/// The label value for a connection attempt that its own program gave up.
pub const ABANDONED: &str = "abandoned";

/// The name of a syscall on the architecture that this binary was built for, `syscall_<number>`
/// when the table does not know it.
pub fn syscall(nr: u16) -> Cow<'static, str> {
    // The crate exports the build's own architecture at its root.
    match syscalls::Sysno::new(usize::from(nr)) {
        Some(sysno) => Cow::Borrowed(sysno.name()),
        None => Cow::Owned(format!("syscall_{nr}")),
    }
}

/// The name of a positive error number, `errno_<number>` when nobody has named it.
pub fn errno(number: u32) -> Cow<'static, str> {
    if let Some(name) = kernel_errno(number) {
        return Cow::Borrowed(name);
    }
    let known = i32::try_from(number).map(Errno::from_raw);
    match known {
        // `Debug` is the variant's name, which is the constant's.
        Ok(errno) if errno != Errno::UnknownErrno => Cow::Owned(format!("{errno:?}")),
        _ => Cow::Owned(format!("errno_{number}")),
    }
}

/// As [`errno`], for connection attempts.
pub fn connect_errno(number: u32) -> Cow<'static, str> {
    if number == ERRNO_ABANDONED {
        Cow::Borrowed(ABANDONED)
    } else {
        errno(number)
    }
}

/// Numbers that the kernel keeps to itself (`include/linux/errno.h`). Programs never see the
/// restart codes, but a tracer at the exit of a syscall does.
const fn kernel_errno(number: u32) -> Option<&'static str> {
    Some(match number {
        512 => "ERESTARTSYS",
        513 => "ERESTARTNOINTR",
        514 => "ERESTARTNOHAND",
        515 => "ENOIOCTLCMD",
        516 => "ERESTART_RESTARTBLOCK",
        517 => "EPROBE_DEFER",
        518 => "EOPENSTALE",
        519 => "ENOPARAM",
        521 => "EBADHANDLE",
        522 => "ENOTSYNC",
        523 => "EBADCOOKIE",
        524 => "ENOTSUPP",
        525 => "ETOOSMALL",
        526 => "ESERVERFAULT",
        527 => "EBADTYPE",
        528 => "EJUKEBOX",
        529 => "EIOCBQUEUED",
        530 => "ERECALLCONFLICT",
        531 => "ENOGRACE",
        _ => return None,
    })
}

/// The name of a signal, `signal_<number>` for the real-time ones.
pub fn signal(number: u8) -> Cow<'static, str> {
    match Signal::try_from(i32::from(number)) {
        Ok(signal) => Cow::Borrowed(signal.as_str()),
        Err(_) => Cow::Owned(format!("signal_{number}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syscalls_have_this_architecture_s_names() {
        let openat = if cfg!(target_arch = "x86_64") {
            257
        } else {
            56
        };
        assert_eq!(syscall(openat), "openat");
        assert_eq!(syscall(511), "syscall_511");
        assert_eq!(syscall(u16::MAX), "syscall_65535");
    }

    #[test]
    fn errors_have_the_names_of_the_manual() {
        assert_eq!(errno(2), "ENOENT");
        assert_eq!(errno(11), "EAGAIN");
        assert_eq!(errno(111), "ECONNREFUSED");
        assert_eq!(errno(512), "ERESTARTSYS");
        assert_eq!(errno(516), "ERESTART_RESTARTBLOCK");
        assert_eq!(errno(4000), "errno_4000");
        assert_eq!(errno(u32::MAX), "errno_4294967295");
    }

    #[test]
    fn an_attempt_that_was_given_up_is_no_error_number() {
        assert_eq!(connect_errno(0), "abandoned");
        assert_eq!(connect_errno(110), "ETIMEDOUT");
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(signal(9), "SIGKILL");
        assert_eq!(signal(40), "signal_40");
    }
}
