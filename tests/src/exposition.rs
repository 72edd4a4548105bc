//! Reading the text that the probe answers on `/metrics`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// One line of an exposition.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Metric name, with its `_total`, `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Sample {
    fn matches(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.name == name
            && labels
                .iter()
                .all(|(key, value)| self.labels.get(*key).is_some_and(|found| found == value))
    }
}

/// A whole exposition.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Every sample, in order.
    pub samples: Vec<Sample>,
}

impl Metrics {
    /// Parses the Prometheus text format (version 0.0.4), and OpenMetrics as far as they agree.
    ///
    /// # Errors
    /// A line that is neither comment nor sample.
    pub fn parse(text: &str) -> Result<Self> {
        let samples = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| parse_sample(line).with_context(|| format!("not a sample: {line}")))
            .collect::<Result<_>>()?;
        Ok(Self { samples })
    }

    /// Sum of all samples of this name that carry these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// As [`Self::sum`], for counters and gauges of whole things.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        as_count(self.sum(name, labels))
    }

    /// Counts by the value of one label; zeros are left out.
    pub fn counts_by(
        &self,
        label: &str,
        name: &str,
        labels: &[(&str, &str)],
    ) -> BTreeMap<String, u64> {
        let mut counts = self.all_counts_by(label, name, labels);
        counts.retain(|_, count| *count != 0);
        counts
    }

    /// As [`Self::counts_by`], zeros included.
    pub fn all_counts_by(
        &self,
        label: &str,
        name: &str,
        labels: &[(&str, &str)],
    ) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for sample in self.matching(name, labels) {
            if let Some(value) = sample.labels.get(label) {
                *counts.entry(value.clone()).or_default() += as_count(sample.value);
            }
        }
        counts
    }

    /// Every sample of this name that carries these labels.
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.matches(name, labels))
    }

    /// Every value that the label `service` takes anywhere.
    pub fn services(&self) -> Vec<String> {
        let mut services: Vec<String> = self
            .samples
            .iter()
            .filter_map(|sample| sample.labels.get("service").cloned())
            // Not a service: what the kernel itself writes to block devices, whoever caused it.
            .filter(|service| service != "[kernel]")
            .collect();
        services.sort();
        services.dedup();
        services
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of a test are far below 2^53 and never negative"
)]
fn as_count(value: f64) -> u64 {
    value as u64
}

fn parse_sample(line: &str) -> Result<Sample> {
    let (series, rest) = match line.find('{') {
        Some(open) => {
            let close = end_of_labels(line, open)?;
            (&line[..=close], &line[close + 1..])
        }
        None => line.split_once(' ').context("no value")?,
    };
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, parse_labels(labels.trim_end_matches('}'))?),
        None => (series, BTreeMap::new()),
    };
    let value = rest.split_whitespace().next().context("no value")?;
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().with_context(|| format!("value {value}"))?,
    })
}

/// The index of the brace that closes the one at `open`, quoted braces not counted.
fn end_of_labels(line: &str, open: usize) -> Result<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (index, byte) in line.bytes().enumerate().skip(open) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Ok(index),
            _ => {}
        }
    }
    bail!("labels do not end")
}

fn parse_labels(text: &str) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().context("a label value does not end")? {
                (at, '"') => break at,
                (_, '\\') => match characters.next().context("a lone backslash")?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(key.trim_start_matches(',').trim().to_owned(), value);
        rest = &after[end + 1..];
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_values_and_escapes_are_read() {
        let text = "# HELP a b\n# TYPE a counter\na_total 3\n\
                    b{x=\"1\",y=\"q\\\"}\\\\,\"} 2.5e1\nc_bucket{le=\"+Inf\"} 7 1700000000\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.count("a_total", &[]), 3);
        assert_eq!(metrics.count("b", &[("x", "1"), ("y", "q\"}\\,")]), 25);
        assert_eq!(metrics.count("c_bucket", &[("le", "+Inf")]), 7);
        assert_eq!(metrics.counts_by("x", "b", &[])["1"], 25);
    }

    #[test]
    fn what_is_no_sample_is_an_error() {
        assert!(Metrics::parse("no_value").is_err());
        assert!(Metrics::parse("a{b=\"c} 1").is_err());
    }
}
