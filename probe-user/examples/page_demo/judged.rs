//! Made-up verdicts: one service for each thing that is worth a look.

use std::{sync::Arc, time::Duration};

use probe_common::histogram::Histogram;
use probe_user::{
    traffic::Timing,
    verdict::{Pressure, Reading, Report, SchedulerTimes, ServiceTimes, UnderWay, Window},
};

use super::{spread, timing, total};

/// What is said after this many seconds.
pub(super) fn verdicts(seconds: f64) -> Arc<Report> {
    let mut window = Window::new();
    for look in 0..=5u32 {
        let at = seconds - 10.0 + 2.0 * f64::from(look);
        let mut reading = Reading::default();
        for (name, times) in services(at) {
            reading.add(name, &times, UnderWay::default());
        }
        window.push(Duration::from_secs_f64(at.max(0.0)), reading);
    }
    Arc::new(window.report(&Pressure {
        cpu: Some(0.34),
        ..Pressure::default()
    }))
}

fn services(at: f64) -> [(&'static str, ServiceTimes); 4] {
    let ns = |a_second: f64| total(a_second * 1e9, at);
    let wait = |a_second: f64, typical_ns: f64| {
        let mut waits: Histogram = spread(total(900.0, at), typical_ns);
        waits.sum_ns = ns(a_second);
        waits
    };
    let requests = |rate: f64, typical_ns: f64| -> Timing { timing(total(rate, at), typical_ns) };
    [
        (
            "postgresql",
            ServiceTimes {
                scheduler: Some(SchedulerTimes {
                    on_cpu_ns: ns(0.52),
                    run_queue: wait(0.61, 800_000.0),
                    disk_ns: ns(0.08),
                    idle_ns: ns(9.0),
                    ..SchedulerTimes::default()
                }),
                statements: requests(1_450.0, 380_000.0),
                statements_ns: ns(1.25),
                disk: wait(0.2, 900_000.0),
                ..ServiceTimes::default()
            },
        ),
        (
            "shop",
            ServiceTimes {
                scheduler: Some(SchedulerTimes {
                    on_cpu_ns: ns(0.41),
                    run_queue: wait(0.04, 60_000.0),
                    network_ns: ns(0.1),
                    lock_ns: ns(0.03),
                    idle_ns: ns(4.0),
                    ..SchedulerTimes::default()
                }),
                requests: requests(40.0, 62_000_000.0),
                database_ns: ns(3.3),
                ..ServiceTimes::default()
            },
        ),
        (
            "nginx",
            ServiceTimes {
                scheduler: Some(SchedulerTimes {
                    on_cpu_ns: ns(0.09),
                    run_queue: wait(0.01, 20_000.0),
                    idle_ns: ns(2.7),
                    ..SchedulerTimes::default()
                }),
                requests: requests(700.0, 400_000.0),
                ..ServiceTimes::default()
            },
        ),
        ("worker", ServiceTimes::default()),
    ]
}
