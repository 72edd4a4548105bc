//! How the store does, for metrics and people.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::Kind;

/// Why a record was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Too many were waiting: the store is down or slow.
    QueueFull,
    /// The database refuses what is in it.
    Refused,
    /// The daemon ended first.
    Stopped,
}

impl Dropped {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::Refused, Self::Stopped];

    /// As it is called in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        }
    }
}

/// Whether the store can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// None is configured.
    Off,
    /// It was not opened yet.
    Opening,
    /// It can be written.
    Up,
    /// It can't; this is why.
    Down(String),
}

/// How the store does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreReport {
    /// Where it is, without its password.
    pub location: String,
    /// Whether it can be used.
    pub state: State,
    /// Rows of each kind.
    pub kinds: Vec<KindReport>,
    /// Records that wait to be written.
    pub queue_records: u64,
    /// How many may.
    pub queue_limit: u64,
    /// Bytes on the disk, when known.
    pub size_bytes: Option<u64>,
    /// Transactions that were committed.
    pub transactions: u64,
    /// Transactions that failed and are tried again.
    pub failures: u64,
    /// Time that the committed ones took.
    pub write_time: Duration,
}

/// Rows of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindReport {
    /// The kind.
    pub kind: Kind,
    /// Written.
    pub written: u64,
    /// Not written, by reason.
    pub dropped: Vec<(Dropped, u64)>,
}

impl StoreReport {
    /// Of a daemon without a store.
    pub fn off() -> Self {
        Self {
            location: "none".to_owned(),
            state: State::Off,
            kinds: Vec::new(),
            queue_records: 0,
            queue_limit: 0,
            size_bytes: None,
            transactions: 0,
            failures: 0,
            write_time: Duration::ZERO,
        }
    }
}

/// Numbers that any thread adds to.
#[derive(Debug, Default)]
pub(super) struct Counters {
    written: [AtomicU64; Kind::ALL.len()],
    dropped: [[AtomicU64; Dropped::ALL.len()]; Kind::ALL.len()],
    pub(super) transactions: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) write_ns: AtomicU64,
    /// 0 when not known.
    pub(super) size_bytes: AtomicU64,
}

impl Counters {
    pub(super) fn written(&self, kind: Kind, rows: u64) {
        if let Some(count) = self.written.get(kind as usize) {
            count.fetch_add(rows, Ordering::Relaxed);
        }
    }

    pub(super) fn dropped(&self, kind: Kind, why: Dropped, rows: u64) {
        let count = self.dropped.get(kind as usize);
        if let Some(count) = count.and_then(|counts| counts.get(why as usize)) {
            count.fetch_add(rows, Ordering::Relaxed);
        }
    }

    pub(super) fn kinds(&self) -> Vec<KindReport> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = Kind::ALL.iter().zip(self.written.iter().zip(&self.dropped));
        counts
            .map(|(kind, (written, dropped))| KindReport {
                kind: *kind,
                written: read(written),
                dropped: Dropped::ALL
                    .into_iter()
                    .zip(dropped.iter().map(read))
                    .collect(),
            })
            .collect()
    }
}
