//! `cargo xtask generate`: checked-in files that are made from the program itself or by its build.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use xshell::cmd;

use crate::{build, page_script, workspace::Workspace};

/// Write the checked-in files that are made: docs/METRICS.md, and vitals.js from web/vitals
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail and name the files that are not current
    #[arg(long)]
    check: bool,
}

/// Each file, and what `hostprobe generate` calls it.
const FILES: &[(&str, &str)] = &[("docs/METRICS.md", "metrics")];

pub(crate) fn main(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if arguments.check {
        return check(workspace, &build::build(workspace)?.binary);
    }
    // The daemon has the script inside.
    page_script::write(workspace)?;
    let binary = build::build(workspace)?.binary;
    for (file, name) in FILES {
        let made = made(workspace, &binary, name)?;
        let path = workspace.path(file);
        fs::write(&path, made).with_context(|| format!("writing {}", path.display()))?;
        println!("generate: wrote {file}");
    }
    Ok(())
}

/// Fails if a checked-in file differs from what the program or a build makes now.
pub(crate) fn check(workspace: &Workspace, binary: &Path) -> Result<()> {
    let mut stale = page_script::stale(workspace)?;
    for (file, name) in FILES {
        let checked_in = fs::read(workspace.path(file)).ok();
        if checked_in != Some(made(workspace, binary, name)?) {
            stale.push((*file).to_owned());
        }
    }
    if !stale.is_empty() {
        bail!(
            "not current: {} (`cargo xtask generate` writes them)",
            stale.join(", ")
        );
    }
    let count = FILES.len() + page_script::count();
    println!("generate: all {count} generated files are current");
    Ok(())
}

fn made(workspace: &Workspace, binary: &Path, name: &str) -> Result<Vec<u8>> {
    let output = cmd!(workspace.shell, "{binary} generate {name}")
        .quiet()
        .output()
        .with_context(|| format!("asking hostprobe for its {name}"))?;
    Ok(output.stdout)
}
