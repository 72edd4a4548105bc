//! Requests that go past the syscalls which move bytes.

use anyhow::{Context as _, Result};
use io_uring::{IoUring, opcode};

use super::{
    options::Options,
    tally::{self, Fact},
};

/// `count` requests to an io_uring that do nothing, a few at a time.
pub(super) fn uring(options: &Options) -> Result<()> {
    const AT_ONCE: usize = 4;
    let count = options.get("count", 100)?;
    let mut ring = IoUring::new(8).context("making an io_uring (is io_uring_disabled set?)")?;
    let gate = tally::start_gate();
    let mut left = count;
    while left > 0 {
        let now = left.min(AT_ONCE);
        for _ in 0..now {
            // SAFETY: a request without buffers; the queue has room for more than are pushed.
            unsafe { ring.submission().push(&opcode::Nop::new().build()) }
                .context("the submission queue is full")?;
        }
        ring.submit_and_wait(now)?;
        let done = ring.completion().count();
        tally::add(Fact::UringRequests, done);
        left -= done;
    }
    gate.end();
    Ok(())
}
