//! What threads are doing at this moment.
//!
//! The kernel side counts a stretch when it is over. A thread that has waited for a lock for half a
//! minute, or has had its processor for itself, is in no counter yet; its slot tells. Threads that share
//! their slot with another one are not looked at here.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::Ebpf;
use nix::time::{ClockId, clock_gettime};
use probe_common::scheduler::{OffCpu, OffCpuReason, ThreadSchedule, ThreadState};

use super::{mapped::Mapped, tables::TableError};

/// What the threads of one service are doing now, and for how long so far. Add it to the counters of
/// the same reading for where the time went until now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ongoing {
    /// Threads that have a processor.
    pub on_cpu: OffCpu,
    /// Threads that want one.
    pub run_queue: OffCpu,
    /// Threads that wait, by [`OffCpuReason`]; nothing under [`OffCpuReason::Preempted`].
    pub off_cpu: [OffCpu; OffCpuReason::COUNT],
}

/// 64-bit words of a [`ThreadSchedule`].
const WORDS: usize = size_of::<ThreadSchedule>() / 8;

/// The mapped table of threads.
pub struct Schedule(Mapped<AtomicU64>);

impl Schedule {
    /// Maps the table of a loaded object.
    ///
    /// # Errors
    /// The object lacks it or the kernel refuses.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, TableError> {
        Mapped::take(ebpf, "SCHEDULE", WORDS).map(Self)
    }

    /// What all threads are doing now, by service id.
    pub fn ongoing(&self) -> HashMap<u16, Ongoing> {
        let mut services = HashMap::new();
        let now_ns = now_ns();
        for slot in (0..self.0.len()).step_by(WORDS) {
            if let Some(thread) = self.read(slot) {
                let ongoing: &mut Ongoing = services.entry(thread.service).or_default();
                ongoing.add(&thread, now_ns);
            }
        }
        services
    }

    /// Frees the slots of services whose ids are about to be given to others.
    pub fn forget(&self, services: &[u16]) {
        for slot in (0..self.0.len()).step_by(WORDS) {
            let theirs = self
                .read(slot)
                .is_some_and(|thread| services.contains(&thread.service));
            if theirs && let Some(holder) = self.0.entry(slot + 4) {
                holder.store(0, Ordering::Relaxed);
            }
        }
    }

    /// One slot's thread; `None` when nobody holds it, or it changed while it was read.
    fn read(&self, slot: usize) -> Option<Thread> {
        let word = |n: usize| Some(self.0.entry(slot + n)?.load(Ordering::Relaxed));
        let holder = word(4)?;
        if holder == 0 {
            return None;
        }
        let since_ns = word(0)?;
        (word(4)? == holder).then_some(())?;
        Thread::new(since_ns, holder)
    }
}

/// What a slot says.
struct Thread {
    service: u16,
    since_ns: u64,
    state: u8,
    reason: u8,
}

impl Thread {
    /// Takes the last word of a [`ThreadSchedule`] apart: `tid`, `service`, `state`, `reason`.
    fn new(since_ns: u64, holder: u64) -> Option<Self> {
        let [t0, t1, t2, t3, s0, s1, state, reason] = holder.to_ne_bytes();
        (u32::from_ne_bytes([t0, t1, t2, t3]) != 0).then_some(Self {
            service: u16::from_ne_bytes([s0, s1]),
            since_ns,
            state,
            reason,
        })
    }
}

impl Ongoing {
    fn add(&mut self, thread: &Thread, now_ns: u64) {
        const RUNNING: u8 = ThreadState::Running as u8;
        const RUNNABLE: u8 = ThreadState::Runnable as u8;
        const WAITING: u8 = ThreadState::Waiting as u8;
        const RESUMED: u8 = ThreadState::Resumed as u8;
        let what = match thread.state {
            RUNNING | RESUMED => Some(&mut self.on_cpu),
            RUNNABLE => Some(&mut self.run_queue),
            WAITING => self.off_cpu.get_mut(usize::from(thread.reason)),
            _ => None,
        };
        if let Some(what) = what {
            what.count = what.count.wrapping_add(1);
            if thread.state == RESUMED {
                return; // Its time is that of a wait.
            }
            let so_far = now_ns.saturating_sub(thread.since_ns);
            what.ns = what.ns.wrapping_add(so_far);
        }
    }
}

/// The kernel side's clock; 0 if there is none, so that nothing lasts.
fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
        let nanoseconds = u64::try_from(now.tv_nsec()).unwrap_or(0);
        seconds * 1_000_000_000 + nanoseconds
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(tid: u32, service: u16, state: ThreadState, reason: OffCpuReason) -> u64 {
        let [t0, t1, t2, t3] = tid.to_ne_bytes();
        let [s0, s1] = service.to_ne_bytes();
        u64::from_ne_bytes([t0, t1, t2, t3, s0, s1, state as u8, reason as u8])
    }

    #[test]
    fn what_a_thread_does_is_read_from_its_slot() {
        let mut ongoing = Ongoing::default();
        for (state, reason) in [
            (ThreadState::Running, OffCpuReason::Lock),
            (ThreadState::Runnable, OffCpuReason::Preempted),
            (ThreadState::Waiting, OffCpuReason::Lock),
            (ThreadState::Waiting, OffCpuReason::Lock),
            (ThreadState::Unknown, OffCpuReason::Other),
        ] {
            let thread = Thread::new(100, holder(7, 3, state, reason)).unwrap();
            assert_eq!(thread.service, 3);
            ongoing.add(&thread, 150);
        }
        let one = OffCpu { count: 1, ns: 50 };
        assert_eq!((ongoing.on_cpu, ongoing.run_queue), (one, one));
        let lock = ongoing.off_cpu[OffCpuReason::Lock as usize];
        assert_eq!(lock, OffCpu { count: 2, ns: 100 });
        assert!(Thread::new(100, holder(0, 3, ThreadState::Running, OffCpuReason::Lock)).is_none());
    }
}
