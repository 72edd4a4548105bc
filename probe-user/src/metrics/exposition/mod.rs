//! The formats that Prometheus reads: text 0.0.4 and OpenMetrics 1.0, over the same families.
//!
//! One writer serves both, because they differ in the headers only; keeping two from drifting
//! apart would cost more than it saves.

mod negotiate;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use super::{
    families::{Exemplar, Families, Family, LabelValues, Value},
    metric::{Distribution, Kind, Unit},
};

pub use negotiate::negotiate;

/// An exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4. What people and old scrapers get.
    Text,
    /// OpenMetrics 1.0, which has units, info metrics and exemplars.
    OpenMetrics,
}

impl Format {
    /// The value of the `Content-Type` header.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes all families. The same families give the same bytes.
pub fn write(families: &Families, format: Format) -> String {
    let mut writer = Writer {
        out: String::with_capacity(64 * 1024),
        format,
    };
    for family in families.iter() {
        writer.family(family);
    }
    if format == Format::OpenMetrics {
        writer.out.push_str("# EOF\n");
    }
    writer.out
}

struct Writer {
    out: String,
    format: Format,
}

impl Writer {
    fn family(&mut self, family: &Family) {
        if family.series.is_empty() {
            return;
        }
        self.headers(family);
        for (labels, value) in &family.series {
            match value {
                Value::Integer(whole) => {
                    self.name_and_labels(family, "", labels, None);
                    self.value(*whole);
                }
                Value::Float(number) => {
                    self.name_and_labels(family, "", labels, None);
                    self.value(decimal(*number));
                }
                Value::Distribution(observed) => self.distribution(family, labels, observed),
            }
        }
    }

    /// `# HELP`, `# TYPE`, and in OpenMetrics `# UNIT`.
    fn headers(&mut self, family: &Family) {
        let metric = family.metric;
        let name = match (self.format, metric.kind()) {
            // OpenMetrics names the family, and its samples add the suffix of their type.
            (Format::OpenMetrics, Kind::Counter) => metric.name().trim_end_matches("_total"),
            (Format::OpenMetrics, Kind::Info) => metric.name().trim_end_matches("_info"),
            _ => metric.name(),
        };
        let out = &mut self.out;
        let (kind, quotes) = match self.format {
            Format::Text => (metric.kind().text_name(), Quotes::Bare),
            Format::OpenMetrics => (metric.kind().open_metrics_name(), Quotes::Escaped),
        };
        for part in ["# HELP ", name, " "] {
            out.push_str(part);
        }
        escape(out, metric.help(), quotes);
        for part in ["\n# TYPE ", name, " ", kind, "\n"] {
            out.push_str(part);
        }
        if self.format == Format::OpenMetrics && metric.unit() != Unit::None {
            for part in ["# UNIT ", name, " ", metric.unit().name(), "\n"] {
                out.push_str(part);
            }
        }
    }

    /// Cumulative buckets, `+Inf` last, then sum and count.
    fn distribution(&mut self, family: &Family, labels: &LabelValues, observed: &Distribution) {
        let bounds = family.metric.buckets().bounds();
        let mut cumulative = 0u64;
        for (bucket, count) in observed.counts.iter().enumerate() {
            cumulative = cumulative.saturating_add(*count);
            let le = bounds
                .get(bucket)
                .map_or_else(|| "+Inf".to_owned(), |bound| le(*bound));
            self.name_and_labels(family, "_bucket", labels, Some(&le));
            let _ = write!(self.out, "{cumulative}");
            if self.format == Format::OpenMetrics
                && let Some(exemplar) = family.exemplars.get(&(labels.clone(), bucket))
            {
                self.exemplar(exemplar);
            }
            self.out.push('\n');
        }
        self.name_and_labels(family, "_sum", labels, None);
        self.value(decimal(observed.sum));
        self.name_and_labels(family, "_count", labels, None);
        self.value(cumulative);
    }

    fn exemplar(&mut self, exemplar: &Exemplar) {
        self.out.push_str(" # {");
        for (index, (name, value)) in exemplar.labels.iter().enumerate() {
            self.label(index == 0, name, value);
        }
        let _ = write!(
            self.out,
            "}} {} {}",
            decimal(exemplar.value),
            decimal(exemplar.timestamp_seconds)
        );
    }

    /// Everything of a sample's line before the value.
    fn name_and_labels(
        &mut self,
        family: &Family,
        suffix: &str,
        values: &LabelValues,
        le: Option<&str>,
    ) {
        self.out.push_str(family.metric.name());
        self.out.push_str(suffix);
        if !values.is_empty() || le.is_some() {
            self.out.push('{');
            let labels = family.metric.labels().iter().zip(values);
            for (index, (name, value)) in labels.enumerate() {
                self.label(index == 0, name, value);
            }
            if let Some(le) = le {
                self.label(values.is_empty(), "le", le);
            }
            self.out.push('}');
        }
        self.out.push(' ');
    }

    fn label(&mut self, first: bool, name: &str, value: &str) {
        if !first {
            self.out.push(',');
        }
        self.out.push_str(name);
        self.out.push_str("=\"");
        escape(&mut self.out, value, Quotes::Escaped);
        self.out.push('"');
    }

    fn value(&mut self, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "{value}");
    }
}

/// Whether a double quote needs a backslash: always, but in the help of the text format.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Bare,
    Escaped,
}

fn escape(out: &mut String, text: &str, quotes: Quotes) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes == Quotes::Escaped => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

/// The shortest decimal that reads back as the same number, with an exponent when it would be long
/// otherwise (`1e-09`, as Go writes it).
fn decimal(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let scientific = format!("{number:e}");
        if let Some((mantissa, exponent)) = scientific.split_once('e') {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            return format!("{mantissa}e{sign}{digits:0>2}");
        }
    }
    number.to_string()
}

/// A bound as OpenMetrics wants `le` ("canonical numbers", always with a dot or an exponent). The
/// text format gets the same, so that a series does not change its identity with the format.
pub(super) fn le(bound: f64) -> String {
    let mut text = decimal(bound);
    if !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}
