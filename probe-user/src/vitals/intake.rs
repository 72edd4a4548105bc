//! Takes beacons: counts them for the metrics, and hands them to the store.
//!
//! Everything is bounded: pages and routes by the learner, names by a cap, ids by a table. What is
//! beyond is `other`, so that no stranger makes series.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    Beacon, Endpoint, Refusal,
    numbers::Numbers,
    script::{self, Defaults},
    senders::{Permit, Sender, Senders},
    state::{Moment, State},
};
use crate::{
    config,
    routes::{TemplateError, Templates},
    store::{Record, Store, now_ms},
};

/// How often sums go to the store.
const WINDOW: Duration = Duration::from_secs(10);

/// Handle of the intake; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Vitals(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    senders: Senders,
    state: Mutex<State>,
    accepted: [AtomicU64; Endpoint::ALL.len()],
    refused: [AtomicU64; Refusal::REASONS.len()],
    store: Store,
    started: Instant,
    max_body: usize,
    script: String,
}

impl Vitals {
    /// Begins to count.
    ///
    /// # Errors
    /// A page that cannot be matched, which the configuration's own check finds before.
    pub fn new(settings: &config::Vitals, store: Store) -> Result<Self, TemplateError> {
        let templates = Arc::new(Templates::new(&settings.pages)?);
        let max_pages = usize::try_from(settings.max_pages).unwrap_or(usize::MAX);
        Ok(Self(Arc::new(Shared {
            senders: Senders::new(settings),
            state: Mutex::new(State::new(templates, max_pages, now_ms())),
            accepted: Default::default(),
            refused: Default::default(),
            store,
            started: Instant::now(),
            max_body: usize::try_from(settings.max_body).unwrap_or(usize::MAX),
            script: script::served(&Defaults {
                sample: settings.sample_rate,
                slow_ms: settings.slow_ms,
            }),
        })))
    }

    /// The script that pages load. Never changes.
    pub fn script(&self) -> &str {
        &self.0.script
    }

    /// Most bytes of a body, also after decompression.
    pub fn max_body(&self) -> usize {
        self.0.max_body
    }

    /// Whether a page may send at all.
    ///
    /// # Errors
    /// [`Refusal::Origin`].
    pub fn check_origin(&self, sender: &Sender<'_>) -> Result<(), Refusal> {
        self.0.senders.check_origin(sender)
    }

    /// Takes one beacon of a client, whose address is `peer`'s or the one that a trusted proxy has
    /// forwarded (the values of all `X-Forwarded-For` headers). Its body may be read for as long as
    /// the permit lives.
    ///
    /// # Errors
    /// [`Refusal::ClientRate`], [`Refusal::TotalRate`], [`Refusal::Busy`].
    pub fn admit(&self, peer: IpAddr, forwarded_for: &[&str]) -> Result<Permit, Refusal> {
        let senders = &self.0.senders;
        senders.admit(senders.client(peer, forwarded_for))
    }

    /// Counts what one body held, and keeps it.
    pub fn accept(&self, endpoint: Endpoint, beacons: &[Beacon]) {
        if let Some(accepted) = self.0.accepted.get(endpoint as usize) {
            accepted.fetch_add(1, Ordering::Relaxed);
        }
        let now = self.now();
        let mut records = Vec::new();
        {
            let mut state = self.state();
            for beacon in beacons {
                state.take(beacon, now, &self.0.store.host(), &mut records);
            }
        }
        for record in records {
            self.0.store.keep(record);
        }
    }

    /// Counts a beacon that was not taken.
    pub fn refuse(&self, refusal: &Refusal) {
        tracing::debug!(reason = refusal.reason(), "a beacon was refused: {refusal}");
        if let Some(refused) = self.0.refused.get(refusal.number()) {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted until now.
    pub fn numbers(&self) -> Numbers {
        let mut numbers = self.state().numbers(self.now());
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let endpoints = Endpoint::ALL.iter().zip(&self.0.accepted);
        numbers.accepted = endpoints
            .map(|(endpoint, count)| (endpoint.as_str(), read(count)))
            .collect::<BTreeMap<_, _>>();
        let reasons = Refusal::REASONS.iter().zip(&self.0.refused);
        numbers.refused = reasons
            .map(|(reason, count)| (*reason, read(count)))
            .collect();
        numbers.clients = self.0.senders.clients() as u64;
        numbers
    }

    /// Hands sums to the store window by window, and the last one once it is told to stop.
    pub async fn keep_sums(self, stop: CancellationToken) {
        loop {
            let stopped = tokio::select! {
                () = tokio::time::sleep(WINDOW) => false,
                () = stop.cancelled() => true,
            };
            self.end_window();
            if stopped {
                return;
            }
        }
    }

    fn end_window(&self) {
        let rows = self.state().take_sums(now_ms(), &self.0.store.host());
        if !rows.is_empty() {
            self.0.store.keep(Record::BrowserSums(rows));
        }
    }

    fn now(&self) -> Moment {
        Moment {
            since_start: self.0.started.elapsed(),
            unix_ms: now_ms(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
