//! What the daemon serves over HTTP: metrics for Prometheus, health for supervisors, JSON and a
//! live page for people.
//!
//! Everything is made from a [`Source`], so that it is tested without a kernel. All errors are
//! `application/problem+json` (RFC 9457).

mod advice;
mod beacons;
mod browser_errors;
mod budgets;
mod database;
mod findings;
mod gateway;
mod gemini;
mod health;
mod host;
mod json;
mod overview;
mod page;
mod parameters;
mod problem;
mod queries;
mod scrape;
mod server;
mod slow_queries;
mod source;
#[cfg(test)]
mod tests;
mod tokens;
mod verdict;
mod vitals;
mod vitals_script;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware,
    routing::get,
};
use tower_http::{
    CompressionLevel, compression::CompressionLayer, limit::RequestBodyLimitLayer,
    set_header::SetResponseHeaderLayer, timeout::TimeoutLayer,
};

pub(crate) use budgets::Answer as BudgetsAnswer;
pub(crate) use database::Database as DatabaseAnswer;
pub(crate) use gemini::{ReportAnswer, ReportRow};
pub use problem::Problem;
pub use server::{serve, serve_beacons};
pub use source::{CollectError, Collected, Source, Status};
pub use tokens::{Tokens, TokensError};

use source::Collector;

/// A request that takes longer is answered with 503.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest request body where no other limit is set.
const MAX_BODY: usize = 64 * 1024;

/// What browsers may do with our answers: run our own files and nothing else, and nobody may frame
/// them.
const SECURITY_HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// What handlers share.
#[derive(Clone)]
struct App {
    source: Arc<dyn Source>,
    collector: Collector,
    script: vitals_script::Script,
}

impl App {
    fn new(source: Arc<dyn Source>) -> Self {
        Self {
            collector: Collector::new(Arc::clone(&source)),
            source,
            script: Arc::default(),
        }
    }
}

/// All endpoints.
pub fn router(source: Arc<dyn Source>) -> Router {
    let routes = Router::new()
        .route("/", get(page::index))
        .route("/page/app.js", get(page::script))
        .route("/page/elements.js", get(page::elements))
        .route("/page/numbers.js", get(page::numbers))
        .route("/page/database.js", get(page::database))
        .route("/page/traffic.js", get(page::traffic))
        .route("/page/findings.js", get(page::findings))
        .route("/page/host.js", get(page::host))
        .route("/page/verdict.js", get(page::verdict))
        .route("/page/slow.js", get(page::slow))
        .route("/page/advice.js", get(page::advice))
        .route("/page/activity.js", get(page::activity))
        .route("/page/patterns.js", get(page::patterns))
        .route("/page/app.css", get(page::style))
        .route("/metrics", get(scrape::metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/api/overview", get(overview::overview))
        .route("/api/host", get(host::host))
        .route("/api/verdict", get(verdict::verdicts))
        .route("/api/advice", get(advice::advice))
        .route("/api/n-plus-one", get(findings::findings))
        .route("/api/database", get(database::database))
        .route("/api/queries", get(queries::queries))
        .route("/api/slow-queries", get(slow_queries::slow_queries))
        .route("/api/vitals", get(vitals::vitals))
        .route("/api/browser/errors", get(browser_errors::errors))
        .route("/api/budgets", get(budgets::budgets))
        .route("/api/services", get(json::services))
        .route("/api/probes", get(json::probes))
        .route("/api/status", get(json::status))
        .route("/api/openapi.json", get(page::open_api))
        // The first layer is the innermost.
        .layer(RequestBodyLimitLayer::new(MAX_BODY))
        // These have a limit of their own.
        .merge(gemini::routes())
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIMEOUT,
        ))
        // These have limits of their own, so that what is beyond is counted.
        .merge(beacons::routes())
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(App::new(Arc::clone(&source)));
    // Its answers are the API's, and take as long as they take.
    for_all(routes).merge(gateway::routes(source))
}

/// What browsers need and nothing else.
pub fn beacon_router(source: Arc<dyn Source>) -> Router {
    let routes = beacons::routes()
        .fallback(problem::not_for_browsers)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(App::new(source));
    for_all(routes)
}

/// Layers of all answers.
fn for_all(routes: Router) -> Router {
    let mut router = routes
        .layer(middleware::map_response(problem::shape_errors))
        // The scrape of a big host is megabytes of repetitive text: the fastest level gives most of
        // the gain.
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest));
    for (name, value) in SECURITY_HEADERS {
        let value = HeaderValue::from_static(value);
        router = router.layer(SetResponseHeaderLayer::if_not_present(name, value));
    }
    router
}
