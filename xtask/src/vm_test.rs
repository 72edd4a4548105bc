//! `cargo xtask vm-test`: the same static binary and the same assertions on several kernels.

mod baseline;
mod guest;
mod kernels;
mod machine;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use self::{
    baseline::{Baseline, Measured},
    guest::Report,
};
use crate::{
    build::{self, Built},
    setup::{self, Group},
    steps::{Outcome, Steps},
    workspace::{Workspace, is_root},
};

/// Run the kernel matrix: Debian's 6.1 and 6.12 cloud kernels under qemu, and this host's own
///
/// Prints how many instructions the verifier walked for each program, and fails when one needs
/// over 25 % more than tests/verifier-baseline.toml says. Needs root for the host's own kernel.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Write what was measured to tests/verifier-baseline.toml
    #[arg(long)]
    bless: bool,
    /// Only this kernel
    #[arg(long, value_parser = KERNELS)]
    kernel: Option<String>,
}

impl Arguments {
    fn wants(&self, kernel: &str) -> bool {
        self.kernel.as_deref().is_none_or(|wanted| wanted == kernel)
    }
}

/// Long-term kernels that Debian's stable release offers, and the one that runs now.
const KERNELS: [&str; 3] = ["6.1", "6.12", HOST];
const HOST: &str = "host";

const BASELINE: &str = "tests/verifier-baseline.toml";

/// Where kernels, initramfs and logs are kept, under `target/`.
const FOLDER: &str = "vm";

/// The static binaries that every kernel runs.
struct Payload {
    hostprobe: PathBuf,
    guest: PathBuf,
}

pub(crate) fn main(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    setup::ensure(workspace, &[Group::Build, Group::Vm])?;
    let built = build::build(workspace)?;
    let mut steps = Steps::default();
    steps.run("kernel matrix", || run(workspace, &built, arguments));
    steps.finish()
}

/// All kernels, then the verifier's counts. One failing kernel does not stop the others.
pub(crate) fn run(workspace: &Workspace, built: &Built, arguments: &Arguments) -> Result<Outcome> {
    std::fs::create_dir_all(workspace.target(FOLDER)).context("making target/vm")?;
    let payload = Payload {
        hostprobe: build::build_static(workspace, &built.object, "probe-user", "hostprobe")?,
        guest: build::build_static(workspace, &built.object, "end-to-end", "guest")?,
    };
    let initramfs = machine::pack_initramfs(workspace, &payload)?;

    let mut measured = Vec::new();
    let mut problems = Vec::new();
    for kernel in KERNELS.into_iter().filter(|kernel| arguments.wants(kernel)) {
        let log = workspace.target(FOLDER).join(format!("{kernel}.log"));
        // Otherwise a failure before the start would be explained by the last run's log.
        workspace.shell.remove_path(&log)?;
        match run_on(workspace, kernel, &payload, &initramfs, &log) {
            Ok(one) => measured.push(one),
            Err(error) => {
                eprintln!("  FAILED: {error:#}");
                guest::show_end(workspace, &log);
                problems.push(format!("kernel {kernel}: {error:#}"));
            }
        }
    }
    if !measured.is_empty() {
        print!("\n{}", baseline::table(&measured));
    }
    if let Err(error) = judge(workspace, arguments, &measured, problems.is_empty()) {
        problems.push(format!("{error:#}"));
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(Outcome::Passed(format!("{} kernels", measured.len())))
}

/// Compares with the baseline, or makes it anew.
fn judge(
    workspace: &Workspace,
    arguments: &Arguments,
    measured: &[Measured],
    all_passed: bool,
) -> Result<()> {
    let path = workspace.path(BASELINE);
    let mut baseline = Baseline::read(&path)?;
    if arguments.bless {
        if !all_passed {
            bail!("a kernel failed: {BASELINE} is left as it was");
        }
        baseline.take_over(measured);
        baseline.write(&path)?;
        println!("wrote {BASELINE}");
        return Ok(());
    }
    let problems = baseline.problems(measured);
    if problems.is_empty() {
        return Ok(());
    }
    bail!(
        "the verifier's counts differ from {BASELINE}:\n  {}\n\
         if that is meant: cargo xtask vm-test --bless",
        problems.join("\n  ")
    )
}

fn run_on(
    workspace: &Workspace,
    kernel: &str,
    payload: &Payload,
    initramfs: &Path,
    log: &Path,
) -> Result<Measured> {
    let required = kernel != HOST;
    let (report, kernel) = if required {
        (
            run_in_machine(workspace, kernel, initramfs, log)?,
            kernel.to_owned(),
        )
    } else {
        (run_on_host(workspace, payload, log)?, host_kernel()?)
    };
    println!("  {} passed", report.passed);
    Ok(Measured {
        kernel,
        required,
        instructions: report.instructions,
    })
}

/// Major and minor version of the running kernel: `6.18`.
fn host_kernel() -> Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("reading the running kernel's version")?;
    let version: Vec<&str> = release.split(['.', '-']).take(2).collect();
    Ok(version.join("."))
}

fn run_in_machine(
    workspace: &Workspace,
    kernel: &str,
    initramfs: &Path,
    log: &Path,
) -> Result<Report> {
    let image = kernels::fetch(workspace, kernel)?;
    println!("vm-test: {} under qemu", image.package);
    machine::boot(&image.file, initramfs, log)?;
    guest::read_console(log)
}

fn run_on_host(workspace: &Workspace, payload: &Payload, log: &Path) -> Result<Report> {
    if !is_root() {
        bail!("needs root: it loads kernel programs");
    }
    println!("vm-test: this host's own kernel");
    let output = File::create(log).with_context(|| format!("writing {}", log.display()))?;
    let status = Command::new("timeout")
        .args(["--kill-after=5", &guest::TIME_LIMIT.to_string()])
        .arg(&payload.guest)
        .env("HOSTPROBE_BIN", &payload.hostprobe)
        .env_remove("LD_LIBRARY_PATH")
        .current_dir(workspace.target(FOLDER))
        .stderr(output.try_clone().context("sharing the log")?)
        .stdout(output)
        .status()
        .with_context(|| format!("starting {}", payload.guest.display()))?;
    guest::read_log(log, status.code())
}
