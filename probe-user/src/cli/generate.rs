//! Files of the repository that are made from the program's own tables.

use clap::ValueEnum;

use crate::metrics;

/// A generated file.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum What {
    /// `docs/METRICS.md`.
    Metrics,
}

/// Makes the file's text.
pub(super) fn generate(what: What) -> String {
    match what {
        What::Metrics => metrics::docs::markdown(),
    }
}
