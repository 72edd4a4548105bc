//! Which format a client wants, by its `Accept` header (RFC 9110, section 12.5.1).

use super::Format;

/// Chooses the format. Without a header, or when nothing matches, it is text: a scraper that asks
/// for something else reads text too, and a person wants to see something.
///
/// OpenMetrics is chosen only when it is named, because a browser's or curl's `*/*` means a person.
pub fn negotiate(accept: Option<&str>) -> Format {
    let Some(accept) = accept else {
        return Format::Text;
    };
    let mut text = Preference::default();
    let mut open_metrics = Preference::default();
    for range in accept.split(',').filter_map(MediaRange::parse) {
        match (range.kind.as_str(), range.version.as_deref()) {
            ("application/openmetrics-text", None | Some("1.0.0")) => {
                open_metrics.offer(3, range.quality);
            }
            ("text/plain", None | Some("0.0.4")) => text.offer(3, range.quality),
            ("text/*", _) => text.offer(2, range.quality),
            ("*/*", _) => text.offer(1, range.quality),
            _ => {}
        }
    }
    if open_metrics.quality > 0.0 && open_metrics.quality >= text.quality {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

/// The quality of the most specific range that matches a format.
#[derive(Default)]
struct Preference {
    specificity: u8,
    quality: f32,
}

impl Preference {
    fn offer(&mut self, specificity: u8, quality: f32) {
        if specificity > self.specificity
            || (specificity == self.specificity && quality > self.quality)
        {
            *self = Self {
                specificity,
                quality,
            };
        }
    }
}

struct MediaRange {
    kind: String,
    version: Option<String>,
    quality: f32,
}

impl MediaRange {
    /// `None` for what is not a media range; such parts are ignored, never an error.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next()?.to_ascii_lowercase();
        if !kind.contains('/') {
            return None;
        }
        let mut range = Self {
            kind,
            version: None,
            quality: 1.0,
        };
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => range.version = Some(value.to_owned()),
                "q" => {
                    range.quality = match value.parse::<f32>() {
                        Ok(quality) if (0.0..=1.0).contains(&quality) => quality,
                        _ => return None,
                    };
                }
                _ => {}
            }
        }
        Some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0,\
        application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
        application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
        text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    const FIREFOX: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

    #[test]
    fn scrapers_get_what_they_like_best() {
        assert_eq!(negotiate(Some(PROMETHEUS_2)), Format::OpenMetrics);
        assert_eq!(negotiate(Some(PROMETHEUS_3)), Format::OpenMetrics);
        assert_eq!(
            negotiate(Some(
                "text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.5"
            )),
            Format::Text
        );
        assert_eq!(
            negotiate(Some(
                "text/plain;q=0.5, Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.6"
            )),
            Format::OpenMetrics
        );
    }

    #[test]
    fn people_get_text() {
        for accept in [None, Some(""), Some("*/*"), Some("text/*"), Some(FIREFOX)] {
            assert_eq!(negotiate(accept), Format::Text, "{accept:?}");
        }
    }

    #[test]
    fn what_is_refused_or_unknown_is_not_sent() {
        for accept in [
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=2",
            ";;;,,q=1,/;q",
        ] {
            assert_eq!(negotiate(Some(accept)), Format::Text, "{accept}");
        }
    }

    #[test]
    fn the_more_specific_range_wins_over_a_better_wildcard() {
        assert_eq!(
            negotiate(Some(
                "*/*;q=0.9, text/plain;q=0.1, application/openmetrics-text;q=0.5"
            )),
            Format::OpenMetrics
        );
    }
}
