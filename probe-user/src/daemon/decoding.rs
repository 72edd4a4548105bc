//! The thread that reads socket payload and decodes it.
//!
//! It owns the decoders and their numbers, so nothing on a record's way takes a lock. Who wants the
//! numbers asks it and gets a copy.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    thread::JoinHandle,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use tracing::{debug, error, warn};

use crate::{
    kernel::payload::PayloadRing,
    traffic::{Finding, Limits, Report, Traffic},
};

/// How long records may wait in the ring while it is nearly empty.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long a report may take before the scrape goes on without it.
const REPORT_PATIENCE: Duration = Duration::from_secs(2);

type Request = Sender<Report>;
type Findings = tokio::sync::mpsc::Sender<Finding>;

/// The thread; stops when dropped, once all [`Reports`] are gone or not.
#[derive(Debug)]
pub struct Decoding {
    requests: Sender<Option<Request>>,
    thread: Option<JoinHandle<()>>,
}

/// Asks for reports.
#[derive(Debug, Clone)]
pub struct Reports(Sender<Option<Request>>);

impl Reports {
    /// The numbers now; empty when the decoder does not answer. Blocks for up to two seconds.
    pub fn get(&self) -> Report {
        let (reply, answer) = channel();
        if self.0.send(Some(reply)).is_err() {
            return Report::default();
        }
        match answer.recv_timeout(REPORT_PATIENCE) {
            Ok(report) => report,
            Err(RecvTimeoutError::Timeout) => {
                warn!("decoding is behind; this scrape has no requests and statements");
                Report::default()
            }
            Err(RecvTimeoutError::Disconnected) => Report::default(),
        }
    }
}

/// Starts to decode. What is worth a warning goes to `findings`.
pub fn spawn(ring: PayloadRing, limits: Limits, findings: Findings) -> Decoding {
    let (requests, received) = channel();
    let thread = std::thread::Builder::new()
        .name("decoder".into())
        .spawn(move || decode(ring, Traffic::new(limits), &received, &findings))
        .inspect_err(|error| error!("requests and statements will not be decoded: {error}"))
        .ok();
    Decoding { requests, thread }
}

fn decode(
    mut ring: PayloadRing,
    mut traffic: Traffic,
    requests: &Receiver<Option<Request>>,
    findings: &Findings,
) {
    loop {
        if let Err(error) = ring.wait(PATIENCE) {
            error!("requests and statements are not decoded any more: {error}");
            return;
        }
        drain(&mut ring, &mut traffic);
        for finding in traffic.take_warnings() {
            if findings.try_send(finding).is_err() {
                debug!("a finding is not logged: too many wait");
            }
        }
        loop {
            match requests.try_recv() {
                Ok(Some(reply)) => {
                    // What happened before the request belongs into the answer.
                    drain(&mut ring, &mut traffic);
                    // Nobody waits for the answer when the scrape was given up.
                    drop(reply.send(traffic.report()));
                }
                Ok(None) | Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => break,
            }
        }
    }
}

fn drain(ring: &mut PayloadRing, traffic: &mut Traffic) {
    let drained = ring.drain(|record| traffic.record(&record));
    if drained.malformed > 0 {
        warn!("{} records are not understood", drained.malformed);
    }
    // Nothing waits any more, so what has become quiet is over.
    if let Some(now_ns) = monotonic_ns() {
        traffic.pass_time(now_ns);
    }
}

/// The clock that the kernel side stamps its records with.
fn monotonic_ns() -> Option<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?;
    u64::try_from(std::time::Duration::from(now).as_nanos()).ok()
}

impl Decoding {
    /// For asking.
    pub fn reports(&self) -> Reports {
        Reports(self.requests.clone())
    }
}

impl Drop for Decoding {
    fn drop(&mut self) {
        let _ = self.requests.send(None);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that it did not log.
            let _ = thread.join();
        }
    }
}
