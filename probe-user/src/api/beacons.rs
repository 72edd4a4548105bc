//! What browsers ask for and send: the script, and beacons.
//!
//! Anybody can reach these, so nothing is read before origin and rate are checked, and each refusal
//! says why and is counted. CORS is done here and not by a layer, because a preflight that is
//! refused is a refusal, too: what the browser's console says then is all that a developer sees.

use std::{io::Read as _, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::StreamExt as _;

use super::{App, Problem, vitals_script};
use crate::vitals::{
    self, Beacon, Context, Endpoint, Refusal, Vitals, beacon::Device, clean, senders::Sender,
};

/// Longest time for a body to come.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Seconds for which a browser remembers a preflight.
const PREFLIGHT_AGE: &str = "7200";
/// Headers that pages may send beside the common ones; those of Grafana Faro are its own.
const ALLOWED_HEADERS: &str = "content-type, content-encoding, x-api-key, x-faro-session-id";

/// Reads a body: what is in it, or why it is not taken.
type Reads = fn(&[u8], &Context) -> Result<Vec<Beacon>, Refusal>;

/// The endpoints that browsers need.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/vitals.js", get(vitals_script::script))
        .route("/api/metrics", post(metrics).options(preflight))
        .route("/api/browser/errors", post(errors).options(preflight))
        .route("/api/browser/actions", post(actions).options(preflight))
        .route("/api/faro", post(faro).options(preflight))
}

async fn metrics(State(app): State<App>, request: Request<Body>) -> Response {
    receive(&app, request, Endpoint::Metrics, |body, context| {
        Beacon::parse(body, Endpoint::Metrics, context)
    })
    .await
}

async fn errors(State(app): State<App>, request: Request<Body>) -> Response {
    receive(&app, request, Endpoint::Errors, |body, context| {
        Beacon::parse(body, Endpoint::Errors, context)
    })
    .await
}

async fn actions(State(app): State<App>, request: Request<Body>) -> Response {
    receive(&app, request, Endpoint::Actions, |body, context| {
        Beacon::parse(body, Endpoint::Actions, context)
    })
    .await
}

async fn faro(State(app): State<App>, request: Request<Body>) -> Response {
    receive(&app, request, Endpoint::Faro, vitals::faro::read).await
}

/// Whether a page of another origin may send what needs to be asked for: JSON as such.
async fn preflight(State(app): State<App>, headers: HeaderMap) -> Response {
    let Some(vitals) = app.source.vitals() else {
        return off();
    };
    if let Err(refusal) = vitals.check_origin(&sender(&headers)) {
        return refused(&vitals, &refusal);
    }
    let answer = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
    ];
    allow_origin((StatusCode::NO_CONTENT, answer).into_response(), &headers)
}

/// Takes one beacon: 204, or a problem that says why not.
pub(super) async fn receive(
    app: &App,
    request: Request<Body>,
    endpoint: Endpoint,
    read: Reads,
) -> Response {
    let Some(vitals) = app.source.vitals() else {
        return off();
    };
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    if let Err(refusal) = vitals.check_origin(&sender(headers)) {
        return refused(&vitals, &refusal);
    }
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let answer = match take(&vitals, headers, peer, body, read).await {
        Ok(beacons) => {
            vitals.accept(endpoint, &beacons);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refusal) => refused(&vitals, &refusal),
    };
    allow_origin(answer, headers)
}

async fn take(
    vitals: &Vitals,
    headers: &HeaderMap,
    peer: Option<&ConnectInfo<SocketAddr>>,
    body: Body,
    read: Reads,
) -> Result<Vec<Beacon>, Refusal> {
    let forwarded = headers.get_all(HeaderName::from_static("x-forwarded-for"));
    let forwarded: Vec<&str> = forwarded
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    // Only a router without a server has no peer.
    let peer = peer.map_or(std::net::Ipv4Addr::LOCALHOST.into(), |peer| peer.0.ip());
    let permit = vitals.admit(peer, &forwarded)?;
    let most = vitals.max_body();
    if declared_length(headers).is_some_and(|length| length > most as u64) {
        return Err(Refusal::TooLarge(most));
    }
    let body = tokio::time::timeout(BODY_TIME, collect(body, most));
    let body = body.await.map_err(|_| Refusal::Slow(BODY_TIME))??;
    drop(permit);
    let body = match text(headers, header::CONTENT_ENCODING) {
        None | Some("identity") => body,
        Some("gzip") => unzipped(&body, most)?,
        Some(other) => return Err(Refusal::Encoding(clean::text(other, 40, false))),
    };
    read(&body, &context(headers))
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, header::CONTENT_LENGTH)?.parse().ok()
}

async fn collect(body: Body, most: usize) -> Result<Bytes, Refusal> {
    let mut all = Vec::new();
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part =
            part.map_err(|error| Refusal::Broken(clean::text(&error.to_string(), 200, false)))?;
        if all.len() + part.len() > most {
            return Err(Refusal::TooLarge(most));
        }
        all.extend_from_slice(&part);
    }
    Ok(all.into())
}

/// A few bytes may unfold to gigabytes: never more than `most` of them.
fn unzipped(body: &[u8], most: usize) -> Result<Bytes, Refusal> {
    let mut all = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(body)
        .take(limit)
        .read_to_end(&mut all)
        .map_err(|error| Refusal::Broken(format!("it is no gzip: {error}")))?;
    if all.len() > most {
        return Err(Refusal::TooLarge(most));
    }
    Ok(all.into())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn sender(headers: &HeaderMap) -> Sender<'_> {
    Sender {
        origin: text(headers, header::ORIGIN),
        fetch_site: text(headers, HeaderName::from_static("sec-fetch-site")),
        host: text(headers, header::HOST),
    }
}

/// What the request tells beside its body: the page, and a class of device. Nothing else of the
/// `User-Agent` is looked at.
fn context(headers: &HeaderMap) -> Context {
    let agent = text(headers, header::USER_AGENT).unwrap_or_default();
    let hint = text(headers, HeaderName::from_static("sec-ch-ua-mobile"));
    let is = |word: &str| agent.contains(word);
    let device = match hint {
        _ if is("iPad") || is("Tablet") || (is("Android") && !is("Mobi")) => Some(Device::Tablet),
        Some("?1") => Some(Device::Mobile),
        _ if is("Mobi") => Some(Device::Mobile),
        Some("?0") => Some(Device::Desktop),
        _ if is("Mozilla/") => Some(Device::Desktop),
        _ => None,
    };
    Context {
        page: text(headers, header::REFERER).and_then(clean::page),
        device,
    }
}

fn off() -> Response {
    Problem::new(
        StatusCode::NOT_FOUND,
        "beacons are not taken: vitals.enabled is false in this probe's configuration",
    )
    .into_response()
}

fn refused(vitals: &Vitals, refusal: &Refusal) -> Response {
    vitals.refuse(refusal);
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut answer = Problem::new(status, refusal.to_string()).into_response();
    let headers = answer.headers_mut();
    if let Some(after) = refusal.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
    }
    if matches!(refusal, Refusal::Slow(_) | Refusal::Busy) {
        // What is left of the body is not waited for.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    for_everybody(headers);
    answer
}

/// Lets the page that asked read the answer. With credentials, because `sendBeacon` always says
/// that it has some; there is nothing that they could unlock.
fn allow_origin(mut answer: Response, asked: &HeaderMap) -> Response {
    let headers = answer.headers_mut();
    for_everybody(headers);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = asked.get(header::ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let yes = HeaderValue::from_static("true");
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    }
    answer
}

/// Without it, a browser would call a beacon of another origin failed, and the script would send
/// it again.
pub(super) fn for_everybody(headers: &mut HeaderMap) {
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("cross-origin"),
    );
}
