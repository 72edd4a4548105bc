//! `/api/gemini/report` and `/api/gemini/limits`: what calls have come to.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::{answer, unavailable};
use crate::{
    api::{App, Problem, parameters},
    gemini::{
        Gemini,
        report::{By, Group, Period, Report, Totals},
    },
};

const ALLOWED: &str = "period, by, at, format";
const AT: &str = "allowed is a day such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z";
const NANO: f64 = 1e9;

/// The whole answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// `day`, `week` or `month`.
    pub(crate) period: String,
    /// `feature`, `model` or `service`.
    pub(crate) by: String,
    /// In which days, weeks and months begin.
    pub(crate) timezone: String,
    /// Begin of the period, RFC 3339.
    pub(crate) from: String,
    /// Up to which calls are in it: its end, or now.
    pub(crate) to: String,
    /// Its end.
    pub(crate) ends: String,
    /// The period before; up to the same point when this one is not over.
    pub(crate) before: Span,
    /// The costliest first.
    pub(crate) groups: Vec<Row>,
    /// All of them.
    pub(crate) total: Row,
    /// The month that runs now.
    pub(crate) month: Month,
}

/// A stretch of time, RFC 3339.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) from: String,
    pub(crate) to: String,
}

/// Calls of one feature, model or service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) now: Sums,
    /// What it was in the period before.
    pub(crate) before: Sums,
    /// Change of the calls against the period before: 0.1 is a tenth more; `None` when there were none.
    pub(crate) calls_change: Option<f64>,
    /// The same of the cost.
    pub(crate) cost_change: Option<f64>,
}

/// Their sums.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub(crate) calls: u64,
    pub(crate) errors: u64,
    /// Of the errors: refused by the API as too many.
    pub(crate) throttled: u64,
    pub(crate) incomplete: u64,
    pub(crate) tokens: Tokens,
    /// Of the calls whose cost is known.
    pub(crate) cost_usd: f64,
    /// The same, exactly.
    pub(crate) cost_nano_usd: u64,
    /// Mean of the calls whose cost is known; `None` without any.
    pub(crate) cost_per_call_usd: Option<f64>,
    /// Calls that have a cost which nobody knows.
    pub(crate) unpriced_calls: u64,
    /// Mean; `None` without calls.
    pub(crate) mean_seconds: Option<f64>,
}

/// Tokens by type; none is in two of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) cached: u64,
    pub(crate) tool_use: u64,
    pub(crate) output: u64,
    pub(crate) thoughts: u64,
}

/// What the month costs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Month {
    pub(crate) from: String,
    pub(crate) ends: String,
    pub(crate) cost_usd: f64,
    /// At its end, if the days that are left are like the last seven; `None` while less than a day is
    /// known.
    pub(crate) projected_cost_usd: Option<f64>,
    pub(crate) unpriced_calls: u64,
}

/// What is asked for.
struct Asked {
    period: Period,
    by: By,
    at_ms: Option<i64>,
    csv: bool,
}

pub(super) async fn report(
    State(app): State<App>,
    headers: HeaderMap,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    let gemini = gemini(&app)?;
    let Query(parameters) = parameters.map_err(|error| parameters::bad(error.body_text()))?;
    let asked = asked(&parameters, &headers, &gemini.zone())?;
    let report = gemini.report(asked.period, asked.by, asked.at_ms).await;
    let report = report.map_err(|error| unavailable(&error))?;
    let answer = Answer::new(&report, gemini.zone());
    if !asked.csv {
        return Ok(Json(answer).into_response());
    }
    let csv = answer.csv().map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("writing CSV: {error}"),
        )
    })?;
    let kind = [(header::CONTENT_TYPE, "text/csv; charset=utf-8")];
    Ok((kind, csv).into_response())
}

/// What each limit stands at.
pub(super) async fn limits(State(app): State<App>) -> Result<Response, Problem> {
    let gemini = gemini(&app)?;
    let limits = gemini.limits().await.map_err(|error| unavailable(&error))?;
    let limits: Vec<_> = limits.iter().map(answer::limit).collect();
    Ok(Json(serde_json::json!({ "timezone": gemini.zone(), "limits": limits })).into_response())
}

fn gemini(app: &App) -> Result<Gemini, Problem> {
    let gemini = app.source.gemini();
    gemini.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, super::OFF))
}

fn asked(
    parameters: &[(String, String)],
    headers: &HeaderMap,
    zone: &str,
) -> Result<Asked, Problem> {
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let mut asked = Asked {
        period: Period::Day,
        by: By::Feature,
        at_ms: None,
        csv: accepts.is_some_and(|accepts| accepts.starts_with("text/csv")),
    };
    for (name, value) in parameters {
        let refuse = |allowed: &str| parameters::refuse(name, value, allowed);
        match name.as_str() {
            "period" => {
                asked.period = value
                    .parse()
                    .map_err(|_| refuse("allowed are day, week, month"))?;
            }
            "by" => {
                asked.by = value
                    .parse()
                    .map_err(|_| refuse("allowed are feature, model, service"))?;
            }
            "at" => asked.at_ms = Some(at(value, zone).ok_or_else(|| refuse(AT))?),
            "format" => {
                asked.csv = match value.as_str() {
                    "json" => false,
                    "csv" => true,
                    _ => return Err(refuse("allowed are json, csv")),
                }
            }
            _ => return Err(parameters::unknown(name, ALLOWED)),
        }
    }
    Ok(asked)
}

/// In Unix milliseconds; a day is that of the zone.
fn at(text: &str, zone: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let noon = text.parse::<Date>().ok()?.at(12, 0, 0, 0);
    Some(zone.to_timestamp(noon).ok()?.as_millisecond())
}

impl Answer {
    fn new(report: &Report, timezone: String) -> Self {
        let time = parameters::rfc3339;
        let usd = |nano: u64| nano as f64 / NANO;
        let month = report.month;
        Self {
            period: report.period.as_str().to_owned(),
            by: report.by.as_str().to_owned(),
            timezone,
            from: time(report.from_ms),
            to: time(report.to_ms),
            ends: time(report.ends_ms),
            before: Span {
                from: time(report.before_ms.0),
                to: time(report.before_ms.1),
            },
            groups: report.groups.iter().map(Row::new).collect(),
            total: Row::new(&report.total),
            month: Month {
                from: time(month.from_ms),
                ends: time(month.to_ms),
                cost_usd: usd(month.nano_usd),
                projected_cost_usd: month.projected_nano_usd.map(usd),
                unpriced_calls: month.unpriced,
            },
        }
    }

    /// A line for each group, without their total, which spreadsheets make themselves.
    ///
    /// # Errors
    /// A row can't be written.
    pub(crate) fn csv(&self) -> Result<String, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record([
            self.by.as_str(),
            "calls",
            "errors",
            "throttled",
            "incomplete",
            "input_tokens",
            "cached_tokens",
            "tool_use_tokens",
            "output_tokens",
            "thoughts_tokens",
            "cost_usd",
            "cost_per_call_usd",
            "unpriced_calls",
            "mean_seconds",
            "calls_before",
            "cost_before_usd",
        ])?;
        for row in &self.groups {
            let (now, tokens) = (&row.now, &row.now.tokens);
            let optional = |value: Option<f64>| value.map_or_else(String::new, |it| it.to_string());
            writer.write_record([
                harmless(&row.name),
                now.calls.to_string(),
                now.errors.to_string(),
                now.throttled.to_string(),
                now.incomplete.to_string(),
                tokens.input.to_string(),
                tokens.cached.to_string(),
                tokens.tool_use.to_string(),
                tokens.output.to_string(),
                tokens.thoughts.to_string(),
                decimal(now.cost_nano_usd),
                optional(now.cost_per_call_usd),
                now.unpriced_calls.to_string(),
                optional(now.mean_seconds),
                row.before.calls.to_string(),
                decimal(row.before.cost_nano_usd),
            ])?;
        }
        let bytes = writer.into_inner().map_err(|error| error.into_error())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Exactly, as floats are not.
fn decimal(nano_usd: u64) -> String {
    format!(
        "{}.{:09}",
        nano_usd / 1_000_000_000,
        nano_usd % 1_000_000_000
    )
}

/// Names come from callers: a spreadsheet must not take one for a formula.
fn harmless(name: &str) -> String {
    match name.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{name}"),
        _ => name.to_owned(),
    }
}

impl Row {
    fn new(group: &Group) -> Self {
        let (now, before) = (Sums::new(&group.now), Sums::new(&group.before));
        let change = |now: f64, before: f64| (before > 0.0).then(|| now / before - 1.0);
        Self {
            name: group.name.clone(),
            calls_change: change(now.calls as f64, before.calls as f64),
            cost_change: change(now.cost_usd, before.cost_usd),
            now,
            before,
        }
    }
}

impl Sums {
    fn new(totals: &Totals) -> Self {
        let tokens = totals.tokens;
        Self {
            calls: totals.calls,
            errors: totals.errors,
            throttled: totals.throttled,
            incomplete: totals.incomplete,
            tokens: Tokens {
                input: tokens.input,
                cached: tokens.cached,
                tool_use: tokens.tool_use,
                output: tokens.output,
                thoughts: tokens.thoughts,
            },
            cost_usd: totals.nano_usd as f64 / NANO,
            cost_nano_usd: totals.nano_usd,
            cost_per_call_usd: totals.nano_usd_per_call().map(|nano| nano as f64 / NANO),
            unpriced_calls: totals.unpriced,
            mean_seconds: (totals.calls > 0)
                .then(|| totals.duration_ns as f64 / NANO / totals.calls as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_formula_and_money_is_exact() {
        assert_eq!(harmless("=1+1"), "'=1+1");
        assert_eq!(harmless("-search"), "'-search");
        assert_eq!(harmless("search"), "search");
        assert_eq!(decimal(10), "0.000000010");
        assert_eq!(decimal(12_345_678_901), "12.345678901");
    }

    #[test]
    fn a_day_is_that_of_the_zone() {
        let noon = at("2026-01-31", "America/Los_Angeles").unwrap();
        assert_eq!(Some(noon), at("2026-01-31T20:00:00Z", "UTC"));
        assert_eq!(at("yesterday", "UTC"), None);
    }
}
