//! `cargo xtask build`: kernel object first, then the daemon with the object inside.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{bpf_toolchain, workspace::Workspace};

/// Build the kernel object and the daemon: target/release/hostprobe
///
/// The kernel object is compiled with rustup's nightly if it has rust-src, else with Debian's
/// rustc-web. `cargo xtask setup build` installs what is missing.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// For working on it: unoptimised and quick to build, target/debug/hostprobe
    #[arg(long)]
    dev: bool,
}

/// The environment variable by which probe-user's build script finds the kernel object.
const OBJECT_VARIABLE: &str = "HOSTPROBE_BPF_OBJECT";

/// What a build made. Absolute paths.
pub(crate) struct Built {
    pub(crate) object: PathBuf,
    pub(crate) binary: PathBuf,
}

pub(crate) fn main(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if arguments.dev {
        let object = kernel_object(workspace)?;
        return daemon(workspace, &object, &[], "debug/hostprobe").map(|_| ());
    }
    build(workspace).map(|_| ())
}

/// Kernel object and daemon.
pub(crate) fn build(workspace: &Workspace) -> Result<Built> {
    let object = kernel_object(workspace)?;
    let binary = daemon(workspace, &object, &["--release"], "release/hostprobe")?;
    Ok(Built { object, binary })
}

fn daemon(workspace: &Workspace, object: &Path, profile: &[&str], binary: &str) -> Result<PathBuf> {
    println!("build: the daemon");
    workspace
        .cargo()
        .args(["build", "--package=probe-user"])
        .args(profile)
        .env(OBJECT_VARIABLE, object)
        .run()
        .context("building the daemon")?;
    let binary = workspace.target(binary);
    println!("build: {} is ready", workspace.shown(&binary));
    Ok(binary)
}

fn kernel_object(workspace: &Workspace) -> Result<PathBuf> {
    let toolchain = bpf_toolchain::find(workspace)?;
    println!("build: the kernel object, with {toolchain}");
    toolchain
        .cargo(workspace, "build")
        .run()
        .context("building the kernel object")?;
    let made = workspace.target(format!("bpf/{}/bpf/hostprobe-bpf", bpf_toolchain::TARGET));
    let object = workspace.target("hostprobe.bpf.o");
    copy_if_changed(&made, &object)?;
    Ok(object)
}

/// Leaves the time stamp alone when nothing changed, so that the daemon isn't linked again.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(to, new).with_context(|| format!("writing {}", to.display()))
}

/// A binary that runs on any Linux of this architecture: nothing to link at run time. Returns its
/// absolute path.
pub(crate) fn build_static(
    workspace: &Workspace,
    object: &Path,
    package: &str,
    binary: &str,
) -> Result<PathBuf> {
    // The target is named although it is the host's: else the flag would also apply to build
    // scripts and proc macros, which can't be static.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let folder = workspace.target("static");
    println!("build: {binary}, static");
    workspace
        .cargo()
        .args(["build", "--release", "--package", package, "--bin", binary])
        .args(["--target", &target])
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env(OBJECT_VARIABLE, object)
        .run()
        .with_context(|| format!("building the static {binary}"))?;
    Ok(folder.join(target).join("release").join(binary))
}
