//! Where records are kept.

use super::metric;
use crate::{
    metrics::families::Families,
    store::{State, StoreReport},
};

pub(super) fn collect(families: &mut Families, report: &StoreReport) {
    if report.state == State::Off {
        return;
    }
    let up = u64::from(report.state == State::Up);
    families.gauge(&metric::STORE_UP, [], up);
    for kind in &report.kinds {
        let name = kind.kind.as_str();
        families.counter(&metric::STORE_WRITTEN, [name], kind.written);
        for (why, rows) in &kind.dropped {
            families.counter(&metric::STORE_DROPPED, [name, why.as_str()], *rows);
        }
    }
    families.gauge(&metric::STORE_QUEUE, [], report.queue_records);
    families.gauge(&metric::STORE_QUEUE_LIMIT, [], report.queue_limit);
    if let Some(bytes) = report.size_bytes {
        families.gauge(&metric::STORE_SIZE, [], bytes);
    }
    families.counter(&metric::STORE_TRANSACTIONS, [], report.transactions);
    families.counter(&metric::STORE_FAILURES, [], report.failures);
    families.counter_float(
        &metric::STORE_WRITE_SECONDS,
        [],
        report.write_time.as_secs_f64(),
    );
}
