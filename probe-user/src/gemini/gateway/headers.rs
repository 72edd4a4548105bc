//! Which headers pass the gateway.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// For one connection only (RFC 9110, section 7.6.1), or made anew by who sends.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Ours begin so; they are not told to the upstream.
const OURS: &str = "x-hostprobe-";

/// Headers that hold keys, of which nothing must show.
const SECRET: [HeaderName; 3] = [
    HeaderName::from_static("x-goog-api-key"),
    header::AUTHORIZATION,
    header::COOKIE,
];

/// The headers of a request as the upstream gets them.
pub(super) fn to_upstream(headers: &HeaderMap, feature_header: &HeaderName) -> HeaderMap {
    let mut passed = passing(headers);
    for name in [header::HOST, header::EXPECT, header::CONTENT_LENGTH] {
        passed.remove(name);
    }
    passed.remove(feature_header);
    for name in SECRET {
        if let header::Entry::Occupied(mut values) = passed.entry(name) {
            for value in values.iter_mut() {
                value.set_sensitive(true);
            }
        }
    }
    passed
}

/// The headers of an answer as the client gets them.
pub(super) fn to_client(headers: &HeaderMap) -> HeaderMap {
    passing(headers)
}

fn passing(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    headers
        .iter()
        .filter(|(name, _)| {
            !HOP_BY_HOP.contains(name) && !named.contains(name) && !name.as_str().starts_with(OURS)
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// A header of ours that names something, such as the feature.
///
/// # Errors
/// What its value may be.
pub(super) fn name(headers: &HeaderMap, header: &HeaderName) -> Result<Option<String>, String> {
    let Some(value) = headers.get(header) else {
        return Ok(None);
    };
    let max = crate::config::MAX_NAME;
    let text = value.to_str().ok().map(str::trim);
    match text {
        Some("") => Ok(None),
        Some(text) if text.len() <= max && !text.chars().any(char::is_control) => {
            Ok(Some(text.to_owned()))
        }
        _ => Err(format!(
            "the header {header} has a value of {} bytes that is not allowed; allowed are 1 to \
             {max} visible ASCII characters",
            HeaderValue::len(value)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn the_upstream_gets_the_key_and_nothing_that_is_ours() {
        let given = headers(&[
            ("host", "127.0.0.1:9738"),
            ("connection", "keep-alive, x-odd"),
            ("keep-alive", "timeout=5"),
            ("x-odd", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "12"),
            ("expect", "100-continue"),
            ("x-goog-api-key", "secret"),
            ("content-type", "application/json"),
            ("accept-encoding", "gzip"),
            ("x-hostprobe-token", "ours"),
            ("x-feature", "search"),
        ]);
        let passed = to_upstream(&given, &HeaderName::from_static("x-feature"));
        let mut names: Vec<&str> = passed.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept-encoding", "content-type", "x-goog-api-key"]);
        assert_eq!(passed["x-goog-api-key"], "secret");
        // Whatever logs the headers.
        assert!(!format!("{passed:?}").contains("secret"));
    }

    #[test]
    fn the_client_gets_the_answer_s_length_and_coding() {
        let given = headers(&[
            ("content-length", "12"),
            ("content-encoding", "gzip"),
            ("connection", "close"),
            ("server-timing", "gfet4t7; dur=12"),
        ]);
        let passed = to_client(&given);
        assert_eq!(passed.len(), 3);
        assert!(!passed.contains_key("connection"));
    }

    #[test]
    fn a_feature_is_taken_as_it_is_or_refused() {
        let header = HeaderName::from_static("x-hostprobe-feature");
        let of = |value: &'static str| name(&headers(&[("x-hostprobe-feature", value)]), &header);
        assert_eq!(of(" search "), Ok(Some("search".to_owned())));
        assert_eq!(of(""), Ok(None));
        assert_eq!(name(&HeaderMap::new(), &header), Ok(None));
        let long = HeaderValue::from_str(&"f".repeat(129)).unwrap();
        let long = HeaderMap::from_iter([(header.clone(), long)]);
        assert!(name(&long, &header).unwrap_err().contains("129 bytes"));
    }
}
