//! Looks at the services every other second and judges where their time went.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tracing::error;

use super::Daemon;
use crate::verdict::{Pressure, Reading, Report, Window, service_times};

/// How often it looks. A look reads what the kernel side and the decoder have added up, a fraction of
/// what a scrape reads.
const EVERY: Duration = Duration::from_secs(2);

/// The looks of the last seconds, and what they say.
#[derive(Debug, Default)]
pub(super) struct Judge {
    window: Mutex<Window>,
    report: Mutex<Arc<Report>>,
}

impl Judge {
    /// What was said last.
    pub(super) fn report(&self) -> Arc<Report> {
        Arc::clone(&self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self, at: Duration, reading: Reading, pressure: &Pressure) {
        let report = {
            let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
            window.push(at, reading);
            window.report(pressure)
        };
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(report);
    }
}

impl Daemon {
    /// Judges again and again, also when nobody asks, so that who asks does not have to wait.
    pub async fn judge_periodically(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let daemon = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || daemon.look()).await {
                error!("judging where the services' time goes stopped half-way: {error}");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn look(&self) {
        let traffic = self.decoder.report();
        let at = self.started.elapsed();
        let mut reading = Reading::default();
        for service in self.tracker().services() {
            let report = traffic.services.get(&service.id);
            let (times, under_way) = report
                .map(|report| service_times(report))
                .unwrap_or_default();
            reading.add(&service.name, &times, under_way);
        }
        self.judge.take(at, reading, &Pressure::default());
    }
}
