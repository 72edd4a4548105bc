//! The command line.

mod check;
mod client;
mod generate;
mod report;
mod run;
mod slow;
mod top;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    config::{Config, Setting, Sources},
    kernel::object,
};

/// Version of the daemon and identity of the kernel object inside it.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (kernel object ",
    env!("HOSTPROBE_BPF_OBJECT_ID"),
    ")"
);

/// Exit codes, as `--help` documents them.
pub mod exit {
    /// Something went wrong; the message says what.
    pub const FAILURE: u8 = 1;
    /// The command line or the configuration is wrong.
    pub const USAGE: u8 = 2;
    /// `check`: the probe can't work here.
    pub const UNSUPPORTED: u8 = 3;
    /// `report budgets`: a budget is broken.
    pub const BROKEN: u8 = 4;
    /// `report budgets`: it can't be said whether all are kept.
    pub const UNKNOWN: u8 = 5;
}

/// A performance probe for web apps and Postgres that needs no change to what it watches.
#[derive(Debug, Parser)]
#[command(
    name = "hostprobe",
    version = VERSION,
    after_help = "Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 3 the probe can't work on this host (check), 4 a budget is broken and 5 it can't be said (report budgets)."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trace services and serve their metrics until SIGTERM; SIGHUP reloads the services.
    Run(ConfigArgs),
    /// Say in plain words what this kernel and these rights allow, and whether the configured
    /// databases can be asked.
    Check {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print the findings as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show in the terminal what the running daemon sees, once a second.
    Top(top::TopArgs),
    /// Print what the running daemon found out.
    Report {
        /// About what.
        #[command(subcommand)]
        report: report::Report,
    },
    /// Show the latest slow queries that the running daemon knows, oldest first.
    Slow(slow::SlowArgs),
    /// Print the effective configuration as TOML.
    Config(ConfigArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print a file of the repository that is made from the program.
    #[command(hide = true)]
    Generate {
        /// Which one.
        what: generate::What,
    },
    /// Attach empty programs to the hooks of syscalls and switches until a signal comes: what the
    /// hooks themselves cost.
    #[command(hide = true)]
    BenchFloor,
}

/// Where the configuration comes from; flags win over the environment, that over the file.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// Configuration file; without it $HOSTPROBE_CONFIG, else /etc/hostprobe/hostprobe.toml if
    /// there is one, else the defaults.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to serve on, such as 127.0.0.1:9738.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Least severe message to log: off, error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Set any key, such as kernel.max_sockets=1000. May be given several times. The environment
    /// does the same with $HOSTPROBE_KERNEL__MAX_SOCKETS.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    settings: Vec<Setting>,
}

fn parse_setting(argument: &str) -> Result<Setting, String> {
    Setting::parse(argument).ok_or_else(|| "it must look like KEY=VALUE".to_owned())
}

impl ConfigArgs {
    fn sources(&self) -> Sources {
        let flags = [
            ("--listen", "listen", &self.listen),
            ("--log-level", "log.level", &self.log_level),
        ];
        let mut settings = self.settings.clone();
        settings.extend(flags.into_iter().filter_map(|(flag, key, value)| {
            value.as_ref().map(|value| Setting::new(flag, key, value))
        }));
        Sources::of_this_process(self.config.clone(), settings)
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and succeed; a broken pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "hostprobe: {error:#}");
            ExitCode::from(exit::FAILURE)
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => {
            let sources = args.sources();
            match Config::load(&sources) {
                Ok(config) => run::run(&config, &sources),
                Err(error) => Ok(bad_config(&error)),
            }
        }
        Command::Top(args) => top::run(&args),
        Command::Check { config, json } => match Config::load(&config.sources()) {
            Ok(config) => check::check(&config, json),
            Err(error) => Ok(bad_config(&error)),
        },
        Command::Report { report } => report::report(&report),
        Command::Slow(args) => slow::slow(&args),
        Command::Config(args) => match Config::load(&args.sources()) {
            Ok(config) => print(&config.to_toml()?),
            Err(error) => Ok(bad_config(&error)),
        },
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hostprobe", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Generate { what } => print(&generate::generate(what)),
        Command::BenchFloor => run::bench_floor(),
    }
}

fn bad_config(error: &crate::config::ConfigError) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "hostprobe: {error}");
    ExitCode::from(exit::USAGE)
}

/// Writes to stdout; a reader that went away (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The kernel object's identity, or that there is none.
pub fn object_build_id() -> &'static str {
    object::bytes().map_or("none", |_| object::BUILD_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_setting_without_a_value_is_refused_with_a_hint() {
        let error = Cli::try_parse_from(["hostprobe", "run", "--set", "listen"]).unwrap_err();
        assert!(error.to_string().contains("KEY=VALUE"), "{error}");
    }
}
