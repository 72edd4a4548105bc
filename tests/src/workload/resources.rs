//! Workloads that take processors, wait, and fill memory.

use std::{
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::{call, options::Options, tally};

/// Runs for `ms` on the first processor that it may use.
pub(super) fn spin(options: &Options) -> Result<()> {
    let duration = Duration::from_millis(options.get("ms", 1000)?);
    let allowed = nix::sched::sched_getaffinity(Pid::from_raw(0))?;
    let first = (0..CpuSet::count())
        .find(|cpu| allowed.is_set(*cpu).unwrap_or(false))
        .context("no processor is allowed")?;
    let mut only = CpuSet::new();
    only.set(first)?;
    sched_setaffinity(Pid::from_raw(0), &only)?;
    let gate = tally::start_gate();
    let start = Instant::now();
    let mut turns = 0_u64;
    while start.elapsed() < duration {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
    gate.end();
    Ok(())
}

/// Waits `count` times `ms` for each of several things.
pub(super) fn waits(options: &Options) -> Result<()> {
    let count: u32 = options.get("count", 10)?;
    let pause = Duration::from_millis(options.get("ms", 5)?);
    let (ours, _theirs) = call::silent_pair(pause)?;
    let gate = tally::start_gate();
    for _ in 0..count {
        call::uncounted_sleep(pause)?;
    }
    for _ in 0..count {
        call::uncounted_futex_wait(pause)?;
    }
    for _ in 0..count {
        call::uncounted_poll(pause)?;
    }
    for _ in 0..count {
        ensure!(call::uncounted_read(ours) == Err(nix::errno::Errno::EAGAIN));
    }
    gate.end();
    Ok(())
}

/// Fills memory until it is killed.
pub(super) fn hog() -> Result<()> {
    let _gate = tally::start_gate();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        kept.push(vec![1; 1 << 20]);
        ensure!(kept.len() < 512, "512 MiB fit into the control group");
    }
}

/// Writes 16 MiB to the file `path` and reads half of it, past the page cache.
pub(super) fn disk(options: &Options) -> Result<()> {
    const CHUNK: usize = 1 << 20;
    let path = options.text("path").context("which file?")?;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .with_context(|| format!("opening {path} without the page cache"))?;
    // Page-aligned, as O_DIRECT wants it.
    let memory = call::shared_memory(CHUNK).cast::<u8>();
    // SAFETY: a mapping of this length that is never unmapped and that nobody else knows.
    let buffer = unsafe { std::slice::from_raw_parts_mut(memory, CHUNK) };
    let gate = tally::start_gate();
    for chunk in 0..16 {
        file.write_all_at(buffer, chunk << 20)?;
    }
    for chunk in 0..8 {
        file.read_exact_at(buffer, chunk << 20)?;
    }
    gate.end();
    Ok(())
}
