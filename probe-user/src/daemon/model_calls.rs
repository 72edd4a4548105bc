//! Calls of AI models on their way from the decoder to the ledger: named, and their times told by the
//! wall clock.

use std::sync::Arc;

use tokio::sync::mpsc::Receiver;

use super::{Daemon, decoding::now_ns};
use crate::{
    gemini::{Call, Cost, Source, UNKNOWN_FEATURE},
    store::now_ms,
    traffic::ModelCall,
};

/// Calls that may wait to be named.
pub const WAITING: usize = 4_096;

/// What a model is called that neither the request nor the answer named.
const UNKNOWN_MODEL: &str = "unknown";

impl Daemon {
    /// Names what comes and hands it to `observe`, until the decoder is gone and everything it sent was
    /// taken.
    pub async fn keep_model_calls(
        self: Arc<Self>,
        observe: impl Fn(Call),
        mut calls: Receiver<ModelCall>,
    ) {
        let host = self.store.host();
        while let Some(call) = calls.recv().await {
            let service = self.service_name(call.service);
            observe(named(call, service, &host));
        }
    }
}

/// A call as the ledger wants it.
fn named(call: ModelCall, service: String, host: &str) -> Call {
    let ago_ms = now_ns().saturating_sub(call.started_ns) / 1_000_000;
    let at_ms = now_ms().saturating_sub_unsigned(ago_ms);
    let route = call.route.map(|key| key.route.to_string());
    let since = |ns: u64| ns.saturating_sub(call.started_ns);
    Call {
        id: Call::new_id(at_ms),
        key: None,
        response_id: call.response_id,
        at_ms,
        host: host.to_owned(),
        service,
        feature: match (call.feature, &route) {
            (Some(feature), _) => feature.into(),
            (None, Some(route)) => route.clone(),
            (None, None) => UNKNOWN_FEATURE.to_owned(),
        },
        route,
        model: call.model.unwrap_or_else(|| UNKNOWN_MODEL.to_owned()),
        operation: call.operation,
        source: Source::Wire,
        outcome: call.outcome,
        duration_ns: since(call.finished_ns),
        first_chunk_ns: call.first_chunk_ns.map(since),
        usage: call.usage,
        // The ledger applies the prices.
        cost: Cost::NoUsage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gemini::{Operation, Outcome},
        traffic::RouteKey,
    };

    fn call(feature: Option<&str>, route: Option<&str>) -> ModelCall {
        ModelCall {
            service: 1,
            model: None,
            operation: Operation::Interactions,
            feature: feature.map(Into::into),
            route: route.map(|route| RouteKey {
                method: "GET",
                route: route.into(),
            }),
            started_ns: now_ns().saturating_sub(5_000_000),
            finished_ns: now_ns(),
            first_chunk_ns: None,
            outcome: Outcome::Ok,
            usage: None,
            response_id: None,
        }
    }

    /// Whose cost it is: what the program says, else the page, else honestly nobody.
    #[test]
    fn the_feature_is_the_header_s_else_the_route_else_unknown() {
        for (feature, route, expected) in [
            (Some("search"), Some("/find"), "search"),
            (None, Some("/find"), "/find"),
            (None, None, UNKNOWN_FEATURE),
        ] {
            let named = named(call(feature, route), "shop".to_owned(), "host");
            assert_eq!(named.feature, expected);
            assert_eq!(named.route.as_deref(), route);
            assert_eq!(
                (named.source, named.model.as_str()),
                (Source::Wire, "unknown")
            );
            assert!(named.duration_ns >= 5_000_000);
            assert!((now_ms() - named.at_ms).abs() < 60_000);
        }
    }
}
