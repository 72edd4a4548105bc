//! Where the time of a service's threads goes: running, ready to run, or waiting, and for what.

use crate::{histogram::Histogram, kernel_abi};

/// What the kernel side remembers of one thread.
///
/// Slots are shared by thread ids that are equal modulo the size of the table; `tid` names the
/// one that holds the slot, 0 none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ThreadSchedule {
    /// Since when it has been in `state`; `CLOCK_MONOTONIC` nanoseconds. [`ThreadState::Resumed`]: since when
    /// it waited.
    pub since_ns: u64,
    /// The kernel's own sum of the time that it ran, as far as it is counted already.
    pub ran_ns: u64,
    /// Likewise, of the time that it waited for a processor.
    pub queued_ns: u64,
    /// The thread's page faults that are counted already, without and with waiting for the disk; the
    /// lower half of the kernel's numbers.
    pub minor_faults: u32,
    /// Likewise, those that waited for the disk.
    pub major_faults: u32,
    /// The thread.
    pub tid: u32,
    /// Service id.
    pub service: u16,
    /// A [`ThreadState`].
    pub state: u8,
    /// An [`OffCpuReason`]: why it left the processor last.
    pub reason: u8,
}
kernel_abi!(ThreadSchedule, 40);

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ThreadState {
    /// It was not seen yet.
    Unknown = 0,
    /// It has a processor.
    Running = 1,
    /// It wants one.
    Runnable = 2,
    /// It waits for something else.
    Waiting = 3,
    /// It has a processor, and that it was woken was not seen: how long it waited is not counted yet.
    Resumed = 4,
}

/// Why a thread left its processor. Whatever is not certain is `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OffCpuReason {
    /// Another thread took the processor, or a limit of its control group ended its turn: it still
    /// wanted to run. Its time away is also in [`SchedulerStats::run_queue`]. All others are voluntary.
    Preempted = 0,
    /// It waits for a connection, or for the next request on one that it accepted: it is idle.
    Request = 1,
    /// It waits on a connection to Postgres that it made.
    Database = 2,
    /// It waits on another socket, or on one of which it is not known who made it.
    Network = 3,
    /// It waits for another thread or process: futex, semaphore, file lock.
    Lock = 4,
    /// It waits for a disk: reading, writing, `fsync`, a page that is not in memory.
    Disk = 5,
    /// It sleeps for a time of its own choice.
    Sleep = 6,
    /// It waits for one of several descriptors (`epoll_wait`, `poll`, `select`, `io_uring_enter`): in most
    /// servers this is being idle, but it may wait for a database's answer.
    Poll = 7,
    /// Anything else: pipes, terminals, children, signals, stopped, the kernel's own locks.
    Other = 8,
}

impl OffCpuReason {
    /// All reasons, in the order of their index.
    pub const ALL: [Self; 9] = [
        Self::Preempted,
        Self::Request,
        Self::Database,
        Self::Network,
        Self::Lock,
        Self::Disk,
        Self::Sleep,
        Self::Poll,
        Self::Other,
    ];

    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// The value of the `reason` label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preempted => "preempted",
            Self::Request => "request",
            Self::Database => "database",
            Self::Network => "network",
            Self::Lock => "lock",
            Self::Disk => "disk",
            Self::Sleep => "sleep",
            Self::Poll => "poll",
            Self::Other => "other",
        }
    }

    /// Whether the thread gave its processor up by itself.
    pub const fn voluntary(self) -> bool {
        !matches!(self, Self::Preempted)
    }
}

/// How often threads left their processors for one reason, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct OffCpu {
    /// Times; counted when the thread leaves.
    pub count: u64,
    /// Nanoseconds, counted when it is over. [`OffCpuReason::Preempted`]: until the thread runs again.
    /// All others: until it is woken; how long it takes from there is run-queue latency.
    pub ns: u64,
}
kernel_abi!(OffCpu, 16);

/// One service's threads on one CPU, or on all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SchedulerStats {
    /// Run-queue latency: from being woken, or from losing the processor, to running. Counted, as
    /// `on_cpu`, when the thread leaves its processor.
    pub run_queue: Histogram,
    /// How long threads ran at a stretch. The sum is the CPU time, kernel included, of what is over. As many
    /// observations as `run_queue`.
    pub on_cpu: Histogram,
    /// Away from the processor, by [`OffCpuReason`].
    pub off_cpu: [OffCpu; OffCpuReason::COUNT],
    /// Page faults that found the page in memory.
    pub minor_faults: u64,
    /// Page faults that waited for the disk.
    pub major_faults: u64,
}
kernel_abi!(SchedulerStats, 2 * 264 + 9 * 16 + 2 * 8);

impl SchedulerStats {
    /// What was counted for one reason.
    pub fn off_cpu(&self, reason: OffCpuReason) -> OffCpu {
        self.off_cpu
            .get(reason as usize)
            .copied()
            .unwrap_or_default()
    }

    /// Context switches in which threads gave their processor up by themselves.
    pub fn voluntary_switches(&self) -> u64 {
        OffCpuReason::ALL
            .into_iter()
            .filter(|reason| reason.voluntary())
            .fold(0, |sum, reason| {
                sum.wrapping_add(self.off_cpu(reason).count)
            })
    }

    /// Context switches in which it was taken from them.
    pub fn involuntary_switches(&self) -> u64 {
        self.off_cpu(OffCpuReason::Preempted).count
    }

    /// Adds another CPU's or another service's counts to these.
    pub fn merge(&mut self, other: &Self) {
        self.run_queue.merge(&other.run_queue);
        self.on_cpu.merge(&other.on_cpu);
        for (mine, theirs) in self.off_cpu.iter_mut().zip(&other.off_cpu) {
            mine.count = mine.count.wrapping_add(theirs.count);
            mine.ns = mine.ns.wrapping_add(theirs.ns);
        }
        self.minor_faults = self.minor_faults.wrapping_add(other.minor_faults);
        self.major_faults = self.major_faults.wrapping_add(other.major_faults);
    }
}

/// What a syscall waits for, when a thread gives up its processor in it. The daemon fills a table
/// from syscall number to kind for the architecture that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WaitKind {
    /// Not known.
    Other = 0,
    /// What the descriptor in the first argument gives, if it is a socket.
    Receive = 1,
    /// Room in what the descriptor in the first argument takes, if it is a socket.
    Send = 2,
    /// A connection to be made.
    Connect = 3,
    /// A connection to be accepted.
    Accept = 4,
    /// Another thread or process.
    Lock = 5,
    /// That data is on the disk.
    Disk = 6,
    /// Time.
    Sleep = 7,
    /// One of several descriptors.
    Poll = 8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_each_reason_is_its_place_in_the_list() {
        for (index, reason) in OffCpuReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
        }
    }

    #[test]
    fn switches_are_the_reasons_added_up() {
        let mut stats = SchedulerStats::default();
        for (count, off_cpu) in (1..).zip(&mut stats.off_cpu) {
            off_cpu.count = count;
        }
        assert_eq!(stats.involuntary_switches(), 1);
        assert_eq!(stats.voluntary_switches(), (2..=9).sum());
        let mut twice = stats;
        twice.merge(&stats);
        assert_eq!(twice.off_cpu(OffCpuReason::Other).count, 18);
    }
}
