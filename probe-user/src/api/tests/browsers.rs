//! What browsers said, as the endpoints show it.

use super::*;
use crate::{
    store::{BrowserError, Record, Store, WebVital, now_ms},
    vitals::budgets::Budgets,
};

/// Nothing is stored; what is in memory is two values and an error.
pub(super) fn store() -> Store {
    let store = Store::off();
    for (id, value_micro, rating) in [("a", 1_000_000, "good"), ("b", 5_000_000, "poor")] {
        store.keep(Record::WebVital(Box::new(WebVital {
            id: id.into(),
            at_ms: now_ms(),
            host: "h".into(),
            app: "shop".into(),
            release: "1.0".into(),
            page: "/cart".into(),
            device: "mobile".into(),
            connection: "4g".into(),
            navigation: "navigate".into(),
            name: "LCP".into(),
            value_micro,
            rating: rating.into(),
            target: None,
            url: None,
            load_state: None,
            sample_rate: 0.5,
        })));
    }
    store.keep(Record::BrowserErrors(vec![BrowserError {
        id: BrowserError::new_id(now_ms()),
        fingerprint: 0xf00d,
        at_ms: now_ms(),
        host: "h".into(),
        app: "shop".into(),
        release: "1.0".into(),
        page: "/cart".into(),
        kind: "error".into(),
        type_: "TypeError".into(),
        message: "x is null".into(),
        stack: Some("TypeError: x is null\n    at f (https://a.example/x.js:1:2)".into()),
        source: None,
        line: None,
        column: None,
        count: 3,
    }]));
    store
}

/// One budget that is broken, and one of which nothing is known.
pub(super) fn budgets() -> Arc<Budgets> {
    let settings = crate::config::Vitals {
        budgets: vec![crate::config::Budget {
            lcp_ms: Some(2_500),
            inp_ms: Some(200),
            min_samples: Some(1),
            ..crate::config::Budget::default()
        }],
        ..crate::config::Vitals::default()
    };
    Arc::new(Budgets::new(&settings, store()))
}

#[tokio::test]
async fn vitals_have_quantiles_and_parts_of_page_loads() {
    let answer = get_json("/api/vitals?by=page&name=LCP").await;
    assert_eq!(
        (&answer["source"], answer["by"][0].as_str()),
        (&"memory".into(), Some("page"))
    );
    let vital = &answer["vitals"][0];
    let numbers = ["p50", "p75", "page_loads", "good", "poor"].map(|name| vital[name].as_f64());
    assert_eq!(numbers, [1_000.0, 5_000.0, 4.0, 0.5, 0.5].map(Some));
    assert_eq!(vital["rating"], "poor");
    assert_eq!(
        (&vital["page"], &vital["device"]),
        (&"/cart".into(), &Value::Null)
    );
    let today = &get_json("/api/vitals").await["vitals"][0]["day"];
    assert_eq!(today.as_str().unwrap().len(), "2026-01-31".len());
    let none = get_json("/api/vitals?page=/pay").await;
    assert_eq!(none["vitals"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn errors_have_their_frames() {
    let answer = get_json("/api/browser/errors?fingerprint=000000000000f00d").await;
    let error = &answer["errors"][0];
    assert_eq!(
        (&error["type"], error["count"].as_u64()),
        (&"TypeError".into(), Some(3))
    );
    let frame = &error["sample"]["frames"][0];
    assert_eq!(
        (&frame["function"], frame["line"].as_u64()),
        (&"f".into(), Some(1))
    );
    assert_eq!(frame["original"], Value::Null);
}

#[tokio::test]
async fn budgets_are_judged_when_they_are_asked_for() {
    let answer = get_json("/api/budgets").await;
    assert_eq!(
        (answer["broken"].as_u64(), answer["unknown"].as_u64()),
        (Some(1), Some(1))
    );
    let worst = &answer["budgets"][0];
    assert_eq!(
        (&worst["budget"], &worst["state"]),
        (&"lcp".into(), &"broken".into())
    );
    assert_eq!(
        (worst["actual"].as_f64(), worst["ratio"].as_f64()),
        (Some(5_000.0), Some(2.0))
    );
}
