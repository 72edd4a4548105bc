//! A service as the exposition and the API see it.

use crate::targets::Exit;

/// The service that numbers go to when their service's id is not known any more, so that no count
/// is lost.
pub const UNKNOWN_SERVICE: &str = "unknown";

/// One service: a set of processes that an operator would name as one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceView {
    /// The id that the kernel side counts it under.
    pub id: u16,
    /// The name that a person would choose, such as `postgresql` or `shop`.
    pub name: String,
    /// What it is, such as `postgres`, `http` or `process`.
    pub kind: String,
    /// How it was found, such as `config` or `port 8000`.
    pub found_by: String,
    /// Processes alive now.
    pub processes: u64,
    /// Processes that started while the probe watched.
    pub starts: u64,
    /// Times that the service came back after its last process had ended.
    pub restarts: u64,
    /// Processes that ended while the probe watched, by outcome.
    pub exits: Vec<ExitCount>,
    /// TCP ports that it listens on.
    pub ports: Vec<u16>,
}

/// How many processes ended in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCount {
    /// In which way.
    pub outcome: Exit,
    /// How many.
    pub count: u64,
}
