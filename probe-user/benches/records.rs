//! How fast the decoder thread is, on one core: from the records that the kernel side makes to
//! counted series, with the traffic of several connections mixed as it comes out of the ring.
//!
//! `cargo bench -p probe-user --bench records`

mod conversations;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use probe_common::payload::{PayloadHeader, PayloadKind, Role, StreamClass};
use probe_common::socket::Transport;
use probe_user::kernel::payload::PayloadRecord;
use probe_user::traffic::{Limits, Traffic};

use conversations::{Conversation, STATEMENTS, conversations};

/// Connections that speak in turns. Their texts together are more than the cache of texts holds, so
/// that new literals are new.
const CONNECTIONS: u64 = 16;

/// Exchanges of a connection in one iteration.
const EXCHANGES: usize = 1000;
const _: () = assert!(EXCHANGES as u64 == STATEMENTS);

/// Bytes of a record's head, as configured by default.
const HEAD: usize = 4096;

/// A service whose connections are decoded.
struct Service {
    traffic: Traffic,
    class: StreamClass,
    /// Exchanges so far on each connection, which is also the number of its records each way.
    exchanges: Vec<u32>,
    now_ns: u64,
}

impl Service {
    fn new(class: StreamClass) -> Self {
        Self {
            traffic: Traffic::new(Limits::default()),
            class,
            exchanges: (0..CONNECTIONS).map(|_| 0).collect(),
            now_ns: 1,
        }
    }

    /// One call of each direction.
    fn exchange(&mut self, connection: usize, asked: &[u8], answered: &[u8]) {
        let Some(exchanges) = self.exchanges.get_mut(connection) else {
            return;
        };
        let sequence = *exchanges;
        *exchanges += 1;
        for (kind, bytes) in [
            (PayloadKind::Received, asked),
            (PayloadKind::Sent, answered),
        ] {
            self.now_ns += 10_000;
            let head = bytes.get(..HEAD).unwrap_or(bytes);
            let record = PayloadRecord {
                header: PayloadHeader {
                    stream: connection as u64 + 1,
                    started_ns: self.now_ns,
                    ended_ns: self.now_ns + 1_000,
                    bytes: bytes.len() as u64,
                    tgid: 1000,
                    tid: 1000,
                    sequence,
                    service: 1,
                    head_bytes: u16::try_from(head.len()).unwrap_or(u16::MAX),
                    kind: kind as u8,
                    class: self.class as u8,
                    role: Role::Server as u8,
                    transport: Transport::Tcp as u8,
                    ..PayloadHeader::default()
                },
                head,
                tail: &[],
            };
            self.traffic.record(black_box(&record));
        }
    }

    /// What has been counted.
    fn counted(&mut self) -> u64 {
        let report = self.traffic.report(0);
        let services = report.services.values();
        services
            .map(|service| {
                let statements = service.postgres_server.values().map(|one| one.calls);
                let requests = service.http_server.values();
                statements.sum::<u64>() + requests.map(|one| one.duration.count()).sum::<u64>()
            })
            .sum()
    }
}

/// Requests of one connection after the other, with answers as an API gives them.
fn requests(first: u64) -> Conversation {
    let answer = b"HTTP/1.1 200 OK\r\ndate: Tue, 24 Nov 2026 12:00:00 GMT\r\nserver: uvicorn\r\n\
        content-length: 24\r\ncontent-type: application/json\r\n\r\n{\"order\":4711,\"paid\":1}\n";
    let asked = (first..first + STATEMENTS).map(|number| {
        let request = format!(
            "GET /api/v1/orders/{number}?page=2 HTTP/1.1\r\nHost: shop.example\r\n\
             X-Forwarded-For: 203.0.113.7\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
             traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
             Accept: application/json\r\nAccept-Encoding: gzip, br\r\n\
             Cookie: session=5f2b6c1e9a7d4\r\nConnection: keep-alive\r\n\r\n"
        );
        (request.into_bytes(), answer.to_vec())
    });
    asked.collect()
}

/// The same kind of conversation on each connection, with other parameters.
type Mixture = Vec<Conversation>;

fn mixtures() -> Vec<(&'static str, StreamClass, Mixture)> {
    let firsts = || (0..CONNECTIONS).map(|connection| connection * STATEMENTS);
    let mut mixtures: Vec<(&'static str, StreamClass, Mixture)> = Vec::new();
    for (name, _) in conversations(0) {
        let one = |first| {
            let named = conversations(first).into_iter();
            named.filter_map(|(other, conversation)| (other == name).then_some(conversation))
        };
        mixtures.push((
            name,
            StreamClass::Postgres,
            firsts().flat_map(one).collect(),
        ));
    }
    let http = firsts().map(requests).collect();
    mixtures.push(("HTTP, keep-alive", StreamClass::Http1, http));
    mixtures
}

/// The last exchanges of all conversations, so many of each, in turns.
fn run(service: &mut Service, mixture: &Mixture, last: usize) {
    for step in (1..=last).rev() {
        for (connection, conversation) in mixture.iter().enumerate() {
            let exchange = conversation.len().checked_sub(step);
            if let Some((asked, answered)) = exchange.and_then(|at| conversation.get(at)) {
                service.exchange(connection, asked, answered);
            }
        }
    }
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("records to numbers");
    let elements = CONNECTIONS * STATEMENTS;
    group
        .throughput(Throughput::Elements(elements))
        .measurement_time(Duration::from_secs(4));
    for (name, class, mixture) in mixtures() {
        let mut service = Service::new(class);
        // With what is said once; a bench of records that are not understood would be fast.
        run(&mut service, &mixture, 2 * EXCHANGES);
        assert!(
            service.counted() >= elements,
            "{name}: not everything was counted"
        );
        group.bench_function(name, |bencher| {
            bencher.iter(|| run(&mut service, &mixture, EXCHANGES));
        });
    }
    group.finish();
}

criterion_group!(benches, records);
criterion_main!(benches);
