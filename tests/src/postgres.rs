//! A Postgres cluster of the test's own: own directory, own port, own socket directory.

use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{sys::signal::Signal, unistd::User};
use tempfile::TempDir;

use crate::{
    probe::free_address,
    process::{Process, run},
    site::need,
    tls::Certificate,
    waiting::{self, PATIENCE},
};

/// Where Debian's package postgresql-15 puts its programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// The files of a cluster that isn't running. A copy has the same files: to start them again, keep
/// one.
#[derive(Clone, Debug)]
pub struct Cluster {
    directory: Arc<TempDir>,
    address: SocketAddr,
}

impl Cluster {
    /// Makes the files, as the user `postgres`.
    ///
    /// # Errors
    /// Postgres 15 is not installed.
    pub fn create() -> Result<Self> {
        let initdb = need(&format!("{PROGRAMS}/initdb"), "postgresql-15")?;
        let directory = TempDir::with_prefix("hostprobe-postgres-")?;
        let user = User::from_name("postgres")?
            .context("there is no user postgres: install Debian's package postgresql-15")?;
        nix::unistd::chown(directory.path(), Some(user.uid), Some(user.gid))?;
        let cluster = Self {
            directory: Arc::new(directory),
            address: free_address()?,
        };
        let mut command = as_postgres(&initdb);
        command
            .args(["--no-sync", "--auth=trust", "--username=postgres", "-D"])
            .arg(cluster.data());
        run("initdb", command)?;
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\n\
             ssl = off\nshared_preload_libraries = 'pg_stat_statements'\nfsync = off\nshared_buffers = 16MB\nmax_connections = 50\n",
            cluster.address.port(),
            cluster.directory.path().display()
        );
        cluster.with(&settings)
    }

    /// Makes the files of a standby that follows a running cluster.
    ///
    /// # Errors
    /// The copy failed; the message says why.
    pub fn standby_of(primary: &Postgres) -> Result<Self> {
        let copy = need(&format!("{PROGRAMS}/pg_basebackup"), "postgresql-client-15")?;
        let directory = TempDir::with_prefix("hostprobe-standby-")?;
        let user = User::from_name("postgres")?.context("there is no user postgres")?;
        nix::unistd::chown(directory.path(), Some(user.uid), Some(user.gid))?;
        let cluster = Self {
            directory: Arc::new(directory),
            address: free_address()?,
        };
        let mut command = as_postgres(&copy);
        command
            .args(primary.over_unix())
            .args([
                "--checkpoint=fast",
                "--write-recovery-conf",
                "--no-sync",
                "-D",
            ])
            .arg(cluster.data());
        run("pg_basebackup", command)?;
        let settings = format!(
            "port = {}\nunix_socket_directories = '{}'",
            cluster.address.port(),
            cluster.directory.path().display()
        );
        cluster.with(&settings)
    }

    /// Replaces the rules that say who may log in from where.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn with_access_rules(self, rules: &str) -> Result<Self> {
        std::fs::write(self.data().join("pg_hba.conf"), rules)?;
        Ok(self)
    }

    /// Adds lines to the server's settings; the last of several for one setting counts.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn with(self, settings: &str) -> Result<Self> {
        let path = self.data().join("postgresql.auto.conf");
        let mut file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path)?;
        writeln!(file, "{settings}")?;
        Ok(self)
    }

    /// Takes TLS on TCP, with a certificate of its own, so that clients of libpq use it there unless
    /// they are told not to.
    ///
    /// # Errors
    /// openssl is not installed.
    pub fn with_tls(self) -> Result<Self> {
        let certificate = Certificate::create(self.directory.path())?;
        let user = User::from_name("postgres")?.context("there is no user postgres")?;
        for path in [&certificate.certificate, &certificate.key] {
            nix::unistd::chown(path, Some(user.uid), Some(user.gid))?;
        }
        self.with(&format!(
            "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'",
            certificate.certificate.display(),
            certificate.key.display()
        ))
    }

    /// Where it will listen on TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The command that becomes the postmaster.
    ///
    /// # Errors
    /// Postgres 15 is not installed.
    pub fn command(&self) -> Result<Command> {
        let mut command = as_postgres(&need(&format!("{PROGRAMS}/postgres"), "postgresql-15")?);
        command.arg("-D").arg(self.data());
        command.current_dir(self.directory.path());
        Ok(command)
    }

    /// Starts the cluster and waits until it takes connections.
    ///
    /// # Errors
    /// It does not start; the message has its log.
    pub fn start(self) -> Result<Postgres> {
        let process = Process::spawn("postgres", self.command()?)?;
        let mut postgres = Postgres {
            process,
            cluster: self,
        };
        postgres.wait_ready()?;
        Ok(postgres)
    }

    /// Takes over a process that [`Self::command`] was run as.
    pub fn running_as(self, process: Process) -> Postgres {
        Postgres {
            process,
            cluster: self,
        }
    }
}

/// A cluster that runs, until its owner is gone.
#[derive(Debug)]
pub struct Postgres {
    // Dropped before the directory that it works in.
    process: Process,
    cluster: Cluster,
}

impl Postgres {
    /// Waits until it takes connections.
    ///
    /// # Errors
    /// It ended or never gets ready; the message has its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        let program = need(&format!("{PROGRAMS}/pg_isready"), "postgresql-client-15")?;
        waiting::until("Postgres takes connections", PATIENCE, || {
            if let Some(status) = self.process.ended()? {
                bail!("postgres ended with {status}:\n{}", self.process.output()?);
            }
            let mut command = Command::new(&program);
            command.args(self.over_unix());
            let mut check = Process::spawn("pg_isready", command)?;
            Ok(check.wait_ended(PATIENCE)?.success().then_some(()))
        })
    }

    /// Process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged so far.
    ///
    /// # Errors
    /// The log can't be read.
    pub fn log(&self) -> Result<String> {
        self.process.output()
    }

    /// Directory of the unix socket.
    pub fn socket_directory(&self) -> &Path {
        self.cluster.directory.path()
    }

    /// Where it listens on TCP; the unix socket has the same port.
    pub fn address(&self) -> SocketAddr {
        self.cluster.address
    }

    /// Arguments of every client program, for a TCP connection.
    pub fn over_tcp(&self) -> Vec<String> {
        self.arguments(&self.cluster.address.ip().to_string())
    }

    /// Connection string for a TCP connection, as libpq and asyncpg take it.
    pub fn url_over_tcp(&self) -> String {
        format!("postgresql://postgres@{}/postgres", self.cluster.address)
    }

    /// Arguments of every client program, for a connection through the unix socket.
    pub fn over_unix(&self) -> Vec<String> {
        self.arguments(&self.cluster.directory.path().display().to_string())
    }

    fn arguments(&self, host: &str) -> Vec<String> {
        let port = self.cluster.address.port().to_string();
        ["-h", host, "-p", &port, "-U", "postgres"]
            .map(str::to_owned)
            .to_vec()
    }

    /// Fills pgbench's tables.
    ///
    /// # Errors
    /// pgbench failed.
    pub fn fill(&self) -> Result<()> {
        let mut command = pgbench()?;
        command
            .args(["-i", "-q", "-s", "1"])
            .args(self.over_unix())
            .arg("postgres");
        run("pgbench -i", command)?;
        Ok(())
    }

    /// Runs statements with psql, one transaction each, going on after errors; the rows that they
    /// return, without headings.
    ///
    /// # Errors
    /// psql is not installed or can't connect.
    pub fn psql(&self, connection: &[String], statements: &[&str]) -> Result<String> {
        self.psql_in("postgres", connection, statements)
    }

    /// Likewise in another database.
    ///
    /// # Errors
    /// As [`Self::psql`].
    pub fn psql_in(
        &self,
        database: &str,
        connection: &[String],
        statements: &[&str],
    ) -> Result<String> {
        let mut command = Command::new(need(&format!("{PROGRAMS}/psql"), "postgresql-client-15")?);
        command.args(["-X", "-A", "-t", "-q"]).args(connection);
        for statement in statements {
            command.args(["-c", statement]);
        }
        command.arg(database);
        let output = command.output().context("psql")?;
        // 1 says that a statement failed, which tests want; 2 that there was no connection.
        ensure!(
            matches!(output.status.code(), Some(0 | 1)),
            "psql: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A pgbench command that has no arguments but how to connect.
    ///
    /// # Errors
    /// It is not installed.
    pub fn pgbench(&self, connection: &[String]) -> Result<Command> {
        let mut command = pgbench()?;
        command.args(connection).arg("postgres");
        Ok(command)
    }

    /// Ends the cluster; sessions are cut off.
    ///
    /// # Errors
    /// It did not end well.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::SIGINT)?;
        self.process.wait_success()?;
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A killed postmaster would leave its children behind for a moment; ask first.
        if matches!(self.process.ended(), Ok(None)) {
            let _ = self.process.signal(Signal::SIGCONT);
            let _ = self.process.signal(Signal::SIGQUIT);
            let _ = self.process.wait_ended(PATIENCE);
        }
    }
}

fn pgbench() -> Result<Command> {
    let program = need(&format!("{PROGRAMS}/pgbench"), "postgresql-15")?;
    Ok(Command::new(program))
}

fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program)
        .env("LC_ALL", "C");
    command
}
