//! A call under way: it ends exactly once, whatever happens, also when its future is dropped because
//! the client went away.

use std::{sync::atomic::Ordering, time::Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::{Gateway, refusal::UpstreamFailure};
use crate::gemini::{Call, Cost, Operation, Outcome, ReservationId, Source, Usage};

/// What is known of a call from its request.
pub(super) struct UnderWay {
    pub(super) gateway: Gateway,
    /// `None` for what is asked of no model.
    pub(super) operation: Option<Operation>,
    pub(super) model: String,
    pub(super) service: String,
    pub(super) feature: String,
    pub(super) reservation: Option<ReservationId>,
    pub(super) started: Instant,
    pub(super) at_ms: i64,
    pub(super) slot: Option<OwnedSemaphorePermit>,
}

/// Its end.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) usage: Option<Usage>,
    pub(super) response_id: Option<String>,
    pub(super) first_chunk_ns: Option<u64>,
}

impl Ended {
    /// With this outcome, and nothing else known.
    fn with(outcome: Outcome) -> Self {
        Self {
            outcome,
            usage: None,
            response_id: None,
            first_chunk_ns: None,
        }
    }
}

impl UnderWay {
    /// Whether the limits are asked. `countTokens` costs nothing, and the API does not count it
    /// either.
    pub(super) fn is_reserved_for(&self) -> bool {
        self.operation
            .is_some_and(|operation| operation != Operation::CountTokens)
    }

    pub(super) fn hold(self) -> Held {
        Held {
            call: Some(self),
            sent: false,
        }
    }

    /// Records the call, in a task of its own.
    fn end(mut self, ended: Ended) {
        let Some(operation) = self.operation else {
            return self.over();
        };
        let duration = self.started.elapsed();
        let mut call = Call {
            id: Call::new_id(self.at_ms),
            key: None,
            response_id: ended.response_id,
            at_ms: self.at_ms,
            host: self.gateway.0.host.to_string(),
            service: std::mem::take(&mut self.service),
            feature: std::mem::take(&mut self.feature),
            route: None,
            model: std::mem::take(&mut self.model),
            operation,
            source: Source::Gateway,
            outcome: ended.outcome,
            duration_ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
            first_chunk_ns: ended.first_chunk_ns,
            usage: ended.usage,
            cost: Cost::Free,
        };
        call.cost = self.gateway.0.ledger.prices().cost_of(&call);
        let tracker = self.gateway.0.settling.clone();
        tracker.spawn(async move {
            let ledger = &self.gateway.0.ledger;
            let settled = match self.reservation.take() {
                Some(id) => ledger.settle(&id, call).await.map(|_| ()),
                None => ledger.record(call).await.map(|_| ()),
            };
            if let Err(error) = settled {
                tracing::warn!("a call through the gateway was not recorded: {error}");
            }
            self.over();
        });
    }

    /// Gives back what was reserved: the call never happened.
    fn undo(mut self) {
        let Some(id) = self.reservation.take() else {
            return self.over();
        };
        let tracker = self.gateway.0.settling.clone();
        tracker.spawn(async move {
            self.gateway.0.ledger.release(&id).await;
            self.over();
        });
    }

    fn over(mut self) {
        let counters = &self.gateway.0.counters;
        counters.under_way.fetch_sub(1, Ordering::Relaxed);
        self.slot = None;
    }
}

/// Ends the call when nobody else does.
pub(super) struct Held {
    call: Option<UnderWay>,
    sent: bool,
}

impl Held {
    pub(super) fn is_reserved_for(&self) -> bool {
        self.call.as_ref().is_some_and(UnderWay::is_reserved_for)
    }

    pub(super) fn estimate(&self, tokens: u64) -> crate::gemini::Estimate {
        self.call
            .as_ref()
            .map(|call| call.estimate(tokens))
            .unwrap_or_default()
    }

    /// Model and feature.
    pub(super) fn names(&self) -> (&str, &str) {
        self.call
            .as_ref()
            .map_or(("", ""), |call| (&call.model, &call.feature))
    }

    pub(super) fn started(&self) -> Option<Instant> {
        self.call.as_ref().map(|call| call.started)
    }

    pub(super) fn reserved(&mut self, id: ReservationId) {
        if let Some(call) = &mut self.call {
            call.reservation = Some(id);
        }
    }

    /// From here on the upstream may have seen it.
    pub(super) fn sent(&mut self) {
        self.sent = true;
    }

    /// The call never happened.
    pub(super) fn release(mut self) {
        if let Some(call) = self.call.take() {
            call.undo();
        }
    }

    /// The upstream did not answer.
    pub(super) fn failed(mut self, failure: UpstreamFailure) {
        let Some(call) = self.call.take() else {
            return;
        };
        match failure {
            // Nobody has seen it.
            UpstreamFailure::Connect => call.undo(),
            // It may have been answered, and billed, behind the broken connection.
            _ => call.end(Ended::with(Outcome::Incomplete)),
        }
    }

    /// The answer is over.
    pub(super) fn end(&mut self, ended: Ended) {
        if let Some(call) = self.call.take() {
            call.end(ended);
        }
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.call.is_none()
    }

    pub(super) fn client_gone(&self) {
        if let Some(call) = &self.call {
            let counters = &call.gateway.0.counters;
            counters.clients_gone.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn answer_failed(&self) {
        if let Some(call) = &self.call {
            call.gateway.0.counters.failed(UpstreamFailure::Answer);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else {
            return;
        };
        // A task needs a runtime, which may be gone when the daemon ends.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        if self.sent {
            let counters = &call.gateway.0.counters;
            counters.clients_gone.fetch_add(1, Ordering::Relaxed);
            call.end(Ended::with(Outcome::Incomplete));
        } else {
            call.undo();
        }
    }
}
