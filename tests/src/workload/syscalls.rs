//! Workloads whose syscalls are counted one by one.

use std::time::Instant;

use anyhow::{Result, ensure};
use nix::errno::Errno;

use super::{
    call,
    options::Options,
    tally::{self, Fact},
};

/// The 30 ms of the slow call lie in the bucket that ends here (2^25 ns).
const SLOW_BUCKET_NANOSECONDS: u128 = 1 << 25;

/// `count` cheap calls, as many one-byte writes and reads on a pipe, a tenth as many files opened.
pub(super) fn calls(options: &Options) -> Result<()> {
    let count = options.get("count", 1000)?;
    let (from, to) = call::pipe(0)?;
    let gate = tally::start_gate();
    for _ in 0..count {
        call::getppid()?;
    }
    for _ in 0..count {
        call::write(to, b"x")?;
        call::read(from, &mut [0])?;
    }
    for _ in 0..count / 10 {
        let file = call::open(c"/dev/null", libc::O_RDWR)?;
        call::close(file as i32)?;
    }
    gate.end();
    Ok(())
}

/// Errors of several kinds, each a different number of times, among calls that succeed.
pub(super) fn errors(options: &Options) -> Result<()> {
    let count = options.get("count", 100)?;
    let (from, to) = call::pipe(libc::O_NONBLOCK)?;
    let gate = tally::start_gate();
    for _ in 0..count {
        expect(
            Errno::ENOENT,
            call::open(c"/nowhere/at/all", libc::O_RDONLY),
        )?;
        call::write(to, b"x")?;
        call::read(from, &mut [0])?;
    }
    for _ in 0..count + 1 {
        expect(Errno::EAGAIN, call::read(from, &mut [0]))?;
    }
    for _ in 0..count + 2 {
        expect(Errno::EBADF, call::read(9999, &mut [0]))?;
        expect(Errno::EBADF, call::close(9999))?;
    }
    for _ in 0..count + 3 {
        expect(Errno::EEXIST, call::mkdir(c"/"))?;
    }
    call::close(from)?;
    // Rust programs ignore SIGPIPE from the start.
    expect(Errno::EPIPE, call::write(to, b"x"))?;
    gate.end();
    Ok(())
}

pub(super) fn expect(wanted: Errno, answer: call::Answer) -> Result<()> {
    ensure!(
        answer == Err(wanted),
        "provoked {wanted:?}, but the kernel answered {answer:?}"
    );
    Ok(())
}

/// `count` sleeps of `ms` milliseconds.
pub(super) fn sleep(options: &Options) -> Result<()> {
    let count = options.get("count", 5)?;
    let milliseconds = options.get("ms", 30)?;
    let gate = tally::start_gate();
    for _ in 0..count {
        let before = Instant::now();
        call::sleep(milliseconds)?;
        let took = before.elapsed().as_nanos();
        tally::add(Fact::SlowNanoseconds, took as usize);
        if took <= SLOW_BUCKET_NANOSECONDS {
            tally::add(Fact::SlowWithinBucket, 1);
        }
    }
    gate.end();
    Ok(())
}

/// Threads that make calls at the same time, and forked children that do so beside them.
pub(super) fn threads(options: &Options) -> Result<()> {
    let threads = options.get("threads", 4)?;
    let count = options.get("count", 1000)?;
    let gate = tally::start_gate();
    let children = (0..threads)
        .map(|_| {
            tally::add(Fact::Children, 1);
            call::fork(|| {
                for _ in 0..count {
                    let _ = call::getppid();
                }
                0
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..count {
                    let _ = call::getppid();
                }
            });
        }
    });
    for child in children {
        call::wait(child)?;
    }
    gate.end();
    Ok(())
}

/// Blocks in a `read` of standard input, where the probe finds it; then as [`calls`].
pub(super) fn blocked(options: &Options) -> Result<()> {
    let count = options.get("count", 1000)?;
    println!("blocking");
    call::read(0, &mut [0])?;
    // From here on the probe is attached: no first gate, so only what comes now is counted.
    let gate = tally::gate_without_stop();
    for _ in 0..count {
        call::getppid()?;
    }
    gate.end();
    Ok(())
}

/// `count` cheap calls with no gate: for a program that another workload executes.
pub(super) fn burst(options: &Options) -> Result<()> {
    for _ in 0..options.get("count", 1000)? {
        call::getppid()?;
    }
    Ok(())
}
