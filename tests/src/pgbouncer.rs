//! A PgBouncer of the test's own, before a Postgres of the test's own.

use std::{net::SocketAddr, process::Command};

use anyhow::{Context, Result};
use nix::unistd::User;
use tempfile::TempDir;

use crate::{
    postgres::Postgres,
    probe::free_address,
    process::Process,
    site::need,
    waiting::{self, PATIENCE},
};

/// A PgBouncer that runs, until its owner is gone.
#[derive(Debug)]
pub struct PgBouncer {
    // Dropped before the directory that it works in.
    process: Process,
    address: SocketAddr,
    _directory: TempDir,
}

impl PgBouncer {
    /// Starts one that pools transactions, with so many server connections, and waits until it takes
    /// clients. It lets in `postgres`, and `stats` to its admin console.
    ///
    /// # Errors
    /// It is not installed, or ended; the message has its log.
    pub fn start(server: &Postgres, pool_size: u32) -> Result<Self> {
        let program = need("/usr/sbin/pgbouncer", "pgbouncer")?;
        let directory = TempDir::with_prefix("hostprobe-pgbouncer-")?;
        let user = User::from_name("postgres")?
            .context("there is no user postgres: install Debian's package postgresql-15")?;
        nix::unistd::chown(directory.path(), Some(user.uid), Some(user.gid))?;
        let address = free_address()?;
        let users = directory.path().join("users.txt");
        std::fs::write(&users, "\"postgres\" \"\"\n\"stats\" \"\"\n")?;
        let settings = format!(
            "[databases]\npostgres = host={} port={} user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = trust\n\
             auth_file = {}\nstats_users = stats\npool_mode = transaction\n\
             default_pool_size = {pool_size}\n",
            server.address().ip(),
            server.address().port(),
            address.port(),
            users.display()
        );
        let path = directory.path().join("pgbouncer.ini");
        std::fs::write(&path, settings)?;
        // It refuses to run as root.
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
            .arg(program)
            .arg(&path);
        let mut process = Process::spawn("pgbouncer", command)?;
        waiting::until("PgBouncer takes clients", PATIENCE, || {
            if let Some(status) = process.ended()? {
                anyhow::bail!("pgbouncer ended with {status}:\n{}", process.output()?);
            }
            Ok(std::net::TcpStream::connect(address).is_ok().then_some(()))
        })?;
        Ok(Self {
            process,
            address,
            _directory: directory,
        })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Arguments of every client program, for a pooled connection.
    pub fn arguments(&self) -> Vec<String> {
        let port = self.address.port().to_string();
        ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"]
            .map(str::to_owned)
            .to_vec()
    }

    /// Address of the admin console.
    pub fn console_url(&self) -> String {
        format!("postgres://stats@{}/pgbouncer", self.address)
    }
}
