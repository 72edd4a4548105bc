//! What the daemon knows of browsers beside their beacons: budgets, and source maps.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Daemon;
use crate::{
    config,
    vitals::{budgets::Budgets, source_maps::SourceMaps},
};

/// Nothing until it is configured.
#[derive(Default)]
pub(super) struct Browsers {
    pub(super) budgets: Option<Arc<Budgets>>,
    pub(super) source_maps: Option<Arc<SourceMaps>>,
}

impl Daemon {
    /// Takes budgets and source maps of a configuration.
    #[must_use]
    pub fn with_browsers(mut self, settings: &config::Vitals) -> Self {
        let folder = settings.source_maps.as_deref();
        self.browsers = Browsers {
            budgets: Some(Arc::new(Budgets::new(settings, self.store.clone()))),
            source_maps: folder.map(|folder| Arc::new(SourceMaps::new(folder))),
        };
        self
    }

    /// Looks at the budgets once a minute, until `stop`.
    pub fn watch_budgets(&self, stop: &CancellationToken) {
        if let Some(budgets) = &self.browsers.budgets {
            tokio::spawn(Arc::clone(budgets).watch(stop.clone()));
        }
    }
}
