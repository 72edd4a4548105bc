//! `GET /vitals.js`: the script that pages load.

use std::{
    io::Write as _,
    sync::{Arc, OnceLock},
};

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use twox_hash::XxHash3_64;

use super::{App, Problem, beacons};

/// An hour: long enough that a visit loads it once, and a new version of the daemon is not waited
/// for much longer.
const CACHE: &str = "public, max-age=3600";

/// The script in both forms, made once.
#[derive(Debug)]
pub(super) struct Served {
    plain: Bytes,
    zipped: Bytes,
    etag: HeaderValue,
}

impl Served {
    fn new(script: &str) -> Self {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        // Memory takes all of it.
        let zipped = gzip
            .write_all(script.as_bytes())
            .and_then(|()| gzip.finish());
        let hash = XxHash3_64::oneshot(script.as_bytes());
        // Weak: both forms have the same.
        let etag = format!("W/\"{:016x}\"", hash);
        Self {
            plain: script.to_owned().into(),
            zipped: zipped.unwrap_or_default().into(),
            etag: HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }
}

/// Where it is kept, for as long as the server runs.
pub(super) type Script = Arc<OnceLock<Served>>;

/// The script with the configured defaults.
pub(super) async fn script(State(app): State<App>, asked: HeaderMap) -> Response {
    let Some(vitals) = app.source.vitals() else {
        let detail = "there is no script: vitals.enabled is false in this probe's configuration";
        return Problem::new(StatusCode::NOT_FOUND, detail).into_response();
    };
    let served = app.script.get_or_init(|| Served::new(vitals.script()));
    let known = is_known(&asked, &served.etag);
    let zipped = !known && accepts_gzip(&asked) && !served.zipped.is_empty();
    let mut answer = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let body = if zipped {
            &served.zipped
        } else {
            &served.plain
        };
        body.clone().into_response()
    };
    let headers = answer.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, CACHE),
        (header::VARY, "accept-encoding"),
        // A page that loads it with `crossorigin` and `integrity` must be able to read it.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::ETAG, served.etag.clone());
    if zipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    beacons::for_everybody(headers);
    answer
}

/// `If-None-Match` (RFC 9110, section 13.1.2), compared weakly.
fn is_known(asked: &HeaderMap, etag: &HeaderValue) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(etag) = etag.to_str().map(bare) else {
        return false;
    };
    let lists = asked.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(bare);
    tags.any(|tag| tag == etag || tag == "*")
}

/// `gzip` is named, and not with a weight of zero (RFC 9110, section 12.5.3).
fn accepts_gzip(asked: &HeaderMap) -> bool {
    let lists = asked.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight
            .trim()
            .strip_prefix("q=")
            .and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_some_and(|weight| weight > 0.0)
    })
}
