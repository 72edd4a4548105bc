//! Builds, runs, tests and packages hostprobe. One file per verb; the rest is what several share.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool whose output is its purpose"
)]

mod bench;
mod bpf_toolchain;
mod build;
mod ci;
mod dist;
mod generate;
mod page_script;
mod run;
mod setup;
mod steps;
mod test;
mod vm_test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Builds, runs, tests and packages hostprobe.
///
/// On a fresh Debian machine, as root: `cargo xtask run` installs what the build needs, builds the
/// kernel object and the daemon, and starts it.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Setup(setup::Arguments),
    Build(build::Arguments),
    Run(run::Arguments),
    Test(test::Arguments),
    VmTest(vm_test::Arguments),
    Bench(bench::Arguments),
    Generate(generate::Arguments),
    Dist(dist::Arguments),
    Ci(ci::Arguments),
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // `{:#}`: causes on one line; a backtrace would say nothing about a failed command.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> Result<()> {
    let workspace = Workspace::open()?;
    match verb {
        Verb::Setup(arguments) => setup::main(&workspace, &arguments),
        Verb::Build(arguments) => build::main(&workspace, &arguments),
        Verb::Run(arguments) => run::main(&workspace, arguments),
        Verb::Test(arguments) => test::main(&workspace, &arguments),
        Verb::VmTest(arguments) => vm_test::main(&workspace, &arguments),
        Verb::Bench(arguments) => bench::main(&workspace, &arguments),
        Verb::Generate(arguments) => generate::main(&workspace, &arguments),
        Verb::Dist(arguments) => dist::main(&workspace, &arguments),
        Verb::Ci(arguments) => ci::main(&workspace, &arguments),
    }
}
