//! N+1: a query that runs once for each row of another one, where one query would do.
//!
//! Statements come in scopes: those of one request where that is certain, else a burst on one
//! connection. Within a scope, executions of one fingerprint are compared: many, one after the
//! other, close together, with other parameters each time. Counting, not adjacency, so that
//! queries in between do not hide it. The same parameters again and again are something else, a
//! [`Pattern::RepeatedQuery`], whose remedy is to remember the answer.
//!
//! The thresholds follow Sentry's detector (five spans, 50 ms together) and prosopite's (the same
//! fingerprint with other values), with more to tell a loop from a coincidence.

mod group;
mod relevance;
mod remedy;
mod scope;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};

use lru::LruCache;

pub(super) use scope::Scope;

use self::group::Group;
use crate::{sql::SqlInfo, wire::postgres::Statement};

/// Fingerprints of one service that have counters of their own.
const SERIES: usize = 100;
/// Findings that are remembered, and warnings whose cool-down is.
const FINDINGS: usize = 100;
const WARNED: usize = 1_024;
/// Warnings that wait for whoever writes them.
const WAITING: usize = 64;
/// Fingerprints that are compared at once, over all scopes.
const GROUPS: usize = 8_192;

/// When a pattern is one; times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether statements are compared at all.
    pub enabled: bool,
    /// Fewest executions of one fingerprint within a scope.
    pub min_count: u32,
    /// Shortest time from the start of the first to the end of the last.
    pub min_ns: u64,
    /// Longest pause of the client between two of them, of at least half of the pauses.
    pub max_gap_ns: u64,
    /// Time until the same finding is worth another warning.
    pub cooldown_ns: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            min_count: 5,
            min_ns: 50_000_000,
            max_gap_ns: 20_000_000,
            cooldown_ns: 300_000_000_000,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// One query with other parameters each time.
    NPlusOne,
    /// One query with the same parameters.
    RepeatedQuery,
}

impl Pattern {
    /// As the API names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NPlusOne => "n_plus_one",
            Self::RepeatedQuery => "repeated_query",
        }
    }
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Few executions.
    Low,
    /// Ten or more.
    Medium,
    /// Twenty or more, or about as many as an earlier query returned rows.
    High,
}

impl Confidence {
    /// As the API names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The request that a scope belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Request method.
    pub method: &'static str,
    /// Route, never the path itself.
    pub route: Arc<str>,
}

/// A pattern in one place, with what the latest occurrence of it was like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Service id.
    pub service: u16,
    /// Which pattern.
    pub pattern: Pattern,
    /// The route; `None` for a burst on a connection that belongs to no request for certain.
    pub route: Option<RouteKey>,
    /// The query without its literals.
    pub sql: Arc<SqlInfo>,
    /// How often it ran.
    pub count: u32,
    /// From the start of the first to the end of the last, in nanoseconds.
    pub elapsed_ns: u64,
    /// About what one statement for all would have spared: the time of all executions but one, in
    /// nanoseconds.
    pub wasted_ns: u64,
    /// The same over all times that it was found.
    pub total_wasted_ns: u64,
    /// Executions over all times that it was found.
    pub total_count: u64,
    /// How sure it is.
    pub confidence: Confidence,
    /// How often the pattern was found in this place.
    pub times: u64,
    /// When the last execution ended, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
}

type FindingKey = (u16, Pattern, Option<RouteKey>, u64);

/// Findings by fingerprint; `None` stands for all beyond the limit.
pub type FindingCounts = BTreeMap<Option<u64>, u64>;

/// Compares, and remembers what it found. Bounded: fingerprints that are compared at once, series,
/// findings and cool-downs.
#[derive(Debug)]
pub(super) struct Detector {
    settings: Settings,
    /// Groups that all scopes together hold.
    groups: usize,
    /// Statements that were not compared for lack of room.
    not_compared: u64,
    counts: BTreeMap<(u16, Pattern), FindingCounts>,
    findings: LruCache<FindingKey, Finding>,
    warned: LruCache<FindingKey, u64>,
    warnings: Vec<Finding>,
}

impl Detector {
    pub(super) fn new(settings: Settings) -> Self {
        let at_most = |limit| LruCache::new(NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN));
        Self {
            settings,
            groups: 0,
            not_compared: 0,
            counts: BTreeMap::new(),
            findings: at_most(FINDINGS),
            warned: LruCache::new(NonZeroUsize::new(WARNED).unwrap_or(NonZeroUsize::MIN)),
            warnings: Vec::new(),
        }
    }

    /// Statements that could not be compared for lack of room.
    pub(super) fn not_compared(&self) -> u64 {
        self.not_compared
    }

    /// Forgets what was found in services whose ids are about to be given to others.
    pub(super) fn forget(&mut self, services: &[u16]) {
        self.counts
            .retain(|(service, _), _| !services.contains(service));
        let gone: Vec<FindingKey> = self
            .findings
            .iter()
            .filter(|(_, finding)| services.contains(&finding.service))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.findings.pop(&key);
            self.warned.pop(&key);
        }
        self.warnings
            .retain(|finding| !services.contains(&finding.service));
    }

    /// How often a pattern was found in a service.
    pub(super) fn counts(&self, service: u16, pattern: Pattern) -> FindingCounts {
        let counts = self.counts.get(&(service, pattern));
        counts.cloned().unwrap_or_default()
    }

    /// The latest findings, newest first.
    pub(super) fn findings(&self) -> Vec<Finding> {
        self.findings
            .iter()
            .map(|(_, finding)| finding.clone())
            .collect()
    }

    /// Findings to warn of since the last call.
    pub(super) fn take_warnings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.warnings)
    }

    /// Takes a statement of the scope. Executions that are further apart than `window_ns` are not
    /// compared; what ends with the window is judged as a burst's.
    pub(super) fn observe(
        &mut self,
        scope: &mut Scope,
        service: u16,
        statement: &Statement,
        window_ns: u64,
    ) {
        if !self.settings.enabled {
            return;
        }
        let before = scope.len();
        let room = self.groups < GROUPS;
        match scope.add(statement, room, window_ns, self.settings.max_gap_ns) {
            scope::Added::Compared => {}
            scope::Added::NoRoom => self.not_compared += 1,
            scope::Added::Replaced(old) => self.judge(scope, &old, service, None),
        }
        self.groups = self.groups.saturating_sub(before) + scope.len();
    }

    /// Judges what the scope holds and empties it.
    pub(super) fn close(&mut self, scope: &mut Scope, service: u16, route: Option<&RouteKey>) {
        let groups = scope.take_groups();
        self.groups = self.groups.saturating_sub(groups.len());
        for group in &groups {
            self.judge(scope, group, service, route);
        }
        scope.clear();
    }

    /// Empties a scope of which it is not certain any more that its statements belong together.
    pub(super) fn discard(&mut self, scope: &mut Scope) {
        self.groups = self.groups.saturating_sub(scope.len());
        scope.clear();
    }

    fn judge(&mut self, scope: &Scope, group: &Group, service: u16, route: Option<&RouteKey>) {
        let Some(pattern) = group.pattern(&self.settings) else {
            return;
        };
        let counts = self.counts.entry((service, pattern)).or_default();
        let fingerprint = group.sql.fingerprint;
        let known = counts.len() < SERIES || counts.contains_key(&Some(fingerprint));
        *counts.entry(known.then_some(fingerprint)).or_default() += 1;

        let key = (service, pattern, route.cloned(), fingerprint);
        let before = self.findings.get(&key);
        let before = before.map_or((0, 0, 0), |finding| {
            (finding.times, finding.total_count, finding.total_wasted_ns)
        });
        let (times, total_count, total_wasted_ns) = before;
        let wasted_ns = group.wasted_ns();
        let finding = Finding {
            service,
            pattern,
            route: route.cloned(),
            sql: Arc::clone(&group.sql),
            count: group.count,
            elapsed_ns: group.elapsed_ns(),
            wasted_ns,
            total_wasted_ns: total_wasted_ns.saturating_add(wasted_ns),
            total_count: total_count.saturating_add(group.count.into()),
            confidence: group.confidence(scope.rows_before(group)),
            times: times.saturating_add(1),
            at_ns: group.ended_ns,
        };
        self.warn_of(key.clone(), &finding);
        self.findings.put(key, finding);
    }

    fn warn_of(&mut self, key: FindingKey, finding: &Finding) {
        let cooled = self.warned.get(&key).is_none_or(|warned_ns| {
            finding.at_ns.saturating_sub(*warned_ns) >= self.settings.cooldown_ns
        });
        if cooled && self.warnings.len() < WAITING {
            self.warned.put(key, finding.at_ns);
            self.warnings.push(finding.clone());
        }
    }
}
