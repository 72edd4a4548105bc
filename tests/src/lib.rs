//! End-to-end tests: the real `hostprobe` binary against real programs, servers and kernels.
//!
//! - [`workload`]: programs that know exactly which calls they made, and say so;
//! - [`checks`]: what must be true on every kernel, with nothing but the probe and a workload;
//! - the rest is the harness: starting, stopping and reading what the checks compare.
//!
//! `tests/*.rs` run the checks on this host and compare with second sources (strace, Postgres,
//! uvicorn, Prometheus); `guest` runs the checks alone, as one static binary, inside a VM.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "test code: it may stop at the first surprise, and its output is its result"
)]

pub mod beacons;
pub mod bench;
pub mod catalogue;
pub mod checks;
pub mod control_group;
pub mod drivers;
pub mod exporters;
pub mod exposition;
pub mod http;
pub mod pgbouncer;
pub mod postgres;
pub mod probe;
pub mod process;
pub mod prometheus;
pub mod servers;
pub mod site;
pub mod store;
pub mod strace;
pub mod terminal;
pub mod tls;
pub mod waiting;
pub mod web;
pub mod workload;
