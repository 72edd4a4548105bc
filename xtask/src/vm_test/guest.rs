//! What the guest program says: its counts, its verdict, and how to show it when it went wrong.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// How long the guest may take, in seconds: several times what it takes on an emulated machine
/// (50 s), because others may be at work on the same host.
pub(super) const TIME_LIMIT: u32 = 300;

/// What `/init` prints before the guest's exit code.
pub(super) const MARKER: &str = "hostprobe-guest-exit";

/// A run in which nothing failed.
#[derive(Debug, PartialEq)]
pub(super) struct Report {
    pub(super) passed: u64,
    /// Program name to the number of instructions that the verifier walked.
    pub(super) instructions: BTreeMap<String, u64>,
}

/// Reads the console of a virtual machine, where `/init` wrote the exit code.
pub(super) fn read_console(log: &Path) -> Result<Report> {
    let text = read(log)?;
    let exit_code = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(MARKER))
        .context("the machine stopped, or hung, before the guest ended")?
        .trim()
        .parse()
        .context("reading the guest's exit code from the console")?;
    judge(&text, Some(exit_code))
}

/// Reads what the guest wrote here. `exit_code` is `None` if a signal ended it.
pub(super) fn read_log(log: &Path, exit_code: Option<i32>) -> Result<Report> {
    judge(&read(log)?, exit_code)
}

fn read(log: &Path) -> Result<String> {
    let bytes = fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    // A console may carry anything.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn judge(text: &str, exit_code: Option<i32>) -> Result<Report> {
    // 124 and 137 are what `timeout` makes of a guest that it had to end.
    if matches!(exit_code, Some(124 | 137) | None) {
        bail!("the guest was ended by a signal, or after {TIME_LIMIT} s");
    }
    let (passed, failed) = text
        .lines()
        .rev()
        .find_map(closing_line)
        .context("the guest did not say how many checks passed")?;
    if failed > 0 {
        bail!("{failed} of {} checks failed", passed + failed);
    }
    if exit_code != Some(0) {
        bail!(
            "the guest ended with code {}",
            exit_code.unwrap_or_default()
        );
    }
    if passed == 0 {
        bail!("the guest checked nothing");
    }
    let instructions: BTreeMap<_, _> = text.lines().filter_map(verifier_line).collect();
    if instructions.is_empty() {
        bail!("the guest named no program's instruction count");
    }
    Ok(Report {
        passed,
        instructions,
    })
}

/// `12 passed, 0 failed`
fn closing_line(line: &str) -> Option<(u64, u64)> {
    let (passed, failed) = line.trim().split_once(" passed, ")?;
    let failed = failed.strip_suffix(" failed")?;
    Some((passed.parse().ok()?, failed.parse().ok()?))
}

/// `verifier sys_enter 1234`
fn verifier_line(line: &str) -> Option<(String, u64)> {
    let mut words = line.trim().strip_prefix("verifier ")?.split_whitespace();
    let (program, count) = (words.next()?, words.next()?);
    match words.next() {
        None => Some((program.to_owned(), count.parse().ok()?)),
        Some(_) => None,
    }
}

/// The end of a log, where a failure is explained.
pub(super) fn show_end(workspace: &Workspace, log: &Path) {
    const LINES: usize = 60;
    let Ok(text) = read(log) else { return };
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let start = lines.len().saturating_sub(LINES);
    eprintln!("  --- the end of {}", workspace.shown(log));
    for line in lines.iter().skip(start) {
        // Firmware clears the screen: that would wipe out what is explained here.
        eprintln!("  | {}", line.replace(char::is_control, " "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "attaching\r\nverifier sys_enter 1234\r\nverifier sched_process_fork 99\r\n\
                        7 passed, 0 failed\r\nhostprobe-guest-exit 0\r\n";

    #[test]
    fn a_good_run_is_read_from_a_serial_console() {
        let report = judge(GOOD, Some(0)).expect("a good run");
        let expected = [("sched_process_fork", 99), ("sys_enter", 1234)];
        assert_eq!(report.passed, 7);
        assert!(
            report
                .instructions
                .iter()
                .map(|(name, n)| (name.as_str(), *n))
                .eq(expected)
        );
    }

    /// A kernel on which the guest did nothing, hung or crashed must not count as tested.
    #[test]
    fn a_run_that_proves_nothing_fails() {
        for (text, exit_code) in [
            (GOOD, Some(1)),
            (GOOD, Some(124)),
            (GOOD, None),
            ("", Some(0)),
            ("verifier sys_enter 1\n0 passed, 0 failed\n", Some(0)),
            ("verifier sys_enter 1\n3 passed, 1 failed\n", Some(0)),
            ("3 passed, 0 failed\n", Some(0)),
        ] {
            assert!(judge(text, exit_code).is_err(), "{text:?} {exit_code:?}");
        }
    }
}
