//! What the probe costs: per call, under load, and in the decoder.
#![allow(clippy::print_stdout, reason = "the table is the result")]

use anyhow::Result;
use clap::{Parser, Subcommand};
use end_to_end::bench::{decode, gateway, host, measurer, overhead, syscalls};

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
    /// A web app and Postgres under load, observed by nothing, the probe, and what people use.
    Overhead {
        /// Each round measures every variant of every scenario once, in a random order.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
        rounds: u8,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
        seconds: u64,
        /// One round of one second: whether it works, not what it costs.
        #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
        quick: bool,
        /// Only scenarios whose name contains this; the numbers are printed, but not kept.
        #[arg(long)]
        only: Option<String>,
        /// Measure nothing: write the numbers of the last run into the documents.
        #[arg(long, conflicts_with_all = ["rounds", "seconds", "quick", "only"])]
        write: bool,
    },
    /// The rates that criterion measured last.
    Decode {
        /// Also write them into the documents.
        #[arg(long)]
        write: bool,
    },
    /// Reading the resources of the host and of many processes, per scrape.
    Host {
        /// Sleeping processes of one service.
        #[arg(long, default_value_t = 500)]
        processes: usize,
        /// Scrapes of each variant.
        #[arg(long, default_value_t = 60)]
        scrapes: usize,
        /// Also write the numbers into the documents.
        #[arg(long)]
        write: bool,
    },
    /// What the gateway to the Gemini API adds to a call.
    Gateway {
        /// Pairs of calls that are measured.
        #[arg(long, default_value_t = 2_000)]
        calls: usize,
        /// Also write the numbers into the documents.
        #[arg(long)]
        write: bool,
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
        What::Overhead { write: true, .. } => {
            println!("{}", overhead::write()?);
            Ok(())
        }
        What::Overhead {
            rounds,
            seconds,
            quick,
            only,
            write: false,
        } => {
            let (rounds, seconds) = if quick { (1, 1) } else { (rounds, seconds) };
            let options = overhead::Options {
                rounds: rounds.into(),
                seconds,
                only,
            };
            println!("{}", overhead::run(&options)?);
            Ok(())
        }
        What::Decode { write } => {
            print!("{}", decode::table()?);
            if write {
                decode::write()?;
            }
            Ok(())
        }
        What::Host {
            processes,
            scrapes,
            write,
        } => {
            let table = if write {
                host::run_and_write(processes, scrapes)?
            } else {
                host::run(processes, scrapes)?
            };
            print!("{table}");
            Ok(())
        }
        What::Gateway { calls, write } => {
            let table = if write {
                gateway::run_and_write(calls)?
            } else {
                gateway::run(calls)?
            };
            print!("{table}");
            Ok(())
        }
        What::Measurer { cpu } => measurer::run(cpu),
    }
}
