//! Writes loops around queries to the log, with the names that the decoding thread does not know.

use std::sync::Arc;

use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Daemon;
use crate::{
    metrics::UNKNOWN_SERVICE,
    traffic::{Finding, Pattern},
};

/// Findings that may wait to be written.
pub const WAITING: usize = 64;

impl Daemon {
    /// Writes what comes until the daemon stops.
    pub async fn log_findings(
        self: Arc<Self>,
        mut findings: Receiver<Finding>,
        stop: CancellationToken,
    ) {
        loop {
            let finding = tokio::select! {
                finding = findings.recv() => finding,
                () = stop.cancelled() => return,
            };
            let Some(finding) = finding else { return };
            write(&self.service_name(finding.service), &finding);
        }
    }

    pub(super) fn service_name(&self, id: u16) -> String {
        let tracker = self.tracker();
        let services = tracker.services().into_iter();
        let mut known = services.filter(|service| service.id == id);
        known.next().map_or_else(
            || UNKNOWN_SERVICE.to_owned(),
            |service| service.name.clone(),
        )
    }
}

fn write(service: &str, finding: &Finding) {
    let place = match &finding.route {
        Some(key) => format!("{} {}", key.method, key.route),
        None => "a burst on one connection".to_owned(),
    };
    let message = match finding.pattern {
        Pattern::NPlusOne => "N+1: a query ran again and again with other parameters",
        Pattern::RepeatedQuery => "a query ran again and again with the same parameters",
    };
    warn!(
        service,
        place,
        sql = &*finding.sql.text,
        fingerprint = format_args!("{:016x}", finding.sql.fingerprint),
        count = finding.count,
        milliseconds = finding.elapsed_ns / 1_000_000,
        confidence = finding.confidence.as_str(),
        wasted_milliseconds = finding.wasted_ns / 1_000_000,
        "{message}. {}",
        finding.advice()
    );
}
