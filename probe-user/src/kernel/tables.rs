//! The kernel side's tables, read into totals.

use std::{collections::HashMap, io};

use aya::{
    Ebpf, Pod,
    maps::{Map, MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues, RingBuf},
};
use probe_common::{
    block::{BlockKey, BlockStats},
    loss::Loss,
    scheduler::SchedulerStats,
    socket::{ConnectErrorKey, SocketStats},
    syscall::{SyscallErrorKey, SyscallKey, SyscallStats},
    target::MAX_SERVICES,
};

use super::{
    lanes::Lanes,
    scheduler::{Ongoing, Schedule},
};

/// A table could not be found or read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The object does not have it: the daemon and its object do not belong together.
    #[error("the kernel object has no table {0}")]
    Absent(&'static str),
    /// The kernel refused.
    #[error("cannot read the kernel table {table}: {source}")]
    Read {
        /// Its name.
        table: &'static str,
        /// What the kernel said.
        source: MapError,
    },
    /// A table could not be mapped into this process.
    #[error("cannot map the kernel table {table}: {source}")]
    Map {
        /// Its name.
        table: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

pub(super) fn take(ebpf: &mut Ebpf, table: &'static str) -> Result<Map, TableError> {
    ebpf.take_map(table).ok_or(TableError::Absent(table))
}

pub(super) fn typed<T: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    table: &'static str,
) -> Result<T, TableError> {
    T::try_from(take(ebpf, table)?).map_err(|source| TableError::Read { table, source })
}

/// All tables that the daemon reads.
pub struct Tables {
    syscalls: PerCpuHashMap<MapData, SyscallKey, SyscallStats>,
    syscall_errors: PerCpuHashMap<MapData, SyscallErrorKey, u64>,
    socket_stats: PerCpuArray<MapData, SocketStats>,
    connect_errors: PerCpuHashMap<MapData, ConnectErrorKey, u64>,
    losses: PerCpuArray<MapData, u64>,
    scheduler: PerCpuArray<MapData, SchedulerStats>,
    schedule: Schedule,
    block: PerCpuHashMap<MapData, BlockKey, BlockStats>,
    oom_kills: PerCpuArray<MapData, u64>,
    lanes: Lanes,
}

/// Totals of all tables.
#[derive(Debug, Default)]
pub struct Totals {
    /// Latency by service and syscall.
    pub syscalls: HashMap<SyscallKey, SyscallStats>,
    /// Errors by service, syscall and errno.
    pub syscall_errors: HashMap<SyscallErrorKey, u64>,
    /// Socket counters by service.
    pub sockets: HashMap<u16, SocketStats>,
    /// Failed connection attempts.
    pub connect_errors: HashMap<ConnectErrorKey, u64>,
    /// Where the time of threads went, by service.
    pub scheduler: HashMap<u16, SchedulerStats>,
    /// What threads do now, by service.
    pub ongoing: HashMap<u16, Ongoing>,
    /// Requests to block devices.
    pub block: HashMap<BlockKey, BlockStats>,
    /// Processes killed for lack of memory, by service.
    pub oom_kills: HashMap<u16, u64>,
    /// Losses by cause.
    pub losses: [u64; Loss::COUNT],
}

impl Tables {
    /// Takes the tables out of the loaded object.
    ///
    /// # Errors
    /// The object lacks one.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, TableError> {
        Ok(Self {
            syscalls: typed(ebpf, "SYSCALLS")?,
            syscall_errors: typed(ebpf, "SYSCALL_ERRORS")?,
            socket_stats: typed(ebpf, "SOCKET_STATS")?,
            connect_errors: typed(ebpf, "CONNECT_ERRORS")?,
            losses: typed(ebpf, "LOSSES")?,
            scheduler: typed(ebpf, "SCHEDULER_STATS")?,
            schedule: Schedule::take(ebpf)?,
            block: typed(ebpf, "BLOCK_STATS")?,
            oom_kills: typed(ebpf, "OOM_KILLS")?,
            lanes: Lanes::take(ebpf)?,
        })
    }

    /// Reads everything, summed over CPUs. `services` are the ids in use.
    ///
    /// # Errors
    /// The kernel refuses to read a table.
    pub fn read(&self, services: impl Iterator<Item = u16>) -> Result<Totals, TableError> {
        let mut totals = Totals {
            syscalls: read_hash("SYSCALLS", &self.syscalls, SyscallStats::merge)?,
            syscall_errors: read_hash("SYSCALL_ERRORS", &self.syscall_errors, add)?,
            connect_errors: self.connect_errors()?,
            block: read_hash("BLOCK_STATS", &self.block, BlockStats::merge)?,
            ..Totals::default()
        };
        self.lanes.promote(&totals.syscalls);
        self.lanes.add_to(&mut totals.syscalls)?;
        for service in services.filter(|id| usize::from(*id) < MAX_SERVICES) {
            let stats = read_slot(
                "SOCKET_STATS",
                &self.socket_stats,
                service.into(),
                SocketStats::merge,
            )?;
            if stats != SocketStats::default() {
                totals.sockets.insert(service, stats);
            }
            self.read_scheduler(service, &mut totals.scheduler)?;
            let kills = read_slot("OOM_KILLS", &self.oom_kills, service.into(), add)?;
            if kills != 0 {
                totals.oom_kills.insert(service, kills);
            }
        }
        totals.ongoing = self.schedule.ongoing();
        for (index, total) in (0..).zip(totals.losses.iter_mut()) {
            *total = read_slot("LOSSES", &self.losses, index, add)?;
        }
        Ok(totals)
    }

    /// Reads where the time of threads and block devices went, and nothing else: a fraction of
    /// [`Self::read`].
    ///
    /// # Errors
    /// The kernel refuses to read a table.
    pub fn read_times(&self, services: impl Iterator<Item = u16>) -> Result<Totals, TableError> {
        let mut totals = Totals {
            block: read_hash("BLOCK_STATS", &self.block, BlockStats::merge)?,
            ..Totals::default()
        };
        for service in services.filter(|id| usize::from(*id) < MAX_SERVICES) {
            self.read_scheduler(service, &mut totals.scheduler)?;
        }
        totals.ongoing = self.schedule.ongoing();
        Ok(totals)
    }

    fn read_scheduler(
        &self,
        service: u16,
        into: &mut HashMap<u16, SchedulerStats>,
    ) -> Result<(), TableError> {
        let merge = SchedulerStats::merge;
        let stats = read_slot("SCHEDULER_STATS", &self.scheduler, service.into(), merge)?;
        if stats != SchedulerStats::default() {
            into.insert(service, stats);
        }
        Ok(())
    }
}

impl Tables {
    /// Gives the busiest syscalls their lanes, as every reading does.
    ///
    /// # Errors
    /// The kernel refuses to read the table.
    pub fn promote(&self) -> Result<(), TableError> {
        let counted = read_hash("SYSCALLS", &self.syscalls, SyscallStats::merge)?;
        self.lanes.promote(&counted);
        Ok(())
    }

    /// Forgets everything about services whose ids are about to be given to others.
    ///
    /// # Errors
    /// The kernel refuses to change a table.
    pub fn forget(&mut self, services: &[u16]) -> Result<(), TableError> {
        self.lanes.forget(services)?;
        remove_if("SYSCALLS", &mut self.syscalls, |key| {
            services.contains(&key.service)
        })?;
        remove_if("SYSCALL_ERRORS", &mut self.syscall_errors, |key| {
            services.contains(&key.service)
        })?;
        remove_if("CONNECT_ERRORS", &mut self.connect_errors, |key| {
            services.contains(&key.service)
        })?;
        for service in services {
            let slot = u32::from(*service);
            clear_slot("SOCKET_STATS", &mut self.socket_stats, slot)?;
            clear_slot("SCHEDULER_STATS", &mut self.scheduler, slot)?;
            clear_slot("OOM_KILLS", &mut self.oom_kills, slot)?;
        }
        self.schedule.forget(services);
        remove_if("BLOCK_STATS", &mut self.block, |key| {
            services.contains(&key.service)
        })?;
        Ok(())
    }

    /// Failed attempts, summed over the programs that count them: no key has a witness.
    fn connect_errors(&self) -> Result<HashMap<ConnectErrorKey, u64>, TableError> {
        let mut totals = HashMap::new();
        for (key, count) in read_hash("CONNECT_ERRORS", &self.connect_errors, add)? {
            add(
                totals
                    .entry(ConnectErrorKey { witness: 0, ..key })
                    .or_default(),
                &count,
            );
        }
        Ok(totals)
    }
}

fn add(total: &mut u64, more: &u64) {
    *total = total.wrapping_add(*more);
}

fn read_hash<K: Pod + Eq + std::hash::Hash, V: Pod + Default>(
    table: &'static str,
    map: &PerCpuHashMap<MapData, K, V>,
    merge: impl Fn(&mut V, &V),
) -> Result<HashMap<K, V>, TableError> {
    let mut totals = HashMap::new();
    for entry in map.iter() {
        let (key, cpus) = entry.map_err(|source| TableError::Read { table, source })?;
        let total: &mut V = totals.entry(key).or_default();
        // A table that grows while it is walked may show an entry twice; the last reading counts.
        *total = V::default();
        cpus.iter().for_each(|cpu| merge(total, cpu));
    }
    Ok(totals)
}

pub(super) fn read_slot<V: Pod + Default>(
    table: &'static str,
    map: &PerCpuArray<MapData, V>,
    index: u32,
    merge: impl Fn(&mut V, &V),
) -> Result<V, TableError> {
    let cpus = map
        .get(&index, 0)
        .map_err(|source| TableError::Read { table, source })?;
    let mut total = V::default();
    cpus.iter().for_each(|cpu| merge(&mut total, cpu));
    Ok(total)
}

fn remove_if<K: Pod, V: Pod>(
    table: &'static str,
    map: &mut PerCpuHashMap<MapData, K, V>,
    unwanted: impl Fn(&K) -> bool,
) -> Result<(), TableError> {
    let failed = |source| TableError::Read { table, source };
    let keys: Result<Vec<K>, MapError> = map.keys().collect();
    for key in keys.map_err(failed)?.into_iter().filter(unwanted) {
        map.remove(&key).map_err(failed)?;
    }
    Ok(())
}

/// Sets one element to zero on all CPUs.
pub(super) fn clear_slot<V: Pod + Default>(
    table: &'static str,
    map: &mut PerCpuArray<MapData, V>,
    index: u32,
) -> Result<(), TableError> {
    let failed = |source| TableError::Read { table, source };
    let cpus = map.get(&index, 0).map_err(failed)?.len();
    let zeroes = PerCpuValues::try_from(vec![V::default(); cpus])
        .map_err(|source| TableError::Map { table, source })?;
    map.set(index, zeroes, 0).map_err(failed)
}

/// Takes the ring of process events out of the loaded object.
///
/// # Errors
/// The object lacks it.
pub fn take_process_events(ebpf: &mut Ebpf) -> Result<RingBuf<MapData>, TableError> {
    typed(ebpf, "PROCESS_EVENTS")
}
