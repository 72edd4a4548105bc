//! Made-up numbers for the tests of `metrics` and `api`.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use probe_common::{
    block::{BlockKey, BlockOperation, BlockStats, KERNEL_SERVICE},
    histogram::Histogram,
    loss::Loss,
    scheduler::{OffCpu, OffCpuReason, SchedulerStats},
    socket::{ConnectErrorKey, ERRNO_ABANDONED, SocketStats, Traffic, Transport},
    syscall::{SyscallErrorKey, SyscallKey},
};

mod host;

use super::{Build, ExitCount, Families, Inputs, OwnProcess, ServiceView, collect};
use crate::{
    database::AskedDatabase,
    database::advice::report::{self, DatabaseAdvice},
    host::HostReport,
    kernel::{
        scheduler::Ongoing,
        snapshot::{ProbeState, ProbeStatus, ProgramRuntime, Snapshot},
    },
    sql::{Operation, SqlInfo},
    store::{Dropped, Kind, KindReport, State, StoreReport},
    targets::Exit,
    traffic::{
        CallProblem, Confidence, ConnectionReport, ConnectionState, Counts, DatabaseReport,
        DbReport, DbTally, Encryption, Exemplar, Exemplars, Finding, Fingerprint,
        FingerprintReport, HttpClientKey, HttpSeries, HttpServerKey, Pattern, PoolReport,
        PostgresSeries, Report, RouteCount, RouteKey, ServiceReport, StatementKey,
        StatementOutcome, StatisticsDelta, Timing, Totals, Unattributed,
    },
    vitals::Numbers,
};

mod budgets;
mod database;
mod gemini;
mod verdict;
mod vitals;

/// What is behind one scrape.
pub(crate) struct Fixture {
    pub(crate) snapshot: Snapshot,
    pub(crate) traffic: Report,
    pub(crate) host: Arc<HostReport>,
    pub(crate) services: Vec<ServiceView>,
    pub(crate) advice: Vec<DatabaseAdvice>,
    pub(crate) budgets: crate::vitals::budgets::Report,
    pub(crate) databases: Vec<AskedDatabase>,
    pub(crate) store: StoreReport,
    pub(crate) vitals: Numbers,
    pub(crate) gemini: crate::gemini::Numbers,
    pub(crate) verdicts: crate::verdict::Report,
    pub(crate) build: Build,
    pub(crate) own_process: OwnProcess,
}

impl Fixture {
    /// `services` services that used `syscalls` syscalls each, with every kind of number.
    pub(crate) fn of_size(services: u16, syscalls: u16) -> Self {
        let mut fixture = Self {
            snapshot: snapshot(),
            traffic: Report {
                services: (1..=services)
                    .map(|id| (id, requests_and_statements().into()))
                    .collect(),
                epoch_offset_ns: 1_790_000_000_000_000_000,
                counts: Counts {
                    records: 12,
                    uncertain: 1,
                    streams: 3,
                    ..Counts::default()
                },
                findings: (services > 0).then(finding).into_iter().collect(),
                not_compared: 2,
                slow_dropped: 6,
                call_problems: [1; CallProblem::ALL.len()],
                at_ns: 5_000_000_000,
            },
            host: Arc::new(host::host(services)),
            services: (1..=services).map(service).collect(),
            advice: (services > 0).then(advice).into_iter().collect(),
            budgets: budgets::report(services),
            databases: (services > 0)
                .then(database::database)
                .into_iter()
                .collect(),
            store: store(),
            vitals: vitals::vitals(services),
            gemini: gemini::gemini(services),
            verdicts: verdict::report(services),
            build: Build {
                version: "0.1.0".to_owned(),
                object_build_id: "c0ffee".to_owned(),
                rustc: String::new(),
            },
            own_process: OwnProcess {
                cpu_seconds: 1.25,
                resident_memory_bytes: 20 << 20,
                virtual_memory_bytes: 300 << 20,
                open_fds: 40,
                max_fds: Some(1024),
                start_time_seconds: 1.79e9,
            },
        };
        for id in 1..=services {
            fixture.add_service_numbers(id, syscalls);
        }
        fixture
    }

    fn add_service_numbers(&mut self, id: u16, syscalls: u16) {
        let durations = histogram(&[200, 900, 1_000_000]);
        for nr in 0..syscalls {
            self.snapshot
                .syscalls
                .insert(SyscallKey { service: id, nr }, durations);
        }
        let error = SyscallErrorKey {
            service: id,
            nr: 0,
            errno: 11,
        };
        self.snapshot.syscall_errors.insert(error, 2);
        self.snapshot.sockets.insert(id, sockets());
        add_resources(&mut self.snapshot, id);
        for (transport, errno) in [
            (Transport::Tcp, 111),
            (Transport::Tcp, ERRNO_ABANDONED),
            (Transport::Unix, 2),
        ] {
            let key = ConnectErrorKey {
                service: id,
                transport: transport as u8,
                witness: 0,
                errno,
            };
            self.snapshot.connect_errors.insert(key, 4);
        }
    }

    pub(crate) fn families(&self) -> Families {
        collect(&Inputs {
            snapshot: &self.snapshot,
            traffic: &self.traffic,
            host: Some(&self.host),
            services: &self.services,
            advice: &self.advice,
            budgets: &self.budgets,
            databases: &self.databases,
            store: &self.store,
            vitals: Some(&self.vitals),
            gemini: Some(&self.gemini),
            verdicts: &self.verdicts,
            build: &self.build,
            started_at: UNIX_EPOCH + Duration::from_secs(1_790_000_000),
            own_process: Some(&self.own_process),
            read_time: Duration::from_micros(1500),
        })
    }
}

/// What threads and block devices did for a service, and once for the kernel.
fn add_resources(snapshot: &mut Snapshot, id: u16) {
    let mut scheduler = SchedulerStats {
        run_queue: histogram(&[5_000, 40_000_000]),
        on_cpu: histogram(&[1_000_000, 2_000_000, 3_000_000]),
        minor_faults: 70,
        major_faults: 1,
        ..SchedulerStats::default()
    };
    scheduler.off_cpu[OffCpuReason::Database as usize] = OffCpu {
        count: 5,
        ns: 250_000_000,
    };
    snapshot.scheduler.insert(id, scheduler);
    let mut ongoing = Ongoing::default();
    ongoing.on_cpu.count = 1;
    ongoing.off_cpu[OffCpuReason::Poll as usize].count = 2;
    snapshot.ongoing.insert(id, ongoing);
    snapshot.oom_kills.insert(id, 1);
    let vda = 254 << 20;
    snapshot.block_devices.insert(vda, "vda".to_owned());
    for (service, device) in [(id, vda), (KERNEL_SERVICE, 8 << 20 | 1)] {
        let key = BlockKey {
            device,
            service,
            operation: BlockOperation::Write as u8,
            reserved: 0,
        };
        let stats = BlockStats {
            latency: histogram(&[200_000, 3_000_000]),
            queue_ns: 10_000,
            bytes: 8192,
            errors: 1,
        };
        snapshot.block.insert(key, stats);
    }
}

/// One that is up, and was not once.
fn store() -> StoreReport {
    let kind = |kind| KindReport {
        kind,
        written: 70,
        dropped: Dropped::ALL.map(|why| (why, 2)).to_vec(),
    };
    StoreReport {
        location: "sqlite:///var/lib/hostprobe/hostprobe.db".to_owned(),
        state: State::Up,
        kinds: Kind::ALL.map(kind).to_vec(),
        queue_records: 3,
        queue_limit: 10_000,
        size_bytes: Some(98_304),
        transactions: 12,
        failures: 1,
        write_time: Duration::from_millis(30),
    }
}

/// One series of each kind.
fn requests_and_statements() -> ServiceReport {
    let timing = |observations: &[u64]| {
        let mut timing = Timing::default();
        observations.iter().for_each(|ns| timing.observe(*ns));
        timing
    };
    let http = HttpSeries {
        duration: timing(&[2_000_000, 70_000_000]),
        first_byte: timing(&[1_000_000, 60_000_000]),
        request_bytes: 10,
        response_bytes: 2_000,
        aborted: 1,
        exemplars: exemplars(70_000_000),
    };
    let postgres = PostgresSeries {
        calls: 2,
        duration: timing(&[80_000, 300_000]),
        first_byte: timing(&[70_000, 200_000]),
        rows: 5,
        exemplars: exemplars(300_000),
    };
    let statement = |outcome| StatementKey {
        database: "shop".into(),
        operation: "SELECT",
        outcome,
    };
    let statements = [StatementOutcome::Ok, StatementOutcome::Error(*b"23505")]
        .map(|outcome| (statement(outcome), postgres.clone()));
    ServiceReport {
        http_server: [(
            HttpServerKey {
                method: "GET",
                route: "/items/{id}".into(),
                status: 200,
            },
            http.clone(),
        )]
        .into(),
        http_client: [(
            HttpClientKey {
                method: "POST",
                server: "api.example".into(),
                status: 503,
            },
            http,
        )]
        .into(),
        http_active: 1,
        tls_connections: 3,
        tls_decoded: 2,
        tls_not_decoded: 1,
        model_calls: [("ok", 2), ("incomplete", 1)].into(),
        active_users: 17,
        postgres_server: statements.clone().into(),
        postgres_client: statements.into(),
        database_server: database(timing(&[80_000, 300_000])),
        database_client: database(timing(&[80_000, 300_000])),
        db: DbReport {
            routes: [(
                RouteKey {
                    method: "GET",
                    route: "/items/{id}".into(),
                },
                DbTally {
                    statements: 52,
                    ns: 40_000_000,
                },
            )]
            .into(),
            unattributed: [(
                Unattributed::SeveralRequests,
                DbTally {
                    statements: 3,
                    ns: 2_000_000,
                },
            )]
            .into(),
            statement_routes: [(
                0xfeed,
                vec![RouteCount {
                    key: RouteKey {
                        method: "GET",
                        route: "/items/{id}".into(),
                    },
                    calls: 2,
                }],
            )]
            .into(),
            n_plus_one: [(Some(0xc0ffee), 4), (None, 1)].into(),
            repeated: [(Some(0xbeef), 2)].into(),
            pools: Some(PoolReport {
                saturated_ns: 1_500_000_000,
                busy_ns: 4_000_000_000,
                busy_peak: 5,
                wait: timing(&[20_000_000]),
            }),
        },
    }
}

fn exemplars(ns: u64) -> Exemplars {
    let mut exemplars = Exemplars::default();
    exemplars.observe(Exemplar {
        trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
        ns,
        at_ns: 250_000_000,
    });
    exemplars
}

/// The same statements by fingerprint, and what happened to the connections.
fn database(timing: Timing) -> DatabaseReport {
    let totals = |calls, errors, rows, busy_ns| Totals {
        calls,
        errors,
        rows,
        busy_ns,
    };
    let sql = SqlInfo {
        text: "select * from items where id = $1".into(),
        fingerprint: 0xfeed,
        operation: Operation::Select,
        complete: true,
    };
    let mut fingerprint = Fingerprint::with(
        sql.into(),
        "shop".into(),
        totals(2, 1, 7, 380_000),
        timing.clone(),
    );
    for ns in [80_000, 300_000] {
        fingerprint.latencies.observe(ns);
    }
    DatabaseReport {
        fingerprints: FingerprintReport {
            top: vec![fingerprint],
            other: totals(1, 1, 3, 300_000),
            unknown: totals(1, 0, 0, 80_000),
        },
        transactions: [(("shop".into(), true), 6), (("shop".into(), false), 1)].into(),
        statistics: [("BEGIN", StatisticsDelta { calls: -3, rows: 0 })].into(),
        connections: ConnectionReport {
            states: [
                (ConnectionState::Active, 1),
                (ConnectionState::IdleInTransaction, 2),
            ]
            .into(),
            connect: timing,
            connected: [(Encryption::Tls, 2)].into(),
            refused: [("too_many_connections".into(), 3)].into(),
            server_errors: [("admin_shutdown".into(), 1)].into(),
            cancels: 4,
        },
        slow: [("shop".into(), 2)].into(),
    }
}

/// A loop that the first service was caught at, three seconds before the report.
fn finding() -> Finding {
    Finding {
        service: 1,
        pattern: Pattern::NPlusOne,
        route: Some(RouteKey {
            method: "GET",
            route: "/items/{id}".into(),
        }),
        sql: Arc::new(SqlInfo {
            text: "select name from items where id = ?".into(),
            fingerprint: 0xc0ffee,
            operation: Operation::Select,
            complete: true,
        }),
        count: 52,
        elapsed_ns: 40_000_000,
        wasted_ns: 30_000_000,
        total_wasted_ns: 120_000_000,
        total_count: 208,
        confidence: Confidence::High,
        times: 4,
        at_ns: 2_000_000_000,
    }
}

pub(crate) fn histogram(observations: &[u64]) -> Histogram {
    let mut histogram = Histogram::EMPTY;
    for ns in observations {
        histogram.observe(*ns);
    }
    histogram
}

pub(crate) fn service(id: u16) -> ServiceView {
    ServiceView {
        id,
        name: format!("service{id:02}"),
        kind: "http".to_owned(),
        found_by: "port 8000".to_owned(),
        processes: 3,
        starts: 5,
        restarts: 2,
        exits: vec![
            ExitCount {
                outcome: Exit::Code(1),
                count: 1,
            },
            ExitCount {
                outcome: Exit::Signal(9),
                count: 1,
            },
        ],
        ports: vec![8000],
    }
}

fn advice() -> DatabaseAdvice {
    DatabaseAdvice {
        name: "shop".to_owned(),
        state: report::State::Done,
        finished_at: Some(UNIX_EPOCH + Duration::from_secs(1_790_000_100)),
        round_seconds: 0.25,
        rounds: 3,
        failures: 1,
        ..DatabaseAdvice::default()
    }
}

fn sockets() -> SocketStats {
    SocketStats {
        tcp_connect: histogram(&[300_000, 5_000_000]),
        tcp_lifetime: histogram(&[2_000_000_000, 200_000_000_000]),
        tcp_rtt: histogram(&[80_000]),
        unix_connect: histogram(&[12_000]),
        tcp: Traffic {
            sent_bytes: 10_000,
            received_bytes: 20_000,
        },
        unix: Traffic {
            sent_bytes: 1,
            received_bytes: 2,
        },
        tcp_accepts: 7,
        tcp_accepts_ended: 0,
        unix_accepts: 1,
        tcp_adopted_by_use: 1,
        tcp_adopted_by_scan: 0,
        tcp_closed: 2,
        tcp_destroyed: 0,
        tcp_retransmits: 3,
        tcp_resets_received: 1,
        tcp_resets_sent: 2,
        io_uring_requests: 4,
    }
}

fn snapshot() -> Snapshot {
    let mut losses = [0; Loss::COUNT];
    losses[Loss::SocketGone as usize] = 6;
    Snapshot {
        losses,
        programs: vec![ProgramRuntime {
            name: "sys_enter",
            runs: 1_000,
            run_ns: 90_000,
            measured_ns: 1_000_000_000,
            recursion_misses: 2,
            verified_instructions: 311,
        }],
        probes: vec![
            ProbeStatus {
                name: "syscalls",
                what: "syscall counts and latency",
                state: ProbeState::Active,
            },
            ProbeStatus {
                name: "sockets",
                what: "connections and bytes",
                state: ProbeState::Failed("the kernel has no tcp_probe tracepoint".to_owned()),
            },
        ],
        ..Snapshot::default()
    }
}
