//! How fast captured bytes become requests with routes, on one core: `cargo bench --bench http`.
//! One element is one request with its response, so that criterion prints requests a second.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use probe_user::routes::{Limits as RouteLimits, Router};
use probe_user::wire::http1::{Connection, Event, Limits, Output};
use probe_user::wire::stream::{Direction, Segment, Side};

/// What a browser behind a reverse proxy sends.
const REQUEST: &[u8] = b"GET /api/v1/orders/4711?page=2 HTTP/1.1\r\nHost: shop.example\r\n\
    X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\
    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: application/json\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, br\r\n\
    Cookie: session=5f2b6c1e9a7d4\r\nConnection: keep-alive\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ndate: Tue, 24 Nov 2026 12:00:00 GMT\r\nserver: uvicorn\r\n\
    content-length: 24\r\ncontent-type: application/json\r\n\r\n{\"order\":4711,\"paid\":1}\n";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    transfer-encoding: chunked\r\n\r\n2000\r\n{\"orders\":[";

const BATCH: u64 = 1000;

fn call(now_ns: u64, len: u64, head: &'static [u8], tail: &'static [u8]) -> Segment<'static> {
    Segment {
        start_ns: now_ns,
        end_ns: now_ns + 10,
        len,
        head,
        tail,
    }
}

/// Feeds `BATCH` exchanges to one connection, and gives each its route.
fn exchanges(router: &mut Router, feed: impl Fn(&mut Connection, u64, &mut Output)) -> usize {
    let mut connection = Connection::new(Side::Server, Limits::default());
    let mut out = Output::default();
    let mut routed = 0;
    for number in 0..BATCH {
        feed(&mut connection, number * 1000, &mut out);
        for event in out.events.drain(..) {
            if let Event::Exchange(exchange) = event {
                let method = exchange.method.as_str();
                let route = router.route(method, exchange.path.as_deref(), exchange.status);
                routed += usize::from(!black_box(route).is_empty());
            }
        }
    }
    routed
}

fn http(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http1");
    group.throughput(Throughput::Elements(BATCH));
    let mut router = Router::new::<&str>(&[], RouteLimits::default()).unwrap_or_else(|error| {
        unreachable!("no templates, no error: {error}");
    });
    let whole = |connection: &mut Connection, now_ns: u64, out: &mut Output| {
        let ask = call(now_ns, REQUEST.len() as u64, REQUEST, &[]);
        let answer = call(now_ns + 100, RESPONSE.len() as u64, RESPONSE, &[]);
        connection.feed(Direction::ToServer, black_box(&ask), out);
        connection.feed(Direction::ToClient, black_box(&answer), out);
    };
    // A chunk of 8 KiB, most of which is not at hand, and the last chunk in a call of its own.
    let gapped = |connection: &mut Connection, now_ns: u64, out: &mut Output| {
        let ask = call(now_ns, REQUEST.len() as u64, REQUEST, &[]);
        let framing = b"{\"orders\":[".len() as u64;
        let len = CHUNKED.len() as u64 - framing + 0x2000 + 2;
        let answer = call(now_ns + 100, len, CHUNKED, b"]}\r\n");
        let end = call(now_ns + 200, 5, b"0\r\n\r\n", &[]);
        connection.feed(Direction::ToServer, black_box(&ask), out);
        connection.feed(Direction::ToClient, black_box(&answer), out);
        connection.feed(Direction::ToClient, black_box(&end), out);
    };
    assert_eq!(exchanges(&mut router, whole) as u64, BATCH);
    assert_eq!(exchanges(&mut router, gapped) as u64, BATCH);
    group.bench_function("keep_alive", |bencher| {
        bencher.iter(|| exchanges(&mut router, whole))
    });
    group.bench_function("chunked_with_gap", |bencher| {
        bencher.iter(|| exchanges(&mut router, gapped));
    });
    group.finish();

    let mut group = criterion.benchmark_group("routes");
    group.throughput(Throughput::Elements(1));
    let templates = ["GET /api/v1/orders/{id}", "/static/*"];
    let mut configured = Router::new(&templates, RouteLimits::default()).unwrap_or_else(|error| {
        unreachable!("the templates are valid: {error}");
    });
    for (name, router) in [("learned", &mut router), ("template", &mut configured)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| router.route("GET", Some(black_box("/api/v1/orders/4711")), Some(200)));
        });
    }
    group.finish();
}

criterion_group!(benches, http);
criterion_main!(benches);
