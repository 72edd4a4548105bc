//! What is told of the control groups of one service.

/// What happens to a group's memory, as its counters are called in v2.
pub const MEMORY_EVENTS: [&str; 5] = ["low", "high", "max", "oom", "oom_kill"];

/// What its control groups allow a service, and what that cost it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupReport {
    /// CPUs' worth of time that it may use; the host's CPUs without a quota.
    pub cpu_limit: Option<f64>,
    /// Bytes that it may use; the host's memory without a limit.
    pub memory_limit: Option<u64>,
    /// Bytes that the groups use which have the limit, else the service's own.
    pub memory_used: Option<u64>,
    /// What happened in groups with a limit, since the service is watched.
    pub counts: GroupCounts,
    /// For how long its groups waited for each of [`PRESSURE_RESOURCES`], since the service is watched. `None` where
    /// the kernel does not measure it for groups, as under v1.
    pub pressure: Option<GroupPressure>,
}

impl GroupReport {
    /// Adds what is allowed to another id of the same service, as if the groups were others.
    pub(in crate::host) fn merge(&mut self, other: &Self) {
        let counts = &mut self.counts;
        let more = &other.counts;
        counts.periods = counts.periods.saturating_add(more.periods);
        counts.throttled_periods = counts
            .throttled_periods
            .saturating_add(more.throttled_periods);
        counts.throttled_ns = counts.throttled_ns.saturating_add(more.throttled_ns);
        for (sum, more) in counts.memory_events.iter_mut().zip(more.memory_events) {
            *sum = sum.saturating_add(more);
        }
        // Not their sum, which may be more than the host has.
        self.cpu_limit = either(self.cpu_limit, other.cpu_limit, f64::max);
        self.memory_limit = either(self.memory_limit, other.memory_limit, u64::max);
        self.memory_used = either(self.memory_used, other.memory_used, u64::max);
        self.pressure = either(self.pressure, other.pressure, |mut one, other| {
            one.add(&other);
            one
        });
    }
}

/// Resources whose pressure a group tells of: its files are called `<resource>.pressure`.
pub const PRESSURE_RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

/// Microseconds for which tasks of groups waited, by [`PRESSURE_RESOURCES`]. Of several groups it is the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupPressure {
    /// While at least one task waited.
    pub waiting_us: [u64; PRESSURE_RESOURCES.len()],
    /// While nothing else of the group could run, either.
    pub stalled_us: [u64; PRESSURE_RESOURCES.len()],
}

impl GroupPressure {
    fn both(&mut self) -> impl Iterator<Item = &mut u64> {
        self.waiting_us.iter_mut().chain(&mut self.stalled_us)
    }

    fn add(&mut self, other: &Self) {
        let more = other.waiting_us.iter().chain(&other.stalled_us);
        for (sum, more) in self.both().zip(more) {
            *sum = sum.saturating_add(*more);
        }
    }

    /// What came since `last`; a group that is seen for the first time begins at zero.
    pub(super) fn add_growth(&mut self, last: Option<&Self>, now: &Self) {
        let Some(last) = last else { return };
        let mut grown = *now;
        let before = last.waiting_us.iter().chain(&last.stalled_us);
        for (now, last) in grown.both().zip(before) {
            // One that was made anew under its old name began at zero itself.
            *now = now.checked_sub(*last).unwrap_or(*now);
        }
        self.add(&grown);
    }
}

/// Counts of groups with a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounts {
    /// Times that the quota was handed out while something ran.
    pub periods: u64,
    /// Of these: those in which it was used up.
    pub throttled_periods: u64,
    /// Nanoseconds for which threads had to wait for the next, added up over CPUs.
    pub throttled_ns: u64,
    /// Events in the order of [`MEMORY_EVENTS`].
    pub memory_events: [u64; MEMORY_EVENTS.len()],
}

impl GroupCounts {
    pub(super) fn add_growth(&mut self, last: Option<&Self>, now: &Self) {
        // A group that is seen for the first time begins at zero, as all counters do; one that was
        // made anew under its old name began at zero itself.
        let Some(last) = last else { return };
        let is_new = now.periods < last.periods;
        let grown = |now: u64, last: u64| match is_new || now < last {
            true => now,
            false => now - last,
        };
        self.periods = self
            .periods
            .saturating_add(grown(now.periods, last.periods));
        let throttled = grown(now.throttled_periods, last.throttled_periods);
        self.throttled_periods = self.throttled_periods.saturating_add(throttled);
        let ns = grown(now.throttled_ns, last.throttled_ns);
        self.throttled_ns = self.throttled_ns.saturating_add(ns);
        let events = now.memory_events.iter().zip(&last.memory_events);
        for (sum, (now, last)) in self.memory_events.iter_mut().zip(events) {
            *sum = sum.saturating_add(grown(*now, *last));
        }
    }
}

/// The better of two, or the one that there is.
pub(super) fn either<T: Copy>(
    one: Option<T>,
    other: Option<T>,
    better: impl Fn(T, T) -> T,
) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(better(one, other)),
        (one, other) => one.or(other),
    }
}
