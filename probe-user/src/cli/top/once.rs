//! One table, or JSON, for scripts.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::{
    answer::Answer,
    numbers,
    rows::{self, Line, Row},
};
use crate::cli::client::Client;

/// Rates are over this time.
const BETWEEN: Duration = Duration::from_secs(1);
/// Routes, statements and syscalls of each service in JSON.
const LINES: usize = 10;

/// Asks twice and says what happened in between.
///
/// # Errors
/// The daemon does not answer.
pub(super) async fn once(client: &Client, as_json: bool) -> anyhow::Result<String> {
    let then = Answer::ask(client).await.map_err(anyhow::Error::msg)?;
    tokio::time::sleep(BETWEEN).await;
    let mut now = Answer::ask(client).await.map_err(anyhow::Error::msg)?;
    // A daemon that was just started judges after its second look.
    let mut tries = 0;
    while now.verdicts.window_seconds <= 0.0 && tries < 3 && !now.overview.services.is_empty() {
        tries += 1;
        tokio::time::sleep(BETWEEN).await;
        now = Answer::ask(client).await.map_err(anyhow::Error::msg)?;
    }
    Ok(if as_json {
        format!("{:#}\n", document(&now, &then))
    } else {
        table(&now, &then)
    })
}

/// The table, and what is to be said.
pub(super) fn table(now: &Answer, then: &Answer) -> String {
    const HEADINGS: [&str; 9] = [
        "SERVICE", "REQ/S", "ERR/S", "P50", "P99", "CPU", "RSS", "RUNQ99", "DISK99",
    ];
    let rows = rows::rows(now, Some(then));
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEADINGS);
    for row in &rows {
        table.add_row([
            row.name.clone(),
            numbers::short(row.answered.calls),
            numbers::short(row.answered.errors),
            numbers::duration(row.answered.p50),
            numbers::duration(row.answered.p99),
            numbers::percent(row.cpu),
            numbers::bytes(row.resident_bytes),
            numbers::duration(row.run_queue_p99),
            numbers::duration(row.disk_p99),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!("{}\n", table.trim_fmt());
    let sentences = rows.iter().map(|row| &row.sentence);
    let sentences = sentences.filter(|sentence| !sentence.is_empty());
    for line in now.verdicts.host.iter().chain(sentences) {
        text.push_str(&format!("\n{line}"));
    }
    text.push('\n');
    text
}

/// The same and more: numbers as they are, in seconds, bytes, and events a second.
pub(super) fn document(now: &Answer, then: &Answer) -> Value {
    let seconds = rows::seconds_between(&now.overview, Some(&then.overview));
    let services = rows::rows(now, Some(then)).into_iter().map(|row| {
        let detail = rows::detail(now, Some(then), &row.name).unwrap_or_default();
        service(&row, &detail)
    });
    json!({
        "at_seconds": now.overview.at_seconds,
        "rates_over_seconds": seconds,
        "verdict_over_seconds": now.verdicts.window_seconds,
        "host": now.verdicts.host,
        "services": services.collect::<Vec<_>>(),
    })
}

fn service(row: &Row, detail: &rows::Detail) -> Value {
    let lines = |lines: &[Line]| lines.iter().take(LINES).map(line).collect::<Vec<_>>();
    json!({
        "name": row.name,
        "kind": row.kind,
        "processes": row.processes,
        "requests_per_second": row.answered.calls,
        "errors_per_second": row.answered.errors,
        "p50_seconds": row.answered.p50,
        "p99_seconds": row.answered.p99,
        "cpu": row.cpu,
        "resident_bytes": row.resident_bytes,
        "run_queue_p99_seconds": row.run_queue_p99,
        "disk_p99_seconds": row.disk_p99,
        "cause": row.cause,
        "slow": row.slow,
        "sentence": row.sentence,
        "shares": row.shares,
        "work": row.work,
        "routes": lines(&detail.routes),
        "statements": lines(&detail.statements),
        "syscalls": lines(&detail.syscalls),
    })
}

fn line(line: &Line) -> Value {
    json!({
        "name": line.name,
        "calls_per_second": line.calls,
        "errors_per_second": line.errors,
        "p50_seconds": line.p50,
        "p99_seconds": line.p99,
        "seconds_per_second": line.busy,
    })
}
