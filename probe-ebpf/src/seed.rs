//! Finds the TCP connections that traced processes had open before they were traced, so that
//! the count of open connections is right from the first scrape.
//!
//! Hook: `iter/task_file` (Linux 5.8), run by the daemon each time it has marked new processes.
//! Optional: without it, such a connection becomes known when it is next used.

use aya_ebpf::cty::c_void;
use probe_common::target::UNTRACED;

use crate::{
    kernel_memory::{load, offset},
    sockets, traced,
};

/// `struct bpf_iter__task_file` in `kernel/bpf/task_iter.c`: pointers in 8-byte slots.
const CTX_TASK: usize = 8;
const CTX_FILE: usize = 24;

/// Called once for each open file of each process.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
fn seed_sockets(ctx: *mut c_void) -> i32 {
    let ctx = ctx.cast_const().cast::<u8>();
    // SAFETY: the context's layout is the kernel's; null marks the end of the walk.
    let (task, file) = unsafe {
        (
            load::<*const u8>(ctx, CTX_TASK),
            load::<*const u8>(ctx, CTX_FILE),
        )
    };
    if task.is_null() || file.is_null() {
        return 0;
    }
    // SAFETY: both are typed by the iterator.
    let (tgid, private_data) = unsafe {
        (
            load::<u32>(task, offset!(task_tgid)),
            load::<*const u8>(file, offset!(file_private_data)),
        )
    };
    let service = traced::service_of(tgid);
    if service != UNTRACED {
        sockets::adopt_file(private_data, file, service);
    }
    0
}
