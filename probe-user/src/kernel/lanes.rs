//! The fast lane for busy syscalls.
//!
//! The kernel side finds the statistics of a (service, syscall) in a hash table, which always
//! works. For the pairs that are called most, this gives it an index into an array instead, whose
//! look-up newer kernels inline. Counts made before stay in the hash table: a pair's total is the
//! sum of both, so nothing is lost when a lane is given.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use probe_common::syscall::{HOT_SYSCALLS, MAX_SYSCALLS, SyscallKey, SyscallStats};

use super::{
    mapped::Mapped,
    tables::{TableError, clear_slot, read_slot, typed},
};

/// Calls after which a pair is worth a lane.
const BUSY_CALLS: u64 = 1_000;

/// Who has which lane.
pub struct Lanes {
    by_syscall: Mapped,
    stats: PerCpuArray<MapData, SyscallStats>,
    /// The pair in lane `index + 1`, `None` for a lane that is free again. A lane is only taken back
    /// when its service is forgotten, so counts never mix.
    taken: Mutex<Vec<Option<SyscallKey>>>,
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
            .filter(|(calls, key)| *calls >= BUSY_CALLS && !taken.contains(&Some(*key)))
            .collect();
        busy.sort_unstable_by_key(|(calls, key)| (u64::MAX - calls, key.service, key.nr));
        for (_, key) in busy {
            let index = taken
                .iter()
                .position(Option::is_none)
                .unwrap_or(taken.len());
            if index + 1 >= HOT_SYSCALLS {
                return;
            }
            let (Ok(lane), Some(entry)) = (u16::try_from(index + 1), self.entry(key)) else {
                return;
            };
            if index == taken.len() {
                taken.push(None);
            }
            if let Some(slot) = taken.get_mut(index) {
                *slot = Some(key);
            }
            entry.store(lane, Ordering::Relaxed);
        }
    }

    fn entry(&self, key: SyscallKey) -> Option<&AtomicU16> {
        self.by_syscall
            .entry(usize::from(key.service) * MAX_SYSCALLS + usize::from(key.nr))
    }

    /// Takes back the lanes of services that are forgotten.
    ///
    /// # Errors
    /// The kernel refuses to change the table.
    pub fn forget(&mut self, services: &[u16]) -> Result<(), TableError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for (lane, slot) in (1..).zip(taken.iter_mut()) {
            if let Some(key) = slot.filter(|key| services.contains(&key.service)) {
                if let Some(entry) = self.entry(key) {
                    entry.store(0, Ordering::Relaxed);
                }
                clear_slot("SYSCALLS_HOT", &mut self.stats, lane)?;
                *slot = None;
            }
        }
        Ok(())
    }

    /// Adds what was counted in lanes to the totals.
    ///
    /// # Errors
    /// The kernel refuses to read the table.
    pub fn add_to(&self, totals: &mut HashMap<SyscallKey, SyscallStats>) -> Result<(), TableError> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for (lane, slot) in (1..).zip(taken.iter()) {
            let Some(key) = slot else { continue };
            let stats = read_slot("SYSCALLS_HOT", &self.stats, lane, SyscallStats::merge)?;
            totals.entry(*key).or_default().merge(&stats);
        }
        Ok(())
    }
}
