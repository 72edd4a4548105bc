//! Section `[queries]`: what is remembered of statements over time.

use serde::{Deserialize, Serialize};

/// Section `[queries]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queries {
    /// Seconds of one window. What statements did is summed up window by window, in memory for two
    /// hours and in the store.
    pub window_s: u32,
}

impl Default for Queries {
    fn default() -> Self {
        Self { window_s: 60 }
    }
}
