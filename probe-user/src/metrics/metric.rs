//! What a metric is: the type of an entry of the [catalogue](super::catalogue).
//!
//! Entries can be made in the catalogue alone, and samples can be made only with a reference to an
//! entry and as many label values as it has names. So a metric that is emitted but not documented,
//! or with other labels than documented, does not compile.

use std::ops::Deref;

use crate::traffic::{BOUNDS_NS, Timing};
use probe_common::histogram::{self, BUCKETS, Histogram};

/// Kernel buckets that become one exported bucket: 2 keeps every second power of two, a factor of
/// four between bounds, and halves the series. The merged counts are exact, because every exported
/// bound is a bound of the kernel's too.
pub const KERNEL_BUCKETS_PER_EXPORTED: usize = 2;

/// What kind of number it is, in the words of the OpenMetrics specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows while the daemon lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations per bucket, their sum and their number.
    Histogram,
    /// Always 1: what counts is in the labels.
    Info,
}

impl Kind {
    /// The type's name in the text format 0.0.4, which has no `info`.
    pub const fn text_name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Info => "gauge",
            Self::Histogram => "histogram",
        }
    }

    /// The type's name in OpenMetrics.
    pub const fn open_metrics_name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// The unit of the values. Base units only, as Prometheus wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things, or no number at all.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// The suffix that the name carries, empty when the unit has none.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }
}

/// The bounds of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Buckets {
    /// Not a histogram.
    None,
    /// The kernel's powers of two, merged by [`KERNEL_BUCKETS_PER_EXPORTED`]: 256 ns to 69 s.
    Kernel,
    /// Requests and statements: [`BOUNDS_NS`], 50 µs to 30 s.
    Latency,
    /// Bounds of the metric's own, in its unit.
    Own(&'static [f64]),
}

/// Exported buckets of [`Buckets::Kernel`], the one without upper bound included.
const KERNEL_EXPORTED: usize = BUCKETS / KERNEL_BUCKETS_PER_EXPORTED;
const _: () = assert!(BUCKETS.is_multiple_of(KERNEL_BUCKETS_PER_EXPORTED));

/// Upper bounds in seconds, the last bucket's excepted.
static KERNEL_BOUNDS: [f64; KERNEL_EXPORTED - 1] = kernel_bounds();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses an index out of range"
)]
const fn kernel_bounds() -> [f64; KERNEL_EXPORTED - 1] {
    let mut bounds = [0.0; KERNEL_EXPORTED - 1];
    let mut exported = 0;
    while exported < bounds.len() {
        let last = (exported + 1) * KERNEL_BUCKETS_PER_EXPORTED - 1;
        if let Some(ns) = histogram::bound_ns(last) {
            // Below 2^53, and the division is correctly rounded: the shortest decimal that reads
            // back as this number is the exact one.
            bounds[exported] = ns as f64 / 1e9;
        }
        exported += 1;
    }
    bounds
}

/// Upper bounds in seconds, the last bucket's excepted.
static LATENCY_BOUNDS: [f64; BOUNDS_NS.len()] = latency_bounds();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses an index out of range"
)]
const fn latency_bounds() -> [f64; BOUNDS_NS.len()] {
    let mut bounds = [0.0; BOUNDS_NS.len()];
    let mut bucket = 0;
    while bucket < bounds.len() {
        bounds[bucket] = BOUNDS_NS[bucket] as f64 / 1e9;
        bucket += 1;
    }
    bounds
}

impl Buckets {
    /// Upper bounds in the metric's unit, without `+Inf`.
    pub fn bounds(self) -> &'static [f64] {
        match self {
            Self::None => &[],
            Self::Kernel => &KERNEL_BOUNDS,
            Self::Latency => &LATENCY_BOUNDS,
            Self::Own(bounds) => bounds,
        }
    }
}

/// Observations in exported buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Per bucket and not cumulative; the last one has no upper bound.
    pub counts: Vec<u64>,
    /// Sum of the observations in the metric's unit.
    pub sum: f64,
}

impl Distribution {
    /// The kernel's nanoseconds as seconds in the buckets of [`Buckets::Kernel`].
    pub fn from_kernel(histogram: &Histogram) -> Self {
        Self {
            counts: histogram
                .buckets
                .chunks(KERNEL_BUCKETS_PER_EXPORTED)
                .map(|merged| merged.iter().fold(0u64, |sum, n| sum.saturating_add(*n)))
                .collect(),
            sum: seconds(histogram.sum_ns),
        }
    }

    /// Durations of requests or statements, in the buckets of [`Buckets::Latency`].
    pub fn from_timing(timing: &Timing) -> Self {
        Self {
            counts: timing.counts.to_vec(),
            sum: seconds(timing.sum_ns),
        }
    }

    /// Adds another's observations. Both must be in the same buckets.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
        self.sum += other.sum;
    }
}

/// Nanoseconds as seconds.
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The chapter of `docs/METRICS.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// What each service is, and its processes.
    Services,
    /// Syscalls.
    Syscalls,
    /// TCP connections.
    Tcp,
    /// AF_UNIX connections.
    Unix,
    /// Bytes through sockets.
    Traffic,
    /// Requests.
    Http,
    /// Statements.
    Postgres,
    /// Encrypted connections.
    Tls,
    /// Threads: where their time goes.
    Scheduler,
    /// Requests to block devices.
    Block,
    /// What the processes of each service take from the host.
    ProcessResources,
    /// The host.
    Host,
    /// Advice on indexes.
    Advice,
    /// Postgres servers that are asked.
    Databases,
    /// PgBouncers that are asked.
    PgBouncer,
    /// Where records are kept.
    Store,
    /// What browsers tell.
    Browsers,
    /// Usage of AI models.
    AiUsage,
    /// The probe itself: health, losses, cost.
    Probe,
    /// The daemon's process, under the names that all Prometheus clients use.
    OwnProcess,
}

impl Group {
    /// All groups in the order of the documentation.
    pub const ALL: [Self; 20] = [
        Self::Services,
        Self::Syscalls,
        Self::Tcp,
        Self::Unix,
        Self::Traffic,
        Self::Http,
        Self::Postgres,
        Self::Tls,
        Self::Scheduler,
        Self::Block,
        Self::ProcessResources,
        Self::Host,
        Self::Advice,
        Self::Databases,
        Self::PgBouncer,
        Self::Store,
        Self::Browsers,
        Self::AiUsage,
        Self::Probe,
        Self::OwnProcess,
    ];

    /// The chapter's title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Services => "Services",
            Self::Syscalls => "Syscalls",
            Self::Tcp => "TCP",
            Self::Unix => "Unix sockets",
            Self::Traffic => "Traffic",
            Self::Http => "HTTP",
            Self::Postgres => "Postgres",
            Self::Tls => "TLS",
            Self::Scheduler => "Threads and processors",
            Self::Block => "Block devices",
            Self::ProcessResources => "Processes",
            Self::Host => "Host",
            Self::Advice => "Index advice",
            Self::Databases => "What Postgres says itself",
            Self::PgBouncer => "What PgBouncer says itself",
            Self::Store => "The store",
            Self::Browsers => "Browsers",
            Self::AiUsage => "AI usage",
            Self::Probe => "The probe itself",
            Self::OwnProcess => "The daemon's process",
        }
    }
}

/// Who delivers the numbers. When it does not work, the metric is absent or stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FedBy {
    /// The kernel programs of the probe with this name; see `hostprobe_probe_up`.
    Probe(&'static str),
    /// The discovery of services and their processes.
    Targets,
    /// Reading `/proc` and `/sys`; see `[host]` in the configuration.
    Host,
    /// Asking the configured databases.
    Databases,
    /// Beacons of browsers.
    Browsers,
    /// The daemon.
    Daemon,
}

/// One metric. Made in the [catalogue](super::catalogue) alone.
#[derive(Debug)]
pub struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: Unit,
    pub(super) labels: &'static [&'static str],
    pub(super) buckets: Buckets,
    pub(super) group: Group,
    pub(super) fed_by: FedBy,
    pub(super) help: &'static str,
    pub(super) promql: &'static str,
}

impl Metric {
    /// The name as Prometheus stores it; a counter's ends in `_total`.
    pub const fn name(&self) -> &'static str {
        self.name
    }
    /// Counter, gauge, histogram or info.
    pub const fn kind(&self) -> Kind {
        self.kind
    }
    /// The unit of the values, and of the bounds of a histogram.
    pub const fn unit(&self) -> Unit {
        self.unit
    }
    /// Names of the labels, in the order in which values are given.
    pub const fn labels(&self) -> &'static [&'static str] {
        self.labels
    }
    /// Bounds of a histogram.
    pub const fn buckets(&self) -> Buckets {
        self.buckets
    }
    /// Chapter of the documentation.
    pub const fn group(&self) -> Group {
        self.group
    }
    /// Who delivers the numbers.
    pub const fn fed_by(&self) -> FedBy {
        self.fed_by
    }
    /// What it says, in one or two sentences.
    pub const fn help(&self) -> &'static str {
        self.help
    }
    /// An expression that answers the question that the metric is there for; may be empty.
    pub const fn promql(&self) -> &'static str {
        self.promql
    }
}

/// Makes a handle type that says in its type what the metric is and how many labels it has.
macro_rules! handle {
    ($(#[$doc:meta])* $handle:ident, $kind:pat) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $handle<const LABELS: usize>(Metric);

        impl<const LABELS: usize> $handle<LABELS> {
            /// Fails at compile time when kind or number of labels are not the type's.
            pub(super) const fn new(metric: Metric) -> Self {
                assert!(metric.labels.len() == LABELS, "another number of labels than the type says");
                assert!(matches!(metric.kind, $kind), "another kind than the type says");
                assert!(
                    matches!(metric.kind, Kind::Histogram) != matches!(metric.buckets, Buckets::None),
                    "histograms have buckets, and nothing else has"
                );
                Self(metric)
            }

            /// The entry, without its type.
            pub const fn metric(&self) -> &Metric {
                &self.0
            }
        }

        impl<const LABELS: usize> Deref for $handle<LABELS> {
            type Target = Metric;
            fn deref(&self) -> &Metric {
                &self.0
            }
        }
    };
}

handle! {
    /// A counter with that many labels.
    Counter, Kind::Counter
}
handle! {
    /// A gauge with that many labels.
    Gauge, Kind::Gauge
}
handle! {
    /// A histogram with that many labels.
    HistogramOf, Kind::Histogram
}
/// A histogram with that many labels, in the buckets of [`Buckets::Latency`].
pub type LatencyOf<const LABELS: usize> = HistogramOf<LABELS>;
handle! {
    /// An info metric with that many labels.
    Info, Kind::Info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_bounds_are_bounds_of_the_kernel() {
        let bounds = Buckets::Kernel.bounds();
        assert_eq!(bounds.len() + 1, KERNEL_EXPORTED);
        assert_eq!(bounds.first(), Some(&2.56e-7));
        let kernel: Vec<_> = (0..BUCKETS)
            .filter_map(histogram::bound_ns)
            .map(seconds)
            .collect();
        for bound in bounds {
            assert!(kernel.contains(bound), "{bound}");
        }
    }

    #[test]
    fn merging_buckets_moves_no_observation_over_a_bound() {
        for ns in [
            0,
            1,
            128,
            255,
            256,
            257,
            1024,
            1025,
            1 << 36,
            (1 << 36) + 1,
            u64::MAX / 2,
        ] {
            let mut kernel = Histogram::EMPTY;
            kernel.observe(ns);
            let exported = Distribution::from_kernel(&kernel);
            assert_eq!(exported.counts.iter().sum::<u64>(), 1);
            for (bucket, bound) in Buckets::Kernel.bounds().iter().enumerate() {
                let at_or_below: u64 = exported.counts.iter().take(bucket + 1).sum();
                assert_eq!(
                    at_or_below == 1,
                    seconds(ns) <= *bound,
                    "{ns} ns at le={bound}"
                );
            }
        }
    }
}
