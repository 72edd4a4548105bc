//! What operators see of what browsers told.

use serde_json::json;

use super::*;
use crate::vitals::{Context, Endpoint};

fn moment(ms: u64) -> Moment {
    Moment {
        since_start: Duration::from_millis(ms),
        unix_ms: 1_790_000_000_000 + i64::try_from(ms).unwrap(),
    }
}

fn state(templates: &[&str], max_pages: usize) -> State {
    let templates = Templates::new(templates).unwrap();
    State::new(Arc::new(templates), max_pages, moment(0).unix_ms)
}

fn take(state: &mut State, body: &serde_json::Value, now: Moment) -> Vec<Record> {
    let body = body.to_string();
    let beacons = Beacon::parse(body.as_bytes(), Endpoint::Metrics, &Context::default()).unwrap();
    let mut records = Vec::new();
    for beacon in &beacons {
        state.take(beacon, now, "host1", &mut records);
    }
    records
}

fn observations(numbers: &Numbers, name: VitalName) -> u64 {
    let devices = numbers
        .pages
        .values()
        .flat_map(|page| page.devices.values());
    let spreads = devices.filter_map(|device| device.vitals.get(&name));
    spreads
        .map(|spread| spread.counts.iter().sum::<u64>())
        .sum()
}

/// The whole of a batch is in the numbers, by the folded page.
#[test]
fn everything_in_a_batch_is_counted_under_its_page() {
    let mut state = state(&["/orders/{order}"], 10);
    let batch = crate::vitals::parse::tests::whole_batch();
    let records = take(&mut state, &batch, moment(0));
    let numbers = state.numbers(moment(1_000));
    assert_eq!(numbers.waiting, 2);
    assert_eq!(
        observations(&numbers, VitalName::Lcp),
        0,
        "it may still grow"
    );
    let numbers = state.numbers(moment(2_600));
    let page = &numbers.pages["/orders/{order}"];
    let mobile = &page.devices[&Device::Mobile];
    assert_eq!(mobile.views, 1);
    // 1.2345 s are in the third bucket, up to 1.5 s.
    assert_eq!(mobile.vitals[&VitalName::Lcp].counts[..4], [0, 0, 1, 0]);
    assert_eq!(mobile.vitals[&VitalName::Cls].sum, 0.3);
    use crate::vitals::beacon::{ActionKind, ErrorKind, Navigation, Rating, ResourceType};
    assert_eq!(page.ratings[&(VitalName::Cls, Rating::Poor)], 1);
    assert_eq!(page.errors[&ErrorKind::UnhandledRejection], 3);
    assert_eq!(page.resources[&ResourceType::Script].bytes, 12_345);
    assert_eq!(page.long_frames.blocking_ms, 120);
    assert_eq!(numbers.actions[&("buy".into(), ActionKind::Click)], 2);
    assert_eq!(numbers.navigations[&Navigation::BackForwardCache], 1);
    assert_eq!(numbers.sessions["shop"], 1);
    let key = CallKey {
        route: "/api/x".into(),
        reason: "status_5xx",
    };
    assert_eq!(numbers.calls[&key], 1);
    let Record::WebVital(vital) = &records[0] else {
        panic!("{records:?}")
    };
    assert_eq!(
        (&*vital.page, vital.value_micro),
        ("/orders/{order}", 1_234_500)
    );
    assert_eq!((&*vital.rating, vital.sample_rate), ("good", 0.5));
    let Record::BrowserErrors(errors) = &records[2] else {
        panic!("{records:?}")
    };
    assert_eq!((errors.len(), errors[0].count), (1, 3));
    let sums = state.take_sums(moment(10_000).unix_ms, "host1");
    let shown: Vec<_> = sums
        .iter()
        .map(|sum| {
            format!(
                "{} {} {} {}",
                sum.kind.as_str(),
                sum.name,
                sum.detail,
                sum.count
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "view   1",
            "action buy click 2",
            "call GET /api/x 500 1",
            "resource script  4"
        ]
    );
}

#[test]
fn a_value_that_grew_is_one_observation_and_the_store_has_each_report() {
    let mut state = state(&[], 10);
    let cls = |value: f64| json!({"name": "CLS", "value": value, "id": "v6-1", "page": "/"});
    let mut records = take(&mut state, &cls(0.05), moment(0));
    records.extend(take(&mut state, &cls(0.2), moment(1_000)));
    let numbers = state.numbers(moment(3_600));
    assert_eq!(observations(&numbers, VitalName::Cls), 1);
    assert_eq!(
        numbers.pages["/"].devices[&Device::Unknown].vitals[&VitalName::Cls].sum,
        0.2
    );
    records.extend(take(&mut state, &cls(0.4), moment(60_000)));
    let numbers = state.numbers(moment(100_000));
    assert_eq!(observations(&numbers, VitalName::Cls), 1);
    assert!(numbers.odd.contains(&("late", 1)));
    assert_eq!(records.len(), 3);
    // Without an id each is its own, also in the store.
    let nameless = json!([{"name": "LCP", "value": 1}, {"name": "LCP", "value": 2}]);
    let records = take(&mut state, &nameless, moment(100_000));
    let ids: BTreeSet<_> = records
        .iter()
        .map(|record| match record {
            Record::WebVital(vital) => vital.id.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(
        observations(&state.numbers(moment(100_000)), VitalName::Lcp),
        2
    );
}

/// Scanners try a million paths; each would be a dozen series.
#[test]
fn a_flood_of_pages_names_and_apps_makes_few_series_and_loses_no_count() {
    let mut state = state(&["/cart"], 30);
    let mut sent = 0;
    for n in 0..20_000u64 {
        let batch = json!({
            "started": true, "page": format!("/p{}/x{}/y", n % 700, n), "app": format!("app{n}"),
            "session": format!("s{n}"),
            "vitals": [{"name": "LCP", "value": 100, "id": format!("v-{n}")}],
            "calls": [{"path": format!("/c{}/{}", n % 900, n), "reason": "slow"}],
            "actions": [{"name": format!("a{n}")}],
        });
        take(&mut state, &batch, moment(n));
        sent += 1;
    }
    take(
        &mut state,
        &json!({"page": "/cart", "started": true}),
        moment(30_000),
    );
    let numbers = state.numbers(moment(60_000));
    assert!(numbers.pages.len() <= 30 + 2, "{}", numbers.pages.len());
    assert!(
        numbers.pages.contains_key("/cart"),
        "what is configured is never crowded out"
    );
    assert!(
        numbers.calls.len() <= CALL_ROUTES + 1,
        "{}",
        numbers.calls.len()
    );
    assert!(numbers.actions.len() <= ACTIONS + 1);
    assert!(numbers.sessions.len() <= APPS + 1);
    assert_eq!(observations(&numbers, VitalName::Lcp), sent);
    let total = |map: &mut dyn Iterator<Item = u64>| map.sum::<u64>();
    assert_eq!(total(&mut numbers.actions.values().copied()), sent);
    assert_eq!(total(&mut numbers.calls.values().copied()), sent);
    let pages = numbers
        .pages
        .values()
        .flat_map(|page| page.devices.values());
    assert_eq!(total(&mut pages.map(|device| device.views)), sent + 1);
    assert!(
        numbers
            .odd
            .iter()
            .any(|(what, count)| *what == "other_page" && *count > 0)
    );
}

/// When pages are folded together, what waits must not bring the old series back.
#[test]
fn pages_that_are_folded_take_what_still_waits_with_them() {
    let mut state = state(&[], 200);
    for n in 0..60 {
        let page = format!(
            "/blog/{}{}",
            char::from(b'a' + n / 8),
            "xyzuvwst".split_at(usize::from(n % 8)).1
        );
        let vital = json!({"name": "LCP", "value": 1, "id": format!("v-{n}"), "page": page});
        take(&mut state, &vital, moment(u64::from(n)));
    }
    let numbers = state.numbers(moment(10_000));
    let pages: Vec<_> = numbers.pages.keys().map(|page| &**page).collect();
    assert_eq!(pages, ["/blog/{param}"]);
    assert_eq!(observations(&numbers, VitalName::Lcp), 60);
}

#[test]
fn a_clock_that_cannot_be_right_is_not_believed() {
    let mut state = state(&[], 10);
    let now = moment(0);
    for (at_ms, believed) in [
        (now.unix_ms - 3_600_000, true),
        (now.unix_ms - 2 * OLDEST_MS, false),
        (now.unix_ms + 2 * AHEAD_MS, false),
        (0, false),
    ] {
        let vital = json!({"name": "LCP", "value": 1, "timestamp": at_ms});
        let records = take(&mut state, &vital, now);
        let Record::WebVital(vital) = &records[0] else {
            panic!("{records:?}")
        };
        assert_eq!(vital.at_ms == at_ms, believed, "{at_ms}");
        assert!(believed || vital.at_ms == now.unix_ms);
    }
    assert!(state.numbers(now).odd.contains(&("clock", 3)));
}
