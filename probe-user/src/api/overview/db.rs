//! For which requests a service sent its statements.

use serde::Serialize;

use crate::{
    metrics::metric::seconds,
    traffic::{DbReport, DbTally, RouteCount},
};

/// The statements of one service, by request, and those that belong to none for certain.
#[derive(Serialize)]
pub(super) struct DbNumbers {
    routes: Vec<RouteDb>,
    unattributed: Vec<UnattributedDb>,
}

#[derive(Serialize)]
struct RouteDb {
    method: &'static str,
    route: String,
    statements: u64,
    seconds: f64,
}

#[derive(Serialize)]
struct UnattributedDb {
    reason: &'static str,
    statements: u64,
    seconds: f64,
}

impl From<&DbReport> for DbNumbers {
    fn from(report: &DbReport) -> Self {
        let routes = report.routes.iter().map(|(key, tally)| RouteDb {
            method: key.method,
            route: key.route.to_string(),
            statements: tally.statements,
            seconds: seconds(tally.ns),
        });
        let unattributed = report
            .unattributed
            .iter()
            .map(|(reason, tally)| UnattributedDb {
                reason: reason.as_str(),
                statements: tally.statements,
                seconds: seconds(tally.ns),
            });
        Self {
            routes: routes.collect(),
            unattributed: unattributed.collect(),
        }
    }
}

/// Adds the routes that another id of the same service name ran a statement for.
pub(super) fn add_routes(into: &mut Vec<RouteCount>, other: &[RouteCount]) {
    for route in other {
        match into.iter_mut().find(|known| known.key == route.key) {
            Some(known) => known.calls = known.calls.saturating_add(route.calls),
            None => into.push(route.clone()),
        }
    }
}

/// Adds what another id of the same service name did.
pub(super) fn add(into: &mut DbTally, other: &DbTally) {
    into.statements = into.statements.saturating_add(other.statements);
    into.ns = into.ns.saturating_add(other.ns);
}
