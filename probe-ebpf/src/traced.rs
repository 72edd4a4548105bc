//! Who is traced: process id to service id.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use probe_common::target::{TGIDS_PER_PAGE, TgidPage, UNTRACED};

/// Service id by process id, in pages; as many pages as the kernel's `pid_max` needs. Userspace
/// maps it and writes single entries, as the programs do.
#[map]
static TGID_SERVICE: Array<TgidPage> = Array::with_max_entries(16, BPF_F_MMAPABLE);

/// The service that a process is traced for, [`UNTRACED`] for none.
///
/// This is all that an untraced process pays for.
#[inline(always)]
pub(crate) fn service_of(tgid: u32) -> u16 {
    match entry(tgid) {
        // SAFETY: the entry lies inside a live map value; a racing 16-bit store is atomic.
        Some(entry) => unsafe { core::ptr::read_volatile(entry) },
        None => UNTRACED,
    }
}

/// Traces a process from now on, or stops with [`UNTRACED`].
#[inline(always)]
pub(crate) fn set_service(tgid: u32, service: u16) {
    if let Some(entry) = entry(tgid) {
        // SAFETY: as in `service_of`.
        unsafe { core::ptr::write_volatile(entry, service) };
    }
}

#[inline(always)]
fn entry(tgid: u32) -> Option<*mut u16> {
    let page = TGID_SERVICE.get_ptr_mut(tgid / TGIDS_PER_PAGE as u32)?;
    let index = tgid as usize % TGIDS_PER_PAGE;
    // SAFETY: the index is below the page's length; going through a raw pointer spares a bounds
    // check that the mask already made.
    Some(unsafe { (&raw mut (*page).service).cast::<u16>().add(index) })
}
