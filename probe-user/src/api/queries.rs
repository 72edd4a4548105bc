//! `/api/queries`: the statements that matter most, with what stands out of each.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    App, CollectError, Problem,
    findings::{FoundLoop, found_loops},
    overview::services_by_name,
    source::Reading,
};
use crate::{
    metrics::{collect::ServiceNames, metric::seconds},
    queries::{HOUR_MS, History, Key, Ranked, Ranking, Sort, Span, Trend},
    store::Side,
    traffic::{QUANTILE_ERROR, RouteCount, StatementRoutes, Totals},
};

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 1_000;
/// Routes that are shown of one statement.
const ROUTES: usize = 5;

/// What is asked for.
#[derive(Debug, PartialEq)]
struct Asked {
    sort: Sort,
    service: Option<String>,
    database: Option<String>,
    side: Option<Side>,
    fingerprint: Option<u64>,
    span: Span,
    limit: usize,
}

/// The whole answer. Times of the day are RFC 3339.
#[derive(Serialize)]
struct Answer {
    from: String,
    to: String,
    /// How much of the time between was observed.
    observed_seconds: f64,
    trend: Compared,
    /// Most that a quantile differs from the exact one, as a part of it.
    quantile_error: f64,
    /// Statements that fit the filters, shown or not.
    matching: usize,
    queries: Vec<Statement>,
    /// Statements that have no numbers of their own.
    rest: Vec<Rest>,
}

/// What trends compare with.
#[derive(Serialize)]
struct Compared {
    from: Option<String>,
    to: Option<String>,
    observed_seconds: f64,
    /// Why there are none.
    missing: Option<String>,
}

#[derive(Serialize)]
struct Statement {
    service: String,
    side: &'static str,
    database: Option<String>,
    fingerprint: String,
    operation: &'static str,
    sql: String,
    calls: u64,
    errors: u64,
    rows: u64,
    rows_per_call: f64,
    total_seconds: f64,
    mean_seconds: f64,
    p50_seconds: Option<f64>,
    p95_seconds: Option<f64>,
    p99_seconds: Option<f64>,
    share: f64,
    trend: Option<Changes>,
    routes: Vec<Route>,
    findings: Vec<FoundLoop>,
    full_scan: Option<FullScan>,
}

#[derive(Serialize)]
struct Changes {
    calls_per_hour: f64,
    seconds_per_hour: f64,
    mean_seconds: Option<f64>,
    calls_change: Option<f64>,
    total_change: Option<f64>,
    mean_change: Option<f64>,
}

#[derive(Serialize)]
struct Route {
    method: &'static str,
    route: String,
    /// Since the start of the daemon.
    calls: u64,
}

#[derive(Serialize)]
struct FullScan {
    certainty: &'static str,
    why: String,
}

#[derive(Serialize)]
struct Rest {
    service: String,
    side: &'static str,
    calls: u64,
    errors: u64,
    rows: u64,
    total_seconds: f64,
    share: f64,
}

pub(super) async fn queries(
    State(app): State<App>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<impl Serialize>, Refusal> {
    let Query(parameters) = parameters.map_err(|error| bad(error.body_text()))?;
    let asked = Asked::read(&parameters)?;
    let reading = app.collector.read().await?;
    let history = app.source.history();
    let answering = tokio::task::spawn_blocking(move || Answer::new(&reading, &history, &asked));
    Ok(Json(answering.await.map_err(CollectError::from)?))
}

/// Why there is no answer.
pub(super) enum Refusal {
    Problem(Problem),
    Collect(CollectError),
}

impl From<CollectError> for Refusal {
    fn from(error: CollectError) -> Self {
        Self::Collect(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::Collect(error) => error.into_response(),
        }
    }
}

fn bad(detail: impl Into<String>) -> Refusal {
    Refusal::Problem(Problem::new(StatusCode::BAD_REQUEST, detail))
}

impl Asked {
    fn read(parameters: &[(String, String)]) -> Result<Self, Refusal> {
        let mut asked = Self {
            sort: Sort::Total,
            service: None,
            database: None,
            side: None,
            fingerprint: None,
            span: Span::Last(HOUR_MS),
            limit: DEFAULT_LIMIT,
        };
        for (name, value) in parameters {
            let refuse = |allowed: &str| bad(format!("`{name}` = {value:?}: {allowed}"));
            match name.as_str() {
                "sort" => asked.sort = sort_of(value).ok_or_else(|| refuse(SORTS))?,
                "service" => asked.service = Some(value.clone()),
                "database" => asked.database = Some(value.clone()),
                "side" => asked.side = Some(value.parse().map_err(refuse)?),
                "fingerprint" => {
                    let digits = Some(value).filter(|value| value.len() == 16);
                    let number = digits.and_then(|hex| u64::from_str_radix(hex, 16).ok());
                    asked.fingerprint =
                        Some(number.ok_or_else(|| refuse("allowed are 16 hexadecimal digits"))?);
                }
                "window" => asked.span = span_of(value).ok_or_else(|| refuse(WINDOWS))?,
                "limit" => {
                    let number = value.parse().ok();
                    asked.limit = number
                        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                        .ok_or_else(|| refuse("allowed is a whole number from 1 to 1000"))?;
                }
                _ => {
                    return Err(bad(format!(
                        "there is no parameter `{name}`; allowed are sort, service, database, \
                         side, fingerprint, window, limit"
                    )));
                }
            }
        }
        Ok(asked)
    }

    fn takes(&self, key: &Key, database: &str) -> bool {
        let is = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|it| it == has);
        is(&self.service, &key.service)
            && is(&self.database, database)
            && self.side.is_none_or(|side| side == key.side)
            && (self.fingerprint.is_none() || self.fingerprint == key.fingerprint)
    }
}

const SORTS: &str = "allowed are total, mean, p95, calls, rows, errors";
const WINDOWS: &str = "allowed are start and a time of up to one hour, as in 30s, 5m or 1h";

fn sort_of(text: &str) -> Option<Sort> {
    Some(match text {
        "total" => Sort::Total,
        "mean" => Sort::Mean,
        "p95" => Sort::P95,
        "calls" => Sort::Calls,
        "rows" => Sort::Rows,
        "errors" => Sort::Errors,
        _ => return None,
    })
}

fn span_of(text: &str) -> Option<Span> {
    if text == "start" {
        return Some(Span::SinceStart);
    }
    let units = [('s', 1_000), ('m', 60_000), ('h', HOUR_MS)];
    let (number, unit_ms) = units
        .into_iter()
        .find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms)))?;
    // A sign is no digit.
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = number.parse().ok().filter(|_| digits)?;
    let ms = number.checked_mul(unit_ms)?;
    (1..=HOUR_MS).contains(&ms).then_some(Span::Last(ms))
}

impl Answer {
    fn new(reading: &Reading, history: &History, asked: &Asked) -> Self {
        let names = ServiceNames::new(&reading.collected.services);
        let report = &reading.collected.traffic;
        let mut ranking = Ranking::new(
            history,
            report,
            &names,
            asked.span,
            unix_ms(reading.status.started_at),
            unix_ms(reading.at),
        );
        ranking
            .statements
            .retain(|one| asked.takes(&one.key, &one.sums.database));
        ranking.rest.retain(|(key, ..)| asked.takes(key, ""));
        ranking.sort(asked.sort);
        let mut loops = Loops::new(found_loops(report, &names));
        let routes: BTreeMap<String, StatementRoutes> = services_by_name(report, &names)
            .into_iter()
            .map(|(name, service)| (name.to_owned(), service.db.statement_routes.clone()))
            .collect();
        let before = &ranking.before;
        let observed = before.observed_ms > 0;
        Self {
            from: rfc3339(ranking.from_ms),
            to: rfc3339(ranking.to_ms),
            observed_seconds: seconds_of(ranking.observed_ms),
            trend: Compared {
                from: observed.then(|| rfc3339(before.from_ms)),
                to: observed.then(|| rfc3339(before.to_ms)),
                observed_seconds: seconds_of(before.observed_ms),
                missing: ranking.no_trend.clone(),
            },
            quantile_error: QUANTILE_ERROR,
            matching: ranking.statements.len(),
            queries: ranking
                .statements
                .into_iter()
                .take(asked.limit)
                .map(|one| {
                    let routes = routes.get(&*one.key.service);
                    Statement::new(one, routes, &mut loops)
                })
                .collect(),
            rest: ranking.rest.into_iter().map(Rest::from).collect(),
        }
    }
}

/// Findings by service and fingerprint; each belongs to the client's view.
struct Loops(BTreeMap<(String, String), Vec<FoundLoop>>);

impl Loops {
    fn new(findings: Vec<FoundLoop>) -> Self {
        let mut loops: BTreeMap<_, Vec<FoundLoop>> = BTreeMap::new();
        for finding in findings {
            loops.entry(finding.place()).or_default().push(finding);
        }
        Self(loops)
    }

    fn take(&mut self, key: &Key) -> Vec<FoundLoop> {
        if key.side == Side::Server {
            return Vec::new();
        }
        let place = (key.service.to_string(), hex(key.fingerprint));
        self.0.remove(&place).unwrap_or_default()
    }
}

impl Statement {
    fn new(one: Ranked, routes: Option<&StatementRoutes>, loops: &mut Loops) -> Self {
        let Ranked {
            key,
            sums,
            share,
            trend,
            full_scan,
        } = one;
        let totals = &sums.totals;
        let calls = totals.calls.max(1) as f64;
        let quantile = |part| sums.latencies.quantile(part).map(seconds);
        let mut routes: Vec<&RouteCount> = routes
            .filter(|_| key.side == Side::Client)
            .and_then(|routes| routes.get(&key.fingerprint?))
            .into_iter()
            .flatten()
            .collect();
        routes.sort_by_key(|route| std::cmp::Reverse(route.calls));
        let sql = sums.sql.as_deref();
        Self {
            findings: loops.take(&key),
            service: key.service.to_string(),
            side: key.side.as_str(),
            database: (!sums.database.is_empty()).then(|| sums.database.to_string()),
            fingerprint: hex(key.fingerprint),
            operation: sql.map_or("OTHER", |sql| sql.operation.as_str()),
            sql: sql.map_or_else(String::new, |sql| sql.text.to_string()),
            calls: totals.calls,
            errors: totals.errors,
            rows: totals.rows,
            rows_per_call: totals.rows as f64 / calls,
            total_seconds: seconds(totals.busy_ns),
            mean_seconds: seconds(totals.busy_ns) / calls,
            p50_seconds: quantile(0.5),
            p95_seconds: quantile(0.95),
            p99_seconds: quantile(0.99),
            share,
            trend: trend.map(Changes::from),
            routes: routes.into_iter().take(ROUTES).map(Route::from).collect(),
            full_scan: full_scan.map(|why| FullScan {
                certainty: "suspected",
                why,
            }),
        }
    }
}

impl From<Trend> for Changes {
    fn from(trend: Trend) -> Self {
        Self {
            calls_per_hour: trend.calls_per_hour,
            seconds_per_hour: trend.seconds_per_hour,
            mean_seconds: trend.mean_seconds,
            calls_change: trend.calls_change,
            total_change: trend.total_change,
            mean_change: trend.mean_change,
        }
    }
}

impl From<&RouteCount> for Route {
    fn from(route: &RouteCount) -> Self {
        Self {
            method: route.key.method,
            route: route.key.route.to_string(),
            calls: route.calls,
        }
    }
}

impl From<(Key, Totals, f64)> for Rest {
    fn from((key, totals, share): (Key, Totals, f64)) -> Self {
        Self {
            service: key.service.to_string(),
            side: key.side.as_str(),
            calls: totals.calls,
            errors: totals.errors,
            rows: totals.rows,
            total_seconds: seconds(totals.busy_ns),
            share,
        }
    }
}

fn hex(fingerprint: Option<u64>) -> String {
    fingerprint.map_or_else(String::new, |number| format!("{number:016x}"))
}

fn unix_ms(at: SystemTime) -> i64 {
    let since_epoch = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

fn seconds_of(ms: i64) -> f64 {
    ms as f64 / 1e3
}

/// With milliseconds, in UTC.
fn rfc3339(ms: i64) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or_default();
    format!("{at:.3}")
}
