//! What a user would lose if these failed: a route that is charged for statements of another one,
//! or a share of unattributed statements that is not what it says.

mod properties;
mod slow;

use std::collections::HashMap;

use super::*;
use crate::{
    kernel::payload::PayloadRecord,
    traffic::{Limits, Report, Traffic},
};
use probe_common::payload::{PayloadKind, Role, StreamClass};

const WEB: u16 = 1;
/// Numbers of connections: requests below, statements from here on.
const SQL: u64 = 100;
const MS: u64 = 1_000_000;

/// Calls of one process, each 1 ms after the one before.
struct Scene {
    traffic: Traffic,
    now_ns: u64,
    sequences: HashMap<(u64, bool), u32>,
    tgid: u32,
}

impl Scene {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self {
            traffic: Traffic::new(limits),
            now_ns: 1_000 * MS,
            sequences: HashMap::new(),
            tgid: 7,
        }
    }

    fn call(&mut self, stream: u64, tid: u32, kind: PayloadKind, bytes: &[u8]) -> &mut Self {
        let sent = kind == PayloadKind::Sent;
        let sequence = self.sequences.entry((stream, sent)).or_default();
        *sequence += 1;
        let (class, role) = if stream >= SQL {
            (StreamClass::Postgres, Role::Client)
        } else {
            (StreamClass::Http1, Role::Server)
        };
        let header = PayloadHeader {
            stream,
            started_ns: self.now_ns,
            ended_ns: self.now_ns + 10,
            bytes: bytes.len() as u64,
            tgid: self.tgid,
            tid,
            sequence: *sequence,
            service: WEB,
            head_bytes: bytes.len().try_into().unwrap(),
            kind: kind as u8,
            class: class as u8,
            role: role as u8,
            transport: 1,
            ..PayloadHeader::default()
        };
        self.now_ns += MS;
        self.traffic.record(&PayloadRecord {
            header,
            head: bytes,
            tail: &[],
        });
        self
    }

    /// The thread reads a request.
    fn ask(&mut self, stream: u64, tid: u32, path: &str, fields: &str) -> &mut Self {
        let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        self.call(stream, tid, PayloadKind::Received, head.as_bytes())
    }

    /// The thread sends the response.
    fn answer(&mut self, stream: u64, tid: u32) -> &mut Self {
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        self.call(stream, tid, PayloadKind::Sent, response)
    }

    /// The thread sends a statement.
    fn query(&mut self, stream: u64, tid: u32, sql: &str) -> &mut Self {
        self.call(stream, tid, PayloadKind::Sent, &query(sql))
    }

    /// The thread has the answer.
    fn rows(&mut self, stream: u64, tid: u32) -> &mut Self {
        self.call(stream, tid, PayloadKind::Received, &rows(1))
    }

    /// A statement from its sending to its answer.
    fn run(&mut self, stream: u64, tid: u32, sql: &str) -> &mut Self {
        self.query(stream, tid, sql).rows(stream, tid)
    }

    fn close(&mut self, stream: u64) -> &mut Self {
        self.call(stream, 0, PayloadKind::Closed, &[])
    }

    /// A record that nobody saw.
    fn lose(&mut self, stream: u64, sent: bool) -> &mut Self {
        *self.sequences.entry((stream, sent)).or_default() += 1;
        self
    }

    fn report(&mut self) -> Report {
        self.traffic.report(0)
    }

    /// Statements by route.
    fn routes(&mut self) -> Vec<(String, u64)> {
        let report = self.report();
        report.services[&WEB]
            .db
            .routes
            .iter()
            .map(|(key, tally)| (key.route.to_string(), tally.statements))
            .collect()
    }

    /// Statements by reason.
    fn reasons(&mut self) -> Vec<(&'static str, u64)> {
        let report = self.report();
        report.services[&WEB]
            .db
            .unattributed
            .iter()
            .map(|(why, tally)| (why.as_str(), tally.statements))
            .collect()
    }

    fn is_empty(&self) -> bool {
        let correlation = &self.traffic.correlation;
        correlation.flights.is_empty() && correlation.connections.is_empty()
    }
}

fn query(sql: &str) -> Vec<u8> {
    let length = u32::try_from(sql.len() + 5).unwrap();
    [b"Q", &length.to_be_bytes()[..], sql.as_bytes(), b"\0"].concat()
}

fn rows(count: u64) -> Vec<u8> {
    let tag = format!("SELECT {count}\0");
    let length = u32::try_from(tag.len() + 4).unwrap();
    [
        b"C",
        &length.to_be_bytes()[..],
        tag.as_bytes(),
        b"Z\0\0\0\x05I",
    ]
    .concat()
}

fn traceparent(trace: u8) -> String {
    format!("00-{:032x}-00000000000000aa-01", u128::from(trace) + 1)
}

fn traced_field(trace: u8) -> String {
    format!("traceparent: {}\r\n", traceparent(trace))
}

fn commented(sql: &str, trace: u8) -> String {
    format!("{sql} /*traceparent='{}'*/", traceparent(trace))
}

#[test]
fn a_thread_with_one_request_works_for_it() {
    let mut scene = Scene::new();
    scene
        .ask(1, 11, "/orders/7", "")
        .run(SQL, 11, "SELECT 1 FROM a")
        .run(SQL, 11, "SELECT 2 FROM b")
        .answer(1, 11)
        .ask(1, 11, "/health", "")
        .answer(1, 11);
    assert_eq!(scene.routes(), [("/orders/{id}".to_owned(), 2)]);
    assert!(scene.reasons().is_empty());
    let report = scene.report();
    let tally = report.services[&WEB].db.routes.values().next().unwrap();
    // From the start of the write to the end of the read, 1 ms later.
    assert_eq!(tally.ns, 2 * (MS + 10));
}

/// Requests wait for their route: nothing is told before.
#[test]
fn statements_wait_for_the_end_of_their_request() {
    let mut scene = Scene::new();
    scene.ask(1, 11, "/a", "").run(SQL, 11, "SELECT 1 FROM a");
    assert!(scene.routes().is_empty() && scene.reasons().is_empty());
    scene.answer(1, 11);
    assert_eq!(scene.routes(), [("/a".to_owned(), 1)]);
}

#[test]
fn threads_of_a_server_work_each_for_its_own_request() {
    let mut scene = Scene::new();
    scene
        .ask(1, 11, "/a", "")
        .ask(2, 12, "/b", "")
        .run(SQL, 12, "SELECT 1 FROM b")
        .run(SQL + 1, 11, "SELECT 1 FROM a")
        .run(SQL, 12, "SELECT 2 FROM b")
        .answer(1, 11)
        .answer(2, 12);
    assert_eq!(scene.routes(), [("/a".to_owned(), 1), ("/b".to_owned(), 2)]);
}

#[test]
fn what_one_thread_does_for_several_requests_is_not_guessed() {
    let mut scene = Scene::new();
    scene
        .ask(1, 11, "/a", "")
        .query(SQL, 11, "SELECT 1 FROM a")
        // The second comes while the statement of the first is under way: that one was certain.
        .ask(2, 11, "/b", "")
        .rows(SQL, 11)
        .run(SQL, 11, "SELECT 2 FROM a")
        .answer(1, 11)
        .run(SQL, 11, "SELECT 1 FROM b")
        .answer(2, 11);
    assert_eq!(scene.routes(), [("/a".to_owned(), 1), ("/b".to_owned(), 1)]);
    assert_eq!(scene.reasons(), [("several_requests", 1)]);
}

#[test]
fn what_belongs_to_no_request_says_why() {
    let mut scene = Scene::new();
    scene
        .run(SQL, 11, "SELECT 1 FROM a")
        .ask(1, 11, "/a", "")
        .run(SQL + 1, 12, "SELECT 2 FROM a")
        .query(SQL, 11, "SELECT 3 FROM a")
        .answer(1, 11)
        .rows(SQL, 11);
    assert_eq!(
        scene.reasons(),
        [("no_request", 1), ("other_thread", 1), ("request_over", 1)]
    );
    assert!(scene.routes().is_empty());
}

/// A runtime that moves tasks between threads: who has read the request may work for another.
#[test]
fn a_process_that_moves_requests_between_threads_is_not_believed() {
    let mut scene = Scene::new();
    scene
        .ask(1, 11, "/a", "")
        .run(SQL, 11, "SELECT 1 FROM a")
        .answer(1, 12)
        .ask(1, 11, "/a", "")
        .run(SQL, 11, "SELECT 2 FROM a")
        .answer(1, 11);
    assert_eq!(scene.reasons(), [("thread_changed", 2)]);
    // A process that asks on one thread and receives on another is one, too; others are not.
    scene.tgid = 8;
    scene
        .ask(2, 21, "/b", "")
        .query(SQL + 1, 21, "SELECT 1 FROM b")
        .rows(SQL + 1, 22)
        .answer(2, 21);
    scene.tgid = 9;
    scene
        .ask(3, 31, "/c", "")
        .run(SQL + 2, 31, "SELECT 1 FROM c")
        .answer(3, 31);
    assert_eq!(scene.reasons(), [("thread_changed", 3)]);
    assert_eq!(scene.routes(), [("/c".to_owned(), 1)]);
}

#[test]
fn a_trace_tells_the_request_whatever_the_threads_do() {
    let mut scene = Scene::new();
    scene
        .ask(1, 11, "/a", &traced_field(1))
        .ask(2, 11, "/b", &traced_field(2))
        .run(SQL, 12, &commented("SELECT 1 FROM b", 2))
        .run(SQL, 11, &commented("SELECT 1 FROM a", 1))
        .run(SQL, 11, &commented("SELECT 2 FROM a", 1))
        // Of no request here.
        .run(SQL, 11, &commented("SELECT 3 FROM a", 9))
        .answer(1, 13)
        .answer(2, 13);
    assert_eq!(scene.routes(), [("/a".to_owned(), 2), ("/b".to_owned(), 1)]);
    assert_eq!(scene.reasons(), [("several_requests", 1)]);
}

#[test]
fn a_trace_of_two_requests_tells_neither() {
    let mut scene = Scene::new();
    scene
        .ask(1, 11, "/a", &traced_field(1))
        .ask(2, 12, "/b", &traced_field(1))
        .run(SQL, 13, &commented("SELECT 1 FROM a", 1))
        // The thread of one of them does.
        .run(SQL + 1, 12, &commented("SELECT 1 FROM b", 1))
        .answer(2, 12)
        // The other is alone now, but the statement may have been asked for by either.
        .run(SQL, 13, &commented("SELECT 2 FROM a", 1))
        .answer(1, 11);
    assert_eq!(scene.routes(), [("/b".to_owned(), 1)]);
    assert_eq!(scene.reasons(), [("several_requests", 2)]);
}

#[test]
fn a_trace_that_contradicts_the_thread_is_not_overruled() {
    let mut scene = Scene::new();
    scene
        .ask(1, 11, "/a", &traced_field(1))
        .run(SQL, 11, &commented("SELECT 1 FROM a", 3))
        .answer(1, 11)
        // A request without a trace, whose program begins one, is the thread's.
        .ask(1, 11, "/a", "")
        .run(SQL, 11, &commented("SELECT 1 FROM a", 3))
        .answer(1, 11);
    assert_eq!(scene.reasons(), [("request_unknown", 1)]);
    assert_eq!(scene.routes(), [("/a".to_owned(), 1)]);
}

/// A retry has the trace of the attempt before, whose statement may still run.
#[test]
fn a_statement_is_not_that_of_a_request_that_came_later() {
    let mut scene = Scene::new();
    scene
        .ask(1, 11, "/a", &traced_field(1))
        .query(SQL, 12, &commented("SELECT 1 FROM a", 1))
        .close(1)
        .ask(2, 11, "/a", &traced_field(1))
        .rows(SQL, 12)
        .answer(2, 11);
    assert!(scene.routes().is_empty());
    assert_eq!(scene.reasons(), [("request_unknown", 1)]);
}

#[test]
fn a_websocket_on_the_thread_makes_it_uncertain() {
    let mut scene = Scene::new();
    scene
        .ask(1, 11, "/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n")
        .call(
            1,
            11,
            PayloadKind::Sent,
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .run(SQL, 11, "SELECT 0 FROM a")
        .ask(2, 11, "/a", "")
        .run(SQL, 11, "SELECT 1 FROM a")
        .answer(2, 11)
        .close(1)
        .ask(2, 11, "/a", "")
        .run(SQL, 11, "SELECT 2 FROM a")
        .answer(2, 11);
    assert_eq!(
        scene.reasons(),
        [("several_requests", 1), ("request_unknown", 1)]
    );
    assert_eq!(scene.routes(), [("/a".to_owned(), 1)]);
}

/// A handler goes on after its client has gone.
#[test]
fn after_an_abort_the_thread_may_still_work_for_it() {
    let mut scene = Scene::new();
    scene
        .ask(1, 11, "/slow", "")
        .close(1)
        .ask(2, 11, "/a", "")
        .run(SQL, 11, "SELECT 1 FROM a")
        .answer(2, 11);
    assert_eq!(scene.reasons(), [("several_requests", 1)]);
    scene.now_ns += 11_000 * MS;
    scene
        .ask(2, 11, "/a", "")
        .run(SQL, 11, "SELECT 1 FROM a")
        .answer(2, 11);
    assert_eq!(scene.routes(), [("/a".to_owned(), 1)]);
}

#[test]
fn lost_records_take_the_certainty_back() {
    let mut scene = Scene::new();
    scene
        .ask(1, 11, "/a", "")
        .answer(1, 11)
        .ask(2, 11, "/b", "")
        .run(SQL, 11, "SELECT 1 FROM b")
        // A request on the first connection was not seen: the statement may have been for that.
        .lose(1, false)
        .answer(1, 11)
        .answer(2, 11);
    assert_eq!(scene.reasons(), [("records_lost", 1)]);
    // Once the first connection is understood again, so is the thread.
    scene
        .ask(1, 11, "/a", "")
        .answer(1, 11)
        .ask(2, 11, "/b", "")
        .run(SQL, 11, "SELECT 1 FROM b")
        .answer(2, 11);
    assert_eq!(scene.routes(), [("/b".to_owned(), 1)]);
}

#[test]
fn a_statement_that_was_sent_unseen_is_unknown() {
    let mut scene = Scene::new();
    scene
        .ask(1, 11, "/a", "")
        // Asked before the probe came.
        .call(
            SQL,
            11,
            PayloadKind::Received,
            b"C\0\0\0\x0fINSERT 0 1\0Z\0\0\0\x05I",
        )
        .run(SQL, 11, "SELECT 1 FROM a")
        .answer(1, 11);
    assert_eq!(scene.reasons(), [("request_unknown", 1)]);
    assert_eq!(scene.routes(), [("/a".to_owned(), 1)]);
}

/// A connection that makes room for others takes its requests with it.
#[test]
fn what_is_evicted_leaks_nothing_and_is_counted() {
    let mut scene = Scene::with(Limits {
        streams: 2,
        ..Limits::default()
    });
    scene
        .ask(1, 11, "/a", "")
        .run(SQL, 11, "SELECT 1 FROM a")
        // Makes room for a third one.
        .ask(2, 12, "/b", "");
    assert_eq!(scene.reasons(), [("request_unknown", 1)]);
    scene.close(2).close(SQL);
    assert!(scene.is_empty());
}

/// Statements that are sent and answered together share their time.
#[test]
fn a_pipeline_takes_its_time_once() {
    let mut scene = Scene::new();
    let three = [
        query("SELECT 1 FROM a"),
        query("SELECT 2 FROM a"),
        query("SELECT 3 FROM a"),
    ];
    scene
        .ask(1, 11, "/a", "")
        .call(SQL, 11, PayloadKind::Sent, &three.concat())
        .call(
            SQL,
            11,
            PayloadKind::Received,
            &[rows(1), rows(1), rows(1)].concat(),
        )
        .answer(1, 11);
    let report = scene.report();
    let tally = *report.services[&WEB].db.routes.values().next().unwrap();
    assert_eq!((tally.statements, tally.ns), (3, MS + 10));
}

#[test]
fn a_pipeline_for_many_requests_forgets_the_oldest_and_says_so() {
    let mut scene = Scene::new();
    for request in 0..40 {
        let tid = 100 + u32::try_from(request).unwrap();
        scene
            .ask(request, tid, "/a", "")
            .query(SQL, tid, "SELECT 1 FROM a");
    }
    for request in 0..40 {
        scene.rows(SQL, 100 + u32::try_from(request).unwrap());
    }
    let reasons: BTreeMap<_, _> = scene.reasons().into_iter().collect();
    assert_eq!(reasons.get("overflow"), Some(&8), "{reasons:?}");
}

/// Who waits for a connection sees neither a slow statement nor a slow thread: without this, nothing
/// says that the pool is too small.
#[test]
fn a_request_that_finds_every_connection_busy_waits_until_one_is_free() {
    let mut scene = Scene::new();
    // From here on the connection is known to be free.
    scene.run(SQL, 11, "SELECT 0 FROM z");
    scene
        .ask(1, 11, "/a", "")
        .ask(2, 12, "/b", "")
        .query(SQL, 11, "SELECT 1 FROM a")
        .ask(3, 13, "/c", "")
        .answer(3, 13)
        .rows(SQL, 11)
        .run(SQL, 12, "SELECT 2 FROM b")
        .answer(1, 11)
        .answer(2, 12);
    let report = scene.report();
    let pools = report.services[&WEB].db.pools.as_ref().unwrap();
    assert_eq!((pools.wait.count(), pools.wait.sum_ns), (1, 3 * MS));
    // And while the second one had it, the first was still there.
    assert_eq!((pools.saturated_ns, pools.busy_peak), (4 * MS, 1));
    // With one request at a time, the same connection is not saturated.
    let mut alone = Scene::new();
    alone.run(SQL, 11, "SELECT 0 FROM z");
    for _ in 0..3 {
        alone
            .ask(1, 11, "/a", "")
            .run(SQL, 11, "SELECT 1 FROM a")
            .answer(1, 11);
    }
    let report = alone.report();
    let pools = report.services[&WEB].db.pools.as_ref().unwrap();
    assert_eq!((pools.wait.count(), pools.saturated_ns), (0, 0));
    // The statement before, and one in each request.
    assert_eq!(pools.busy_ns, 4 * MS);
}
