//! `cargo xtask run`: from a fresh checkout to a running probe.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    build,
    setup::{self, Group},
    workspace::Workspace,
};

/// Install what the build needs, build, and start hostprobe in the foreground
///
/// Needs root, for the packages and for the kernel programs. Ctrl-C ends it. Arguments after `--`
/// go to `hostprobe run`, for example `cargo xtask run -- --config my.toml`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments of `hostprobe run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn main(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    setup::ensure(workspace, &[Group::Build])?;
    let binary = build::build(workspace)?.binary;
    // The daemon takes this process's place, so that signals reach it and its exit code is ours.
    let error = Command::new(&binary)
        .arg("run")
        .args(arguments.arguments)
        // cargo's own; the daemon is not linked against anything in there.
        .env_remove("LD_LIBRARY_PATH")
        .exec();
    Err(error).with_context(|| format!("starting {}", binary.display()))
}
