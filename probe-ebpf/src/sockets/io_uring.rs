//! Requests that are handed to an io_uring: how many, for what they move is not seen by the hooks on
//! syscalls.
//!
//! Hooks: `tp_btf/io_uring_submit_req` (Linux 6.2), `tp_btf/io_uring_submit_sqe` (its name from 5.1
//! to 6.1): the daemon takes the one that exists. What a kernel thread takes from the ring by itself
//! (`IORING_SETUP_SQPOLL`) is that thread's, and is not counted.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use probe_common::target::UNTRACED;

use super::table::stats;
use crate::traced;

#[btf_tracepoint(function = "io_uring_submit_req")]
fn io_uring_submit_req(_: BtfTracePointContext) {
    let service = traced::service_of((bpf_get_current_pid_tgid() >> 32) as u32);
    if service != UNTRACED
        && let Some(stats) = stats(service)
    {
        stats.io_uring_requests = stats.io_uring_requests.wrapping_add(1);
    }
}
