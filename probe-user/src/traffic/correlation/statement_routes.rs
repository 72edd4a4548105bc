//! Which requests run a statement.

use std::{collections::BTreeMap, num::NonZeroUsize};

use lru::LruCache;

use crate::traffic::n_plus_one::RouteKey;

/// Different statements of one request that are told apart.
const PER_REQUEST: usize = 32;
/// Statements of one service whose routes are remembered; those that ran last.
const STATEMENTS: usize = 256;
/// Routes of one statement that are told apart.
const ROUTES: usize = 8;

/// How often each statement ran for one request.
#[derive(Debug, Default)]
pub(super) struct Executed(Vec<(u64, u64)>);

impl Executed {
    /// One more execution of this fingerprint; those beyond the limit are not counted.
    pub(super) fn add(&mut self, fingerprint: u64) {
        let has_room = self.0.len() < PER_REQUEST;
        match self.0.iter_mut().find(|(known, _)| *known == fingerprint) {
            Some((_, count)) => *count = count.saturating_add(1),
            None if has_room => self.0.push((fingerprint, 1)),
            None => {}
        }
    }
}

/// How often a statement ran for the requests of one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteCount {
    /// The route.
    pub key: RouteKey,
    /// Executions since the start.
    pub calls: u64,
}

/// Routes by fingerprint, in no order.
pub type StatementRoutes = BTreeMap<u64, Vec<RouteCount>>;

/// The routes of one service's statements.
#[derive(Debug)]
pub(super) struct Routes(LruCache<u64, Vec<RouteCount>>);

impl Default for Routes {
    fn default() -> Self {
        let limit = NonZeroUsize::new(STATEMENTS).unwrap_or(NonZeroUsize::MIN);
        Self(LruCache::new(limit))
    }
}

impl Routes {
    /// Takes what one request ran. Of a statement that runs everywhere, the first few routes are
    /// told apart.
    pub(super) fn add(&mut self, executed: &Executed, route: &RouteKey) {
        for (fingerprint, calls) in &executed.0 {
            let routes = self.0.get_or_insert_mut(*fingerprint, Vec::new);
            let has_room = routes.len() < ROUTES;
            match routes.iter_mut().find(|known| known.key == *route) {
                Some(known) => known.calls = known.calls.saturating_add(*calls),
                None if has_room => routes.push(RouteCount {
                    key: route.clone(),
                    calls: *calls,
                }),
                None => {}
            }
        }
    }

    pub(super) fn report(&self) -> StatementRoutes {
        self.0
            .iter()
            .map(|(fingerprint, routes)| (*fingerprint, routes.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(number: u32) -> RouteKey {
        RouteKey {
            method: "GET",
            route: format!("/{number}").into(),
        }
    }

    #[test]
    fn memory_is_bounded_and_what_runs_stays() {
        let mut routes = Routes::default();
        for number in 0..2_000_u32 {
            let mut executed = Executed::default();
            (0..100).for_each(|n| executed.add(u64::from(number * 100 + n)));
            assert_eq!(executed.0.len(), PER_REQUEST);
            executed.0.clear();
            executed.add(u64::from(number) + 10);
            executed.add(7);
            executed.add(7);
            routes.add(&executed, &route(number % 20));
        }
        let report = routes.report();
        assert_eq!(report.len(), STATEMENTS);
        assert_eq!(report[&7].len(), ROUTES);
        assert!(report[&7].iter().all(|route| route.calls == 200));
    }
}
