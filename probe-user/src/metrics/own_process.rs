//! The daemon's own process, under the names that every Prometheus client library uses, so that
//! existing dashboards know them.

use procfs::{ProcResult, WithCurrentSystemInfo, process::LimitValue};
use serde::Serialize;

/// What the daemon itself takes from the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OwnProcess {
    /// User and system time, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub resident_memory_bytes: u64,
    /// Address space, in bytes.
    pub virtual_memory_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Most descriptors that may be open; `None` when there is no limit.
    pub max_fds: Option<u64>,
    /// When the process started, in seconds since the epoch.
    pub start_time_seconds: f64,
}

impl OwnProcess {
    /// Reads `/proc/self`.
    ///
    /// # Errors
    /// When `/proc` is not mounted or hides the process.
    pub fn read() -> ProcResult<Self> {
        let process = procfs::process::Process::myself()?;
        let stat = process.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        Ok(Self {
            cpu_seconds: stat.utime.saturating_add(stat.stime) as f64 / ticks,
            resident_memory_bytes: stat.rss_bytes().get(),
            virtual_memory_bytes: stat.vsize,
            open_fds: u64::try_from(process.fd_count()?).unwrap_or(u64::MAX),
            max_fds: match process.limits()?.max_open_files.soft_limit {
                LimitValue::Value(limit) => Some(limit),
                LimitValue::Unlimited => None,
            },
            start_time_seconds: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_descriptors_and_a_past() {
        let own = OwnProcess::read().unwrap();
        assert!(own.resident_memory_bytes > 100_000);
        assert!(own.virtual_memory_bytes >= own.resident_memory_bytes);
        assert!(own.open_fds >= 3);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        assert!(own.start_time_seconds <= now + 1.0 && own.start_time_seconds > now - 86_400.0);
    }
}
