//! `hostprobe top` in a real terminal over a real daemon: what is seen, what keys do, and that the
//! terminal is usable afterwards, however it ends.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use end_to_end::{
    http,
    probe::{Config, Probe, run_to_end},
    process::Process,
    site::Site,
    terminal::Terminal,
    waiting::PATIENCE,
    web::WebApp,
};
use nix::sys::signal::Signal;
use serde_json::Value;

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

fn top(site: &Site, probe: &Probe) -> Command {
    let mut command = site.hostprobe("top");
    command.args(["--address", &probe.address().to_string()]);
    command
}

/// An app and a process that does nothing, watched by a probe.
struct Watched {
    app: WebApp,
    _idle: Process,
    probe: Probe,
}

impl Watched {
    fn start(site: &Site) -> Result<Self> {
        let app = WebApp::start()?;
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        let idle = Process::spawn("sleep", sleep)?;
        let config = Config::new()
            .with_payload()
            .service("webshop", &[app.pid()])
            .service("sleeper", &[idle.pid()]);
        let probe = Probe::start(site, &config)?;
        Ok(Self {
            app,
            _idle: idle,
            probe,
        })
    }

    fn ask(&self) -> Result<()> {
        for _ in 0..20 {
            let answer = http::get(self.app.address(), "/health", &[])?;
            ensure!(answer.status == 200);
        }
        Ok(())
    }
}

/// What a person does in the first minute: look, sort, filter, open, go back, resize, quit.
#[test]
fn keys_do_what_the_last_line_says_and_quitting_gives_the_terminal_back() -> Result<()> {
    let site = site()?;
    let watched = Watched::start(&site)?;
    let mut terminal = Terminal::start("top", &top(&site, &watched.probe), 24, 80)?;
    terminal.wait_for(&["SERVICE", "\nwebshop", "\nsleeper", "q quit", "live"])?;
    watched.ask()?;
    terminal.wait_for(&["webshop is fine"])?;
    terminal.keys("/WEB")?;
    let text = terminal.wait_for(&["filter: WEB"])?;
    ensure!(
        !text.contains("\nsleeper"),
        "the filter lets others through:\n{text}"
    );
    terminal.keys("\r")?;
    terminal.wait_for(&["only services with \"WEB\""])?;
    terminal.keys("\r")?;
    terminal.wait_for(&["GET /health", "Esc back", "syscalls"])?;
    terminal.keys("\t\t")?;
    terminal.wait_for(&["SYSCALLS", "recvfrom"])?;
    terminal.resize(40, 120)?;
    terminal.wait_for(&["SYSCALLS", "Esc back"])?;
    terminal.resize(24, 80)?;
    // Escape alone, and then another key: a terminal sends both as bytes.
    terminal.keys("\x1b")?;
    terminal.wait_for(&["only services with \"WEB\""])?;
    terminal.keys("\x1b")?;
    terminal.wait_for(&["\nsleeper", "q quit"])?;
    terminal.keys("?")?;
    terminal.wait_for(&["Keys and columns"])?;
    terminal.keys(" p")?;
    terminal.wait_for(&["paused"])?;
    terminal.keys("q")?;
    let status = terminal.wait_ended()?;
    ensure!(status.success(), "{status}");
    watched.probe.stop()
}

/// A terminal that stays raw after `kill` or Ctrl-C has to be closed.
#[test]
fn signals_and_ctrl_c_give_the_terminal_back() -> Result<()> {
    let site = site()?;
    let watched = Watched::start(&site)?;
    for end in [Some(Signal::SIGTERM), Some(Signal::SIGHUP), None] {
        let mut terminal = Terminal::start("top", &top(&site, &watched.probe), 24, 80)?;
        terminal.wait_for(&["webshop", "live"])?;
        match end {
            Some(signal) => terminal.signal(signal)?,
            None => terminal.keys("\x03")?,
        }
        let status = terminal.wait_ended()?;
        ensure!(status.success(), "{end:?}: {status}");
    }
    watched.probe.stop()
}

/// Whoever restarts the daemon must not have to restart what shows it.
#[test]
fn a_daemon_that_is_gone_is_told_and_one_that_comes_back_is_shown() -> Result<()> {
    let site = site()?;
    let watched = Watched::start(&site)?;
    let address = watched.probe.address();
    let mut terminal = Terminal::start("top", &top(&site, &watched.probe), 24, 80)?;
    terminal.wait_for(&["webshop", "live"])?;
    watched.probe.stop()?;
    terminal.wait_for(&["no answer", "trying again", "webshop"])?;
    let config = Config::new().service("reborn", &[watched.app.pid()]);
    let probe = Probe::start_at(&site, &config, address)?;
    terminal.wait_for(&["reborn", "live"])?;
    terminal.keys("q")?;
    ensure!(terminal.wait_ended()?.success());
    probe.stop()
}

/// Scripts have no terminal.
#[test]
fn once_prints_a_table_or_json_and_says_why_when_there_is_no_daemon() -> Result<()> {
    let site = site()?;
    let watched = Watched::start(&site)?;
    watched.ask()?;
    let mut command = top(&site, &watched.probe);
    command.arg("--once");
    let (status, text) = run_to_end(command, PATIENCE)?;
    ensure!(status.success(), "{text}");
    for part in ["SERVICE", "REQ/S", "webshop", "sleeper has nothing to do"] {
        ensure!(text.contains(part), "{part} is missing:\n{text}");
    }
    let mut command = top(&site, &watched.probe);
    command.args(["--once", "--json"]);
    let (status, text) = run_to_end(command, PATIENCE)?;
    ensure!(status.success(), "{text}");
    let document: Value = serde_json::from_str(&text).context("the output is no JSON")?;
    let services = document["services"].as_array().context("no services")?;
    let shop = services.iter().find(|service| service["name"] == "webshop");
    let shop = shop.context("the app is missing")?;
    ensure!(
        shop["requests_per_second"].is_f64() && shop["sentence"].is_string(),
        "{shop}"
    );
    ensure!(shop["routes"][0]["name"] == "GET /health", "{shop}");
    // Without a terminal, and without --once.
    let (status, text) = run_to_end(top(&site, &watched.probe), PATIENCE)?;
    ensure!(
        status.code() == Some(2) && text.contains("--once"),
        "{status}: {text}"
    );
    let mut command = top(&site, &watched.probe);
    command.arg("--once");
    watched.probe.stop()?;
    let (status, text) = run_to_end(command, PATIENCE)?;
    ensure!(
        status.code() == Some(1) && text.contains("cannot reach hostprobe"),
        "{status}: {text}"
    );
    Ok(())
}
