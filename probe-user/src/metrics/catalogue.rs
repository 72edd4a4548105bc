//! The one table of all metrics. The exposition, `docs/METRICS.md` and the tests are made from it.
//!
//! Each area has a file of its own in `catalogue/`, with the same syntax. To add a metric, add a row there, emit
//! it in [`collect`](super::collect) through the constant that the row defines, and run the tests with
//! `HOSTPROBE_BLESS=1` to write the documentation. To add an area, add its file and its name to `areas!` below.

use super::metric::{FedBy, Metric};

/// Defines one typed constant per row, and `TABLE`, which has them all.
macro_rules! catalogue {
    ($(
        $constant:ident: $handle:ident<$labels:literal> $(in $bounds:path)? =
            $name:literal [$($label:literal),*] $unit:ident $group:ident $fed_by:expr;
            $help:literal
            $(=> $promql:literal)?
    )*) => {
        $(
            #[doc = $help]
            pub static $constant: $crate::metrics::metric::$handle<$labels> =
                $crate::metrics::metric::$handle::new($crate::metrics::metric::Metric {
                    name: $name,
                    kind: catalogue!(@kind $handle),
                    unit: $crate::metrics::metric::Unit::$unit,
                    labels: &[$($label),*],
                    buckets: catalogue!(@buckets $handle $($bounds)?),
                    group: $crate::metrics::metric::Group::$group,
                    fed_by: $fed_by,
                    help: $help,
                    promql: concat!($($promql)?),
                });
        )*

        /// Every metric of this area, in the order of the documentation.
        pub(super) static TABLE: &[&$crate::metrics::metric::Metric] = &[$($constant.metric()),*];
    };
    (@kind Counter) => { $crate::metrics::metric::Kind::Counter };
    (@kind Gauge) => { $crate::metrics::metric::Kind::Gauge };
    (@kind HistogramOf) => { $crate::metrics::metric::Kind::Histogram };
    (@kind LatencyOf) => { $crate::metrics::metric::Kind::Histogram };
    (@kind Info) => { $crate::metrics::metric::Kind::Info };
    (@buckets HistogramOf $bounds:path) => { $crate::metrics::metric::Buckets::Own($bounds) };
    (@buckets HistogramOf) => { $crate::metrics::metric::Buckets::Kernel };
    (@buckets LatencyOf) => { $crate::metrics::metric::Buckets::Latency };
    (@buckets $other:ident) => { $crate::metrics::metric::Buckets::None };
}

/// Names the files; what they define is here under its own name.
macro_rules! areas {
    ($($area:ident)*) => {
        $(
            mod $area;
            pub use $area::*;
        )*
        static TABLES: &[&[&Metric]] = &[$($area::TABLE),*];
    };
}

areas! {
    services
    syscalls
    sockets
    http
    model_calls
    postgres
    scheduler
    block
    process_resources
    host
    advice
    budgets
    databases
    pgbouncer
    store
    vitals
    gemini
    probe
}

const SYSCALL_PROBE: FedBy = FedBy::Probe("syscalls");
const SOCKET_PROBE: FedBy = FedBy::Probe("sockets");
const PAYLOAD_PROBE: FedBy = FedBy::Probe("payload");
const SCHEDULER_PROBE: FedBy = FedBy::Probe("scheduler");
const BLOCK_PROBE: FedBy = FedBy::Probe("block");

/// Every metric that exists; those of one area are together.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    TABLES.iter().flat_map(|table| table.iter().copied())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::metrics::metric::Kind;

    #[test]
    fn names_are_unique_in_both_formats() {
        let mut seen = HashSet::new();
        for metric in all() {
            let family = metric
                .name
                .trim_end_matches("_total")
                .trim_end_matches("_info");
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
            assert!(
                family == metric.name || seen.insert(family),
                "{family} is a family in OpenMetrics and another metric's name"
            );
        }
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let word = regex::Regex::new("^[a-z][a-z0-9]*(_[a-z0-9]+)*$").unwrap();
        for metric in all() {
            let name = metric.name;
            assert!(word.is_match(name), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}"
            );
            assert_eq!(name.ends_with("_info"), metric.kind == Kind::Info, "{name}");
            let base = name.trim_end_matches("_total");
            assert!(base.ends_with(metric.unit.name()), "{name} lacks its unit");
            for reserved in ["_bucket", "_sum", "_count", "_created", "_gsum"] {
                assert!(!name.ends_with(reserved), "{name}");
            }
            for label in metric.labels {
                assert!(
                    word.is_match(label) && !["le", "quantile"].contains(label),
                    "{name}"
                );
            }
            assert_eq!(
                metric.labels.iter().collect::<HashSet<_>>().len(),
                metric.labels.len(),
                "{name} has a label twice"
            );
        }
    }

    #[test]
    fn every_metric_says_what_it_is() {
        for metric in all() {
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            assert!(
                metric.promql.is_empty() || metric.promql.contains(metric.name),
                "the example of {} does not use it",
                metric.name
            );
        }
    }
}
