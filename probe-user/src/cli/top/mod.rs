//! `hostprobe top`: what the daemon sees, in a terminal, once a second.
//!
//! It asks the running daemon over HTTP and needs no rights of its own. [`answer`] is what it reads,
//! [`rows`] makes rates of two answers, [`app`] is what keys change, [`draw`] what is seen; none of
//! these knows a terminal or a clock. [`screen`] has both.

mod answer;
mod app;
mod draw;
mod numbers;
mod once;
mod rows;
mod screen;
#[cfg(test)]
mod tests;

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::Args;

use super::{
    client::{AddressArgs, Client, runtime},
    exit,
};

/// What the command line says.
#[derive(Debug, Args)]
pub(super) struct TopArgs {
    #[command(flatten)]
    address: AddressArgs,
    /// Print one table and end: for scripts, and where there is no terminal.
    #[arg(long)]
    once: bool,
    /// With --once: print JSON.
    #[arg(long, requires = "once")]
    json: bool,
}

/// Shows the daemon until the user has seen enough.
///
/// # Errors
/// The terminal can't be used, or with `--once` the daemon does not answer.
pub(super) fn run(args: &TopArgs) -> anyhow::Result<ExitCode> {
    let address = match args.address.address() {
        Ok(address) => address,
        Err(error) => return Ok(super::bad_config(&error)),
    };
    let client = Client::new(&address)?;
    let runtime = runtime()?;
    if args.once {
        let text = runtime.block_on(once::once(&client, args.json))?;
        return super::print(&text);
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        let _ = writeln!(
            std::io::stderr(),
            "hostprobe: top needs a terminal; `hostprobe top --once` prints one table, with --json for scripts"
        );
        return Ok(ExitCode::from(exit::USAGE));
    }
    let result = runtime.block_on(screen::run(client, &address));
    // A thread still waits for a key; it ends with the process.
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS)
}
