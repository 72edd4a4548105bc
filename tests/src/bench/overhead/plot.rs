//! The throughput that is kept, as bars in an SVG picture.

use std::fmt::Write as _;

use super::{PROBE, report::Report};

/// Widths and heights in pixels.
const WIDTH: f64 = 780.0;
const LABELS: f64 = 290.0;
const BAR: f64 = 16.0;
const ROW: f64 = 22.0;
const HEADING: f64 = 30.0;
const TOP: f64 = 44.0;
const RIGHT: f64 = 150.0;

/// Draws it: for each scenario one bar for each variant but the first, which is 100 %; the line
/// across a bar's end goes from the lowest to the highest round.
pub(super) fn svg(report: &Report) -> String {
    let scenarios = &report.scenarios;
    let rows: usize = scenarios.iter().map(|one| one.variants.len() - 1).sum();
    #[allow(clippy::cast_precision_loss, reason = "a few bars")]
    let height = TOP + rows as f64 * ROW + scenarios.len() as f64 * HEADING + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"13\" fill=\"#1f2937\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"15\" font-weight=\"600\">Throughput that is kept, \
         in percent of nothing observing</text>\n"
    );
    let one_hundred = x(1.0);
    let _ = writeln!(
        svg,
        "<line x1=\"{one_hundred:.1}\" x2=\"{one_hundred:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" \
         stroke=\"#9ca3af\" stroke-dasharray=\"3 3\"/>",
        height - 12.0
    );
    let mut y = TOP;
    for scenario in scenarios {
        let _ = writeln!(
            svg,
            "<text x=\"16\" y=\"{:.1}\" font-weight=\"600\">{}</text>",
            y + 20.0,
            escaped(&scenario.title)
        );
        y += HEADING;
        for variant in scenario.variants.iter().skip(1) {
            let kept = scenario.ratio(variant, |one| one.throughput);
            let colour = if variant.name == PROBE {
                "#2563eb"
            } else {
                "#94a3b8"
            };
            let middle = y + BAR / 2.0;
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
                 <rect x=\"{LABELS}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\" \
                 fill=\"{colour}\"/>\n\
                 <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" \
                 stroke=\"#111827\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\">{:.1} %</text>",
                LABELS - 10.0,
                y + 12.5,
                escaped(&variant.name),
                x(kept.middle) - LABELS,
                x(kept.low),
                x(kept.high),
                x(kept.high.max(1.0)) + 8.0,
                y + 12.5,
                kept.middle * 100.0,
            );
            y += ROW;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where a ratio lies. What is more than a fifth above 1 is noise, and is cut off.
fn x(ratio: f64) -> f64 {
    let ratio = if ratio.is_finite() { ratio } else { 0.0 };
    LABELS + ratio.clamp(0.0, 1.2) * (WIDTH - LABELS - RIGHT)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::overhead::report::tests::example;

    #[test]
    fn there_is_one_bar_for_each_variant_but_nothing() {
        let svg = svg(&example(0));
        // The other rectangle is the background.
        assert_eq!(svg.matches("<rect").count(), 2);
        assert!(svg.contains(">hostprobe</text>") && svg.contains("95.0 %"));
        assert!(svg.contains("An app &amp; its database"));
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn the_longer_bar_is_of_the_better_ratio_and_nothing_leaves_the_picture() {
        assert!(x(0.5) < x(0.9) && x(0.9) < x(1.0));
        for ratio in [-1.0, 0.0, 1.0, 7.0, f64::NAN, f64::INFINITY] {
            assert!((LABELS..WIDTH).contains(&x(ratio)), "{ratio}");
        }
    }
}
