//! Statements by request, and loops around queries.

use std::borrow::Cow;

use super::metric;
use crate::{
    metrics::{
        families::Families,
        metric::{Counter, Distribution, seconds},
    },
    routes::OTHER,
    traffic::{DbReport, FindingCounts, PoolReport, Unattributed},
};

pub(super) fn collect(families: &mut Families, service: &str, report: &DbReport) {
    for (key, tally) in &report.routes {
        let route = [service, &*key.route];
        families.counter(&metric::HTTP_DB_STATEMENTS, route, tally.statements);
        families.counter_float(&metric::HTTP_DB_SECONDS, route, seconds(tally.ns));
    }
    if !report.routes.is_empty() || !report.unattributed.is_empty() {
        // All reasons, so that 0 is a statement.
        for reason in Unattributed::ALL {
            let tally = report.unattributed.get(&reason).copied();
            let tally = tally.unwrap_or_default();
            let labels = [service, reason.as_str()];
            families.counter(
                &metric::HTTP_DB_UNATTRIBUTED_STATEMENTS,
                labels,
                tally.statements,
            );
            families.counter_float(
                &metric::HTTP_DB_UNATTRIBUTED_SECONDS,
                labels,
                seconds(tally.ns),
            );
        }
    }
    findings(families, &metric::N_PLUS_ONE, service, &report.n_plus_one);
    findings(families, &metric::REPEATED_QUERY, service, &report.repeated);
    if let Some(pools) = &report.pools {
        pool(families, service, pools);
    }
}

fn pool(families: &mut Families, service: &str, pools: &PoolReport) {
    let service_label = [service];
    families.counter_float(
        &metric::DB_POOL_SATURATED,
        service_label,
        seconds(pools.saturated_ns),
    );
    families.counter_float(&metric::DB_POOL_BUSY, service_label, seconds(pools.busy_ns));
    families.gauge(&metric::DB_POOL_PEAK, service_label, pools.busy_peak);
    families.histogram(
        &metric::DB_POOL_WAIT,
        [service, "inferred"],
        Distribution::from_timing(&pools.wait),
    );
}

fn findings(
    families: &mut Families,
    counter: &'static Counter<2>,
    service: &str,
    counts: &FindingCounts,
) {
    for (fingerprint, count) in counts {
        let fingerprint = match fingerprint {
            Some(fingerprint) => Cow::Owned(format!("{fingerprint:016x}")),
            None => Cow::Borrowed(OTHER),
        };
        families.counter(counter, [service, &*fingerprint], *count);
    }
}
