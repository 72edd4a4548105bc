//! The model between collecting and writing: families of series, sorted, without duplicates.
//!
//! Not the `prometheus` crate's protobuf model, because that has no exemplars and no info type,
//! keeps counts as floats, clones every label's name, and takes any string for a metric's name;
//! here a series can be made only from an entry of the catalogue. The crate's text encoder is the
//! oracle in the tests of [`exposition`](super::exposition).

use std::collections::{BTreeMap, btree_map::Entry};

use super::metric::{Counter, Distribution, Gauge, HistogramOf, Info, Metric};

/// Values of a series' labels, in the order of the names.
pub type LabelValues = Vec<String>;

/// The value of one series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number; written as such, whatever its size.
    Integer(u64),
    /// Any other number; always finite.
    Float(f64),
    /// Observations in buckets.
    Distribution(Distribution),
}

/// One observation that stands for its bucket, usually with the trace that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Names and values of its labels; together at most 128 characters (OpenMetrics 1.0).
    pub labels: Vec<(&'static str, String)>,
    /// What was observed, in the metric's unit.
    pub value: f64,
    /// When, in seconds since the epoch.
    pub timestamp_seconds: f64,
}

/// The series of one metric.
#[derive(Debug)]
pub struct Family {
    /// The catalogue's entry.
    pub metric: &'static Metric,
    /// Sorted by label values.
    pub series: BTreeMap<LabelValues, Value>,
    /// Beside the series, because only OpenMetrics can write them and few buckets have one: by
    /// label values and number of the exported bucket.
    pub exemplars: BTreeMap<(LabelValues, usize), Exemplar>,
}

/// Everything that one scrape answers, sorted by name.
///
/// Adding to a series that is there already adds the numbers up. So two services that were given
/// the same name share a series, where a duplicate would make Prometheus refuse the whole scrape.
#[derive(Debug, Default)]
pub struct Families(BTreeMap<&'static str, Family>);

impl Families {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to a counter.
    pub fn counter<const L: usize>(
        &mut self,
        metric: &'static Counter<L>,
        labels: [&str; L],
        value: u64,
    ) {
        self.add(metric.metric(), &labels, Value::Integer(value));
    }

    /// Adds to a counter of something that is not whole, such as seconds.
    pub fn counter_float<const L: usize>(
        &mut self,
        metric: &'static Counter<L>,
        labels: [&str; L],
        value: f64,
    ) {
        self.add_float(metric.metric(), &labels, value);
    }

    /// Adds to a gauge.
    pub fn gauge<const L: usize>(
        &mut self,
        metric: &'static Gauge<L>,
        labels: [&str; L],
        value: u64,
    ) {
        self.add(metric.metric(), &labels, Value::Integer(value));
    }

    /// Adds to a gauge of something that is not whole.
    pub fn gauge_float<const L: usize>(
        &mut self,
        metric: &'static Gauge<L>,
        labels: [&str; L],
        value: f64,
    ) {
        self.add_float(metric.metric(), &labels, value);
    }

    /// Adds observations to a histogram.
    pub fn histogram<const L: usize>(
        &mut self,
        metric: &'static HistogramOf<L>,
        labels: [&str; L],
        observed: Distribution,
    ) {
        self.add(metric.metric(), &labels, Value::Distribution(observed));
    }

    /// States an info; stating it twice changes nothing.
    pub fn info<const L: usize>(&mut self, metric: &'static Info<L>, labels: [&str; L]) {
        let series = &mut self.family(metric.metric()).series;
        series.insert(owned(&labels), Value::Integer(1));
    }

    /// Ties an exemplar to a bucket of a histogram's series; a later one replaces it.
    pub fn exemplar<const L: usize>(
        &mut self,
        metric: &'static HistogramOf<L>,
        labels: [&str; L],
        exemplar: Exemplar,
    ) {
        let bounds = metric.buckets().bounds();
        let bucket = bounds.partition_point(|bound| *bound < exemplar.value);
        let exemplars = &mut self.family(metric.metric()).exemplars;
        exemplars.insert((owned(&labels), bucket), exemplar);
    }

    /// The families, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Family> {
        self.0.values()
    }

    /// The family of a metric, if it has a series.
    pub fn get(&self, metric: &Metric) -> Option<&Family> {
        self.0.get(metric.name())
    }

    fn family(&mut self, metric: &'static Metric) -> &mut Family {
        self.0.entry(metric.name()).or_insert_with(|| Family {
            metric,
            series: BTreeMap::new(),
            exemplars: BTreeMap::new(),
        })
    }

    /// A number that is not finite says nothing and poisons sums: such a sample is left out.
    fn add_float(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        if value.is_finite() {
            self.add(metric, labels, Value::Float(value));
        }
    }

    fn add(&mut self, metric: &'static Metric, labels: &[&str], value: Value) {
        match self.family(metric).series.entry(owned(labels)) {
            Entry::Vacant(vacant) => {
                vacant.insert(value);
            }
            Entry::Occupied(mut there) => match (there.get_mut(), value) {
                (Value::Integer(mine), Value::Integer(more)) => *mine = mine.saturating_add(more),
                (Value::Float(mine), Value::Float(more)) => *mine += more,
                (Value::Distribution(mine), Value::Distribution(more)) => mine.merge(&more),
                (Value::Float(mine), Value::Integer(more)) => *mine += more as f64,
                (mine @ Value::Integer(_), Value::Float(more)) => {
                    if let Value::Integer(whole) = *mine {
                        *mine = Value::Float(whole as f64 + more);
                    }
                }
                // The typed methods above never mix histograms with numbers.
                (Value::Distribution(_), _) | (_, Value::Distribution(_)) => {}
            },
        }
    }
}

fn owned(labels: &[&str]) -> LabelValues {
    labels.iter().map(|value| (*value).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::catalogue;

    #[test]
    fn the_same_labels_twice_are_one_series_with_the_sum() {
        let mut families = Families::new();
        families.counter(&catalogue::TCP_ACCEPTS, ["web"], 2);
        families.counter(&catalogue::TCP_ACCEPTS, ["web"], 3);
        let family = families.get(&catalogue::TCP_ACCEPTS).unwrap();
        assert_eq!(family.series.len(), 1);
        assert_eq!(family.series[&vec!["web".to_owned()]], Value::Integer(5));
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let mut families = Families::new();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            families.gauge_float(&catalogue::START_TIME, [], value);
        }
        assert!(families.get(&catalogue::START_TIME).is_none());
    }
}
