//! Serves the live page over made-up numbers that move, to work on the page without a kernel:
//! `cargo run -p probe-user --example page_demo -- 127.0.0.1:9739 [empty|lossy]`.

mod judged;
mod loops;
mod patterns;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use probe_common::{
    histogram::Histogram,
    loss::Loss,
    socket::{ConnectErrorKey, SocketStats, Traffic, Transport},
    syscall::{SyscallErrorKey, SyscallKey},
};
use probe_user::verdict::Report;
use probe_user::{
    api::{CollectError, Collected, Source, Status, serve},
    kernel::snapshot::{ProbeState, ProbeStatus, ProgramRuntime},
    metrics::{Build, ExitCount, ServiceView},
    queries::History,
    sql::SqlCache,
    targets::Exit,
    traffic::{
        ConnectionReport, ConnectionState, Counts, DatabaseReport, Encryption, Exemplar, Exemplars,
        Fingerprint, FingerprintReport, HttpClientKey, HttpSeries, HttpServerKey, Latencies,
        PostgresSeries, ServiceReport, StatementKey, StatementOutcome, Timing, Totals,
    },
};
use tokio_util::sync::CancellationToken;

/// Name, kind, port, processes, calls a second.
const SERVICES: [(&str, &str, u16, u64, f64); 4] = [
    ("postgresql", "postgres", 5432, 14, 21_400.0),
    ("shop", "http", 8000, 4, 6_800.0),
    ("nginx", "http", 443, 3, 3_150.0),
    ("worker", "process", 0, 2, 12.0),
];

/// Syscall, share of the calls, typical nanoseconds, share that fails, and how.
const CALLS: [(syscalls::Sysno, f64, f64, f64, u32); 12] = [
    (syscalls::Sysno::recvfrom, 0.26, 9_000.0, 0.31, 11),
    (syscalls::Sysno::sendto, 0.21, 14_000.0, 0.0, 0),
    (syscalls::Sysno::epoll_pwait, 0.17, 2_600_000.0, 0.001, 512),
    (syscalls::Sysno::pread64, 0.14, 6_500.0, 0.0, 0),
    (syscalls::Sysno::lseek, 0.09, 310.0, 0.0, 0),
    (syscalls::Sysno::futex, 0.05, 48_000.0, 0.06, 11),
    (syscalls::Sysno::pwrite64, 0.03, 21_000.0, 0.0, 0),
    (syscalls::Sysno::openat, 0.02, 7_200.0, 0.12, 2),
    (syscalls::Sysno::close, 0.015, 900.0, 0.0, 0),
    (syscalls::Sysno::fdatasync, 0.01, 4_100_000.0, 0.0, 0),
    (syscalls::Sysno::connect, 0.003, 38_000.0, 0.2, 115),
    (syscalls::Sysno::kill, 0.002, 700.0, 0.02, 3),
];

/// Method, route, status, requests a second, typical nanoseconds, share that is aborted.
const REQUESTS: [(&str, &str, u16, f64, f64, f64); 12] = [
    ("GET", "/api/products/{id}", 200, 310.0, 2_100_000.0, 0.0),
    ("GET", "/api/products/{id}", 404, 6.5, 700_000.0, 0.0),
    ("GET", "/api/products", 200, 84.0, 11_000_000.0, 0.004),
    ("POST", "/api/orders", 201, 22.0, 38_000_000.0, 0.0),
    ("POST", "/api/orders", 409, 0.8, 9_000_000.0, 0.0),
    ("POST", "/api/orders", 503, 0.6, 240_000_000.0, 0.0),
    (
        "GET",
        "/api/orders/{id}/items",
        200,
        47.0,
        31_000_000.0,
        0.0,
    ),
    ("GET", "/static/{file}", 200, 520.0, 90_000.0, 0.0),
    ("GET", "/static/{file}", 304, 260.0, 60_000.0, 0.0),
    ("GET", "/api/export", 200, 0.07, 1_900_000_000.0, 0.2),
    ("POST", "/login", 401, 1.7, 180_000_000.0, 0.0),
    ("GET", "/healthz", 200, 0.5, 130_000.0, 0.0),
];

/// Database, operation, SQLSTATE, statements a second, typical nanoseconds, rows each.
type Statements = (&'static str, &'static str, &'static [u8; 5], f64, f64, f64);

const STATEMENTS: [Statements; 8] = [
    ("shop", "SELECT", b"00000", 1_450.0, 380_000.0, 6.4),
    ("shop", "SELECT", b"57014", 0.3, 900_000_000.0, 0.0),
    ("shop", "INSERT", b"00000", 61.0, 1_300_000.0, 1.0),
    ("shop", "INSERT", b"23505", 1.1, 700_000.0, 0.0),
    ("shop", "UPDATE", b"00000", 44.0, 2_200_000.0, 1.3),
    ("shop", "UPDATE", b"40P01", 0.12, 900_000_000.0, 0.0),
    ("shop", "COMMIT", b"00000", 70.0, 3_100_000.0, 0.0),
    (
        "analytics",
        "SELECT",
        b"00000",
        0.4,
        1_700_000_000.0,
        88_000.0,
    ),
];

/// Statement, executions a second, typical nanoseconds, rows each, share that fails.
const TOP: [(&str, f64, f64, f64, f64); 9] = [
    (
        "SELECT p.id, p.name, p.price, p.stock, c.name AS category, avg(r.stars) FROM products p \
         JOIN categories c ON c.id = p.category_id LEFT JOIN reviews r ON r.product_id = p.id \
         WHERE c.slug = 'tools' GROUP BY p.id, c.name ORDER BY p.name LIMIT 50 OFFSET 100",
        84.0,
        4_100_000.0,
        50.0,
        0.0,
    ),
    (
        "SELECT * FROM products WHERE id = 7",
        1_180.0,
        140_000.0,
        1.0,
        0.0,
    ),
    (
        "UPDATE products SET stock = stock - 1 WHERE id = 7",
        44.0,
        2_200_000.0,
        1.0,
        0.003,
    ),
    ("COMMIT", 70.0, 1_100_000.0, 0.0, 0.0),
    (
        "INSERT INTO order_items (order_id, product_id, quantity) VALUES (1, 2, 3), (1, 4, 1)",
        61.0,
        1_300_000.0,
        2.4,
        0.018,
    ),
    (
        "SELECT id, state FROM orders WHERE id IN (1, 2, 3, 4)",
        39.0,
        260_000.0,
        3.7,
        0.0,
    ),
    (
        "SELECT count(*) FROM events WHERE at > now() - interval '1 day'",
        0.4,
        90_000_000.0,
        1.0,
        0.3,
    ),
    ("BEGIN", 71.0, 30_000.0, 0.0, 0.0),
    ("SELECT 1", 12.0, 28_000.0, 1.0, 0.0),
];

struct Demo {
    begin: Instant,
    started_at: SystemTime,
    empty: bool,
    lossy: bool,
}

/// A total that grows by `rate` a second, a little unevenly.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "made-up numbers"
)]
fn total(rate: f64, seconds: f64) -> u64 {
    let wave = 4.0 * (1.0 - (seconds / 11.0).cos()) + 1.5 * (1.0 - (seconds / 3.1).cos());
    (rate * (seconds + wave)).max(0.0) as u64
}

/// Around a typical value: a factor, and the share of the observations that it gets.
const SPREAD: [(f64, f64); 7] = [
    (0.5, 0.06),
    (1.0, 0.46),
    (2.0, 0.3),
    (4.0, 0.12),
    (8.0, 0.04),
    (30.0, 0.015),
    (200.0, 0.005),
];

/// That many observations around a typical value, with a tail.
fn spread(count: u64, typical_ns: f64) -> Histogram {
    let mut histogram = Histogram::EMPTY;
    for (factor, share) in SPREAD {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "made-up numbers"
        )]
        let (ns, some) = ((typical_ns * factor) as u64, (count as f64 * share) as u64);
        let mut one = Histogram::EMPTY;
        one.observe(ns);
        for bucket in &mut one.buckets {
            *bucket *= some;
        }
        one.sum_ns *= some;
        histogram.merge(&one);
    }
    histogram
}

impl Source for Demo {
    fn collect(&self) -> Result<Collected, CollectError> {
        let mut collected = Collected::default();
        if !self.empty {
            let seconds = 600.0 + self.begin.elapsed().as_secs_f64();
            for (id, service) in (1..).zip(SERVICES) {
                add_service(&mut collected, id, service, seconds);
            }
            collected.snapshot.programs = programs(seconds);
            add_traffic(&mut collected, seconds);
        }
        if self.lossy {
            for (loss, count) in Loss::ALL.iter().zip(&mut collected.snapshot.losses) {
                *count = match loss {
                    Loss::SocketTableFull => 48,
                    Loss::CallBeganUntraced => 3,
                    _ => 0,
                };
            }
            collected.traffic.counts.records_lost = 310;
            collected.traffic.counts.desynchronised = 2;
        }
        collected.snapshot.probes = self.status().probes;
        Ok(collected)
    }

    fn verdicts(&self) -> Arc<Report> {
        if self.empty {
            return Arc::default();
        }
        judged::verdicts(600.0 + self.begin.elapsed().as_secs_f64())
    }

    fn history(&self) -> Arc<History> {
        match self.empty {
            true => Arc::default(),
            false => patterns::history(),
        }
    }

    fn status(&self) -> Status {
        let probe = |name, what, state| ProbeStatus { name, what, state };
        Status {
            build: Build {
                version: "0.1.0".to_owned(),
                object_build_id: "5f0c1de2".to_owned(),
                rustc: String::new(),
            },
            kernel: "6.12.41-cloud-amd64".to_owned(),
            started_at: self.started_at,
            uptime: Duration::from_secs(600) + self.begin.elapsed(),
            summary: if self.empty {
                "no service found yet".to_owned()
            } else {
                "4 services, 23 processes; 3 of 4 probes active".to_owned()
            },
            targets_scanned: true,
            probes: vec![
                probe("process", "process starts and exits", ProbeState::Active),
                probe("syscalls", "syscall counts, errors and latency", ProbeState::Active),
                probe("sockets", "connections, bytes, round-trip times", ProbeState::Active),
                probe(
                    "resets",
                    "TCP resets",
                    ProbeState::Failed(
                        "this kernel has no tracepoint tcp_receive_reset; it needs Linux 4.16 or newer"
                            .to_owned(),
                    ),
                ),
            ],
        }
    }
}

fn add_service(
    collected: &mut Collected,
    id: u16,
    (name, kind, port, processes, rate): (&str, &str, u16, u64, f64),
    seconds: f64,
) {
    let snapshot = &mut collected.snapshot;
    collected.services.push(ServiceView {
        id,
        name: name.to_owned(),
        kind: kind.to_owned(),
        found_by: if port == 0 {
            "config".to_owned()
        } else {
            format!("unit {name}.service")
        },
        processes,
        starts: total(processes as f64 / 600.0, seconds),
        restarts: 0,
        exits: vec![ExitCount {
            outcome: if id == 4 {
                Exit::Signal(9)
            } else {
                Exit::Code(0)
            },
            count: total(0.01, seconds),
        }],
        ports: if port == 0 { vec![] } else { vec![port] },
    });
    for (sysno, share, typical_ns, failing, errno) in CALLS {
        let Ok(nr) = u16::try_from(sysno.id()) else {
            continue;
        };
        let calls = total(rate * share, seconds);
        let key = SyscallKey { service: id, nr };
        snapshot.syscalls.insert(key, spread(calls, typical_ns));
        let errors = total(rate * share * failing, seconds);
        if errors > 0 {
            let key = SyscallErrorKey {
                service: id,
                nr,
                errno,
            };
            snapshot.syscall_errors.insert(key, errors);
        }
    }
    if port != 0 {
        snapshot.sockets.insert(id, sockets(rate, seconds));
        let key = ConnectErrorKey {
            service: id,
            transport: Transport::Tcp as u8,
            witness: 0,
            errno: 111,
        };
        snapshot.connect_errors.insert(key, total(0.02, seconds));
    }
}

/// The web servers answer, the shop asks the database and another server, the database executes.
fn add_traffic(collected: &mut Collected, seconds: f64) {
    let services = &mut collected.traffic.services;
    services.insert(
        1,
        ServiceReport {
            postgres_server: statements(1.0, seconds),
            database_server: database(1.0, seconds),
            ..ServiceReport::default()
        }
        .into(),
    );
    let payments = HttpClientKey {
        method: "POST",
        server: "payments.example".into(),
        status: 200,
    };
    services.insert(
        2,
        ServiceReport {
            http_server: requests(1.0, seconds),
            http_client: [(payments, exchanges(22.0, 71_000_000.0, 0.001, seconds))].into(),
            http_active: total(7.0, seconds) % 9,
            active_users: 412 + total(0.3, seconds) % 23,
            postgres_client: statements(0.9, seconds),
            database_client: database(0.9, seconds),
            tls_connections: 3,
            tls_decoded: 2,
            db: loops::db_by_request(seconds),
            ..ServiceReport::default()
        }
        .into(),
    );
    services.insert(
        3,
        ServiceReport {
            http_server: requests(1.2, seconds),
            http_active: total(11.0, seconds) % 13,
            active_users: 431,
            tls_connections: 3,
            tls_decoded: 2,
            ..ServiceReport::default()
        }
        .into(),
    );
    // As if the records' clock had started with the daemon.
    collected.traffic.epoch_offset_ns = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .saturating_sub(Duration::from_secs_f64(seconds))
        .as_nanos()
        .try_into()
        .unwrap_or(0);
    collected.traffic.at_ns = total(1e9, seconds);
    collected.traffic.findings = loops::findings(collected.traffic.at_ns);
    collected.traffic.counts = Counts {
        records: total(9_000.0, seconds),
        streams: 46,
        uncertain: 5,
        ..Counts::default()
    };
}

fn requests(share: f64, seconds: f64) -> BTreeMap<HttpServerKey, HttpSeries> {
    let series = REQUESTS.map(|(method, route, status, rate, typical_ns, aborted)| {
        let key = HttpServerKey {
            method,
            route: route.into(),
            status,
        };
        (key, exchanges(rate * share, typical_ns, aborted, seconds))
    });
    series.into()
}

fn exchanges(rate: f64, typical_ns: f64, aborted: f64, seconds: f64) -> HttpSeries {
    HttpSeries {
        duration: timing(total(rate, seconds), typical_ns),
        aborted: total(rate * aborted, seconds),
        exemplars: traced(typical_ns, seconds),
        ..HttpSeries::default()
    }
}

fn statements(share: f64, seconds: f64) -> BTreeMap<StatementKey, PostgresSeries> {
    let series = STATEMENTS.map(|(database, operation, state, rate, typical_ns, rows)| {
        let key = StatementKey {
            database: database.into(),
            operation,
            outcome: if state == b"00000" {
                StatementOutcome::Ok
            } else {
                StatementOutcome::Error(*state)
            },
        };
        let calls = total(rate * share, seconds);
        let series = PostgresSeries {
            calls,
            duration: timing(calls, typical_ns),
            rows: total(rate * share * rows, seconds),
            ..PostgresSeries::default()
        };
        (key, series)
    });
    series.into()
}

/// One request of a made-up trace.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "made-up numbers"
)]
fn traced(typical_ns: f64, seconds: f64) -> Exemplars {
    let mut exemplars = Exemplars::default();
    exemplars.observe(Exemplar {
        trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
        ns: typical_ns as u64,
        at_ns: (seconds * 1e9) as u64,
    });
    exemplars
}

/// The statements one by one, and their connections.
fn database(share: f64, seconds: f64) -> DatabaseReport {
    let mut cache = SqlCache::default();
    let series = TOP
        .iter()
        .filter_map(|(text, rate, typical_ns, rows, failing)| {
            let parsed = cache.parse(text.as_bytes(), false, false);
            let calls = total(rate * share, seconds);
            let duration = timing(calls, *typical_ns);
            let totals = Totals {
                calls,
                errors: total(rate * share * failing, seconds),
                rows: total(rate * share * rows, seconds),
                busy_ns: duration.sum_ns,
            };
            let sql = Arc::clone(&parsed.parts.first()?.info);
            let mut series = Fingerprint::with(sql, "shop".into(), totals, duration);
            series.latencies = latencies(calls, *typical_ns);
            Some(series)
        });
    let rest = |rate: f64, typical_ns: u64| Totals {
        calls: total(rate * share, seconds),
        errors: 0,
        rows: total(rate * share, seconds),
        busy_ns: total(rate * share, seconds) * typical_ns,
    };
    let active = total(3.0, seconds) % 5;
    DatabaseReport {
        fingerprints: FingerprintReport {
            top: series.collect(),
            other: rest(21.0, 900_000),
            unknown: rest(3.0, 400_000),
        },
        transactions: [
            (("shop".into(), true), total(70.0 * share, seconds)),
            (("shop".into(), false), total(0.9 * share, seconds)),
        ]
        .into(),
        connections: ConnectionReport {
            states: [
                (ConnectionState::Active, 1 + active),
                (ConnectionState::Idle, 13 - active),
                (ConnectionState::IdleInTransaction, 2),
                (ConnectionState::IdleInTransactionAborted, 1),
            ]
            .into(),
            connect: timing(total(0.2, seconds), 6_000_000.0),
            connected: [(Encryption::None, total(0.2, seconds))].into(),
            refused: [("too_many_connections".into(), 4)].into(),
            cancels: 2,
            ..ConnectionReport::default()
        },
        ..DatabaseReport::default()
    }
}

/// As [`spread`], in the buckets of requests and statements.
fn timing(count: u64, typical_ns: f64) -> Timing {
    let mut timing = Timing::default();
    for (factor, share) in SPREAD {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "made-up numbers"
        )]
        let (ns, some) = (
            (typical_ns * factor.min(8.0)) as u64,
            (count as f64 * share) as u64,
        );
        let mut one = Timing::default();
        one.observe(ns);
        timing.sum_ns += ns * some;
        for (sum, bucket) in timing.counts.iter_mut().zip(one.counts) {
            *sum += bucket * some;
        }
    }
    timing
}

fn latencies(count: u64, typical_ns: f64) -> Latencies {
    let mut latencies = Latencies::default();
    for (factor, share) in SPREAD {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "made-up numbers"
        )]
        let (ns, some) = (
            (typical_ns * factor.min(8.0)) as u64,
            (count as f64 * share) as u64,
        );
        latencies.observe_many(ns, some);
    }
    latencies
}

fn sockets(rate: f64, seconds: f64) -> SocketStats {
    let accepts = total(rate / 400.0, seconds);
    SocketStats {
        tcp_connect: spread(total(rate / 900.0, seconds), 190_000.0),
        tcp_lifetime: spread(accepts, 900_000_000.0),
        tcp_rtt: spread(total(rate / 300.0, seconds), 82_000.0),
        unix_connect: Histogram::EMPTY,
        tcp: Traffic {
            sent_bytes: total(rate * 410.0, seconds),
            received_bytes: total(rate * 96.0, seconds),
        },
        unix: Traffic::default(),
        tcp_accepts: accepts,
        tcp_accepts_ended: 0,
        unix_accepts: 0,
        tcp_adopted_by_use: 2,
        tcp_adopted_by_scan: 22,
        tcp_closed: accepts,
        tcp_destroyed: 0,
        tcp_retransmits: total(0.4, seconds),
        tcp_resets_received: total(0.05, seconds),
        tcp_resets_sent: 0,
        io_uring_requests: 0,
    }
}

fn programs(seconds: f64) -> Vec<ProgramRuntime> {
    let program = |name, ns: u64, verified_instructions| {
        let runs = total(33_000.0, seconds);
        ProgramRuntime {
            name,
            runs,
            run_ns: runs * ns,
            measured_ns: total(1e9, seconds),
            recursion_misses: 0,
            verified_instructions,
        }
    };
    vec![
        program("sys_enter", 41, 312),
        program("sys_exit", 96, 4_810),
        program("inet_sock_set_state", 130, 902),
    ]
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:9739".to_owned());
    let mode = arguments.next().unwrap_or_default();
    let demo = Demo {
        begin: Instant::now(),
        started_at: SystemTime::now(),
        empty: mode == "empty",
        lossy: mode == "lossy",
    };
    let listener = tokio::net::TcpListener::bind(&address).await?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
    });
    serve(listener, Arc::new(demo), shutdown).await;
    Ok(())
}
