//! `/metrics`.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{App, CollectError};
use crate::metrics::{
    collect,
    exposition::{negotiate, write},
};

/// All metrics in the format that the client prefers.
pub(super) async fn metrics(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, CollectError> {
    // A client may send the header more than once; the values then belong together.
    let accept: Vec<_> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let format = negotiate(Some(&accept.join(",")));
    let reading = app.collector.read().await?;
    // A big host's page is megabytes: not on a thread that serves connections.
    let body =
        tokio::task::spawn_blocking(move || write(&collect(&reading.inputs()), format)).await?;
    let kind = HeaderValue::from_static(format.content_type());
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::VARY, HeaderValue::from_static("accept")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, body).into_response())
}
