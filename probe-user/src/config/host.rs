//! Section `[host]`: resources of the host and of the services' processes.

use serde::{Deserialize, Serialize};

use super::Pattern;

/// What is read of `/proc` and `/sys`, and how often what is expensive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    /// Whether anything is read.
    pub enabled: bool,
    /// Whether each CPU has series of its own.
    pub per_cpu: bool,
    /// Seconds from one reading of a process' proportional memory to the next; 0: never.
    pub pss_interval_s: u32,
    /// Seconds from one look at the TCP sockets to the next; 0: never.
    pub sockets_interval_s: u32,
    /// Never file systems that are mounted where one of these matches.
    pub mountpoint_exclude: Vec<Pattern>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            enabled: true,
            per_cpu: false,
            pss_interval_s: 60,
            sockets_interval_s: 15,
            mountpoint_exclude: Vec::new(),
        }
    }
}
