//! Programs that make a known number of calls, and report what they made.
//!
//! Every syscall between two gates goes through [`call`], which counts it as the kernel answered
//! it: number, error, bytes. At a gate the program stops itself with `SIGSTOP`: at the first one
//! the probe is attached, at the second the probe's numbers are read. Then it prints its own
//! tally, so the comparison is exact whatever the scheduler did, with no second observer.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "raw syscalls: arguments and results are machine words, lengths are small constants"
)]

pub mod call;
mod life;
mod options;
mod peers;
mod resources;
pub mod stream;
mod syscalls;
pub mod tally;
mod trouble;
mod uring;

use std::ffi::OsString;

use anyhow::{Result, bail};

use options::Options;

/// Runs one workload: `arguments` are its mode and `key=value` options; `myself` is the command
/// line that reaches this function, for workloads that execute themselves.
///
/// # Errors
/// An unknown mode or option, or the kernel answering what the workload did not provoke.
pub fn main(myself: &[OsString], arguments: &[String]) -> Result<()> {
    let Some((mode, rest)) = arguments.split_first() else {
        bail!("usage: workload MODE [KEY=VALUE...]; the modes are in tests/src/workload/mod.rs");
    };
    let options = Options::parse(rest)?;
    tally::prepare();
    match mode.as_str() {
        "calls" => syscalls::calls(&options),
        "errors" => syscalls::errors(&options),
        "sleep" => syscalls::sleep(&options),
        "threads" => syscalls::threads(&options),
        "blocked" => syscalls::blocked(&options),
        "burst" => syscalls::burst(&options),
        "forks" => life::forks(&options),
        "programs" => life::programs(&options, myself),
        "exits" => life::exits(&options),
        "idle" => life::idle(),
        "busy" => life::busy(),
        "spin" => resources::spin(&options),
        "waits" => resources::waits(&options),
        "hog" => resources::hog(),
        "disk" => resources::disk(&options),
        "server" => peers::server(&options),
        "client" => peers::client(&options),
        "pair" => peers::pair(&options),
        "refused" => trouble::refused(&options),
        "abandoned" => trouble::abandoned(&options),
        "uring" => uring::uring(&options),
        "datagrams" => trouble::datagrams(&options),
        _ => bail!("there is no workload {mode}"),
    }
}
