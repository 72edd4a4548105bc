//! From records to numbers. What a user would lose: statements, connections, clients, routes.

use std::collections::BTreeMap;

use probe_common::payload::{PayloadHeader, PayloadKind, Role, StreamClass};
use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

/// One connection of a traced service, and its clock.
struct Talk {
    header: PayloadHeader,
    role: Role,
    sequences: [u32; 2],
}

impl Talk {
    fn new(stream: u64, class: StreamClass, role: Role) -> Self {
        Self {
            header: PayloadHeader {
                stream,
                tgid: 70,
                tid: 71,
                service: 1,
                class: class as u8,
                role: role as u8,
                transport: 1,
                ..PayloadHeader::default()
            },
            role,
            sequences: [0; 2],
        }
    }

    fn postgres(stream: u64, role: Role) -> Self {
        Self::new(stream, StreamClass::Postgres, role)
    }

    fn http(stream: u64, role: Role) -> Self {
        Self::new(stream, StreamClass::Http1, role)
    }

    fn record(&mut self, traffic: &mut Traffic, kind: PayloadKind, head: &[u8]) {
        let header = &mut self.header;
        header.started_ns = header.ended_ns + MS;
        header.ended_ns = header.started_ns;
        header.kind = kind as u8;
        header.bytes = head.len() as u64;
        header.head_bytes = head.len().try_into().unwrap();
        if kind != PayloadKind::Closed {
            let sequence = &mut self.sequences[usize::from(kind == PayloadKind::Sent)];
            header.sequence = *sequence;
            *sequence += 1;
        }
        let (header, tail) = (self.header, &b""[..]);
        traffic.record(&PayloadRecord { header, head, tail });
    }

    /// The client says something, whichever end is traced.
    fn client(&mut self, traffic: &mut Traffic, bytes: &[u8]) {
        let kind = match self.role {
            Role::Client => PayloadKind::Sent,
            _ => PayloadKind::Received,
        };
        self.record(traffic, kind, bytes);
    }

    fn server(&mut self, traffic: &mut Traffic, bytes: &[u8]) {
        let kind = match self.role {
            Role::Client => PayloadKind::Received,
            _ => PayloadKind::Sent,
        };
        self.record(traffic, kind, bytes);
    }

    fn close(&mut self, traffic: &mut Traffic) {
        self.record(traffic, PayloadKind::Closed, b"");
    }

    /// A start-up without a password.
    fn connect(&mut self, traffic: &mut Traffic) {
        self.client(traffic, &startup());
        let answer = [message(b'R', b"\0\0\0\0"), ready(b'I')].concat();
        self.server(traffic, &answer);
    }

    fn query(&mut self, traffic: &mut Traffic, sql: &str, answer: &[u8]) {
        self.client(traffic, &message(b'Q', format!("{sql}\0").as_bytes()));
        self.server(traffic, answer);
    }

    fn request(&mut self, traffic: &mut Traffic, head: &str, status: u16) {
        self.client(traffic, format!("{head}\r\n\r\n").as_bytes());
        let response = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok");
        self.server(traffic, response.as_bytes());
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    message.extend_from_slice(body);
    message
}

fn startup() -> Vec<u8> {
    message(0, b"\0\x03\0\0user\0alice\0database\0shop\0\0").split_off(1)
}

fn ready(status: u8) -> Vec<u8> {
    message(b'Z', &[status])
}

fn done(tag: &str, status: u8) -> Vec<u8> {
    let complete = message(b'C', format!("{tag}\0").as_bytes());
    [complete, ready(status)].concat()
}

fn error(code: &str) -> Vec<u8> {
    message(
        b'E',
        format!("SERROR\0VERROR\0C{code}\0Mtext\0\0").as_bytes(),
    )
}

fn failed(code: &str, status: u8) -> Vec<u8> {
    [error(code), ready(status)].concat()
}

fn service(traffic: &mut Traffic, id: u16) -> Arc<ServiceReport> {
    let report = traffic.report(10_000 * MS);
    report.services.get(&id).cloned().unwrap_or_default()
}

fn states(traffic: &mut Traffic) -> Vec<(&'static str, u64)> {
    let report = service(traffic, 1);
    let states = report.database_server.connections.states.iter();
    states
        .map(|(state, count)| (state.as_str(), *count))
        .collect()
}

#[test]
fn a_connection_is_what_it_does_and_gone_when_it_is_closed() {
    let mut traffic = Traffic::new(Limits::default());
    let mut one = Talk::postgres(1, Role::Server);
    one.client(&mut traffic, &startup());
    assert_eq!(states(&mut traffic), [("connecting", 1)]);
    one.server(
        &mut traffic,
        &[message(b'R', b"\0\0\0\0"), ready(b'I')].concat(),
    );
    assert_eq!(states(&mut traffic), [("idle", 1)]);
    one.client(&mut traffic, &message(b'Q', b"BEGIN\0"));
    assert_eq!(states(&mut traffic), [("active", 1)]);
    one.server(&mut traffic, &done("BEGIN", b'T'));
    assert_eq!(states(&mut traffic), [("idle_in_transaction", 1)]);
    one.query(&mut traffic, "SELECT 1/0", &failed("22012", b'E'));
    let mut two = Talk::postgres(2, Role::Server);
    two.connect(&mut traffic);
    let both = [("idle", 1), ("idle_in_transaction_aborted", 1)];
    assert_eq!(states(&mut traffic), both);
    one.client(&mut traffic, &message(b'X', b""));
    assert_eq!(states(&mut traffic), [("idle", 1)]);
    one.close(&mut traffic);
    two.close(&mut traffic);
    assert_eq!(states(&mut traffic), []);
    let report = service(&mut traffic, 1);
    let connections = &report.database_server.connections;
    assert_eq!(
        connections.connected,
        BTreeMap::from([(Encryption::None, 2)])
    );
    assert_eq!(connections.connect.count(), 2);
    assert_eq!(connections.connect.sum_ns, 2 * MS);
    assert!(report.database_client.connections.is_empty());
}

#[test]
fn a_connection_that_was_open_before_is_known_from_its_first_answer() {
    let mut traffic = Traffic::new(Limits::default());
    let mut talk = Talk::postgres(1, Role::Unknown);
    talk.client(&mut traffic, &message(b'Q', b"BEGIN\0"));
    assert_eq!(states(&mut traffic), [("active", 1)]);
    talk.server(&mut traffic, &done("BEGIN", b'T'));
    assert_eq!(states(&mut traffic), [("idle_in_transaction", 1)]);
    talk.query(&mut traffic, "COMMIT", &done("COMMIT", b'I'));
    assert_eq!(states(&mut traffic), [("idle", 1)]);
}

/// The kernel does not tell when a unix socket is closed.
#[test]
fn a_connection_through_a_unix_socket_ends_with_its_process() {
    let mut traffic = Traffic::new(Limits::default());
    let (mut tcp, mut unix) = (
        Talk::postgres(1, Role::Server),
        Talk::postgres(2, Role::Server),
    );
    unix.header.transport = 2;
    for talk in [&mut tcp, &mut unix] {
        talk.connect(&mut traffic);
    }
    unix.client(&mut traffic, &message(b'Q', b"SELECT 1\0"));
    assert_eq!(states(&mut traffic), [("active", 1), ("idle", 1)]);
    traffic.exited(&HashSet::from([71]), 9 * MS);
    assert_eq!(states(&mut traffic), [("active", 1), ("idle", 1)]);
    traffic.exited(&HashSet::from([70]), 9 * MS);
    assert_eq!(states(&mut traffic), [("idle", 1)]);
    // What it was doing is over, too, in a way that nobody saw.
    let report = service(&mut traffic, 1);
    let outcomes: Vec<_> = report
        .postgres_server
        .keys()
        .map(|key| key.outcome)
        .collect();
    assert_eq!(outcomes, [StatementOutcome::Unknown]);
}

#[test]
fn what_is_encrypted_is_not_said_to_be_connecting_for_ever() {
    let mut traffic = Traffic::new(Limits::default());
    let mut talk = Talk::postgres(1, Role::Server);
    talk.client(&mut traffic, &[0, 0, 0, 8, 4, 210, 22, 47]);
    assert_eq!(states(&mut traffic), [("connecting", 1)]);
    talk.server(&mut traffic, b"S");
    assert_eq!(states(&mut traffic), [("unknown", 1)]);
    // Once its clear text comes it is as any other.
    talk.connect(&mut traffic);
    assert_eq!(states(&mut traffic), [("idle", 1)]);
    let report = service(&mut traffic, 1);
    let connected = &report.database_server.connections.connected;
    assert_eq!(*connected, BTreeMap::from([(Encryption::Tls, 1)]));
}

#[test]
fn refusals_cancels_and_shutdowns_are_told_by_their_names() {
    let mut traffic = Traffic::new(Limits::default());
    for (stream, code) in [(1, "53300"), (2, "53300"), (3, "3D000")] {
        let mut talk = Talk::postgres(stream, Role::Client);
        talk.client(&mut traffic, &startup());
        talk.server(&mut traffic, &error(code));
        talk.close(&mut traffic);
    }
    let mut talk = Talk::postgres(4, Role::Client);
    talk.client(
        &mut traffic,
        &[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2],
    );
    talk.close(&mut traffic);
    let mut talk = Talk::postgres(5, Role::Client);
    talk.connect(&mut traffic);
    talk.server(&mut traffic, &error("57P01"));
    talk.close(&mut traffic);
    let report = service(&mut traffic, 1);
    let connections = &report.database_client.connections;
    let counts = |reasons: &BTreeMap<Arc<str>, u64>| -> Vec<(String, u64)> {
        let reasons = reasons.iter();
        reasons
            .map(|(reason, count)| (reason.to_string(), *count))
            .collect()
    };
    assert_eq!(
        counts(&connections.refused),
        [
            ("invalid_catalog_name".to_owned(), 1),
            ("too_many_connections".to_owned(), 2)
        ]
    );
    assert_eq!(
        counts(&connections.server_errors),
        [("admin_shutdown".to_owned(), 1)]
    );
    assert_eq!(connections.cancels, 1);
    assert!(report.postgres_client.is_empty());
}

#[test]
fn transactions_are_counted_by_how_they_ended() {
    let mut traffic = Traffic::new(Limits::default());
    let mut talk = Talk::postgres(1, Role::Server);
    talk.connect(&mut traffic);
    for (sql, answer) in [
        ("SELECT 1", done("SELECT 1", b'I')),
        ("BEGIN", done("BEGIN", b'T')),
        ("UPDATE t SET a = 1", done("UPDATE 3", b'T')),
        ("COMMIT", done("COMMIT", b'I')),
        ("BEGIN", done("BEGIN", b'T')),
        ("SELECT 1/0", failed("22012", b'E')),
        ("COMMIT", done("ROLLBACK", b'I')),
        ("SELECT x", failed("42703", b'I')),
    ] {
        talk.query(&mut traffic, sql, &answer);
    }
    let report = service(&mut traffic, 1);
    let transactions = &report.database_server.transactions;
    assert_eq!(transactions[&("shop".into(), true)], 2);
    assert_eq!(transactions[&("shop".into(), false)], 2);
}

#[test]
fn a_trace_is_tied_to_the_request_and_to_the_statement_that_name_it() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let mut traffic = Traffic::new(Limits::default());
    let mut talk = Talk::http(1, Role::Server);
    for (flags, path) in [("01", "/a"), ("00", "/b")] {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\ntraceparent: 00-{TRACE}-b7ad6b7169203331-{flags}"
        );
        talk.request(&mut traffic, &head, 200);
    }
    let mut talk = Talk::postgres(2, Role::Client);
    talk.connect(&mut traffic);
    let sql = format!("SELECT 1 /*traceparent='00-{TRACE}-b7ad6b7169203331-01'*/");
    talk.query(&mut traffic, &sql, &done("SELECT 1", b'I'));
    let report = service(&mut traffic, 1);
    let exemplars: Vec<_> = report
        .http_server
        .iter()
        .map(|(key, series)| (&*key.route, series.exemplars.iter().collect::<Vec<_>>()))
        .collect();
    let expected = Exemplar {
        trace_id: u128::from_str_radix(TRACE, 16).unwrap(),
        ns: MS,
        at_ns: 2 * MS,
    };
    // A trace that nobody recorded cannot be looked up.
    assert_eq!(exemplars, [("/a", vec![&expected]), ("/b", vec![])]);
    let series = report.postgres_client.values().next().unwrap();
    let statement = series.exemplars.iter().next().unwrap();
    assert_eq!(statement.trace_id, expected.trace_id);
    assert_eq!(statement.at_ns, talk.header.ended_ns);
}

#[test]
fn clients_are_told_apart_by_what_the_proxy_says_or_by_their_address() {
    let mut traffic = Traffic::new(Limits::default());
    let mut proxy = Talk::http(1, Role::Server);
    proxy.header.peer = 9;
    for user in [1, 2, 3, 2, 1] {
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.{user}");
        proxy.request(&mut traffic, &head, 200);
    }
    // What is asked directly, and what comes from nowhere.
    for (stream, peer) in [(2, 8), (3, 8), (4, 0)] {
        let mut talk = Talk::http(stream, Role::Server);
        talk.header.peer = peer;
        talk.request(&mut traffic, "GET / HTTP/1.1\r\nHost: x", 200);
    }
    // Whom the service asks is no client of its.
    let mut talk = Talk::http(5, Role::Client);
    talk.header.peer = 7;
    talk.request(&mut traffic, "GET / HTTP/1.1\r\nHost: x", 200);
    assert_eq!(traffic.report(10 * MS).services[&1].active_users, 4);
    let later = traffic.report(10 * MS + CLIENT_WINDOW_NS);
    assert_eq!(later.services[&1].active_users, 0);
    assert_eq!(later.services[&1].http_server.len(), 1);
}

fn routes(traffic: &mut Traffic, id: u16) -> Vec<String> {
    let report = service(traffic, id);
    let routes = report.http_server.keys();
    routes.map(|key| key.route.to_string()).collect()
}

#[test]
fn configured_routes_win_also_when_they_come_later() {
    let mut traffic = Traffic::new(Limits::default());
    let templates = Arc::new(Templates::new(&["/shop/{name}"]).unwrap());
    let mut talk = Talk::http(1, Role::Server);
    talk.request(&mut traffic, "GET /shop/blue HTTP/1.1\r\nHost: x", 200);
    assert_eq!(routes(&mut traffic, 1), ["/shop/blue"]);
    traffic.set_templates([(1, Arc::clone(&templates)), (2, templates)].into());
    talk.request(&mut traffic, "GET /shop/red HTTP/1.1\r\nHost: x", 500);
    assert_eq!(routes(&mut traffic, 1), ["/shop/blue", "/shop/{name}"]);
    // Those of a service that nothing was seen of are kept for it.
    let mut other = Talk::http(2, Role::Server);
    other.header.service = 2;
    other.request(&mut traffic, "GET /shop/red HTTP/1.1\r\nHost: x", 200);
    assert_eq!(routes(&mut traffic, 2), ["/shop/{name}"]);
    traffic.set_templates(BTreeMap::new());
    talk.request(&mut traffic, "GET /shop/green HTTP/1.1\r\nHost: x", 200);
    assert!(routes(&mut traffic, 1).contains(&"/shop/green".to_owned()));
}

#[test]
fn a_service_whose_id_goes_to_another_leaves_nothing_to_it() {
    let mut traffic = Traffic::new(Limits::default());
    let mut kept = Talk::http(1, Role::Server);
    kept.header.service = 2;
    kept.request(&mut traffic, "GET /b HTTP/1.1\r\nHost: x", 200);
    let mut talk = Talk::http(2, Role::Server);
    talk.request(&mut traffic, "GET /a HTTP/1.1\r\nHost: x", 200);
    talk.client(&mut traffic, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(service(&mut traffic, 1).http_active, 1);
    traffic.forget(&[1]);
    let report = traffic.report(100 * MS);
    assert_eq!(report.services.keys().collect::<Vec<_>>(), [&2]);
    assert_eq!(report.counts.streams, 1);
    // The new service begins with its first request, not with the former one's connection.
    let mut new = Talk::http(3, Role::Server);
    new.client(&mut traffic, b"GET /new HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(service(&mut traffic, 1).http_active, 1);
    assert!(service(&mut traffic, 1).http_server.is_empty());
    assert_eq!(routes(&mut traffic, 2), ["/b"]);
}

#[test]
fn a_report_copies_only_what_changed() {
    let mut traffic = Traffic::new(Limits::default());
    for id in [1, 2] {
        let mut talk = Talk::http(id.into(), Role::Server);
        talk.header.service = id;
        talk.header.peer = 1;
        talk.request(&mut traffic, "GET /a HTTP/1.1\r\nHost: x", 200);
    }
    let before = traffic.report(MS);
    let mut talk = Talk::http(3, Role::Server);
    talk.client(&mut traffic, b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    let after = traffic.report(MS);
    assert!(Arc::ptr_eq(&before.services[&2], &after.services[&2]));
    assert_eq!(before.services[&1].http_active, 0);
    assert_eq!(after.services[&1].http_active, 1);
    // The window of the clients moves on, though nothing happens.
    let late = traffic.report(CLIENT_WINDOW_NS + 9 * MS);
    assert_eq!(late.services[&2].active_users, 0);
}

#[test]
fn the_limits_reach_the_decoders() {
    let limits = Limits {
        http: http1::Limits {
            pipeline_depth: 2,
            ..http1::Limits::default()
        },
        postgres: protocol::Limits {
            sql_bytes: 16,
            ..protocol::Limits::default()
        },
        ..Limits::default()
    };
    let mut traffic = Traffic::new(limits);
    let mut talk = Talk::http(1, Role::Server);
    for _ in 0..5 {
        talk.client(&mut traffic, b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    assert!(service(&mut traffic, 1).http_active <= 2);
    let mut talk = Talk::postgres(2, Role::Server);
    talk.connect(&mut traffic);
    let sql = "SELECT column_one, column_two FROM somewhere";
    talk.query(&mut traffic, sql, &done("SELECT 1", b'I'));
    let report = service(&mut traffic, 1);
    let text = &report.database_server.fingerprints.top[0].sql.text;
    assert!(text.ends_with('…') && text.len() < 30, "{text}");
}

#[test]
fn made_up_error_codes_do_not_make_series_without_end() {
    let limits = Limits {
        series: 20,
        ..Limits::default()
    };
    let mut traffic = Traffic::new(limits);
    let mut talk = Talk::postgres(1, Role::Server);
    talk.connect(&mut traffic);
    for number in 0..200 {
        let code = format!("P{number:04}");
        talk.query(&mut traffic, "SELECT fail()", &failed(&code, b'I'));
    }
    let report = service(&mut traffic, 1);
    assert_eq!(report.postgres_server.len(), 21);
    let rest = StatementKey {
        database: "other".into(),
        operation: "SELECT",
        outcome: StatementOutcome::Error(*b"other"),
    };
    assert_eq!(report.postgres_server[&rest].calls, 180);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What dashboards add up: statements by fingerprint are the statements by operation, at every
    /// scrape, on both sides, however many different ones there are.
    #[test]
    fn fingerprints_and_operations_add_up_to_the_same(
        fingerprints in 1usize..8,
        statements in prop::collection::vec((0u32..60, 0u32..4, prop::bool::ANY), 1..200),
    ) {
        let limits = Limits { fingerprints, series: 5, ..Limits::default() };
        let mut traffic = Traffic::new(limits);
        let mut talks = [Talk::postgres(1, Role::Server), Talk::postgres(2, Role::Client)];
        let mut sent = 0;
        for (number, kind, scrape) in statements {
            for talk in &mut talks {
                match kind {
                    0 => talk.query(&mut traffic, &format!("SELECT a{number}"), &done("SELECT 2", b'I')),
                    1 => talk.query(&mut traffic, &format!("UPDATE t{number} SET a = 1"), &failed("40001", b'I')),
                    2 => talk.query(&mut traffic, "BEGIN; COMMIT", &[
                        message(b'C', b"BEGIN\0"), done("COMMIT", b'I')].concat()),
                    // Prepared before it was seen.
                    _ => {
                        let bind = message(b'B', b"\0known\0\0\0\0\0\0\0");
                        let execute = message(b'E', b"\0\0\0\0\0");
                        talk.client(&mut traffic, &[bind, execute, message(b'S', b"")].concat());
                        let answer = [message(b'2', b""), done("INSERT 0 3", b'I')].concat();
                        talk.server(&mut traffic, &answer);
                    }
                }
            }
            sent += if kind == 2 { 2 } else { 1 };
            if scrape {
                check_sums(&traffic.report(0).services[&1], sent)?;
            }
        }
        check_sums(&traffic.report(0).services[&1], sent)?;
    }
}

fn check_sums(report: &ServiceReport, sent: u64) -> Result<(), TestCaseError> {
    for (series, database) in [
        (&report.postgres_server, &report.database_server),
        (&report.postgres_client, &report.database_client),
    ] {
        let sum = database.fingerprints.sum();
        let failed = |key: &StatementKey| matches!(key.outcome, StatementOutcome::Error(_));
        let all = Totals {
            calls: series.values().map(|series| series.calls).sum(),
            errors: series
                .iter()
                .filter(|(key, _)| failed(key))
                .map(|(_, series)| series.calls)
                .sum(),
            rows: series.values().map(|series| series.rows).sum(),
            busy_ns: sum.busy_ns,
        };
        prop_assert_eq!(sum, all);
        prop_assert_eq!(database.fingerprints.sum().calls, sent);
    }
    Ok(())
}

/// What is under way on a connection that makes room is lost, and has to be counted as such.
#[test]
fn statements_of_a_connection_that_makes_room_are_counted_as_uncertain() {
    let mut traffic = Traffic::new(Limits {
        streams: 1,
        ..Limits::default()
    });
    let mut first = Talk::postgres(1, Role::Server);
    first.connect(&mut traffic);
    first.client(&mut traffic, &message(b'Q', b"select 1; select 2\0"));
    Talk::postgres(2, Role::Server).connect(&mut traffic);
    let counts = traffic.report(0).counts;
    assert_eq!((counts.streams_evicted, counts.uncertain), (1, 2));
}
