//! `/api/n-plus-one`: loops around queries, newest first.

use std::time::Duration;

use axum::{Json, extract::State};
use serde::Serialize;

use super::{App, CollectError};
use crate::{
    metrics::{collect::ServiceNames, metric::seconds},
    traffic::{Finding, Report},
};

/// The whole answer.
#[derive(Serialize)]
pub(super) struct Findings {
    findings: Vec<FoundLoop>,
}

/// A query that one place runs again and again.
#[derive(Serialize)]
pub(super) struct FoundLoop {
    service: String,
    pattern: &'static str,
    /// `None` when the statements belong to no request for certain.
    method: Option<&'static str>,
    route: Option<String>,
    /// Sixteen hexadecimal digits.
    fingerprint: String,
    /// Without literals.
    sql: String,
    operation: &'static str,
    /// How often it ran the last time.
    count: u32,
    /// How often it runs each time, on average.
    typical_count: f64,
    /// How long that took, pauses included.
    elapsed_seconds: f64,
    /// An estimate of what one statement for all would have spared: the time of all executions but
    /// one.
    wasted_seconds: f64,
    /// The same over all times.
    total_wasted_seconds: f64,
    /// What to do about it.
    advice: &'static str,
    confidence: &'static str,
    /// How often it was found since the start.
    times: u64,
    seconds_ago: f64,
}

pub(super) async fn findings(State(app): State<App>) -> Result<Json<Findings>, CollectError> {
    let reading = app.collector.read().await?;
    let names = ServiceNames::new(&reading.collected.services);
    Ok(Json(Findings {
        findings: found_loops(&reading.collected.traffic, &names),
    }))
}

/// The findings of a report, newest first.
pub(super) fn found_loops(report: &Report, names: &ServiceNames<'_>) -> Vec<FoundLoop> {
    report
        .findings
        .iter()
        .map(|finding| FoundLoop::new(finding, names, report.at_ns))
        .collect()
}

impl FoundLoop {
    /// Whose statement it is: service and fingerprint.
    pub(super) fn place(&self) -> (String, String) {
        (self.service.clone(), self.fingerprint.clone())
    }

    fn new(finding: &Finding, names: &ServiceNames<'_>, now_ns: u64) -> Self {
        let route = finding.route.as_ref();
        let age = Duration::from_nanos(now_ns.saturating_sub(finding.at_ns));
        Self {
            service: names.get(finding.service).to_owned(),
            pattern: finding.pattern.as_str(),
            method: route.map(|key| key.method),
            route: route.map(|key| key.route.to_string()),
            fingerprint: format!("{:016x}", finding.sql.fingerprint),
            sql: finding.sql.text.to_string(),
            operation: finding.sql.operation.as_str(),
            count: finding.count,
            typical_count: finding.typical_count(),
            elapsed_seconds: seconds(finding.elapsed_ns),
            wasted_seconds: seconds(finding.wasted_ns),
            total_wasted_seconds: seconds(finding.total_wasted_ns),
            advice: finding.advice(),
            confidence: finding.confidence.as_str(),
            times: finding.times,
            seconds_ago: age.as_secs_f64(),
        }
    }
}
