//! The running kernel side: loaded, attached, readable.

use std::{
    io::Read,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
    programs::Iter,
};
use tracing::{debug, warn};

use super::{
    block,
    btf::Btf,
    loader::{self, LoadError, Loaded, Wanted},
    mapped::TgidTable,
    measuring::Measuring,
    offsets::{self, Resolution},
    payload::PayloadRing,
    probes::{self, Hook, Probe},
    program_info::MeasuredProgram,
    snapshot::{ProbeState, ProbeStatus, ProgramRuntime, Snapshot},
    tables::{self, TableError, Tables},
    tls::Libraries,
};
use crate::targets::libraries::mapped_files;

/// The kernel's type information.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// The kernel side could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing could be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Loaded, but a table is not as expected.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The attached probes and their tables. Dropping it detaches everything.
pub struct KernelProbe {
    // Detaches the programs when dropped; locked for running the seeding iterator, and for
    // attaching to libraries.
    ebpf: Mutex<Ebpf>,
    libraries: Mutex<Libraries>,
    tables: Mutex<Tables>,
    traced: Arc<TgidTable>,
    probes: Vec<ProbeStatus>,
    programs: Vec<MeasuredProgram>,
    measuring: Measuring,
}

/// What [`KernelProbe::start`] hands over once.
pub struct Started {
    /// The attached probes.
    pub probe: KernelProbe,
    /// Process events.
    pub events: RingBuf<MapData>,
    /// Socket payload.
    pub payload: PayloadRing,
    /// Diagnostics of the kernel programs; `None` when the level is `off`.
    pub log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
}

impl KernelProbe {
    /// Reads this kernel's type information, loads the object and attaches what works.
    ///
    /// # Errors
    /// When not even one probe can work; the message says what to do.
    pub fn start(wanted: &Wanted) -> Result<Started, StartError> {
        let mut loaded = load(wanted)?;
        let log = if wanted.log_level == 0 {
            None
        } else {
            match aya_log::EbpfLogger::init_with_logger(&mut loaded.ebpf, log::logger()) {
                Ok(logger) => Some(logger),
                Err(error) => {
                    warn!("the kernel programs' own messages will not be shown: {error}");
                    None
                }
            }
        };
        let tables = Tables::take(&mut loaded.ebpf)?;
        let traced = Arc::new(TgidTable::take(&mut loaded.ebpf)?);
        let events = tables::take_process_events(&mut loaded.ebpf)?;
        let payload = PayloadRing::take(&mut loaded.ebpf)?;
        Ok(Started {
            probe: Self {
                ebpf: Mutex::new(loaded.ebpf),
                libraries: Mutex::default(),
                tables: Mutex::new(tables),
                traced,
                probes: loaded.probes,
                programs: loaded.programs,
                measuring: Measuring::default(),
            },
            events,
            payload,
            log,
        })
    }

    /// The table of traced processes.
    pub fn traced(&self) -> Arc<TgidTable> {
        Arc::clone(&self.traced)
    }

    /// State of each probe.
    pub fn probes(&self) -> &[ProbeStatus] {
        &self.probes
    }

    /// Switches the measuring of run times on and off.
    pub fn measuring(&self) -> Measuring {
        self.measuring.clone()
    }

    /// Takes the open TCP connections of traced processes into the table. To be called after
    /// processes were marked; connections that are known already are left alone.
    pub fn seed_sockets(&self) {
        let name = "seed_sockets";
        if !self.programs.iter().any(|program| program.name == name) {
            return;
        }
        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(program) = ebpf.program_mut(name) else {
            return;
        };
        let walked = (|| -> Result<(), Box<dyn std::error::Error>> {
            let iterator: &mut Iter = program.try_into()?;
            let link = iterator.attach()?;
            let mut file = iterator.take_link(link)?.into_file()?;
            // The program writes nothing; reading to the end is what makes it run.
            file.read_to_end(&mut Vec::new())?;
            Ok(())
        })();
        match walked {
            Ok(()) => debug!("looked for connections that were open before"),
            Err(error) => warn!(
                "cannot look for connections that were open before; they become known when they are used: {error}"
            ),
        }
    }

    /// Follows the TLS libraries among the files that these processes execute. To be called when a
    /// process was marked, and when it mapped a file.
    pub fn follow_libraries(&self, pids: impl IntoIterator<Item = u32>) {
        if !self.is_active(&probes::TLS) {
            return;
        }
        for pid in pids {
            let files = mapped_files(pid);
            let mut libraries = self.libraries();
            let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
            libraries.follow(&mut ebpf, &files);
        }
    }

    fn libraries(&self) -> MutexGuard<'_, Libraries> {
        self.libraries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_active(&self, probe: &Probe) -> bool {
        self.probes
            .iter()
            .any(|status| status.name == probe.name && status.state == ProbeState::Active)
    }

    /// Reads all tables. `services` are the ids in use.
    ///
    /// # Errors
    /// The kernel refuses to read a table.
    pub fn snapshot(&self, services: impl Iterator<Item = u16>) -> Result<Snapshot, TableError> {
        let totals = self.tables().read(services)?;
        Ok(Snapshot {
            syscalls: totals.syscalls,
            syscall_errors: totals.syscall_errors,
            sockets: totals.sockets,
            connect_errors: totals.connect_errors,
            losses: totals.losses,
            programs: self.runtimes(),
            probes: self.probes.clone(),
            libraries: self.libraries().counts(),
            block_devices: block::device_names(totals.block.keys()),
            scheduler: totals.scheduler,
            ongoing: totals.ongoing,
            block: totals.block,
            oom_kills: totals.oom_kills,
        })
    }

    /// Reads where the time of threads and block devices went; all else is left empty.
    ///
    /// # Errors
    /// The kernel refuses to read a table.
    pub fn times(&self, services: impl Iterator<Item = u16>) -> Result<Snapshot, TableError> {
        let totals = self.tables().read_times(services)?;
        Ok(Snapshot {
            probes: self.probes.clone(),
            scheduler: totals.scheduler,
            ongoing: totals.ongoing,
            block: totals.block,
            ..Snapshot::default()
        })
    }

    /// Gives the busiest syscalls their lanes; worth doing every few seconds when nobody scrapes.
    pub fn promote(&self) {
        if let Err(error) = self.tables().promote() {
            warn!("{error}");
        }
    }

    /// Forgets everything about services whose ids are about to be given to others.
    ///
    /// # Errors
    /// The kernel refuses to change a table.
    pub fn forget(&self, services: &[u16]) -> Result<(), TableError> {
        self.tables().forget(services)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runtimes(&self) -> Vec<ProgramRuntime> {
        let measured_ns = u64::try_from(self.measuring.measured().as_nanos()).unwrap_or(u64::MAX);
        let runtime = |program: &MeasuredProgram| {
            let stats = program
                .run_stats()
                .inspect_err(|error| warn!("{error}"))
                .unwrap_or_default();
            ProgramRuntime {
                name: program.name,
                runs: stats.runs,
                run_ns: stats.run_ns,
                measured_ns,
                recursion_misses: stats.recursion_misses,
                verified_instructions: program.verified_instructions,
            }
        };
        self.programs.iter().map(runtime).collect()
    }
}

/// Loads and attaches without taking the tables, for `hostprobe check`.
///
/// # Errors
/// As [`KernelProbe::start`].
pub fn load(wanted: &Wanted) -> Result<Loaded, LoadError> {
    keep_large_allocations_apart();
    let resolution = resolve()?;
    give_memory_back();
    let loaded = loader::load(wanted, &resolution.offsets, &resolution.missing);
    give_memory_back();
    loaded
}

/// Finds the fields. What was read for that is gone when this returns: it is as large as all that
/// stays in memory later.
fn resolve() -> Result<Resolution, LoadError> {
    let bytes = std::fs::read(BTF_PATH).map_err(|error| LoadError::NoBtf(error.to_string()))?;
    let btf = Btf::parse(&bytes).map_err(|error| LoadError::NoBtf(error.to_string()))?;
    for probe in &probes::ALL {
        for program in probe.programs {
            if let Hook::Tracepoint(name) = program.hook
                && !btf.tracepoint_exists(name)
            {
                debug!(probe = probe.name, "this kernel has no tracepoint {name}");
            }
        }
    }
    Ok(offsets::resolve(&btf))
}

/// Type information is many megabytes, and is read twice: by us, and by the loader. The allocator is to
/// map each of its tables by itself, so that they are gone when they are freed, and the first reading
/// makes room for the second.
fn keep_large_allocations_apart() {
    #[cfg(target_env = "gnu")]
    const LARGE: libc::c_int = 128 << 10;
    // SAFETY: sets a parameter of the allocator and touches nothing else. Without it more memory is
    // held, no more.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Hands what loading took back to the system: the allocator would keep some ten megabytes.
fn give_memory_back() {
    // SAFETY: releases free memory of the allocator and touches nothing else.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
