//! Section `[api]`: who may write to the daemon from other hosts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Section `[api]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Files with one token a line, by their absolute paths. Who writes from another host needs one
    /// of the tokens, as in `Authorization: Bearer TOKEN`.
    pub token_files: Vec<PathBuf>,
}
