//! What threads are doing at this moment.
//!
//! The kernel side counts a stretch when it is over. A thread that has waited for a lock for half a
//! minute, or has had its processor for itself, is in no counter yet; its slot tells.

use probe_common::scheduler::{OffCpu, OffCpuReason};

/// What the threads of one service are doing now, and for how long so far. Add it to the counters of
/// the same reading for where the time went until now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ongoing {
    /// Threads that have a processor.
    pub on_cpu: OffCpu,
    /// Threads that want one.
    pub run_queue: OffCpu,
    /// Threads that wait, by [`OffCpuReason`]; nothing under [`OffCpuReason::Preempted`].
    pub off_cpu: [OffCpu; OffCpuReason::COUNT],
}
