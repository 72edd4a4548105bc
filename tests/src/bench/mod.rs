//! What the probe costs, measured in paired and interleaved rounds.

pub mod decode;
pub mod documents;
pub mod gateway;
pub mod host;
pub mod measurer;
pub mod overhead;
pub mod rounds;
pub mod syscalls;
