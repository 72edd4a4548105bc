//! Numbers of HTTP exchanges.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Counts, Exemplar, Exemplars, Timing,
    clients::{Clients, Salt},
    other, series,
};
use crate::{
    routes::{self, Router, Templates},
    wire::{
        http1::{End, Exchange},
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
    /// Durations whose request came with its trace.
    pub exemplars: Exemplars,
}

/// One service's HTTP.
#[derive(Debug)]
pub(super) struct Http {
    router: Router,
    limit: usize,
    salt: Salt,
    pub(super) clients: Clients,
    pub(super) server: BTreeMap<HttpServerKey, HttpSeries>,
    pub(super) client: BTreeMap<HttpClientKey, HttpSeries>,
}

impl Http {
    /// `limit` bounds the series of each kind.
    pub(super) fn new(limit: usize, routes: routes::Limits, templates: Arc<Templates>) -> Self {
        Self {
            router: Router::with_templates(templates, routes),
            limit,
            salt: Salt::default(),
            clients: Clients::default(),
            server: BTreeMap::new(),
            client: BTreeMap::new(),
        }
    }

    /// Takes other templates from now on.
    pub(super) fn set_templates(&mut self, templates: Arc<Templates>) {
        self.router.set_templates(templates);
    }

    /// Takes one exchange that the service was on this side of. `peer` stands for the other end's
    /// address, 0 where it is not known. Returns the route of a request that it answered.
    pub(super) fn exchange(
        &mut self,
        side: Side,
        exchange: &Exchange,
        peer: u32,
        counts: &mut Counts,
    ) -> Option<Arc<str>> {
        let mut answered = None;
        let status = exchange.status.unwrap_or(0);
        let method = exchange.method.as_str();
        let series = match side {
            Side::Server => {
                if let Some(client) = self.salt.client(exchange.forwarded_for, peer) {
                    self.clients.seen(client, exchange.finished_ns);
                }
                let path = exchange.path.as_deref();
                let route = self.router.route(method, path, exchange.status);
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
        series.observe(exchange, counts);
        answered
    }
}

impl HttpSeries {
    fn observe(&mut self, exchange: &Exchange, counts: &mut Counts) {
        if let Some(first_byte_ns) = exchange.first_byte_ns {
            self.first_byte
                .observe(first_byte_ns.saturating_sub(exchange.started_ns));
        }
        self.request_bytes = self
            .request_bytes
            .saturating_add(exchange.request_bytes.unwrap_or(0));
        self.response_bytes = self
            .response_bytes
            .saturating_add(exchange.response_bytes.unwrap_or(0));
        self.aborted += u64::from(exchange.aborted);
        if exchange.end == End::Unknown {
            counts.uncertain += 1;
            return;
        }
        let ns = exchange.finished_ns.saturating_sub(exchange.started_ns);
        self.duration.observe(ns);
        // What is not sampled cannot be looked up.
        if let Some(trace) = exchange.trace.filter(|trace| trace.sampled) {
            self.exemplars.observe(Exemplar {
                trace_id: u128::from_be_bytes(trace.trace_id),
                ns,
                at_ns: exchange.finished_ns,
            });
        }
    }
}
