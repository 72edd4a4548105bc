//! What browsers said is found again, by the same arithmetic in both databases and in memory.

use super::*;

pub(in crate::store) fn vital(n: i64) -> WebVital {
    WebVital {
        id: format!("v{n}"),
        at_ms: at(n),
        host: nix::unistd::gethostname()
            .unwrap()
            .to_string_lossy()
            .into_owned(),
        app: "shop".into(),
        release: "1.0".into(),
        page: "/cart".into(),
        device: "mobile".into(),
        connection: "4g".into(),
        navigation: "navigate".into(),
        name: "LCP".into(),
        value_micro: n * 1_000,
        rating: "good".into(),
        target: Some("#hero".into()),
        url: None,
        load_state: None,
        sample_rate: 1.0,
    }
}

pub(in crate::store) fn error(n: i64) -> BrowserError {
    BrowserError {
        id: BrowserError::new_id(at(n)),
        fingerprint: 0xf00d,
        at_ms: at(n),
        host: vital(0).host,
        app: "shop".into(),
        release: "1.0".into(),
        page: "/cart".into(),
        kind: "error".into(),
        type_: "TypeError".into(),
        message: "x is null".into(),
        stack: Some("TypeError: x is null\n    at f (https://a/x.js:1:2)".into()),
        source: None,
        line: Some(1),
        column: None,
        count: 1,
    }
}

fn kept(vital: &WebVital) -> Record {
    Record::WebVital(Box::new(vital.clone()))
}

async fn vitals(running: &Running, filter: &VitalFilter) -> Vec<VitalGroup> {
    let found = running.store.vitals(filter).await;
    assert_eq!((found.not_stored, found.more), (None, false));
    found.items
}

pub(super) async fn a_vital_counts_once_with_its_last_value(settings: config::Store) {
    let running = Running::open(&settings).await;
    let told = |id: &str, at_ms: i64, value_micro: i64| WebVital {
        id: id.into(),
        value_micro,
        ..vital(at_ms)
    };
    // In one batch, in a later one, and one that was overtaken.
    running
        .write([
            kept(&told("a", 0, 1)),
            kept(&told("a", 1, 2)),
            kept(&told("b", 1, 50)),
        ])
        .await;
    running
        .write([kept(&told("a", 5, 9)), kept(&told("b", 0, 7))])
        .await;
    running.write([kept(&told("a", 4, 8))]).await;
    let other_name = WebVital {
        name: "CLS".into(),
        ..told("a", 0, 3)
    };
    running.write([kept(&other_name)]).await;
    let groups = vitals(&running, &VitalFilter::default()).await;
    let of = |group: &VitalGroup| {
        let (samples, p50, p95) = (group.samples, group.p50_micro, group.p95_micro);
        (group.name.clone(), samples, p50, p95)
    };
    let found: Vec<_> = groups.iter().map(of).collect();
    assert_eq!(
        found,
        [("LCP".to_owned(), 2, 9, 50), ("CLS".to_owned(), 1, 3, 3)]
    );
    running.close().await;
}

/// Each value as often as its weight says, in order; the quantile is the one at that place.
fn expected(values: &[(i64, f64)], percent: usize) -> i64 {
    let mut all: Vec<i64> = Vec::new();
    for (value, rate) in values {
        let times = (1_000.0 / rate).round() as usize / 100;
        all.extend(std::iter::repeat_n(*value, times));
    }
    all.sort_unstable();
    let place = (all.len() * percent).div_ceil(100).max(1);
    all[place - 1]
}

pub(super) async fn quantiles_are_those_of_the_weighted_values(settings: config::Store) {
    let running = Running::open(&settings).await;
    let day = 86_400_000;
    let mut seed = 12_345_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let all: Vec<WebVital> = (0..700)
        .map(|n| WebVital {
            at_ms: at(0) - day * i64::try_from(random(3)).unwrap(),
            page: format!("/page{}", random(3)),
            device: ["mobile", "desktop"][random(2) as usize].into(),
            name: ["LCP", "CLS"][random(2) as usize].into(),
            rating: ["good", "needs-improvement", "poor"][random(3) as usize].into(),
            value_micro: i64::try_from(random(40)).unwrap(),
            sample_rate: [1.0, 0.5, 0.1][random(3) as usize],
            ..vital(n)
        })
        .collect();
    running.write(all.iter().map(kept)).await;
    let filters = [
        VitalFilter::default(),
        VitalFilter {
            by: vec![By::Page, By::Device, By::Day],
            ..VitalFilter::default()
        },
        VitalFilter {
            by: By::ALL.to_vec(),
            name: Some("CLS".into()),
            from_ms: Some(at(0) - day),
            to_ms: Some(at(0)),
            only: vec![(By::Page, "/page1".into()), (By::App, "shop".into())],
            limit: 0,
        },
        VitalFilter {
            only: vec![(By::Device, "' OR 1=1 --".into())],
            ..VitalFilter::default()
        },
    ];
    for filter in &filters {
        let groups = vitals(&running, filter).await;
        let (remembered, _) = running.store.0.recent().vitals(filter);
        assert_eq!(groups, remembered, "{filter:?}");
    }
    let groups = vitals(&running, &filters[1]).await;
    assert_eq!(groups.iter().map(|group| group.samples).sum::<u64>(), 700);
    for group in &groups {
        let [page, device, days] = group.values.as_slice() else {
            panic!("{group:?}");
        };
        let those = all.iter().filter(|one| {
            (&one.name, &one.page, &one.device) == (&group.name, page, device)
                && (one.at_ms / day).to_string() == *days
        });
        let those: Vec<&WebVital> = those.collect();
        let values: Vec<_> = those
            .iter()
            .map(|one| (one.value_micro, one.sample_rate))
            .collect();
        let weight = |rating: Option<&str>| -> u64 {
            let rated = those
                .iter()
                .filter(|one| rating.is_none_or(|it| it == one.rating));
            rated
                .map(|one| (1_000.0 / one.sample_rate).round() as u64)
                .sum()
        };
        let wanted = VitalGroup {
            name: group.name.clone(),
            values: group.values.clone(),
            samples: those.len() as u64,
            weight_milli: weight(None),
            p50_micro: expected(&values, 50),
            p75_micro: expected(&values, 75),
            p95_micro: expected(&values, 95),
            good_milli: weight(Some("good")),
            needs_improvement_milli: weight(Some("needs-improvement")),
            poor_milli: weight(Some("poor")),
        };
        assert_eq!(*group, wanted);
    }
    // The largest come first, and that there are more is said.
    let few = VitalFilter {
        limit: 2,
        ..filters[1].clone()
    };
    let found = running.store.vitals(&few).await;
    assert_eq!((found.items.as_slice(), found.more), (&groups[..2], true));
    running.close().await;
}

pub(super) async fn errors_are_shown_by_what_they_have_in_common(settings: config::Store) {
    let running = Running::open(&settings).await;
    let another = |n: i64| BrowserError {
        fingerprint: 0xbad,
        app: "desk".into(),
        message: "boom".into(),
        stack: None,
        ..error(n)
    };
    let newer = |n: i64| BrowserError {
        release: "2.0".into(),
        page: "/pay".into(),
        stack: Some("another".into()),
        count: 3,
        ..error(n)
    };
    // Other apps may have an error that looks the same.
    let same_elsewhere = BrowserError {
        app: "desk".into(),
        ..error(4_000)
    };
    running
        .write([
            Record::BrowserErrors(vec![error(1_000), error(2_000), another(3_000)]),
            Record::BrowserErrors(vec![newer(5_000), same_elsewhere.clone(), newer(4_500)]),
        ])
        .await;
    let all = ErrorFilter::default();
    let found = running.store.browser_errors(&all).await;
    assert_eq!((found.not_stored, found.more), (None, false));
    let group = &found.items[0];
    assert_eq!(
        (group.fingerprint, &*group.app, group.count, group.reports),
        (0xf00d, "shop", 8, 4)
    );
    assert_eq!((group.first_ms, group.last_ms), (at(1_000), at(5_000)));
    let portion = |name: &str, count, first, last| Portion {
        name: name.into(),
        count,
        first_ms: at(first),
        last_ms: at(last),
    };
    let newest = portion("2.0", 6, 4_500, 5_000);
    assert_eq!(group.releases, [newest, portion("1.0", 2, 1_000, 2_000)]);
    assert_eq!(group.pages[0], portion("/pay", 6, 4_500, 5_000));
    assert_eq!(group.sample.stack.as_deref(), Some("another"));
    assert_eq!(found.items.len(), 3);
    // In each order and with each filter as what is in memory says.
    let filters = [
        ErrorFilter {
            sort: ErrorSort::Last,
            ..all.clone()
        },
        ErrorFilter {
            sort: ErrorSort::First,
            ..all.clone()
        },
        ErrorFilter {
            app: Some("desk".into()),
            ..all.clone()
        },
        ErrorFilter {
            release: Some("1.0".into()),
            page: Some("/cart".into()),
            sort: ErrorSort::Last,
            ..all.clone()
        },
        ErrorFilter {
            fingerprint: Some(0xbad),
            from_ms: Some(at(3_000)),
            to_ms: Some(at(3_001)),
            ..all.clone()
        },
        ErrorFilter {
            from_ms: Some(at(5_000)),
            ..all.clone()
        },
        ErrorFilter {
            to_ms: Some(at(1_000)),
            ..all.clone()
        },
    ];
    for filter in &filters {
        let found = running.store.browser_errors(filter).await.items;
        let (mut remembered, _) = running.store.0.recent().errors(filter);
        for (remembered, stored) in remembered.iter_mut().zip(&found) {
            // The store has one sample of a release, whatever is asked for.
            remembered.sample = stored.sample.clone();
        }
        assert_eq!(found, remembered, "{filter:?}");
    }
    let late = &running.store.browser_errors(&filters[5]).await.items[0];
    assert_eq!(
        (late.count, late.first_ms),
        (3, at(1_000)),
        "first seen at all"
    );
    let one = ErrorFilter {
        limit: 1,
        ..filters[0].clone()
    };
    let found = running.store.browser_errors(&one).await;
    assert_eq!((found.items.len(), found.more), (1, true));
    running.close().await;
}

pub(super) async fn a_sample_lives_as_long_as_its_error(settings: config::Store) {
    let settings = config::Store {
        retention_days: 2,
        ..settings
    };
    let running = Running::open(&settings).await;
    let old = |fingerprint| BrowserError {
        fingerprint,
        at_ms: now_ms() - 3 * DAY_MS,
        ..error(0)
    };
    let again = BrowserError {
        release: "2.0".into(),
        ..error(0)
    };
    let first_ms = old(0).at_ms;
    let old = vec![
        BrowserError {
            at_ms: first_ms,
            ..old(0xf00d)
        },
        old(0xdead),
    ];
    running
        .write([
            Record::BrowserErrors(old),
            Record::BrowserErrors(vec![again]),
        ])
        .await;
    running.close().await;
    execute(&settings, "UPDATE browser_error_samples SET seen_ms = 0").await;
    let running = Running::open(&settings).await;
    eventually(&settings, "SELECT COUNT(*) FROM browser_errors", 1).await;
    // Both releases of the one that still occurs.
    eventually(&settings, "SELECT COUNT(*) FROM browser_error_samples", 2).await;
    let found = running.store.browser_errors(&ErrorFilter::default()).await;
    assert_eq!(found.items.len(), 1);
    assert_eq!(
        found.items[0].first_ms, first_ms,
        "it is as old as it ever was"
    );
    running.close().await;
}

pub(super) async fn sums_of_pages_add_up(settings: config::Store) {
    let running = Running::open(&settings).await;
    let sum = |minute: i64, kind, name: &str| BrowserSum {
        from_ms: at(minute * 60_000),
        to_ms: at(minute * 60_000 + 60_000),
        host: "a".into(),
        app: "shop".into(),
        page: "/cart".into(),
        kind,
        name: name.into(),
        detail: String::new(),
        count: 2,
        bytes: 1_000,
        opaque: 1,
        duration_ms: 7,
    };
    let rows = vec![
        sum(0, SumKind::Resource, "script"),
        sum(1, SumKind::Resource, "script"),
        sum(1, SumKind::View, ""),
        BrowserSum {
            page: "/pay".into(),
            ..sum(1, SumKind::Call, "GET /api/x")
        },
    ];
    running.write([Record::BrowserSums(rows.clone())]).await;
    // What is written again changes nothing.
    running.write([Record::BrowserSums(rows)]).await;
    let filters = [
        SumFilter::default(),
        SumFilter {
            kinds: vec![SumKind::Resource, SumKind::View],
            from_ms: Some(at(60_000)),
            to_ms: Some(at(120_000)),
            page: Some("/cart".into()),
            app: Some("shop".into()),
        },
    ];
    let found = running.store.page_sums(&filters[0]).await;
    assert_eq!((found.not_stored, found.items.len()), (None, 3));
    let script = &found.items[0];
    assert_eq!(
        (
            &*script.name,
            script.count,
            script.bytes,
            script.opaque,
            script.duration_ms
        ),
        ("script", 4, 2_000, 2, 14)
    );
    let found = running.store.page_sums(&filters[1]).await.items;
    let kinds: Vec<SumKind> = found.iter().map(|sum| sum.kind).collect();
    assert_eq!(kinds, [SumKind::Resource, SumKind::View]);
    running.close().await;
}

/// Without a store the endpoints answer from memory, and say why.
#[tokio::test]
async fn what_is_not_stored_is_answered_from_memory() {
    let store = Store::off();
    store.keep(kept(&vital(5)));
    store.keep(Record::BrowserErrors(vec![error(1)]));
    let found = store.vitals(&VitalFilter::default()).await;
    assert_eq!(found.items[0].p75_micro, 5_000);
    assert!(found.not_stored.is_some());
    let found = store.browser_errors(&ErrorFilter::default()).await;
    assert_eq!(found.items[0].sample.message, "x is null");
    assert!(
        store
            .page_sums(&SumFilter::default())
            .await
            .items
            .is_empty()
    );
}
