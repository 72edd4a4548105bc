//! Debian's cloud kernels: the newest of each series, taken out of its package.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use xshell::cmd;

use super::FOLDER;
use crate::workspace::{Workspace, is_root};

/// A kernel that can be booted.
pub(super) struct Image {
    pub(super) package: String,
    pub(super) file: PathBuf,
}

/// The newest signed cloud kernel of a series (`6.12`), from the cache if it was fetched before.
///
/// The package is only unpacked: nothing is installed.
pub(super) fn fetch(workspace: &Workspace, series: &str) -> Result<Image> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "the kernel matrix knows x86_64 kernels only; this is {}",
            std::env::consts::ARCH
        );
    }
    let package = find_package(workspace, series)?;
    let file = workspace.target(FOLDER).join(format!("{package}.vmlinuz"));
    if !file.exists() {
        unpack(workspace, &package, &file)?;
    }
    Ok(Image { package, file })
}

fn find_package(workspace: &Workspace, series: &str) -> Result<String> {
    let names = package_names(workspace, series)?;
    if let Some(name) = newest(&names) {
        return Ok(name.to_owned());
    }
    // A fresh container has no package lists yet.
    if is_root() {
        cmd!(workspace.shell, "apt-get update -qq")
            .quiet()
            .run()
            .context("updating the package lists")?;
    }
    let names = package_names(workspace, series)?;
    newest(&names).map(str::to_owned).with_context(|| {
        format!("no package linux-image-{series}.*-cloud-amd64 is known; is this Debian 12?")
    })
}

/// Not through a meta package: which series `linux-image-cloud-amd64` stands for changes with the
/// Debian release. The pattern's end leaves out `-dbg` and `-unsigned`.
fn package_names(workspace: &Workspace, series: &str) -> Result<Vec<String>> {
    let pattern = format!(
        "^linux-image-{}\\.[0-9].*-cloud-amd64$",
        series.replace('.', "\\.")
    );
    let found = cmd!(workspace.shell, "apt-cache search --names-only {pattern}")
        .quiet()
        .read()
        .context("asking apt for kernel packages (the matrix needs Debian's apt)")?;
    Ok(found
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

fn newest(names: &[String]) -> Option<&str> {
    names
        .iter()
        .map(String::as_str)
        .max_by_key(|name| numbers(name))
}

/// The numbers in a package's name, which order as its versions do.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|character: char| !character.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

fn unpack(workspace: &Workspace, package: &str, file: &Path) -> Result<()> {
    println!("vm-test: fetching {package}");
    let shell = &workspace.shell;
    let folder = workspace.target(FOLDER).join("unpacked");
    shell.remove_path(&folder)?;
    shell.create_dir(&folder)?;
    let _in_folder = shell.push_dir(&folder);
    // apt's own user may not write here.
    cmd!(
        shell,
        "apt-get download -qq -o APT::Sandbox::User=root {package}"
    )
    .quiet()
    .run()
    .with_context(|| format!("downloading {package}"))?;
    let archive = only_file(&folder, |name| name.ends_with(".deb"))?;
    cmd!(shell, "dpkg-deb --extract {archive} .")
        .quiet()
        .run()
        .with_context(|| format!("unpacking {}", archive.display()))?;
    let kernel = only_file(&folder.join("boot"), |name| name.starts_with("vmlinuz-"))?;
    fs::rename(&kernel, file).with_context(|| format!("keeping {}", kernel.display()))?;
    // The modules are a hundred times larger than what is needed.
    shell.remove_path(&folder)?;
    Ok(())
}

fn only_file(folder: &Path, fits: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(&fits)
        })
        .with_context(|| format!("the package holds no kernel in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As text, `6.12.99` would come after `6.12.117`, and `6.1.0-9` after `6.1.0-56`.
    #[test]
    fn the_newest_package_is_newest_by_number() {
        for (older, newer) in [
            (
                "linux-image-6.12.99+deb12-cloud-amd64",
                "linux-image-6.12.117+deb12-cloud-amd64",
            ),
            (
                "linux-image-6.1.0-9-cloud-amd64",
                "linux-image-6.1.0-56-cloud-amd64",
            ),
        ] {
            let names = [newer.to_owned(), older.to_owned()];
            assert_eq!(newest(&names), Some(newer));
        }
    }
}
