//! The connections to the upstream: TLS that is verified, kept open between calls, and never traced.

use std::{error::Error as _, fmt::Write as _, path::PathBuf, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, header},
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use reqwest::{Certificate, Client, Url, redirect};

use super::{
    BodyError, Limited,
    refusal::{RefusalReason, UpstreamFailure},
};
use crate::config::GeminiGateway;

/// Connections that are kept open without a call. Google closes them after four minutes.
const IDLE: Duration = Duration::from_secs(60);
/// Of these at most.
const MAX_IDLE: usize = 32;

/// Why there is no upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The file of certificates can't be read.
    #[error("cannot read `gemini.gateway.ca_file` {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It has no certificates.
    #[error(
        "`gemini.gateway.ca_file` {} has no certificate that can be used ({reason}); it has to be in \
         PEM format",
        path.display()
    )]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Where calls go.
pub(super) struct Upstream {
    /// Or why there is none. A host without certificates must have everything else of the daemon.
    client: Result<Client, String>,
    base: Url,
    /// For messages.
    name: String,
    connect_timeout_s: u32,
    idle_timeout_s: u32,
}

impl Upstream {
    pub(super) fn new(config: &GeminiGateway) -> Result<Self, UpstreamError> {
        // The first to say wins; it is the same everywhere in the daemon.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let base = config.upstream.url().clone();
        let mut client = Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .tcp_nodelay(true)
            .http1_only()
            .connect_timeout(seconds(config.connect_timeout_s))
            .read_timeout(seconds(config.idle_timeout_s))
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE);
        if config.upstream.is_loopback() {
            // A proxy that the environment names is for the way out.
            client = client.no_proxy();
        }
        if let Some(path) = &config.ca_file {
            client = client.tls_certs_merge(certificates(path)?);
        }
        if base.scheme() == "http" {
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| {
            let reason = causes(&error);
            tracing::warn!(
                "the gateway to the Gemini API can't be used: {reason}; install certificates \
                 (package ca-certificates), name a file with `gemini.gateway.ca_file`, or switch it \
                 off with `gemini.gateway.enabled = false`"
            );
            reason
        });
        Ok(Self {
            client,
            name: base.host_str().unwrap_or_default().to_owned(),
            base,
            connect_timeout_s: config.connect_timeout_s,
            idle_timeout_s: config.idle_timeout_s,
        })
    }

    /// Why nothing can be sent at all.
    pub(super) fn unusable(&self) -> Option<&str> {
        self.client.as_ref().err().map(String::as_str)
    }

    /// A request for this path and query, which begin with a slash.
    ///
    /// # Errors
    /// They can't be sent.
    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
    ) -> Result<Outgoing<'_>, String> {
        let base = self.base.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}{path}"))
            // The path may hold the key, so it is not repeated.
            .map_err(|error| format!("hostprobe: the path can't be sent on: {error}"))?;
        if url.origin() != self.base.origin() {
            return Err("hostprobe: the path leads to another host".to_owned());
        }
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let request = client.request(method, url).headers(headers);
        Ok(Outgoing {
            upstream: self,
            request,
        })
    }

    fn failed(&self, error: reqwest::Error) -> Failed {
        if let Some(error) = body_error(&error) {
            let reason = match error {
                BodyError::TooLarge => RefusalReason::TooLarge,
                BodyError::Broken => RefusalReason::Invalid,
            };
            return Failed {
                failure: UpstreamFailure::Broken,
                by_the_client: true,
                reason,
                message: format!("hostprobe: {error}"),
            };
        }
        let error = error.without_url();
        let failure = if error.is_connect() {
            UpstreamFailure::Connect
        } else if error.is_timeout() {
            UpstreamFailure::Timeout
        } else {
            UpstreamFailure::Broken
        };
        let name = &self.name;
        let what = match failure {
            UpstreamFailure::Connect if error.is_timeout() => {
                format!(
                    "did not accept a connection within {} s",
                    self.connect_timeout_s
                )
            }
            UpstreamFailure::Connect => format!("can't be reached: {}", causes(&error)),
            UpstreamFailure::Timeout => {
                format!("sent nothing for {} s", self.idle_timeout_s)
            }
            _ => format!(
                "closed the connection without an answer: {}",
                causes(&error)
            ),
        };
        Failed {
            failure,
            by_the_client: false,
            reason: RefusalReason::Invalid,
            message: format!("hostprobe: the upstream {name} {what}"),
        }
    }
}

/// A request that is ready to go.
pub(super) struct Outgoing<'a> {
    upstream: &'a Upstream,
    request: reqwest::RequestBuilder,
}

/// Why there is no answer.
pub(super) struct Failed {
    pub(super) failure: UpstreamFailure,
    /// Because the client did not send its request to the end.
    pub(super) by_the_client: bool,
    pub(super) reason: RefusalReason,
    pub(super) message: String,
}

impl Outgoing<'_> {
    /// With this body.
    pub(super) fn whole(self, body: Bytes) -> Self {
        let request = if body.is_empty() {
            self.request
        } else {
            self.request.body(body)
        };
        Self { request, ..self }
    }

    /// With a body of which this is the beginning, and its length when that is known.
    pub(super) fn streaming<S, E>(self, begin: Bytes, rest: Limited<S>, length: Option<u64>) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
        E: 'static,
    {
        if begin.is_empty() && length == Some(0) {
            return self;
        }
        let body = stream::unfold((Some(begin), rest), |(begin, mut rest)| async move {
            if let Some(begin) = begin.filter(|begin| !begin.is_empty()) {
                return Some((Ok(begin), (None, rest)));
            }
            let next = rest.next().await?;
            Some((next, (None, rest)))
        });
        let mut request = self.request.body(reqwest::Body::wrap_stream(body));
        if let Some(length) = length {
            request = request.header(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Self { request, ..self }
    }

    /// Sends it, and waits for the head of the answer.
    pub(super) async fn send(self) -> Result<axum::http::Response<Body>, Failed> {
        match self.request.send().await {
            Ok(response) => {
                let response = axum::http::Response::<reqwest::Body>::from(response);
                Ok(response.map(Body::new))
            }
            Err(error) => Err(self.upstream.failed(error)),
        }
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<Certificate>, UpstreamError> {
    let text = std::fs::read(path).map_err(|error| UpstreamError::Read {
        path: path.clone(),
        error,
    })?;
    let unusable = |reason: String| UpstreamError::Certificates {
        path: path.clone(),
        reason,
    };
    let found = Certificate::from_pem_bundle(&text).map_err(|error| unusable(causes(&error)))?;
    if found.is_empty() {
        return Err(unusable("there is none in it".to_owned()));
    }
    Ok(found)
}

/// What an error is about, without the address that was asked for.
fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.source().is_none() {
            let _ = write!(text, "{error}");
        }
        cause = error.source();
    }
    if text.is_empty() {
        text.push_str("the connection broke");
    }
    text
}

fn body_error(error: &reqwest::Error) -> Option<BodyError> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<BodyError>() {
            return Some(*error);
        }
        cause = error.source();
    }
    None
}
