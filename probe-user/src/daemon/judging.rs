//! Looks at the services every other second and judges where their time went.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use procfs::Current as _;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::Daemon;
use crate::verdict::{Pressure, Reading, Report, Window, reading};

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
        let services: Vec<(u16, String)> = self
            .tracker()
            .services()
            .into_iter()
            .map(|service| (service.id, service.name.clone()))
            .collect();
        let snapshot = match self.kernel.times(services.iter().map(|(id, _)| *id)) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                // Every scrape says so as well, to somebody who can do something about it.
                debug!("cannot judge where the services' time goes: {error}");
                return;
            }
        };
        let traffic = self.decoder.report();
        let at = self.started.elapsed();
        let reading = reading(&services, &snapshot, &traffic);
        self.judge.take(at, reading, &pressure());
    }
}

/// What the kernel says now; nothing where it does not measure it.
fn pressure() -> Pressure {
    let share = |percent: f32| f64::from(percent) / 100.0;
    Pressure {
        cpu: procfs::CpuPressure::current()
            .ok()
            .map(|pressure| share(pressure.some.avg10)),
        memory: procfs::MemoryPressure::current()
            .ok()
            .map(|pressure| share(pressure.some.avg10)),
        io: procfs::IoPressure::current()
            .ok()
            .map(|pressure| share(pressure.some.avg10)),
    }
}
