//! `hostprobe report budgets`: whether pages and files are within their budgets, for people and for
//! pipelines.

use std::{fmt::Write as _, io::Write as _, process::ExitCode};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::super::{
    bad_config,
    client::{AddressArgs, AskError, Client, runtime},
    exit, print,
    slow::table::{Column, Layout, Terminal},
};
use crate::{api::BudgetsAnswer, vitals::budgets::judge_files};

/// Which budgets, and how they are shown.
#[derive(Debug, Args)]
pub(in crate::cli) struct BudgetsArgs {
    /// Only those of files on the disk, which needs no daemon: they are measured here and now, as
    /// the configuration limits them.
    #[arg(long)]
    files: bool,
    /// Only those of this page.
    #[arg(long, value_name = "PAGE")]
    page: Option<String>,
    /// Print JSON.
    #[arg(long, conflicts_with = "junit")]
    json: bool,
    /// Print JUnit's XML, which many pipelines show.
    #[arg(long)]
    junit: bool,
    /// Succeed also when nothing is broken but some budgets are not known, as in a new environment.
    #[arg(long)]
    allow_unknown: bool,
    #[command(flatten)]
    daemon: AddressArgs,
}

/// The part of an answer that is shown.
#[derive(Debug, Deserialize)]
struct Answer {
    source_reason: Option<String>,
    budgets: Vec<Budget>,
    left_out: u64,
}

#[derive(Debug, Deserialize)]
struct Budget {
    page: String,
    budget: String,
    state: String,
    unit: String,
    limit: f64,
    actual: Option<f64>,
    why: Option<String>,
}

/// Prints the report; the exit code says whether all are kept.
pub(super) fn report(args: &BudgetsArgs) -> anyhow::Result<ExitCode> {
    let mut raw = match ask(args) {
        Ok(raw) => raw,
        Err(Failure::Config(error)) => return Ok(bad_config(&error)),
        Err(Failure::Ask(error)) => {
            let _ = writeln!(std::io::stderr(), "hostprobe: {error}");
            let code = if error.is_usage() {
                exit::USAGE
            } else {
                exit::UNKNOWN
            };
            return Ok(ExitCode::from(code));
        }
        Err(Failure::Other(error)) => return Err(error),
    };
    let list = raw.get_mut("budgets").and_then(Value::as_array_mut);
    if let (Some(page), Some(list)) = (&args.page, list) {
        list.retain(|one| one.get("page").and_then(Value::as_str) == Some(page));
    }
    let answer = Answer::deserialize(&raw)?;
    if let Some(reason) = answer.source_reason.as_ref().filter(|_| !args.files) {
        let text = format!("hostprobe: only what is in memory: {reason}");
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    if args.json {
        print(&(serde_json::to_string_pretty(&raw)? + "\n"))?;
    } else if args.junit {
        print(&junit(&answer.budgets))?;
    } else {
        print(&text(&answer, Terminal::of_this_process())?)?;
    }
    Ok(ExitCode::from(code(&answer, args.allow_unknown)))
}

enum Failure {
    Config(crate::config::ConfigError),
    Ask(AskError),
    Other(anyhow::Error),
}

fn ask(args: &BudgetsArgs) -> Result<Value, Failure> {
    if args.files {
        let config = args.daemon.configuration().map_err(Failure::Config)?;
        let report = judge_files(&config.vitals);
        let answer = serde_json::to_value(BudgetsAnswer::from(&report));
        return answer.map_err(|error| Failure::Other(error.into()));
    }
    let address = args.daemon.address().map_err(Failure::Config)?;
    let client = Client::new(&address).map_err(Failure::Other)?;
    let runtime = runtime().map_err(Failure::Other)?;
    runtime
        .block_on(client.get("/api/budgets", &[]))
        .map_err(Failure::Ask)
}

fn code(answer: &Answer, allow_unknown: bool) -> u8 {
    let any = |state: &str| answer.budgets.iter().any(|one| one.state == state);
    if any("broken") {
        exit::BROKEN
    } else if !allow_unknown && (any("unknown") || answer.budgets.is_empty()) {
        exit::UNKNOWN
    } else {
        0
    }
}

const COLUMNS: [Column; 6] = [
    Column::left("STATE", 8),
    Column::left("PAGE", 24),
    Column::left("BUDGET", 34),
    Column::right("ACTUAL", 10),
    Column::right("LIMIT", 10),
    Column::rest("NOTE"),
];

fn text(answer: &Answer, terminal: Terminal) -> std::io::Result<String> {
    if answer.budgets.is_empty() {
        return Ok("no budgets are configured; see docs/web-vitals.md\n".to_owned());
    }
    let rows: Vec<[String; 6]> = answer
        .budgets
        .iter()
        .map(|one| {
            [
                one.state.clone(),
                one.page.clone(),
                one.budget.clone(),
                one.actual
                    .map_or_else(|| "-".to_owned(), |actual| one.number(actual)),
                one.number(one.limit),
                one.note(),
            ]
        })
        .collect();
    let is_broken = |at: usize| {
        answer
            .budgets
            .get(at)
            .is_some_and(|one| one.state == "broken")
    };
    let mut out = Vec::new();
    let layout = Layout::new(&COLUMNS, &rows, terminal);
    layout.print(&mut out, &rows, true, is_broken)?;
    let count = |state: &str| {
        answer
            .budgets
            .iter()
            .filter(|one| one.state == state)
            .count()
    };
    let (broken, unknown, ok) = (count("broken"), count("unknown"), count("ok"));
    writeln!(out, "\n{broken} broken, {unknown} unknown, {ok} ok")?;
    if answer.left_out > 0 {
        writeln!(out, "{} more, less bad ones, are left out", answer.left_out)?;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

impl Budget {
    /// As people read it.
    fn number(&self, value: f64) -> String {
        match self.unit.as_str() {
            "ms" => format!("{value:.0} ms"),
            "bytes" if value < 10_000.0 => format!("{value:.0} B"),
            "bytes" if value < 10_000_000.0 => format!("{:.1} kB", value / 1e3),
            "bytes" => format!("{:.1} MB", value / 1e6),
            "files" => format!("{}", (value * 10.0).round() / 10.0),
            _ => format!("{}", (value * 1e3).round() / 1e3),
        }
    }

    /// How much of the limit it is, and why it is not known.
    fn note(&self) -> String {
        let part = self.actual.filter(|_| self.limit > 0.0);
        let part = part.map(|actual| format!("{:.0} %", actual / self.limit * 100.0));
        let parts: Vec<String> = part.into_iter().chain(self.why.clone()).collect();
        parts.join("; ")
    }
}

/// One test case for each budget; what is not known is skipped, as there is nothing to fail.
fn junit(budgets: &[Budget]) -> String {
    let count = |state: &str| budgets.iter().filter(|one| one.state == state).count();
    let (tests, failures, skipped) = (budgets.len(), count("broken"), count("unknown"));
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a string never fails.
    let _ = writeln!(
        xml,
        "<testsuites>\n  <testsuite name=\"hostprobe budgets\" tests=\"{tests}\" \
         failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\">"
    );
    for one in budgets {
        let (page, budget) = (escaped(&one.page), escaped(&one.budget));
        let _ = write!(xml, "    <testcase classname=\"{page}\" name=\"{budget}\"");
        let actual = one
            .actual
            .map_or_else(|| "-".to_owned(), |actual| one.number(actual));
        let said = format!(
            "{actual} of at most {}; {}",
            one.number(one.limit),
            one.note()
        );
        let said = escaped(said.trim_end_matches("; "));
        let _ = match one.state.as_str() {
            "broken" => writeln!(xml, "><failure message=\"{said}\"/></testcase>"),
            "unknown" => writeln!(xml, "><skipped message=\"{said}\"/></testcase>"),
            _ => writeln!(xml, "/>"),
        };
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

/// For an attribute of XML 1.0, which has no control characters at all.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// State, page, budget, value, target, unit.
    type Row<'a> = (&'a str, &'a str, &'a str, Option<f64>, f64, &'a str);

    fn answer(rows: &[Row<'_>]) -> Answer {
        let budget = |row: &Row<'_>| Budget {
            state: row.0.into(),
            page: row.1.into(),
            budget: row.2.into(),
            actual: row.3,
            limit: row.4,
            unit: row.5.into(),
            why: row.3.is_none().then(|| "3 values; 20 are needed".into()),
        };
        Answer {
            source_reason: None,
            budgets: rows.iter().map(budget).collect(),
            left_out: 0,
        }
    }

    /// A pipeline looks at nothing else.
    #[test]
    fn the_exit_code_tells_broken_from_not_known_from_kept() {
        let ok = ("ok", "/", "lcp", Some(1.0), 2.0, "ms");
        let unknown = ("unknown", "/", "inp", None, 2.0, "ms");
        let broken = ("broken", "/", "cls", Some(0.3), 0.1, "");
        for (rows, strict, lenient) in [
            (vec![ok], 0, 0),
            (vec![ok, unknown], 5, 0),
            (vec![ok, unknown, broken], 4, 4),
            (vec![], 5, 0),
        ] {
            let answer = answer(&rows);
            assert_eq!(
                (code(&answer, false), code(&answer, true)),
                (strict, lenient)
            );
        }
    }

    #[test]
    fn lines_fit_a_terminal_of_eighty_columns_and_obey_no_page() {
        let answer = answer(&[
            (
                "broken",
                "/cart\u{1b}[2J",
                "lcp",
                Some(3_000.0),
                2_500.0,
                "ms",
            ),
            (
                "unknown",
                "/a/very/long/page/with/many/parts",
                "bytes:script",
                None,
                3e5,
                "bytes",
            ),
            (
                "ok",
                "files",
                "gzip:/srv/shop/dist/*.js",
                Some(9_000.0),
                1e4,
                "bytes",
            ),
        ]);
        let terminal = Terminal {
            width: Some(80),
            colours: false,
        };
        let text = text(&answer, terminal).unwrap();
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(text.contains("120 %") && text.contains("3000 ms"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.ends_with("\n1 broken, 1 unknown, 1 ok\n"), "{text}");
    }

    #[test]
    fn junit_has_a_case_for_each_and_no_page_breaks_it() {
        let answer = answer(&[
            (
                "broken",
                "/a\"><x>&\u{0}",
                "lcp",
                Some(3_000.0),
                2_500.0,
                "ms",
            ),
            ("unknown", "/", "inp", None, 200.0, "ms"),
            ("ok", "/", "cls", Some(0.0), 0.1, ""),
        ]);
        let xml = junit(&answer.budgets);
        assert!(
            xml.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\""),
            "{xml}"
        );
        assert!(
            xml.contains("classname=\"/a&quot;&gt;&lt;x&gt;&amp;\u{fffd}\""),
            "{xml}"
        );
        assert!(
            xml.contains("<failure message=\"3000 ms of at most 2500 ms; 120 %\"/>"),
            "{xml}"
        );
        assert!(
            xml.contains("<skipped message=\"- of at most 200 ms; 3 values; 20 are needed\"/>")
        );
        assert_eq!(xml.matches("<testcase").count(), 3);
    }
}
