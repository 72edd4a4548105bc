//! What the gateway counts.

use std::sync::atomic::{AtomicU64, Ordering};

use super::refusal::{RefusalReason, UpstreamFailure};

/// What has happened since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayNumbers {
    /// Requests that were sent to the upstream.
    pub forwarded: u64,
    /// Answers that broke off because their client went away.
    pub clients_gone: u64,
    /// Requests that were not sent, by reason.
    pub refused: Vec<(RefusalReason, u64)>,
    /// Failures of the upstream, by kind.
    pub failed: Vec<(UpstreamFailure, u64)>,
    /// Requests and answers under way.
    pub under_way: u64,
    /// Nanoseconds between the arrival of the requests' beginning and their sending, all together: what
    /// the gateway has added.
    pub added_ns: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) forwarded: AtomicU64,
    pub(super) clients_gone: AtomicU64,
    pub(super) under_way: AtomicU64,
    pub(super) added_ns: AtomicU64,
    refused: [AtomicU64; RefusalReason::ALL.len()],
    failed: [AtomicU64; UpstreamFailure::ALL.len()],
}

impl Counters {
    pub(super) fn refused(&self, reason: RefusalReason) {
        bump(&RefusalReason::ALL, &self.refused, reason);
    }

    pub(super) fn failed(&self, failure: UpstreamFailure) {
        bump(&UpstreamFailure::ALL, &self.failed, failure);
    }

    pub(super) fn read(&self) -> GatewayNumbers {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        GatewayNumbers {
            forwarded: load(&self.forwarded),
            clients_gone: load(&self.clients_gone),
            under_way: load(&self.under_way),
            added_ns: load(&self.added_ns),
            refused: pairs(&RefusalReason::ALL, &self.refused),
            failed: pairs(&UpstreamFailure::ALL, &self.failed),
        }
    }
}

fn bump<K: Copy + PartialEq>(kinds: &[K], counters: &[AtomicU64], kind: K) {
    let place = kinds.iter().position(|one| *one == kind);
    if let Some(counter) = place.and_then(|place| counters.get(place)) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn pairs<K: Copy>(kinds: &[K], counters: &[AtomicU64]) -> Vec<(K, u64)> {
    kinds
        .iter()
        .zip(counters)
        .map(|(kind, counter)| (*kind, counter.load(Ordering::Relaxed)))
        .collect()
}
