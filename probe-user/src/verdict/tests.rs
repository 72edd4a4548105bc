//! The verdict over numbers as real services make them, and over any numbers at all.

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

/// `count` observations of `ns` each.
fn timing(count: u64, ns: u64) -> Timing {
    let mut timing = Timing::default();
    for _ in 0..count {
        timing.observe(ns);
    }
    timing
}

fn run_queue(count: u64, ns: u64) -> Histogram {
    let mut histogram = Histogram::EMPTY;
    for _ in 0..count {
        histogram.observe(ns);
    }
    histogram
}

/// Ten seconds.
fn verdict(times: ServiceTimes, always: UnderWay) -> ServiceVerdict {
    judge(
        &Arc::from("app"),
        &Interval {
            length: Duration::from_secs(10),
            times,
            always,
        },
    )
}

/// A worker that answers ten requests of a second, and sleeps in `poll` while Postgres works.
fn waits_for_postgres() -> ServiceTimes {
    ServiceTimes {
        scheduler: Some(SchedulerTimes {
            on_cpu_ns: 2 * S,
            run_queue: run_queue(100, 2 * MS),
            idle_ns: 7_800 * MS,
            ..SchedulerTimes::default()
        }),
        requests: timing(10, S),
        database_for_requests_ns: 7_242 * MS,
        ..ServiceTimes::default()
    }
}

#[test]
fn a_worker_that_waits_for_its_statements_waits_for_postgres() {
    let verdict = verdict(waits_for_postgres(), UnderWay::default());
    assert_eq!(verdict.cause, Some(State::Database));
    assert!(
        verdict
            .sentence
            .starts_with("app waits 71 % on Postgres; on CPU 20 %, "),
        "{}",
        verdict.sentence
    );
    assert_eq!(verdict.work.per_mille(State::Database), 710);
    assert_eq!(verdict.work.per_mille(State::RunQueue), 20);
    assert_eq!(verdict.work.per_mille(State::Unknown), 70);
}

#[test]
fn quick_answers_are_fine_whoever_gives_them() {
    let verdict = verdict(
        ServiceTimes {
            requests: timing(1_000, MS),
            database_for_requests_ns: 800 * MS,
            ..waits_for_postgres()
        },
        UnderWay::default(),
    );
    assert_eq!((verdict.cause, verdict.slow), (None, false));
    assert!(
        verdict
            .sentence
            .starts_with("app is fine; p95 of its requests 975 µs"),
        "{}",
        verdict.sentence
    );
}

#[test]
fn an_app_that_gets_no_cpu_is_short_of_it_though_its_statements_seem_to_last() {
    // The answers are there at once, but read late: the wire sees long statements.
    let verdict = verdict(
        ServiceTimes {
            scheduler: Some(SchedulerTimes {
                on_cpu_ns: 2 * S,
                run_queue: run_queue(2_000, 3_900_000),
                // A second process that never has anything to do.
                idle_ns: 10_200 * MS,
                ..SchedulerTimes::default()
            }),
            requests: timing(20, 500 * MS),
            database_for_requests_ns: 7 * S,
            ..ServiceTimes::default()
        },
        UnderWay::default(),
    );
    assert_eq!(verdict.cause, Some(State::RunQueue));
    assert!(
        verdict
            .sentence
            .starts_with("app is short of CPU: 57 % of its time in the run queue"),
        "{}",
        verdict.sentence
    );
    assert!(verdict.run_queue_p99.unwrap() > 0.002);
}

#[test]
fn requests_that_queue_for_an_event_loop_wait_for_what_the_loop_waits_for() {
    // Ten requests at a time on one thread, which gets a fifth of a CPU.
    let verdict = verdict(
        ServiceTimes {
            scheduler: Some(SchedulerTimes {
                on_cpu_ns: 2 * S,
                run_queue: run_queue(2_000, 4 * MS),
                idle_ns: 10 * MS,
                ..SchedulerTimes::default()
            }),
            requests: timing(100, S),
            ..ServiceTimes::default()
        },
        UnderWay::default(),
    );
    assert_eq!(verdict.cause, Some(State::RunQueue));
    assert!(verdict.in_progress > 9.9, "{}", verdict.in_progress);
    assert_eq!(verdict.shares.per_mille(State::Idle), 0);
}

#[test]
fn an_event_loop_waits_for_postgres_on_behalf_of_all_its_requests() {
    let verdict = verdict(
        ServiceTimes {
            scheduler: Some(SchedulerTimes {
                on_cpu_ns: S,
                run_queue: run_queue(10, MS),
                idle_ns: 8_900 * MS,
                ..SchedulerTimes::default()
            }),
            requests: timing(60, S),
            database_ns: 48 * S,
            ..ServiceTimes::default()
        },
        UnderWay::default(),
    );
    assert_eq!(verdict.cause, Some(State::Database), "{}", verdict.sentence);
    // Less than 80 %: while the loop computes, nobody knows whether an answer is there already.
    assert_eq!(verdict.work.per_mille(State::Database), 712);
}

#[test]
fn an_app_that_writes_to_a_busy_disk_waits_for_it() {
    let verdict = verdict(
        ServiceTimes {
            scheduler: Some(SchedulerTimes {
                on_cpu_ns: 300 * MS,
                disk_ns: 9 * S,
                idle_ns: 100 * MS,
                ..SchedulerTimes::default()
            }),
            requests: timing(20, 470 * MS),
            ..ServiceTimes::default()
        },
        UnderWay::default(),
    );
    assert_eq!(verdict.cause, Some(State::Disk));
    assert!(
        verdict.sentence.starts_with("app waits 97 % on disk"),
        "{}",
        verdict.sentence
    );
}

#[test]
fn a_statement_that_outlasts_the_interval_is_seen_all_the_same() {
    let all = UnderWay {
        requests: 1,
        database: 1,
        ..UnderWay::default()
    };
    let scheduler = Some(SchedulerTimes::default());
    let times = ServiceTimes {
        scheduler,
        ..ServiceTimes::default()
    };
    let verdict = verdict(times, all);
    assert_eq!(verdict.cause, Some(State::Database));
    assert_eq!(verdict.latency, Some((Latency::Requests, 10.0)));
}

#[test]
fn what_a_server_does_while_nobody_asks_is_no_reason_for_alarm() {
    let times = ServiceTimes {
        scheduler: Some(SchedulerTimes {
            on_cpu_ns: MS,
            run_queue: run_queue(10, MS / 2),
            idle_ns: 50 * S,
            lock_ns: 90 * S,
            ..SchedulerTimes::default()
        }),
        ..ServiceTimes::default()
    };
    let verdict = verdict(times, UnderWay::default());
    assert_eq!(verdict.sentence, "app has nothing to do");
    assert_eq!((verdict.cause, verdict.slow), (None, false));
    assert_eq!(verdict.shares.per_mille(State::Idle), 999);
}

#[test]
fn idle_threads_of_a_pool_do_not_look_like_a_lock() {
    let verdict = verdict(
        ServiceTimes {
            scheduler: Some(SchedulerTimes {
                on_cpu_ns: 9 * S,
                idle_ns: 900 * MS,
                lock_ns: 300 * S,
                ..SchedulerTimes::default()
            }),
            requests: timing(10, 900 * MS),
            ..ServiceTimes::default()
        },
        UnderWay::default(),
    );
    assert_eq!(verdict.cause, Some(State::OnCpu));
    assert_eq!(verdict.work.per_mille(State::Lock), 0);
}

#[test]
fn what_nothing_shows_is_said_to_be_unknown() {
    let times = ServiceTimes {
        scheduler: Some(SchedulerTimes {
            on_cpu_ns: 10 * MS,
            idle_ns: 9 * S,
            ..SchedulerTimes::default()
        }),
        statements: timing(10, 900 * MS),
        statements_ns: 9 * S,
        ..ServiceTimes::default()
    };
    let verdict = verdict(times, UnderWay::default());
    assert_eq!(verdict.cause, Some(State::Unknown));
    assert!(
        verdict.sentence.contains("nothing shows why for 100 %"),
        "{}",
        verdict.sentence
    );
}

#[test]
fn pressure_of_the_host_is_said_when_there_is_some() {
    let pressure = Pressure {
        cpu: Some(0.64),
        memory: None,
        io: Some(0.01),
    };
    assert_eq!(
        host_hints(&pressure),
        ["on this host, tasks had to wait for a CPU in 64 % of the last 10 s"]
    );
}

#[test]
fn a_window_forgets_what_is_older_and_knows_what_lasts() {
    let mut window = Window::new();
    assert_eq!(window.report(&Pressure::default()), Report::default());
    for second in 0..20u64 {
        let mut reading = Reading::default();
        let times = ServiceTimes {
            requests: timing(second, 300 * MS),
            ..ServiceTimes::default()
        };
        let under_way = UnderWay {
            requests: u64::from(second > 3),
            ..UnderWay::default()
        };
        reading.add("app", &times, under_way);
        reading.add("app", &ServiceTimes::default(), UnderWay::default());
        window.push(Duration::from_secs(second * 2), reading);
    }
    let report = window.report(&Pressure::default());
    assert_eq!(report.window, Duration::from_secs(10));
    let [app] = report.services.as_slice() else {
        panic!("{report:?}")
    };
    assert!(app.slow, "{}", app.sentence);
    assert!((app.in_progress - 1.0).abs() < 1e-9, "{}", app.in_progress);
}

prop_compose! {
    fn any_times()(ns in prop::array::uniform12(prop_oneof![Just(0), 0..20 * S, any::<u64>()]),
                   watched: bool, counts in prop::array::uniform3(0u64..50)) -> ServiceTimes {
        let mut run_queue = run_queue(counts[2], ns[0] / 50);
        run_queue.sum_ns = ns[0];
        ServiceTimes {
            scheduler: watched.then_some(SchedulerTimes {
                on_cpu_ns: ns[1], run_queue, database_ns: ns[2], network_ns: ns[3],
                lock_ns: ns[4], disk_ns: ns[5], idle_ns: ns[6], other_ns: ns[7],
            }),
            requests: timing(counts[0], ns[9] / 50),
            statements: timing(counts[1], ns[10] / 50),
            statements_ns: ns[10],
            database_for_requests_ns: ns[9] / 2,
            database_ns: ns[11],
            requests_made: timing(counts[2], ns[3] / 50),
            disk: Histogram::EMPTY,
        }
    }
}

proptest! {
    /// A bar that is longer or shorter than 100 % is a wrong one, and NaN breaks JSON.
    #[test]
    fn shares_add_up_to_exactly_100_percent(
        old in any_times(), new in any_times(), length in 0u64..20 * S,
        always in prop::array::uniform3(0u64..1_000),
    ) {
        let times = new.since(&old);
        let [requests, statements, database] = always;
        let interval = Interval {
            length: Duration::from_nanos(length),
            times,
            always: UnderWay { requests, statements, database },
        };
        let verdict = judge(&Arc::from("app"), &interval);
        let sum = |shares: &Shares| State::ALL.iter().map(|state| shares.per_mille(*state)).sum::<u64>();
        if length > 0 {
            prop_assert_eq!(sum(&verdict.shares), 1_000);
        }
        prop_assert!(verdict.work.is_empty() || sum(&verdict.work) == 1_000);
        prop_assert_eq!(verdict.work.per_mille(State::Idle), 0);
        prop_assert!(verdict.in_progress.is_finite());
        prop_assert!(verdict.cpu.is_none_or(f64::is_finite));
        prop_assert!(verdict.latency.is_none_or(|(_, p95)| p95.is_finite() && p95 >= 0.0));
        prop_assert!(verdict.cause.is_none() || verdict.slow);
        prop_assert!(verdict.sentence.starts_with("app "));
    }

    /// More time on Postgres must never make the database's share smaller.
    #[test]
    fn more_time_in_the_database_never_lowers_its_share(times in any_times(), more in 0..5 * S) {
        let share = |times: &ServiceTimes| {
            let interval = Interval {
                length: Duration::from_secs(10),
                times: ServiceTimes { scheduler: None, ..times.clone() },
                always: UnderWay::default(),
            };
            Work::new(&interval).shares_of_work().per_mille(State::Database)
        };
        let longer = ServiceTimes {
            database_ns: times.database_ns.saturating_add(more),
            ..times.clone()
        };
        // A tenth of a percent is what rounding may take.
        prop_assert!(share(&longer) + 1 >= share(&times));
    }
}
