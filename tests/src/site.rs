//! Where the binaries under test are, and whether this place is fit for testing.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// The binaries that a check works with.
#[derive(Clone, Debug)]
pub struct Site {
    /// The probe.
    pub hostprobe: PathBuf,
    /// The workload program and the arguments that come before its own.
    pub workload: Vec<OsString>,
    /// Whether a place without IPv6 fails the checks that need it; else they say so and go on.
    pub requires_ipv6: bool,
}

impl Site {
    /// Takes the probe from `HOSTPROBE_BIN` or the release build, and the given workload unless
    /// `WORKLOAD_BIN` names another.
    ///
    /// # Errors
    /// Not root, or the probe was not built.
    pub fn new(workload: &[&str]) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!(
                "this test loads kernel programs and traces processes: run it as root \
                 (it does not pass by skipping)"
            );
        }
        let hostprobe = match std::env::var_os("HOSTPROBE_BIN") {
            Some(path) => PathBuf::from(path),
            None => target_directory().join("release/hostprobe"),
        };
        if !hostprobe.is_file() {
            bail!(
                "{} does not exist: build it with `cargo xtask build`, or set HOSTPROBE_BIN",
                hostprobe.display()
            );
        }
        let workload = match std::env::var_os("WORKLOAD_BIN") {
            Some(path) => vec![path],
            None => workload.iter().map(OsString::from).collect(),
        };
        Ok(Self {
            hostprobe,
            workload,
            requires_ipv6: true,
        })
    }

    /// Whether there is IPv6 to be checked.
    ///
    /// # Errors
    /// There is none, but it is required.
    pub fn has_ipv6(&self) -> Result<bool> {
        match std::net::TcpListener::bind(("::1", 0)) {
            Ok(_) => Ok(true),
            Err(error) if self.requires_ipv6 => {
                Err(error).context("IPv6 is checked here, but ::1 can't be bound")
            }
            Err(error) => {
                println!("note: IPv6 is not checked here, ::1 can't be bound: {error}");
                Ok(false)
            }
        }
    }

    /// A command that runs the probe with this verb, as it would be run outside of tests.
    pub fn hostprobe(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.hostprobe);
        command.arg(verb);
        without_settings(&mut command);
        command
    }

    /// A command that runs the workload with these arguments.
    pub fn workload(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.workload[0]);
        command.args(&self.workload[1..]).args(arguments);
        command
    }
}

/// Takes our own variables out of a command's environment: to the probe, which reads settings
/// from every `HOSTPROBE_...`, they would be unknown keys.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOSTPROBE_") {
            command.env_remove(name);
        }
    }
}

/// The root of the source tree.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in a workspace")
        .to_path_buf()
}

/// Where cargo puts what it builds, and we what is made once.
pub fn target_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(path) => PathBuf::from(path),
        None => repository().join("target"),
    }
}

/// Fails when a program that a test drives is not installed.
///
/// # Errors
/// Names the program and the Debian package that has it.
pub fn need(program: &str, package: &str) -> Result<PathBuf> {
    let path = Path::new(program);
    if path.is_absolute() {
        if path.is_file() {
            return Ok(path.to_path_buf());
        }
    } else {
        let directories = std::env::var_os("PATH").context("PATH is not set")?;
        for directory in std::env::split_paths(&directories) {
            let candidate = directory.join(program);
            if candidate.is_file() {
                return Ok(candidate);
            }
        }
    }
    bail!(
        "this test needs {program}: install Debian's package {package} \
         (it does not pass by skipping; `cargo xtask setup` installs it)"
    );
}
