//! Section `[vitals]`.

use super::Findings;
use crate::{
    config::{Budget, Config, Vitals},
    vitals::budgets::Files,
};

/// Pages that can be configured, and pages that can be learned: each is a label of a dozen
/// histograms.
const MAX_PAGES: u32 = 1_000;

/// Budgets, and files with more.
const MAX_BUDGETS: usize = 100;
const MAX_BUDGET_FILES: usize = 20;
/// The largest number of bytes or files.
const MAX_SIZE: u64 = 1_000_000_000_000;

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
        let folder = vitals.source_maps.as_ref();
        if !folder.is_none_or(|folder| folder.is_absolute()) {
            self.refuse("vitals.source_maps");
        }
        self.range("vitals.budget_window_h", vitals.budget_window_h, 1..=720);
        let files = &vitals.budget_files;
        if files.len() > MAX_BUDGET_FILES || !files.iter().all(|file| file.is_absolute()) {
            self.refuse("vitals.budget_files");
        }
        if vitals.budgets.len() > MAX_BUDGETS {
            self.add(
                "vitals.budget",
                format!("at most {MAX_BUDGETS} budgets can be watched"),
            );
        }
        for (index, budget) in vitals.budgets.iter().enumerate() {
            self.budget(&format!("vitals.budget[{index}]"), budget);
        }
    }

    fn budget(&mut self, at: &str, budget: &Budget) {
        for (key, ms) in [
            ("lcp_ms", budget.lcp_ms),
            ("inp_ms", budget.inp_ms),
            ("fcp_ms", budget.fcp_ms),
            ("ttfb_ms", budget.ttfb_ms),
        ] {
            self.range(&format!("{at}.{key}"), ms.unwrap_or(1), 1..=60_000);
        }
        if !budget.cls.is_none_or(|cls| cls > 0.0 && cls <= 10.0) {
            self.refuse(&format!("{at}.cls"));
        }
        let samples = budget.min_samples.unwrap_or(1);
        self.range(&format!("{at}.min_samples"), samples, 1..=1_000_000);
        for (key, sizes) in [("requests", budget.requests), ("bytes", budget.bytes)] {
            for (name, size) in sizes.set() {
                self.size(&format!("{at}.{key}.{name}"), Some(size));
            }
        }
        for (index, file) in budget.files.iter().enumerate() {
            let at = format!("{at}.files[{index}]");
            if let Err(error) = Files::new(&file.glob) {
                let allowed = crate::config::keys::find("vitals.budget.files.glob");
                let allowed = allowed.map_or("", |key| key.allowed);
                self.add(&format!("{at}.glob"), format!("{error}; {allowed}"));
            }
            for (key, size) in [
                ("raw", file.raw),
                ("gzip", file.gzip),
                ("brotli", file.brotli),
            ] {
                self.size(&format!("{at}.{key}"), size);
            }
            if file.raw.or(file.gzip).or(file.brotli).is_none() {
                self.add(
                    &at,
                    "it limits nothing; give one or more of raw, gzip, brotli",
                );
            }
        }
        let nothing = Budget {
            page: budget.page.clone(),
            min_samples: budget.min_samples,
            ..Budget::default()
        };
        if *budget == nothing {
            self.add(
                at,
                "it limits nothing; give one or more of lcp_ms, inp_ms, cls, fcp_ms, ttfb_ms, \
                 requests, bytes, files",
            );
        }
    }

    fn size(&mut self, key: &str, size: Option<u64>) {
        if size.is_some_and(|size| size > MAX_SIZE) {
            self.refuse(key);
        }
    }
}
