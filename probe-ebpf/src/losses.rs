//! Counters of what could not be counted.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use probe_common::loss::Loss;

/// Losses by cause.
#[map]
static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(Loss::COUNT as u32, 0);

/// Counts one loss.
#[inline(always)]
pub(crate) fn count(loss: Loss) {
    count_many(loss, 1);
}

/// Counts several losses of one cause.
#[inline(always)]
pub(crate) fn count_many(loss: Loss, n: u64) {
    if let Some(counter) = LOSSES.get_ptr_mut(loss as u32) {
        // SAFETY: the slot belongs to this CPU, and programs are not preempted by themselves.
        unsafe { *counter = (*counter).wrapping_add(n) };
    }
}
