//! What the daemon keeps of its rights once everything is loaded.
//!
//! Capabilities belong to threads, and new threads inherit them: each thread that keeps some calls
//! its function here before it does anything else.

use caps::{CapSet, Capability, CapsHashSet};
use tracing::{info, warn};

use crate::kernel::environment::CAPABILITIES;

/// Keeps what reading tables and `/proc` needs, on this thread and those that it will make.
pub fn keep_only_what_tracing_needs() {
    keep(
        CAPABILITIES
            .iter()
            .map(|(capability, _)| *capability)
            .collect(),
    );
    info!(
        "gave up all rights but {}",
        CAPABILITIES
            .map(|(capability, _)| capability.to_string())
            .join(", ")
    );
}

/// Keeps what switching the kernel's BPF statistics on needs (`BPF_ENABLE_STATS`).
pub fn keep_only_what_measuring_needs() {
    keep([Capability::CAP_SYS_ADMIN].into_iter().collect());
}

/// Keeps what attaching to libraries of other processes needs.
pub fn keep_only_what_attaching_needs() {
    let tracing = CAPABILITIES.iter().map(|(capability, _)| *capability);
    keep(tracing.chain([Capability::CAP_SYS_ADMIN]).collect());
}

fn keep(wanted: CapsHashSet) {
    let held = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let kept: CapsHashSet = held.intersection(&wanted).copied().collect();
    // The bounding set first: lowering it needs CAP_SETPCAP, which goes with the rest.
    for capability in caps::all().difference(&wanted) {
        // Without CAP_SETPCAP, or for a capability that this kernel does not know.
        let _ = caps::drop(None, CapSet::Bounding, *capability);
    }
    let none = CapsHashSet::new();
    for (set, values) in [
        (CapSet::Inheritable, &none),
        (CapSet::Effective, &kept),
        (CapSet::Permitted, &kept),
    ] {
        if let Err(error) = caps::set(None, set, values) {
            warn!("cannot give up rights ({set:?}): {error}");
        }
    }
}
