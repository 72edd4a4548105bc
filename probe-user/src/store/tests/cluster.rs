//! A Postgres 15 of the tests' own, on a socket in a directory of its own.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User},
};
use tempfile::TempDir;

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// Runs until it is dropped.
pub(crate) struct Cluster {
    postmaster: Child,
    directory: TempDir,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let directory = TempDir::with_prefix("hostprobe-store-").unwrap();
        let everyone = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), everyone).unwrap();
        if nix::unistd::geteuid().is_root() {
            let user = User::from_name("postgres").unwrap();
            let user = user.expect("install Debian's package postgresql-15");
            nix::unistd::chown(directory.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let data = directory.path().join("data");
        let mut initdb = program("initdb", directory.path());
        initdb.args(["--no-sync", "--auth=trust", "--username=probe", "-D"]);
        let made = initdb.arg(&data).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut postgres = program("postgres", directory.path());
        postgres
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory.path());
        postgres.args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        postgres.stdout(Stdio::null()).stderr(Stdio::null());
        let cluster = Self {
            postmaster: postgres.spawn().unwrap(),
            directory,
        };
        let begun = Instant::now();
        while !cluster.asked(&["-c", "SELECT 1"]) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it does not start"
            );
        }
        cluster
    }

    /// Address of a new database.
    pub(crate) fn database(&self, name: &str) -> String {
        assert!(self.asked(&["-c", &format!("CREATE DATABASE {name}")]));
        let directory = self.directory.path().display();
        format!("postgres://probe@localhost/{name}?host={directory}")
    }

    /// Whether psql, which waits for the answer, succeeds.
    fn asked(&self, arguments: &[&str]) -> bool {
        let mut psql = program("psql", self.directory.path());
        psql.args(["-X", "-q", "-U", "probe", "-d", "postgres", "-h"]);
        psql.arg(self.directory.path()).args(arguments);
        psql.output().unwrap().status.success()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = i32::try_from(self.postmaster.id()).unwrap();
        // Cuts sessions off.
        kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
        self.postmaster.wait().unwrap();
    }
}

/// A program of Postgres, which refuses to run as root.
fn program(name: &str, directory: &Path) -> Command {
    let path = PathBuf::from(PROGRAMS).join(name);
    assert!(
        path.exists(),
        "{} is missing: install Debian's package postgresql-15 (`cargo xtask setup` does)",
        path.display()
    );
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.arg(path);
        command
    } else {
        Command::new(path)
    };
    command.current_dir(directory).env("LC_ALL", "C");
    command
}
