//! A loop around a query is found, and what looks like one is not.

use super::*;
use crate::{
    sql::SqlCache,
    wire::postgres::{Kind, Outcome, Phase, SessionInfo},
};

const MS: u64 = 1_000_000;
const SERVICE: u16 = 3;

/// Statements one after the other.
struct Loop {
    detector: Detector,
    scope: Scope,
    now_ns: u64,
    /// Pause between two statements, and how long each takes.
    gap_ns: u64,
    busy_ns: u64,
    window_ns: u64,
}

impl Loop {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        Self {
            detector: Detector::new(settings),
            scope: Scope::default(),
            now_ns: MS,
            gap_ns: MS,
            busy_ns: 10 * MS,
            window_ns: u64::MAX,
        }
    }

    fn statement(&mut self, sql: &str, change: impl FnOnce(&mut Statement)) -> &mut Self {
        let parsed = SqlCache::new(1, 1_000).parse(sql.as_bytes(), false, false);
        let part = &parsed.parts[0];
        let mut statement = Statement {
            sql: Some(Arc::clone(&part.info)),
            traceparent: None,
            text: None,
            session: Arc::new(SessionInfo::default()),
            kind: Kind::Simple,
            phase: Phase::Execute,
            started_ns: Some(self.now_ns),
            first_byte_ns: None,
            finished_ns: Some(self.now_ns + self.busy_ns),
            busy_ns: Some(self.busy_ns),
            rows: Some(1),
            outcome: Outcome::Ok,
            transaction_status: None,
            batch: 1,
            shared_latency: false,
            parameters: Some(part.literals),
            copy: None,
            fetches: 1,
        };
        change(&mut statement);
        self.now_ns += self.busy_ns + self.gap_ns;
        self.detector
            .observe(&mut self.scope, SERVICE, &statement, self.window_ns);
        self
    }

    fn run(&mut self, sql: &str) -> &mut Self {
        self.statement(sql, |_| ())
    }

    fn items(&mut self, ids: impl IntoIterator<Item = u32>) -> &mut Self {
        for id in ids {
            self.run(&format!("SELECT name FROM items WHERE id = {id}"));
        }
        self
    }

    fn end(&mut self) -> &mut Self {
        let route = route();
        self.detector.close(&mut self.scope, SERVICE, Some(&route));
        assert_eq!((self.detector.groups, self.scope.len()), (0, 0));
        self
    }

    /// Pattern, count and confidence of each finding, newest first.
    fn found(&mut self) -> Vec<(Pattern, u32, Confidence)> {
        self.end();
        let findings = self.detector.findings().into_iter();
        findings
            .map(|finding| (finding.pattern, finding.count, finding.confidence))
            .collect()
    }
}

fn route() -> RouteKey {
    RouteKey {
        method: "GET",
        route: "/orders/{id}".into(),
    }
}

#[test]
fn a_loop_over_rows_is_found_with_its_cost() {
    let mut script = Loop::new();
    script
        .run("SELECT id FROM orders WHERE shop = 4")
        .items(0..7);
    assert_eq!(script.found(), [(Pattern::NPlusOne, 7, Confidence::Low)]);
    let finding = &script.detector.findings()[0];
    assert_eq!(finding.elapsed_ns, 7 * 10 * MS + 6 * MS, "pauses included");
    assert_eq!(&*finding.sql.text, "select name from items where id = ?");
    assert_eq!((finding.route.as_ref(), finding.times), (Some(&route()), 1));
}

#[test]
fn too_few_or_too_cheap_is_no_finding() {
    assert_eq!(Loop::new().items(0..4).found(), []);
    let mut cheap = Loop::new();
    cheap.busy_ns = MS;
    assert_eq!(cheap.items(0..20).found(), [], "39 ms");
    assert_eq!(cheap.items(0..30).found().len(), 1, "59 ms");
}

/// A query in between, such as a second loop or a log entry, hides nothing.
#[test]
fn two_loops_at_once_are_two_findings() {
    let mut script = Loop::new();
    for id in 0..6 {
        script
            .items([id])
            .run(&format!("SELECT price FROM prices WHERE item = {id}"));
    }
    assert_eq!(script.found().len(), 2);
}

#[test]
fn confidence_grows_with_the_number_and_with_a_source() {
    assert_eq!(Loop::new().items(0..12).found()[0].2, Confidence::Medium);
    assert_eq!(Loop::new().items(0..20).found()[0].2, Confidence::High);
    let after = |rows| {
        let mut script = Loop::new();
        script.statement("SELECT id FROM orders", |source| source.rows = Some(rows));
        script.items(0..8).found()[0].2
    };
    assert_eq!(after(8), Confidence::High);
    assert_eq!(after(10), Confidence::High, "two of them were cached");
    assert_eq!(after(7), Confidence::High);
    assert_eq!(after(11), Confidence::Low);
    assert_eq!(after(6), Confidence::Low);
    // Rows that came afterwards are no source.
    let mut script = Loop::new();
    script
        .items(0..8)
        .statement("SELECT id FROM orders", |late| late.rows = Some(8));
    assert_eq!(script.found()[0].2, Confidence::Low);
}

#[test]
fn the_same_parameters_are_a_repeated_query() {
    let found = Loop::new().items([5; 9]).found();
    assert_eq!(found, [(Pattern::RepeatedQuery, 9, Confidence::Low)]);
    // Two values in turn are no loop over rows.
    let found = Loop::new().items([1, 2, 1, 2, 1, 2, 1, 2, 1, 2]).found();
    assert_eq!(found[0].0, Pattern::RepeatedQuery);
    // Half of them new, the others again: rather a loop.
    let found = Loop::new().items([1, 2, 3, 4, 1, 2, 3, 4]).found();
    assert_eq!(found[0].0, Pattern::NPlusOne);
}

#[test]
fn unknown_parameters_prove_nothing() {
    let mut script = Loop::new();
    for _ in 0..10 {
        script.statement("SELECT name FROM items WHERE id = $1", |statement| {
            statement.parameters = None;
        });
    }
    assert_eq!(script.found(), []);
}

/// `executemany`, pipelines and concurrent queries are done well.
#[test]
fn what_is_no_round_trip_of_its_own_is_not_counted() {
    let mut script = Loop::new();
    for id in 0..10 {
        let sql = format!("SELECT name FROM items WHERE id = {id}");
        script.statement(&sql, |statement| statement.batch = 10);
        script.statement(&sql, |statement| statement.shared_latency = true);
    }
    assert_eq!(script.found(), []);
    let mut script = Loop::new();
    for id in 0..10 {
        script.now_ns = MS + u64::from(id);
        script.items([id]);
    }
    assert_eq!(script.found(), [], "all at once on ten connections");
}

#[test]
fn failures_do_not_count() {
    use crate::wire::postgres::SqlState;
    let mut script = Loop::new();
    for id in 0..10 {
        let sql = format!("INSERT INTO items VALUES ({id})");
        script.statement(&sql, |statement| {
            statement.outcome = Outcome::Error(SqlState(*b"23505"));
        });
    }
    assert_eq!(script.found(), []);
}

/// A program that asks once in a while is no loop.
#[test]
fn a_poller_is_not_found() {
    let mut script = Loop::new();
    script.gap_ns = 30 * MS;
    assert_eq!(script.items(0..10).found(), []);
    // A pause now and then, as for a slow page of another service, does not hide a loop.
    let mut script = Loop::new();
    script.items(0..4);
    script.now_ns += 400 * MS;
    assert_eq!(script.items(4..8).found().len(), 1);
}

#[test]
fn a_burst_compares_only_what_is_close() {
    let mut script = Loop::new();
    script.window_ns = 45 * MS;
    script.items(0..40);
    // Five and a new beginning: at 0, 11, 22, 33, 44 ms.
    let found = script.found();
    assert!(found.iter().all(|(_, count, _)| *count == 5), "{found:?}");
    let counts = script.detector.counts(SERVICE, Pattern::NPlusOne);
    assert_eq!(counts.values().sum::<u64>(), 8);
}

#[test]
fn a_finding_is_counted_each_time_and_warned_of_once_in_a_while() {
    let mut script = Loop::new();
    for _ in 0..3 {
        script.items(0..6).end();
    }
    let fingerprint = script.detector.findings()[0].sql.fingerprint;
    let counts = script.detector.counts(SERVICE, Pattern::NPlusOne);
    assert_eq!(counts, [(Some(fingerprint), 3)].into());
    assert_eq!(script.detector.findings().len(), 1);
    assert_eq!(script.detector.findings()[0].times, 3);
    assert_eq!(script.detector.take_warnings().len(), 1);
    script.now_ns += 299_000 * MS;
    script.items(0..6).end();
    assert!(script.detector.take_warnings().is_empty());
    script.now_ns += 2_000 * MS;
    script.items(0..6).end();
    assert_eq!(script.detector.take_warnings().len(), 1);
}

#[test]
fn everything_is_bounded() {
    let mut script = Loop::new();
    for table in 0..300 {
        for id in 0..6 {
            script.run(&format!("SELECT name FROM items_{table} WHERE id = {id}"));
        }
        if table % 20 == 19 {
            script.end();
        }
    }
    let counts = script.detector.counts(SERVICE, Pattern::NPlusOne);
    assert_eq!(counts.len(), SERIES + 1);
    assert_eq!(counts[&None], 200, "the rest");
    assert_eq!(script.detector.findings().len(), FINDINGS);
    assert!(script.detector.take_warnings().len() <= WAITING);
    assert_eq!(script.detector.not_compared(), 0);
    for table in 0..40 {
        script.run(&format!("SELECT name FROM items_{table} WHERE id = 1"));
    }
    assert_eq!(script.scope.len(), 32);
    assert_eq!(script.detector.not_compared(), 8);
}

#[test]
fn switched_off_it_holds_nothing() {
    let mut script = Loop::with(Settings {
        enabled: false,
        ..Settings::default()
    });
    assert_eq!(script.items(0..30).scope.len(), 0);
    assert_eq!(script.found(), []);
}
