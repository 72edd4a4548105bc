//! Section `[vitals]`.

use super::Findings;
use crate::config::{Config, Vitals};

/// Pages that can be configured, and pages that can be learned: each is a label of a dozen
/// histograms.
const MAX_PAGES: u32 = 1_000;

impl Findings {
    pub(super) fn vitals(&mut self, vitals: &Vitals, config: &Config) {
        // Port 0 is another one each time.
        if vitals.listen == Some(config.listen) && config.listen.port() != 0 {
            self.refuse("vitals.listen");
        }
        if !(0.0..=1.0).contains(&vitals.sample_rate) {
            self.refuse("vitals.sample_rate");
        }
        self.range("vitals.slow_ms", vitals.slow_ms, 0..=600_000);
        self.range("vitals.max_body", vitals.max_body, 1024..=65_536);
        for (key, rate) in [
            ("vitals.client_rate", vitals.client_rate),
            ("vitals.client_burst", vitals.client_burst),
            ("vitals.rate", vitals.rate),
            ("vitals.burst", vitals.burst),
            ("vitals.max_clients", vitals.max_clients),
        ] {
            self.range(key, rate, 1..=1_000_000);
        }
        self.range("vitals.max_pages", vitals.max_pages, 0..=MAX_PAGES);
        if vitals.pages.len() > MAX_PAGES as usize {
            self.refuse("vitals.pages");
        }
        self.routes("vitals.pages", &vitals.pages);
    }
}
