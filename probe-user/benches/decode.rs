//! How fast captured bytes become statements, on one core: whole streams of both directions,
//! through the decoder and the SQL cache. The rate that is printed is statements a second.
//!
//! `cargo bench -p probe-user --bench decode`

mod conversations;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use probe_user::sql::SqlCache;
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

criterion_group!(benches, decode);
criterion_main!(benches);
