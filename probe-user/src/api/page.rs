//! The live page and the description of the API. All files are inside the binary, and nothing is
//! loaded from elsewhere.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

fn file(kind: &'static str, body: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        // After an upgrade of the daemon an old script would not understand the new numbers.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body).into_response()
}

pub(super) async fn index() -> Response {
    file("text/html; charset=utf-8", include_str!("page/index.html"))
}

pub(super) async fn script() -> Response {
    module(include_str!("page/app.js"))
}

pub(super) async fn elements() -> Response {
    module(include_str!("page/elements.js"))
}

pub(super) async fn numbers() -> Response {
    module(include_str!("page/numbers.js"))
}

pub(super) async fn database() -> Response {
    module(include_str!("page/database.js"))
}

pub(super) async fn traffic() -> Response {
    module(include_str!("page/traffic.js"))
}

pub(super) async fn findings() -> Response {
    module(include_str!("page/findings.js"))
}

pub(super) async fn host() -> Response {
    module(include_str!("page/host.js"))
}

pub(super) async fn verdict() -> Response {
    module(include_str!("page/verdict.js"))
}

pub(super) async fn patterns() -> Response {
    module(include_str!("page/patterns.js"))
}

pub(super) async fn slow() -> Response {
    module(include_str!("page/slow.js"))
}

pub(super) async fn advice() -> Response {
    module(include_str!("page/advice.js"))
}

pub(super) async fn activity() -> Response {
    module(include_str!("page/activity.js"))
}

fn module(body: &'static str) -> Response {
    file("text/javascript; charset=utf-8", body)
}

pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("page/app.css"))
}

/// OpenAPI 3.1.
pub(super) async fn open_api() -> Response {
    file("application/json", OPEN_API)
}

/// The document, kept by hand; a test compares it with the routes and with real answers.
pub(super) const OPEN_API: &str = include_str!("openapi.json");
