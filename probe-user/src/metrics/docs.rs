//! `docs/METRICS.md`, made from the [catalogue](super::catalogue).

use std::fmt::Write as _;

use super::{
    catalogue,
    collect::PROGRAM_RECURSION,
    exposition::le,
    metric::{Buckets, FedBy, Group, Kind, Metric},
    service::UNKNOWN_SERVICE,
};
use probe_common::loss::Loss;

/// The document as Markdown.
pub fn markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    // Writing to a string cannot fail.
    for group in Group::ALL {
        let _ = writeln!(out, "\n## {}\n", group.title());
        let metrics = || catalogue::all().filter(move |metric| metric.group() == group);
        out.push_str("| metric | kind | labels | fed by | what it says |\n");
        out.push_str("| --- | --- | --- | --- | --- |\n");
        for metric in metrics() {
            row(&mut out, metric);
        }
        let mut examples = metrics()
            .filter(|metric| !metric.promql().is_empty())
            .peekable();
        if examples.peek().is_some() {
            out.push_str("\nQuestions and their answers:\n\n```promql\n");
            for (index, metric) in examples.enumerate() {
                let gap = if index == 0 { "" } else { "\n" };
                let _ = writeln!(out, "{gap}# {}\n{}", metric.name(), metric.promql());
            }
            out.push_str("```\n");
        }
    }
    buckets(&mut out);
    losses(&mut out);
    out
}

const INTRODUCTION: &str = "# Metrics\n\n\
    <!-- Made from probe-user/src/metrics/catalogue by the test `metrics_md_is_up_to_date`: \
    run it with HOSTPROBE_BLESS=1. Do not edit. -->\n\n\
    `GET /metrics` answers in the Prometheus text format 0.0.4, or in OpenMetrics 1.0 when the \
    `Accept` header prefers it. All counters start at zero when the daemon starts \
    (`hostprobe_start_time_seconds`); those of the host (`hostprobe_host_...`) are the kernel's and \
    start at zero when it boots. A metric whose probe is not active is absent.\n";

fn row(out: &mut String, metric: &Metric) {
    let kind = match metric.kind() {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        Kind::Info => "info",
    };
    let fed_by = match metric.fed_by() {
        FedBy::Probe(name) => format!("probe `{name}`"),
        FedBy::Targets => "targets".to_owned(),
        FedBy::Host => "`[host]`".to_owned(),
        FedBy::Databases => "`[[database]]`".to_owned(),
        FedBy::Browsers => "`[vitals]`".to_owned(),
        FedBy::Daemon => "daemon".to_owned(),
    };
    let labels: Vec<_> = metric
        .labels()
        .iter()
        .map(|label| format!("`{label}`"))
        .collect();
    let help = metric.help().replace('|', "\\|");
    let name = metric.name();
    let _ = writeln!(
        out,
        "| `{name}` | {kind} | {} | {fed_by} | {help} |",
        labels.join(", ")
    );
}

fn buckets(out: &mut String) {
    out.push_str(
        "\n## Buckets\n\n\
         Durations are counted in the kernel in powers of two nanoseconds. `/metrics` shows every \
         second bound, which keeps series few and counts exact; the live page uses all of them. \
         `le` in seconds:\n\n",
    );
    let bounds: Vec<_> = Buckets::Kernel
        .bounds()
        .iter()
        .map(|bound| le(*bound))
        .collect();
    let _ = writeln!(out, "{}, +Inf", bounds.join(", "));
}

fn losses(out: &mut String) {
    out.push_str("\n## Label values\n\n");
    let causes: Vec<_> = Loss::ALL
        .into_iter()
        .map(Loss::name)
        .chain([PROGRAM_RECURSION])
        .map(|cause| format!("`{cause}`"))
        .collect();
    let _ = writeln!(
        out,
        "- `cause` of `hostprobe_events_lost_total`: {}.",
        causes.join(", ")
    );
    let _ = writeln!(
        out,
        "- `service`: the name from the configuration or from discovery; `{UNKNOWN_SERVICE}` for \
         counts of a service that is not known any more."
    );
    out.push_str(
        "- `syscall`: the name on this architecture, `syscall_<number>` when it has none.\n\
         - `errno`: the name, `errno_<number>` when it has none; `abandoned` for a connection \
         attempt that the program gave up.\n\
         - `code`, `signal`: the exit code, or the name of the signal that killed the process \
         (`signal_<number>` for real-time signals).\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Users read the file, not the table.
    #[test]
    fn metrics_md_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/METRICS.md");
        let expected = markdown();
        if std::env::var_os("HOSTPROBE_BLESS").is_some() {
            std::fs::write(path, &expected).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == expected,
            "docs/METRICS.md is not what the catalogue says: run this test with HOSTPROBE_BLESS=1"
        );
    }

    /// Who comes from another exporter must not be sent to a metric that does not exist.
    #[test]
    fn the_table_of_other_exporters_names_ours_as_they_are() {
        let text = include_str!("../../../docs/host-metrics.md");
        let name = regex::Regex::new("`(hostprobe_[a-z0-9_]+)(?:\\{([a-z_,]+)\\})?").unwrap();
        let mut named = std::collections::HashSet::new();
        for found in name.captures_iter(text) {
            let metric = catalogue::all().find(|metric| metric.name() == &found[1]);
            let metric = metric.unwrap_or_else(|| panic!("there is no {}", &found[1]));
            named.insert(metric.name());
            let labels = found.get(2).map_or("", |labels| labels.as_str());
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                assert!(
                    metric.labels().contains(&label),
                    "{} has no {label}",
                    &found[1]
                );
            }
        }
        // And most of ours have a counterpart there.
        assert!(named.len() > 60, "{}", named.len());
    }

    #[test]
    fn every_metric_is_in_the_document_once() {
        let text = markdown();
        for metric in catalogue::all() {
            let row = format!("| `{}` |", metric.name());
            assert_eq!(text.matches(&row).count(), 1, "{row}");
        }
    }
}
