//! Sums up what statements do, window by window: for the last hours in memory, for longer in the
//! store.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::{Daemon, view};
use crate::{
    metrics::{ServiceView, collect::ServiceNames},
    queries::{self, REACH_MS, Window},
    store::Record,
};

/// The store is asked for a former run's hours in steps of so many milliseconds: it gives sums, and
/// a gap shorter than a step is not seen.
const STEP_MS: i64 = 300_000;

/// How long a store that is opening is waited for.
const OPENING: Duration = Duration::from_secs(30);

impl Daemon {
    /// Ends a window each time that so much has passed, until the daemon stops.
    pub async fn keep_history(self: Arc<Self>, window: Duration, stop: CancellationToken) {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let began_ms = now_ms();
        self.history.begin(began_ms, window_ms);
        tokio::spawn(Arc::clone(&self).remember(began_ms));
        let mut ticks = tokio::time::interval(window);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick comes at once.
        ticks.tick().await;
        loop {
            let goes_on = tokio::select! {
                _ = ticks.tick() => true,
                () = stop.cancelled() => false,
            };
            self.end_window().await;
            if !goes_on {
                return;
            }
        }
    }

    async fn end_window(self: &Arc<Self>) {
        let daemon = Arc::clone(self);
        // The decoder answers within milliseconds, or within two seconds when it is behind.
        let ended = tokio::task::spawn_blocking(move || {
            let report = daemon.decoder.report();
            let services: Vec<ServiceView> =
                daemon.tracker().services().into_iter().map(view).collect();
            let names = ServiceNames::new(&services);
            daemon.history.add(report, &names, now_ms())
        });
        match ended.await {
            Ok(window) => self.keep(&window),
            Err(error) => error!("summing up what statements did stopped half-way: {error}"),
        }
    }

    fn keep(&self, window: &Window) {
        if window.observed_ms > 0 && !self.store.is_off() {
            let rows = queries::to_rows(window, &self.store.host());
            self.store.keep(Record::QueryStats(rows));
        }
    }

    /// Reads what a former run has left in the store.
    async fn remember(self: Arc<Self>, began_ms: i64) {
        if self.store.is_off() {
            return;
        }
        let host = self.store.host();
        let mut windows = Vec::new();
        let mut from_ms = began_ms.saturating_sub(REACH_MS);
        let patience = tokio::time::Instant::now() + OPENING;
        while from_ms < began_ms {
            let to_ms = from_ms.saturating_add(STEP_MS).min(began_ms);
            match self.store.query_stats(from_ms, to_ms).await {
                Ok(rows) => {
                    windows.extend(queries::from_rows(rows, &host));
                    from_ms = to_ms;
                }
                Err(error) if tokio::time::Instant::now() < patience => {
                    debug!("the hours before the start are not known yet: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error) => {
                    debug!("the hours before the start are not known: {error}");
                    return;
                }
            }
        }
        self.history.remember(windows);
    }
}

/// Unix milliseconds.
fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
