//! The latest slow statements in memory, for when there is no store, or it is down.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::{
    Cursor, Page, SlowQuery, SlowQueryFilter,
    record::{DEFAULT_LIMIT, MAX_LIMIT},
};

/// The most records that are remembered.
const RECORDS: usize = 1_000;
/// The most bytes that their texts take.
const BYTES: usize = 4 << 20;

/// The latest slow statements; the oldest make room.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    queries: VecDeque<SlowQuery>,
    bytes: usize,
}

impl Recent {
    /// Remembers one more.
    pub fn push(&self, query: &SlowQuery) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += query.text_bytes();
        kept.queries.push_back(query.clone());
        while kept.queries.len() > RECORDS || kept.bytes > BYTES {
            let Some(oldest) = kept.queries.pop_front() else {
                break;
            };
            kept.bytes = kept.bytes.saturating_sub(oldest.text_bytes());
        }
    }

    /// As [`Store::slow_queries`](super::Store::slow_queries), of what is remembered.
    pub fn slow_queries(&self, filter: &SlowQueryFilter) -> Page<SlowQuery> {
        let limit = match filter.limit {
            0 => DEFAULT_LIMIT,
            limit => limit.min(MAX_LIMIT),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<&SlowQuery> = kept
            .queries
            .iter()
            .filter(|query| filter.takes(query))
            .collect();
        // They come when their requests end, which is not the order in which they ended.
        found.sort_by_key(|query| std::cmp::Reverse(place(query)));
        let more = found.len() > limit;
        found.truncate(limit);
        Page {
            next: found.last().filter(|_| more).map(|last| place(last)),
            items: found.into_iter().cloned().collect(),
        }
    }
}

fn place(query: &SlowQuery) -> Cursor {
    Cursor {
        at_ms: query.at_ms,
        id: query.id,
    }
}

impl SlowQueryFilter {
    fn takes(&self, query: &SlowQuery) -> bool {
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == value
        };
        is(&self.service, Some(&query.service))
            && is(&self.database, query.database.as_deref())
            && is(&self.user, query.user.as_deref())
            && is(&self.route, query.route.as_deref())
            && is(&self.sqlstate, query.sqlstate.as_deref())
            && self.side.is_none_or(|side| side == query.side)
            && self.fingerprint.is_none_or(|one| one == query.fingerprint)
            && self
                .min_duration_ns
                .is_none_or(|ns| query.duration_ns >= ns)
            && self.from_ms.is_none_or(|from| query.at_ms >= from)
            && self.to_ms.is_none_or(|to| query.at_ms < to)
            && self.before.is_none_or(|before| place(query) < before)
            && (!self.only_errors || query.sqlstate.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Side;

    fn query(at_ms: i64, text: String) -> SlowQuery {
        SlowQuery {
            id: SlowQuery::new_id(at_ms),
            at_ms,
            host: "h".into(),
            service: if at_ms % 2 == 0 { "even" } else { "odd" }.into(),
            side: Side::Server,
            database: None,
            user: None,
            application_name: None,
            client: None,
            fingerprint: 7,
            operation: "SELECT".into(),
            sql: text,
            text: None,
            duration_ns: u64::try_from(at_ms).unwrap(),
            ttfb_ns: None,
            rows: None,
            sqlstate: (at_ms % 10 == 0).then(|| "57014".into()),
            method: None,
            route: None,
            trace_id: None,
            shared_latency: false,
        }
    }

    /// Whoever pages through what is remembered sees each once, in the order of their ends.
    #[test]
    fn pages_have_each_record_once_whatever_the_order_of_coming() {
        let recent = Recent::default();
        for n in 0..500 {
            recent.push(&query((n * 7) % 500, "select ?".into()));
        }
        let mut filter = SlowQueryFilter {
            service: Some("even".into()),
            limit: 33,
            ..SlowQueryFilter::default()
        };
        let mut times = Vec::new();
        loop {
            let page = recent.slow_queries(&filter);
            times.extend(page.items.iter().map(|query| query.at_ms));
            // One that ends now belongs to no later page.
            recent.push(&query(10_000, "select ?".into()));
            match page.next {
                Some(next) => filter.before = Some(next),
                None => break,
            }
        }
        let expected: Vec<i64> = (0..250).rev().map(|n| n * 2).collect();
        assert_eq!(times, expected);
        let errors = recent.slow_queries(&SlowQueryFilter {
            only_errors: true,
            min_duration_ns: Some(100),
            to_ms: Some(200),
            ..SlowQueryFilter::default()
        });
        assert_eq!(errors.items.len(), 10);
    }

    #[test]
    fn long_texts_do_not_take_more_memory_than_is_allowed() {
        let recent = Recent::default();
        for n in 0..100 {
            recent.push(&query(n, "x".repeat(1 << 18)));
        }
        let kept = recent.0.lock().unwrap();
        assert!(kept.bytes <= BYTES && kept.queries.len() < 20);
    }
}
