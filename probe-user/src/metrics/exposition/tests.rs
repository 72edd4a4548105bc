//! What is written must be read back as what was counted: by our own strict parser, and as the
//! `prometheus` crate's encoder writes the same families.

use std::collections::{BTreeMap, HashSet};

use prometheus::{
    TextEncoder,
    proto::{self, LabelPair, MetricType},
};
use proptest::prelude::*;

use super::*;
use crate::metrics::{catalogue, fixture::Fixture};

/// One line: name, labels, value, and what follows (an exemplar).
#[derive(Debug, PartialEq, Clone)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
    exemplar: Option<String>,
}

fn parse(text: &str) -> Vec<Sample> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(parse_line)
        .collect()
}

fn parse_line(line: &str) -> Sample {
    let name_end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (label, after) = inside.split_once("=\"").unwrap();
            let (value, after) = unescape(after);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            inside = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &inside[1..];
    }
    let rest = rest.strip_prefix(' ').unwrap();
    let (value, exemplar) = match rest.split_once(" # ") {
        Some((value, exemplar)) => (value, Some(exemplar.to_owned())),
        None => (rest, None),
    };
    Sample {
        name: name.to_owned(),
        labels,
        value: value
            .parse()
            .unwrap_or_else(|error| panic!("{line}: {error}")),
        exemplar,
    }
}

/// The value up to the closing quote, and what follows it.
fn unescape(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match characters.next().unwrap().1 {
                'n' => '\n',
                other @ ('\\' | '"') => other,
                other => panic!("no such escape: \\{other}"),
            }),
            other => value.push(other),
        }
    }
    panic!("no closing quote in {text}");
}

/// The same families in the model of the `prometheus` crate.
fn as_proto(families: &Families) -> Vec<proto::MetricFamily> {
    families
        .iter()
        .map(|family| {
            let mut out = proto::MetricFamily::default();
            out.set_name(family.metric.name().to_owned());
            out.set_help(family.metric.help().to_owned());
            out.set_field_type(match family.metric.kind() {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge | Kind::Info => MetricType::GAUGE,
                Kind::Histogram => MetricType::HISTOGRAM,
            });
            let series = family.series.iter();
            out.set_metric(
                series
                    .map(|(labels, value)| metric_as_proto(family, labels, value))
                    .collect(),
            );
            out
        })
        .collect()
}

fn metric_as_proto(family: &Family, labels: &LabelValues, value: &Value) -> proto::Metric {
    let mut out = proto::Metric::default();
    let pairs = family
        .metric
        .labels()
        .iter()
        .zip(labels)
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.clone());
            pair
        });
    out.set_label(pairs.collect());
    let number = match value {
        Value::Integer(whole) => *whole as f64,
        Value::Float(number) => *number,
        Value::Distribution(observed) => {
            out.set_histogram(histogram_as_proto(family, observed));
            return out;
        }
    };
    if family.metric.kind() == Kind::Counter {
        let mut counter = proto::Counter::default();
        counter.set_value(number);
        out.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(number);
        out.set_gauge(gauge);
    }
    out
}

fn histogram_as_proto(family: &Family, observed: &Distribution) -> proto::Histogram {
    let mut out = proto::Histogram::default();
    out.set_sample_count(observed.counts.iter().sum());
    out.set_sample_sum(observed.sum);
    let mut cumulative = 0;
    let bounds = family.metric.buckets().bounds();
    let buckets = bounds.iter().zip(&observed.counts).map(|(bound, count)| {
        cumulative += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    out.set_bucket(buckets.collect());
    out
}

/// `le` as a number, because the crate writes `0.000000256` where OpenMetrics wants `2.56e-07`.
fn with_numeric_bounds(samples: Vec<Sample>) -> Vec<(Sample, Option<f64>)> {
    let numeric = |mut sample: Sample| {
        let le = sample.labels.remove("le").map(|le| le.parse().unwrap());
        (sample, le)
    };
    samples.into_iter().map(numeric).collect()
}

#[test]
fn text_says_what_the_prometheus_crate_says() {
    let families = Fixture::of_size(3, 4).families();
    let theirs = TextEncoder::new()
        .encode_to_string(&as_proto(&families))
        .unwrap();
    let ours = write(&families, Format::Text);
    assert_eq!(
        with_numeric_bounds(parse(&ours)),
        with_numeric_bounds(parse(&theirs))
    );
    let headers = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(headers(&ours), headers(&theirs));
}

#[test]
fn both_formats_have_the_same_samples() {
    let families = Fixture::of_size(2, 2).families();
    let text = write(&families, Format::Text);
    let open_metrics = write(&families, Format::OpenMetrics);
    let mut open_metrics = parse(&open_metrics);
    // Which only one of the formats has.
    for sample in &mut open_metrics {
        sample.exemplar = None;
    }
    assert_eq!(parse(&text), open_metrics);
}

#[test]
fn open_metrics_has_its_own_headers() {
    let text = write(&Fixture::of_size(1, 1).families(), Format::OpenMetrics);
    assert!(text.ends_with("\n# EOF\n"));
    for line in [
        "# TYPE hostprobe_syscalls counter",
        "# TYPE hostprobe_syscall_duration_seconds histogram",
        "# UNIT hostprobe_syscall_duration_seconds seconds",
        "# UNIT hostprobe_socket_io_bytes bytes",
        "# UNIT process_cpu_seconds seconds",
        "# TYPE hostprobe_build info",
        "hostprobe_build_info{version=\"0.1.0\",object_build_id=\"c0ffee\",rustc=\"\"} 1",
        "process_cpu_seconds_total 1.25",
    ] {
        assert!(
            text.lines().any(|written| written == line),
            "{line} is missing"
        );
    }
    // Of one family, metadata comes once and its samples stay together.
    let mut seen = HashSet::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        assert!(seen.insert(line.to_owned()), "{line} twice");
    }
}

#[test]
fn a_histogram_is_cumulative_and_closed() {
    let text = write(&Fixture::of_size(1, 1).families(), Format::Text);
    let connect: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("hostprobe_tcp_connect_duration_seconds"))
        .collect();
    assert_eq!(connect.len(), 16 + 2);
    assert!(connect[0].contains("le=\"2.56e-07\"} 0"), "{}", connect[0]);
    assert!(connect[15].contains("le=\"+Inf\"} 2"), "{}", connect[15]);
    assert!(
        connect[16].ends_with("_sum{service=\"service01\"} 0.0053"),
        "{}",
        connect[16]
    );
    assert!(
        connect[17].ends_with("_count{service=\"service01\"} 2"),
        "{}",
        connect[17]
    );
    let bounds = parse(&connect[..16].join("\n"));
    assert!(bounds.windows(2).all(|pair| pair[0].value <= pair[1].value));
}

#[test]
fn the_same_numbers_give_the_same_bytes() {
    for format in [Format::Text, Format::OpenMetrics] {
        // Hash maps differ in order from one to the next.
        let first = write(&Fixture::of_size(5, 20).families(), format);
        let second = write(&Fixture::of_size(5, 20).families(), format);
        assert!(first == second, "{format:?}");
    }
}

#[test]
fn exemplars_are_in_open_metrics_only() {
    let mut families = Families::new();
    let observed = Distribution {
        counts: vec![1; 16],
        sum: 1.0,
    };
    families.histogram(&catalogue::TCP_RTT, ["web"], observed);
    let exemplar = Exemplar {
        labels: vec![("trace_id", "4bf92f".to_owned())],
        value: 0.001,
        timestamp_seconds: 1_790_000_000.5,
    };
    families.exemplar(&catalogue::TCP_RTT, ["web"], exemplar);
    assert!(
        parse(&write(&families, Format::Text))
            .iter()
            .all(|sample| sample.exemplar.is_none())
    );
    let with: Vec<_> = parse(&write(&families, Format::OpenMetrics))
        .into_iter()
        .filter(|sample| sample.exemplar.is_some())
        .collect();
    assert_eq!(with.len(), 1);
    assert_eq!(
        with[0].exemplar.as_deref(),
        Some("{trace_id=\"4bf92f\"} 0.001 1790000000.5")
    );
    assert!(with[0].labels["le"].parse::<f64>().unwrap() >= 0.001);
}

#[test]
fn decimals_are_short_and_exact() {
    for (number, text) in [
        (0.0, "0"),
        (1.0, "1"),
        (2.56e-7, "2.56e-07"),
        (0.000131072, "0.000131072"),
        (68.719476736, "68.719476736"),
        (1.79e9, "1790000000"),
        (1e21, "1e+21"),
        (-3e-10, "-3e-10"),
    ] {
        assert_eq!(decimal(number), text);
    }
    assert_eq!(le(1.0), "1.0");
}

/// 50 services with 40 syscalls each is a big host; its scrape must stay a moderate page.
#[test]
fn a_big_host_s_scrape_is_bounded() {
    let text = write(&Fixture::of_size(50, 40).families(), Format::Text);
    let samples = parse(&text);
    let series_per_syscall = 1 + 16 + 2;
    // Per service: its own counters, and the fifteen latency series that the fixture has of
    // requests, statements and connects, each with its buckets, count and sum; and three of the
    // kernel's histograms of threads and block devices.
    let series_per_service = 239 + 15 * (19 + 2) + 40 + 3 * (16 + 2);
    // Per page of browsers: six vitals on two classes of devices, and what else is counted of it.
    let series_per_page = 2 * (54 + 6 * 3) + 14;
    // Per feature of AI usage: tokens by type, calls by outcome, cost, calls without a price.
    let series_per_feature = 5 + 3 + 1 + 2;
    assert!(
        samples.len()
            < 50 * 40 * series_per_syscall
                + 50 * (series_per_service + series_per_page + series_per_feature)
                + 200,
        "{}",
        samples.len()
    );
    assert!(text.len() < 8_500_000, "{} bytes", text.len());
}

proptest! {
    #[test]
    fn any_label_value_is_read_back(name in "\\PC*|[\"\\\\\n{},= #]*") {
        let mut families = Families::new();
        families.counter(&catalogue::TCP_ACCEPTS, [&name], 1);
        for format in [Format::Text, Format::OpenMetrics] {
            let samples = parse(&write(&families, format));
            prop_assert_eq!(samples.len(), 1);
            prop_assert_eq!(&samples[0].labels["service"], &name);
        }
    }

    #[test]
    fn any_finite_number_is_read_back_and_nothing_else_is_written(
        number in prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY)],
    ) {
        let mut families = Families::new();
        families.gauge_float(&catalogue::START_TIME, [], number);
        let samples = parse(&write(&families, Format::OpenMetrics));
        if number.is_finite() {
            prop_assert_eq!(samples[0].value, number);
        } else {
            prop_assert!(samples.is_empty());
        }
    }
}
