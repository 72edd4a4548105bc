//! `/api/advice`: which indexes are missing, and which are not worth their cost.

use std::time::SystemTime;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::Serialize;

use super::{App, Problem};
use crate::database::advice::report::{
    Advice, AdviceReport, DatabaseAdvice, HypoPg, Kind, LookedAt, State as RoundState,
};

/// The whole answer.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    databases: Vec<Database>,
    advice: Vec<OfDatabase>,
}

/// How things are with one database.
#[derive(Debug, Serialize)]
struct Database {
    name: String,
    /// Its name on the server; `None` before the first connection.
    database: Option<String>,
    /// `waiting`, `done` or `failed`.
    state: &'static str,
    /// Why the last round failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    finished_at: Option<String>,
    round_seconds: f64,
    rounds: u64,
    failures: u64,
    hypopg: HypoPg,
    looked_at: Vec<LookedAt>,
}

/// A piece of advice with the database that it is for.
#[derive(Debug, Serialize)]
struct OfDatabase {
    database: String,
    #[serde(flatten)]
    advice: Advice,
}

pub(super) async fn advice(
    State(app): State<App>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Answer>, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Query(parameters) = parameters.map_err(|error| bad(error.body_text()))?;
    let report = app.source.advice();
    let (mut database, mut kind) = (None, None);
    for (name, value) in &parameters {
        match name.as_str() {
            "database" => database = Some(known_database(&report, value).map_err(bad)?),
            "kind" => kind = Some(known_kind(value).map_err(bad)?),
            _ => {
                return Err(bad(format!(
                    "`{name}` is no parameter; allowed are database, kind"
                )));
            }
        }
    }
    Ok(Json(Answer::new(&report, database, kind)))
}

fn known_database<'v>(report: &AdviceReport, value: &'v str) -> Result<&'v str, String> {
    let names: Vec<&str> = report
        .databases
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    if names.contains(&value) {
        return Ok(value);
    }
    let allowed = if names.is_empty() {
        "no database is configured for advice".to_owned()
    } else {
        format!("allowed are {}", names.join(", "))
    };
    Err(format!("`database` = {value:?}: {allowed}"))
}

fn known_kind(value: &str) -> Result<Kind, String> {
    let found = Kind::ALL.iter().find(|kind| kind.as_str() == value);
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("`kind` = {value:?}: allowed are {}", names.join(", "))
    })
}

impl Answer {
    fn new(report: &AdviceReport, database: Option<&str>, kind: Option<Kind>) -> Self {
        let wanted = report
            .databases
            .iter()
            .filter(|one| database.is_none_or(|wanted| one.name == wanted));
        let mut answer = Self {
            databases: Vec::new(),
            advice: Vec::new(),
        };
        for one in wanted {
            answer.databases.push(Database::new(one));
            let advice = one.advice.iter();
            let advice = advice.filter(|advice| kind.is_none_or(|kind| advice.kind == kind));
            answer.advice.extend(advice.map(|advice| OfDatabase {
                database: one.name.clone(),
                advice: advice.clone(),
            }));
        }
        answer
    }
}

impl Database {
    fn new(known: &DatabaseAdvice) -> Self {
        let (state, reason) = match &known.state {
            RoundState::Waiting => ("waiting", None),
            RoundState::Done => ("done", None),
            RoundState::Failed(why) => ("failed", Some(why.clone())),
        };
        Self {
            name: known.name.clone(),
            database: Some(known.database.clone()).filter(|name| !name.is_empty()),
            state,
            reason,
            finished_at: known.finished_at.and_then(rfc3339),
            round_seconds: known.round_seconds,
            rounds: known.rounds,
            failures: known.failures,
            hypopg: known.hypopg.clone(),
            looked_at: known.looked_at.clone(),
        }
    }
}

/// With milliseconds.
fn rfc3339(at: SystemTime) -> Option<String> {
    let at = Timestamp::try_from(at).ok()?;
    Some(format!("{at:.3}"))
}
