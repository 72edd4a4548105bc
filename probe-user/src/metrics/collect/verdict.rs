//! Where each service's time goes.

use super::metric;
use crate::{metrics::families::Families, verdict::Report};

/// Nothing of a service that there are no two looks at yet.
pub(super) fn collect(families: &mut Families, report: &Report) {
    for service in &report.services {
        if service.shares.is_empty() {
            continue;
        }
        for (state, percent) in service.shares.iter() {
            let labels = [&*service.name, state.as_str()];
            families.gauge_float(&metric::SERVICE_TIME_SHARE, labels, percent / 100.0);
        }
    }
}
