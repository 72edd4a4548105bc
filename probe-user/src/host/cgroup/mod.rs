//! Limits of control groups, and what hitting them cost: v1 and v2 (`cgroups(7)`).
//!
//! A group may use what it and all groups above it may use, so the smallest limit on the way to the
//! root is the ceiling.

mod group;
mod hierarchy;
mod report;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
};

use super::files::{Files, Reason};
use group::Group;
use hierarchy::{Hierarchy, Place, hierarchy, place};
use report::either;
pub use report::{GroupCounts, GroupPressure, GroupReport, MEMORY_EVENTS, PRESSURE_RESOURCES};

/// Groups of one service that are looked at.
const MAX_GROUPS: usize = 64;
/// Groups above one another that are looked at.
const MAX_DEPTH: usize = 32;
/// Samples until the mounts are looked at again.
const MOUNTS_KEPT_FOR: u32 = 20;

/// Where the groups of one process are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    cpu: Option<Place>,
    memory: Option<Place>,
    unified: Option<Place>,
}

/// Groups of all services.
#[derive(Debug, Default)]
pub(super) struct ControlGroups {
    hierarchies: Vec<Hierarchy>,
    age: u32,
    /// Of this sample.
    read: HashMap<(PathBuf, Kind), Group>,
    last: HashMap<(PathBuf, Kind), Group>,
    totals: HashMap<u16, Total>,
    /// Where each service's processes were when there were some: what killed the last of them is
    /// counted there.
    places: HashMap<u16, [BTreeSet<Place>; 3]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Cpu,
    Memory,
    Pressure,
}

/// Of one service since it is watched.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    counts: GroupCounts,
    pressure: Option<GroupPressure>,
}

/// What the host itself has: the ceiling of all groups.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HostCeiling {
    pub(super) cpus: Option<f64>,
    pub(super) memory: Option<u64>,
}

impl ControlGroups {
    /// Begins a sample.
    pub(super) fn begin(&mut self, files: &mut Files) {
        if self.age.is_multiple_of(MOUNTS_KEPT_FOR) {
            let path = format_args!("self/mountinfo");
            let found = files.optional("mountinfo", path, |text| {
                Some(text.lines().filter_map(hierarchy).collect())
            });
            self.hierarchies = found.unwrap_or_default();
        }
        self.age = self.age.wrapping_add(1);
    }

    /// Where a process is.
    pub(super) fn of_process(&self, files: &mut Files, pid: u32) -> Groups {
        let path = format_args!("{pid}/cgroup");
        let found = files.parse("process_cgroup", path, |text| {
            Some(Groups {
                cpu: place(&self.hierarchies, text, "cpu"),
                memory: place(&self.hierarchies, text, "memory"),
                unified: hierarchy::unified(&self.hierarchies, text),
            })
        });
        found.unwrap_or_default()
    }

    /// What the groups of one service's processes allow it.
    pub(super) fn of_service<'a>(
        &mut self,
        files: &mut Files,
        service: u16,
        processes: impl Iterator<Item = &'a Groups>,
        host: HostCeiling,
    ) -> GroupReport {
        let mut now = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
        for groups in processes {
            let [cpu, memory, unified] = &mut now;
            cpu.extend(groups.cpu.clone());
            memory.extend(groups.memory.clone());
            unified.extend(groups.unified.clone());
        }
        let places = self.places.entry(service).or_default();
        if now.iter().any(|places| !places.is_empty()) {
            places.clone_from(&now);
        }
        let [cpu, memory, unified] = places.clone();
        if cpu.len() > MAX_GROUPS || memory.len() > MAX_GROUPS {
            files.failed("process_cgroup", Reason::Truncated);
        }
        let mut counted = Vec::new();
        let cpu_limit = self.limit(files, Kind::Cpu, &cpu, &mut counted, |group| {
            group.cpu_limit
        });
        let with_limits = counted.len();
        #[expect(
            clippy::cast_precision_loss,
            reason = "petabytes are exact, and more is no limit"
        )]
        let memory_limit = self.limit(files, Kind::Memory, &memory, &mut counted, |group| {
            group.memory_limit.map(|bytes| bytes as f64)
        });
        // Without any limit, what the service's own groups use; a hierarchy's root is the host.
        let limiting = counted.get(with_limits..).unwrap_or_default();
        let own: Vec<(PathBuf, Kind)> = match limiting {
            [] => memory
                .iter()
                .take(MAX_GROUPS)
                .filter(|place| place.directory != place.top)
                .map(|place| (place.directory.clone(), Kind::Memory))
                .collect(),
            limiting => limiting.to_vec(),
        };
        let used = |key: &(PathBuf, Kind)| self.read.get(key)?.memory_used;
        let used: Vec<u64> = own.iter().filter_map(used).collect();
        for key in own {
            if !counted.contains(&key) {
                counted.push(key);
            }
        }
        let total = self.totals.entry(service).or_default();
        for key in &counted {
            if let Some(group) = self.read.get(key) {
                let last = self.last.get(key).map(|last| &last.counts);
                total.counts.add_growth(last, &group.counts);
            }
        }
        self.add_pressure(files, service, &unified);
        let total = self.totals.get(&service).copied().unwrap_or_default();
        let bytes = |limit: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a sum of sizes"
            )]
            let bytes = limit as u64;
            bytes
        };
        GroupReport {
            cpu_limit: either(cpu_limit, host.cpus, f64::min),
            memory_limit: either(memory_limit.map(bytes), host.memory, u64::min),
            memory_used: (!used.is_empty()).then(|| used.iter().sum()),
            counts: total.counts,
            pressure: total.pressure,
        }
    }

    /// What the service's own groups waited; a hierarchy's root is the host, whose pressure is told once.
    fn add_pressure(&mut self, files: &mut Files, service: u16, places: &BTreeSet<Place>) {
        let own = places.iter().filter(|place| place.directory != place.top);
        for place in own.take(MAX_GROUPS) {
            let key = (place.directory.clone(), Kind::Pressure);
            let group = self.read.entry(key.clone());
            let group = group.or_insert_with(|| group::pressure(files, &place.directory));
            let Some(now) = &group.pressure else { continue };
            let last = self.last.get(&key).and_then(|last| last.pressure.as_ref());
            let total = self.totals.entry(service).or_default();
            let sum = total.pressure.get_or_insert_default();
            sum.add_growth(last, now);
        }
    }

    /// The sum of the limits of several groups; `None` as soon as one of them has none. Groups
    /// below the same limit count once.
    fn limit(
        &mut self,
        files: &mut Files,
        kind: Kind,
        places: &BTreeSet<Place>,
        counted: &mut Vec<(PathBuf, Kind)>,
        limit_of: impl Fn(&Group) -> Option<f64>,
    ) -> Option<f64> {
        let mut limits: BTreeMap<PathBuf, f64> = BTreeMap::new();
        let mut all_limited = !places.is_empty();
        for place in places.iter().take(MAX_GROUPS) {
            let mut lowest: Option<(f64, PathBuf)> = None;
            let on_the_way = place.directory.ancestors().take(MAX_DEPTH);
            for directory in on_the_way.take_while(|directory| directory.starts_with(&place.top)) {
                let key = (directory.to_owned(), kind);
                let group = *self.read.entry(key.clone()).or_insert_with(|| match kind {
                    Kind::Cpu => group::cpu(files, place.version, directory),
                    Kind::Memory => group::memory(files, place.version, directory),
                    Kind::Pressure => group::pressure(files, directory),
                });
                let Some(limit) = limit_of(&group) else {
                    continue;
                };
                if !counted.contains(&key) {
                    counted.push(key);
                }
                if lowest.as_ref().is_none_or(|(other, _)| limit < *other) {
                    lowest = Some((limit, directory.to_owned()));
                }
            }
            match lowest {
                Some((limit, directory)) => {
                    limits.insert(directory, limit);
                }
                None => all_limited = false,
            }
        }
        all_limited.then(|| limits.values().sum())
    }

    /// Ends a sample: the groups of this one are what the next is compared with.
    pub(super) fn end(&mut self) {
        self.last = std::mem::take(&mut self.read);
    }

    /// Forgets the counts of services whose id another one has now.
    pub(super) fn forget(&mut self, service: u16) {
        self.totals.remove(&service);
        self.places.remove(&service);
    }
}
