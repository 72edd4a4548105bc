//! What is broken is called broken, what is within is called ok, and nothing else is either.

use super::{
    import,
    judge::{Evidence, judge},
    *,
};
use crate::{
    config::{self, Config, Sources},
    store::{BrowserSum, PageSum, Record, Store, SumKind, VitalGroup, WebVital, now_ms},
};

fn limit(pages: &str, what: What, most: f64) -> Limit {
    Limit {
        pages: pages.parse().unwrap(),
        what,
        most,
        min_samples: 5,
        from: "a test".into(),
    }
}

fn vital(page: &str, name: &str, p75_micro: i64, samples: u64) -> VitalGroup {
    VitalGroup {
        name: name.into(),
        values: vec![page.into()],
        samples,
        p75_micro,
        ..VitalGroup::default()
    }
}

fn sum(page: &str, kind: SumKind, name: &str, count: u64, bytes: u64) -> PageSum {
    PageSum {
        page: page.into(),
        kind,
        name: name.into(),
        detail: String::new(),
        count,
        bytes,
        opaque: 0,
        duration_ms: 0,
    }
}

fn short(verdicts: &[Verdict]) -> Vec<(&str, &str, State, Option<f64>)> {
    let short = |one: &'_ Verdict| (one.state, one.actual);
    let all = verdicts
        .iter()
        .map(|one| (&*one.page, &*one.budget, short(one)));
    all.map(|(page, budget, (state, actual))| (page, budget, state, actual))
        .collect()
}

#[test]
fn a_limit_is_kept_up_to_itself_and_broken_above() {
    let limits = [
        limit("*", What::Vital("LCP"), 2_500.0),
        limit("*", What::Vital("CLS"), 0.1),
    ];
    let vitals = [
        vital("/a", "LCP", 2_500_000, 5),
        vital("/a", "CLS", 100_001, 5),
        vital("/b", "LCP", 2_500_001, 5),
        vital("/c", "LCP", 9_000_000, 4),
    ];
    let evidence = Evidence {
        vitals: &vitals,
        sums: &[],
        window_h: 24,
    };
    let verdicts = judge(&limits, &evidence);
    assert_eq!(
        short(&verdicts),
        [
            ("/a", "cls", State::Broken, Some(0.100_001)),
            ("/a", "lcp", State::Ok, Some(2_500.0)),
            ("/b", "cls", State::Unknown, None),
            ("/b", "lcp", State::Broken, Some(2_500.001)),
            ("/c", "cls", State::Unknown, None),
            ("/c", "lcp", State::Unknown, None),
        ]
    );
    assert_eq!(verdicts[1].ratio, Some(1.0));
    let why = verdicts[5].why.as_deref().unwrap();
    assert_eq!(why, "4 values in the last 24 h; 5 are needed");
}

#[test]
fn what_is_said_of_a_page_wins_over_what_is_said_of_all() {
    let limits = [
        limit("/shop/pay", What::Vital("LCP"), 1_000.0),
        limit("/shop/*", What::Vital("LCP"), 2_000.0),
        limit("*", What::Vital("LCP"), 3_000.0),
        limit("*", What::Vital("LCP"), 4_000.0),
        limit("*", What::Vital("INP"), 200.0),
        limit("/none", What::Vital("LCP"), 1.0),
    ];
    let vitals = ["/shop/pay", "/shop/x", "/other"].map(|page| vital(page, "LCP", 1, 9));
    let evidence = Evidence {
        vitals: &vitals,
        sums: &[],
        window_h: 1,
    };
    let verdicts = judge(&limits, &evidence);
    let lcp: Vec<(&str, f64)> = verdicts
        .iter()
        .filter(|one| one.budget == "lcp")
        .map(|one| (&*one.page, one.limit))
        .collect();
    assert_eq!(
        lcp,
        [
            ("/other", 4_000.0),
            ("/shop/pay", 1_000.0),
            ("/shop/x", 2_000.0),
            ("/none", 1.0),
        ]
    );
    assert_eq!(verdicts.iter().filter(|one| one.budget == "inp").count(), 3);
    assert_eq!(verdicts.last().unwrap().state, State::Unknown);
}

#[test]
fn resources_are_those_of_a_page_view_on_average() {
    let limits = [
        limit("*", What::Requests("script"), 3.0),
        limit("*", What::Bytes("script"), 1_000.0),
        limit("*", What::Bytes("total"), 2_000.0),
        limit("*", What::Requests("font"), 0.0),
    ];
    let sums = [
        sum("/a", SumKind::View, "", 10, 0),
        sum("/a", SumKind::Resource, "script", 31, 9_000),
        PageSum {
            opaque: 7,
            ..sum("/a", SumKind::Resource, "image", 7, 12_000)
        },
        sum("/b", SumKind::View, "", 4, 0),
    ];
    let evidence = Evidence {
        vitals: &[],
        sums: &sums,
        window_h: 24,
    };
    let verdicts = judge(&limits, &evidence);
    assert_eq!(
        short(&verdicts)[..4],
        [
            ("/a", "requests:font", State::Ok, Some(0.0)),
            ("/a", "requests:script", State::Broken, Some(3.1)),
            ("/a", "bytes:script", State::Ok, Some(900.0)),
            ("/a", "bytes:total", State::Broken, Some(2_100.0)),
        ]
    );
    assert!(
        verdicts[3]
            .why
            .as_deref()
            .unwrap()
            .starts_with("7 of 38 files")
    );
    assert_eq!(verdicts[0].ratio, Some(0.0));
    assert!(verdicts[4..].iter().all(|one| one.state == State::Unknown));
}

/// As Lighthouse's documentation shows it.
const LIGHTHOUSE: &str = r#"[
  {"path": "/*", "timings": [{"metric": "interactive", "budget": 3000},
    {"metric": "largest-contentful-paint", "budget": 2500}],
   "resourceSizes": [{"resourceType": "script", "budget": 125},
    {"resourceType": "stylesheet", "budget": 10}, {"resourceType": "total", "budget": 300}],
   "resourceCounts": [{"resourceType": "third-party", "budget": 10}]},
  {"path": "/checkout$", "options": {"firstPartyHostnames": ["*.example"]},
   "timings": [{"metric": "cumulative-layout-shift", "budget": 0.05, "tolerance": 0}]},
  {"resourceCounts": [{"resourceType": "font", "budget": 2}]}
]"#;

#[test]
fn lighthouse_s_file_is_understood() {
    let limits = import::read(LIGHTHOUSE, "budget.json").unwrap();
    let short: Vec<(String, String, f64)> = limits
        .iter()
        .map(|limit| (limit.pages.to_string(), limit.what.label(), limit.most))
        .collect();
    let row = |pages: &str, label: &str, most: f64| (pages.to_owned(), label.to_owned(), most);
    assert_eq!(
        short,
        [
            row("/**", "interactive", 3_000.0),
            row("/**", "lcp", 2_500.0),
            row("/**", "bytes:script", 128_000.0),
            row("/**", "bytes:css", 10_240.0),
            row("/**", "bytes:total", 307_200.0),
            row("/**", "requests:third-party", 10.0),
            row("/checkout", "cls", 0.05),
            row("/*", "requests:font", 2.0),
        ]
    );
    // What browsers do not tell is not passed over in silence.
    let vitals = [vital("/checkout", "CLS", 1, 30)];
    let evidence = Evidence {
        vitals: &vitals,
        sums: &[],
        window_h: 24,
    };
    let verdicts = judge(&limits, &evidence);
    let interactive = verdicts
        .iter()
        .find(|one| one.budget == "interactive")
        .unwrap();
    assert_eq!(interactive.state, State::Unknown);
    assert_eq!(
        interactive.why.as_deref(),
        Some("browsers do not tell interactive")
    );
}

#[test]
fn a_file_that_is_no_budget_is_refused_with_the_place() {
    for (text, place) in [
        ("[{", "EOF"),
        ("{}", "expected a sequence"),
        (r#"[{"pth": "/"}]"#, "[0].pth"),
        (r#"[{"path": "shop"}]"#, "[0].path"),
        (
            r#"[{"timings": [{"metric": "a", "budget": "1"}]}]"#,
            "[0].timings[0].budget",
        ),
        (
            r#"[{"timings": [{"metric": "a", "budget": -1}]}]"#,
            "[0].timings",
        ),
        (
            r#"[{"resourceSizes": [{"resourceType": "script"}]}]"#,
            "budget",
        ),
        ("[] x", "trailing"),
    ] {
        let error = import::read(text, "budget.json").unwrap_err();
        assert!(error.contains(place), "{text}: {error}");
    }
}

fn settings(text: &str, folder: &std::path::Path) -> config::Vitals {
    let file = folder.join("hostprobe.toml");
    std::fs::write(&file, text).unwrap();
    let sources = Sources {
        file: Some(file),
        ..Sources::default()
    };
    Config::load(&sources).unwrap().vitals
}

#[test]
fn files_on_the_disk_are_judged_each_or_together() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    std::fs::write(folder.path().join("a.js"), "x".repeat(600)).unwrap();
    std::fs::write(folder.path().join("b.js"), "x".repeat(500)).unwrap();
    let settings = settings(
        &format!(
            "[[vitals.budget]]\n\
             [[vitals.budget.files]]\nglob = '{at}/*.js'\nraw = 599\ngzip = 100\n\
             [[vitals.budget.files]]\nglob = '{at}/*.js'\nof = 'all'\nraw = 1100\nbrotli = 5\n\
             [[vitals.budget.files]]\nglob = '{at}/*.css'\nraw = 1\n"
        ),
        folder.path(),
    );
    let report = judge_files(&settings);
    let states: Vec<(String, State)> = report
        .verdicts
        .iter()
        .map(|one| (one.budget.replace(&at.to_string(), ""), one.state))
        .collect();
    let row = |label: &str, state| (label.to_owned(), state);
    assert_eq!(
        states,
        [
            row("brotli:/*.js", State::Broken),
            row("raw:/*.js", State::Broken),
            row("raw:/*.css", State::Unknown),
            row("raw:/*.js", State::Ok),
            row("gzip:/*.js", State::Ok),
        ]
    );
    let largest = &report.verdicts[1];
    assert_eq!(
        (largest.actual, largest.files[0].sizes.raw),
        (Some(600.0), 600)
    );
    assert!(
        largest
            .why
            .as_deref()
            .unwrap()
            .contains("a.js is the largest of 2 files")
    );
    assert_eq!(report.verdicts[3].actual, Some(1_100.0));
    assert_eq!(report.verdicts[2].why.as_deref(), Some("no file fits it"));
}

/// The whole way: beacons in the store, budgets in two files, and what comes out.
#[tokio::test]
async fn what_browsers_told_breaks_a_budget_and_heals_it() {
    let folder = tempfile::tempdir().unwrap();
    let imported = folder.path().join("budget.json");
    std::fs::write(&imported, LIGHTHOUSE).unwrap();
    let settings = settings(
        &format!(
            "[vitals]\nbudget_files = ['{}', '/none.json']\n\
             [[vitals.budget]]\npage = '/cart'\nlcp_ms = 1000\nmin_samples = 2\n\
             [vitals.budget.bytes]\ntotal = 5000\n",
            imported.display()
        ),
        folder.path(),
    );
    assert_eq!(check_imports(&settings).len(), 3);
    let store = Store::off();
    let tell = |id: &str, value_micro: i64| {
        store.keep(Record::WebVital(Box::new(WebVital {
            id: id.into(),
            at_ms: now_ms(),
            host: "h".into(),
            app: String::new(),
            release: String::new(),
            page: "/cart".into(),
            device: "mobile".into(),
            connection: "4g".into(),
            navigation: "navigate".into(),
            name: "LCP".into(),
            value_micro,
            rating: "good".into(),
            target: None,
            url: None,
            load_state: None,
            sample_rate: 1.0,
        })));
    };
    let count = |kind, count, bytes| BrowserSum {
        from_ms: now_ms(),
        to_ms: now_ms() + 1,
        host: "h".into(),
        app: String::new(),
        page: "/cart".into(),
        kind,
        name: "script".into(),
        detail: String::new(),
        count,
        bytes,
        opaque: 0,
        duration_ms: 0,
    };
    tell("a", 1_000_000);
    tell("b", 1_500_000);
    store.keep(Record::BrowserSums(vec![
        count(SumKind::View, 2, 0),
        count(SumKind::Resource, 4, 10_000),
    ]));
    let budgets = Budgets::new(&settings, store.clone());
    let report = budgets.look().await;
    assert!(report.not_stored.is_some());
    let of = |report: &Report, page: &str, budget: &str| {
        let found = report
            .verdicts
            .iter()
            .find(|one| one.page == page && one.budget == budget);
        found.unwrap_or_else(|| panic!("{report:?}")).clone()
    };
    let lcp = of(&report, "/cart", "lcp");
    assert_eq!(
        (lcp.state, lcp.limit, lcp.actual),
        (State::Broken, 1_000.0, Some(1_500.0))
    );
    assert_eq!((lcp.ratio, lcp.samples), (Some(1.5), Some(2)));
    assert_eq!(of(&report, "/cart", "bytes:total").state, State::Ok);
    // Those of the file hold too, with its own number of samples.
    assert_eq!(of(&report, "/cart", "bytes:script").state, State::Unknown);
    assert_eq!(
        of(&report, FILES, "budget_file:/none.json").state,
        State::Unknown
    );
    assert_eq!(report.verdicts[0], lcp, "the broken ones come first");
    assert_eq!(budgets.latest(), report);
    // The same page life tells more.
    tell("b", 900_000);
    let healed = Budgets::new(&settings, store).look().await;
    assert_eq!(of(&healed, "/cart", "lcp").state, State::Ok);
}
