//! From what was counted in an interval to the time in each state; [`super`] explains the model.

use std::time::Duration;

use super::{Interval, SchedulerTimes, ServiceTimes, Shares, State};

/// Below this share of the interval a service has nothing to do: what its threads do now and then by
/// themselves says nothing about requests.
const NOTHING_TO_DO: f64 = 0.001;

/// From which share of the time in which a service's threads are busy its requests have to wait for
/// them.
const BUSY_FROM: f64 = 0.5;

/// Time in each state but idle, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work([u64; State::ALL.len()]);

impl Work {
    /// Puts together what the kernel and the wire say.
    pub fn new(interval: &Interval) -> Self {
        let times = &interval.times;
        let scheduler = times.scheduler.clone().unwrap_or_default();
        let mut work = Self::default();
        work.add(State::OnCpu, scheduler.on_cpu_ns);
        work.add(State::RunQueue, scheduler.run_queue.sum_ns);
        work.add(State::Disk, scheduler.disk_ns);
        work.add(State::Database, database_ns(interval, &scheduler));
        work.add(State::Network, times.requests_made.sum_ns);
        let answered_ns = answered_ns(interval);
        if answered_ns == 0 && times.requests_made.sum_ns == 0 {
            // Nobody knows what it works on: what it waits for on connections that it made itself is
            // all that there is.
            work.add(State::Network, scheduler.network_ns);
        }
        let mut left_ns = answered_ns.saturating_sub(work.sum());
        // What the wire knows of other servers is a part of the waits for them.
        let network_ns = scheduler
            .network_ns
            .saturating_sub(times.requests_made.sum_ns);
        for (state, ns) in [
            (State::Network, network_ns),
            (State::Lock, scheduler.lock_ns),
            (State::Other, scheduler.other_ns),
        ] {
            let explained_ns = ns.min(left_ns);
            work.add(state, explained_ns);
            left_ns -= explained_ns;
        }
        let queueing_ns = part(left_ns, queueing(times, &scheduler));
        work.spread(queueing_ns);
        work.add(State::Unknown, left_ns.saturating_sub(queueing_ns));
        work
    }

    /// Nanoseconds in a state.
    pub fn ns(&self, state: State) -> u64 {
        self.0.get(state as usize).copied().unwrap_or(0)
    }

    fn add(&mut self, state: State, ns: u64) {
        if let Some(sum) = self.0.get_mut(state as usize) {
            *sum = sum.saturating_add(ns);
        }
    }

    fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, ns| sum.saturating_add(*ns))
    }

    /// Time that requests waited for the service's threads goes where those threads' time went.
    fn spread(&mut self, ns: u64) {
        const OWN: [State; 3] = [State::OnCpu, State::RunQueue, State::Disk];
        let before = *self;
        let own_ns = OWN.iter().map(|state| u128::from(before.ns(*state))).sum();
        let mut left_ns = ns;
        for state in OWN {
            let share = (u128::from(ns) * u128::from(before.ns(state))).checked_div(own_ns);
            let share = u64::try_from(share.unwrap_or(0)).unwrap_or(0).min(left_ns);
            self.add(state, share);
            left_ns -= share;
        }
        // What integer division left over.
        self.add(
            if own_ns == 0 {
                State::Unknown
            } else {
                State::OnCpu
            },
            left_ns,
        );
    }

    /// Requests or statements in progress on average.
    pub fn in_progress(&self, length: Duration) -> f64 {
        ratio(self.sum(), nanoseconds(length))
    }

    /// Whether there was hardly anything to do.
    pub fn is_nothing(&self, length: Duration) -> bool {
        self.in_progress(length) < NOTHING_TO_DO
    }

    /// Shares of the interval, idle time included.
    pub fn shares(&self, length: Duration) -> Shares {
        let mut times = self.0;
        let idle_ns = nanoseconds(length).saturating_sub(self.sum());
        if let Some(idle) = times.get_mut(State::Idle as usize) {
            *idle = idle_ns;
        }
        Shares::of(times)
    }

    /// Shares of the work.
    pub fn shares_of_work(&self) -> Shares {
        Shares::of(self.0)
    }
}

/// Requests and statements that the service answered, and those that it answers all the time.
fn answered_ns(interval: &Interval) -> u64 {
    let times = &interval.times;
    let length_ns = nanoseconds(interval.length);
    let at_least = |under_way: u64| length_ns.saturating_mul(under_way);
    let requests_ns = times
        .requests
        .sum_ns
        .max(at_least(interval.always.requests));
    let statements_ns = times
        .statements_ns
        .max(at_least(interval.always.statements));
    requests_ns.saturating_add(statements_ns)
}

fn database_ns(interval: &Interval, scheduler: &SchedulerTimes) -> u64 {
    let times = &interval.times;
    let length_ns = nanoseconds(interval.length);
    let for_requests_ns = read_in_time(
        times.database_for_requests_ns,
        times.requests.sum_ns,
        scheduler.run_queue.sum_ns,
    );
    let mut wire_ns = times.database_ns.saturating_add(for_requests_ns);
    if times.scheduler.is_some() {
        let waited_ns = scheduler
            .database_ns
            .saturating_add(scheduler.network_ns)
            .saturating_add(scheduler.idle_ns)
            .saturating_add(scheduler.other_ns);
        let at_a_time = ratio(wire_ns, length_ns).max(1.0);
        wire_ns = wire_ns.min(part(waited_ns, at_a_time));
    }
    // A wait that lasts all the time has not ended, so the kernel has not told it either.
    let always_ns = length_ns.saturating_mul(interval.always.database);
    wire_ns.max(always_ns).max(scheduler.database_ns)
}

/// The time of statements without the time for which their answers waited for a CPU. A sequence of
/// requests is in the run queue after an answer came at most as long as it is there at all; but
/// other threads are there, too, so a part of the time stays in any case.
fn read_in_time(statements_ns: u64, requests_ns: u64, run_queue_ns: u64) -> u64 {
    let least = ratio(requests_ns, requests_ns.saturating_add(run_queue_ns));
    let least_ns = part(statements_ns, least);
    statements_ns.saturating_sub(run_queue_ns).max(least_ns)
}

/// How sure it is that a request that waits for nothing else waits for the service's threads, 0 to 1.
fn queueing(times: &ServiceTimes, scheduler: &SchedulerTimes) -> f64 {
    if times.scheduler.is_none() {
        return 0.0;
    }
    let own_ns = scheduler
        .on_cpu_ns
        .saturating_add(scheduler.run_queue.sum_ns)
        .saturating_add(scheduler.disk_ns);
    // Idle threads of a pool wait in futexes; only those that wait for work there and then count.
    let free_ns = scheduler
        .idle_ns
        .saturating_add(scheduler.database_ns)
        .saturating_add(scheduler.network_ns);
    let busy = ratio(own_ns, own_ns.saturating_add(free_ns));
    ((busy - BUSY_FROM) / (1.0 - BUSY_FROM)).clamp(0.0, 1.0)
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// 0 of nothing.
#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio does not need the last nanosecond"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// A multiple of a time.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded to what a double tells apart; both are positive, and `as` saturates"
)]
fn part(ns: u64, factor: f64) -> u64 {
    (ns as f64 * factor) as u64
}
