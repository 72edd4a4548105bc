//! The fast lane for busy syscalls.
//!
//! The kernel side finds the statistics of a (service, syscall) in a hash table, which always
//! works. For the pairs that are called most, this gives it an index into an array instead, whose
//! look-up newer kernels inline. Counts made before stay in the hash table: a pair's total is the
//! sum of both, so nothing is lost when a lane is given.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError, atomic::Ordering},
};

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use probe_common::syscall::{HOT_SYSCALLS, MAX_SYSCALLS, SyscallKey, SyscallStats};

use super::{
    mapped::Mapped,
    tables::{TableError, read_slot, typed},
};

/// Calls after which a pair is worth a lane.
const BUSY_CALLS: u64 = 1_000;

/// Who has which lane.
pub struct Lanes {
    by_syscall: Mapped,
    stats: PerCpuArray<MapData, SyscallStats>,
    /// The pair in lane `index + 1`. Lanes are never taken back, so their counts never mix.
    taken: Mutex<Vec<SyscallKey>>,
}

impl Lanes {
    /// Takes the tables out of the loaded object.
    ///
    /// # Errors
    /// The object lacks one.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, TableError> {
        Ok(Self {
            by_syscall: Mapped::take(ebpf, "SYSCALL_LANES", MAX_SYSCALLS)?,
            stats: typed(ebpf, "SYSCALLS_HOT")?,
            taken: Mutex::default(),
        })
    }

    /// Gives lanes to pairs that turned out to be busy, the busiest first.
    pub fn promote(&self, counted: &HashMap<SyscallKey, SyscallStats>) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut busy: Vec<(u64, SyscallKey)> = counted
            .iter()
            .map(|(key, stats)| (stats.count(), *key))
            .filter(|(calls, key)| *calls >= BUSY_CALLS && !taken.contains(key))
            .collect();
        busy.sort_unstable_by_key(|(calls, key)| (u64::MAX - calls, key.service, key.nr));
        for (_, key) in busy {
            let lane = taken.len() + 1;
            let index = usize::from(key.service) * MAX_SYSCALLS + usize::from(key.nr);
            let (Ok(lane16), Some(entry)) = (u16::try_from(lane), self.by_syscall.entry(index))
            else {
                return;
            };
            if lane >= HOT_SYSCALLS {
                return;
            }
            taken.push(key);
            entry.store(lane16, Ordering::Relaxed);
        }
    }

    /// Adds what was counted in lanes to the totals.
    ///
    /// # Errors
    /// The kernel refuses to read the table.
    pub fn add_to(&self, totals: &mut HashMap<SyscallKey, SyscallStats>) -> Result<(), TableError> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for (lane, key) in (1..).zip(taken.iter()) {
            let stats = read_slot("SYSCALLS_HOT", &self.stats, lane, SyscallStats::merge)?;
            totals.entry(*key).or_default().merge(&stats);
        }
        Ok(())
    }
}
