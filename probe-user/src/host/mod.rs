//! Resources of the host and of the services' processes, from `/proc` and `/sys`.
//!
//! [`Sampler::sample`] reads all of it once, for one scrape. What is read is bounded in number and
//! in time; what can't be read is counted by what and why, and left out. Counts of services are
//! summed up by [`services`], so that they never go down when a process ends.

mod cgroup;
mod cpu;
mod disks;
mod files;
mod filesystems;
mod memory;
mod network;
mod process;
mod services;
mod sockets;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

pub use cgroup::{GroupCounts, GroupPressure, GroupReport, MEMORY_EVENTS, PRESSURE_RESOURCES};
pub use cpu::{CPU_MODES, CpuReport, CpuTimes, Pressure, Stall};
pub use disks::{DiskOperations, DiskReport};
pub use files::{ReadErrors, Reason};
pub use filesystems::{FileSystemReport, Mount, Room};
pub use memory::{MemoryReport, PagingReport};
pub use network::{InterfaceReport, Packets, TcpReport};
pub use services::{Descriptors, ProcessReport, ServiceProcesses};
pub use sockets::SocketStates;

use cgroup::HostCeiling;
use files::Files;
use filesystems::FileSystems;
use services::{Effort, Services};

use crate::config::Host;

/// The host and its services at one moment. What this kernel does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostReport {
    /// Kernel, architecture and distribution.
    pub about: About,
    /// Clock ticks in a second: the unit of all `ticks` here.
    pub ticks_per_second: u64,
    /// CPU time, and what else `/proc/stat` has.
    pub cpu: Option<CpuReport>,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Memory and swap space.
    pub memory: Option<MemoryReport>,
    /// Page faults and swapping.
    pub paging: Option<PagingReport>,
    /// For how long work waited for a resource.
    pub pressure: Vec<Pressure>,
    /// Block devices.
    pub disks: Vec<DiskReport>,
    /// File systems.
    pub file_systems: Vec<FileSystemReport>,
    /// Network interfaces.
    pub interfaces: Vec<InterfaceReport>,
    /// TCP as a whole.
    pub tcp: Option<TcpReport>,
    /// TCP sockets of the daemon's network namespace, by state.
    pub sockets: SocketStates,
    /// Open files of the whole host.
    pub descriptors: Option<Descriptors>,
    /// Seconds since boot.
    pub uptime_seconds: Option<f64>,
    /// What each service takes, by its id.
    pub services: BTreeMap<u16, ProcessReport>,
    /// What could not be read since the start.
    pub errors: ReadErrors,
    /// How long it took to read all of this.
    pub sample_time: Duration,
    /// Whether each CPU is shown.
    pub per_cpu: bool,
}

/// What does not change while the host runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Release of the kernel, as `uname -r` prints it.
    pub kernel: String,
    /// Architecture, as `uname -m` prints it.
    pub machine: String,
    /// The distribution's name, as in `/etc/os-release`; may be empty.
    pub distribution: String,
}

/// Reads the host again and again.
#[derive(Debug)]
pub struct Sampler {
    files: Files,
    about: About,
    file_systems: FileSystems,
    services: Services,
    last_cpu: Option<CpuReport>,
    effort: Effort,
    per_cpu: bool,
    ticks_per_second: u64,
}

impl Sampler {
    /// A sampler of this host.
    pub fn new(config: &Host) -> Self {
        Self::with_root(config, "/proc".into(), filesystems::ask)
    }

    fn with_root(config: &Host, root: PathBuf, ask: filesystems::Ask) -> Self {
        let mut files = Files::new(root);
        let every = |seconds: u32| (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        let ticks_per_second = procfs::ticks_per_second();
        let began = uptime(&mut files).map(|seconds| in_ticks(seconds, ticks_per_second));
        Self {
            about: About::read(&mut files),
            file_systems: FileSystems::new(config.mountpoint_exclude.clone(), ask),
            services: Services::new(began),
            last_cpu: None,
            effort: Effort {
                proportional: every(config.pss_interval_s),
                sockets: every(config.sockets_interval_s),
                page_size: procfs::page_size(),
            },
            per_cpu: config.per_cpu,
            ticks_per_second,
            files,
        }
    }

    /// Reads everything. Takes milliseconds: some files for each process of the services.
    pub fn sample(&mut self, services: &[ServiceProcesses]) -> Arc<HostReport> {
        let begin = Instant::now();
        let files = &mut self.files;
        let mut cpu = CpuReport::read(files);
        if let (Some(cpu), Some(last)) = (&mut cpu, &self.last_cpu) {
            cpu.never_less_than(last);
        }
        if cpu.is_some() {
            self.last_cpu.clone_from(&cpu);
        }
        let memory = MemoryReport::read(files);
        let host = HostCeiling {
            cpus: cpu.as_ref().map(|cpu| cpu.each.len() as f64),
            memory: memory.map(|memory| memory.total),
        };
        let services = self.services.sample(files, services, self.effort, host);
        let mut report = HostReport {
            about: self.about.clone(),
            ticks_per_second: self.ticks_per_second,
            cpu,
            load: cpu::load(files),
            memory,
            paging: PagingReport::read(files),
            pressure: cpu::pressure(files),
            disks: disks::read(files),
            file_systems: self.file_systems.read(files),
            interfaces: network::interfaces(files),
            tcp: network::tcp(files),
            sockets: self.services.sockets_of_host().clone(),
            descriptors: descriptors(files),
            uptime_seconds: uptime(files),
            services,
            errors: files.errors().clone(),
            sample_time: Duration::ZERO,
            per_cpu: self.per_cpu,
        };
        report.sample_time = begin.elapsed();
        Arc::new(report)
    }

    /// Forgets the counts of services whose id another one has now.
    pub fn forget(&mut self, services: &[u16]) {
        self.services.forget(services);
    }
}

impl About {
    fn read(files: &mut Files) -> Self {
        let uname = nix::sys::utsname::uname().ok();
        let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
        let path = std::path::Path::new("/etc/os-release");
        let distribution = files.elsewhere("os_release", path, |text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
            Some(line.trim_matches('"').to_owned())
        });
        Self {
            kernel: uname
                .as_ref()
                .map(|uname| text(uname.release()))
                .unwrap_or_default(),
            machine: uname
                .as_ref()
                .map(|uname| text(uname.machine()))
                .unwrap_or_default(),
            distribution: distribution.unwrap_or_default(),
        }
    }
}

fn descriptors(files: &mut Files) -> Option<Descriptors> {
    files.optional("file_nr", format_args!("sys/fs/file-nr"), |text| {
        let mut words = text.split_ascii_whitespace();
        // Allocated, allocated but unused, at most.
        let allocated: u64 = words.next()?.parse().ok()?;
        let unused: u64 = words.next()?.parse().ok()?;
        Some(Descriptors {
            open: allocated.saturating_sub(unused),
            limit: words.next()?.parse().ok()?,
        })
    })
}

fn uptime(files: &mut Files) -> Option<f64> {
    files.parse("uptime", format_args!("uptime"), |text| {
        let seconds: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
        (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a time"
)]
fn in_ticks(seconds: f64, ticks_per_second: u64) -> u64 {
    (seconds * ticks_per_second as f64) as u64
}
