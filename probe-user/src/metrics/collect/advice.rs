//! Advice on indexes, by database.

use super::{epoch_seconds, metric};
use crate::{database::advice::report::DatabaseAdvice, metrics::families::Families};

pub(super) fn collect(families: &mut Families, databases: &[DatabaseAdvice]) {
    for database in databases {
        let name = database.name.as_str();
        // Before the first round nothing is known, which is not the same as none.
        if let Some(finished_at) = database.finished_at {
            for (kind, count) in database.counts() {
                families.gauge(&metric::ADVICE, [name, kind.as_str()], count);
            }
            let usable = u64::from(database.hypopg.usable);
            families.gauge(&metric::ADVICE_HYPOPG, [name], usable);
            let at = epoch_seconds(finished_at);
            families.gauge_float(&metric::ADVICE_LAST_ROUND, [name], at);
            let took = database.round_seconds;
            families.gauge_float(&metric::ADVICE_ROUND_DURATION, [name], took);
        }
        families.counter(&metric::ADVICE_ROUNDS, [name], database.rounds);
        families.counter(&metric::ADVICE_ERRORS, [name], database.failures);
    }
}
