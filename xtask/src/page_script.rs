//! The script for web pages, `web/vitals`: its npm packages, its build, its tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use xshell::cmd;

use crate::{
    steps::Outcome,
    workspace::{Workspace, find_command},
};

/// Its sources.
const SOURCES: &str = "web/vitals";

/// What its build makes, and where the daemon's crate has it.
const FILES: &[&str] = &["vitals.js", "LICENSE-web-vitals"];
const HOME: &str = "probe-user/src/vitals/script";

/// The lock file as it was when the packages were installed; lies among them.
const INSTALLED: &str = "node_modules/installed-package-lock.json";
const LOCK: &str = "package-lock.json";

/// Whether the packages that the lock file names are there.
pub(crate) fn has_packages(workspace: &Workspace) -> bool {
    let sources = workspace.path(SOURCES);
    let installed = fs::read(sources.join(INSTALLED)).ok();
    installed.is_some() && installed == fs::read(sources.join(LOCK)).ok()
}

/// Installs the packages that the lock file names, in `web/vitals/node_modules`.
pub(crate) fn install_packages(workspace: &Workspace) -> Result<()> {
    if find_command("npm").is_none() {
        bail!(
            "npm is missing, which the script for web pages is built with: `cargo xtask setup test`"
        );
    }
    let sources = workspace.path(SOURCES);
    println!("setup: npm ci (in {SOURCES})");
    {
        let _in_sources = workspace.shell.push_dir(&sources);
        // No package of ours needs a script of its own to work.
        cmd!(
            workspace.shell,
            "npm ci --ignore-scripts --no-audit --no-fund --loglevel=error"
        )
        .quiet()
        .ignore_stdout()
        .run()
        .with_context(|| format!("installing the packages of {SOURCES}/{LOCK}"))?;
    }
    fs::copy(sources.join(LOCK), sources.join(INSTALLED))
        .context("noting which packages are installed")?;
    Ok(())
}

/// Builds the script into where the daemon's crate has it.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    for (name, made) in made(workspace)? {
        let path = home(workspace, name);
        fs::write(&path, made).with_context(|| format!("writing {}", path.display()))?;
        println!("generate: wrote {HOME}/{name}");
    }
    Ok(())
}

/// The checked-in files that differ from what the sources make now.
pub(crate) fn stale(workspace: &Workspace) -> Result<Vec<String>> {
    let stale = made(workspace)?
        .into_iter()
        .filter(|(name, made)| fs::read(home(workspace, name)).ok().as_ref() != Some(made))
        .map(|(name, _)| format!("{HOME}/{name}"))
        .collect();
    Ok(stale)
}

/// How many files are made.
pub(crate) fn count() -> usize {
    FILES.len()
}

fn home(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.path(HOME).join(name)
}

fn made(workspace: &Workspace) -> Result<Vec<(&'static str, Vec<u8>)>> {
    if !has_packages(workspace) {
        install_packages(workspace)?;
    }
    let folder = workspace.target("page-script");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let build = workspace.path(SOURCES).join("build.mjs");
    cmd!(workspace.shell, "node {build} {folder}")
        .quiet()
        .run()
        .context("building the script for web pages")?;
    FILES
        .iter()
        .map(|name| read(&folder.join(name)).map(|made| (*name, made)))
        .collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Checks the sources' types, and runs the tests of the checked-in script in Node.
pub(crate) fn test(workspace: &Workspace) -> Result<Outcome> {
    if !has_packages(workspace) {
        install_packages(workspace)?;
    }
    let shell = &workspace.shell;
    let _in_sources = shell.push_dir(workspace.path(SOURCES));
    cmd!(shell, "node node_modules/typescript/bin/tsc --noEmit")
        .quiet()
        .run()
        .context("the types of the script for web pages")?;
    // Its closing lines are the last of the output, whatever Node finds out about the terminal.
    let output = cmd!(shell, "node --test --test-reporter=tap")
        .quiet()
        .ignore_status()
        .output()
        .context("starting Node's tests")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let count = |name: &str| closing_count(&text, name);
    let words = format!("{} passed, {} failed", count("pass"), count("fail"));
    if count("tests") == 0 {
        bail!("Node ran no test");
    }
    if !output.status.success() {
        return Ok(Outcome::Failed(words));
    }
    Ok(Outcome::Passed(words))
}

/// The number in Node's closing line `# NAME 12`, or 0.
fn closing_count(output: &str, name: &str) -> u64 {
    output
        .lines()
        .rev()
        .filter_map(|line| line.strip_prefix("# "))
        .filter_map(|line| line.split_once(' '))
        .find(|(found, _)| *found == name)
        .and_then(|(_, number)| number.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That any test was run at all rests on these lines.
    #[test]
    fn closing_lines_are_read() {
        let output = "# Subtest: pass 3\nok 1 - pass 3\n1..1\n# tests 7\n# pass 6\n# fail 1\n# duration_ms 12.5\n";
        assert_eq!(closing_count(output, "tests"), 7);
        assert_eq!(closing_count(output, "pass"), 6);
        assert_eq!(closing_count(output, "fail"), 1);
        assert_eq!(closing_count("", "tests"), 0);
    }
}
