//! What the kernel side has counted so far, summed over CPUs.

use std::collections::HashMap;

use probe_common::{
    block::{BlockKey, BlockStats},
    loss::Loss,
    scheduler::SchedulerStats,
    socket::{ConnectErrorKey, SocketStats},
    syscall::{SyscallErrorKey, SyscallKey, SyscallStats},
};

use super::{scheduler::Ongoing, tls::LibraryCounts};

/// Everything that was read from the kernel's tables in one pass. All values are totals since the
/// probe started.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    /// Latency of completed calls per service and syscall.
    pub syscalls: HashMap<SyscallKey, SyscallStats>,
    /// Failed calls per service, syscall and errno.
    pub syscall_errors: HashMap<SyscallErrorKey, u64>,
    /// Socket statistics by service id; services that never used a socket are absent.
    pub sockets: HashMap<u16, SocketStats>,
    /// Failed connection attempts.
    pub connect_errors: HashMap<ConnectErrorKey, u64>,
    /// Where the time of threads went, by service id; services none of whose threads were seen are
    /// absent, and all are when the probe `scheduler` is off.
    pub scheduler: HashMap<u16, SchedulerStats>,
    /// What threads are doing now, by service id: not yet in `scheduler`.
    pub ongoing: HashMap<u16, Ongoing>,
    /// Requests to block devices; empty when the probe `block` is off.
    pub block: HashMap<BlockKey, BlockStats>,
    /// Names of the devices in `block`, such as `nvme0n1`, by [`BlockKey::device`].
    pub block_devices: HashMap<u32, String>,
    /// Processes that the kernel killed because memory ran out, by service id.
    pub oom_kills: HashMap<u16, u64>,
    /// Losses by cause, in the order of [`Loss::ALL`].
    pub losses: [u64; Loss::COUNT],
    /// Run time of each loaded program.
    pub programs: Vec<ProgramRuntime>,
    /// State of each probe.
    pub probes: Vec<ProbeStatus>,
    /// TLS libraries that traced processes use.
    pub libraries: LibraryCounts,
}

/// What one BPF program cost, while the kernel measured it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramRuntime {
    /// The program's name, such as `sys_enter`.
    pub name: &'static str,
    /// Runs while measuring was on.
    pub runs: u64,
    /// Nanoseconds spent in those runs.
    pub run_ns: u64,
    /// Nanoseconds for which measuring was on; `run_ns / measured_ns` is the load on one CPU.
    pub measured_ns: u64,
    /// Runs that the kernel skipped because the program was interrupted by itself.
    pub recursion_misses: u64,
    /// Instructions that the verifier looked at when it loaded the program.
    pub verified_instructions: u64,
}

/// A group of kernel programs that stands or falls together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeStatus {
    /// The probe's name, such as `syscalls`.
    pub name: &'static str,
    /// What it measures, for people.
    pub what: &'static str,
    /// Whether it works.
    pub state: ProbeState,
}

/// Whether a probe works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeState {
    /// Loaded and attached.
    Active,
    /// Not wanted or not possible here, with the reason.
    Disabled(String),
    /// Should have worked and did not, with the reason.
    Failed(String),
}
