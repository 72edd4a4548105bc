//! What is kept beyond a scrape: slow statements, and what statements did each minute.
//!
//! An SQLite file, or a Postgres database that several hosts share: one schema and one set of SQL
//! for both. Records go through a bounded queue to one task that writes them in batches, so that
//! neither the decoder nor a scrape ever waits for a disk. A store that is full, slow, read-only or
//! gone costs records, which are counted, and nothing else; the task tries again until it works.
//!
//! To add a table:
//! 1. a step at the end of `migrations::STEPS`, with SQL that both databases read (`BIGINT`, `TEXT`,
//!    `{bytes}`; every table has a `host` and a time in milliseconds);
//! 2. a variant of [`Record`] and of [`Kind`];
//! 3. a file like `slow_queries.rs` with `insert` and what is asked for, called from
//!    [`writer`](self) and from a method of [`Store`]. An insert is repeated when it is not known
//!    whether it was committed, so it needs a key and `ON CONFLICT`;
//! 4. its line in `retention::TABLES`.
//!
//! What must be known at once, such as a reservation against a quota, does not go through the
//! queue: it is a method of [`Store`] of its own with a transaction on a connection of the pool.

mod browser;
pub mod buckets;
mod connections;
mod error;
mod examine;
mod migrations;
mod place;
mod query_stats;
mod recent;
mod record;
mod report;
mod retention;
mod rows;
mod slow_queries;
mod statements;
#[cfg(test)]
pub(crate) mod tests;
mod transaction;
mod writer;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sqlx::AnyPool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use browser::{
    BrowserError, BrowserSum, By, ErrorFilter, ErrorGroup, ErrorSort, Found, MAX_ERRORS,
    MAX_GROUPS, PageSum, Portion, Sample, SumFilter, SumKind, VitalFilter, VitalGroup, WebVital,
};
pub use error::StoreError;
pub use examine::{Examination, examine};
pub use place::default_file;
pub use recent::Recent;
pub use record::{
    Cursor, DEFAULT_LIMIT, Kind, MAX_LIMIT, Page, QueryStats, Record, Side, SlowQuery,
    SlowQueryFilter,
};
pub use report::{Dropped, KindReport, State, StoreReport};

pub(crate) use connections::trusted;
pub(crate) use error::Doing;
pub(crate) use rows::{Values, unsigned};
pub(crate) use transaction::Transaction;

use crate::config;
use browser::RecentBeacons;
use connections::Dialect;
use place::Place;
use report::Counters;
use transaction::Transactions;
use writer::Writer;

/// Longest wait of [`Store::open`]; what takes longer goes on beside the daemon.
const OPENING: Duration = Duration::from_secs(2);
/// Bytes that waiting records may take, whatever their number.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// Longest time for an answer.
const ANSWER: Duration = Duration::from_secs(8);

/// Handle of the store; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Store(Arc<Shared>);

/// What the handles and the writer share.
#[derive(Debug)]
struct Shared {
    location: String,
    host: Arc<str>,
    /// `None` when nothing is kept.
    queue: Option<mpsc::Sender<Record>>,
    /// Bytes of the records that wait.
    waiting_bytes: AtomicUsize,
    /// Records that the writer has taken out of the queue, but not written yet.
    taken: AtomicUsize,
    counters: Counters,
    status: Mutex<Status>,
    /// For when the store is off or down.
    recent: Mutex<RecentBeacons>,
    /// True once the writer has ended.
    ended: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Status {
    state: State,
    /// `None` while the store is down.
    readers: Option<AnyPool>,
    /// Likewise.
    transactions: Option<Transactions>,
}

impl Store {
    /// Starts the writer. Fails only for a configuration mistake or a store written by a newer
    /// version: when the store can't be reached or written, the daemon works without it until it
    /// can.
    ///
    /// # Errors
    /// [`StoreError::Configuration`], [`StoreError::Newer`], [`StoreError::NotAStore`].
    pub async fn open(
        settings: &config::Store,
        stop: CancellationToken,
    ) -> Result<Self, StoreError> {
        let Some(place) = Place::configured(settings)? else {
            return Ok(Self::off());
        };
        let queue = usize::try_from(settings.queue).unwrap_or(usize::MAX).max(1);
        let (sender, receiver) = mpsc::channel(queue);
        let (end, ended) = watch::channel(false);
        let store = Self::new(place.to_string(), Some(sender), State::Opening, ended);
        let (opened, first) = oneshot::channel();
        let writer = Writer::new(&store.0, place, settings, receiver, stop);
        tokio::spawn(async move {
            writer.run(opened).await;
            end.send_replace(true);
        });
        match tokio::time::timeout(OPENING, first).await {
            Ok(Ok(Some(error))) => Err(error),
            // Opened, or down, or not known yet.
            _ => Ok(store),
        }
    }

    /// A store that keeps nothing.
    pub fn off() -> Self {
        let (_, ended) = watch::channel(true);
        Self::new("none".to_owned(), None, State::Off, ended)
    }

    /// A store of its own that ends with the daemon, for what is needed where none is configured.
    /// It takes no records.
    ///
    /// # Errors
    /// SQLite refuses.
    pub(crate) async fn in_memory() -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let transactions = Transactions::new(&Place::Memory, Dialect::Sqlite, None)?;
        let pool = transactions.pool().clone();
        let connection = pool.acquire().await;
        let mut connection = error::Doing::doing(connection, "cannot make a store in memory")?;
        migrations::run(&mut connection, Dialect::Sqlite, &Place::Memory).await?;
        drop(connection);
        let (_, ended) = watch::channel(true);
        let store = Self::new(Place::Memory.to_string(), None, State::Up, ended);
        {
            let mut status = store.0.status();
            // There is one connection, because each would have a memory of its own.
            status.readers = Some(pool);
            status.transactions = Some(transactions);
        }
        Ok(store)
    }

    fn new(
        location: String,
        queue: Option<mpsc::Sender<Record>>,
        state: State,
        ended: watch::Receiver<bool>,
    ) -> Self {
        let host = nix::unistd::gethostname().map_or_else(
            |_| "unknown".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        Self(Arc::new(Shared {
            location,
            host: host.into(),
            queue,
            waiting_bytes: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            counters: Counters::default(),
            status: Mutex::new(Status {
                state,
                readers: None,
                transactions: None,
            }),
            recent: Mutex::default(),
            ended,
        }))
    }

    /// Name of this host, for the records that it makes.
    pub fn host(&self) -> Arc<str> {
        Arc::clone(&self.0.host)
    }

    /// Whether nothing is kept, because none is configured.
    pub fn is_off(&self) -> bool {
        self.0.queue.is_none()
    }

    /// Takes a record for writing. Never blocks; when the queue is full the record is dropped and
    /// counted. The latest of what browsers said is remembered in any case.
    pub fn keep(&self, record: Record) {
        self.0.recent().push(&record);
        let Some(queue) = &self.0.queue else { return };
        let (kind, rows, bytes) = (record.kind(), record.rows(), record.bytes());
        let waiting = self.0.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let why = if waiting.saturating_add(bytes) > MAX_WAITING_BYTES {
            Dropped::QueueFull
        } else {
            match queue.try_send(record) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(_)) => Dropped::QueueFull,
                Err(mpsc::error::TrySendError::Closed(_)) => Dropped::Stopped,
            }
        };
        self.0.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.0.counters.dropped(kind, why, rows);
    }

    /// Slow statements, newest first, in a stable order (time, id), page by page.
    ///
    /// # Errors
    /// The store is off or down, or does not answer in time.
    pub async fn slow_queries(
        &self,
        filter: &SlowQueryFilter,
    ) -> Result<Page<SlowQuery>, StoreError> {
        let readers = self.readers()?;
        in_time(slow_queries::find(&readers, filter)).await
    }

    /// Sums per host, service, side, database and statement over the windows that begin from
    /// `from_ms` on and before `to_ms` (Unix milliseconds). Windows that are older than a day are
    /// hours.
    ///
    /// # Errors
    /// The store is off or down, or does not answer in time.
    pub async fn query_stats(
        &self,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<QueryStats>, StoreError> {
        let readers = self.readers()?;
        in_time(query_stats::sums(&readers, from_ms, to_ms)).await
    }

    /// Quantiles and ratings of vitals.
    pub async fn vitals(&self, filter: &VitalFilter) -> Found<VitalGroup> {
        let asked = async { in_time(browser::vitals::groups(&self.readers()?, filter)).await };
        self.found(asked.await, |recent| recent.vitals(filter))
    }

    /// Errors of browsers by what they have in common.
    pub async fn browser_errors(&self, filter: &ErrorFilter) -> Found<ErrorGroup> {
        let asked = async { in_time(browser::errors::groups(&self.readers()?, filter)).await };
        self.found(asked.await, |recent| recent.errors(filter))
    }

    /// What was counted of pages.
    pub async fn page_sums(&self, filter: &SumFilter) -> Found<PageSum> {
        let asked = async { in_time(browser::sums::sums(&self.readers()?, filter)).await };
        let asked = asked.await.map(|sums| (sums, false));
        self.found(asked, |recent| (recent.sums(filter), false))
    }

    /// What the store says, or what is in memory when it says nothing.
    fn found<T>(
        &self,
        asked: Result<(Vec<T>, bool), StoreError>,
        remembered: impl FnOnce(&RecentBeacons) -> (Vec<T>, bool),
    ) -> Found<T> {
        let (not_stored, (items, more)) = match asked {
            Ok(found) => (None, found),
            Err(error) => (Some(error.to_string()), remembered(&self.0.recent())),
        };
        Found {
            items,
            more,
            not_stored,
        }
    }

    /// For metrics and people: up or why not, written and dropped by kind, queue, bytes.
    pub fn report(&self) -> StoreReport {
        let Some(queue) = &self.0.queue else {
            return StoreReport::off();
        };
        let counters = &self.0.counters;
        let read = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
        let in_channel = queue.max_capacity() - queue.capacity();
        let taken = self.0.taken.load(Ordering::Relaxed);
        StoreReport {
            location: self.0.location.clone(),
            state: self.0.status().state.clone(),
            kinds: counters.kinds(),
            queue_records: (in_channel + taken) as u64,
            queue_limit: queue.max_capacity() as u64,
            size_bytes: Some(read(&counters.size_bytes)).filter(|bytes| *bytes > 0),
            transactions: read(&counters.transactions),
            failures: read(&counters.failures),
            write_time: Duration::from_nanos(read(&counters.write_ns)),
        }
    }

    /// Waits until everything is written, once it was told to stop; for about a second at most.
    pub async fn ended(&self) {
        let mut ended = self.0.ended.clone();
        // An error means that the writer is gone, too.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Where it is, without its password.
    pub fn location(&self) -> &str {
        &self.0.location
    }

    /// Begins a transaction that will write.
    ///
    /// # Errors
    /// The store is off or down, or too many are under way.
    pub(crate) async fn begin(&self) -> Result<Transaction, StoreError> {
        let transactions = {
            let status = self.0.status();
            let transactions = status.transactions.clone();
            transactions.ok_or_else(|| status.why_not())?
        };
        transactions.begin().await
    }

    /// The connections for those who ask.
    ///
    /// # Errors
    /// The store is off or down.
    pub(crate) fn readers(&self) -> Result<AnyPool, StoreError> {
        let status = self.0.status();
        status.readers.clone().ok_or_else(|| status.why_not())
    }
}

impl Status {
    /// Why it can't be used.
    fn why_not(&self) -> StoreError {
        match &self.state {
            State::Off => StoreError::Off,
            State::Down(why) => StoreError::Down(why.clone()),
            State::Opening | State::Up => StoreError::Down("it was not opened yet".to_owned()),
        }
    }
}

impl Shared {
    fn status(&self) -> std::sync::MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, RecentBeacons> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::Timeout("cannot read")),
    }
}

/// Now, in Unix milliseconds.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
