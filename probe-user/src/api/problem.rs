//! Errors in one shape: `application/problem+json` (RFC 9457).

use axum::{
    Json,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::CollectError;

const CONTENT_TYPE: &str = "application/problem+json";

/// One error, as clients see it.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is (RFC 9457, section 4.2.1).
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status code.
    status: u16,
    /// What happened, to what, and what to do next.
    detail: String,
}

impl Problem {
    /// A problem with a status of the 4xx or 5xx range.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = HeaderValue::from_static(CONTENT_TYPE);
        (status, [(header::CONTENT_TYPE, kind)], Json(self)).into_response()
    }
}

impl IntoResponse for CollectError {
    fn into_response(self) -> Response {
        let mut response =
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, self.to_string()).into_response();
        if matches!(self, Self::Busy) {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

pub(super) async fn not_found(uri: Uri) -> Problem {
    let detail = format!(
        "there is nothing at {}; /api/openapi.json lists what there is",
        uri.path()
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}

pub(super) async fn not_for_browsers(uri: Uri) -> Problem {
    let detail = format!(
        "there is nothing at {}: this address (vitals.listen) has /vitals.js and takes beacons, \
         everything else is at the probe's own address",
        uri.path()
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!(
        "{} does not take {method}; the Allow header says what it takes",
        uri.path()
    );
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Gives the errors of layers and extractors, which are plain text or empty, the common shape.
pub(super) async fn shape_errors(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let shaped = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes() == CONTENT_TYPE.as_bytes());
    if !is_error || shaped {
        return response;
    }
    let detail = match status {
        StatusCode::SERVICE_UNAVAILABLE => "the answer took too long; come again",
        StatusCode::PAYLOAD_TOO_LARGE => "the request's body is too large",
        _ => "the request could not be answered",
    };
    let (old, _) = response.into_parts();
    let mut new = Problem::new(status, detail).into_response();
    for name in [header::ALLOW, header::RETRY_AFTER] {
        if let Some(value) = old.headers.get(&name) {
            new.headers_mut().insert(name, value.clone());
        }
    }
    new
}
