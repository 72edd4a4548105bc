//! `cargo xtask bench`: what the probe costs.

use std::{env, ffi::OsString};

use anyhow::{Context as _, Result, bail};
use xshell::Cmd;

use crate::{
    build,
    setup::{self, Group},
    workspace::{Workspace, is_root},
};

/// Measure what the probe costs
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    measurement: Option<Measurement>,
}

#[derive(clap::Subcommand)]
enum Measurement {
    /// A system call: nothing, empty programs (the floor), the probe (default)
    ///
    /// Nanoseconds per call, paired and interleaved, median of rounds. Needs root and a quiet
    /// machine.
    Syscalls {
        /// Arguments of the measurement, after `--`
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    Overhead(Overhead),
    /// Reading the resources of the host and of five hundred processes, per scrape
    ///
    /// Needs root. With HOSTPROBE_BIN set, it measures that binary and builds none.
    Host {
        /// Also write the numbers into docs/performance.md
        #[arg(long)]
        write: bool,
    },
    /// What the gateway to the Gemini API adds to a call, beside the same call without it
    ///
    /// Needs root. With HOSTPROBE_BIN set, it measures that binary and builds none.
    Gateway {
        /// Also write the numbers into docs/performance.md
        #[arg(long)]
        write: bool,
    },
    /// The decoders: statements and requests a second on one core
    Decode {
        /// Also write the numbers into docs/performance.md
        #[arg(long)]
        write: bool,
    },
}

/// A web app and pgbench under load: nothing, the probe, and what people use instead
///
/// Paired, interleaved rounds; prints throughput, latency, CPU time and memory, and keeps them in
/// target/bench/overhead.json. Needs root and a quiet machine; takes about ten minutes. With
/// HOSTPROBE_BIN set, it measures that binary and builds none.
#[derive(clap::Args)]
struct Overhead {
    /// Each round measures every variant of every scenario once, in a random order
    #[arg(long)]
    rounds: Option<u8>,
    /// Seconds of each measurement
    #[arg(long)]
    seconds: Option<u64>,
    /// One round of one second: whether it works, not what it costs
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Only scenarios whose name contains this (app, unix, tcp, prepared, simple); not kept
    #[arg(long)]
    only: Option<String>,
    /// Measure nothing: write the last run's numbers into docs/ and README.md
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "quick", "only"])]
    write: bool,
}

pub(crate) fn main(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    match &arguments.measurement {
        None => syscalls(workspace, &[]),
        Some(Measurement::Syscalls { arguments }) => syscalls(workspace, arguments),
        Some(Measurement::Overhead(arguments)) => overhead(workspace, arguments),
        Some(Measurement::Host { write }) => daemon(workspace, "host", *write),
        Some(Measurement::Gateway { write }) => daemon(workspace, "gateway", *write),
        Some(Measurement::Decode { write }) => decode(workspace, *write),
    }
}

fn syscalls(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    need_root()?;
    setup::ensure(workspace, &[Group::Build])?;
    let built = build::build(workspace)?;
    bench(workspace, "syscalls")
        .args(arguments)
        .env("HOSTPROBE_BIN", &built.binary)
        .env("HOSTPROBE_BPF_OBJECT", &built.object)
        .run()
        .context("measuring system calls")
}

fn overhead(workspace: &Workspace, arguments: &Overhead) -> Result<()> {
    let mut command = bench(workspace, "overhead");
    if arguments.write {
        return command
            .arg("--write")
            .run()
            .context("writing the documents");
    }
    need_root()?;
    if let Some(rounds) = arguments.rounds {
        command = command.arg(format!("--rounds={rounds}"));
    }
    if let Some(seconds) = arguments.seconds {
        command = command.arg(format!("--seconds={seconds}"));
    }
    if let Some(only) = &arguments.only {
        command = command.arg(format!("--only={only}"));
    }
    if arguments.quick {
        command = command.arg("--quick");
    }
    setup::ensure(workspace, &[Group::Test, Group::Bench])?;
    if env::var_os("HOSTPROBE_BIN").is_none() {
        setup::ensure(workspace, &[Group::Build])?;
        command = command.env("HOSTPROBE_BIN", build::build(workspace)?.binary);
    }
    command.run().context("measuring a web app and Postgres")
}

fn daemon(workspace: &Workspace, what: &str, write: bool) -> Result<()> {
    need_root()?;
    let mut command = bench(workspace, what).args(write.then_some("--write"));
    if env::var_os("HOSTPROBE_BIN").is_none() {
        setup::ensure(workspace, &[Group::Build])?;
        command = command.env("HOSTPROBE_BIN", build::build(workspace)?.binary);
    }
    command.run().with_context(|| format!("measuring {what}"))
}

fn decode(workspace: &Workspace, write: bool) -> Result<()> {
    workspace
        .cargo()
        .args(["bench", "--package=probe-user", "--bench=*"])
        .run()
        .context("measuring the decoders")?;
    bench(workspace, "decode")
        .args(write.then_some("--write"))
        .run()
        .context("reading what criterion measured")
}

/// The program that measures, optimised as the daemon is.
fn bench<'a>(workspace: &'a Workspace, name: &str) -> Cmd<'a> {
    workspace
        .cargo()
        .args(["run", "--quiet", "--release", "--package=end-to-end"])
        .args(["--bin=bench", "--", name])
}

fn need_root() -> Result<()> {
    if !is_root() {
        bail!("measuring needs root: it loads kernel programs");
    }
    Ok(())
}
