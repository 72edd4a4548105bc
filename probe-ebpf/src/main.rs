//! hostprobe's kernel side. One file per probe; each program's header says which hook it sits on,
//! since which kernel that hook exists, what it reads and what it costs.
#![no_std]
#![no_main]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "one target, 64 bits wide; checked conversions add branches that the verifier walks, and each cast here cuts a number that is masked or known to fit"
)]

mod bench;
mod block;
mod kernel_memory;
mod losses;
mod payload;
mod process;
mod scheduler;
mod seed;
mod sockets;
mod syscalls;
mod tls;
mod traced;

/// A reachable panic must be refused by the verifier: an endless loop is.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
