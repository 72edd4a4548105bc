//! Types that cross the boundary between the kernel programs and the daemon.
//!
//! Everything here is `#[repr(C)]`, made of integers only, with padding spelled out and the size
//! asserted, because both sides read the same bytes: the kernel programs through BPF maps, the
//! daemon through `bpf(2)` and `mmap(2)`.
#![no_std]

pub mod block;
pub mod event;
pub mod histogram;
pub mod loss;
pub mod offsets;
pub mod payload;
pub mod scheduler;
pub mod socket;
pub mod syscall;
pub mod target;
pub mod tls;

/// Pins the size of a type that crosses the boundary, so that a change of layout is a compile
/// error, and lets the daemon copy it as plain bytes.
macro_rules! kernel_abi {
    ($type:ty, $size:expr) => {
        // SAFETY: integers only, `repr(C)`; the size assertion rules out hidden padding because
        // each caller's fields add up to exactly this number.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $type {}
        const _: () = assert!(core::mem::size_of::<$type>() == $size);
    };
}
pub(crate) use kernel_abi;
