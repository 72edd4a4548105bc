//! Which compiler makes the kernel object.
//!
//! The BPF target is not among those that rustup ships a `core` for, so the compiler needs either
//! its own library's source (`-Z build-std=core`) or a `core` that somebody compiled for it. A
//! rustup nightly with `rust-src` has the first; Debian's `rustc-web` set has both.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use xshell::{Cmd, cmd};

use crate::workspace::{Workspace, find_cargo_binary, without_cargo_environment};

/// The BPF target of little-endian hosts, which is all that hostprobe supports.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// The LLVM that `cargo xtask setup` links bpf-linker with. Bitcode of a newer compiler can't be
/// read by it.
pub(crate) const LINKER_LLVM: u32 = 22;

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// From the package `libstd-rust-web-dev-bpf`.
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";
/// From the package `rust-web-src`.
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library";
/// From the package `rust-web-clippy`.
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";

/// A compiler, its `core`, and the linker.
pub(crate) struct BpfToolchain {
    compiler: Compiler,
    version: String,
    core: Core,
    linker: PathBuf,
}

#[derive(Clone, Copy, PartialEq)]
enum Compiler {
    RustupNightly,
    Debian,
}

#[derive(Clone, Copy, PartialEq)]
enum Core {
    Precompiled,
    FromSource,
}

impl fmt::Display for BpfToolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compiler = match self.compiler {
            Compiler::RustupNightly => "rustup's nightly",
            Compiler::Debian => "Debian's rustc-web",
        };
        let core = match self.core {
            Core::Precompiled => "its own core",
            Core::FromSource => "core from source",
        };
        write!(f, "{compiler} {}, {core}", self.version)
    }
}

/// Looks for a toolchain. The error says why each candidate was refused, and what to install.
pub(crate) fn find(workspace: &Workspace) -> Result<BpfToolchain> {
    let compiler = find_compiler(workspace);
    let linker = find_cargo_binary("bpf-linker").ok_or("bpf-linker is not installed".to_owned());
    match (compiler, linker) {
        (Ok((compiler, version, core)), Ok(linker)) => Ok(BpfToolchain {
            compiler,
            version,
            core,
            linker,
        }),
        (compiler, linker) => {
            let reasons: Vec<String> = [compiler.err(), linker.err()]
                .into_iter()
                .flatten()
                .collect();
            bail!(
                "no toolchain for the kernel object:\n  {}\n\
                 Debian's packages are enough; this installs them and bpf-linker:\n  \
                 cargo xtask setup build",
                reasons.join("\n  ")
            )
        }
    }
}

/// Whether some compiler here can make the kernel object.
pub(crate) fn has_compiler(workspace: &Workspace) -> bool {
    find_compiler(workspace).is_ok()
}

fn find_compiler(workspace: &Workspace) -> Result<(Compiler, String, Core), String> {
    rustup_nightly(workspace)
        .or_else(|nightly| debian(workspace).map_err(|debian| format!("{nightly}\n  {debian}")))
}

fn rustup_nightly(workspace: &Workspace) -> Result<(Compiler, String, Core), String> {
    let shell = &workspace.shell;
    // rustup must not fetch a toolchain because somebody asked whether it is there.
    let run = |argument: &str| {
        without_cargo_environment(cmd!(shell, "rustup run nightly rustc {argument}"))
            .env("RUSTUP_AUTO_INSTALL", "0")
            .quiet()
            .ignore_stderr()
            .read()
    };
    let verbose = run("-vV").map_err(|_| "rustup's nightly: not installed".to_owned())?;
    let sysroot = run("--print=sysroot").map_err(|error| format!("rustup's nightly: {error}"))?;
    if !Path::new(&sysroot)
        .join("lib/rustlib/src/rust/library")
        .is_dir()
    {
        return Err("rustup's nightly: its component rust-src is not installed".to_owned());
    }
    let version = usable_version(&verbose).map_err(|why| format!("rustup's nightly: {why}"))?;
    Ok((Compiler::RustupNightly, version, Core::FromSource))
}

fn debian(workspace: &Workspace) -> Result<(Compiler, String, Core), String> {
    if !Path::new(DEBIAN_RUSTC).exists() || !Path::new(DEBIAN_CARGO).exists() {
        return Err("Debian's rustc-web and cargo-web: not installed".to_owned());
    }
    let shell = &workspace.shell;
    let verbose = without_cargo_environment(cmd!(shell, "{DEBIAN_RUSTC} -vV"))
        .quiet()
        .read()
        .map_err(|error| format!("{DEBIAN_RUSTC}: {error}"))?;
    let version = usable_version(&verbose).map_err(|why| format!("{DEBIAN_RUSTC}: {why}"))?;
    let core = if Path::new(DEBIAN_CORE).is_dir() {
        Core::Precompiled
    } else if Path::new(DEBIAN_SOURCE).is_dir() {
        Core::FromSource
    } else {
        return Err(format!(
            "{DEBIAN_RUSTC}: neither libstd-rust-web-dev-bpf nor rust-web-src is installed"
        ));
    };
    Ok((Compiler::Debian, version, core))
}

/// The compiler's version, if this workspace and bpf-linker can work with it.
fn usable_version(verbose: &str) -> Result<String, String> {
    let value = |key: &str| {
        verbose
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or_default()
            .trim()
    };
    let release = value("release:");
    if numbers(release) < numbers(env!("CARGO_PKG_RUST_VERSION")) {
        return Err(format!(
            "version {release} is older than {}, which this workspace needs",
            env!("CARGO_PKG_RUST_VERSION")
        ));
    }
    let llvm = value("LLVM version:");
    if numbers(llvm)
        .first()
        .is_none_or(|major| *major > LINKER_LLVM)
    {
        return Err(format!(
            "its LLVM ({llvm}) is newer than the one bpf-linker is built with ({LINKER_LLVM})"
        ));
    }
    Ok(release.to_owned())
}

/// The numbers of a version: `1.96.0-nightly` is 1, 96, 0.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

impl BpfToolchain {
    /// `cargo <verb> --package probe-ebpf` for the BPF target, with results under `target/bpf`.
    pub(crate) fn cargo<'a>(&self, workspace: &'a Workspace, verb: &str) -> Cmd<'a> {
        let shell = &workspace.shell;
        let command = match self.compiler {
            Compiler::RustupNightly => cmd!(shell, "rustup run nightly cargo {verb}"),
            Compiler::Debian => cmd!(shell, "{DEBIAN_CARGO} {verb}"),
        };
        self.finish(workspace, command)
    }

    /// The same, with clippy. `None` where this toolchain has none.
    pub(crate) fn clippy<'a>(&self, workspace: &'a Workspace) -> Option<Cmd<'a>> {
        if self.compiler == Compiler::RustupNightly {
            return Some(self.cargo(workspace, "clippy"));
        }
        // Not `cargo clippy`: cargo would take rustup's cargo-clippy from $CARGO_HOME/bin first.
        Path::new(DEBIAN_CLIPPY).exists().then(|| {
            let command = cmd!(workspace.shell, "{DEBIAN_CLIPPY} clippy");
            self.finish(workspace, command).env("CARGO", DEBIAN_CARGO)
        })
    }

    fn finish<'a>(&self, workspace: &'a Workspace, command: Cmd<'a>) -> Cmd<'a> {
        let flags = [
            "-C",
            &format!("linker={}", self.linker.display()),
            // Line tables say which source line the verifier refuses; bpf-linker makes BTF of the
            // rest, which map and program types need.
            "-C",
            "debuginfo=2",
            "-C",
            "link-arg=--btf",
        ]
        .join("\u{1f}");
        let target_folder = workspace.target("bpf");
        let mut command = without_cargo_environment(command)
            .arg("--package=probe-ebpf")
            .arg("--profile=bpf")
            .arg(format!("--target={TARGET}"))
            .arg("--target-dir")
            .arg(target_folder)
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .quiet();
        if self.core == Core::FromSource {
            command = command.arg("-Zbuild-std=core");
        }
        if self.compiler == Compiler::Debian {
            // aya-ebpf and build-std use unstable features, which Debian's stable compiler
            // accepts only so.
            command = command
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbose(release: &str, llvm: &str) -> String {
        format!("rustc {release}\nbinary: rustc\nrelease: {release}\nLLVM version: {llvm}\n")
    }

    #[test]
    fn a_compiler_that_fits_is_taken() {
        assert_eq!(
            usable_version(&verbose("1.96.0", "22.1.8")).as_deref(),
            Ok("1.96.0")
        );
        let nightly = usable_version(&verbose("1.97.0-nightly", "22.1.4"));
        assert_eq!(nightly.as_deref(), Ok("1.97.0-nightly"));
    }

    /// Otherwise the build ends in an error about bitcode that nobody understands.
    #[test]
    fn a_compiler_newer_than_the_linker_is_refused() {
        let error = usable_version(&verbose("1.99.0", "23.0.0")).expect_err("LLVM 23");
        assert!(error.contains("newer than the one bpf-linker"), "{error}");
    }

    /// Debian 12 without its security archive has 1.85.
    #[test]
    fn a_compiler_too_old_for_the_workspace_is_refused() {
        let error = usable_version(&verbose("1.85.0", "19.1.7")).expect_err("1.85");
        assert!(error.contains("older than"), "{error}");
    }
}
