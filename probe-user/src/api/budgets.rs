//! `/api/budgets`: whether pages and files are within their budgets, as it is now.

use axum::{Json, extract::State};
use serde::Serialize;

use super::{App, parameters};
use crate::vitals::budgets::{Report, State as Verdicts, Verdict};

/// The whole answer.
#[derive(Serialize)]
pub(crate) struct Answer {
    /// When it was looked at, RFC 3339; `None` when no budgets are configured.
    at: Option<String>,
    /// Hours before that which the numbers of pages are about.
    window_hours: u32,
    /// Where the numbers of pages come from: `store`, or `memory` when there is none or it is down.
    source: &'static str,
    /// Why they don't come from the store.
    source_reason: Option<String>,
    ok: u64,
    broken: u64,
    unknown: u64,
    /// The broken ones first, then those that are not known; the worst first.
    budgets: Vec<Verdict>,
    /// Verdicts that were too many to be kept.
    left_out: u64,
}

pub(super) async fn budgets(State(app): State<App>) -> Json<Answer> {
    let report = match app.source.budgets() {
        Some(budgets) => budgets.look().await,
        None => Default::default(),
    };
    Json(Answer::from(&*report))
}

impl From<&Report> for Answer {
    fn from(report: &Report) -> Self {
        Self {
            at: (report.at_ms > 0).then(|| parameters::rfc3339(report.at_ms)),
            window_hours: report.window_h,
            source: if report.not_stored.is_none() {
                "store"
            } else {
                "memory"
            },
            source_reason: report.not_stored.clone(),
            ok: report.count(Verdicts::Ok),
            broken: report.count(Verdicts::Broken),
            unknown: report.count(Verdicts::Unknown),
            budgets: report.verdicts.clone(),
            left_out: report.left_out,
        }
    }
}
