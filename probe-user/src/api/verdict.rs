//! `/api/verdict`: where each service's time went in the last seconds, and what to say about it.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::Serialize;

use super::App;
use crate::verdict::{Latency, Report, ServiceVerdict, Shares};

/// The whole answer.
#[derive(Serialize)]
pub(super) struct Verdicts {
    /// Over how long; 0 when the daemon has not looked twice yet.
    window_seconds: f64,
    /// What the host lacks.
    host: Vec<String>,
    services: Vec<Verdict>,
}

#[derive(Serialize)]
struct Verdict {
    name: String,
    sentence: String,
    cause: Option<&'static str>,
    slow: bool,
    /// Percent of the interval by state: 100 in all.
    shares: BTreeMap<&'static str, f64>,
    /// Percent of the work by state: 100 in all, or 0 when there was none.
    work: BTreeMap<&'static str, f64>,
    in_progress: f64,
    latency: Option<JudgedLatency>,
    cpu: Option<f64>,
    run_queue_p99_seconds: Option<f64>,
    disk_p99_seconds: Option<f64>,
}

#[derive(Serialize)]
struct JudgedLatency {
    of: &'static str,
    p95_seconds: f64,
}

/// Never waits: the daemon judges by itself, every other second.
pub(super) async fn verdicts(State(app): State<App>) -> Json<Verdicts> {
    Json(Verdicts::from(&*app.source.verdicts()))
}

impl From<&Report> for Verdicts {
    fn from(report: &Report) -> Self {
        Self {
            window_seconds: report.window.as_secs_f64(),
            host: report.host.clone(),
            services: report.services.iter().map(Verdict::from).collect(),
        }
    }
}

impl From<&ServiceVerdict> for Verdict {
    fn from(verdict: &ServiceVerdict) -> Self {
        Self {
            name: verdict.name.to_string(),
            sentence: verdict.sentence.clone(),
            cause: verdict.cause.map(crate::verdict::State::as_str),
            slow: verdict.slow,
            shares: by_state(&verdict.shares),
            work: by_state(&verdict.work),
            in_progress: verdict.in_progress,
            latency: verdict.latency.map(|(kind, p95_seconds)| JudgedLatency {
                of: match kind {
                    Latency::Requests => "requests",
                    Latency::Statements => "statements",
                },
                p95_seconds,
            }),
            cpu: verdict.cpu,
            run_queue_p99_seconds: verdict.run_queue_p99,
            disk_p99_seconds: verdict.disk_p99,
        }
    }
}

fn by_state(shares: &Shares) -> BTreeMap<&'static str, f64> {
    let shares = shares.iter();
    shares
        .map(|(state, percent)| (state.as_str(), percent))
        .collect()
}
