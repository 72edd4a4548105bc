//! Whether pages and files are within their budgets.

use super::metric;
use crate::{
    metrics::families::Families,
    vitals::budgets::{Report, State},
};

/// Nothing before the first look, and without budgets.
pub(super) fn collect(families: &mut Families, report: &Report) {
    if report.at_ms <= 0 || (report.verdicts.is_empty() && report.left_out == 0) {
        return;
    }
    for verdict in &report.verdicts {
        // Something where nothing is allowed is infinitely much.
        let ratio = match (verdict.state, verdict.ratio) {
            (State::Broken, None) => f64::INFINITY,
            (_, Some(ratio)) => ratio,
            (_, None) => continue,
        };
        let labels = [verdict.page.as_str(), verdict.budget.as_str()];
        families.gauge_float(&metric::BUDGET_RATIO, labels, ratio);
    }
    for state in State::ALL {
        families.gauge(&metric::BUDGETS, [state.as_str()], report.count(state));
    }
    families.gauge(&metric::BUDGETS_LEFT_OUT, [], report.left_out);
    let at = report.at_ms as f64 / 1e3;
    families.gauge_float(&metric::BUDGETS_LOOKED_AT, [], at);
}
