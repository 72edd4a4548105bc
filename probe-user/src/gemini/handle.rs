//! The one place where calls are recorded and limits are asked.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Call, Estimate, GeminiError, LimitLevel, LimitState, Month, Numbers, Prices, Recorded,
    Reservation, ReservationId, ReserveError, Reserved, Settled,
    ledger::Ledger,
    limits::{plain_feature, plain_model},
    report::{By, Period, Report},
};
use crate::{
    config::{self, WhenStoreIsDown},
    store::{Store, StoreError, now_ms},
};

/// Calls that may wait to be recorded.
const WAITING: usize = 4_096;
/// Calls of one transaction.
const BATCH: usize = 64;
/// From one look at the limits to the next; reservations that are over are given back then.
const LOOK: Duration = Duration::from_secs(1);
/// From one sum of the month to the next.
const MONTH: Duration = Duration::from_secs(60);
/// From one time that what is over is forgotten to the next.
const FORGET: Duration = Duration::from_secs(600);
/// Pauses after a failure: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// Longest time of one transaction, with waiting for its turn.
const PATIENCE: Duration = Duration::from_secs(8);
/// Time for what is left when the daemon stops.
const LAST: Duration = Duration::from_secs(1);

/// What the limit is called in metrics when a call is refused because the store is down.
const STORE_IS_DOWN: &str = "store_down";

/// The time in Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Usage of Gemini: what was called, what it cost, and what may still be called. Cheap to clone.
#[derive(Clone)]
pub struct Gemini(Arc<Shared>);

struct Shared {
    ledger: Ledger,
    prices: Prices,
    host: Arc<str>,
    when_store_is_down: WhenStoreIsDown,
    numbers: Mutex<Numbers>,
    queue: mpsc::Sender<Work>,
    clock: Clock,
    /// True once the task has ended.
    ended: watch::Receiver<bool>,
}

impl fmt::Debug for Gemini {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = self.0.ledger.store().location();
        f.debug_tuple("Gemini").field(&location).finish()
    }
}

/// What is done when the store can be used.
enum Work {
    Record(Box<Call>),
    Settle(ReservationId, Box<Call>),
    Release(ReservationId),
}

impl Gemini {
    /// Reads the prices and begins to look after the ledger, until it is told to stop. Without a
    /// store the ledger is in memory and ends with the daemon.
    ///
    /// # Errors
    /// The zone is not known, or the file of prices can't be used.
    pub async fn open(
        config: &config::Gemini,
        store: Store,
        stop: CancellationToken,
    ) -> Result<Self, GeminiError> {
        Self::open_with(config, store, stop, Arc::new(now_ms)).await
    }

    /// The same with a clock of one's own.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(
        config: &config::Gemini,
        store: Store,
        stop: CancellationToken,
        clock: Clock,
    ) -> Result<Self, GeminiError> {
        let host = store.host();
        let store = if store.is_off() {
            Store::in_memory().await?
        } else {
            store
        };
        let prices = match &config.prices {
            Some(path) => Prices::load(path)?,
            None => Prices::built_in(),
        };
        let most = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let (queue, work) = mpsc::channel(WAITING);
        let (end, ended) = watch::channel(false);
        let gemini = Self(Arc::new(Shared {
            ledger: Ledger::new(config, store)?,
            prices,
            host,
            when_store_is_down: config.when_store_is_down,
            numbers: Mutex::new(Numbers::new(
                most(config.max_models),
                most(config.max_features),
            )),
            queue,
            clock,
            ended,
        }));
        let keeper = Keeper {
            gemini: gemini.clone(),
            work,
            stop,
            waiting: Vec::new(),
        };
        tokio::spawn(async move {
            keeper.run().await;
            end.send_replace(true);
        });
        Ok(gemini)
    }

    /// The prices that count.
    pub fn prices(&self) -> &Prices {
        &self.0.prices
    }

    /// Where calls are kept.
    pub fn store(&self) -> &Store {
        self.0.ledger.store()
    }

    /// Name of this host, for the calls that it sees.
    pub fn host(&self) -> Arc<str> {
        Arc::clone(&self.0.host)
    }

    /// Now, in Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        (self.0.clock)()
    }

    /// Records a call.
    ///
    /// # Errors
    /// As [`Self::record_all`].
    pub async fn record(&self, call: Call) -> Result<Recorded, GeminiError> {
        let recorded = self.record_all(vec![call]).await?;
        // There is one for each call.
        recorded
            .first()
            .copied()
            .ok_or(GeminiError::Store(StoreError::Timeout(
                "cannot record a call",
            )))
    }

    /// Records calls, all of them or none; what became of each, in their order.
    ///
    /// # Errors
    /// The store can't be used, or a key was used for another call.
    pub async fn record_all(&self, calls: Vec<Call>) -> Result<Vec<Recorded>, GeminiError> {
        let gemini = self.clone();
        finished(async move {
            let recorded = gemini.0.ledger.record(&calls).await?;
            let mut numbers = gemini.numbers_mut();
            for (call, recorded) in calls.iter().zip(&recorded) {
                count(&mut numbers, call, *recorded);
            }
            Ok(recorded)
        })
        .await
    }

    /// Records a call soon. Never waits: what can't be recorded is counted.
    pub fn observe(&self, mut call: Call) {
        call.cost = self.prices().cost_of(&call);
        self.later(Work::Record(Box::new(call)));
    }

    /// Promises that a call fits into all limits, before it is made. A reservation that is not
    /// settled is given back after `gemini.lease_s`.
    ///
    /// # Errors
    /// A limit refuses it, the store can't be used, or its key was used for something else.
    pub async fn reserve(&self, want: &Estimate) -> Result<Reservation, ReserveError> {
        let (gemini, want) = (self.clone(), want.clone());
        let now_ms = self.now_ms();
        let reserved = finished(async move {
            let model = plain_model(&want.model);
            let nano_usd = gemini.0.prices.worst_case(model, want.tokens, now_ms);
            let ledger = &gemini.0.ledger;
            ledger
                .reserve(&want, nano_usd, &gemini.0.host, now_ms)
                .await
        })
        .await;
        match &reserved {
            Err(ReserveError::Refused(refusal)) => {
                self.numbers_mut().refused(&refusal.state.limit.name);
            }
            Err(ReserveError::Unavailable(error)) => {
                if self.0.when_store_is_down == WhenStoreIsDown::Allow {
                    debug!("a call is allowed without being counted: {error}");
                    return Ok(Reservation {
                        id: ReservationId::unstored(now_ms),
                        limits: Vec::new(),
                        expires_at_ms: now_ms,
                    });
                }
                self.numbers_mut().refused(STORE_IS_DOWN);
            }
            Ok(_) | Err(ReserveError::KeyReused { .. }) => {}
        }
        reserved
    }

    /// Replaces what a reservation holds by what its call took. A second time changes nothing. While
    /// the store can't be used, it is done later, and counted when it can't.
    ///
    /// # Errors
    /// There is no such reservation, or the call's key was used for another one.
    pub async fn settle(&self, id: &ReservationId, call: Call) -> Result<Settled, GeminiError> {
        match self.settle_now(*id, call.clone()).await {
            Err(GeminiError::Store(error)) => {
                debug!("reservation {id} is settled later: {error}");
                self.later(Work::Settle(*id, Box::new(call)));
                Ok(Settled::Queued)
            }
            other => other,
        }
    }

    /// The same for who comes again by himself while the store can't be used.
    ///
    /// # Errors
    /// The store can't be used, there is no such reservation, or the call's key was used for another
    /// one.
    pub async fn settle_now(&self, id: ReservationId, call: Call) -> Result<Settled, GeminiError> {
        if !id.is_stored() {
            return self.record(call).await.map(Settled::Recorded);
        }
        let gemini = self.clone();
        finished(async move {
            let settled = gemini.0.ledger.settle(id, &call).await?;
            if let Settled::Recorded(recorded) = settled {
                count(&mut gemini.numbers_mut(), &call, recorded);
            }
            Ok(settled)
        })
        .await
    }

    /// What a reservation was made for; `None` when the store knows none of this number.
    ///
    /// # Errors
    /// The store can't be used.
    pub async fn reserved(&self, id: ReservationId) -> Result<Option<Reserved>, StoreError> {
        if !id.is_stored() {
            return Ok(None);
        }
        let gemini = self.clone();
        finished(async move { gemini.0.ledger.reserved(id).await }).await
    }

    /// Counts reports that were not taken, by the reason.
    pub fn turned_away(&self, reason: &'static str) {
        self.numbers_mut().dropped(reason, 1);
    }

    /// Gives a reservation back whose call was not made. Where the store can't be used it is done
    /// later, or by the end of the lease.
    pub async fn release(&self, id: &ReservationId) {
        let id = *id;
        if !id.is_stored() {
            return;
        }
        if let Err(error) = self.release_now(id).await {
            debug!("reservation {id} is given back later: {error}");
            self.later(Work::Release(id));
        }
    }

    async fn release_now(&self, id: ReservationId) -> Result<bool, StoreError> {
        let gemini = self.clone();
        finished(async move { gemini.0.ledger.release(id).await }).await
    }

    /// Whether any limit counts calls of this model and for this feature: of others nothing needs to
    /// be reserved.
    pub fn is_limited(&self, (model, feature): (&str, &str)) -> bool {
        let (model, feature) = (plain_model(model), plain_feature(feature));
        let limits = self.0.ledger.limits();
        limits.covering(model, feature).next().is_some()
    }

    /// What all limits stand at now, of all hosts that share the store.
    ///
    /// # Errors
    /// The store can't be used.
    pub async fn limits(&self) -> Result<Vec<LimitState>, StoreError> {
        let gemini = self.clone();
        finished(async move { gemini.0.ledger.levels(gemini.now_ms()).await }).await
    }

    /// What calls used and cost in the period that `at_ms` is in, or that runs now; of all hosts that
    /// share the store.
    ///
    /// # Errors
    /// The store can't be used.
    pub async fn report(
        &self,
        period: Period,
        by: By,
        at_ms: Option<i64>,
    ) -> Result<Report, StoreError> {
        let gemini = self.clone();
        let now_ms = gemini.now_ms();
        let at_ms = at_ms.unwrap_or(now_ms);
        finished(async move { gemini.0.ledger.report((period, by), at_ms, now_ms).await }).await
    }

    /// Name of the zone in which days, weeks and months begin.
    pub fn zone(&self) -> String {
        let zone = self.0.ledger.limits().zone();
        zone.iana_name().unwrap_or("UTC").to_owned()
    }

    /// What was counted since the start, for metrics, and what the limits stood at when they were
    /// looked at last, about a second ago.
    pub fn numbers(&self) -> Numbers {
        self.numbers_mut().clone()
    }

    /// Waits until what was taken is recorded, once it was told to stop; for about a second at most.
    pub async fn ended(&self) {
        let mut ended = self.0.ended.clone();
        // An error means that the task is gone, too.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    pub(super) fn numbers_mut(&self) -> MutexGuard<'_, Numbers> {
        self.0
            .numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn later(&self, work: Work) {
        let reason = match self.0.queue.try_send(work) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(work)) => (work, "queue_full"),
            Err(mpsc::error::TrySendError::Closed(work)) => (work, "stopped"),
        };
        if let (Work::Record(_) | Work::Settle(..), reason) = reason {
            self.numbers_mut().dropped(reason, 1);
        }
    }

    /// Looks at the limits, for metrics, and gives back what nobody settled.
    async fn look(&self) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        let expired = self.0.ledger.expire(now_ms).await?;
        if expired > 0 {
            info!("{expired} reservations were not settled in time and are given back");
        }
        let levels = self.0.ledger.levels(now_ms).await?;
        self.numbers_mut().limits = levels.iter().map(level).collect();
        Ok(())
    }

    /// Adds up the month, for metrics.
    async fn look_at_month(&self) -> Result<(), StoreError> {
        let month = self.0.ledger.month(self.now_ms()).await?;
        self.numbers_mut().month = Some(Month {
            nano_usd: month.nano_usd,
            projected_nano_usd: month.projected_nano_usd,
            unpriced_calls: month.unpriced,
        });
        Ok(())
    }
}

/// Does the work to its end even when who asked goes away, so that no answer is lost that something
/// was written for; but not longer than [`PATIENCE`].
async fn finished<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let task = tokio::spawn(timeout(PATIENCE, work));
    match task.await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(StoreError::Timeout("the store does not answer").into()),
        Err(_) => Err(StoreError::Timeout("the daemon stops").into()),
    }
}

fn count(numbers: &mut Numbers, call: &Call, recorded: Recorded) {
    match recorded {
        Recorded::New(_) => numbers.count(call),
        Recorded::Duplicate { .. } => numbers.duplicate(),
        Recorded::Merged { .. } => numbers.merged(),
    }
}

/// As the metrics have it.
fn level(state: &LimitState) -> LimitLevel {
    let limit = &state.limit;
    LimitLevel {
        limit: limit.name.clone(),
        per: limit.per.as_str(),
        unit: limit.unit.as_str(),
        model: limit.model.clone(),
        feature: limit.feature.clone(),
        used: state.used,
        reserved: state.held,
        cap: limit.cap,
        from_ms: state.window.start_ms,
        resets_at_ms: state.window.end_ms,
    }
}

/// The task that records what came by the queue, and looks after the ledger.
struct Keeper {
    gemini: Gemini,
    work: mpsc::Receiver<Work>,
    stop: CancellationToken,
    /// Taken out of the queue, and not done yet.
    waiting: Vec<Work>,
}

impl Keeper {
    async fn run(mut self) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut forgotten: Option<Instant> = None;
        let mut month: Option<Instant> = None;
        let mut pause = PAUSES[0];
        loop {
            // What could not be done before goes first.
            let room = BATCH.saturating_sub(self.waiting.len());
            tokio::select! {
                taken = self.work.recv_many(&mut self.waiting, room), if self.waiting.is_empty() => {
                    if taken == 0 {
                        break;
                    }
                }
                () = sleep(pause), if !self.waiting.is_empty() => {}
                _ = look.tick() => {
                    self.look(&mut forgotten).await;
                    self.look_at_month(&mut month).await;
                    continue;
                }
                () = self.stop.cancelled() => break,
            }
            pause = match self.work_off().await {
                Ok(()) => PAUSES[0],
                Err(error) => {
                    debug!("calls of Gemini wait for the store: {error}");
                    (pause * 2).min(PAUSES[1])
                }
            };
        }
        self.finish().await;
    }

    async fn look(&self, forgotten: &mut Option<Instant>) {
        let gemini = self.gemini.clone();
        let looked = finished(async move { gemini.look().await }).await;
        if let Err(error) = looked {
            // The store's own task says so in the log.
            debug!("cannot look at the limits: {error}");
            return;
        }
        if forgotten.is_none_or(|at| at.elapsed() >= FORGET) {
            let gemini = self.gemini.clone();
            let done = finished(async move {
                let now_ms = gemini.now_ms();
                gemini.0.ledger.forget_old(now_ms).await
            });
            match done.await {
                Ok(()) => *forgotten = Some(Instant::now()),
                Err(error) => debug!("cannot forget what is over: {error}"),
            }
        }
    }

    /// Once a minute, since it reads all calls of the month.
    async fn look_at_month(&self, looked: &mut Option<Instant>) {
        if looked.is_some_and(|at| at.elapsed() < MONTH) {
            return;
        }
        let gemini = self.gemini.clone();
        match finished(async move { gemini.look_at_month().await }).await {
            Ok(()) => *looked = Some(Instant::now()),
            Err(error) => debug!("cannot add up the month: {error}"),
        }
    }

    /// Does all that waits; what is left waits on.
    async fn work_off(&mut self) -> Result<(), StoreError> {
        if self
            .waiting
            .iter()
            .all(|work| matches!(work, Work::Record(_)))
        {
            let calls: Vec<Call> = self.waiting.iter().filter_map(call_of).cloned().collect();
            match self.gemini.record_all(calls).await {
                Ok(_) => {
                    self.waiting.clear();
                    return Ok(());
                }
                Err(GeminiError::Store(error)) if !error.is_about_a_record() => return Err(error),
                // One of them is wrong: one by one.
                Err(_) => {}
            }
        }
        while let Some(work) = self.waiting.first() {
            let done = match work {
                Work::Record(call) => self.gemini.record((**call).clone()).await.map(drop),
                Work::Settle(id, call) => {
                    let settled = self.gemini.settle_now(*id, (**call).clone());
                    settled.await.map(drop)
                }
                Work::Release(id) => {
                    let released = self.gemini.release_now(*id).await;
                    released.map(drop).map_err(GeminiError::Store)
                }
            };
            match done {
                Ok(()) => {}
                Err(GeminiError::Store(error)) if !error.is_about_a_record() => return Err(error),
                Err(error) => {
                    warn!("a call of Gemini is dropped: {error}");
                    self.gemini.numbers_mut().dropped("refused", 1);
                }
            }
            self.waiting.remove(0);
        }
        Ok(())
    }

    /// Records what is left, as far as that is possible in a short time.
    async fn finish(mut self) {
        self.work.close();
        let last = async {
            loop {
                while self.waiting.len() < BATCH
                    && let Ok(work) = self.work.try_recv()
                {
                    self.waiting.push(work);
                }
                if self.waiting.is_empty() || self.work_off().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(LAST, last).await;
        while let Ok(work) = self.work.try_recv() {
            self.waiting.push(work);
        }
        let lost = self.waiting.iter().filter_map(call_of).count() as u64;
        if lost > 0 {
            warn!("{lost} calls of Gemini could not be recorded before the end");
            self.gemini.numbers_mut().dropped("stopped", lost);
        }
    }
}

fn call_of(work: &Work) -> Option<&Call> {
    match work {
        Work::Record(call) | Work::Settle(_, call) => Some(call),
        Work::Release(_) => None,
    }
}
