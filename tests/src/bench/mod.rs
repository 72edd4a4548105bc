//! Measuring what the probe costs.

pub mod measurer;
pub mod syscalls;
