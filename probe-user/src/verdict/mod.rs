//! Where each service's time goes now, and what to say about it. Pure: no clock, no I/O.
//!
//! # The model
//!
//! The kernel knows what each thread does: it runs, it is able to run and waits for a CPU, or it
//! waits for something, in a system call that says roughly for what. The decoders know what the
//! service works on: requests and statements, from their first byte to their last. Neither is
//! enough. A thread that waits in `epoll` may have nothing to do, or may wait for Postgres on
//! behalf of ten requests; a request that takes a second may be computed, or queue for the thread.
//!
//! So the *work* of an interval is put together from both:
//!
//! 1. **On CPU, run queue, disk**: what the kernel says. Nobody is on a CPU, waits for one, or
//!    sleeps uninterruptibly without having something to do.
//! 2. **Database**: the time for which a statement was under way on a connection, as the wire tells
//!    it, or the time that threads were blocked reading from such a connection, whichever is more:
//!    both measure the same wait. The wire's time ends when the service *reads* the answer, which a
//!    service that gets no CPU does late. So the time of statements that belong to a request is less
//!    by the time in the run queue, but keeps at least its part of both; and all of it is at most the
//!    time for which threads really waited, once for each statement under way at a time.
//! 3. **Network**: requests made to other servers, by the wire.
//! 4. What is then left of the time of the requests and statements that the service **answered**,
//!    if anything, is explained by waits whose purpose is not certain, each only as far as there is
//!    something left to explain: other sockets (network), futexes (lock), then pipes, children and
//!    the like (other). An idle thread of a pool waits in a futex, too, so this is the weak part.
//! 5. What no wait explains is the time for which requests wait for the service's own threads, as
//!    far as these are busy: in an event loop, ten requests in flight share one thread. It is given
//!    to CPU, run queue and disk in proportion, from nothing when the threads are busy half of the
//!    time to all of it when they always are.
//! 6. The rest is **unknown**: timers, queues inside of the program, locks between transactions
//!    inside of Postgres.
//!
//! Waiting for a request, in a poll or asleep is *idle* unless the wire says otherwise, so a service
//! of a protocol that is not decoded shows its CPU, run queue, disk and what it asks of others, and
//! its own waits do not count.
//!
//! Requests and statements count when they end. Those that outlast the interval are not seen in the
//! sums, but in the number that is under way at each look: as many as were under way at *every*
//! look of the interval were so all the time.
//!
//! Shares are of the work, and add up to 100 %; [`Shares`] are made of it and of the rest of the
//! interval, which is idle, as far as there is one: two requests that are always in progress leave
//! no time idle.

mod quantile;
mod reading;
mod sentence;
mod shares;
#[cfg(test)]
mod tests;
mod window;
mod work;

use std::{sync::Arc, time::Duration};

use probe_common::histogram::Histogram;

pub use quantile::quantile;
pub use reading::{Reading, reading};
pub use shares::Shares;
pub use window::Window;
pub use work::Work;

use crate::traffic::Timing;

/// What a service does with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It runs.
    OnCpu,
    /// It could run, but others do.
    RunQueue,
    /// It waits for a disk, or for memory that a disk has to bring.
    Disk,
    /// It waits for Postgres.
    Database,
    /// It waits for another server.
    Network,
    /// It waits for another thread.
    Lock,
    /// It waits for a child process, a pipe, or something else that has a name.
    Other,
    /// Requests or statements are in progress, and nothing shows what they wait for.
    Unknown,
    /// There is nothing to do.
    Idle,
}

impl State {
    /// All of them, in the order in which they are drawn.
    pub const ALL: [Self; 9] = [
        Self::OnCpu,
        Self::RunQueue,
        Self::Disk,
        Self::Database,
        Self::Network,
        Self::Lock,
        Self::Other,
        Self::Unknown,
        Self::Idle,
    ];

    /// Value of the label `state`, and key in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnCpu => "on_cpu",
            Self::RunQueue => "run_queue",
            Self::Disk => "disk",
            Self::Database => "database",
            Self::Network => "network",
            Self::Lock => "lock",
            Self::Other => "other",
            Self::Unknown => "unknown",
            Self::Idle => "idle",
        }
    }

    /// In a sentence.
    pub const fn words(self) -> &'static str {
        match self {
            Self::OnCpu => "on CPU",
            Self::RunQueue => "run queue",
            Self::Disk => "disk",
            Self::Database => "Postgres",
            Self::Network => "other servers",
            Self::Lock => "locks",
            Self::Other => "other waits",
            Self::Unknown => "unknown",
            Self::Idle => "idle",
        }
    }
}

/// What the kernel says of a service's threads: totals in nanoseconds, credited when a wait ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchedulerTimes {
    /// Running.
    pub on_cpu_ns: u64,
    /// From being able to run to running.
    pub run_queue: Histogram,
    /// Blocked on a connection to Postgres as its client.
    pub database_ns: u64,
    /// Blocked on another connection.
    pub network_ns: u64,
    /// In a futex.
    pub lock_ns: u64,
    /// Asleep uninterruptibly.
    pub disk_ns: u64,
    /// Waiting for a request, in a poll, or for time to pass.
    pub idle_ns: u64,
    /// In any other wait.
    pub other_ns: u64,
}

/// What is known of one service, as totals that only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceTimes {
    /// `None` when the kernel side does not watch the scheduler.
    pub scheduler: Option<SchedulerTimes>,
    /// Requests that it answered.
    pub requests: Timing,
    /// Statements that it executed as a server.
    pub statements: Timing,
    /// Time for which these were under way, which is less than their sum where they were pipelined.
    pub statements_ns: u64,
    /// Time for which statements were under way that it sent for one of these requests.
    pub database_for_requests_ns: u64,
    /// Likewise, for requests that are not known, or for none.
    pub database_ns: u64,
    /// Requests that it made to other servers.
    pub requests_made: Timing,
    /// Of block devices.
    pub disk: Histogram,
}

/// What is under way at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Requests that it answers.
    pub requests: u64,
    /// Statements that it executes.
    pub statements: u64,
    /// Connections on which it has sent a statement.
    pub database: u64,
}

/// One service between two looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interval {
    /// How long it was.
    pub length: Duration,
    /// What was added.
    pub times: ServiceTimes,
    /// What was under way at every look.
    pub always: UnderWay,
}

/// How loaded the host is, by its pressure stall information: the share of the last ten seconds in
/// which some task had to wait, 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// For a CPU.
    pub cpu: Option<f64>,
    /// For memory.
    pub memory: Option<f64>,
    /// For a disk.
    pub io: Option<f64>,
}

/// Which latency was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// Of the requests that it answered.
    Requests,
    /// Of the statements that it executed.
    Statements,
}

/// What is said of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceVerdict {
    /// Its name.
    pub name: Arc<str>,
    /// In plain words.
    pub sentence: String,
    /// What it has too little of or waits for too long; `None` when it is fine, or nothing stands
    /// out.
    pub cause: Option<State>,
    /// Whether its latency is high, or it is kept from working.
    pub slow: bool,
    /// Where the interval went: 100 % in all, what is idle included.
    pub shares: Shares,
    /// Where the work went: 100 % in all, or all zero when there was none.
    pub work: Shares,
    /// Requests or statements in progress on average; less than 1 leaves time idle.
    pub in_progress: f64,
    /// What was judged, and its 95th percentile in seconds. `None` when nothing was answered.
    pub latency: Option<(Latency, f64)>,
    /// CPU seconds a second; `None` when the scheduler is not watched.
    pub cpu: Option<f64>,
    /// 99th percentile of the waits for a CPU, in seconds.
    pub run_queue_p99: Option<f64>,
    /// 99th percentile of the block devices' latency, in seconds.
    pub disk_p99: Option<f64>,
}

/// What is said of all services.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Over how long; zero when there were no two looks yet.
    pub window: Duration,
    /// By name.
    pub services: Vec<ServiceVerdict>,
    /// What the host lacks, in plain words.
    pub host: Vec<String>,
}

/// Judges one service.
pub fn judge(name: &Arc<str>, interval: &Interval) -> ServiceVerdict {
    let work = Work::new(interval);
    let times = &interval.times;
    let latency = latency(interval);
    let scheduler = times.scheduler.as_ref();
    let cpu_ns = scheduler.map(|scheduler| scheduler.on_cpu_ns);
    let judged = sentence::judge(name, interval, &work, latency);
    ServiceVerdict {
        name: Arc::clone(name),
        sentence: judged.sentence,
        cause: judged.cause,
        slow: judged.slow,
        shares: work.shares(interval.length),
        work: work.shares_of_work(),
        in_progress: work.in_progress(interval.length),
        latency,
        cpu: cpu_ns.and_then(|ns| per_second(ns, interval.length)),
        run_queue_p99: scheduler.and_then(|times| quantile::of_histogram(&times.run_queue, 0.99)),
        disk_p99: quantile::of_histogram(&times.disk, 0.99),
    }
}

/// What a host that lacks something says.
pub fn host_hints(pressure: &Pressure) -> Vec<String> {
    sentence::host_hints(pressure)
}

/// A request or statement that was under way for the whole interval took at least that long.
fn latency(interval: &Interval) -> Option<(Latency, f64)> {
    let whole = interval.length.as_secs_f64();
    let (kind, ended, under_way) =
        if interval.times.requests.count() > 0 || interval.always.requests > 0 {
            (
                Latency::Requests,
                &interval.times.requests,
                interval.always.requests,
            )
        } else {
            (
                Latency::Statements,
                &interval.times.statements,
                interval.always.statements,
            )
        };
    let p95 = quantile::of_timing(ended, 0.95);
    // What is under way at each look may be another one each time, unless none ends.
    let p95 = p95.or((under_way > 0).then_some(whole))?;
    Some((kind, p95))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate does not need the last nanosecond"
)]
fn per_second(ns: u64, length: Duration) -> Option<f64> {
    let length = length.as_nanos();
    (length > 0).then(|| ns as f64 / length as f64)
}
