//! `cargo xtask bench`: what the probe costs.

use anyhow::{Context as _, Result, bail};

use crate::{
    build,
    setup::{self, Group},
    workspace::{Workspace, is_root},
};

/// Measure what the probe costs
///
/// `syscalls`: nanoseconds per call for none / empty programs (the floor) / probe, untraced /
/// probe, traced; paired and interleaved, median of rounds. Needs root and a quiet machine.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which measurement
    #[arg(default_value = "syscalls", value_parser = ["syscalls"])]
    name: String,
    /// Arguments of the measurement, after `--`
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn main(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if !is_root() {
        bail!("measuring needs root: it loads kernel programs");
    }
    setup::ensure(workspace, &[Group::Build])?;
    let built = build::build(workspace)?;
    println!("bench: {}", arguments.name);
    workspace
        .cargo()
        .args([
            "run",
            "--release",
            "--package=end-to-end",
            "--bin=bench",
            "--",
        ])
        .arg(&arguments.name)
        .args(&arguments.arguments)
        .env("HOSTPROBE_BIN", &built.binary)
        .env("HOSTPROBE_BPF_OBJECT", &built.object)
        .run()
        .with_context(|| format!("measuring {}", arguments.name))
}
