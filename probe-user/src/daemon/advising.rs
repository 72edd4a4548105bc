//! Looks for advice on the configured databases, round after round, with what the decoder has seen.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::Daemon;
use crate::{
    config::Config,
    database::advice::{self, Adviser, Names, report::AdviceReport},
    traffic::Report,
};

/// Longest time until the first round: long enough for some statements to have run, short enough for
/// whoever waits for the result.
const FIRST: Duration = Duration::from_secs(20);

/// Shortest time until a round that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// What is known, for those who ask.
pub(super) type Known = watch::Sender<Arc<AdviceReport>>;

impl Daemon {
    /// Starts a task for each database that wants advice. They end with `stop`.
    pub fn advise(self: &Arc<Self>, config: &Config, stop: &CancellationToken) {
        self.advice
            .send_replace(Arc::new(advice::initial(&config.databases)));
        let wanted = config.databases.iter().filter(|database| database.advice);
        for (at, database) in wanted.enumerate() {
            let adviser = Adviser::new(database.clone(), config.advice.clone());
            let interval = Duration::from_secs(config.advice.interval_s.into());
            let daemon = Arc::clone(self);
            tokio::spawn(daemon.advise_on(at, adviser, interval, stop.clone()));
        }
    }

    async fn advise_on(
        self: Arc<Self>,
        at: usize,
        mut adviser: Adviser,
        interval: Duration,
        stop: CancellationToken,
    ) {
        let mut wait = FIRST.min(interval);
        let mut retry = RETRY;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
            let Some((traffic, names)) = self.statements().await else {
                return;
            };
            let Some(mut known) = self.advice.borrow().databases.get(at).cloned() else {
                return;
            };
            let failures = known.failures;
            tokio::select! {
                () = adviser.round(&traffic, &names, &mut known) => {}
                // The connection is closed by being dropped.
                () = stop.cancelled() => return,
            }
            if known.failures > failures {
                wait = retry.min(interval);
                retry = retry.saturating_mul(2);
            } else {
                wait = interval;
                retry = RETRY;
            }
            self.advice.send_modify(|report| {
                if let Some(database) = Arc::make_mut(report).databases.get_mut(at) {
                    *database = known;
                }
            });
        }
    }

    /// What was decoded, and the services' names. Asked on a thread that may wait.
    async fn statements(self: &Arc<Self>) -> Option<(Report, Names)> {
        let daemon = Arc::clone(self);
        let asked = tokio::task::spawn_blocking(move || {
            let names: Names = daemon
                .tracker()
                .services()
                .into_iter()
                .map(|service| (service.id, service.name.clone()))
                .collect();
            (daemon.decoder.report(), names)
        });
        asked
            .await
            .inspect_err(|error| error!("looking for advice stopped: {error}"))
            .ok()
    }
}
