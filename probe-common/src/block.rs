//! Requests to block devices: whose, how long, how much, which failed.

use crate::{histogram::Histogram, kernel_abi};

/// The service of what the kernel does by itself: writing back pages that programs have changed,
/// journals of file systems, and the flushes that it makes of those that programs ask for.
pub const KERNEL_SERVICE: u16 = 0;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BlockOperation {
    /// Reads.
    Read = 0,
    /// Writes, zones and zeroes included.
    Write = 1,
    /// Tells the device that blocks are free, or erases them.
    Discard = 2,
    /// Makes the device keep what it has in its cache.
    Flush = 3,
    /// Commands of drivers, and whatever else there is.
    Other = 4,
}

impl BlockOperation {
    /// All operations, in the order of their index.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Write,
        Self::Discard,
        Self::Flush,
        Self::Other,
    ];

    /// The operation that [`BlockKey::operation`] says; `None` for a byte that says none.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// The value of the `operation` label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Discard => "discard",
            Self::Flush => "flush",
            Self::Other => "other",
        }
    }
}

/// Key of the table of block statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct BlockKey {
    /// The whole disk, as the kernel keeps it: `major << 20 | minor`.
    pub device: u32,
    /// Service id of the process that sent the request, or [`KERNEL_SERVICE`].
    pub service: u16,
    /// A [`BlockOperation`].
    pub operation: u8,
    /// Zero.
    pub reserved: u8,
}
kernel_abi!(BlockKey, 8);

impl BlockKey {
    /// The device's major number.
    pub const fn major(&self) -> u32 {
        self.device >> 20
    }

    /// The device's minor number.
    pub const fn minor(&self) -> u32 {
        self.device & 0xf_ffff
    }
}

/// Requests of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BlockStats {
    /// From the request's way to the device to its end, failed requests included.
    pub latency: Histogram,
    /// Nanoseconds for which requests waited for their way to the device.
    pub queue_ns: u64,
    /// Bytes that were moved, or discarded.
    pub bytes: u64,
    /// Requests that failed.
    pub errors: u64,
}
kernel_abi!(BlockStats, 264 + 3 * 8);

impl BlockStats {
    /// Adds another CPU's or another key's counts to these.
    pub fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.queue_ns = self.queue_ns.wrapping_add(other.queue_ns);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.errors = self.errors.wrapping_add(other.errors);
    }
}

/// A request that is under way, keyed by the address of its `struct request`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct BlockRequest {
    /// When it was made; `CLOCK_MONOTONIC` nanoseconds.
    pub queued_ns: u64,
    /// When it went to the device, 0 before that.
    pub issued_ns: u64,
    /// Service id of who made it.
    pub service: u16,
    /// A [`BlockOperation`].
    pub operation: u8,
    /// Zero.
    pub reserved: u8,
    /// The disk, see [`BlockKey::device`].
    pub device: u32,
}
kernel_abi!(BlockRequest, 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_what_they_were_written_for() {
        for operation in BlockOperation::ALL {
            assert_eq!(BlockOperation::from_byte(operation as u8), Some(operation));
        }
        assert_eq!(BlockOperation::from_byte(5), None);
    }

    #[test]
    fn a_device_is_its_two_numbers() {
        let key = BlockKey {
            device: 259 << 20 | 3,
            service: 1,
            operation: 0,
            reserved: 0,
        };
        assert_eq!((key.major(), key.minor()), (259, 3));
    }
}
