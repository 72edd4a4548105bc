//! Which processes belong to which service, and their life.
//!
//! [`Tracker`] puts it together: it looks at the host's processes, asks the configured [`rules`]
//! and the [`discovery`] to which service each belongs, and tells the kernel side through a
//! [`TraceTable`]. What it decides by is in modules without input or output of their own
//! ([`cgroup`], [`programs`], [`names`], [`known`]); what it reads comes from [`process`],
//! [`listeners`] and [`libraries`].

pub mod cgroup;
pub mod discovery;
pub mod known;
pub mod libraries;
pub mod listeners;
pub mod names;
pub mod process;
pub mod processes;
pub mod programs;
pub mod rules;
pub mod services;
mod summary;
pub mod tracker;

pub use services::{Exit, Kind, Service};
pub use tracker::Tracker;

/// The table through which the kernel side is told whom to trace. Implemented by the loaded
/// object; an in-memory one serves the tests.
pub trait TraceTable: Send + Sync {
    /// Traces `tgid` for `service` from now on; 0 stops tracing it.
    fn set(&self, tgid: u32, service: u16);
    /// The service that `tgid` is traced for, 0 for none.
    fn get(&self, tgid: u32) -> u16;
}
