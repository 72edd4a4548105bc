//! `hostprobe slow`: the latest slow queries, as a table for people or JSON for programs.

pub(in crate::cli) mod table;

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde::Deserialize;
use serde_json::Value;

use self::table::{Column, Layout};
use super::{
    bad_config,
    client::{AddressArgs, AskError, Client, runtime},
    exit,
};

const PATH: &str = "/api/slow-queries";
/// The most that one answer may have.
const PAGE: u32 = 1_000;
/// Pages that are read for one question.
const PAGES: usize = 20;
/// How often `--follow` asks.
const EVERY: Duration = Duration::from_secs(1);
/// A statement comes when its request has ended, a minute late at most, and then it is stored.
const LATE_S: i64 = 120;

/// What to show.
#[derive(Debug, Args)]
pub(super) struct SlowArgs {
    #[command(flatten)]
    daemon: AddressArgs,
    #[command(flatten)]
    filter: Filter,
    /// Show at most so many, the latest.
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on and show new ones as they come, also over a restart of the daemon.
    #[arg(long, short)]
    follow: bool,
    /// Print one JSON object a line, as /api/slow-queries has them.
    #[arg(long)]
    json: bool,
    /// Show each statement once, with how often it was slow and for how long together.
    #[arg(long, conflicts_with_all = ["follow", "json"])]
    by_statement: bool,
}

/// Which ones; the daemon says what is allowed.
#[derive(Debug, Args)]
struct Filter {
    /// Only those that this service ran or sent.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only those in this database.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Only those of this role.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only those for requests of this route, such as /orders/{id}.
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// Only this statement: 16 hexadecimal digits.
    #[arg(long, value_name = "DIGITS")]
    fingerprint: Option<String>,
    /// Only as the server or as the client saw them.
    #[arg(long, value_name = "server|client")]
    side: Option<String>,
    /// Only those that failed.
    #[arg(long)]
    errors: bool,
    /// Only those that took at least so many milliseconds.
    #[arg(long, value_name = "MS")]
    min_ms: Option<String>,
    /// Only those that ended since then: 90s, 15m, 2h or 7d ago, or 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those that ended before then.
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    until: Option<String>,
}

impl Filter {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("service", &self.service),
            ("database", &self.database),
            ("user", &self.user),
            ("route", &self.route),
            ("fingerprint", &self.fingerprint),
            ("side", &self.side),
            ("min_ms", &self.min_ms),
            ("since", &self.since),
            ("until", &self.until),
        ];
        let given = given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)));
        let errors = self.errors.then(|| ("errors", "only".to_owned()));
        given.chain(errors).collect()
    }
}

/// What is shown of one statement.
#[derive(Debug, Clone, Deserialize)]
struct SlowQuery {
    id: String,
    at: Timestamp,
    service: String,
    side: String,
    database: Option<String>,
    fingerprint: Option<String>,
    sql: String,
    text: Option<String>,
    duration_seconds: f64,
    shared_latency: bool,
    sqlstate: Option<String>,
    method: Option<String>,
    route: Option<String>,
}

/// Runs the command.
pub(super) fn slow(args: &SlowArgs) -> anyhow::Result<ExitCode> {
    let address = match args.daemon.address() {
        Ok(address) => address,
        Err(error) => return Ok(bad_config(&error)),
    };
    let client = Client::new(&address)?;
    let shown = runtime()?.block_on(show(&client, args));
    match shown {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // A reader that went away (`| head`) is no failure.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        Err(Failure::Ask(error)) if error.is_usage() => {
            let _ = writeln!(std::io::stderr(), "hostprobe: {error}");
            Ok(ExitCode::from(exit::USAGE))
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
    #[error("{0:#}")]
    Answer(#[from] anyhow::Error),
}

async fn show(client: &Client, args: &SlowArgs) -> Result<(), Failure> {
    let mut parameters = args.filter.parameters();
    if args.by_statement {
        let answer = ask(client, &parameters, PAGES, PAGE).await?;
        return Ok(by_statement(&answer, args.limit)?);
    }
    let mut found = ask(client, &parameters, 1, args.limit).await?;
    found.items.reverse();
    let mut screen = Screen::new(args.json);
    screen.print(&found.items, !args.follow)?;
    if !args.follow {
        return Ok(());
    }
    let mut seen: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut since = late(&found.items);
    if let Some(since) = since {
        set_since(&mut parameters, since);
        // What is older than those that were printed is not new.
        note(
            &mut seen,
            &ask(client, &parameters, PAGES, PAGE).await?.items,
        );
    }
    note(&mut seen, &found.items);
    let mut down = false;
    loop {
        tokio::time::sleep(EVERY).await;
        let mut found = match ask(client, &parameters, PAGES, PAGE).await {
            Ok(found) => found,
            Err(Failure::Ask(error)) if error.is_passing() => {
                if !std::mem::replace(&mut down, true) {
                    writeln!(std::io::stderr(), "hostprobe: {error}; waiting for it")?;
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        down = false;
        found
            .items
            .retain(|item| !seen.contains_key(&item.query.id));
        found.items.reverse();
        screen.print(&found.items, false)?;
        note(&mut seen, &found.items);
        since = since.max(late(&found.items));
        if let Some(since) = since {
            set_since(&mut parameters, since);
            seen.retain(|_, at| *at >= since);
        }
    }
}

fn note(seen: &mut BTreeMap<String, Timestamp>, items: &[Item]) {
    seen.extend(
        items
            .iter()
            .map(|item| (item.query.id.clone(), item.query.at)),
    );
}

/// Before that, nothing new comes any more.
fn late(items: &[Item]) -> Option<Timestamp> {
    let newest = items.iter().map(|item| item.query.at).max()?;
    newest.checked_sub(LATE_S.seconds()).ok()
}

fn set_since(parameters: &mut Vec<(&'static str, String)>, since: Timestamp) {
    parameters.retain(|(name, _)| *name != "since");
    parameters.push(("since", since.to_string()));
}

/// One of an answer, as it came and as it was understood.
#[derive(Debug)]
struct Item {
    raw: Value,
    query: SlowQuery,
}

/// What was found, newest first.
#[derive(Debug, Default)]
struct Found {
    items: Vec<Item>,
}

async fn ask(
    client: &Client,
    parameters: &[(&'static str, String)],
    pages: usize,
    limit: u32,
) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut cursor: Option<String> = None;
    for page in 0..pages {
        let mut parameters = parameters.to_vec();
        parameters.push(("limit", limit.to_string()));
        parameters.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let answer = client.get(PATH, &parameters).await?;
        let items = answer.get("slow_queries").and_then(Value::as_array);
        for raw in items.context("the answer has no slow queries: is the daemon older?")? {
            let query = SlowQuery::deserialize(raw).context("a slow query is not understood")?;
            let raw = raw.clone();
            found.items.push(Item { raw, query });
        }
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        if page == 0
            && let Some(reason) = text("source_reason")
        {
            warn_once(&format!(
                "only the latest since the daemon's start: {reason}"
            ));
        }
        cursor = text("next");
        if cursor.is_none() {
            break;
        }
    }
    Ok(found)
}

fn warn_once(text: &str) {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| {
        let _ = writeln!(std::io::stderr(), "hostprobe: {text}");
    });
}

/// Where the statements appear.
struct Screen {
    json: bool,
    layout: Option<Layout>,
}

const COLUMNS: [Column; 6] = [
    Column::left("TIME", 15),
    Column::right("TOOK", 8),
    Column::left("SERVICE", 16),
    Column::left("DATABASE", 12),
    Column::left("ROUTE", 22),
    Column::rest("STATEMENT"),
];

impl Screen {
    fn new(json: bool) -> Self {
        Self { json, layout: None }
    }

    fn print(&mut self, items: &[Item], is_all: bool) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            for item in items {
                writeln!(out, "{}", item.raw)?;
            }
            return out.flush();
        }
        if items.is_empty() {
            if is_all {
                writeln!(out, "no slow queries")?;
            }
            return Ok(());
        }
        let rows: Vec<[String; 6]> = items.iter().map(|item| row(&item.query)).collect();
        let first = self.layout.is_none();
        let layout = self.layout.get_or_insert_with(|| {
            // The first rows decide, so that what is printed later stands below them.
            Layout::new(&COLUMNS, &rows, table::Terminal::of_this_process())
        });
        let is_error = |at: usize| {
            items
                .get(at)
                .is_some_and(|item| item.query.sqlstate.is_some())
        };
        layout.print(&mut out, &rows, first, is_error)?;
        out.flush()
    }
}

fn row(query: &SlowQuery) -> [String; 6] {
    let dash = || "-".to_owned();
    let place = query.route.as_ref().map(|route| {
        let method = query.method.as_deref().unwrap_or_default();
        format!("{method} {route}")
    });
    [
        when(query.at),
        took(query),
        query.service.clone(),
        query.database.clone().unwrap_or_else(dash),
        place.unwrap_or_else(dash),
        statement(query),
    ]
}

/// Of statements that were sent together, the time is that of all of them.
fn took(query: &SlowQuery) -> String {
    let sign = if query.shared_latency { "≤" } else { "" };
    format!("{sign}{}", table::duration(query.duration_seconds))
}

/// With why it failed before it, because the end may not fit.
fn statement(query: &SlowQuery) -> String {
    let sql = query.text.as_ref().unwrap_or(&query.sql);
    match &query.sqlstate {
        Some(state) => format!("[{state}] {sql}"),
        None => sql.clone(),
    }
}

/// In this host's time zone; today the time alone.
fn when(at: Timestamp) -> String {
    let zone = TimeZone::system();
    let at = at.to_zoned_datetime(zone.clone());
    if at.date() == Timestamp::now().to_zoned_datetime(zone).date() {
        at.strftime("%H:%M:%S").to_string()
    } else {
        at.strftime("%b %d %H:%M:%S").to_string()
    }
}

/// What is added up over the executions of a statement.
struct Sum {
    times: u64,
    seconds: f64,
    most: f64,
    latest: SlowQuery,
}

const SUM_COLUMNS: [Column; 6] = [
    Column::right("TIMES", 7),
    Column::right("TOGETHER", 9),
    Column::right("LONGEST", 8),
    Column::left("LAST", 15),
    Column::left("SERVICE", 16),
    Column::rest("STATEMENT"),
];

fn by_statement(found: &Found, limit: u32) -> std::io::Result<()> {
    let mut sums: BTreeMap<(&str, &str, Option<&str>), Sum> = BTreeMap::new();
    // Newest first, so the first of each is its latest.
    for Item { query, .. } in &found.items {
        let fingerprint = query.fingerprint.as_deref();
        let sum = sums
            .entry((&query.service, &query.side, fingerprint))
            .or_insert_with(|| Sum {
                times: 0,
                seconds: 0.0,
                most: 0.0,
                latest: query.clone(),
            });
        sum.times += 1;
        sum.seconds += query.duration_seconds;
        sum.most = sum.most.max(query.duration_seconds);
    }
    let mut sums: Vec<Sum> = sums.into_values().collect();
    sums.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    sums.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let rows: Vec<[String; 6]> = sums
        .into_iter()
        .map(|sum| {
            [
                sum.times.to_string(),
                table::duration(sum.seconds),
                table::duration(sum.most),
                when(sum.latest.at),
                sum.latest.service,
                sum.latest.sql,
            ]
        })
        .collect();
    let mut out = std::io::stdout().lock();
    if rows.is_empty() {
        return writeln!(out, "no slow queries");
    }
    let layout = Layout::new(&SUM_COLUMNS, &rows, table::Terminal::of_this_process());
    layout.print(&mut out, &rows, true, |_| false)?;
    out.flush()
}
