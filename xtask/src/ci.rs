//! `cargo xtask ci`: everything that must hold before a change is taken.

use anyhow::{Context as _, Result};
use xshell::cmd;

use crate::{
    bpf_toolchain, build, generate,
    setup::{self, Group},
    steps::{Outcome, Steps, passed},
    test,
    workspace::Workspace,
};

/// Run every check: format, lints, dependencies, build, generated files, all tests
///
/// Each step is timed. All steps are run, whatever failed, except that nothing can follow a
/// failed build. Needs root.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn main(workspace: &Workspace, _: &Arguments) -> Result<()> {
    let mut steps = Steps::default();
    if !steps.run("setup", || setup::ensure(workspace, Group::ALL).map(passed)) {
        return steps.finish();
    }
    steps.run("format", || format(workspace).map(passed));
    steps.run("lints", || lints(workspace).map(passed));
    steps.run("lints, kernel object", || kernel_lints(workspace));
    steps.run("dependencies", || dependencies(workspace).map(passed));
    steps.run("lock file of the fuzz targets", || {
        fuzz_lock(workspace).map(passed)
    });
    steps.run("advisories", || advisories(workspace));
    let mut built = None;
    steps.run("build", || {
        built = Some(build::build(workspace)?);
        Ok(passed(()))
    });
    if let Some(built) = &built {
        steps.run("generated files", || {
            generate::check(workspace, &built.binary).map(passed)
        });
        test::run(workspace, built, &mut steps, None);
    }
    steps.finish()
}

fn format(workspace: &Workspace) -> Result<()> {
    workspace
        .cargo()
        .args(["fmt", "--all", "--check"])
        .run()
        .context("`cargo fmt --all` mends it")
}

fn lints(workspace: &Workspace) -> Result<()> {
    workspace
        .cargo()
        .args([
            "clippy",
            "--workspace",
            "--exclude=probe-ebpf",
            "--all-targets",
        ])
        .args(["--", "--deny=warnings"])
        .run()
        .context("clippy")
}

fn kernel_lints(workspace: &Workspace) -> Result<Outcome> {
    let toolchain = bpf_toolchain::find(workspace)?;
    let command = toolchain
        .clippy(workspace)
        .context("this toolchain has no clippy; `cargo xtask setup lint` installs it")?;
    command
        .args(["--", "--deny=warnings"])
        .run()
        .context("clippy")?;
    Ok(Outcome::Passed(toolchain.to_string()))
}

/// What can be told from the lock file alone.
fn dependencies(workspace: &Workspace) -> Result<()> {
    workspace
        .cargo()
        .args([
            "deny",
            "--log-level=error",
            "check",
            "bans",
            "licenses",
            "sources",
        ])
        .run()
        .context("cargo deny")
}

/// The fuzz targets are a workspace of their own, so no build keeps their lock file current.
fn fuzz_lock(workspace: &Workspace) -> Result<()> {
    let manifest = workspace.path("fuzz/Cargo.toml");
    workspace
        .cargo()
        .args(["metadata", "--locked", "--format-version=1"])
        .arg("--manifest-path")
        .arg(&manifest)
        .ignore_stdout()
        .run()
        .context("`cargo metadata --manifest-path fuzz/Cargo.toml` mends it")
}

/// Advisories live in a database on the network, which not every build machine reaches. Where it
/// can't be had, that is said in the summary; it is no failure of the change.
fn advisories(workspace: &Workspace) -> Result<Outcome> {
    // Seconds. A network that swallows packets would hold everything up otherwise.
    const FETCH_LIMIT: &str = "60";
    let shell = &workspace.shell;
    let fetched = cmd!(
        shell,
        "timeout {FETCH_LIMIT} cargo deny --log-level=error fetch db"
    )
    .quiet()
    .ignore_stdout()
    .ignore_stderr()
    .run();
    if fetched.is_err() {
        let words = "the advisory database can't be fetched from here";
        println!("advisories NOT checked: {words}");
        return Ok(Outcome::NotChecked(words.to_owned()));
    }
    workspace
        .cargo()
        .args([
            "deny",
            "--log-level=error",
            "check",
            "--disable-fetch",
            "advisories",
        ])
        .run()
        .context("cargo deny")
        .map(passed)
}
