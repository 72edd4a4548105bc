//! The gateway: sends calls on to the API with their caller's own key, once the limits allow it, and
//! records them from what comes back. Requests and answers stream through; of an answer only what a
//! [`ResponseReader`](super::stream::ResponseReader) keeps is kept.

mod answer;
mod call;
mod headers;
mod numbers;
mod refusal;
mod request;
#[cfg(test)]
mod tests;
mod upstream;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, Method, Request, Uri, header},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::{Estimate, Gemini, Operation, Target, UNKNOWN_FEATURE};
use crate::config;
use call::UnderWay;
use numbers::Counters;
use upstream::Upstream;

pub use numbers::GatewayNumbers;
pub use refusal::{GatewayError, RefusalReason, UpstreamFailure};
pub use upstream::UpstreamError;

/// Header that says which service calls.
const SERVICE_HEADER: HeaderName = HeaderName::from_static("x-hostprobe-service");
/// Bytes of a request that are read before it is sent on, to see what it will take.
const LOOK: usize = 1024 * 1024;

/// The gateway; one in the daemon, cheap to copy.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    upstream: Upstream,
    ledger: Gemini,
    /// As records know it.
    host: Arc<str>,
    max_request_bytes: u64,
    assumed_output: u64,
    feature_header: HeaderName,
    slots: Arc<Semaphore>,
    counters: Counters,
    /// Calls that are being recorded.
    settling: TaskTracker,
}

impl Gateway {
    /// A gateway in front of the configured upstream; `None` when it is switched off.
    ///
    /// # Errors
    /// The file of certificates can't be used.
    pub fn open(config: &config::Gemini, ledger: Gemini) -> Result<Option<Self>, UpstreamError> {
        let section = &config.gateway;
        if !section.enabled {
            return Ok(None);
        }
        let feature_header = config
            .feature_header
            .parse()
            .unwrap_or(HeaderName::from_static("x-hostprobe-feature"));
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Some(Self(Arc::new(Inner {
            upstream: Upstream::new(section)?,
            host: ledger.host(),
            ledger,
            max_request_bytes: section.max_request_bytes.into(),
            assumed_output: section.assumed_output_tokens.into(),
            feature_header,
            slots: Arc::new(Semaphore::new(size(section.max_calls))),
            counters: Counters::default(),
            settling: TaskTracker::new(),
        }))))
    }

    /// What it has done so far.
    pub fn numbers(&self) -> GatewayNumbers {
        self.0.counters.read()
    }

    /// Counts a request that is refused before it comes here.
    pub fn refused(&self, reason: RefusalReason) {
        self.0.counters.refused(reason);
    }

    /// Waits until all calls that ended are recorded.
    pub async fn settled(&self) {
        self.0.settling.close();
        self.0.settling.wait().await;
    }

    /// Sends a request on. Its path is that of the API.
    ///
    /// # Errors
    /// What the client is to be told instead of an answer.
    pub async fn forward(&self, request: Request<Body>) -> Result<Response, GatewayError> {
        let arrived = Instant::now();
        let (parts, body) = request.into_parts();
        self.check(&parts.headers)?;
        if let Some(reason) = self.0.upstream.unusable() {
            self.0.counters.failed(UpstreamFailure::Connect);
            let message = format!(
                "hostprobe: TLS to `gemini.gateway.upstream` can't be set up ({reason}); install \
                 certificates (package ca-certificates) or set `gemini.gateway.ca_file`"
            );
            return Err(GatewayError::upstream(UpstreamFailure::Connect, message));
        }
        let Ok(slot) = Arc::clone(&self.0.slots).try_acquire_owned() else {
            let message = "hostprobe: too many calls are under way at once; come again, or raise \
                           `gemini.gateway.max_calls`";
            return Err(self.refuse(RefusalReason::Busy, message));
        };
        let length = self.length(&parts.headers)?;
        let target = Self::target(&parts.method, &parts.uri);
        let (service, feature) = self.names(&parts.headers)?;
        let mut body = Limited::new(body.into_data_stream(), self.0.max_request_bytes);
        let mut begin = Bytes::new();
        let mut whole = false;
        let mut model = target.as_ref().and_then(|target| target.model.clone());
        let mut tokens = 0;
        if target.is_some() {
            (begin, whole) = body
                .begin(LOOK)
                .await
                .map_err(|error| self.unreadable(&error))?;
            let wishes = request::Wishes::of(&begin);
            let rest = match (whole, length) {
                (true, _) => 0,
                (false, Some(length)) => length.saturating_sub(begin.len() as u64),
                // As much again; who sends no length gets no better estimate.
                (false, None) => begin.len() as u64,
            };
            let operation = target.as_ref().map(|target| target.operation);
            let assumed = match operation {
                // Embeddings have no output.
                Some(Operation::Embed | Operation::CountTokens) => 0,
                _ => self.0.assumed_output,
            };
            tokens = wishes.tokens(rest, assumed);
            model = model.or(wishes.model);
        }
        let call = UnderWay {
            gateway: self.clone(),
            operation: target.map(|target| target.operation),
            model: model.unwrap_or_else(|| "unknown".to_owned()),
            service,
            feature: feature.unwrap_or_else(|| UNKNOWN_FEATURE.to_owned()),
            reservation: None,
            started: arrived,
            at_ms: now_ms(),
            slot: Some(slot),
        };
        self.0.counters.under_way.fetch_add(1, Ordering::Relaxed);
        let mut call = call.hold();
        if call.is_reserved_for() && self.0.ledger.is_limited(call.names()) {
            let reserved = self.0.ledger.reserve(&call.estimate(tokens)).await;
            match reserved {
                Ok(reservation) => call.reserved(reservation.id),
                Err(error) => {
                    let (error, reason) = GatewayError::not_reserved(&error);
                    self.refused(reason);
                    return Err(error);
                }
            }
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let headers = headers::to_upstream(&parts.headers, &self.0.feature_header);
        let request = self.0.upstream.request(parts.method, path, headers);
        let request = match request {
            Ok(request) => request,
            Err(message) => {
                call.release();
                return Err(self.refuse(RefusalReason::Invalid, message));
            }
        };
        let request = if whole {
            request.whole(begin)
        } else {
            request.streaming(begin, body, length)
        };
        self.0.counters.forwarded.fetch_add(1, Ordering::Relaxed);
        let added = u64::try_from(arrived.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.counters.added_ns.fetch_add(added, Ordering::Relaxed);
        call.sent();
        match request.send().await {
            Ok(response) => Ok(answer::stream(response, call)),
            Err(failed) if failed.by_the_client => {
                call.release();
                Err(self.refuse(failed.reason, failed.message))
            }
            Err(failed) => {
                self.0.counters.failed(failed.failure);
                call.failed(failed.failure);
                Err(GatewayError::upstream(failed.failure, failed.message))
            }
        }
    }

    fn refuse(&self, reason: RefusalReason, message: impl Into<String>) -> GatewayError {
        self.refused(reason);
        GatewayError::refused(reason, message)
    }

    /// What is not done.
    fn check(&self, headers: &HeaderMap) -> Result<(), GatewayError> {
        if headers.contains_key(header::UPGRADE) {
            self.refused(RefusalReason::Invalid);
            return Err(GatewayError::unimplemented(
                "hostprobe: the gateway does not forward WebSockets, which the Live API uses; call \
                 the API itself for that",
            ));
        }
        Ok(())
    }

    fn length(&self, headers: &HeaderMap) -> Result<Option<u64>, GatewayError> {
        let length = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        match length {
            Some(length) if length > self.0.max_request_bytes => {
                let max = self.0.max_request_bytes;
                let message = format!(
                    "hostprobe: the request has {length} bytes; allowed are {max} \
                     (`gemini.gateway.max_request_bytes`)"
                );
                Err(self.refuse(RefusalReason::TooLarge, message))
            }
            length => Ok(length),
        }
    }

    /// What the request asks of a model; `None` of anything else, which passes without being counted.
    fn target(method: &Method, uri: &Uri) -> Option<Target> {
        (method == Method::POST)
            .then(|| Target::from_path(uri.path()))
            .flatten()
    }

    /// Service and feature by the request's headers.
    fn names(&self, headers: &HeaderMap) -> Result<(String, Option<String>), GatewayError> {
        let name = |header: &HeaderName| {
            headers::name(headers, header).map_err(|message| {
                self.refuse(RefusalReason::Invalid, format!("hostprobe: {message}"))
            })
        };
        let service = name(&SERVICE_HEADER)?.unwrap_or_default();
        Ok((service, name(&self.0.feature_header)?))
    }

    fn unreadable(&self, error: &BodyError) -> GatewayError {
        match error {
            BodyError::TooLarge => {
                let max = self.0.max_request_bytes;
                let message = format!(
                    "hostprobe: the request has more than {max} bytes \
                     (`gemini.gateway.max_request_bytes`)"
                );
                self.refuse(RefusalReason::TooLarge, message)
            }
            BodyError::Broken => self.refuse(
                RefusalReason::Invalid,
                "hostprobe: the request broke off within its body",
            ),
        }
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

/// Why a request's body can't be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum BodyError {
    #[error("the request is larger than allowed")]
    TooLarge,
    #[error("the request broke off")]
    Broken,
}

/// A request's body, of at most so many bytes.
struct Limited<S> {
    inner: S,
    left: u64,
}

impl<S, E> Limited<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    fn new(inner: S, most: u64) -> Self {
        Self { inner, left: most }
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        let bytes = match self.inner.next().await? {
            Ok(bytes) => bytes,
            Err(_) => return Some(Err(BodyError::Broken)),
        };
        Some(match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => {
                self.left = left;
                Ok(bytes)
            }
            None => Err(BodyError::TooLarge),
        })
    }

    /// At least `most` bytes of its beginning, and whether that is all.
    async fn begin(&mut self, most: usize) -> Result<(Bytes, bool), BodyError> {
        let mut first = Bytes::new();
        let mut begin = BytesMut::new();
        while let Some(bytes) = self.next().await {
            let bytes = bytes?;
            // Most requests come in one piece, which needs no copy.
            if first.is_empty() && begin.is_empty() {
                first = bytes;
            } else {
                if begin.is_empty() {
                    begin.extend_from_slice(&first);
                }
                begin.extend_from_slice(&bytes);
            }
            if first.len().max(begin.len()) >= most {
                return Ok((joined(first, begin), false));
            }
        }
        Ok((joined(first, begin), true))
    }
}

fn joined(first: Bytes, all: BytesMut) -> Bytes {
    if all.is_empty() { first } else { all.freeze() }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl UnderWay {
    /// What is asked of the limits.
    fn estimate(&self, tokens: u64) -> Estimate {
        Estimate {
            model: self.model.clone(),
            feature: self.feature.clone(),
            service: self.service.clone(),
            tokens,
            key: None,
        }
    }
}
