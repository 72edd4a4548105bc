//! How fast captured bytes become statements, on one core: whole streams of both directions,
//! through the decoder and the SQL cache. The rate that is printed is statements a second.
//!
//! `cargo bench -p probe-user --bench decode`

mod conversations;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use probe_common::payload::{PayloadHeader, PayloadKind, Role, StreamClass};
use probe_user::kernel::payload::PayloadRecord;
use probe_user::routes::Templates;
use probe_user::sql::SqlCache;
use probe_user::traffic::{self, Traffic};
use probe_user::wire::postgres::{Connection, Event, Limits};
use probe_user::wire::stream::{Direction, Segment, Side};

use conversations::{Conversation, STATEMENTS, conversations};

/// One call of each direction for every statement.
fn run(conversation: &Conversation, cache: &mut SqlCache, out: &mut Vec<Event>) -> usize {
    let mut connection = Connection::new(Side::Server, Limits::default());
    let mut events = 0;
    for (number, (asked, answered)) in (0u64..).zip(conversation) {
        let at = number * 100;
        let asked = Segment::whole(at, at, asked);
        connection.segment(Direction::ToServer, &asked, cache, out);
        let answered = Segment::whole(at + 50, at + 60, answered);
        connection.segment(Direction::ToClient, &answered, cache, out);
        events += out.len();
        out.clear();
    }
    events
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("postgres");
    group
        .throughput(Throughput::Elements(STATEMENTS))
        .measurement_time(Duration::from_secs(3));
    for (name, conversation) in conversations(0) {
        // As small for new literals that none is found again.
        let entries = if name.contains("new") { 100 } else { 4096 };
        let mut cache = SqlCache::new(entries, 1 << 20);
        let mut out = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(run(&conversation, &mut cache, &mut out)));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("sql, not in the cache");
    group.throughput(Throughput::Elements(1));
    let list: Vec<String> = (0..200).map(|number: u32| number.to_string()).collect();
    let join = "SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id \
                WHERE o.status IN ('new', 'paid') AND o.created > '2024-01-01' ORDER BY o.created DESC LIMIT 20";
    for (name, text) in [
        (
            "primary key",
            "SELECT * FROM users WHERE id = 42".to_owned(),
        ),
        ("join", join.to_owned()),
        (
            "200 in a list",
            format!("select a from t where b in ({})", list.join(",")),
        ),
    ] {
        // Two texts that take turns in a cache of one.
        let texts = [text.clone(), format!("{text} ")];
        let mut cache = SqlCache::new(1, 1 << 20);
        let mut turn = 0usize;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                turn += 1;
                let text = texts.get(turn % 2).map_or("", String::as_str);
                black_box(cache.parse(black_box(text.as_bytes()), false, false))
            });
        });
    }
    group.finish();
}

/// What a scrape costs the decoding thread: 2,000 series of requests of one service that changed
/// since the last one, and of one that did not.
fn report(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("report");
    group.measurement_time(Duration::from_secs(3));
    let templates = (0..2_000u32).map(|number| format!("/t{number}"));
    let templates: Vec<String> = templates.collect();
    let Ok(templates) = Templates::new(&templates) else {
        return;
    };
    let mut traffic = Traffic::new(traffic::Limits::default());
    traffic.set_templates([(1, Arc::new(templates))].into());
    let mut sequence = 0;
    let mut request = |traffic: &mut Traffic, number: u32| {
        let asked = format!("GET /t{number} HTTP/1.1\r\nHost: a\r\n\r\n");
        let answered = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        for (kind, head) in [
            (PayloadKind::Received, asked.as_bytes()),
            (PayloadKind::Sent, answered),
        ] {
            traffic.record(&record(kind, sequence, head));
        }
        sequence += 1;
    };
    for number in 0..2_000 {
        request(&mut traffic, number);
    }
    group.bench_function("2,000 series, changed", |bencher| {
        bencher.iter(|| {
            request(&mut traffic, 7);
            black_box(traffic.report(1))
        });
    });
    group.bench_function("2,000 series, unchanged", |bencher| {
        bencher.iter(|| black_box(traffic.report(1)));
    });
    group.finish();
}

/// One call of a server's on its only connection.
fn record(kind: PayloadKind, sequence: u32, head: &[u8]) -> PayloadRecord<'_> {
    let header = PayloadHeader {
        stream: 1,
        started_ns: 1,
        ended_ns: 1,
        bytes: head.len() as u64,
        tgid: 1,
        tid: 1,
        sequence,
        service: 1,
        head_bytes: u16::try_from(head.len()).unwrap_or(u16::MAX),
        kind: kind as u8,
        class: StreamClass::Http1 as u8,
        role: Role::Server as u8,
        transport: 1,
        peer: 1,
        ..PayloadHeader::default()
    };
    PayloadRecord {
        header,
        head,
        tail: &[],
    }
}

criterion_group!(benches, decode, report);
criterion_main!(benches);
