//! Numbers of HTTP exchanges.

use std::{collections::BTreeMap, sync::Arc};

use super::{Counts, Timing, other, series};
use crate::{
    routes::{self, Router},
    wire::{
        http1::{End, Exchange, Method},
        stream::Side,
    },
};

/// A series of requests that a service answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpServerKey {
    /// Request method.
    pub method: &'static str,
    /// Route, never the path itself.
    pub route: Arc<str>,
    /// Response status, 0 when there was none or it is not known.
    pub status: u16,
}

/// A series of requests that a service made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpClientKey {
    /// Request method.
    pub method: &'static str,
    /// The `Host` that was asked, `unknown` when it was not seen.
    pub server: Arc<str>,
    /// Response status, 0 when there was none or it is not known.
    pub status: u16,
}

/// What was observed of a series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpSeries {
    /// From the first byte of the request to the last of the response.
    pub duration: Timing,
    /// From the first byte of the request to the first of the response.
    pub first_byte: Timing,
    /// Bytes of request content, where they are certain.
    pub request_bytes: u64,
    /// Bytes of response content, where they are certain.
    pub response_bytes: u64,
    /// Of the requests: those whose connection ended before the response was complete.
    pub aborted: u64,
}

/// One service's HTTP.
#[derive(Debug)]
pub(super) struct Http {
    router: Option<Router>,
    limit: usize,
    pub(super) server: BTreeMap<HttpServerKey, HttpSeries>,
    pub(super) client: BTreeMap<HttpClientKey, HttpSeries>,
}

impl Http {
    pub(super) fn new(limit: usize) -> Self {
        let none: [&str; 0] = [];
        Self {
            // Without templates there is nothing to be wrong with.
            router: Router::new(&none, routes::Limits::default()).ok(),
            limit,
            server: BTreeMap::new(),
            client: BTreeMap::new(),
        }
    }

    /// Takes one exchange that the service was on this side of. Returns the route of a request
    /// that it answered.
    pub(super) fn exchange(
        &mut self,
        side: Side,
        exchange: &Exchange,
        counts: &mut Counts,
    ) -> Option<Arc<str>> {
        let mut answered = None;
        let status = exchange.status.unwrap_or(0);
        let method = exchange.method.as_str();
        let series = match side {
            Side::Server => {
                let route = self.route(exchange.method, exchange.path.as_deref(), exchange.status);
                answered = Some(Arc::clone(&route));
                let key = HttpServerKey {
                    method,
                    route,
                    status,
                };
                series(&mut self.server, self.limit, key, |key| HttpServerKey {
                    route: other(),
                    ..key
                })
            }
            Side::Client => {
                let server = exchange.host.as_deref().unwrap_or("unknown").into();
                let key = HttpClientKey {
                    method,
                    server,
                    status,
                };
                series(&mut self.client, self.limit, key, |key| HttpClientKey {
                    server: other(),
                    ..key
                })
            }
        };
        if exchange.end == End::Unknown {
            counts.uncertain += 1;
        } else {
            series
                .duration
                .observe(exchange.finished_ns.saturating_sub(exchange.started_ns));
        }
        if let Some(first_byte_ns) = exchange.first_byte_ns {
            series
                .first_byte
                .observe(first_byte_ns.saturating_sub(exchange.started_ns));
        }
        series.request_bytes += exchange.request_bytes.unwrap_or(0);
        series.response_bytes += exchange.response_bytes.unwrap_or(0);
        series.aborted += u64::from(exchange.aborted);
        answered
    }

    fn route(&mut self, method: Method, path: Option<&str>, status: Option<u16>) -> Arc<str> {
        match &mut self.router {
            Some(router) => router.route(method.as_str(), path, status),
            None => other(),
        }
    }
}
