//! The source tree and the commands that run in it.

use std::{
    env,
    ffi::OsStr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use xshell::{Cmd, Shell, cmd};

/// The source tree, and a shell that stands at its root.
pub(crate) struct Workspace {
    pub(crate) shell: Shell,
    root: PathBuf,
}

impl Workspace {
    pub(crate) fn open() -> Result<Self> {
        // At run time cargo says where the crate is now; the compiled-in path is where it was.
        let crate_folder =
            env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&crate_folder)
            .parent()
            .context("the xtask crate lies in the workspace's root")?
            .to_owned();
        let shell = Shell::new().context("starting a shell")?;
        shell.change_dir(&root);
        Ok(Self { shell, root })
    }

    /// An absolute path in the source tree.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// An absolute path among what is built.
    pub(crate) fn target(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join("target").join(relative)
    }

    /// `cargo` of the toolchain that runs this.
    ///
    /// Results are always under `target/`, also where the user's settings say otherwise: scripts
    /// and the verbs below rely on `target/release/hostprobe`.
    pub(crate) fn cargo(&self) -> Cmd<'_> {
        cmd!(self.shell, "cargo")
            .env("CARGO_TARGET_DIR", self.target(""))
            .quiet()
    }

    /// A path as a person at the root would type it.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// Whether this process may install packages and load kernel programs.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Where a command lies on `PATH`.
pub(crate) fn find_command(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Where `cargo install` puts binaries.
pub(crate) fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME").map_or_else(
        || Path::new(&env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    )
}

/// A binary made by `cargo install`, also where `$CARGO_HOME/bin` is not on `PATH`.
pub(crate) fn find_cargo_binary(name: &str) -> Option<PathBuf> {
    let installed = cargo_home().join("bin").join(name);
    installed
        .is_file()
        .then_some(installed)
        .or_else(|| find_command(name))
}

/// Removes from a command what `cargo run` and rustup put into our own environment: a nested build
/// by another toolchain would take it for its own.
pub(crate) fn without_cargo_environment(mut command: Cmd<'_>) -> Cmd<'_> {
    for (name, _) in env::vars_os() {
        if is_set_by_cargo(&name) {
            command = command.env_remove(name);
        }
    }
    command
}

fn is_set_by_cargo(name: &OsStr) -> bool {
    const EXACT: &[&str] = &[
        "CARGO",
        "LD_LIBRARY_PATH",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
    ];
    const PREFIXES: &[&str] = &[
        "CARGO_BUILD_",
        "CARGO_ENCODED_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_TARGET_",
        "RUSTC",
        "RUSTDOC",
    ];
    name.to_str().is_some_and(|name| {
        EXACT.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the kernel object is compiled by a toolchain that lacks the BPF target.
    #[test]
    fn another_toolchain_does_not_inherit_ours() {
        for name in [
            "CARGO",
            "RUSTUP_TOOLCHAIN",
            "RUSTC_WRAPPER",
            "CARGO_TARGET_DIR",
        ] {
            assert!(is_set_by_cargo(OsStr::new(name)), "{name}");
        }
    }

    /// Otherwise builds behind a proxy or a registry mirror stop working.
    #[test]
    fn the_users_network_settings_stay() {
        for name in [
            "CARGO_HOME",
            "CARGO_HTTP_PROXY",
            "CARGO_NET_OFFLINE",
            "PATH",
        ] {
            assert!(!is_set_by_cargo(OsStr::new(name)), "{name}");
        }
    }
}
