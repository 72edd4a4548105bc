//! Routes: any paths, one a line, are answered with few labels and no query.
//!
//! Lines that begin with `!` failed, with 404; lines that begin with `=` are templates.
//!
//! `cargo +nightly fuzz run routes NEW fuzz/corpus/routes -- -max_len=4096`, where NEW is an empty
//! directory: it takes what is found, so that the committed corpus stays small.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use probe_user::routes::{Limits, OTHER, Router, UNMATCHED};

fuzz_target!(|data: &str| {
    let limits = Limits {
        routes: 12,
        routes_ever: 40,
        children: 3,
        ..Limits::default()
    };
    let templates: Vec<&str> = data
        .lines()
        .filter_map(|line| line.strip_prefix('='))
        .collect();
    let mut router = match Router::new(&templates, limits) {
        Ok(router) => router,
        Err(error) => {
            let _ = error.to_string();
            return;
        }
    };
    let mut labels = BTreeSet::new();
    for line in data.lines().filter(|line| !line.starts_with('=')) {
        let (path, status) = match line.strip_prefix('!') {
            Some(path) => (path, 404),
            None => (line, 200),
        };
        let route = router.route("GET", Some(path), Some(status));
        let template = templates.iter().any(|template| template.ends_with(&*route));
        if !template {
            assert!(!route.contains(['?', '#']), "{route}");
            assert!(
                route.starts_with('/') || [OTHER, UNMATCHED].contains(&&*route),
                "{route}"
            );
            labels.insert(route);
        }
        assert!(router.learned() <= limits.routes);
        assert!(router.nodes() <= 1 + limits.routes * (limits.segments + 1));
    }
    assert!(
        labels.len() <= limits.routes_ever + limits.routes + 2,
        "{} labels",
        labels.len()
    );
    let retired = router.take_retired();
    assert!(retired.len() <= limits.routes_ever + limits.routes);
});
