//! Connection pools, as far as the wire shows them: the connections of one process to one server.
//!
//! A pool's size is not on the wire, and neither is who waits for it. What is seen: a connection is
//! *busy* while it works or is in a transaction, since nobody else can use it then. A pool is
//! *saturated* while all of its connections are busy and its process has more requests in flight
//! than it has connections there, so that one of them may be waiting. Without the second half, a
//! worker with one connection that does one thing at a time would be saturated whenever it works.
//!
//! A request has *waited* for so much of the time until its first statement as its pool was saturated.
//! That leaves out what the program did while a connection was free, and the moments in which one was
//! handed on: the wait is not overstated by those.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::super::{ConnectionState, Timing};

/// The highest number of busy connections is that of this time, and up to twice of it.
const PEAK_NS: u64 = 60_000_000_000;

/// What a connection means for its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Not known: then it is not known either whether all are busy.
    Unknown,
    /// Anybody may take it.
    Free,
    /// It works for somebody, or is in somebody's transaction.
    Busy,
}

impl Use {
    /// `None` for a connection that is not there for statements: not open yet, not any more, or a
    /// stream of replication.
    pub(super) fn of(state: Option<ConnectionState>) -> Option<Self> {
        match state? {
            ConnectionState::Active
            | ConnectionState::IdleInTransaction
            | ConnectionState::IdleInTransactionAborted => Some(Self::Busy),
            ConnectionState::Idle => Some(Self::Free),
            ConnectionState::Unknown => Some(Self::Unknown),
            ConnectionState::Connecting | ConnectionState::Replication => None,
        }
    }
}

/// The connections of one process to one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) tgid: u32,
    /// Stands for the server's address; 0 for a unix socket.
    pub(super) peer: u32,
}

/// Adds up the time for which something holds.
#[derive(Debug, Clone, Copy, Default)]
struct Stopwatch {
    sum_ns: u64,
    since_ns: Option<u64>,
}

impl Stopwatch {
    fn at(&self, now_ns: u64) -> u64 {
        let running = self
            .since_ns
            .map_or(0, |since| now_ns.saturating_sub(since));
        self.sum_ns.saturating_add(running)
    }

    fn set(&mut self, holds: bool, now_ns: u64) {
        if holds != self.since_ns.is_some() {
            self.sum_ns = self.at(now_ns);
            self.since_ns = holds.then_some(now_ns);
        }
    }
}

#[derive(Debug)]
struct Pool {
    service: u16,
    open: usize,
    busy: usize,
    saturated: Stopwatch,
}

/// What is known of one service's pools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolReport {
    /// Nanoseconds for which at least one pool was saturated.
    pub saturated_ns: u64,
    /// Nanoseconds of all connections for which they were busy.
    pub busy_ns: u64,
    /// Most connections that were busy at once within the last minute or two.
    pub busy_peak: u64,
    /// How long requests waited for their first statement, of those that did.
    pub wait: Timing,
}

#[derive(Debug, Default)]
struct ServicePools {
    saturated_pools: usize,
    saturated: Stopwatch,
    busy: u64,
    /// Nanoseconds of busy connections until the time below.
    busy_ns: u64,
    busy_until_ns: u64,
    /// Of this minute, and of the one before.
    peaks: [u64; 2],
    peak_until_ns: u64,
    wait: Timing,
}

impl ServicePools {
    fn pass_time(&mut self, now_ns: u64) {
        let passed_ns = now_ns.saturating_sub(self.busy_until_ns);
        self.busy_ns = self
            .busy_ns
            .saturating_add(passed_ns.saturating_mul(self.busy));
        self.busy_until_ns = self.busy_until_ns.max(now_ns);
        if now_ns >= self.peak_until_ns {
            let [this, _] = self.peaks;
            let is_next = now_ns < self.peak_until_ns.saturating_add(PEAK_NS);
            // After a longer silence nothing was taken or given back: as many are busy as now.
            self.peaks = [self.busy, if is_next { this } else { self.busy }];
            self.peak_until_ns = now_ns.saturating_add(PEAK_NS);
        }
    }

    fn change_busy(&mut self, more: bool, now_ns: u64) {
        self.pass_time(now_ns);
        self.busy = if more {
            self.busy.saturating_add(1)
        } else {
            self.busy.saturating_sub(1)
        };
        let [this, _] = &mut self.peaks;
        *this = (*this).max(self.busy);
    }
}

/// All pools. As many as there are connections at most.
#[derive(Debug, Default)]
pub(super) struct Pools {
    pools: FxHashMap<PoolKey, Pool>,
    /// Servers that a process has connections to.
    servers: FxHashMap<u32, Vec<u32>>,
    services: BTreeMap<u16, ServicePools>,
}

impl Pools {
    /// A connection of a pool is used otherwise than before. `requests` are those in flight in the
    /// process.
    pub(super) fn change(
        &mut self,
        service: u16,
        key: PoolKey,
        (before, now): (Option<Use>, Option<Use>),
        requests: usize,
        now_ns: u64,
    ) {
        if before == now {
            return;
        }
        let servers = &mut self.servers;
        let pool = self.pools.entry(key).or_insert_with(|| {
            servers.entry(key.tgid).or_default().push(key.peer);
            Pool {
                service,
                open: 0,
                busy: 0,
                saturated: Stopwatch::default(),
            }
        });
        pool.open += usize::from(now.is_some());
        pool.open = pool.open.saturating_sub(before.is_some().into());
        let (was_busy, is_busy) = (before == Some(Use::Busy), now == Some(Use::Busy));
        pool.busy += usize::from(is_busy);
        pool.busy = pool.busy.saturating_sub(was_busy.into());
        if was_busy != is_busy {
            let service = self.services.entry(pool.service).or_default();
            service.change_busy(is_busy, now_ns);
        }
        self.judge(key, requests, now_ns);
        if self.pools.get(&key).is_some_and(|pool| pool.open == 0) {
            self.pools.remove(&key);
            if let Some(servers) = self.servers.get_mut(&key.tgid) {
                servers.retain(|peer| *peer != key.peer);
                if servers.is_empty() {
                    self.servers.remove(&key.tgid);
                }
            }
        }
    }

    /// A request has begun or ended in a process, which has so many now.
    pub(super) fn requests(&mut self, tgid: u32, requests: usize, now_ns: u64) {
        for number in 0.. {
            let servers = self.servers.get(&tgid);
            let Some(peer) = servers.and_then(|servers| servers.get(number)).copied() else {
                return;
            };
            self.judge(PoolKey { tgid, peer }, requests, now_ns);
        }
    }

    fn judge(&mut self, key: PoolKey, requests: usize, now_ns: u64) {
        let Some(pool) = self.pools.get_mut(&key) else {
            return;
        };
        let was = pool.saturated.since_ns.is_some();
        let is = pool.open > 0 && pool.busy == pool.open && requests > pool.open;
        if was == is {
            return;
        }
        pool.saturated.set(is, now_ns);
        let service = self.services.entry(pool.service).or_default();
        service.saturated_pools += usize::from(is);
        service.saturated_pools = service.saturated_pools.saturating_sub(was.into());
        let any = service.saturated_pools > 0;
        service.saturated.set(any, now_ns);
    }

    /// For how long the pool has been saturated up to now; `None` when it is not known.
    pub(super) fn saturated_ns(&self, key: PoolKey, now_ns: u64) -> Option<u64> {
        Some(self.pools.get(&key)?.saturated.at(now_ns))
    }

    /// The servers that a process has a pool for, with the time for which that has been saturated.
    pub(super) fn of_process(&self, tgid: u32, now_ns: u64) -> Vec<(u32, u64)> {
        let servers = self.servers.get(&tgid).into_iter().flatten();
        servers
            .filter_map(|peer| {
                Some((
                    *peer,
                    self.saturated_ns(PoolKey { tgid, peer: *peer }, now_ns)?,
                ))
            })
            .collect()
    }

    /// A request has waited so long.
    pub(super) fn waited(&mut self, service: u16, ns: u64) {
        self.services.entry(service).or_default().wait.observe(ns);
    }

    /// Forgets the numbers of services whose ids are about to be given to others; their connections
    /// are gone already.
    pub(super) fn forget(&mut self, services: &[u16]) {
        for id in services {
            self.services.remove(id);
        }
    }

    /// What is known of a service's pools; `None` when it never had one.
    pub(super) fn report(&mut self, service: u16, now_ns: u64) -> Option<PoolReport> {
        let pools = self.services.get_mut(&service)?;
        pools.pass_time(now_ns);
        let [this, before] = pools.peaks;
        Some(PoolReport {
            saturated_ns: pools.saturated.at(now_ns),
            busy_ns: pools.busy_ns,
            busy_peak: this.max(before),
            wait: pools.wait.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PoolKey = PoolKey { tgid: 7, peer: 9 };
    const FREE: Option<Use> = Some(Use::Free);
    const BUSY: Option<Use> = Some(Use::Busy);

    /// Two connections that are opened and taken at once.
    fn two_busy(requests: usize) -> Pools {
        let mut pools = Pools::default();
        for _ in 0..2 {
            pools.change(1, KEY, (None, FREE), requests, 0);
        }
        for _ in 0..2 {
            pools.change(1, KEY, (FREE, BUSY), requests, 100);
        }
        pools
    }

    fn saturated(pools: &mut Pools, now_ns: u64) -> u64 {
        pools.report(1, now_ns).unwrap().saturated_ns
    }

    #[test]
    fn a_pool_is_saturated_while_a_request_finds_no_connection() {
        let mut pools = two_busy(2);
        assert_eq!(saturated(&mut pools, 200), 0);
        pools.requests(7, 3, 300);
        assert_eq!(pools.of_process(7, 350), [(9, 50)]);
        pools.change(1, KEY, (BUSY, FREE), 3, 400);
        assert_eq!(pools.of_process(7, 450), [(9, 100)]);
        pools.change(1, KEY, (FREE, BUSY), 3, 500);
        pools.requests(7, 2, 600);
        assert_eq!(saturated(&mut pools, 900), 200);
        assert_eq!(pools.saturated_ns(KEY, 900), Some(200));
        // Two busy for 300, one for 100, two for 400.
        assert_eq!(pools.report(1, 900).unwrap().busy_ns, 1_500);
    }

    /// What a worker that does one thing at a time does all day is no alarm.
    #[test]
    fn a_worker_with_one_connection_and_one_request_is_not_saturated() {
        let mut pools = Pools::default();
        pools.change(1, KEY, (None, BUSY), 1, 0);
        assert_eq!(saturated(&mut pools, 1_000), 0);
        assert_eq!(pools.report(1, 1_000).unwrap().busy_peak, 1);
    }

    #[test]
    fn a_connection_that_is_not_known_may_be_free() {
        let mut pools = two_busy(9);
        pools.change(1, KEY, (None, Some(Use::Unknown)), 9, 200);
        assert_eq!(saturated(&mut pools, 900), 100);
    }

    #[test]
    fn a_peak_is_forgotten_after_two_minutes_and_a_pool_with_its_last_connection() {
        let mut pools = two_busy(0);
        for _ in 0..2 {
            pools.change(1, KEY, (BUSY, None), 0, 200);
        }
        assert!(pools.pools.is_empty() && pools.servers.is_empty());
        assert_eq!(pools.report(1, PEAK_NS / 2).unwrap().busy_peak, 2);
        assert_eq!(pools.report(1, PEAK_NS + 200).unwrap().busy_peak, 2);
        assert_eq!(pools.report(1, 3 * PEAK_NS).unwrap().busy_peak, 0);
    }

    #[test]
    fn the_time_in_which_any_of_two_pools_is_saturated_counts_once() {
        let mut pools = Pools::default();
        for tgid in [7, 8] {
            let key = PoolKey { tgid, peer: 9 };
            pools.change(1, key, (None, BUSY), 2, 100 * u64::from(tgid));
        }
        pools.requests(7, 1, 900);
        assert_eq!(saturated(&mut pools, 1_000), 300);
    }
}
