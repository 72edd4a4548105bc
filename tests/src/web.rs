//! The FastAPI app under uvicorn, and the Python environment that it needs.

use std::{
    fs::File,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, ExitStatus},
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::{
    http,
    probe::free_address,
    process::{Process, run},
    site::{need, repository, target_directory},
    waiting::{self, PATIENCE},
};

/// The Python interpreter that has the packages of `tests/apps/requirements.txt`. The environment
/// is made once, under the target directory.
///
/// # Errors
/// As [`environment`].
pub fn python() -> Result<PathBuf> {
    environment("venv", "requirements.txt")
}

/// The Python interpreter that has the packages of a file in `tests/apps`. The environment is made
/// once, under this name in the target directory.
///
/// # Errors
/// Python is not installed, or the packages can't be fetched from PyPI.
pub fn environment(name: &str, requirements: &str) -> Result<PathBuf> {
    let requirements = repository().join("tests/apps").join(requirements);
    let wanted = std::fs::read_to_string(&requirements)?;
    let environment = target_directory().join(name);
    std::fs::create_dir_all(target_directory())?;
    // Several test programs may want it at once; the lock goes with the file.
    let lock = File::create(target_directory().join(format!("{name}.lock")))?;
    lock.lock()?;
    let python = environment.join("bin/python");
    let installed = environment.join("installed-requirements.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(python);
    }
    let mut command = Command::new(need("python3", "python3")?);
    command.args(["-m", "venv", "--clear"]).arg(&environment);
    run("python3 -m venv (Debian's package python3-venv)", command)?;
    let mut command = Command::new(&python);
    command
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(&requirements);
    run("pip install", command).context("the web app's packages come from PyPI")?;
    std::fs::write(&installed, wanted)?;
    Ok(python)
}

/// Where the app will listen, and the command that becomes it.
///
/// # Errors
/// As [`python`].
pub fn command() -> Result<(SocketAddr, Command)> {
    let address = free_address()?;
    let mut command = Command::new(python()?);
    command
        .args(["-m", "uvicorn", "main:app", "--no-access-log"])
        // As it is deployed everywhere; the directory has the telling name.
        .current_dir(repository().join("tests/apps/shop"))
        .args(["--host", &address.ip().to_string()])
        .args(["--port", &address.port().to_string()])
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok((address, command))
}

/// A command in `tests/apps/DIRECTORY` of a Python module's program, without bytecode files.
///
/// # Errors
/// As [`python`].
pub fn module(directory: &str, name: &str) -> Result<Command> {
    let mut command = Command::new(python()?);
    command
        .args(["-m", name])
        .current_dir(repository().join("tests/apps").join(directory))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// The app, until its owner is gone.
#[derive(Debug)]
pub struct WebApp {
    process: Process,
    address: SocketAddr,
}

impl WebApp {
    /// Starts the app and waits until it answers.
    ///
    /// # Errors
    /// As [`python`], or the app does not start.
    pub fn start() -> Result<Self> {
        let (address, command) = command()?;
        let mut app = Self::running_as(address, Process::spawn("uvicorn", command)?);
        app.wait_ready()?;
        Ok(app)
    }

    /// Starts a server that will listen there and answer `/health`, and waits until it does.
    ///
    /// # Errors
    /// It does not start.
    pub fn serve(name: &str, address: SocketAddr, command: Command) -> Result<Self> {
        let mut app = Self::running_as(address, Process::spawn(name, command)?);
        app.wait_ready()?;
        Ok(app)
    }

    /// An app of `tests/apps/DIRECTORY` under gunicorn with these workers, and waits until it answers
    /// `/health`. It finds its database in `DATABASE_HOST` and `DATABASE_PORT`.
    ///
    /// # Errors
    /// As [`python`], or it does not start.
    pub fn gunicorn(
        (directory, app): (&str, &str),
        workers: &[&str],
        (database_host, database_port): (&str, u16),
    ) -> Result<Self> {
        let address = free_address()?;
        let mut command = module(directory, "gunicorn")?;
        command
            .args(workers)
            .arg("--no-control-socket")
            .args(["--bind", &address.to_string(), app])
            .env("DATABASE_HOST", database_host)
            .env("DATABASE_PORT", database_port.to_string());
        Self::serve("gunicorn", address, command)
    }

    /// Takes over a process that [`command`] was run as.
    pub fn running_as(address: SocketAddr, process: Process) -> Self {
        Self { process, address }
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// It ended or never answers; the message has its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        waiting::until("the web app answers", PATIENCE, || {
            if let Some(status) = self.process.ended()? {
                bail!(
                    "the server ended with {status}:\n{}",
                    self.process.output()?
                );
            }
            let answer = http::get(self.address, "/health", &[]);
            Ok(answer
                .is_ok_and(|answer| answer.status == 200)
                .then_some(()))
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

    /// What it has written so far.
    pub fn log(&self) -> String {
        self.process
            .output()
            .unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait_ended(PATIENCE)
    }
}
