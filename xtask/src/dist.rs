//! `cargo xtask dist`: one archive for users, with one static binary in it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use xshell::cmd;

use crate::{
    build,
    setup::{self, Group},
    workspace::Workspace,
};

/// Make the archive for users: target/dist/hostprobe-<version>-<arch>-linux.tar.gz
///
/// Holds the static binary with the kernel object inside, licences, README, an example
/// configuration, shell completions and checksums. Two runs on one commit make the same archive.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Files of the source tree that go along.
const DOCUMENTS: &[&str] = &[
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "deploy/hostprobe.example.toml",
    "probe-user/src/vitals/script/LICENSE-web-vitals",
];

/// Shells, and the names under which they look for completions.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "hostprobe.bash"),
    ("zsh", "_hostprobe"),
    ("fish", "hostprobe.fish"),
];

pub(crate) fn main(workspace: &Workspace, _: &Arguments) -> Result<()> {
    setup::ensure(workspace, &[Group::Build, Group::Dist])?;
    let object = build::build(workspace)?.object;
    let binary = build::build_static(workspace, &object, "probe-user", "hostprobe")?;
    verify(workspace, &binary)?;

    let name = format!(
        "hostprobe-{}-{}-linux",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    );
    let folder = workspace.target("dist").join(&name);
    collect(workspace, &binary, &folder)?;
    pack(workspace, &name)
}

/// What users of other distributions would find out otherwise.
fn verify(workspace: &Workspace, binary: &Path) -> Result<()> {
    let shell = &workspace.shell;
    let headers = cmd!(shell, "readelf --wide --program-headers --dynamic {binary}")
        .quiet()
        .read()
        .with_context(|| format!("reading {}", binary.display()))?;
    // A static binary names no loader and no library.
    if let Some(line) = headers.lines().find(|line| is_dynamic(line)) {
        bail!("{} is not static: {}", binary.display(), line.trim());
    }
    let version = cmd!(shell, "{binary} --version")
        .env_remove("LD_LIBRARY_PATH")
        .quiet()
        .read()
        .with_context(|| format!("starting {}", binary.display()))?;
    if !version.contains(env!("CARGO_PKG_VERSION")) {
        bail!(
            "the binary calls itself `{version}`, not {}",
            env!("CARGO_PKG_VERSION")
        );
    }
    println!(
        "dist: static, and starts: {}",
        version.lines().next().unwrap_or_default()
    );
    Ok(())
}

fn is_dynamic(line: &str) -> bool {
    line.trim_start().starts_with("INTERP") || line.contains("(NEEDED)")
}

fn collect(workspace: &Workspace, binary: &Path, folder: &Path) -> Result<()> {
    let shell = &workspace.shell;
    shell.remove_path(folder)?;
    let completions = folder.join("completions");
    fs::create_dir_all(&completions).with_context(|| format!("making {}", folder.display()))?;
    shell.copy_file(binary, folder)?;
    for document in DOCUMENTS {
        shell
            .copy_file(workspace.path(document), folder)
            .with_context(|| format!("the archive needs {document}"))?;
    }
    for (name, file) in COMPLETIONS {
        let script = cmd!(shell, "{binary} completions {name}")
            .quiet()
            .output()
            .with_context(|| format!("making the completions for {name}"))?;
        fs::write(completions.join(file), script.stdout)
            .with_context(|| format!("writing {file}"))?;
    }
    let _in_folder = shell.push_dir(folder);
    // Sorted, so that two runs agree.
    let list = "find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum > SHA256SUMS";
    cmd!(shell, "sh -ec {list}")
        .quiet()
        .run()
        .context("writing the checksums")
}

fn pack(workspace: &Workspace, name: &str) -> Result<()> {
    let shell = &workspace.shell;
    let time = commit_time(workspace);
    let _in_folder = shell.push_dir(workspace.target("dist"));
    // Owner, order and time are fixed: the same commit makes the same archive.
    cmd!(
        shell,
        "tar --create --gzip --file {name}.tar.gz --sort=name --mtime=@{time} --owner=0 --group=0
         --numeric-owner --mode=go-w {name}"
    )
    .env("GZIP", "-n9")
    .quiet()
    .ignore_stderr()
    .run()
    .with_context(|| format!("packing {name}"))?;
    let archive = workspace.target("dist").join(format!("{name}.tar.gz"));
    let size = fs::metadata(&archive)
        .context("looking at the archive")?
        .len();
    println!("dist: {} ({} KiB)", workspace.shown(&archive), size / 1024);
    Ok(())
}

/// Seconds since 1970 of the commit, or 0 outside a repository.
fn commit_time(workspace: &Workspace) -> String {
    cmd!(workspace.shell, "git log -1 --format=%ct")
        .quiet()
        .ignore_stderr()
        .read()
        .ok()
        .filter(|time| !time.is_empty())
        .unwrap_or_else(|| "0".to_owned())
}
