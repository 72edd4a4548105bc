//! `/api/gemini/...`: calls that programs report, and what they ask for before they call.

mod answer;
mod body;
mod reports;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, FromRequest as _, Request, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderName, StatusCode, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
pub(crate) use reports::{Answer as ReportAnswer, Row as ReportRow};
use tower_http::limit::RequestBodyLimitLayer;

use super::{App, Problem};
use crate::{
    gemini::{Gemini, GeminiError, ReserveError},
    store::StoreError,
};

/// Largest body: some thousand calls.
const MAX_BODY: usize = 1 << 20;
/// Seconds after which it is worth coming again while the store is down.
const STORE_PAUSE_S: u16 = 5;

const OFF: &str = "usage of Gemini is not kept here";

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What writes, and what it has come to.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/gemini/report", get(reports::report))
        .route("/api/gemini/limits", get(reports::limits))
        .route("/api/gemini/usage", post(usage))
        .route("/api/gemini/reserve", post(reserve))
        .route("/api/gemini/commit", post(commit))
        .route("/api/gemini/release", post(release))
        .layer(RequestBodyLimitLayer::new(MAX_BODY))
        .layer(middleware::map_response(large_bodies))
}

/// Says of bodies that are too large how large they may be.
async fn large_bodies(response: Response) -> Response {
    if response.status() != StatusCode::PAYLOAD_TOO_LARGE {
        return response;
    }
    let detail = format!("the body is larger than {MAX_BODY} bytes; send smaller batches");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into_response()
}

/// What every write begins with: who it is, and the body.
struct Write {
    gemini: Gemini,
    /// Of the header.
    key: Option<String>,
    body: serde_json::Value,
}

async fn begin(app: &App, request: Request) -> Result<Write, Problem> {
    let gemini = app.source.gemini();
    let gemini = gemini.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, OFF))?;
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|peer| peer.0);
    // Before anything of the body is read.
    app.source
        .tokens()
        .authorise(peer, request.headers())
        .inspect_err(|_| gemini.turned_away("unauthorized"))?;
    match read(request).await {
        Ok((key, body)) => Ok(Write { gemini, key, body }),
        Err(problem) => {
            gemini.turned_away("bad_request");
            Err(problem)
        }
    }
}

async fn read(request: Request) -> Result<(Option<String>, serde_json::Value), Problem> {
    let key = key_of(request.headers())?;
    let body = Bytes::from_request(request, &()).await;
    let body = body.map_err(|rejection: BytesRejection| {
        Problem::new(rejection.status(), rejection.body_text())
    })?;
    let body = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("the body is not JSON: {error}")))?;
    Ok((key, body))
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    // A structured text of RFC 8941 has quotation marks, which are no part of the key.
    let key = value.to_str().map(|text| text.trim().trim_matches('"'));
    match key {
        Ok(key) if body::is_key(key) => Ok(Some(key.to_owned())),
        _ => Err(bad(format!("the header Idempotency-Key: {}", body::KEY))),
    }
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// Takes note of calls that were made.
async fn usage(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let write = begin(&app, request).await?;
    let gemini = &write.gemini;
    let calls = body::calls(&write.body, write.key.as_deref(), gemini);
    let (calls, single) = calls.map_err(|wrong| wrong.turned_away(gemini))?;
    let costs: Vec<_> = calls.iter().map(|call| call.cost.clone()).collect();
    let recorded = gemini.record_all(calls).await.map_err(failed)?;
    let calls = recorded.iter().zip(&costs);
    let mut calls: Vec<_> = calls.map(|(one, cost)| answer::call(*one, cost)).collect();
    Ok(match calls.pop() {
        Some(only) if single => Json(only).into_response(),
        last => {
            calls.extend(last);
            Json(answer::Calls { calls }).into_response()
        }
    })
}

/// Promises that a call fits.
async fn reserve(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let write = begin(&app, request).await?;
    let gemini = &write.gemini;
    let want = body::estimate(&write.body, write.key.as_deref());
    let want = want.map_err(|wrong| wrong.turned_away(gemini))?;
    match gemini.reserve(&want).await {
        Ok(reservation) => Ok(Json(answer::reservation(&reservation)).into_response()),
        Err(ReserveError::Refused(refusal)) => Err(answer::refusal(&refusal)),
        Err(ReserveError::Unavailable(error)) => Err(unavailable(&error)),
        Err(error @ ReserveError::KeyReused { .. }) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            error.to_string(),
        )),
    }
}

/// Replaces what was reserved by what was used.
async fn commit(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let write = begin(&app, request).await?;
    let gemini = &write.gemini;
    let id = body::reservation(&write.body).map_err(|wrong| wrong.turned_away(gemini))?;
    let reserved = gemini
        .reserved(id)
        .await
        .map_err(|error| unavailable(&error))?;
    let call = body::settled(&write.body, write.key.as_deref(), gemini, reserved.as_ref());
    let call = call.map_err(|wrong| wrong.turned_away(gemini))?;
    let cost = call.cost.clone();
    let settled = gemini.settle_now(id, call).await.map_err(failed)?;
    Ok(Json(answer::settled(settled, &cost)).into_response())
}

/// Gives back what was reserved for a call that was not made.
async fn release(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let write = begin(&app, request).await?;
    let gemini = &write.gemini;
    let id = body::only_reservation(&write.body).map_err(|wrong| wrong.turned_away(gemini))?;
    gemini.release(&id).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn unavailable(error: &StoreError) -> Problem {
    let detail = format!("the store cannot be used now, nothing was changed; come again: {error}");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with_header(header::RETRY_AFTER, STORE_PAUSE_S)
}

fn failed(error: GeminiError) -> Problem {
    let status = match &error {
        GeminiError::Store(error) => return unavailable(error),
        GeminiError::KeyReused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        GeminiError::NoReservation(_) => StatusCode::NOT_FOUND,
        GeminiError::Zone(_) | GeminiError::Prices(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Problem::new(status, error.to_string())
}
