//! `/api/verdict`, over a service that waits for Postgres.

use super::*;
use crate::{
    traffic::Timing,
    verdict::{Pressure, Reading, Report, SchedulerTimes, ServiceTimes, UnderWay, Window},
};

/// What is said of one slow service and one that has nothing to do, on a host that lacks CPU.
pub(super) fn fixture() -> Report {
    let mut window = Window::new();
    for second in 0..=10u64 {
        let mut requests = Timing::default();
        for _ in 0..second {
            requests.observe(900_000_000);
        }
        let slow = ServiceTimes {
            scheduler: Some(SchedulerTimes {
                on_cpu_ns: second * 100_000_000,
                idle_ns: second * 880_000_000,
                ..SchedulerTimes::default()
            }),
            requests,
            database_ns: second * 700_000_000,
            ..ServiceTimes::default()
        };
        let mut reading = Reading::default();
        reading.add("service01", &slow, UnderWay::default());
        reading.add("service02", &ServiceTimes::default(), UnderWay::default());
        window.push(Duration::from_secs(second), reading);
    }
    window.report(&Pressure {
        cpu: Some(0.5),
        ..Pressure::default()
    })
}

#[tokio::test]
async fn the_verdict_names_the_cause_and_its_shares_add_up() {
    let answer = get_json("/api/verdict").await;
    assert_eq!(answer["window_seconds"], 5.0);
    assert!(answer["host"][0].as_str().unwrap().contains("a CPU"));
    let slow = &answer["services"][0];
    assert_eq!(slow["name"], "service01");
    assert_eq!(
        (&slow["cause"], &slow["slow"]),
        (&"database".into(), &true.into())
    );
    let sentence = slow["sentence"].as_str().unwrap();
    assert!(sentence.contains("waits 78 % on Postgres"), "{sentence}");
    assert_eq!(slow["latency"]["of"], "requests");
    for shares in ["shares", "work"] {
        let shares = slow[shares].as_object().unwrap().values();
        let sum: f64 = shares.map(|share| share.as_f64().unwrap()).sum();
        assert!((sum - 100.0).abs() < 1e-9, "{sum}");
    }
    let idle = &answer["services"][1];
    assert_eq!(idle["sentence"], "service02 has nothing to do");
    assert_eq!(idle["shares"]["idle"], 100.0);
    assert!(idle["cause"].is_null() && idle["latency"].is_null());
}
