//! `/gateway/gemini/...`: calls of models that go through the daemon. Outside of what all other
//! endpoints share: answers have no longest time, errors have the API's shape, nothing is compressed
//! anew.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Request, Uri, header,
        uri::{InvalidUri, PathAndQuery},
    },
    response::{IntoResponse as _, Response},
    routing::any,
};

use super::Source;
use crate::gemini::gateway::{Gateway, GatewayError, RefusalReason};

const PREFIX: &str = "/gateway/gemini";

/// A token of ours. `Authorization` may hold one of Google's.
const TOKEN: HeaderName = HeaderName::from_static("x-hostprobe-token");

#[derive(Clone)]
struct Gate {
    gateway: Gateway,
    source: Arc<dyn Source>,
}

/// Nothing when the gateway is switched off.
pub(super) fn routes(source: Arc<dyn Source>) -> Router {
    let Some(gateway) = source.gateway() else {
        return Router::new();
    };
    Router::new()
        .route("/gateway/gemini/{*path}", any(forward))
        .with_state(Gate { gateway, source })
}

async fn forward(State(gate): State<Gate>, request: Request<Body>) -> Response {
    let answered = match gate.admit(request) {
        Ok(request) => gate.gateway.forward(request).await,
        Err(error) => Err(error),
    };
    answered.unwrap_or_else(|error| error.into_response())
}

impl Gate {
    /// The request as the upstream knows it, if its caller may make it.
    fn admit(&self, mut request: Request<Body>) -> Result<Request<Body>, GatewayError> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map(|ConnectInfo(peer)| *peer);
        let headers = as_for_us(request.headers());
        if self.source.tokens().authorise(peer, &headers).is_err() {
            self.gateway.refused(RefusalReason::Caller);
            return Err(GatewayError::refused(
                RefusalReason::Caller,
                "hostprobe: a call from another host, a browser or through a proxy needs a token of \
                 `api.token_files` in the header x-hostprobe-token",
            ));
        }
        match without_prefix(request.uri()) {
            Ok(uri) => *request.uri_mut() = uri,
            Err(error) => {
                self.gateway.refused(RefusalReason::Invalid);
                let message = format!("hostprobe: the path can't be sent on: {error}");
                return Err(GatewayError::refused(RefusalReason::Invalid, message));
            }
        }
        Ok(request)
    }
}

/// The headers with our token where the other endpoints have it, and nobody else's there.
fn as_for_us(headers: &HeaderMap) -> HeaderMap {
    let mut ours = headers.clone();
    ours.remove(header::AUTHORIZATION);
    let token = headers.get(TOKEN).and_then(|token| token.to_str().ok());
    if let Some(mut value) =
        token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok())
    {
        value.set_sensitive(true);
        ours.insert(header::AUTHORIZATION, value);
    }
    ours
}

fn without_prefix(uri: &Uri) -> Result<Uri, InvalidUri> {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    path.strip_prefix(PREFIX).unwrap_or(path).parse()
}
