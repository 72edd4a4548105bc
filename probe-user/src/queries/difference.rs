//! What happened between two reports.

use std::{collections::HashMap, sync::Arc};

use super::{Key, Statements, Sums};
use crate::{
    metrics::collect::ServiceNames,
    store::Side,
    traffic::{Fingerprint, FingerprintReport, Report, ServiceReport},
};

/// What statements did between two reports; with an empty report before, since the start. Those
/// that did nothing are left out.
pub(super) fn between(before: &Report, now: &Report, names: &ServiceNames<'_>) -> Statements {
    let mut statements = Statements::new();
    for (id, service) in &now.services {
        let old = before.services.get(id);
        if old.is_some_and(|old| Arc::ptr_eq(old, service)) {
            continue;
        }
        let name: Arc<str> = names.get(*id).into();
        for side in [Side::Server, Side::Client] {
            let nothing = FingerprintReport::default();
            let old = old.map_or(&nothing, |old| fingerprints(old, side));
            one_side(
                &mut statements,
                &name,
                side,
                old,
                fingerprints(service, side),
            );
        }
    }
    statements
}

fn fingerprints(service: &ServiceReport, side: Side) -> &FingerprintReport {
    match side {
        Side::Server => &service.database_server.fingerprints,
        Side::Client => &service.database_client.fingerprints,
    }
}

fn one_side(
    statements: &mut Statements,
    service: &Arc<str>,
    side: Side,
    before: &FingerprintReport,
    now: &FingerprintReport,
) {
    let old: HashMap<u64, &Fingerprint> = before
        .top
        .iter()
        .map(|series| (series.sql.fingerprint, series))
        .collect();
    let mut add = |fingerprint, sums: &Sums| {
        if sums.totals.calls > 0 {
            let key = Key {
                service: Arc::clone(service),
                side,
                fingerprint,
            };
            statements.entry(key).or_default().add(sums);
        }
    };
    // A series that goes leaves its numbers to `other`: what the rest did now is what all did but
    // for those that have a series.
    let all = now.sum();
    // Of a service whose id was given to another one, nothing was there before.
    let mut rest = all.since(&before.sum()).unwrap_or(all);
    for series in &now.top {
        let sums = since(series, old.get(&series.sql.fingerprint).copied());
        rest = rest.since(&sums.totals).unwrap_or_default();
        add(Some(series.sql.fingerprint), &sums);
    }
    add(
        None,
        &Sums {
            totals: rest,
            ..Sums::default()
        },
    );
}

/// A series that went and came back began at zero again.
fn since(series: &Fingerprint, before: Option<&Fingerprint>) -> Sums {
    let difference = before.and_then(|before| {
        let totals = series.totals.since(&before.totals)?;
        Some((totals, series.latencies.since(&before.latencies)?))
    });
    let (totals, latencies) =
        difference.unwrap_or_else(|| (series.totals.clone(), series.latencies.clone()));
    Sums {
        totals,
        latencies,
        database: Arc::clone(&series.database),
        sql: Some(Arc::clone(&series.sql)),
    }
}
