//! Two programs that do nothing, on the hooks of `syscalls`: what the hooks themselves cost. Only
//! `hostprobe bench-floor` loads them.
//!
//! Hooks: `tp_btf/sys_enter`, `tp_btf/sys_exit` (Linux 5.5).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

/// Does nothing.
#[btf_tracepoint(function = "sys_enter")]
fn bench_empty_enter(_ctx: BtfTracePointContext) {}

/// Does nothing.
#[btf_tracepoint(function = "sys_exit")]
fn bench_empty_exit(_ctx: BtfTracePointContext) {}
