//! The thread that reads socket payload and decodes it.
//!
//! It owns the decoders and their numbers, so nothing on a record's way takes a lock. Who wants the
//! numbers asks it and gets a copy.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use tracing::{debug, error, warn};

use crate::{
    kernel::payload::PayloadRing,
    routes::Templates,
    traffic::{Finding, Limits, ModelCall, Report, SlowStatement, Thresholds, Traffic},
};

/// How long records may wait in the ring while it is nearly empty.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long a report may take before the scrape goes on with the one before.
const REPORT_PATIENCE: Duration = Duration::from_secs(2);

/// What the thread is asked for.
#[derive(Debug)]
enum Command {
    /// The numbers now.
    Report(Sender<Report>),
    /// Routes by service id, instead of all former ones.
    Routes(BTreeMap<u16, Arc<Templates>>),
    /// From which time on statements are slow.
    Slow(Thresholds),
    /// These service ids are about to be given to others.
    Forget(Vec<u16>),
    /// These processes have ended.
    Exited(HashSet<u32>),
    /// The end.
    Stop,
}

/// Where the thread sends what it does not only count. What finds no room is dropped.
#[derive(Debug)]
pub struct Outputs {
    /// What is worth a warning.
    pub findings: tokio::sync::mpsc::Sender<Finding>,
    /// Slow statements; those that are dropped are counted.
    pub slow: tokio::sync::mpsc::Sender<SlowStatement>,
    /// Calls of AI models; those that are dropped are counted.
    pub calls: tokio::sync::mpsc::Sender<ModelCall>,
}

/// The thread; stops when dropped, once all [`Decoder`]s are gone or not.
#[derive(Debug)]
pub struct Decoding {
    decoder: Decoder,
    thread: Option<JoinHandle<()>>,
}

/// Asks the thread, or tells it something.
#[derive(Debug, Clone)]
pub struct Decoder {
    commands: Sender<Command>,
    last: Arc<Mutex<Report>>,
}

impl Decoder {
    fn new(commands: Sender<Command>) -> Self {
        Self {
            commands,
            last: Arc::default(),
        }
    }

    /// The numbers now; those of the last report when the decoder does not answer, since counters
    /// must not vanish. Blocks for up to two seconds.
    pub fn report(&self) -> Report {
        self.report_within(REPORT_PATIENCE)
    }

    fn report_within(&self, patience: Duration) -> Report {
        let (reply, answer) = channel();
        let asked = self.commands.send(Command::Report(reply));
        let report = match asked.map(|()| answer.recv_timeout(patience)) {
            Ok(Ok(report)) => Some(report),
            Ok(Err(RecvTimeoutError::Timeout)) => {
                warn!(
                    "decoding is behind; this scrape has the requests and statements of the last"
                );
                None
            }
            // The thread is gone, and has said why.
            Ok(Err(RecvTimeoutError::Disconnected)) | Err(_) => None,
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = report {
            *last = report;
        }
        last.clone()
    }

    /// Tells the routes of all services that have some configured.
    pub fn set_routes(&self, routes: BTreeMap<u16, Arc<Templates>>) {
        self.tell(Command::Routes(routes));
    }

    /// Says from which time on statements are slow.
    pub fn set_slow(&self, thresholds: Thresholds) {
        self.tell(Command::Slow(thresholds));
    }

    /// Forgets what was decoded for service ids that are about to be given to others.
    pub fn forget(&self, services: Vec<u16>) {
        self.tell(Command::Forget(services));
    }

    /// Tells of processes that have ended.
    pub fn exited(&self, processes: HashSet<u32>) {
        self.tell(Command::Exited(processes));
    }

    fn tell(&self, command: Command) {
        // Fails only when the thread is gone, which said why; there is nothing to forget then.
        drop(self.commands.send(command));
    }
}

/// Starts to decode.
pub fn spawn(ring: PayloadRing, limits: Limits, outputs: Outputs) -> Decoding {
    let (commands, received) = channel();
    let thread = std::thread::Builder::new()
        .name("decoder".into())
        .spawn(move || decode(ring, Traffic::new(limits), &received, &outputs))
        .inspect_err(|error| error!("requests and statements will not be decoded: {error}"))
        .ok();
    Decoding {
        decoder: Decoder::new(commands),
        thread,
    }
}

fn decode(
    mut ring: PayloadRing,
    mut traffic: Traffic,
    commands: &Receiver<Command>,
    outputs: &Outputs,
) {
    loop {
        if let Err(error) = ring.wait(PATIENCE) {
            error!("requests and statements are not decoded any more: {error}");
            return;
        }
        drain(&mut ring, &mut traffic);
        hand_on(&mut traffic, outputs);
        loop {
            let command = match commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => break,
            };
            // What happened before the command belongs to what was before.
            drain(&mut ring, &mut traffic);
            match command {
                // Nobody waits for the answer when the scrape was given up.
                Command::Report(reply) => drop(reply.send(report(&mut traffic))),
                Command::Routes(routes) => traffic.set_templates(routes),
                Command::Slow(thresholds) => traffic.set_slow(thresholds),
                Command::Forget(services) => traffic.forget(&services),
                Command::Exited(processes) => {
                    traffic.exited(&processes, now_ns());
                }
                Command::Stop => {
                    traffic.finish();
                    return hand_on(&mut traffic, outputs);
                }
            }
        }
    }
}

/// Never waits: who takes it may be behind.
fn hand_on(traffic: &mut Traffic, outputs: &Outputs) {
    for finding in traffic.take_warnings() {
        if outputs.findings.try_send(finding).is_err() {
            debug!("a finding is not logged: too many wait");
        }
    }
    let slow = traffic.take_slow().into_iter();
    let dropped = slow.filter_map(|slow| outputs.slow.try_send(slow).err());
    let dropped = dropped.count() as u64;
    if dropped > 0 {
        traffic.slow_dropped(dropped);
    }
    let calls = traffic.take_model_calls().into_iter();
    let dropped = calls.filter_map(|call| outputs.calls.try_send(call).err());
    let dropped = dropped.count() as u64;
    if dropped > 0 {
        traffic.model_calls_dropped(dropped);
    }
}

fn drain(ring: &mut PayloadRing, traffic: &mut Traffic) {
    let drained = ring.drain(|record| traffic.record(&record));
    if drained.malformed > 0 {
        warn!("{} records are not understood", drained.malformed);
    }
    for stream in traffic.take_refused() {
        ring.refuse(stream);
    }
    // Nothing waits any more, so what has become quiet is over.
    if let Some(now_ns) = nanoseconds(ClockId::CLOCK_MONOTONIC) {
        traffic.pass_time(now_ns);
    }
}

/// The numbers now. Records carry times of the monotonic clock; where that stands against the wall
/// clock is read here once, for all times in the report.
fn report(traffic: &mut Traffic) -> Report {
    let monotonic = nanoseconds(ClockId::CLOCK_MONOTONIC).unwrap_or(0);
    let wall = nanoseconds(ClockId::CLOCK_REALTIME).unwrap_or(0);
    Report {
        epoch_offset_ns: wall.saturating_sub(monotonic),
        ..traffic.report(monotonic)
    }
}

/// Now, `CLOCK_MONOTONIC` nanoseconds, as the records' times are.
pub(super) fn now_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC).unwrap_or(0)
}

fn nanoseconds(clock: ClockId) -> Option<u64> {
    let now = clock_gettime(clock).ok()?;
    u64::try_from(Duration::from(now).as_nanos()).ok()
}

impl Decoding {
    /// For asking.
    pub fn decoder(&self) -> Decoder {
        self.decoder.clone()
    }
}

impl Drop for Decoding {
    fn drop(&mut self) {
        self.decoder.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that it did not log.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::ServiceReport;

    fn report() -> Report {
        Report {
            services: [(1, Arc::new(ServiceReport::default()))].into(),
            ..Report::default()
        }
    }

    /// Counters that vanish for one scrape look like a restart to those who add them up.
    #[test]
    fn a_decoder_that_does_not_answer_leaves_the_last_report() {
        let (commands, received) = channel();
        let decoder = Decoder::new(commands);
        assert!(decoder.report_within(Duration::ZERO).services.is_empty());
        let answering = std::thread::spawn(move || {
            // The first request was given up; its answer must not be taken for the second's.
            let mut asked = received.iter().filter_map(|command| match command {
                Command::Report(reply) => Some(reply),
                _ => None,
            });
            let (_given_up, reply) = (asked.next().unwrap(), asked.next().unwrap());
            reply.send(report()).unwrap();
            drop(asked);
            received
        });
        let patience = Duration::from_secs(60);
        assert_eq!(decoder.report_within(patience).services.len(), 1);
        let received = answering.join().unwrap();
        assert_eq!(decoder.report_within(Duration::ZERO).services.len(), 1);
        // Nor does the end of the thread take anything away.
        drop(received);
        assert_eq!(decoder.report_within(patience).services.len(), 1);
    }
}
