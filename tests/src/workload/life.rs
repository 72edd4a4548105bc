//! Workloads that make processes.

use std::{ffi::OsString, process::Command};

use anyhow::{Result, ensure};

use super::{
    call,
    options::Options,
    tally::{self, Fact},
};

/// `children` forked one after the other; each calls at once, forks a child that does the same,
/// and ends.
pub(super) fn forks(options: &Options) -> Result<()> {
    let children = options.get("children", 50)?;
    let count = options.get("count", 20)?;
    let gate = tally::start_gate();
    for _ in 0..children {
        let child = fork(|| {
            burst(count);
            let Ok(grandchild) = fork(|| {
                burst(count);
                0
            }) else {
                return 1;
            };
            i32::from(call::wait(grandchild).is_err())
        })?;
        ensure!(call::wait(child)? == 0, "a child failed");
    }
    gate.end();
    Ok(())
}

fn fork(body: impl FnOnce() -> i32) -> call::Answer {
    tally::add(Fact::Children, 1);
    call::fork(body)
}

fn burst(count: usize) {
    for _ in 0..count {
        let _ = call::getppid();
    }
}

/// `children` started as other programs, by `vfork` and `execve` as the standard library does it,
/// one after the other. Only their `getppid` calls are in the tally.
pub(super) fn programs(options: &Options, myself: &[OsString]) -> Result<()> {
    let children = options.get("children", 10)?;
    let count: u64 = options.get("count", 20)?;
    let gate = tally::start_gate();
    for _ in 0..children {
        let status = Command::new(&myself[0])
            .args(&myself[1..])
            .args(["burst", &format!("count={count}")])
            .status()?;
        ensure!(status.success(), "a child program ended with {status}");
        tally::add(Fact::Children, 1);
        tally::count_many(libc::SYS_getppid, count);
    }
    gate.end();
    Ok(())
}

/// Children that end with each of `codes=1,2,...` and by each of `signals=9,15,...`.
pub(super) fn exits(options: &Options) -> Result<()> {
    let codes = options.list("codes")?;
    let signals = options.list("signals")?;
    let no_core = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads the struct that it is given.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core) };
    // Rust handles this one to tell stack overflows; the children are to die of it.
    // SAFETY: the default action is no function of ours.
    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
    let gate = tally::start_gate();
    for code in codes {
        let child = fork(|| code)?;
        let status = call::wait(child)?;
        ensure!(
            libc::WEXITSTATUS(status) == code,
            "wait status {status:#x} for code {code}"
        );
    }
    for signal in signals {
        let child = fork(|| {
            call::end_by(signal);
            0
        })?;
        let status = call::wait(child)?;
        ensure!(
            libc::WTERMSIG(status) == signal,
            "wait status {status:#x} for signal {signal}"
        );
    }
    gate.end();
    Ok(())
}

/// Stops at the first gate and does nothing: for a probe that needs something to trace.
pub(super) fn idle() -> Result<()> {
    tally::start_gate().end();
    Ok(())
}

/// Holds still once, and then uses a CPU until it is killed.
pub(super) fn busy() -> ! {
    let _gate = tally::start_gate();
    loop {
        std::hint::spin_loop();
    }
}
