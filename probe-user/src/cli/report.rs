//! `hostprobe report`: what the running daemon found out, for people and scripts.

mod budgets;
mod gemini;
mod text;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{bad_config, client, exit, print};

/// What is reported.
#[derive(Debug, Subcommand)]
pub(super) enum Report {
    /// Indexes that are missing, with their proof, and indexes that are not worth their cost.
    #[command(
        after_help = "Exit codes: 0 success, 1 the daemon or one of its databases cannot be asked, 2 wrong usage or configuration."
    )]
    Advice(AdviceArgs),
    /// Whether pages and files are within their budgets; the exit code is for pipelines.
    #[command(
        after_help = "Exit codes: 0 all budgets are kept, 1 failure, 2 wrong usage or configuration, 4 a budget is broken, 5 it can't be said: budgets are not known, there are none, or the daemon cannot be asked."
    )]
    Budgets(budgets::BudgetsArgs),
    /// What calls of Gemini used and cost, by feature, model or service, beside the period before.
    #[command(
        after_help = "Exit codes: 0 success, 1 the daemon cannot be asked, 2 wrong usage or configuration."
    )]
    Gemini(gemini::GeminiArgs),
}

/// Which advice, and how it is shown.
#[derive(Debug, Args)]
pub(super) struct AdviceArgs {
    /// Only this database, by its name in the configuration.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Only advice of this kind, such as missing_index or unused_index.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Print the daemon's answer as JSON.
    #[arg(long)]
    json: bool,
    /// Print all statements that were looked at, and what came of each.
    #[arg(long, conflicts_with = "json")]
    statements: bool,
    #[command(flatten)]
    address: client::AddressArgs,
}

/// Prints a report.
pub(super) fn report(report: &Report) -> anyhow::Result<ExitCode> {
    match report {
        Report::Advice(args) => advice(args),
        Report::Budgets(args) => budgets::report(args),
        Report::Gemini(args) => gemini::report(args),
    }
}

fn advice(args: &AdviceArgs) -> anyhow::Result<ExitCode> {
    let address = match args.address.address() {
        Ok(address) => address,
        Err(error) => return Ok(bad_config(&error)),
    };
    let asked = [("database", &args.database), ("kind", &args.kind)];
    let parameters: Vec<(&str, String)> = asked
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.clone()?)))
        .collect();
    let client = client::Client::new(&address)?;
    let answer = client::runtime()?.block_on(client.get("/api/advice", &parameters))?;
    if args.json {
        print(&(serde_json::to_string_pretty(&answer)? + "\n"))?;
    } else {
        print(&text::advice(&answer, args.statements))?;
    }
    Ok(if any_failed(&answer) {
        ExitCode::from(exit::FAILURE)
    } else {
        ExitCode::SUCCESS
    })
}

fn any_failed(answer: &Value) -> bool {
    let databases = answer.get("databases").and_then(Value::as_array);
    let mut states = databases.into_iter().flatten().map(|one| one.get("state"));
    states.any(|state| state.and_then(Value::as_str) == Some("failed"))
}
