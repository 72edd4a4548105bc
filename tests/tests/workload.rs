//! The workload against strace: its own tally, which the checks in VMs rely on alone, is true.

use anyhow::{Context, Result, ensure};
use end_to_end::{
    process::Process,
    strace::Strace,
    waiting::{self, PATIENCE},
    workload::tally::Tally,
};
use tempfile::TempDir;

struct Watched {
    process: Process,
    strace: Option<Strace>,
}

impl Watched {
    fn launch(arguments: &[&str]) -> Result<Self> {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_workload"));
        command.args(arguments);
        Ok(Self {
            process: Process::spawn("workload", command)?,
            strace: None,
        })
    }

    /// Attaches at the first gate.
    fn attach(&mut self) -> Result<()> {
        self.process.wait_stopped()?;
        self.strace = Some(Strace::attach(self.process.pid())?);
        Ok(())
    }

    /// Compares at the second gate.
    fn compare(mut self, compared: impl Fn(&str) -> bool) -> Result<()> {
        self.process.wait_stopped()?;
        let strace = self.strace.take().context("strace was not attached")?;
        let mut seen = strace.detach()?;
        self.process.resume()?;
        let output = self.process.wait_success()?;
        let mut tally = Tally::parse(&output)?;
        seen.calls.retain(|name, _| compared(name));
        seen.errors.retain(|name, _| compared(name));
        tally.calls.retain(|name, _| compared(name));
        ensure!(!tally.calls.is_empty(), "nothing was compared");
        ensure!(
            tally.calls == seen.calls,
            "calls: the tally has {:?}, strace has {:?}",
            tally.calls,
            seen.calls
        );
        for (name, errors) in &seen.errors {
            let own: u64 = tally
                .errors
                .iter()
                .filter(|((call, _), _)| call == name)
                .map(|(_, count)| count)
                .sum();
            ensure!(
                own == *errors,
                "errors of {name}: {own}, strace has {errors}"
            );
        }
        Ok(())
    }
}

fn single(arguments: &[&str], compared: impl Fn(&str) -> bool) -> Result<()> {
    let mut watched = Watched::launch(arguments)?;
    watched.attach()?;
    watched.process.resume()?;
    watched.compare(compared)
}

#[test]
fn single_workloads_tell_the_truth() -> Result<()> {
    let all = |_: &str| true;
    single(&["calls", "count=100"], all)?;
    single(&["errors", "count=10"], all)?;
    single(&["sleep", "count=2", "ms=1"], all)?;
    single(&["forks", "children=5", "count=5"], all)?;
    single(&["refused", "count=5"], all)?;
    single(&["refused", "count=5", "family=6"], all)?;
    single(&["abandoned", "count=2", "ms=20"], all)?;
    single(&["datagrams", "count=5"], all)?;
    single(&["pair", "connections=2", "bytes=5000"], all)?;
    single(&["threads", "threads=2", "count=50"], |name| {
        name == "getppid"
    })?;
    single(&["programs", "children=3", "count=5"], |name| {
        name == "getppid"
    })
}

#[test]
fn a_child_that_ends_by_a_signal_is_told_apart() -> Result<()> {
    // A child that is killed is gone before strace learns that its `kill` has returned.
    single(&["exits", "codes=0,3", "signals=15"], |name| name != "kill")
}

fn conversation(options: &[&str]) -> Result<()> {
    let mut server = Watched::launch(&[&["server"], options].concat())?;
    let port = waiting::until("the server listens", PATIENCE, || {
        let output = server.process.output()?;
        let line = output.lines().find(|line| line.starts_with("port "));
        Ok(line
            .filter(|_| output.ends_with('\n'))
            .map(|line| line.replace("port ", "port=")))
    })?;
    let mut client = Watched::launch(&[&["client"], options, &[&port]].concat())?;
    server.attach()?;
    client.attach()?;
    server.process.resume()?;
    client.process.resume()?;
    client
        .compare(|_| true)
        .with_context(|| format!("client {options:?}"))?;
    server
        .compare(|_| true)
        .with_context(|| format!("server {options:?}"))
}

#[test]
fn conversations_tell_the_truth() -> Result<()> {
    let directory = TempDir::new()?;
    let path = format!("path={}", directory.path().join("socket").display());
    conversation(&["family=4", "connections=3", "bytes=20000"])?;
    conversation(&["family=6", "connections=3", "bytes=20000"])?;
    conversation(&["family=unix", &path, "connections=3", "bytes=20000"])?;
    conversation(&["nonblocking=1", "wait=epoll", "bytes=300000", "peek=1"])?;
    conversation(&[
        "nonblocking=1",
        "wait=poll",
        "send=splice",
        "receive=splice",
    ])?;
    conversation(&["send=sendmmsg", "receive=recvmmsg"])?;
    conversation(&["send=sendfile", "receive=readv"])?;
    conversation(&["send=sendmsg", "receive=recvmsg", "inherit=1"])?;
    conversation(&["send=writev", "receive=recvfrom", "ending=half"])?;
    conversation(&["send=sendto", "ending=reset", "before=1"])?;
    conversation(&["ending=unread", "bytes=10000"])
}
