//! What people and strangers post.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::vitals::beacon::Rating;

fn metrics(body: &str) -> Result<Vec<Beacon>, Refusal> {
    Beacon::parse(body.as_bytes(), Endpoint::Metrics, &Context::default())
}

fn one(body: &str) -> Beacon {
    let mut beacons = metrics(body).unwrap();
    assert_eq!(beacons.len(), 1);
    beacons.remove(0)
}

fn refused(body: &str) -> (&'static str, String) {
    let refusal = metrics(body).unwrap_err();
    (refusal.reason(), refusal.to_string())
}

/// As `vitals.js` sends it, every member.
pub(crate) fn whole_batch() -> serde_json::Value {
    json!({
        "v": 1, "session": "0123456789abcdef", "view": "fedcba9876543210",
        "page": "/orders/17?token=secret#top", "app": "shop", "release": "1.4.2",
        "device": "mobile", "connection": "4g", "navigation": "back-forward-cache",
        "sequence": 0, "sample_rate": 0.5, "started": true,
        "vitals": [
            {"name": "LCP", "value": 1234.5, "id": "v6-1-2", "rating": "good", "target": "#hero>img",
             "url": "https://cdn.example/hero.avif?sig=secret", "load_state": "complete", "final": true},
            {"name": "CLS", "value": 0.3, "id": "v6-1-3", "rating": "poor"}],
        "errors": [{"kind": "unhandledrejection", "type": "TypeError", "message": "x is undefined",
            "stack": "TypeError: x\n    at f (https://shop.example/app.js?v=secret:10:5)",
            "source": "https://shop.example/app.js?v=secret", "line": 10, "column": 5, "count": 3}],
        "calls": [{"method": "get", "page_origin": true, "path": "/api/x?secret", "status": 500,
            "duration_ms": 1234.5, "count": 1, "reason": "status"}],
        "resources": [{"type": "script", "count": 4, "bytes": 12345, "opaque": 1, "duration_ms": 87.2}],
        "long_frames": {"count": 3, "blocking_ms": 120.4, "longest_ms": 80},
        "actions": [{"name": "buy", "kind": "click", "count": 2}]
    })
}

#[test]
fn a_batch_is_read_as_it_was_sent_and_without_what_was_in_queries() {
    let beacon = one(&whole_batch().to_string());
    assert_eq!(beacon.page.as_deref(), Some("/orders/17"));
    assert_eq!(
        (beacon.device, beacon.connection, beacon.navigation),
        (
            Device::Mobile,
            Connection::FourG,
            Navigation::BackForwardCache
        )
    );
    assert!(beacon.started && beacon.sample_rate == 0.5);
    assert_eq!(beacon.vitals[0].name, VitalName::Lcp);
    assert_eq!(beacon.vitals[0].value, 1234.5);
    assert_eq!(beacon.vitals[0].target.as_deref(), Some("#hero>img"));
    assert_eq!(beacon.errors[0].count, 3);
    assert_eq!(
        (beacon.errors[0].line, beacon.errors[0].column),
        (Some(10), Some(5))
    );
    assert_eq!(
        (beacon.calls[0].method, beacon.calls[0].status),
        ("GET", 500)
    );
    assert_eq!(beacon.resources[0].bytes, 12345);
    assert_eq!(
        beacon.long_frames,
        LongFrames {
            count: 3,
            blocking_ms: 120
        }
    );
    assert_eq!(beacon.actions[0].count, 2);
    assert!(!format!("{beacon:?}").contains("secret"), "{beacon:?}");
    assert!(format!("{beacon:?}").contains("app.js:10:5"), "{beacon:?}");
}

/// `onLCP(metric => fetch('/api/metrics', {method: 'POST', body: JSON.stringify(metric)}))`
#[test]
fn the_library_s_own_objects_are_read_in_all_their_versions() {
    let six = json!({
        "name": "INP", "value": 216, "rating": "needs-improvement", "delta": 216,
        "id": "v6-1790000000000-1234567890123", "navigationType": "navigate",
        "navigationURL": "https://shop.example/cart?x=1",
        "entries": [{"name": "pointerdown", "entryType": "event", "target": {}}],
        "attribution": {"interactionTarget": "button#buy", "loadState": "complete",
            "longAnimationFrameEntries": [{"scripts": [{"invoker": "x"}]}]}
    });
    let beacon = one(&six.to_string());
    assert_eq!(beacon.page.as_deref(), Some("/cart"));
    assert_eq!(beacon.vitals[0].target.as_deref(), Some("button#buy"));
    assert_eq!(beacon.vitals[0].load_state.as_deref(), Some("complete"));
    assert_eq!(
        VitalName::Inp.rate(beacon.vitals[0].value),
        Rating::NeedsImprovement
    );
    let old = r#"{"name":"FID","value":12.3,"delta":12.3,"id":"v2-1","entries":[],
        "navigationType":"back_forward","page":"/a"}"#;
    let beacon = one(old);
    assert_eq!(beacon.vitals[0].name, VitalName::Fid);
    assert_eq!(beacon.navigation, Navigation::BackForward);
    let future = r#"{"name":"LCP","value":1,"id":"v9-1","navigationType":"teleport"}"#;
    assert_eq!(one(future).navigation, Navigation::Unknown);
    let context = Context {
        page: Some("/from/referer".into()),
        device: Some(Device::Tablet),
    };
    let array =
        r#" [{"name":"LCP","value":1,"id":"a"},{"name":"CLS","value":0,"id":"b","page":"/x"}]"#;
    let beacons = Beacon::parse(array.as_bytes(), Endpoint::Metrics, &context).unwrap();
    let pages: Vec<_> = beacons
        .iter()
        .map(|beacon| beacon.page.as_deref())
        .collect();
    assert_eq!(pages, [Some("/from/referer"), Some("/x")]);
    assert!(beacons.iter().all(|beacon| beacon.device == Device::Tablet));
}

#[test]
fn errors_and_actions_may_come_alone() {
    let parse = |endpoint, body: &str| {
        Beacon::parse(body.as_bytes(), endpoint, &Context::default()).map(|mut all| all.remove(0))
    };
    let errors = parse(Endpoint::Errors, r#"[{"message":"x"},{"type":"E"}]"#).unwrap();
    assert_eq!(errors.errors.len(), 2);
    let errors = parse(
        Endpoint::Errors,
        r#"{"page":"/a","errors":[{"message":"x"}]}"#,
    )
    .unwrap();
    assert_eq!(errors.page.as_deref(), Some("/a"));
    let actions = parse(Endpoint::Actions, r#"[{"name":"buy"}]"#).unwrap();
    assert_eq!(
        (actions.actions[0].kind, actions.actions[0].count),
        (ActionKind::Click, 1)
    );
    let empty = parse(Endpoint::Actions, "[]").unwrap_err();
    assert_eq!(empty, Refusal::Empty);
}

#[test]
fn a_mistake_is_named_with_its_place_and_what_is_allowed() {
    for (body, reason, parts) in [
        (
            r#"{"name":"LCP","value":null,"id":"a"}"#,
            "invalid",
            &["`value`", "no number"][..],
        ),
        (
            r#"{"name":"LCP","value":-1}"#,
            "invalid",
            &["`value`", "-1", "from 0"],
        ),
        (
            r#"{"name":"LCP","value":"3"}"#,
            "invalid",
            &["`value`", "string"],
        ),
        (
            r#"{"name":"TTI","value":3}"#,
            "invalid",
            &["`name`", "TTI", "LCP, INP"],
        ),
        (
            r#"{"name":"LCP","value":NaN}"#,
            "malformed",
            &["no JSON", "column"],
        ),
        (
            r#"{"name":"LCP","value":1e999}"#,
            "malformed",
            &["out of range"],
        ),
        (
            r#"{"name":"LCP","value":1,"id":"a b"}"#,
            "invalid",
            &["`id`"],
        ),
        (
            r#"{"name":"LCP","value":1,"rating":"great"}"#,
            "invalid",
            &["`rating`", "good"],
        ),
        (
            r#"[{"name":"LCP","value":1},{"name":"X","value":1}]"#,
            "invalid",
            &["`[1].name`"],
        ),
        (r#"{"v":2,"vitals":[]}"#, "invalid", &["`v`", "version 1"]),
        (
            r#"{"vitals":[{"name":"LCP"}]}"#,
            "invalid",
            &["`vitals[0].value`"],
        ),
        (
            r#"{"vitals":[{"name":"LCP","value":[]}]}"#,
            "invalid",
            &["`vitals[0].value`"],
        ),
        (r#"{"vitals":7}"#, "invalid", &["`vitals`", "list"]),
        (
            r#"{"device":"watch"}"#,
            "invalid",
            &["`device`", "mobile, tablet"],
        ),
        (
            r#"{"sample_rate":0,"started":true}"#,
            "invalid",
            &["`sample_rate`", "above 0"],
        ),
        (r#"{"errors":[{}]}"#, "invalid", &["`errors[0].message`"]),
        (
            r#"{"calls":[{"reason":"bored"}]}"#,
            "invalid",
            &["`calls[0].reason`", "status, network"],
        ),
        (
            r#"{"actions":[{"name":" "}]}"#,
            "invalid",
            &["`actions[0].name`"],
        ),
        (
            r#"{"resources":[{"type":"css","bytes":-4}]}"#,
            "invalid",
            &["`resources[0].bytes`"],
        ),
        ("{}", "empty", &["web-vitals"]),
        ("[]", "empty", &[]),
        ("", "malformed", &[]),
        ("{} x", "malformed", &["trailing"]),
        ("\"LCP\"", "invalid", &[]),
        ("\u{feff}{}", "malformed", &[]),
    ] {
        let (actual, text) = refused(body);
        assert_eq!(actual, reason, "{body}: {text}");
        for part in parts {
            assert!(text.contains(part), "{body}: {text}");
        }
    }
}

#[test]
fn what_is_deep_or_long_is_refused_and_what_is_large_is_cut() {
    for opening in ["[", "{\"a\":"] {
        let deep = opening.repeat(20_000);
        assert_eq!(refused(&deep).0, "too_deep");
    }
    // Within a string nothing is nested.
    let text = r#"{"errors":[{"message":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"[["}]}"#;
    assert_eq!(one(text).errors.len(), 1);
    let many = format!(
        "{{\"actions\":[{}]}}",
        vec!["{\"name\":\"a\"}"; 257].join(",")
    );
    let (reason, text) = refused(&many);
    assert_eq!(reason, "too_many");
    assert!(text.contains("`actions`") && text.contains("256"), "{text}");
    let beacon = one(r#"{"name":"LCP","value":90000000,"id":"a"}"#);
    assert!(beacon.vitals[0].clamped && beacon.vitals[0].value == 60_000.0);
    let cls = one(r#"{"name":"CLS","value":11,"id":"a"}"#);
    assert_eq!(cls.vitals[0].value, 10.0);
    let long = "x".repeat(60_000);
    let beacon =
        one(&json!({"errors": [{"message": long, "stack": long, "type": long}]}).to_string());
    let error = &beacon.errors[0];
    assert_eq!(error.message.len(), MESSAGE_BYTES);
    assert_eq!(error.stack.as_ref().unwrap().len(), STACK_BYTES);
}

/// What the daemon relies on, whoever sends.
fn is_sound(beacon: &Beacon) -> bool {
    let vitals = beacon
        .vitals
        .iter()
        .all(|vital| vital.value.is_finite() && (0.0..=vital.name.most()).contains(&vital.value));
    let rate = beacon.sample_rate > 0.0 && beacon.sample_rate <= 1.0;
    let page = beacon.page.as_ref().is_none_or(|page| {
        page.starts_with('/') && page.len() <= clean::PAGE_BYTES && !page.contains(['?', '#'])
    });
    vitals && rate && page && beacon.vitals.len() <= MAX_MEMBERS
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        for endpoint in Endpoint::ALL {
            if let Ok(beacons) = Beacon::parse(&body, endpoint, &Context::default()) {
                prop_assert!(beacons.iter().all(is_sound));
            }
        }
    }

    /// One byte of a good batch changed, left out or doubled.
    #[test]
    fn a_damaged_batch_is_read_or_refused(at in 0usize..1500, byte in any::<u8>(), how in 0..3) {
        let mut body = whole_batch().to_string().into_bytes();
        let at = at % body.len();
        match how {
            0 => body[at] = byte,
            1 => { body.remove(at); }
            _ => body.insert(at, byte),
        }
        if let Ok(beacons) = Beacon::parse(&body, Endpoint::Metrics, &Context::default()) {
            prop_assert!(beacons.iter().all(is_sound));
        }
    }

    #[test]
    fn any_value_is_clamped_or_refused(value in any::<f64>()) {
        let body = json!({"name": "LCP", "value": value, "id": "a"}).to_string();
        match metrics(&body) {
            Ok(beacons) => prop_assert!(is_sound(&beacons[0]) && value >= 0.0),
            Err(refusal) => prop_assert!(value < 0.0 || !value.is_finite(), "{}", refusal),
        }
    }
}
