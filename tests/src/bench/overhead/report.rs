//! The results, as they are kept in JSON, and what is made of the rounds.

use serde::{Deserialize, Serialize};

use super::cost::DaemonCost;
use crate::bench::rounds::median;

/// The variant that all others are compared with.
pub(super) const NOTHING: &str = "nothing";

/// One run: all rounds of all scenarios.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    /// Day and time of the end, UTC.
    pub(super) date: String,
    /// `uname -r`.
    pub(super) kernel: String,
    /// Model of the processors.
    pub(super) cpu: String,
    /// Number of them.
    pub(super) cpus: usize,
    /// Seconds of each measurement.
    pub(super) seconds: u64,
    /// Rounds that were asked for.
    pub(super) rounds: usize,
    /// In the order in which they are shown.
    pub(super) scenarios: Vec<Scenario>,
}

/// A program under load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Scenario {
    /// Short name.
    pub(super) name: String,
    /// What is measured, for a heading.
    pub(super) title: String,
    /// What is counted: requests or statements.
    pub(super) unit: String,
    /// In the order in which they are shown; the first is [`NOTHING`].
    pub(super) variants: Vec<Variant>,
}

/// A way to observe the program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Variant {
    /// What observes it.
    pub(super) name: String,
    /// One for each round, in the same order for all variants of a scenario.
    pub(super) rounds: Vec<Measurement>,
}

/// One variant in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Measurement {
    /// Requests or statements a second.
    pub(super) throughput: f64,
    /// Median latency in microseconds.
    pub(super) p50_us: f64,
    /// 99th percentile of the latency in microseconds.
    pub(super) p99_us: f64,
    /// CPU time of the observed programs for one request or statement in microseconds.
    pub(super) cpu_us: f64,
    /// What the probe's daemon took, where it ran.
    pub(super) daemon: Option<DaemonCost>,
}

/// A number over the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// The smallest.
    pub(super) low: f64,
    /// The median.
    pub(super) middle: f64,
    /// The largest.
    pub(super) high: f64,
}

impl Spread {
    fn of(values: Vec<f64>) -> Self {
        Self {
            low: values.iter().copied().fold(f64::INFINITY, f64::min),
            high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            middle: median(values),
        }
    }
}

/// The daemon over the rounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct DaemonSummary {
    /// Seconds of CPU time for each second of load, median.
    pub(super) cores: f64,
    /// CPU time for one request or statement in microseconds, median.
    pub(super) cpu_us: f64,
    /// Largest peak of resident memory in bytes.
    pub(super) peak_resident_bytes: u64,
    /// Largest resident memory at the end in bytes.
    pub(super) resident_bytes: u64,
    /// Events lost in all rounds together.
    pub(super) lost: u64,
}

impl Scenario {
    /// A number of each round divided by that of [`NOTHING`] in the same round.
    pub(super) fn ratio(&self, variant: &Variant, of: impl Fn(&Measurement) -> f64) -> Spread {
        let nothing = self.variants.first().map_or(&[][..], |first| &first.rounds);
        let pairs = variant.rounds.iter().zip(nothing);
        Spread::of(pairs.map(|(one, nothing)| of(one) / of(nothing)).collect())
    }
}

impl Variant {
    /// The median of a number over the rounds.
    pub(super) fn median(&self, of: impl Fn(&Measurement) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }

    /// What the daemon took, if it ran.
    pub(super) fn daemon(&self) -> Option<DaemonSummary> {
        let costs: Vec<(&Measurement, &DaemonCost)> = self
            .rounds
            .iter()
            .filter_map(|round| Some((round, round.daemon.as_ref()?)))
            .collect();
        if costs.is_empty() {
            return None;
        }
        let over = |of: fn(&Measurement, &DaemonCost) -> f64| {
            median(costs.iter().map(|(round, cost)| of(round, cost)).collect())
        };
        let largest = |of: fn(&DaemonCost) -> u64| {
            let values = costs.iter().map(|(_, cost)| of(cost));
            values.max().unwrap_or(0)
        };
        Some(DaemonSummary {
            cores: over(|_, cost| cost.cpu_seconds / cost.seconds),
            cpu_us: over(|round, cost| 1e6 * cost.cpu_seconds / (round.throughput * cost.seconds)),
            peak_resident_bytes: largest(|cost| cost.peak_resident_bytes),
            resident_bytes: largest(|cost| cost.resident_bytes),
            lost: costs.iter().map(|(_, cost)| cost.lost_total()).sum(),
        })
    }
}

impl Report {
    /// What was lost, by scenario and cause; empty when nothing was.
    pub(super) fn losses(&self) -> Vec<String> {
        let mut losses = Vec::new();
        for scenario in &self.scenarios {
            for variant in &scenario.variants {
                for (round, one) in variant.rounds.iter().enumerate() {
                    let daemon = one.daemon.as_ref().filter(|cost| cost.lost_total() > 0);
                    losses.extend(daemon.map(|cost| {
                        format!("{}, round {}: {:?}", scenario.name, round + 1, cost.lost)
                    }));
                }
            }
        }
        losses
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Two rounds of two variants; the second round ran on a machine half as fast.
    pub(in super::super) fn example(lost: u64) -> Report {
        let one = |throughput: f64, daemon: bool| Measurement {
            throughput,
            p50_us: 1e6 / throughput,
            p99_us: 2e6 / throughput,
            cpu_us: 1e6 / throughput,
            daemon: daemon.then(|| DaemonCost {
                cpu_seconds: 0.2,
                seconds: 2.0,
                peak_resident_bytes: 50 << 20,
                resident_bytes: 30 << 20,
                lost: BTreeMap::from([("payload_ring_full".to_owned(), lost)]),
            }),
        };
        let variants = vec![
            Variant {
                name: NOTHING.into(),
                rounds: vec![one(1000.0, false), one(500.0, false)],
            },
            Variant {
                name: "hostprobe".into(),
                rounds: vec![one(900.0, true), one(500.0, true)],
            },
        ];
        Report {
            date: "2026-11-24 12:00 UTC".into(),
            kernel: "6.18".into(),
            cpu: "a processor".into(),
            cpus: 2,
            seconds: 2,
            rounds: 2,
            scenarios: vec![Scenario {
                name: "app".into(),
                title: "An app & its database".into(),
                unit: "requests".into(),
                variants,
            }],
        }
    }

    /// A round is compared with itself: that the machine was slow in one of them says nothing.
    #[test]
    fn ratios_are_taken_within_a_round() {
        let report = example(0);
        let scenario = &report.scenarios[0];
        let ratio = scenario.ratio(&scenario.variants[1], |one| one.throughput);
        assert!((ratio.middle - 0.95).abs() < 1e-9);
        assert!((ratio.low - 0.9).abs() < 1e-9 && (ratio.high - 1.0).abs() < 1e-9);
        let nothing = scenario.ratio(&scenario.variants[0], |one| one.p99_us);
        assert!((nothing.low - 1.0).abs() < 1e-9 && (nothing.high - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_daemons_cost_is_per_request_and_losses_add_up() {
        let report = example(3);
        let daemon = report.scenarios[0].variants[1].daemon().unwrap();
        assert!((daemon.cores - 0.1).abs() < 1e-9);
        assert_eq!(daemon.lost, 6);
        assert_eq!(report.losses().len(), 2);
        assert!(example(0).losses().is_empty());
        assert!(report.scenarios[0].variants[0].daemon().is_none());
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let text = serde_json::to_string(&example(1)).unwrap();
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(
            read.scenarios[0].variants[1].rounds,
            example(1).scenarios[0].variants[1].rounds
        );
    }
}
