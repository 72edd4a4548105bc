//! Whether the daemon lives, and whether it is of use yet.

use axum::{extract::State, http::StatusCode};

use super::{App, Problem};

/// 200 while the process answers at all.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 once services were looked for and at least one probe is active, else 503 with the reason.
pub(super) async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    match app.source.status().not_ready() {
        None => Ok("ready\n"),
        Some(why) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}
