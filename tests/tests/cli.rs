//! What a person meets on the command line, above all when something is wrong: a clear message,
//! an exit code that says so, and never a backtrace.

use std::{
    net::TcpListener,
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use end_to_end::{
    probe::{Config, Probe, SHUTDOWN, copy_for_everyone, free_address, run_to_end},
    process::Process,
    site::{Site, need, without_settings},
};
use tempfile::TempDir;

/// A failing start must not hang either.
const PATIENCE: Duration = Duration::from_secs(30);

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// It failed, said each of these, and did not fall over.
fn failed_clearly(result: &(ExitStatus, String), says: &[&str]) -> Result<()> {
    let (status, output) = result;
    ensure!(
        status.code().is_some_and(|code| code != 0),
        "it ended with {status}:\n{output}"
    );
    for bad in ["panicked", "backtrace", "RUST_BACKTRACE", "Os {"] {
        ensure!(!output.contains(bad), "the message has {bad:?}:\n{output}");
    }
    for good in says {
        let found = output.to_lowercase().contains(&good.to_lowercase());
        ensure!(found, "the message does not say {good:?}:\n{output}");
    }
    ensure!(
        output.lines().count() <= 20,
        "that many lines hide the reason:\n{output}"
    );
    Ok(())
}

struct File {
    directory: TempDir,
}

impl File {
    fn new(text: &str) -> Result<Self> {
        let directory = TempDir::new()?;
        std::fs::write(directory.path().join("hostprobe.toml"), text)?;
        Ok(Self { directory })
    }

    /// `hostprobe VERB --config FILE`.
    fn command(&self, site: &Site, verb: &str) -> Command {
        let mut command = site.hostprobe(verb);
        command
            .arg("--config")
            .arg(self.directory.path().join("hostprobe.toml"));
        command
    }
}

fn usual_config() -> Result<String> {
    Ok(Config::new()
        .service("app", &[std::process::id()])
        .text(free_address()?))
}

#[test]
fn a_bad_key_is_named() -> Result<()> {
    let site = site()?;
    let file = File::new("listne = \"127.0.0.1:9738\"\n")?;
    for verb in ["run", "config"] {
        let result = run_to_end(file.command(&site, verb), PATIENCE)?;
        failed_clearly(&result, &["listne", "hostprobe.toml"])?;
    }
    Ok(())
}

#[test]
fn a_missing_file_is_named() -> Result<()> {
    let mut command = site()?.hostprobe("run");
    command.args(["--config", "/nowhere/at/all.toml"]);
    failed_clearly(&run_to_end(command, PATIENCE)?, &["/nowhere/at/all.toml"])
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    let site = site()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?;
    let config = Config::new().service("app", &[std::process::id()]);
    let file = File::new(&config.text(address))?;
    let result = run_to_end(file.command(&site, "run"), PATIENCE)?;
    failed_clearly(&result, &[&address.to_string(), "already"])
}

#[test]
fn lacking_rights_are_named() -> Result<()> {
    let site = site()?;
    let file = File::new(&usual_config()?)?;
    let program = copy_for_everyone(&site, file.directory.path())?;
    let mut command = Command::new(need("setpriv", "util-linux")?);
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["--inh-caps=-all", "--bounding-set=-all"])
        .arg(&program)
        .args(["run", "--config"])
        .arg(file.directory.path().join("hostprobe.toml"));
    without_settings(&mut command);
    failed_clearly(&run_to_end(command, PATIENCE)?, &["root"])?;

    let mut command = Command::new(need("setpriv", "util-linux")?);
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .arg("check");
    without_settings(&mut command);
    let (status, output) = run_to_end(command, PATIENCE)?;
    ensure!(
        !status.success(),
        "check without rights succeeds:\n{output}"
    );
    ensure!(!output.contains("panicked"), "{output}");
    Ok(())
}

#[test]
fn a_kernel_without_btf_is_named() -> Result<()> {
    let site = site()?;
    let file = File::new(&usual_config()?)?;
    let empty = TempDir::new()?;
    // A mount namespace of its own hides the kernel's type information from this one process.
    let hidden = |arguments: &Command| -> Result<Command> {
        let mut command = Command::new(need("unshare", "util-linux")?);
        command
            .args(["--mount", "--propagation=private", "sh", "-c"])
            .arg("mount --bind \"$0\" /sys/kernel/btf && exec \"$@\"")
            .arg(empty.path())
            .arg(arguments.get_program())
            .args(arguments.get_args());
        without_settings(&mut command);
        Ok(command)
    };
    let run = hidden(&file.command(&site, "run"))?;
    failed_clearly(&run_to_end(run, PATIENCE)?, &["BTF"])?;

    let (status, output) = run_to_end(hidden(&site.hostprobe("check"))?, PATIENCE)?;
    ensure!(!status.success(), "check without BTF succeeds:\n{output}");
    ensure!(output.contains("BTF"), "{output}");
    ensure!(!output.contains("panicked"), "{output}");
    Ok(())
}

#[test]
fn check_finds_everything_in_order_here() -> Result<()> {
    let site = site()?;
    let text = end_to_end::process::run("hostprobe check", site.hostprobe("check"))?;
    ensure!(text.lines().count() > 3, "it says too little:\n{text}");
    let mut command = site.hostprobe("check");
    command.arg("--json");
    let json = end_to_end::process::run("hostprobe check --json", command)?;
    serde_json::from_str::<serde_json::Value>(&json)
        .with_context(|| format!("it is not JSON:\n{json}"))?;
    Ok(())
}

#[test]
fn the_effective_configuration_can_be_fed_back() -> Result<()> {
    let site = site()?;
    let file = File::new(&usual_config()?)?;
    let first = end_to_end::process::run("hostprobe config", file.command(&site, "config"))?;
    ensure!(first.contains("app") && first.contains("listen"), "{first}");
    let again = File::new(&first)?;
    let second = end_to_end::process::run("hostprobe config", again.command(&site, "config"))?;
    ensure!(first == second, "{first}\nbecame\n{second}");
    Ok(())
}

#[test]
fn the_version_names_the_kernel_object() -> Result<()> {
    let output = end_to_end::process::run("hostprobe --version", site()?.hostprobe("--version"))?;
    ensure!(output.starts_with("hostprobe "), "{output}");
    // A build id is what tells two kernel objects of one version apart.
    let has_id = output
        .split(|c: char| !c.is_ascii_hexdigit())
        .any(|word| word.len() >= 8);
    ensure!(has_id, "there is no build id in {output:?}");
    Ok(())
}

#[test]
fn sigterm_ends_it_in_time_while_it_works() -> Result<()> {
    let site = site()?;
    let mut busy = Process::spawn("workload", site.workload(&["burst", "count=200000000"]))?;
    let probe = Probe::start(&site, &Config::new().service("app", &[busy.pid()]))?;
    probe.eventually(|metrics| {
        let calls = metrics.count("hostprobe_syscalls_total", &[("syscall", "getppid")]);
        ensure!(calls > 0, "it does not work");
        Ok(())
    })?;
    ensure!(
        probe.get("/healthz", &[])?.status == 200,
        "it is not healthy"
    );
    // A scraper that never finishes its request must not keep it alive.
    let _idle = std::net::TcpStream::connect(probe.address())?;
    let took = probe.stop_timed()?;
    ensure!(took <= SHUTDOWN, "after SIGTERM it took {took:?} to end");
    ensure!(
        busy.ended()?.is_none(),
        "the traced program should have outlived the probe"
    );
    Ok(())
}

#[test]
fn sighup_adds_and_removes_services() -> Result<()> {
    let site = site()?;
    let busy = || Process::spawn("workload", site.workload(&["burst", "count=200000000"]));
    let (first, second) = (busy()?, busy()?);
    let counted = |probe: &Probe, service: &str| -> Result<u64> {
        let labels = [("service", service), ("syscall", "getppid")];
        Ok(probe.metrics()?.count("hostprobe_syscalls_total", &labels))
    };
    let grows = |probe: &Probe, service: &str| -> Result<()> {
        let before = counted(probe, service)?;
        probe.eventually(|metrics| {
            let labels = [("service", service), ("syscall", "getppid")];
            let now = metrics.count("hostprobe_syscalls_total", &labels);
            ensure!(now > before, "{service} is not traced");
            Ok(())
        })
    };

    let one = Config::new().service("first", &[first.pid()]);
    let probe = Probe::start(&site, &one)?;
    grows(&probe, "first")?;
    ensure!(counted(&probe, "second")? == 0, "second is not configured");

    probe.reload(&one.clone().service("second", &[second.pid()]))?;
    grows(&probe, "second")?;
    grows(&probe, "first")?;

    probe.reload(&Config::new().service("second", &[second.pid()]))?;
    // Removed: either gone, or standing still between two looks while the other grows.
    probe.eventually(|_| {
        let before = counted(&probe, "first")?;
        grows(&probe, "second")?;
        let after = counted(&probe, "first")?;
        ensure!(after <= before, "first is still traced: {before}, {after}");
        Ok(())
    })?;

    // A reload that can't be read changes nothing.
    std::fs::write(probe.config_path(), "listne = 1\n")?;
    let hangup = nix::sys::signal::Signal::SIGHUP;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(probe.pid().cast_signed()),
        hangup,
    )?;
    probe.eventually(|_| {
        ensure!(
            probe.log().contains("listne"),
            "the log does not name the bad key"
        );
        Ok(())
    })?;
    grows(&probe, "second")?;
    probe.stop()
}
