//! Beacons: any bytes are taken or refused, whatever is taken is within its bounds, and counting it
//! makes few series.
//!
//! `cargo +nightly fuzz run beacon NEW fuzz/corpus/beacon -- -max_len=8192`, where NEW is an empty
//! directory: it takes what is found, so that the committed corpus stays small.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe_user::{
    config,
    store::Store,
    vitals::{Beacon, Context, Endpoint, Refusal, Vitals, clean, parse::MAX_MEMBERS},
};

/// As long as it may be in the default configuration.
const MAX_PAGES: usize = 5;

fuzz_target!(|data: &[u8]| {
    let settings = config::Vitals {
        max_pages: MAX_PAGES as u32,
        ..config::Vitals::default()
    };
    let Ok(vitals) = Vitals::new(&settings, Store::off()) else {
        unreachable!("no page is configured");
    };
    for endpoint in Endpoint::ALL {
        match Beacon::parse(data, endpoint, &Context::default()) {
            Ok(beacons) => {
                assert!(beacons.len() <= MAX_MEMBERS);
                beacons.iter().for_each(check);
                vitals.accept(endpoint, &beacons);
            }
            Err(refusal) => {
                assert!(Refusal::REASONS.contains(&refusal.reason()));
                assert!(refusal.to_string().len() < 600, "{refusal}");
                assert!((400..=429).contains(&refusal.status()));
                vitals.refuse(&refusal);
            }
        }
    }
    let numbers = vitals.numbers();
    assert!(numbers.pages.len() <= MAX_PAGES + 2);
    let counted: u64 = numbers.refused.iter().map(|(_, count)| count).sum();
    let accepted: u64 = numbers.accepted.values().sum();
    assert_eq!(counted + accepted, Endpoint::ALL.len() as u64);
});

fn check(beacon: &Beacon) {
    for vital in &beacon.vitals {
        assert!(vital.value >= 0.0 && vital.value <= vital.name.most());
        assert!(vital.id.len() <= 64);
    }
    assert!(beacon.sample_rate > 0.0 && beacon.sample_rate <= 1.0);
    if let Some(page) = &beacon.page {
        assert!(page.starts_with('/') && page.len() <= clean::PAGE_BYTES, "{page}");
        assert!(!page.contains(['?', '#']), "{page}");
    }
    for error in &beacon.errors {
        assert!(error.message.len() <= 1024 && error.count >= 1);
        assert!(error.stack.as_ref().is_none_or(|stack| stack.len() <= 8192));
    }
}
