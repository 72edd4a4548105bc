//! Programs that do nothing, on the hooks of `syscalls` and `scheduler`: what the hooks themselves
//! cost. Only `hostprobe bench-floor` loads them.
//!
//! Hooks: `tp_btf/sys_enter`, `tp_btf/sys_exit`, `tp_btf/sched_switch`, `tp_btf/sched_wakeup`
//! (Linux 5.5).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

/// Does nothing.
#[btf_tracepoint(function = "sys_enter")]
fn bench_empty_enter(_ctx: BtfTracePointContext) {}

/// Does nothing.
#[btf_tracepoint(function = "sys_exit")]
fn bench_empty_exit(_ctx: BtfTracePointContext) {}

/// Does nothing.
#[btf_tracepoint(function = "sched_switch")]
fn bench_empty_switch(_ctx: BtfTracePointContext) {}

/// Does nothing.
#[btf_tracepoint(function = "sched_wakeup")]
fn bench_empty_wakeup(_ctx: BtfTracePointContext) {}
