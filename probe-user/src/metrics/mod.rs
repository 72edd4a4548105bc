//! Names, models and formats of everything that the probe exports.
//!
//! [`catalogue`] is the one table of metrics; [`collect`] turns what the kernel and the targets
//! counted into [`families`]; [`exposition`] writes them for Prometheus; [`docs`] makes
//! `docs/METRICS.md` from the same table.

pub mod catalogue;
pub mod collect;
pub mod docs;
pub mod exposition;
pub mod families;
#[cfg(test)]
pub(crate) mod fixture;
pub mod metric;
pub mod names;
pub mod own_process;
pub mod service;

pub use collect::{Build, Inputs, collect};
pub use families::Families;
pub use own_process::OwnProcess;
pub use service::{ExitCount, ServiceView, UNKNOWN_SERVICE};
