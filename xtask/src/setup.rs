//! `cargo xtask setup`: what the other verbs need, and how to get it.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use xshell::cmd;

use crate::{
    bpf_toolchain, page_script,
    workspace::{Workspace, find_cargo_binary, find_command, is_root},
};

/// Install what is missing, and say why it is needed
///
/// Changes nothing when everything is there. Without root it prints the commands and fails.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to prepare for; everything if none is named
    groups: Vec<Group>,
    /// Only list each need, its reason, and whether it is met
    #[arg(long)]
    list: bool,
}

/// What a need is for.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Group {
    /// The kernel object and the daemon
    Build,
    /// The end-to-end tests
    Test,
    /// Measuring under load, which needs what the end-to-end tests need, too
    Bench,
    /// The kernel matrix
    Vm,
    /// The checks of `cargo xtask ci`
    Lint,
    /// The archive for users
    Dist,
}

impl Group {
    pub(crate) const ALL: &[Self] = &[
        Self::Build,
        Self::Test,
        Self::Bench,
        Self::Vm,
        Self::Lint,
        Self::Dist,
    ];

    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

struct Need {
    group: Group,
    name: &'static str,
    why: &'static str,
    met: Met,
    source: Source,
}

/// How we see that a need is met. Files rather than the package database: it takes no time, and
/// works on every distribution.
enum Met {
    Command(&'static str),
    File(&'static str),
    /// Installed by `cargo install`.
    CargoBinary(&'static str),
    By(fn(&Workspace) -> bool),
}

enum Source {
    /// Debian packages.
    Apt(&'static [&'static str]),
    Cargo {
        arguments: &'static [&'static str],
        environment: &'static [(&'static str, &'static str)],
    },
    /// A component of the toolchain that runs this.
    Rustup(&'static str),
    /// The npm packages of the script for web pages.
    PageScript,
}

const NEEDS: &[Need] = &[
    Need {
        group: Group::Build,
        name: "a Rust compiler for BPF",
        why: "compiles the kernel object; stable rustup toolchains have no core for BPF",
        met: Met::By(bpf_toolchain::has_compiler),
        source: Source::Apt(&["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"]),
    },
    Need {
        group: Group::Build,
        name: "LLVM 22",
        why: "bpf-linker is linked against it",
        met: Met::File("/usr/lib/llvm-22/bin/llvm-config"),
        source: Source::Apt(&["llvm-22-dev"]),
    },
    Need {
        group: Group::Build,
        name: "LLVM's Polly",
        why: "one of the libraries that LLVM names to bpf-linker",
        met: Met::File("/usr/lib/llvm-22/lib/libPolly.a"),
        source: Source::Apt(&["libpolly-22-dev"]),
    },
    Need {
        group: Group::Build,
        name: "zstd's and zlib's headers",
        why: "LLVM reads compressed sections with them",
        met: Met::By(|_| ["zstd.h", "zlib.h"].iter().all(|name| has_header(name))),
        source: Source::Apt(&["libzstd-dev", "zlib1g-dev"]),
    },
    Need {
        group: Group::Build,
        name: "a C++ compiler",
        why: "LLVM is C++: bpf-linker needs its standard library",
        met: Met::Command("c++"),
        source: Source::Apt(&["g++", "libc6-dev"]),
    },
    Need {
        group: Group::Build,
        name: "bpf-linker 0.13",
        why: "links the kernel object and makes its BTF",
        met: Met::CargoBinary("bpf-linker"),
        source: Source::Cargo {
            arguments: &[
                "bpf-linker",
                "--version=0.13.0",
                "--locked",
                "--no-default-features",
                "--features=llvm-22",
            ],
            environment: &[
                ("LLVM_SYS_221_PREFIX", "/usr/lib/llvm-22"),
                ("LLVM_PREFIX", "/usr/lib/llvm-22"),
            ],
        },
    },
    Need {
        group: Group::Test,
        name: "PostgreSQL 15",
        why: "the tests start their own cluster, and load it with pgbench",
        met: Met::File("/usr/lib/postgresql/15/bin/pgbench"),
        source: Source::Apt(&["postgresql-15"]),
    },
    Need {
        group: Group::Test,
        name: "PgBouncer",
        why: "the tests ask one of their own; Debian starts another one on port 6432, which they do not \
              need",
        met: Met::File("/usr/sbin/pgbouncer"),
        source: Source::Apt(&["pgbouncer"]),
    },
    Need {
        group: Group::Test,
        name: "HypoPG for PostgreSQL 15",
        why: "the tests of index advice have the planner judge indexes that do not exist",
        met: Met::File("/usr/share/postgresql/15/extension/hypopg.control"),
        source: Source::Apt(&["postgresql-15-hypopg"]),
    },
    Need {
        group: Group::Test,
        name: "openssl",
        why: "makes the certificates of the servers that the tests speak TLS with",
        met: Met::Command("openssl"),
        source: Source::Apt(&["openssl"]),
    },
    Need {
        group: Group::Test,
        name: "nginx",
        why: "the tests watch one of their own, as a server of files and as a proxy; Debian starts \
              another one on port 80, which they do not need",
        met: Met::File("/usr/sbin/nginx"),
        source: Source::Apt(&["nginx-light"]),
    },
    Need {
        group: Group::Test,
        name: "Node.js",
        why: "the tests watch a server on its http module; the script for web pages is tested in it",
        met: Met::Command("node"),
        source: Source::Apt(&["nodejs"]),
    },
    Need {
        group: Group::Test,
        name: "npm",
        why: "installs what the script for web pages is built and checked with",
        met: Met::Command("npm"),
        source: Source::Apt(&["npm"]),
    },
    Need {
        group: Group::Test,
        name: "npm packages of web/vitals",
        why: "the library, the bundler and the compiler of the script for web pages, as its lock file \
              names them",
        met: Met::By(page_script::has_packages),
        source: Source::PageScript,
    },
    Need {
        group: Group::Test,
        name: "Chromium",
        why: "the tests open pages in it, without a window, and read what the probe got of them",
        met: Met::Command("chromium"),
        source: Source::Apt(&["chromium"]),
    },
    Need {
        group: Group::Test,
        name: "Python with venv",
        why: "the apps that the tests watch, and the database drivers, run in an environment of their own",
        met: Met::By(has_python_venv),
        source: Source::Apt(&["python3", "python3-venv"]),
    },
    Need {
        group: Group::Test,
        name: "stress-ng",
        why: "puts CPUs, memory and disks under load, for what the probe says of them",
        met: Met::Command("stress-ng"),
        source: Source::Apt(&["stress-ng"]),
    },
    Need {
        group: Group::Test,
        name: "node_exporter and process-exporter",
        why: "the second sources for resources of the host and of processes; Debian starts its own, \
              which the tests leave alone",
        met: Met::By(|_| {
            ["prometheus-node-exporter", "prometheus-process-exporter"]
                .iter()
                .all(|name| find_command(name).is_some())
        }),
        source: Source::Apt(&["prometheus-node-exporter", "prometheus-process-exporter"]),
    },
    Need {
        group: Group::Test,
        name: "util-linux",
        why: "gives a program a terminal of its own, and pins programs to one CPU",
        met: Met::By(|_| {
            ["setsid", "taskset"]
                .iter()
                .all(|name| find_command(name).is_some())
        }),
        source: Source::Apt(&["util-linux"]),
    },
    Need {
        group: Group::Test,
        name: "strace",
        why: "the second source that syscall counts are compared with",
        met: Met::Command("strace"),
        source: Source::Apt(&["strace"]),
    },
    Need {
        group: Group::Test,
        name: "Prometheus and promtool",
        why: "a real server scrapes the probe, and its linter reads the metrics",
        met: Met::By(|_| {
            ["prometheus", "promtool"]
                .iter()
                .all(|name| find_command(name).is_some())
        }),
        source: Source::Apt(&["prometheus"]),
    },
    Need {
        group: Group::Test,
        name: "Alertmanager and amtool",
        why: "the tests follow an alert to whom it is sent; Debian starts another one on port 9093, which \
              they do not need",
        met: Met::By(|_| {
            ["prometheus-alertmanager", "amtool"]
                .iter()
                .all(|name| find_command(name).is_some())
        }),
        source: Source::Apt(&["prometheus-alertmanager"]),
    },
    Need {
        group: Group::Bench,
        name: "wrk",
        why: "puts the measured web app under load",
        met: Met::Command("wrk"),
        source: Source::Apt(&["wrk"]),
    },
    Need {
        group: Group::Vm,
        name: "qemu",
        why: "boots the kernels of the matrix",
        met: Met::Command("qemu-system-x86_64"),
        source: Source::Apt(&["qemu-system-x86"]),
    },
    Need {
        group: Group::Vm,
        name: "busybox, static",
        why: "the whole userland of the virtual machines",
        met: Met::Command("busybox"),
        source: Source::Apt(&["busybox-static"]),
    },
    Need {
        group: Group::Lint,
        name: "rustfmt",
        why: "checks the format",
        met: Met::By(|workspace| has_cargo_verb(workspace, "fmt")),
        source: Source::Rustup("rustfmt"),
    },
    Need {
        group: Group::Lint,
        name: "clippy",
        why: "checks the workspace's lints",
        met: Met::By(|workspace| has_cargo_verb(workspace, "clippy")),
        source: Source::Rustup("clippy"),
    },
    Need {
        group: Group::Lint,
        name: "clippy for the kernel object",
        why: "the same lints with the compiler that knows the BPF target",
        met: Met::By(has_bpf_clippy),
        source: Source::Apt(&["rust-web-clippy"]),
    },
    Need {
        group: Group::Lint,
        name: "cargo-deny",
        why: "checks licences, sources and advisories of dependencies",
        met: Met::CargoBinary("cargo-deny"),
        source: Source::Cargo {
            arguments: &["cargo-deny", "--locked"],
            environment: &[],
        },
    },
    Need {
        group: Group::Dist,
        name: "readelf",
        why: "proves that the binary is static",
        met: Met::Command("readelf"),
        source: Source::Apt(&["binutils"]),
    },
];

pub(crate) fn main(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let groups = if arguments.groups.is_empty() {
        Group::ALL
    } else {
        &arguments.groups
    };
    if arguments.list {
        list(workspace, groups);
        return Ok(());
    }
    ensure(workspace, groups)
}

/// Installs what is missing for these groups; without root, says what to run, and fails.
pub(crate) fn ensure(workspace: &Workspace, groups: &[Group]) -> Result<()> {
    let names: Vec<String> = groups.iter().map(|group| group.name()).collect();
    let names = names.join(", ");
    let (met, missing) = partition(workspace, groups);
    if missing.is_empty() {
        println!("setup: all {met} needs are met ({names})");
        return Ok(());
    }
    println!("setup: {met} needs are met ({names}); missing:");
    for need in &missing {
        println!("  {}: {}", need.name, need.why);
    }
    let packages = packages(&missing);
    let may_install = packages.is_empty() || (is_root() && find_command("apt-get").is_some());
    if !may_install {
        return Err(explain(&missing, &packages));
    }
    install_packages(workspace, &packages)?;
    for need in &missing {
        install_other(workspace, need)?;
    }
    let (_, missing) = partition(workspace, groups);
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|need| need.name).collect();
        bail!(
            "installed without an error, but still missing: {}",
            names.join(", ")
        );
    }
    println!("setup: everything is there now");
    Ok(())
}

fn list(workspace: &Workspace, groups: &[Group]) {
    for need in NEEDS.iter().filter(|need| groups.contains(&need.group)) {
        let state = if is_met(workspace, need) {
            "there"
        } else {
            "MISSING"
        };
        println!(
            "{:<6} {state:<8} {}: {}",
            need.group.name(),
            need.name,
            need.why
        );
        println!("{:16}{}", "", how(need));
    }
}

/// How many needs are met, and those that aren't.
fn partition(workspace: &Workspace, groups: &[Group]) -> (usize, Vec<&'static Need>) {
    let (met, missing): (Vec<_>, Vec<_>) = NEEDS
        .iter()
        .filter(|need| groups.contains(&need.group))
        .partition(|need| is_met(workspace, need));
    (met.len(), missing)
}

fn is_met(workspace: &Workspace, need: &Need) -> bool {
    match need.met {
        Met::Command(name) => find_command(name).is_some(),
        Met::File(path) => Path::new(path).exists(),
        Met::CargoBinary(name) => find_cargo_binary(name).is_some(),
        Met::By(check) => check(workspace),
    }
}

fn has_header(name: &str) -> bool {
    Path::new("/usr/include").join(name).is_file()
}

/// Debian ships Python without what makes an environment.
fn has_python_venv(_: &Workspace) -> bool {
    let quiet = || std::process::Stdio::null();
    std::process::Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .stdout(quiet())
        .stderr(quiet())
        .status()
        .is_ok_and(|status| status.success())
}

fn has_cargo_verb(workspace: &Workspace, verb: &str) -> bool {
    let command = workspace.cargo().arg(verb).arg("--version");
    command.ignore_stdout().ignore_stderr().run().is_ok()
}

fn has_bpf_clippy(workspace: &Workspace) -> bool {
    bpf_toolchain::find(workspace).is_ok_and(|toolchain| toolchain.clippy(workspace).is_some())
        || Path::new("/usr/bin/clippy-driver").is_file()
}

fn packages(missing: &[&Need]) -> Vec<&'static str> {
    missing
        .iter()
        .flat_map(|need| match need.source {
            Source::Apt(packages) => packages,
            Source::Cargo { .. } | Source::Rustup(_) | Source::PageScript => &[],
        })
        .copied()
        .collect()
}

/// The command that meets a need, as a person would type it.
fn how(need: &Need) -> String {
    match need.source {
        Source::Apt(packages) => format!("Debian: {}", packages.join(" ")),
        Source::Cargo {
            arguments,
            environment,
        } => {
            let environment: String = environment
                .iter()
                .map(|(name, value)| format!("{name}={value} "))
                .collect();
            format!("{environment}cargo install {}", arguments.join(" "))
        }
        Source::Rustup(component) => format!("rustup component add {component}"),
        Source::PageScript => "npm ci --ignore-scripts (in web/vitals)".to_owned(),
    }
}

/// What to do where this may not, or can't, install packages.
fn explain(missing: &[&Need], packages: &[&str]) -> anyhow::Error {
    let mut commands = Vec::new();
    if find_command("apt-get").is_some() {
        commands.push("apt-get update".to_owned());
        commands.push(format!(
            "apt-get install -y --no-install-recommends {}",
            packages.join(" ")
        ));
    } else {
        commands.push(format!(
            "(your distribution's packages for) {}",
            packages.join(" ")
        ));
    }
    let others = missing
        .iter()
        .filter(|need| !matches!(need.source, Source::Apt(_)));
    commands.extend(others.map(|need| how(need)));
    let commands = commands.join("\n  ");
    if find_command("apt-get").is_none() {
        anyhow::anyhow!(
            "this is no Debian, and only Debian's package names are known; install by hand:\n  \
             {commands}"
        )
    } else {
        anyhow::anyhow!("installing packages needs root; run as root:\n  {commands}")
    }
}

fn install_packages(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let shell = &workspace.shell;
    println!("setup: apt-get update");
    cmd!(shell, "apt-get update -qq")
        .quiet()
        .run()
        .context("updating the package lists")?;
    println!("setup: apt-get install {}", packages.join(" "));
    cmd!(
        shell,
        "apt-get install -y -qq --no-install-recommends {packages...}"
    )
    .env("DEBIAN_FRONTEND", "noninteractive")
    .quiet()
    .ignore_stdout()
    .run()
    .context("installing packages")
}

fn install_other(workspace: &Workspace, need: &Need) -> Result<()> {
    match need.source {
        Source::Apt(_) => Ok(()),
        Source::Cargo {
            arguments,
            environment,
        } => {
            println!("setup: {}", how(need));
            let mut command = workspace
                .cargo()
                .args(["install", "--quiet"])
                .args(arguments)
                // A tool is built once: not among our own results.
                .env_remove("CARGO_TARGET_DIR");
            for (name, value) in environment {
                command = command.env(name, value);
            }
            command
                .run()
                .with_context(|| format!("installing {}", need.name))
        }
        Source::Rustup(component) => {
            println!("setup: {}", how(need));
            cmd!(workspace.shell, "rustup component add {component}")
                .quiet()
                .run()
                .with_context(|| format!("installing {}", need.name))
        }
        Source::PageScript => page_script::install_packages(workspace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Someone without root has only this text to go by.
    #[test]
    fn the_explanation_names_every_package_and_command() {
        let missing: Vec<&Need> = NEEDS.iter().collect();
        let text = explain(&missing, &packages(&missing)).to_string();
        for need in NEEDS {
            match need.source {
                Source::Apt(packages) => {
                    assert!(
                        packages.iter().all(|package| text.contains(package)),
                        "{text}"
                    );
                }
                Source::Cargo { .. } | Source::Rustup(_) | Source::PageScript => {
                    assert!(text.contains(&how(need)), "{text}");
                }
            }
        }
    }
}
