//! The results as text: a line while it runs, Markdown tables for the terminal and the documents.

use std::fmt::Write as _;

use super::{
    PROBE,
    report::{DaemonSummary, Measurement, Report, Scenario, Spread, Variant},
};

/// One measurement, as it is told while the bench runs.
pub(super) fn line(one: &Measurement, unit: &str) -> String {
    let mut line = format!(
        "{} {unit}/s, p50 {}, p99 {}, CPU {} each",
        thousands(one.throughput),
        duration(one.p50_us),
        duration(one.p99_us),
        duration(one.cpu_us),
    );
    if let Some(daemon) = &one.daemon {
        let _ = write!(
            line,
            "; daemon {:.2} s CPU, RSS {} MB (peak {} MB), {} lost",
            daemon.cpu_seconds,
            daemon.resident_bytes >> 20,
            daemon.peak_resident_bytes >> 20,
            daemon.lost_total(),
        );
    }
    line
}

/// Everything, for the terminal.
pub(super) fn terminal(report: &Report) -> String {
    let mut text = conditions(report);
    text.push_str("\n\n");
    tables(&mut text, report, 3);
    text
}

/// Everything, for `docs/performance.md`.
pub(super) fn document(report: &Report) -> String {
    let mut text = conditions(report);
    text.push_str("\n\n![Throughput that is kept, by what observes](overhead.svg)\n\n");
    tables(&mut text, report, 3);
    text
}

/// The throughput that is kept, for the README.
pub(super) fn summary(report: &Report) -> String {
    let mut text = format!("{}\n\n", conditions(report));
    for scenario in &report.scenarios {
        let others = scenario.variants.iter().skip(1);
        let (names, kept): (Vec<String>, Vec<String>) = others
            .map(|variant| {
                let ratio = scenario.ratio(variant, |one| one.throughput);
                (variant.name.clone(), percent(ratio.middle))
            })
            .unzip();
        let names = names.join(" | ");
        // Scenarios with the same variants share a table.
        let heading = format!("| throughput that is kept with | {names} |\n");
        if !text.contains(&heading) {
            if text.ends_with("|\n") {
                text.push('\n');
            }
            text.push_str(&heading);
            let _ = writeln!(text, "| --- |{}", " ---: |".repeat(kept.len()));
        }
        let _ = writeln!(text, "| {} | {} |", scenario.title, kept.join(" | "));
    }
    let summaries = daemons(report);
    let largest =
        |of: fn(&DaemonSummary) -> u64| summaries.iter().map(|(_, one)| of(one)).max().unwrap_or(0);
    let cores = summaries.iter().map(|(_, one)| one.cores);
    let _ = write!(
        text,
        "\nThe daemon took at most {:.2} of a core, and {} MB of memory ({} MB while it loaded). ",
        cores.fold(0.0, f64::max),
        largest(|one| one.resident_bytes) >> 20,
        largest(|one| one.peak_resident_bytes) >> 20,
    );
    text.push_str(&losses(report));
    text
}

/// Where, when and how it was measured.
fn conditions(report: &Report) -> String {
    let rounds = report.scenarios.iter().flat_map(|scenario| {
        let variants = scenario.variants.iter();
        variants.map(|variant| variant.rounds.len())
    });
    format!(
        "{} on Linux {}, {} processors ({}): median of {} rounds, {} seconds for each measurement.",
        report.date,
        report.kernel,
        report.cpus,
        report.cpu,
        rounds.min().unwrap_or(0),
        report.seconds,
    )
}

fn tables(text: &mut String, report: &Report, level: usize) {
    for scenario in &report.scenarios {
        scenario_table(text, scenario, level);
    }
    let daemons = daemons(report);
    if !daemons.is_empty() {
        daemon_table(text, &daemons, level);
    }
    text.push_str(&losses(report));
    text.push('\n');
}

fn scenario_table(text: &mut String, scenario: &Scenario, level: usize) {
    let unit = &scenario.unit;
    let _ = writeln!(
        text,
        "{} {}\n\n| observed by | {unit}/s | throughput kept | p50 | p99 | CPU for one |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |",
        "#".repeat(level),
        scenario.title
    );
    for (index, variant) in scenario.variants.iter().enumerate() {
        let compared = |of: fn(&Measurement) -> f64| {
            let value = duration(variant.median(of));
            match index {
                0 => value,
                _ => format!("{value} ({:.2}x)", scenario.ratio(variant, of).middle),
            }
        };
        let kept = match index {
            0 => "100 %".to_owned(),
            _ => range(scenario.ratio(variant, |one| one.throughput)),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {kept} | {} | {} | {} |",
            name(variant),
            thousands(variant.median(|one| one.throughput)),
            compared(|one| one.p50_us),
            compared(|one| one.p99_us),
            compared(|one| one.cpu_us),
        );
    }
    text.push('\n');
}

fn name(variant: &Variant) -> String {
    if variant.name == PROBE {
        format!("**{PROBE}**")
    } else {
        variant.name.clone()
    }
}

fn daemons(report: &Report) -> Vec<(&Scenario, DaemonSummary)> {
    let variants = report.scenarios.iter().flat_map(|scenario| {
        let variants = scenario.variants.iter();
        variants.map(move |variant| (scenario, variant))
    });
    variants
        .filter_map(|(scenario, variant)| Some((scenario, variant.daemon()?)))
        .collect()
}

fn daemon_table(text: &mut String, daemons: &[(&Scenario, DaemonSummary)], level: usize) {
    let _ = writeln!(
        text,
        "{} What {PROBE}'s daemon took\n\n\
         | under | CPU, of one core | CPU for one | memory | while loading | events lost |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |",
        "#".repeat(level),
    );
    for (scenario, daemon) in daemons {
        let lost = match daemon.lost {
            0 => "0".to_owned(),
            lost => format!("**{lost}**"),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} MB | {} MB | {lost} |",
            scenario.title,
            percent(daemon.cores),
            duration(daemon.cpu_us),
            daemon.resident_bytes >> 20,
            daemon.peak_resident_bytes >> 20,
        );
    }
    text.push('\n');
}

/// Whether everything was seen; loud when not, since then the probe was cheap at its cost.
fn losses(report: &Report) -> String {
    let losses = report.losses();
    if losses.is_empty() {
        return "No event was lost.".to_owned();
    }
    format!(
        "**EVENTS WERE LOST, so these numbers are of a probe that did not see everything: {}.**",
        losses.join("; ")
    )
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

fn range(spread: Spread) -> String {
    format!(
        "{} ({:.1} to {:.1})",
        percent(spread.middle),
        spread.low * 100.0,
        spread.high * 100.0
    )
}

/// Microseconds as a person would say them.
fn duration(us: f64) -> String {
    if us >= 1000.0 {
        format!("{:.2} ms", us / 1000.0)
    } else if us >= 100.0 {
        format!("{us:.0} µs")
    } else {
        format!("{us:.1} µs")
    }
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::overhead::report::tests::example;

    #[test]
    fn the_tables_have_every_variant_with_its_ratio() {
        let text = document(&example(0));
        assert!(text.contains("### An app & its database"), "{text}");
        assert!(text.contains("| nothing | 750 | 100 % |"), "{text}");
        assert!(
            text.contains("| **hostprobe** | 700 | 95.0 % (90.0 to 100.0) |"),
            "{text}"
        );
        assert!(text.contains("| 10.0 % |"), "{text}");
        assert!(text.contains("No event was lost."), "{text}");
    }

    /// A probe that loses events is cheap.
    #[test]
    fn losses_can_not_be_overlooked() {
        for text in [
            terminal(&example(3)),
            document(&example(3)),
            summary(&example(3)),
        ] {
            assert!(text.contains("EVENTS WERE LOST"), "{text}");
            assert!(text.contains("payload_ring_full"), "{text}");
        }
    }

    #[test]
    fn scenarios_with_the_same_variants_share_a_table_in_the_summary() {
        let mut report = example(0);
        let mut second = report.scenarios[0].clone();
        second.title = "Another".into();
        report.scenarios.push(second);
        let mut third = report.scenarios[0].clone();
        third.variants[1].name = "something else".into();
        report.scenarios.push(third);
        let text = summary(&report);
        assert_eq!(text.matches("throughput that is kept with").count(), 2);
        assert!(
            text.contains("| An app & its database | 95.0 % |\n| Another | 95.0 % |\n\n|"),
            "{text}"
        );
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(thousands(1_234_567.4), "1,234,567");
        assert_eq!(thousands(12.0), "12");
        assert_eq!(duration(1234.0), "1.23 ms");
        assert_eq!(duration(123.4), "123 µs");
        assert_eq!(duration(37.14), "37.1 µs");
    }
}
