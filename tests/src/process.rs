//! Processes that the tests start, hold still, let go and end.

use std::{
    fs::File,
    io::Write,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tempfile::NamedTempFile;

use crate::waiting;

/// A child process whose output is kept, and which ends with its owner.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: NamedTempFile,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a command; both its output streams go to one file.
    ///
    /// # Errors
    /// The program can't be started.
    pub fn spawn(name: &str, command: Command) -> Result<Self> {
        Self::spawn_with_input(name, command, Stdio::null())
    }

    /// As [`Self::spawn`], with something to read from: `Stdio::piped()` for [`Self::feed`].
    ///
    /// # Errors
    /// The program can't be started.
    pub fn spawn_with_input(name: &str, mut command: Command, input: Stdio) -> Result<Self> {
        let output = NamedTempFile::new()?;
        let child = command
            .stdin(input)
            .stdout(append(&output)?)
            .stderr(append(&output)?)
            .spawn()
            .with_context(|| format!("starting {name}: {command:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            output,
            ended: None,
        })
    }

    /// As [`Self::spawn`], in a terminal, to which all output goes.
    ///
    /// # Errors
    /// The program can't be started.
    pub fn spawn_in_terminal(
        name: &str,
        mut command: Command,
        input: Stdio,
        [output, errors]: [Stdio; 2],
    ) -> Result<Self> {
        let child = command
            .stdin(input)
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {name}: {command:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            output: NamedTempFile::new()?,
            ended: None,
        })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn nix_pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// What it has written so far.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn output(&self) -> Result<String> {
        let bytes = std::fs::read(self.output.path())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes to its standard input and closes that.
    ///
    /// # Errors
    /// It reads no more.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let mut input = self.child.stdin.take().context("started without input")?;
        Ok(input.write_all(bytes)?)
    }

    /// Writes to its standard input, which stays open.
    ///
    /// # Errors
    /// It reads no more.
    pub fn tell(&mut self, text: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("started without input")?;
        input
            .write_all(text.as_bytes())
            .with_context(|| format!("telling {} {text:?}", self.name))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.ended.is_some() {
            bail!("{} ended before it was sent {signal}", self.name);
        }
        kill(self.nix_pid(), signal).with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Waits until the process has stopped itself.
    ///
    /// # Errors
    /// It ended instead, or did not stop in time.
    pub fn wait_stopped(&mut self) -> Result<()> {
        let name = self.name.clone();
        waiting::until(
            &format!("{name} stops itself"),
            waiting::PATIENCE,
            || match self.poll(WaitPidFlag::WUNTRACED)? {
                Some(WaitStatus::Stopped(..)) => Ok(Some(())),
                _ => match self.ended {
                    Some(status) => bail!("{name} ended with {status}:\n{}", self.output()?),
                    None => Ok(None),
                },
            },
        )
    }

    /// Lets a stopped process go on.
    ///
    /// # Errors
    /// The process is gone.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn wait_ended(&mut self, patience: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        waiting::until(&format!("{name} ends"), patience, || {
            self.poll(WaitPidFlag::empty())?;
            Ok(self.ended)
        })
    }

    /// Waits until the process has ended well.
    ///
    /// # Errors
    /// It ended badly or not in time; the message has its output.
    pub fn wait_success(&mut self) -> Result<String> {
        let status = self.wait_ended(waiting::PATIENCE)?;
        let output = self.output()?;
        if !status.success() {
            bail!("{} ended with {status}:\n{output}", self.name);
        }
        Ok(output)
    }

    /// Whether it has ended by now, and how.
    ///
    /// # Errors
    /// The kernel does not know the process.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.poll(WaitPidFlag::empty())?;
        Ok(self.ended)
    }

    fn poll(&mut self, flags: WaitPidFlag) -> Result<Option<WaitStatus>> {
        if self.ended.is_some() {
            return Ok(None);
        }
        let status = waitpid(self.nix_pid(), Some(flags | WaitPidFlag::WNOHANG))?;
        self.ended = match status {
            WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw(code << 8)),
            WaitStatus::Signaled(_, signal, core) => Some(ExitStatus::from_raw(
                signal as i32 | if core { 0x80 } else { 0 },
            )),
            _ => None,
        };
        Ok(Some(status))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() && self.poll(WaitPidFlag::empty()).is_ok() && self.ended.is_none() {
            // The process is ours and not reaped yet, so its id can't be anyone else's.
            let _ = kill(self.nix_pid(), Signal::SIGKILL);
            let _ = waitpid(self.nix_pid(), None);
        }
    }
}

fn append(file: &NamedTempFile) -> Result<File> {
    Ok(File::options().append(true).open(file.path())?)
}

/// Starts a command that stops itself before its first instruction, so that the probe and a
/// second observer can be attached to all of it. [`Process::resume`] lets it go.
///
/// # Errors
/// The command can't be started or does not stop.
pub fn run_stopped(name: &str, command: &Command) -> Result<Process> {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        shell.current_dir(directory);
    }
    let mut process = Process::spawn(name, shell)?;
    process.wait_stopped()?;
    Ok(process)
}

/// Runs a command to its end and returns what it wrote.
///
/// # Errors
/// It failed; the message has its output.
pub fn run(name: &str, command: Command) -> Result<String> {
    Process::spawn(name, command)?.wait_success()
}
