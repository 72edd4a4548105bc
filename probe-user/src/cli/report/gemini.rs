//! `hostprobe report gemini`: what calls of models used and cost.

use std::{fmt::Write as _, process::ExitCode};

use clap::{Args, ValueEnum};
use serde::Deserialize as _;

use super::super::{
    bad_config,
    client::{AddressArgs, Client, runtime},
    print,
    slow::table::{Column, Layout, Terminal},
};
use crate::api::{ReportAnswer, ReportRow};

/// Which period, and how it is shown.
#[derive(Debug, Args)]
pub(in crate::cli) struct GeminiArgs {
    /// Of what length.
    #[arg(long, value_enum, default_value_t = Period::Day)]
    period: Period,
    /// By what calls are told apart.
    #[arg(long, value_enum, default_value_t = By::Feature)]
    by: By,
    /// A day or time in the period, such as 2026-01-31; without it, now.
    #[arg(long, value_name = "DAY")]
    at: Option<String>,
    /// Print the daemon's answer as JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    address: AddressArgs,
}

/// How long a report is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Period {
    Day,
    Week,
    Month,
}

/// By what calls are told apart.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    Feature,
    Model,
    Service,
}

const COLUMNS: [Column; 8] = [
    Column::right("calls", 9),
    Column::right("errors", 7),
    Column::right("tokens in", 10),
    Column::right("out", 10),
    Column::right("USD", 11),
    Column::right("a call", 9),
    Column::right("trend", 7),
    Column::rest("of"),
];

/// Prints the report.
pub(super) fn report(args: &GeminiArgs) -> anyhow::Result<ExitCode> {
    let address = match args.address.address() {
        Ok(address) => address,
        Err(error) => return Ok(bad_config(&error)),
    };
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let mut parameters = vec![
        ("period", name(args.period.to_possible_value())),
        ("by", name(args.by.to_possible_value())),
    ];
    parameters.extend(args.at.clone().map(|at| ("at", at)));
    let client = Client::new(&address)?;
    let raw = runtime()?.block_on(client.get("/api/gemini/report", &parameters))?;
    if args.json {
        print(&(serde_json::to_string_pretty(&raw)? + "\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer = ReportAnswer::deserialize(&raw)?;
    if args.csv {
        print(&answer.csv()?)?;
    } else {
        print(&text(&answer, Terminal::of_this_process())?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(answer: &ReportAnswer, terminal: Terminal) -> anyhow::Result<String> {
    let mut out = String::new();
    let day = |time: &str| time.get(..16).unwrap_or(time).replace('T', " ");
    writeln!(
        out,
        "{} from {} to {} UTC ({}), by {}; trend: cost against the period before",
        answer.period,
        day(&answer.from),
        day(&answer.to),
        answer.timezone,
        answer.by
    )?;
    if answer.groups.is_empty() {
        out.push_str("No calls.\n");
    } else {
        let mut rows: Vec<[String; 8]> = answer.groups.iter().map(cells).collect();
        rows.push(cells(&answer.total));
        let mut table = Vec::new();
        let layout = Layout::new(&COLUMNS, &rows, terminal);
        layout.print(&mut table, &rows, true, |_| false)?;
        out.push_str(&String::from_utf8_lossy(&table));
    }
    let unpriced = answer.total.now.unpriced_calls;
    if unpriced > 0 {
        let calls = if unpriced == 1 {
            "call has"
        } else {
            "calls have"
        };
        writeln!(
            out,
            "{unpriced} {calls} a cost that nobody knows; it is not in the sums."
        )?;
    }
    let month = &answer.month;
    write!(out, "This month: {} USD so far", dollars(month.cost_usd))?;
    match month.projected_cost_usd {
        Some(projected) => writeln!(out, ", {} USD at its end.", dollars(projected))?,
        None => writeln!(out, "; too little is known to say what its end will be.")?,
    }
    Ok(out)
}

fn cells(row: &ReportRow) -> [String; 8] {
    let (now, tokens) = (&row.now, &row.now.tokens);
    [
        now.calls.to_string(),
        now.errors.to_string(),
        short(tokens.input + tokens.cached + tokens.tool_use),
        short(tokens.output + tokens.thoughts),
        dollars(now.cost_usd),
        now.cost_per_call_usd
            .map_or_else(|| "-".to_owned(), dollars),
        trend(row),
        row.name.clone(),
    ]
}

/// The cost's, or the calls' where nothing costs anything.
fn trend(row: &ReportRow) -> String {
    match row.cost_change.or(row.calls_change) {
        Some(change) if change.abs() < 10.0 => format!("{:+.0} %", change * 100.0),
        Some(_) => ">10x".to_owned(),
        None => "new".to_owned(),
    }
}

/// As many decimals as say something.
fn dollars(usd: f64) -> String {
    if usd >= 0.995 || usd == 0.0 {
        format!("{usd:.2}")
    } else if usd >= 0.01 {
        format!("{usd:.4}")
    } else {
        format!("{usd:.6}")
    }
}

fn short(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        100_000..100_000_000 => format!("{:.1}k", count as f64 / 1e3),
        _ => format!("{:.1}M", count as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sums(calls: u64, usd: f64) -> Value {
        json!({
            "calls": calls, "errors": 1, "throttled": 0, "incomplete": 0, "cost_usd": usd,
            "cost_nano_usd": 12_500_000_000_u64, "cost_per_call_usd": 0.000155, "unpriced_calls": 2,
            "mean_seconds": 1.5,
            "tokens": {"input": 1_234_567, "cached": 0, "tool_use": 0, "output": 2_000, "thoughts": 30},
        })
    }

    fn row(name: &str, change: Option<f64>) -> Value {
        let mut row = sums(1_000, 12.5);
        row["name"] = name.into();
        row["before"] = sums(900, 10.0);
        row["calls_change"] = json!(0.1);
        row["cost_change"] = json!(change);
        row
    }

    fn answer(groups: Vec<Value>) -> ReportAnswer {
        let span = json!({"from": "2026-11-24T00:00:00.000Z", "to": "2026-11-24T12:00:00.000Z"});
        let raw = json!({
            "period": "day", "by": "feature", "timezone": "UTC", "from": "2026-11-25T00:00:00.000Z",
            "to": "2026-11-25T12:00:00.000Z", "ends": "2026-11-26T00:00:00.000Z", "before": span,
            "groups": groups, "total": row("total", Some(0.25)),
            "month": {"from": "2026-11-01T00:00:00.000Z", "ends": "2026-12-01T00:00:00.000Z",
                      "cost_usd": 250.0, "projected_cost_usd": 312.5, "unpriced_calls": 2},
        });
        ReportAnswer::deserialize(&raw).unwrap()
    }

    #[test]
    fn the_table_fits_eighty_columns_and_says_what_is_not_known() {
        let terminal = Terminal {
            width: Some(80),
            colours: false,
        };
        let long = "a feature with a name that is far too long for one line of a terminal";
        let all = answer(vec![row("search", Some(0.25)), row(long, None)]);
        let text = text(&all, terminal).unwrap();
        let table = text.lines().skip(1);
        for line in table {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for part in [
            "search",
            "+25 %",
            "12.50",
            "1234.6k",
            "2 calls have",
            "312.50 USD",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn a_day_without_calls_says_so() {
        let terminal = Terminal {
            width: None,
            colours: false,
        };
        assert!(
            text(&answer(Vec::new()), terminal)
                .unwrap()
                .contains("No calls.")
        );
    }
}
