//! What the probe costs the programs on the host, per call.
#![allow(clippy::print_stdout, reason = "the table is the result")]

use anyhow::Result;
use clap::{Parser, Subcommand};
use end_to_end::bench::{measurer, syscalls};

/// Measures what the probe costs.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Nanoseconds per call: nothing attached, empty programs, the probe.
    Syscalls {
        /// Each round measures every variant once, in a random order.
        #[arg(long, default_value_t = 11)]
        rounds: usize,
        /// `getppid` calls per measurement; the other loops are scaled down from it.
        #[arg(long, default_value_t = 2_000_000)]
        calls: u64,
        /// The CPU that the measured program runs on; the last one without it.
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// The measured program: reads a loop's name and its number of calls from standard input.
    #[command(hide = true)]
    Measurer {
        /// The CPU to run on.
        #[arg(long)]
        cpu: usize,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Syscalls { rounds, calls, cpu } => {
            let report = syscalls::run(rounds, calls, cpu)?;
            println!("{report}");
            Ok(())
        }
        What::Measurer { cpu } => measurer::run(cpu),
    }
}
