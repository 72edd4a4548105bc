//! Memory, swap and paging of the host.

use super::files::{Files, value_of};

/// What `/proc/meminfo` says, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// All memory that the kernel has to give.
    pub total: u64,
    /// What new programs could have without swapping: free, and what can be given back.
    pub available: u64,
    /// Unused.
    pub free: u64,
    /// Raw blocks of devices.
    pub buffers: u64,
    /// Files, and kernel objects that can be given back.
    pub cached: u64,
    /// Of the cached: in tmpfs and shared memory, so not to be given back.
    pub shared: u64,
    /// Changed, and waiting to be written to disk or being written.
    pub dirty: u64,
    /// Swap space.
    pub swap_total: u64,
    /// Unused swap space.
    pub swap_free: u64,
}

impl MemoryReport {
    pub(super) fn read(files: &mut Files) -> Option<Self> {
        files.parse("meminfo", format_args!("meminfo"), Self::parse)
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = |key| Some(value_of(text, key)?.saturating_mul(1024));
        let or_none = |key| bytes(key).unwrap_or_default();
        let free = bytes("MemFree")?;
        let cached = bytes("Cached")?.saturating_add(or_none("SReclaimable"));
        Some(Self {
            total: bytes("MemTotal")?,
            // Linux before 3.14 leaves it to the reader.
            available: bytes("MemAvailable").unwrap_or(free.saturating_add(cached)),
            free,
            buffers: or_none("Buffers"),
            cached,
            shared: or_none("Shmem"),
            dirty: or_none("Dirty").saturating_add(or_none("Writeback")),
            swap_total: or_none("SwapTotal"),
            swap_free: or_none("SwapFree"),
        })
    }

    /// What programs and the kernel hold: all but free, buffers and cached.
    pub fn used(&self) -> u64 {
        let rest = self.free.saturating_add(self.buffers);
        self.total.saturating_sub(rest.saturating_add(self.cached))
    }
}

/// What `/proc/vmstat` says, as counts since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagingReport {
    /// Page faults, major ones included.
    pub faults: u64,
    /// Page faults that had to wait for a disk.
    pub major_faults: u64,
    /// Pages that came back from swap.
    pub swapped_in: u64,
    /// Pages that went to swap.
    pub swapped_out: u64,
    /// Processes that the kernel killed for their memory; `None` before Linux 4.13.
    pub oom_kills: Option<u64>,
}

impl PagingReport {
    pub(super) fn read(files: &mut Files) -> Option<Self> {
        files.parse("vmstat", format_args!("vmstat"), Self::parse)
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key| value_of(text, key);
        Some(Self {
            faults: value("pgfault")?,
            major_faults: value("pgmajfault")?,
            // A kernel without swap has neither.
            swapped_in: value("pswpin").unwrap_or_default(),
            swapped_out: value("pswpout").unwrap_or_default(),
            oom_kills: value("oom_kill"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_free_buffers_and_cached_are_all_there_is() {
        let text = "MemTotal: 1000 kB\nMemFree: 300 kB\nMemAvailable: 700 kB\nBuffers: 50 kB\n\
                    Cached: 250 kB\nSwapCached: 0 kB\nShmem: 20 kB\nSReclaimable: 50 kB\n\
                    Dirty: 3 kB\nWriteback: 1 kB\nSwapTotal: 10 kB\nSwapFree: 4 kB\n";
        let memory = MemoryReport::parse(text).unwrap();
        assert_eq!(memory.used(), 350 * 1024);
        assert_eq!(
            memory.used() + memory.free + memory.buffers + memory.cached,
            memory.total
        );
        assert_eq!((memory.dirty, memory.swap_free), (4096, 4096));
        assert_eq!(MemoryReport::parse("MemTotal: 1 kB"), None);
    }

    #[test]
    fn a_kernel_without_swap_or_oom_counts_is_read() {
        let paging = PagingReport::parse("pgfault 9\npgmajfault 2\n").unwrap();
        assert_eq!(
            (paging.faults, paging.major_faults, paging.oom_kills),
            (9, 2, None)
        );
    }
}
