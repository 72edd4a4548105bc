//! Where the numbers come from, and how requests share one reading of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    task::JoinError,
};

use super::Tokens;
use crate::{
    database::AskedDatabase,
    database::advice::report::AdviceReport,
    gemini::{Gemini, gateway::Gateway},
    host::HostReport,
    kernel::snapshot::{ProbeState, ProbeStatus, Snapshot},
    metrics::{Build, Inputs, OwnProcess, ServiceView},
    queries::History,
    store::{Recent, Store, StoreReport},
    traffic::Report,
    verdict,
    vitals::{
        Numbers, Vitals,
        budgets::{self, Budgets},
        source_maps::SourceMaps,
    },
};

/// Requests that may wait for a reading at once; more are told to come again.
const MAX_WAITING: usize = 32;

/// What the daemon knows, for the endpoints. Implemented by the daemon, and by made-up ones in
/// tests.
pub trait Source: Send + Sync + 'static {
    /// Reads all numbers. May block for milliseconds: it is called on a thread for that.
    ///
    /// # Errors
    /// When the kernel's tables could not be read.
    fn collect(&self) -> Result<Collected, CollectError>;

    /// The advice of the last rounds. Must not block.
    fn advice(&self) -> Arc<AdviceReport> {
        Arc::default()
    }

    /// What the configured databases said when they were asked last. Must not block.
    fn databases(&self) -> Vec<AskedDatabase> {
        Vec::new()
    }

    /// What is known without reading anything. Must not block.
    fn status(&self) -> Status;

    /// Where the services' time went in the last seconds, as it was judged last. Must not block.
    fn verdicts(&self) -> Arc<verdict::Report> {
        Arc::default()
    }

    /// Where records are kept; by default nowhere.
    fn store(&self) -> Store {
        Store::off()
    }

    /// Usage of Gemini and its limits; by default none.
    fn gemini(&self) -> Option<Gemini> {
        None
    }

    /// Where calls of Gemini go through; by default nowhere.
    fn gateway(&self) -> Option<Gateway> {
        None
    }

    /// Who may write from other hosts; by default nobody.
    fn tokens(&self) -> Arc<Tokens> {
        Arc::default()
    }

    /// The latest slow statements, for when there is no store; by default none.
    fn recent(&self) -> Arc<Recent> {
        Arc::default()
    }

    /// The intake of beacons; by default there is none.
    fn vitals(&self) -> Option<Vitals> {
        None
    }

    /// Budgets of pages and files; by default none.
    fn budgets(&self) -> Option<Arc<Budgets>> {
        None
    }

    /// Source maps of pages' scripts; by default none.
    fn source_maps(&self) -> Option<Arc<SourceMaps>> {
        None
    }

    /// What statements did in the last hours; by default nothing.
    fn history(&self) -> Arc<History> {
        Arc::default()
    }
}

/// One reading.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// What the kernel side counted.
    pub snapshot: Snapshot,
    /// What was decoded of the services' traffic.
    pub traffic: Report,
    /// Resources of the host and the services' processes; `None` when they are not read.
    pub host: Option<Arc<HostReport>>,
    /// The services that are known now, also those without numbers.
    pub services: Vec<ServiceView>,
}

/// The daemon's state.
#[derive(Clone, Debug)]
pub struct Status {
    /// What was built.
    pub build: Build,
    /// The running kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// When counting began, by the wall clock.
    pub started_at: SystemTime,
    /// For how long it has counted.
    pub uptime: Duration,
    /// One line that says what is watched.
    pub summary: String,
    /// Whether processes were looked for at least once.
    pub targets_scanned: bool,
    /// State of each probe.
    pub probes: Vec<ProbeStatus>,
}

impl Status {
    /// Why the daemon is not ready, or `None` when it is.
    pub fn not_ready(&self) -> Option<String> {
        if !self.targets_scanned {
            return Some("the processes of this host were not scanned yet".to_owned());
        }
        if self
            .probes
            .iter()
            .any(|probe| probe.state == ProbeState::Active)
        {
            return None;
        }
        let mut why = String::from("no probe is active");
        for probe in &self.probes {
            if let ProbeState::Disabled(reason) | ProbeState::Failed(reason) = &probe.state {
                why.push_str(&format!("; {}: {reason}", probe.name));
            }
        }
        Some(why)
    }
}

/// Why there is no reading.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CollectError {
    /// Reading failed.
    #[error("could not read the kernel's tables: {0}")]
    Kernel(Arc<dyn std::error::Error + Send + Sync>),
    /// The reading thread stopped.
    #[error("reading the kernel's tables stopped half-way; the daemon's log says why")]
    Stopped,
    /// Too many requests.
    #[error("{MAX_WAITING} requests are waiting for a reading already; come again in a second")]
    Busy,
}

impl CollectError {
    /// A failure of the kernel side.
    pub fn kernel(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Kernel(Arc::new(error))
    }
}

impl From<JoinError> for CollectError {
    fn from(error: JoinError) -> Self {
        tracing::error!(%error, "reading the kernel's tables stopped half-way");
        Self::Stopped
    }
}

/// A reading with everything else that answers are made from.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) collected: Collected,
    pub(super) status: Status,
    pub(super) advice: Arc<AdviceReport>,
    pub(super) budgets: Arc<budgets::Report>,
    pub(super) databases: Vec<AskedDatabase>,
    pub(super) store: StoreReport,
    pub(super) vitals: Option<Numbers>,
    pub(super) gemini: Option<crate::gemini::Numbers>,
    pub(super) verdicts: Arc<verdict::Report>,
    pub(super) own_process: Option<OwnProcess>,
    pub(super) at: SystemTime,
    pub(super) read_time: Duration,
}

impl Reading {
    fn take(source: &dyn Source) -> Result<Self, CollectError> {
        let begin = Instant::now();
        let collected = source.collect()?;
        let read_time = begin.elapsed();
        let own_process = OwnProcess::read()
            .inspect_err(|error| tracing::debug!(%error, "could not read /proc/self"))
            .ok();
        Ok(Self {
            collected,
            status: source.status(),
            advice: source.advice(),
            budgets: source.budgets().map(|all| all.latest()).unwrap_or_default(),
            databases: source.databases(),
            store: source.store().report(),
            vitals: source.vitals().map(|vitals| vitals.numbers()),
            gemini: source.gemini().map(|gemini| gemini.numbers()),
            verdicts: source.verdicts(),
            own_process,
            at: SystemTime::now(),
            read_time,
        })
    }

    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            snapshot: &self.collected.snapshot,
            traffic: &self.collected.traffic,
            host: self.collected.host.as_deref(),
            services: &self.collected.services,
            advice: &self.advice.databases,
            budgets: &self.budgets,
            databases: &self.databases,
            store: &self.store,
            vitals: self.vitals.as_ref(),
            gemini: self.gemini.as_ref(),
            verdicts: &self.verdicts,
            build: &self.status.build,
            started_at: self.status.started_at,
            own_process: self.own_process.as_ref(),
            read_time: self.read_time,
        }
    }
}

type Outcome = Result<Arc<Reading>, CollectError>;

/// Lets requests share readings: one at a time, and all that arrive while one is under way share
/// the next. They never share one that began before they arrived, because then a client that works,
/// and asks for the numbers afterwards, would not find its own work in them.
#[derive(Clone)]
pub(super) struct Collector(Arc<Shared>);

struct Shared {
    source: Arc<dyn Source>,
    /// Readings begun so far.
    begun: AtomicU64,
    /// The last reading's number and outcome; held locked while the next is taken.
    last: Arc<Mutex<(u64, Option<Outcome>)>>,
    waiting: Arc<Semaphore>,
}

impl Collector {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self(Arc::new(Shared {
            source,
            begun: AtomicU64::new(0),
            last: Arc::default(),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
        }))
    }

    /// A reading that began after this call.
    pub(super) async fn read(&self) -> Outcome {
        let permit = Arc::clone(&self.0.waiting)
            .try_acquire_owned()
            .map_err(|_| CollectError::Busy)?;
        let arrived = self.0.begun.load(Ordering::SeqCst);
        let shared = Arc::clone(&self.0);
        // A task of its own: a client that hangs up must not let a second reading start beside the
        // one that it began.
        tokio::spawn(shared.read_after(arrived, permit)).await?
    }
}

impl Shared {
    async fn read_after(self: Arc<Self>, arrived: u64, _waiting: OwnedSemaphorePermit) -> Outcome {
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if last.0 > arrived
            && let Some(outcome) = &last.1
        {
            return outcome.clone();
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let source = Arc::clone(&self.source);
        let outcome = match tokio::task::spawn_blocking(move || Reading::take(&*source)).await {
            Ok(outcome) => outcome.map(Arc::new),
            Err(error) => Err(error.into()),
        };
        *last = (number, Some(outcome.clone()));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex as StdMutex};

    use super::*;
    use crate::api::tests::status;

    /// Counts readings, and holds each until it is let go.
    #[derive(Default)]
    struct Gate {
        readings: AtomicU64,
        open: StdMutex<bool>,
        opened: Condvar,
    }

    impl Source for Gate {
        fn collect(&self) -> Result<Collected, CollectError> {
            self.readings.fetch_add(1, Ordering::SeqCst);
            let open = self.open.lock().unwrap();
            drop(self.opened.wait_while(open, |open| !*open).unwrap());
            Ok(Collected::default())
        }
        fn status(&self) -> Status {
            status()
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn requests_share_a_reading_that_began_after_them() {
        let gate = Arc::new(Gate::default());
        let collector = Collector::new(Arc::clone(&gate) as Arc<dyn Source>);
        let read = |collector: &Collector| {
            let collector = collector.clone();
            tokio::spawn(async move { collector.read().await.map(drop) })
        };
        let first = read(&collector);
        while gate.readings.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let later: Vec<_> = (0..MAX_WAITING - 1).map(|_| read(&collector)).collect();
        while collector.0.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(collector.read().await, Err(CollectError::Busy)));
        *gate.open.lock().unwrap() = true;
        gate.opened.notify_all();
        first.await.unwrap().unwrap();
        for reader in later {
            reader.await.unwrap().unwrap();
        }
        assert_eq!(
            gate.readings.load(Ordering::SeqCst),
            2,
            "one for the first, one for all others"
        );
    }

    #[test]
    fn a_probe_that_is_down_says_why_it_is_not_ready() {
        let mut status = status();
        assert_eq!(status.not_ready(), None);
        status
            .probes
            .retain(|probe| probe.state != ProbeState::Active);
        let why = status.not_ready().unwrap();
        assert!(
            why.contains("no probe is active") && why.contains("tcp_probe"),
            "{why}"
        );
        status.targets_scanned = false;
        assert!(status.not_ready().unwrap().contains("scanned"));
    }
}
