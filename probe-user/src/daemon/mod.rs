//! The running daemon: the kernel side and the targets, held together.

mod advising;
pub mod attaching;
mod browsers;
pub mod decoding;
pub mod findings;
pub mod judging;
pub mod measuring;
pub mod model_calls;
pub mod patterns;
pub mod privileges;
pub mod slow;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use attaching::Attaching;
use aya::maps::{MapData, RingBuf};
use decoding::Decoder;
use probe_common::{
    event::{ProcessEvent, ProcessEventKind},
    target::UNTRACED,
};
use tokio::{io::unix::AsyncFd, sync::Notify};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::{
    api::{CollectError, Collected, Source, Status, Tokens},
    cli::object_build_id,
    config::{Config, Sql, slow_ns},
    database::advice::report::AdviceReport,
    database::{AskedDatabase, Databases},
    gemini::{Gemini, gateway::Gateway},
    host::{HostReport, Sampler, ServiceProcesses},
    kernel::{environment, mapped::TgidTable, probe::KernelProbe},
    metrics::{Build, ExitCount, ServiceView},
    queries::History,
    store::{Recent, Store},
    targets::{Service, TraceTable, Tracker},
    traffic::Thresholds,
    verdict,
    vitals::{Vitals, budgets::Budgets, source_maps::SourceMaps},
};

/// Process events from the kernel side.
pub type Events = RingBuf<MapData>;

/// Everything that runs.
pub struct Daemon {
    kernel: Arc<KernelProbe>,
    attaching: Attaching,
    traced: Arc<TgidTable>,
    tracker: Mutex<Tracker>,
    decoder: Decoder,
    /// `None` when resources of the host are not wanted.
    sampler: Option<Mutex<Sampler>>,
    judge: judging::Judge,
    advice: advising::Known,
    databases: Databases,
    vitals: Option<Vitals>,
    store: Store,
    gemini: Option<Gemini>,
    gateway: Option<Gateway>,
    tokens: Arc<Tokens>,
    /// The latest slow statements.
    recent: Arc<Recent>,
    sql: Sql,
    history: Arc<History>,
    browsers: browsers::Browsers,
    scanned: AtomicBool,
    /// Events may bring the next scan forward.
    scan_sooner: Notify,
    started: Instant,
    started_at: SystemTime,
    release: String,
}

impl Daemon {
    /// Puts the attached probes and the targets together. Nothing is traced before [`Self::scan`].
    pub fn new(
        kernel: Arc<KernelProbe>,
        attaching: Attaching,
        tracker: Tracker,
        decoder: Decoder,
        sampler: Option<Sampler>,
        store: Store,
        sql: &Sql,
    ) -> Self {
        decoder.set_routes(tracker.routes());
        decoder.set_slow(thresholds(sql, &tracker));
        Self {
            traced: kernel.traced(),
            kernel,
            attaching,
            tracker: Mutex::new(tracker),
            decoder,
            sampler: sampler.map(Mutex::new),
            judge: judging::Judge::default(),
            advice: advising::Known::default(),
            databases: Databases::default(),
            vitals: None,
            store,
            gemini: None,
            gateway: None,
            tokens: Arc::default(),
            recent: Arc::default(),
            sql: sql.clone(),
            history: Arc::default(),
            browsers: browsers::Browsers::default(),
            scanned: AtomicBool::new(false),
            scan_sooner: Notify::new(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            release: environment::kernel_release(),
        }
    }

    /// Takes the databases that are asked.
    #[must_use]
    pub fn with_databases(mut self, databases: Databases) -> Self {
        self.databases = databases;
        self
    }

    /// Takes the ledger of Gemini.
    #[must_use]
    pub fn with_gemini(mut self, gemini: Gemini) -> Self {
        self.gemini = Some(gemini);
        self
    }

    /// Takes the gateway to Gemini.
    #[must_use]
    pub fn with_gateway(mut self, gateway: Option<Gateway>) -> Self {
        self.gateway = gateway;
        self
    }

    /// Takes the tokens of those who write from other hosts.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = Arc::new(tokens);
        self
    }

    /// Takes what browsers send.
    #[must_use]
    pub fn with_vitals(mut self, vitals: Option<Vitals>) -> Self {
        self.vitals = vitals;
        self
    }

    fn tracker(&self) -> MutexGuard<'_, Tracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the resources of the host and of the services' processes. Blocks for milliseconds.
    fn sample_host(&self) -> Option<Arc<HostReport>> {
        let sampler = self.sampler.as_ref()?;
        let services: Vec<ServiceProcesses> = self
            .tracker()
            .processes_by_service()
            .into_iter()
            .map(|(service, pids)| ServiceProcesses { service, pids })
            .collect();
        let mut sampler = sampler.lock().unwrap_or_else(PoisonError::into_inner);
        Some(sampler.sample(&services))
    }

    /// What is traced, in one line.
    pub fn summary(&self) -> String {
        self.tracker().summary()
    }

    /// Looks at all processes and traces those that belong to a service.
    pub async fn scan(self: &Arc<Self>) {
        self.change_targets(|tracker, traced| tracker.scan(traced))
            .await;
        if !self.scanned.swap(true, Ordering::AcqRel) {
            // From here on the counts of processes begin, not only with the first scrape.
            let daemon = Arc::clone(self);
            if let Err(error) = tokio::task::spawn_blocking(move || daemon.sample_host()).await {
                error!("reading the host's resources stopped half-way: {error}");
            }
        }
    }

    /// Takes over the services of a new configuration.
    pub async fn reload(self: &Arc<Self>, config: Config) {
        self.change_targets(move |tracker, traced| tracker.reload(&config, traced))
            .await;
        // After ids of former services were forgotten.
        self.decoder.set_routes(self.tracker().routes());
        // Those of `[sql]` stay until the next start, as everything else there does.
        self.decoder
            .set_slow(thresholds(&self.sql, &self.tracker()));
    }

    /// Runs a change of targets off the runtime's threads, since it reads `/proc`, and looks for
    /// the open connections of the processes that it marked.
    async fn change_targets(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Tracker, &dyn TraceTable) + Send + 'static,
    ) {
        let daemon = Arc::clone(self);
        let changed = tokio::task::spawn_blocking(move || {
            let table = Marking {
                table: &daemon.traced,
                marked: AtomicBool::new(false),
            };
            let (recycled, to_examine) = {
                let mut tracker = daemon.tracker();
                change(&mut tracker, &table);
                (tracker.take_recycled_ids(), tracker.take_to_examine())
            };
            if !recycled.is_empty() {
                if let Err(error) = daemon.kernel.forget(&recycled) {
                    error!("a new service begins with the counts of an old one: {error}");
                }
                if let Some(sampler) = &daemon.sampler {
                    let mut sampler = sampler.lock().unwrap_or_else(PoisonError::into_inner);
                    sampler.forget(&recycled);
                }
                daemon.decoder.forget(recycled);
            }
            if table.marked.into_inner() {
                daemon.kernel.seed_sockets();
            }
            // Last: a library of some hundred megabytes takes long to read.
            daemon.attaching.follow_libraries(to_examine);
        });
        if let Err(error) = changed.await {
            error!("looking at the processes stopped half-way: {error}");
        }
    }

    /// Scans again and again, because a process may begin to listen, or be missed by its event.
    /// The tracker says when: soon after a server's program started, else at its interval.
    pub async fn scan_periodically(self: Arc<Self>, stop: CancellationToken) {
        let mut last = tokio::time::Instant::now();
        loop {
            // Counted from the last scan: a host that forks all the time must not put it off.
            let next = last + self.tracker().next_scan_in();
            tokio::select! {
                () = tokio::time::sleep_until(next) => {
                    self.scan().await;
                    last = tokio::time::Instant::now();
                }
                () = self.scan_sooner.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Keeps the kernel side fast for what is busy now, also when nobody scrapes.
    pub async fn tune_periodically(self: Arc<Self>, stop: CancellationToken) {
        const EVERY: Duration = Duration::from_secs(5);
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
            let daemon = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || daemon.kernel.promote()).await {
                error!("looking for busy syscalls stopped half-way: {error}");
            }
        }
    }

    /// Follows forks, execs and exits as the kernel side tells them.
    pub async fn follow_events(self: Arc<Self>, events: Events, stop: CancellationToken) {
        // SAFETY: the ring owns its descriptor, and keeps it for its own lifetime.
        let mut events = match unsafe { AsyncFd::register(events) } {
            Ok(events) => events,
            Err(error) => {
                error!("cannot follow process events; the periodic scan goes on: {error}");
                return;
            }
        };
        loop {
            let mut ready = tokio::select! {
                ready = events.readable_mut() => match ready {
                    Ok(ready) => ready,
                    Err(error) => {
                        error!("cannot follow process events any more: {error}");
                        return;
                    }
                },
                () = stop.cancelled() => return,
            };
            let mut batch = Vec::new();
            while let Some(item) = ready.get_inner_mut().next() {
                match decode(&item) {
                    Some(event) => batch.push(event),
                    None => warn!("a process event of {} bytes is not understood", item.len()),
                }
            }
            // Only once nothing is left, or a wake-up between the two would be lost.
            ready.clear_ready();
            self.take_over(batch).await;
        }
    }

    async fn take_over(self: &Arc<Self>, batch: Vec<ProcessEvent>) {
        let any_but_maps = batch
            .iter()
            .any(|event| event.kind != ProcessEventKind::Map as u32);
        let exits = batch
            .iter()
            .filter(|event| event.kind == ProcessEventKind::Exit as u32);
        let exited: HashSet<u32> = exits.map(|event| event.tgid).collect();
        if !exited.is_empty() {
            self.decoder.exited(exited);
        }
        self.change_targets(move |tracker, traced| {
            for event in &batch {
                debug!(?event, "process");
                tracker.on_event(event, traced);
            }
        })
        .await;
        if any_but_maps {
            self.scan_sooner.notify_one();
        }
    }
}

/// The table of traced processes, with a note of whether one was marked.
struct Marking<'a> {
    table: &'a TgidTable,
    marked: AtomicBool,
}

impl TraceTable for Marking<'_> {
    fn set(&self, tgid: u32, service: u16) {
        if service != UNTRACED {
            self.marked.store(true, Ordering::Relaxed);
        }
        self.table.set(tgid, service);
    }

    fn get(&self, tgid: u32) -> u16 {
        self.table.get(tgid)
    }
}

/// From which time on statements are slow.
fn thresholds(sql: &Sql, tracker: &Tracker) -> Thresholds {
    let services = tracker.slow_ms().into_iter();
    let databases = sql.databases.iter();
    Thresholds {
        all: slow_ns(sql.slow_ms),
        services: services.map(|(id, ms)| (id, slow_ns(ms))).collect(),
        databases: databases
            .map(|database| (database.name.clone(), slow_ns(database.slow_ms)))
            .collect(),
    }
}

/// A service as the metrics want it.
fn view(service: &Service) -> ServiceView {
    ServiceView {
        id: service.id,
        name: service.name.clone(),
        kind: service.kind.as_str().into(),
        found_by: service.found.clone(),
        processes: service.processes as u64,
        starts: service.starts,
        restarts: service.restarts,
        exits: service
            .exits
            .iter()
            .map(|(exit, count)| ExitCount {
                outcome: *exit,
                count: *count,
            })
            .collect(),
        ports: service.ports.iter().copied().collect(),
    }
}

/// Copies an event out of the ring; `None` when it has another size.
fn decode(bytes: &[u8]) -> Option<ProcessEvent> {
    if bytes.len() != size_of::<ProcessEvent>() {
        return None;
    }
    // SAFETY: the length was checked, every bit pattern is a valid event, and the read does not
    // rely on alignment.
    Some(unsafe { bytes.as_ptr().cast::<ProcessEvent>().read_unaligned() })
}

impl Source for Daemon {
    fn collect(&self) -> Result<Collected, CollectError> {
        let services: Vec<ServiceView> = self.tracker().services().into_iter().map(view).collect();
        let snapshot = self
            .kernel
            .snapshot(services.iter().map(|service| service.id))
            .map_err(CollectError::kernel)?;
        Ok(Collected {
            snapshot,
            traffic: self.decoder.report(),
            host: self.sample_host(),
            services,
        })
    }

    fn advice(&self) -> Arc<AdviceReport> {
        Arc::clone(&self.advice.borrow())
    }

    fn databases(&self) -> Vec<AskedDatabase> {
        self.databases.reports()
    }

    fn store(&self) -> Store {
        self.store.clone()
    }

    fn gemini(&self) -> Option<Gemini> {
        self.gemini.clone()
    }

    fn gateway(&self) -> Option<Gateway> {
        self.gateway.clone()
    }

    fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.tokens)
    }

    fn recent(&self) -> Arc<Recent> {
        Arc::clone(&self.recent)
    }

    fn vitals(&self) -> Option<Vitals> {
        self.vitals.clone()
    }

    fn history(&self) -> Arc<History> {
        Arc::clone(&self.history)
    }

    fn budgets(&self) -> Option<Arc<Budgets>> {
        self.browsers.budgets.clone()
    }

    fn source_maps(&self) -> Option<Arc<SourceMaps>> {
        self.browsers.source_maps.clone()
    }

    fn status(&self) -> Status {
        Status {
            build: Build {
                version: env!("CARGO_PKG_VERSION").into(),
                object_build_id: object_build_id().into(),
                rustc: env!("HOSTPROBE_RUSTC").into(),
            },
            kernel: self.release.clone(),
            started_at: self.started_at,
            uptime: self.started.elapsed(),
            summary: self.summary(),
            targets_scanned: self.scanned.load(Ordering::Acquire),
            probes: self.kernel.probes().to_vec(),
        }
    }

    fn verdicts(&self) -> Arc<verdict::Report> {
        self.judge.report()
    }
}

/// Hands the kernel programs' own messages to the log.
pub async fn forward_kernel_log(
    log: aya_log::EbpfLogger<&'static dyn log::Log>,
    stop: CancellationToken,
) {
    // SAFETY: the logger owns its ring's descriptor, and keeps it for its own lifetime.
    let mut log = match unsafe { AsyncFd::register(log) } {
        Ok(log) => log,
        Err(error) => {
            warn!("the kernel programs' own messages will not be shown: {error}");
            return;
        }
    };
    loop {
        tokio::select! {
            ready = log.readable_mut() => match ready {
                Ok(mut ready) => {
                    ready.get_inner_mut().flush();
                    ready.clear_ready();
                }
                Err(_) => return,
            },
            () = stop.cancelled() => return,
        }
    }
}
