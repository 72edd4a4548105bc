//! The task that writes: batches, and what happens when that fails.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    Dropped, Record, Shared, State, StoreError, browser, connections::Connections, place::Place,
    query_stats, retention::Retention, slow_queries, statements,
};
use crate::config;

/// Records of one transaction.
const BATCH: usize = 500;
/// A transaction that takes longer is given up, and tried again on a new connection.
const TRANSACTION: Duration = Duration::from_secs(30);
/// Likewise for a step of keeping the store within its bounds.
const MAINTENANCE: Duration = Duration::from_secs(90);
/// Time for what is left when the daemon stops.
const LAST: Duration = Duration::from_secs(1);
/// Pauses between attempts: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];
/// A store that comes and goes is reported once in that time.
const WARN_AGAIN: Duration = Duration::from_secs(60);

/// Writes until it is told to stop.
pub(super) struct Writer {
    shared: Arc<Shared>,
    place: Place,
    queue: mpsc::Receiver<Record>,
    flush: Duration,
    stop: CancellationToken,
    connections: Option<Connections>,
    /// Taken out of the queue; kept until it is written.
    batch: Vec<Record>,
    /// When the first of them was taken.
    batch_begun: Instant,
    pause: Duration,
    trouble: Trouble,
    retention: Retention,
}

/// What was said about the store.
#[derive(Default)]
struct Trouble {
    /// Down, and nothing was written since.
    now: bool,
    warned: Option<Instant>,
    /// Its end is worth a line, because its begin was.
    announced: bool,
}

enum Next {
    Write,
    Maintain,
    Stop,
}

impl Writer {
    pub(super) fn new(
        shared: &Arc<Shared>,
        place: Place,
        settings: &config::Store,
        queue: mpsc::Receiver<Record>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            place,
            queue,
            flush: Duration::from_millis(settings.flush_ms.into()),
            stop,
            connections: None,
            batch: Vec::with_capacity(BATCH),
            batch_begun: Instant::now(),
            pause: PAUSES[0],
            trouble: Trouble::default(),
            retention: Retention::new(settings.retention_days, settings.max_bytes),
        }
    }

    /// Opens the store and writes. `opened` gets `None`, or the error of the first attempt when
    /// trying again can't help.
    pub(super) async fn run(mut self, opened: oneshot::Sender<Option<StoreError>>) {
        let mut opened = Some(opened);
        loop {
            if self.connections.is_none() {
                let result = self.open().await;
                let lasting = result.is_err_and(|error| {
                    let lasting = error.is_lasting();
                    match opened.take() {
                        // The daemon's start fails with it.
                        Some(opened) if lasting => drop(opened.send(Some(error))),
                        _ => self.failed(&error),
                    }
                    lasting
                });
                drop(opened.take().map(|opened| opened.send(None)));
                if self.connections.is_none() {
                    let pause = if lasting { PAUSES[1] } else { self.pause };
                    self.pause = (self.pause * 2).min(PAUSES[1]);
                    tokio::select! {
                        () = sleep(pause) => continue,
                        () = self.stop.cancelled() => break,
                    }
                }
            }
            match self.gather().await {
                Next::Write => self.write().await,
                Next::Maintain => self.maintain().await,
                Next::Stop => break,
            }
        }
        self.finish().await;
    }

    async fn open(&mut self) -> Result<(), StoreError> {
        let connections = Connections::open(&self.place, &self.shared.host).await?;
        {
            let mut status = self.shared.status();
            status.readers = Some(connections.readers.clone());
            status.transactions = Some(connections.transactions.clone());
            if !self.trouble.now {
                status.state = State::Up;
            }
        }
        self.connections = Some(connections);
        self.retention.restart();
        // With nothing to write, that it could be opened for writing is all that can be known.
        if self.trouble.now && self.batch.is_empty() {
            self.worked();
        }
        Ok(())
    }

    /// Waits until there is enough to write, or the first of it waited long enough.
    async fn gather(&mut self) -> Next {
        loop {
            let room = BATCH.saturating_sub(self.batch.len());
            // What could not be written before is written first.
            if room == 0 || (self.trouble.now && !self.batch.is_empty()) {
                return Next::Write;
            }
            let waiting = !self.batch.is_empty();
            tokio::select! {
                taken = self.queue.recv_many(&mut self.batch, room) => {
                    self.shared.taken.store(self.batch.len(), Ordering::Relaxed);
                    if taken == 0 {
                        return Next::Stop;
                    }
                    if !waiting {
                        self.batch_begun = Instant::now();
                    }
                }
                () = sleep_until(self.batch_begun + self.flush), if waiting => return Next::Write,
                () = sleep_until(self.retention.due()) => return Next::Maintain,
                () = self.stop.cancelled() => return Next::Stop,
            }
        }
    }

    /// Does the next bit of keeping the store within its bounds.
    async fn maintain(&mut self) {
        let Some(connections) = &mut self.connections else {
            return;
        };
        let step = self.retention.step(connections, &self.shared.host);
        let done = timeout(MAINTENANCE, step).await;
        match done.unwrap_or(Err(StoreError::Timeout("cannot look after the store"))) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                let size = &self.shared.counters.size_bytes;
                size.store(bytes, Ordering::Relaxed);
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Writes the batch, or keeps it for the next attempt.
    async fn write(&mut self) {
        let Some(connections) = &mut self.connections else {
            return;
        };
        let begun = Instant::now();
        match transaction(connections, &self.batch).await {
            Ok(()) => {
                let counters = &self.shared.counters;
                let ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                counters.write_ns.fetch_add(ns, Ordering::Relaxed);
                counters.transactions.fetch_add(1, Ordering::Relaxed);
                self.worked();
                let batch = mem::take(&mut self.batch);
                self.done_with(&batch, None);
            }
            Err(error) if error.is_about_a_record() => self.write_singly().await,
            Err(error) => self.failed(&error),
        }
    }

    /// Finds the record that the database refuses, and gives it up.
    async fn write_singly(&mut self) {
        for record in mem::take(&mut self.batch) {
            let Some(connections) = &mut self.connections else {
                self.batch.push(record);
                continue;
            };
            let record = [record];
            match transaction(connections, &record).await {
                Ok(()) => self.done_with(&record, None),
                Err(error) if error.is_about_a_record() => {
                    warn!("the store refuses a record, which is dropped: {error}");
                    self.done_with(&record, Some(Dropped::Refused));
                }
                Err(error) => {
                    self.failed(&error);
                    self.batch.extend(record);
                }
            }
        }
        self.shared.taken.store(self.batch.len(), Ordering::Relaxed);
    }

    /// Counts records as written, or dropped and why.
    fn done_with(&self, records: &[Record], dropped: Option<Dropped>) {
        let counters = &self.shared.counters;
        let mut bytes = 0_usize;
        for record in records {
            bytes = bytes.saturating_add(record.bytes());
            match dropped {
                None => counters.written(record.kind(), record.rows()),
                Some(why) => counters.dropped(record.kind(), why, record.rows()),
            }
        }
        self.shared
            .waiting_bytes
            .fetch_sub(bytes, Ordering::Relaxed);
        self.shared.taken.store(self.batch.len(), Ordering::Relaxed);
    }

    /// Notes that the store can't be used now. The connections are given up: what was wrong with
    /// them, such as a file that was read-only, may last as long as they do.
    fn failed(&mut self, error: &StoreError) {
        let text = error.to_string();
        let place = &self.place;
        self.shared
            .counters
            .failures
            .fetch_add(1, Ordering::Relaxed);
        {
            let mut status = self.shared.status();
            // Its connections end by themselves once nobody uses them any more.
            status.readers = None;
            status.transactions = None;
            status.state = State::Down(text.clone());
        }
        self.connections = None;
        let quiet = self
            .trouble
            .warned
            .is_some_and(|warned| warned.elapsed() < WARN_AGAIN);
        if self.trouble.now || quiet {
            debug!("the store {place} cannot be used: {text}");
        } else if error.is_lasting() {
            error!("nothing is stored: {text}");
        } else {
            warn!(
                "the store {place} cannot be used, which is tried again; records wait, and are dropped \
                 and counted when they are too many: {text}"
            );
        }
        if !self.trouble.now && !quiet {
            self.trouble.warned = Some(Instant::now());
            self.trouble.announced = true;
        }
        self.trouble.now = true;
    }

    /// Notes that the store works.
    fn worked(&mut self) {
        self.pause = PAUSES[0];
        if !mem::take(&mut self.trouble.now) {
            return;
        }
        self.shared.status().state = State::Up;
        if mem::take(&mut self.trouble.announced) {
            info!("the store {} works again", self.place);
        }
    }

    /// Writes what is left, as far as that is possible in a short time.
    async fn finish(mut self) {
        self.queue.close();
        let _ = timeout(LAST, self.write_the_rest()).await;
        let mut left = mem::take(&mut self.batch);
        while let Ok(record) = self.queue.try_recv() {
            left.push(record);
        }
        if !left.is_empty() {
            warn!("{} records could not be stored before the end", left.len());
            self.done_with(&left, Some(Dropped::Stopped));
        }
    }

    async fn write_the_rest(&mut self) {
        loop {
            let room = BATCH.saturating_sub(self.batch.len());
            while self.batch.len() < BATCH
                && let Ok(record) = self.queue.try_recv()
            {
                self.batch.push(record);
            }
            debug!(room, left = self.batch.len(), "writing what is left");
            if self.batch.is_empty() {
                return;
            }
            if self.connections.is_none() && self.open().await.is_err() {
                return;
            }
            self.write().await;
        }
    }
}

/// Writes records, all or none of them.
async fn transaction(connections: &mut Connections, records: &[Record]) -> Result<(), StoreError> {
    connections.check_file()?;
    let written = timeout(TRANSACTION, async {
        connections
            .execute(connections.dialect.begin(), "cannot write")
            .await?;
        let inserted = insert(connections, records).await;
        let end = if inserted.is_ok() {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        let ended = connections.execute(end, "cannot write").await;
        inserted.and(ended)
    });
    written
        .await
        .unwrap_or(Err(StoreError::Timeout("cannot write")))
}

async fn insert(connections: &mut Connections, records: &[Record]) -> Result<(), StoreError> {
    let writer = &mut connections.writer;
    statements::insert(writer, records).await?;
    slow_queries::insert(writer, records).await?;
    query_stats::insert(writer, records).await?;
    browser::vitals::insert(writer, records).await?;
    browser::errors::insert(writer, records).await?;
    browser::sums::insert(writer, records).await
}
