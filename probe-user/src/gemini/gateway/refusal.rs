//! What the gateway says itself, in the shape of Google's errors (AIP-193), so that SDKs raise the
//! errors that they raise for the API.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::super::{Refusal as LimitRefusal, ReserveError, Unit};

/// Tells our answers from the API's.
const DOMAIN: &str = "hostprobe";

/// Why the gateway did not forward a call, as metrics call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalReason {
    /// A limit does not allow it.
    Limit,
    /// The ledger can't be used, and the configuration refuses then.
    Store,
    /// Too many calls are under way.
    Busy,
    /// The caller may not use the gateway.
    Caller,
    /// The request is too large.
    TooLarge,
    /// The request can't be forwarded.
    Invalid,
}

impl RefusalReason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Limit,
        Self::Store,
        Self::Busy,
        Self::Caller,
        Self::TooLarge,
        Self::Invalid,
    ];

    /// As metrics call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Store => "store",
            Self::Busy => "busy",
            Self::Caller => "caller",
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
        }
    }
}

/// How the upstream failed, as metrics call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpstreamFailure {
    /// No connection, or no TLS on it: it has not seen the call.
    Connect,
    /// It did not answer in time.
    Timeout,
    /// The connection broke before the head of an answer.
    Broken,
    /// The connection broke, or nothing came any more, in the midst of an answer.
    Answer,
}

impl UpstreamFailure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Timeout, Self::Broken, Self::Answer];

    /// As metrics call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Answer => "answer",
        }
    }
}

/// An answer of the gateway's own.
#[derive(Debug)]
pub struct GatewayError {
    status: StatusCode,
    /// The name of the error, as in `google.rpc.Code`.
    name: &'static str,
    message: String,
    /// As metrics call it, in capitals.
    reason: String,
    /// More about it, beside `ErrorInfo`.
    details: Vec<Value>,
    retry_after_s: Option<u64>,
}

impl GatewayError {
    /// A request that is not forwarded.
    pub fn refused(reason: RefusalReason, message: impl Into<String>) -> Self {
        let (status, name) = match reason {
            RefusalReason::Limit => (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
            RefusalReason::Store | RefusalReason::Busy => {
                (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE")
            }
            RefusalReason::Caller => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
            RefusalReason::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "INVALID_ARGUMENT"),
            RefusalReason::Invalid => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
        };
        let mut error = Self::new(status, name, reason.as_str(), message);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            error = error.retry_after(1);
        }
        error
    }

    /// Something that the gateway does not do.
    pub fn unimplemented(message: impl Into<String>) -> Self {
        let reason = RefusalReason::Invalid.as_str();
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "UNIMPLEMENTED",
            reason,
            message,
        )
    }

    /// The upstream did not answer.
    pub fn upstream(failure: UpstreamFailure, message: impl Into<String>) -> Self {
        let (status, name) = match failure {
            UpstreamFailure::Timeout => (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED"),
            _ => (StatusCode::BAD_GATEWAY, "UNAVAILABLE"),
        };
        let reason = format!("upstream_{}", failure.as_str());
        Self::new(status, name, &reason, message)
    }

    /// Nothing was reserved for a call.
    pub(super) fn not_reserved(error: &ReserveError) -> (Self, RefusalReason) {
        match error {
            ReserveError::Refused(refusal) => (Self::limit(refusal), RefusalReason::Limit),
            other => {
                let message = format!("hostprobe did not forward this call: {other}");
                let reason = RefusalReason::Store;
                (Self::refused(reason, message), reason)
            }
        }
    }

    fn limit(refusal: &LimitRefusal) -> Self {
        let limit = &refusal.state.limit;
        let message = format!("hostprobe did not forward this call: {refusal}");
        let mut error = Self::refused(RefusalReason::Limit, message);
        let dimensions: serde_json::Map<String, serde_json::Value> =
            [("model", &limit.model), ("feature", &limit.feature)]
                .into_iter()
                .filter_map(|(name, value)| {
                    Some((name.to_owned(), value.as_ref()?.to_string().into()))
                })
                .collect();
        let mut violation = serde_json::Map::from_iter([
            (
                "subject".to_owned(),
                json!(format!("{DOMAIN}:{}", limit.name)),
            ),
            ("description".to_owned(), json!(refusal.to_string())),
            (
                "quotaMetric".to_owned(),
                json!(format!("{DOMAIN}/{}", limit.unit)),
            ),
            ("quotaId".to_owned(), json!(limit.name)),
            ("quotaValue".to_owned(), json!(quota(limit.cap, limit.unit))),
        ]);
        if !dimensions.is_empty() {
            violation.insert("quotaDimensions".to_owned(), dimensions.into());
        }
        error.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [violation],
        }));
        if refusal.never_fits() || refusal.wanted.is_none() {
            // Waiting does not help.
            return error;
        }
        error.retry_after(refusal.retry_after_s)
    }

    fn new(
        status: StatusCode,
        name: &'static str,
        reason: &str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            name,
            message: message.into(),
            reason: reason.to_ascii_uppercase(),
            details: Vec::new(),
            retry_after_s: None,
        }
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{seconds}s"),
        }));
        self.retry_after_s = Some(seconds);
        self
    }
}

/// In the unit that it is called by.
fn quota(cap: u64, unit: Unit) -> String {
    match unit {
        Unit::NanoUsd => format!("{}.{:09}", cap / 1_000_000_000, cap % 1_000_000_000),
        Unit::Tokens | Unit::Calls => cap.to_string(),
    }
}

impl IntoResponse for GatewayError {
    fn into_response(self) -> Response {
        let mut details = vec![json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": self.reason,
            "domain": DOMAIN,
        })];
        details.extend(self.details);
        let body = json!({"error": {
            "code": self.status.as_u16(),
            "message": self.message,
            "status": self.name,
            "details": details,
        }});
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            let value = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}
