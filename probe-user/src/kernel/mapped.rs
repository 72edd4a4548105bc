//! Tables that are mapped into this process: one store changes one entry, with no system call and no
//! race against the kernel side, which stores into the same entries.

use std::{
    io,
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU16, AtomicU64, Ordering},
};

use aya::{Ebpf, maps::Map};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use probe_common::target::TGIDS_PER_PAGE;
use tracing::error;

use super::tables::{TableError, take};
use crate::targets::TraceTable;

/// What a mapped table can be made of.
///
/// # Safety
/// Any bytes are a value, and shared memory may be accessed through it.
pub unsafe trait Entry {}
// SAFETY: an integer that is accessed atomically.
unsafe impl Entry for AtomicU16 {}
// SAFETY: as above.
unsafe impl Entry for AtomicU64 {}

/// A mapped BPF array whose values are made of such entries.
pub struct Mapped<T: Entry = AtomicU16> {
    entries: NonNull<T>,
    len: usize,
    bytes: NonZeroUsize,
}

// SAFETY: the mapping lives as long as the value and is only accessed through atomics.
unsafe impl<T: Entry> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: Entry> Sync for Mapped<T> {}

impl<T: Entry> Mapped<T> {
    /// Maps the table `name` of a loaded object, whose values have `entries_per_value` entries.
    ///
    /// # Errors
    /// The object lacks it or the kernel refuses.
    pub fn take(
        ebpf: &mut Ebpf,
        name: &'static str,
        entries_per_value: usize,
    ) -> Result<Self, TableError> {
        let Map::Array(data) = take(ebpf, name)? else {
            return Err(TableError::Absent(name));
        };
        let info = data.info().map_err(|source| TableError::Read {
            table: name,
            source,
        })?;
        let len = info.max_entries() as usize * entries_per_value;
        let bytes = NonZeroUsize::new(len * size_of::<T>()).ok_or(TableError::Absent(name))?;
        // SAFETY: a new shared mapping at an address of the kernel's choice, of exactly the
        // table's length; the mapping keeps the table alive without the descriptor.
        let entries = unsafe {
            mmap(
                None,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                data.fd().as_fd(),
                0,
            )
        }
        .map_err(|source| TableError::Map {
            table: name,
            source: io::Error::from(source),
        })?;
        Ok(Self {
            entries: entries.cast(),
            len,
            bytes,
        })
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry at `index`, or `None` past the end.
    pub fn entry(&self, index: usize) -> Option<&T> {
        // SAFETY: the index is inside the mapping, which lives as long as `self`.
        (index < self.len).then(|| unsafe { self.entries.add(index).as_ref() })
    }
}

impl<T: Entry> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `take` with this length, and no reference outlives us.
        if let Err(error) = unsafe { munmap(self.entries.cast(), self.bytes.get()) } {
            error!("cannot unmap a kernel table: {error}");
        }
    }
}

/// The table of traced processes.
pub struct TgidTable(Mapped);

impl TgidTable {
    /// Maps the table of a loaded object.
    ///
    /// # Errors
    /// The object lacks it or the kernel refuses.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, TableError> {
        Mapped::take(ebpf, "TGID_SERVICE", TGIDS_PER_PAGE).map(Self)
    }
}

impl TraceTable for TgidTable {
    fn set(&self, tgid: u32, service: u16) {
        match self.0.entry(tgid as usize) {
            Some(entry) => entry.store(service, Ordering::Relaxed),
            None => error!(
                tgid,
                "kernel.pid_max was raised after the probe started; restart it to trace this process"
            ),
        }
    }

    fn get(&self, tgid: u32) -> u16 {
        self.0
            .entry(tgid as usize)
            .map_or(0, |entry| entry.load(Ordering::Relaxed))
    }
}
