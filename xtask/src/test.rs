//! `cargo xtask test`: unit tests, the real binary against real servers, the kernel matrix.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use xshell::Cmd;

use crate::{
    build::{self, Built},
    page_script,
    setup::{self, Group},
    steps::{Outcome, Steps},
    vm_test,
    workspace::{Workspace, is_root},
};

/// Run all tests: unit, the page script in Node, end to end, kernel matrix
///
/// Needs root for the last two: they load kernel programs. Installs what is missing and builds
/// first. All parts are run, whatever failed, and a summary ends the output.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains this; leaves the kernel matrix out
    filter: Option<String>,
}

pub(crate) fn main(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    setup::ensure(workspace, Group::ALL)?;
    let built = build::build(workspace)?;
    let mut steps = Steps::default();
    run(workspace, &built, &mut steps, arguments.filter.as_deref());
    steps.finish()
}

/// The parts, as steps.
pub(crate) fn run(workspace: &Workspace, built: &Built, steps: &mut Steps, filter: Option<&str>) {
    steps.run("unit tests", || {
        let command = workspace
            .cargo()
            .args([
                "test",
                "--no-fail-fast",
                "--workspace",
                "--exclude=probe-ebpf",
                "--exclude=end-to-end",
            ])
            .args(filter);
        cargo_test(command, filter)
    });
    if filter.is_none() {
        steps.run("page script", || page_script::test(workspace));
    }
    steps.run("end to end", || {
        if !is_root() {
            bail!("needs root: it loads kernel programs");
        }
        let command = workspace
            .cargo()
            .args(["test", "--no-fail-fast", "--package=end-to-end"])
            .args(filter)
            // One at a time: counts are compared exactly, and the probe sees the whole host.
            .args(["--", "--test-threads=1"])
            .env("HOSTPROBE_BIN", &built.binary)
            .env("HOSTPROBE_REPO", workspace.path(""));
        cargo_test(command, filter)
    });
    if let Some(filter) = filter {
        println!(
            "\nthe page script and the kernel matrix were left out: only tests with `{filter}` in their name"
        );
    } else {
        steps.run("kernel matrix", || {
            vm_test::run(workspace, built, &vm_test::Arguments::default())
        });
    }
}

/// Runs `cargo test`, passes its output on, and adds the runners' closing lines up.
fn cargo_test(command: Cmd<'_>, filter: Option<&str>) -> Result<Outcome> {
    let mut child = Command::from(command)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    let output = child.stdout.take().context("reading cargo's output")?;
    let mut total = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("reading cargo's output")?;
        total.add_closing_line(&line);
        println!("{line}");
    }
    let status = child.wait().context("waiting for cargo")?;
    let words = format!(
        "{} passed, {} failed, {} ignored",
        total.passed, total.failed, total.ignored
    );
    if !status.success() && total.failed == 0 {
        bail!("cargo test failed, though no test did: see its output above ({words})");
    }
    if !status.success() {
        return Ok(Outcome::Failed(words));
    }
    if total.passed == 0 && filter.is_none() {
        bail!("no test was run");
    }
    Ok(Outcome::Passed(words))
}

#[derive(Debug, Default, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; ...`
    fn add_closing_line(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let counts = result.split_once(". ").map_or(result, |(_, counts)| counts);
        for part in counts.split("; ") {
            let Some((number, kind)) = part.split_once(' ') else {
                continue;
            };
            let number: u64 = number.parse().unwrap_or_default();
            match kind {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The summary, and the check that anything was run at all, rest on these lines.
    #[test]
    fn closing_lines_add_up() {
        let mut counts = Counts::default();
        for line in [
            "running 6 tests",
            "test sockets::closed ... ok",
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            counts.add_closing_line(line);
        }
        assert_eq!(
            counts,
            Counts {
                passed: 6,
                failed: 2,
                ignored: 1
            }
        );
    }
}
