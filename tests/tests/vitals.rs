//! A real browser on real pages with the one script tag: what it measures arrives, once, and the
//! pages notice nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use end_to_end::{
    browser::{Browser, Tab},
    pages::{Options, Pages},
    probe::{Config, Probe, SETTLING, free_address},
    site::Site,
    waiting,
};
use serde_json::Value;

const VITALS: [&str; 5] = ["CLS", "FCP", "INP", "LCP", "TTFB"];

/// A site, a probe that takes what its pages send, and a browser.
struct Watched {
    probe: Probe,
    pages: Pages,
    browser: Browser,
}

/// Where the script and the way in are.
enum Way {
    /// On the site's own address: its server leads to the probe.
    Own,
    /// At the probe's.
    Other,
}

impl Watched {
    fn start(way: Way, attributes: &str) -> Result<Self> {
        let site = Site::new(&[env!("CARGO_BIN_EXE_workload")])?;
        let address = free_address()?;
        let (probe, script, policy) = match way {
            Way::Own => (Some(address), "/vitals.js".to_owned(), String::new()),
            Way::Other => {
                let probe = format!("http://{address}");
                (None, format!("{probe}/vitals.js"), probe)
            }
        };
        let pages = Pages::serve(Options {
            script,
            attributes: attributes.to_owned(),
            policy: Some(policy),
            // The strictest, which popular frameworks set.
            referrer: "no-referrer",
            probe,
        })?;
        // No processes are watched: it is about what browsers send.
        let config = Config::new()
            .service("nothing", &[std::process::id()])
            .with(&format!(
                "[vitals]\nallowed_origins = [\"{}\"]",
                pages.origin()
            ));
        Ok(Self {
            probe: Probe::start_at(&site, &config, address)?,
            pages,
            browser: Browser::start()?,
        })
    }

    /// Opens a page, and waits until the script in it runs.
    fn open(&mut self, path: &str) -> Result<Tab> {
        let tab = self.browser.open(&self.pages.at(path))?;
        self.wait_for_script(&tab)?;
        Ok(tab)
    }

    fn wait_for_script(&mut self, tab: &Tab) -> Result<()> {
        self.browser
            .wait_for(tab, "window[Symbol.for('hostprobe.vitals')] === true")?;
        // The first paint is over, and the browser has told of it.
        self.browser.evaluate(
            tab,
            "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))",
        )?;
        Ok(())
    }

    /// As a user would: the answer to a click is on the screen, and the browser has told of it.
    fn see_it_painted(&mut self, tab: &Tab) -> Result<()> {
        self.browser.evaluate(
            tab,
            "new Promise((done) => requestAnimationFrame(() => \
             requestAnimationFrame(() => requestIdleCallback(() => setTimeout(done, 250)))))",
        )?;
        Ok(())
    }

    /// Batches until they are as they should be.
    fn beacons<T>(&self, check: impl Fn(&[Value]) -> Result<T>) -> Result<T> {
        waiting::eventually(SETTLING, || {
            let beacons = self.pages.beacons();
            check(&beacons).with_context(|| {
                let text: Vec<String> = beacons.iter().map(Value::to_string).collect();
                format!("batches:\n{}", text.join("\n"))
            })
        })
    }

    /// What the probe has refused, by reason: nothing, in these tests.
    fn nothing_refused(&self) -> Result<()> {
        let metrics = self.probe.metrics()?;
        let refused = metrics.counts_by("reason", "hostprobe_beacons_refused_total", &[]);
        ensure!(refused.is_empty(), "{refused:?}");
        Ok(())
    }
}

/// Vitals of one page life by name; each comes with one id.
fn vitals_of(beacons: &[Value], view: &str) -> Result<BTreeMap<String, Value>> {
    let mut vitals = BTreeMap::new();
    for vital in items(beacons, view, "vitals") {
        let name = text(&vital, "name")?;
        if let Some(before) = vitals.insert(name.clone(), vital.clone()) {
            let before: Value = before;
            ensure!(
                before.get("id") == vital.get("id"),
                "{name} was told twice in one page life"
            );
        }
    }
    Ok(vitals)
}

fn items(beacons: &[Value], view: &str, list: &str) -> Vec<Value> {
    let of_view = beacons.iter().filter(|beacon| beacon["view"] == view);
    of_view
        .filter_map(|beacon| beacon[list].as_array())
        .flatten()
        .cloned()
        .collect()
}

/// Page lives in the order in which they were first told of: id, page, kind.
fn views(beacons: &[Value]) -> Result<Vec<[String; 3]>> {
    let mut views: Vec<[String; 3]> = Vec::new();
    // They come on several connections, and not always in the order in which they were sent.
    let mut beacons: Vec<&Value> = beacons.iter().collect();
    beacons.sort_by_key(|beacon| beacon["sequence"].as_u64());
    for beacon in beacons {
        let view = [
            text(beacon, "view")?,
            text(beacon, "page")?,
            text(beacon, "navigation")?,
        ];
        match views.iter().find(|known| known[0] == view[0]) {
            Some(known) => {
                ensure!(*known == view, "a page life changed: {known:?} {view:?}");
                ensure!(
                    beacon["started"] == false,
                    "a page view was told twice: {view:?}"
                );
            }
            None => {
                ensure!(
                    beacon["started"] == true,
                    "a page view was not told: {view:?}"
                );
                views.push(view);
            }
        }
    }
    Ok(views)
}

fn text(value: &Value, member: &str) -> Result<String> {
    let text = value[member].as_str();
    Ok(text
        .with_context(|| format!("no {member} in {value}"))?
        .to_owned())
}

fn value(vitals: &BTreeMap<String, Value>, name: &str) -> Result<f64> {
    let vital = vitals
        .get(name)
        .with_context(|| format!("{name} is missing: {vitals:?}"))?;
    vital["value"].as_f64().context("no number")
}

fn names(vitals: &BTreeMap<String, Value>) -> Vec<&str> {
    vitals.keys().map(String::as_str).collect()
}

/// What the page's own listeners have seen.
fn seen(watched: &mut Watched, tab: &Tab) -> Result<Vec<String>> {
    let seen = watched.browser.evaluate(tab, "window.seen")?;
    Ok(serde_json::from_value(seen)?)
}

/// The promise of the whole: one tag, and who leaves the page is known.
#[test]
fn vitals_and_errors_of_a_page_on_another_origin_are_everywhere_after_it_was_left() -> Result<()> {
    let mut watched = Watched::start(Way::Other, "data-app=\"shop\" data-release=\"1.4.2\"")?;
    let tab = watched.open("/orders/17?token=secret")?;
    watched.browser.wait_for(&tab, "window.moved === true")?;
    watched.browser.click(&tab, "#busy")?;
    watched.browser.wait_for(
        &tab,
        "document.getElementById('text').textContent === 'Done.'",
    )?;
    watched.see_it_painted(&tab)?;
    watched.browser.evaluate(
        &tab,
        "setTimeout(() => { throw new TypeError('no order to place'); })",
    )?;
    watched.browser.wait_for(&tab, "seen.length === 1")?;
    let complaints = watched.browser.complaints(&tab)?;
    ensure!(complaints == ["Uncaught"], "{complaints:?}");
    watched.browser.close(tab)?;
    let left = std::time::Instant::now();

    let page = [("page", "/orders/{id}"), ("device", "desktop")];
    watched.probe.eventually(|metrics| {
        for name in [
            "lcp_seconds",
            "inp_seconds",
            "cls",
            "fcp_seconds",
            "ttfb_seconds",
        ] {
            let count = metrics.count(&format!("hostprobe_web_vital_{name}_count"), &page);
            ensure!(count == 1, "{count} of {name}");
        }
        let errors = metrics.counts_by("kind", "hostprobe_browser_errors_total", &page[..1]);
        ensure!(
            errors == BTreeMap::from([("error".into(), 1)]),
            "{errors:?}"
        );
        Ok(())
    })?;
    let metrics = watched.probe.metrics()?;
    let inp = metrics.sum("hostprobe_web_vital_inp_seconds_sum", &page);
    ensure!(
        (0.1..5.0).contains(&inp),
        "an interaction of 150 ms took {inp} s"
    );
    let cls = metrics.sum("hostprobe_web_vital_cls_sum", &page);
    ensure!(
        (0.05..1.0).contains(&cls),
        "a third of the page moved: {cls}"
    );
    ensure!(metrics.count("hostprobe_browser_page_views_total", &page) == 1);
    watched.nothing_refused()?;
    println!(
        "metrics had all {:?} after the tab was closed",
        left.elapsed()
    );
    Ok(())
}

#[test]
fn each_vital_comes_once_per_page_life_with_a_plausible_value() -> Result<()> {
    let mut watched = Watched::start(Way::Own, "")?;
    let tab = watched.open("/orders/17?token=secret#part")?;
    watched.browser.wait_for(&tab, "window.moved === true")?;
    watched.browser.click(&tab, "#busy")?;
    watched.browser.wait_for(
        &tab,
        "document.getElementById('text').textContent === 'Done.'",
    )?;
    watched.see_it_painted(&tab)?;
    watched.browser.close(tab)?;
    watched.beacons(|beacons| {
        let [[view, page, navigation]] = &views(beacons)?[..] else {
            bail!("one page life was expected");
        };
        ensure!(page == "/orders/17" && navigation == "navigate");
        let vitals = vitals_of(beacons, view)?;
        ensure!(names(&vitals) == VITALS, "{vitals:?}");
        let (ttfb, fcp, lcp) = (
            value(&vitals, "TTFB")?,
            value(&vitals, "FCP")?,
            value(&vitals, "LCP")?,
        );
        ensure!(
            0.0 < ttfb && ttfb <= fcp && fcp <= lcp && lcp < 60_000.0,
            "{ttfb} {fcp} {lcp}"
        );
        let (inp, cls) = (value(&vitals, "INP")?, value(&vitals, "CLS")?);
        ensure!(
            (100.0..5000.0).contains(&inp),
            "an interaction of 150 ms took {inp} ms"
        );
        ensure!(
            (0.05..1.0).contains(&cls),
            "a third of the page moved: {cls}"
        );
        ensure!(vitals["LCP"]["target"] == "#title", "{}", vitals["LCP"]);
        // The browser looks for the element when it is idle, which a busy one may not be before the end.
        let clicked = text(&vitals["INP"], "target")?;
        ensure!(["#busy", ""].contains(&clicked.as_str()), "{clicked}");
        ensure!(
            text(&vitals["INP"], "url")?.ends_with("/app.js"),
            "{}",
            vitals["INP"]
        );
        let moved = text(&vitals["CLS"], "target")?;
        ensure!(
            ["#title", "#text", "#busy", "#fail", "html>body"].contains(&moved.as_str()),
            "{moved}"
        );
        let resources: BTreeMap<String, u64> = items(beacons, view, "resources")
            .iter()
            .map(|sum| {
                Ok((
                    text(sum, "type")?,
                    sum["count"].as_u64().context("no count")?,
                ))
            })
            .collect::<Result<_>>()?;
        let expected = BTreeMap::from([("css".to_owned(), 1), ("script".to_owned(), 1)]);
        ensure!(resources == expected, "{resources:?}");
        let frames = beacons
            .iter()
            .filter_map(|beacon| beacon["long_frames"]["blocking_ms"].as_f64());
        ensure!(
            frames.sum::<f64>() > 50.0,
            "a frame of 150 ms blocks for 100"
        );
        ensure!(
            beacons
                .iter()
                .all(|beacon| !beacon.to_string().contains("secret"))
        );
        Ok(())
    })?;
    watched.nothing_refused()
}

#[test]
fn errors_rejections_and_failed_calls_arrive_once_and_the_page_sees_what_it_always_did()
-> Result<()> {
    let mut watched = Watched::start(Way::Own, "")?;
    let tab = watched.open("/")?;
    for button in ["throw", "throw", "reject", "buy"] {
        watched.browser.click(&tab, &format!("#{button}"))?;
    }
    watched.browser.wait_for(&tab, "seen.length === 3")?;
    let own = seen(&mut watched, &tab)?;
    let expected = [
        "error: Uncaught TypeError: no order to place",
        "error: Uncaught TypeError: no order to place",
        "rejection: RangeError: out of stock",
    ];
    ensure!(own == expected, "{own:?}");
    watched.browser.go(&tab, &watched.pages.at("/orders/18"))?;
    watched.wait_for_script(&tab)?;
    watched.browser.click(&tab, "#fail")?;
    // A call that nobody took care of is the page's own rejection, as without the script.
    watched.browser.wait_for(&tab, "seen.length === 1")?;
    let own = seen(&mut watched, &tab)?;
    ensure!(own == ["rejection: TypeError: Failed to fetch"], "{own:?}");
    watched.browser.close(tab)?;

    watched.beacons(|beacons| {
        let [[first, ..], [second, ..]] = &views(beacons)?[..] else {
            bail!("two page lives were expected");
        };
        let [thrown, rejected] = &items(beacons, first, "errors")[..] else {
            bail!("an error and a rejection were expected");
        };
        ensure!(
            thrown["kind"] == "error" && thrown["count"] == 2,
            "{thrown}"
        );
        ensure!(
            thrown["type"] == "TypeError" && thrown["message"] == "no order to place",
            "{thrown}"
        );
        ensure!(text(thrown, "stack")?.contains("placeOrder"), "{thrown}");
        ensure!(
            text(thrown, "source")?.ends_with("/app.js") && thrown["line"].as_u64() > Some(1),
            "{thrown}"
        );
        ensure!(
            rejected["kind"] == "unhandledrejection" && rejected["count"] == 1,
            "{rejected}"
        );
        ensure!(
            rejected["type"] == "RangeError" && rejected["message"] == "out of stock",
            "{rejected}"
        );
        let actions = items(beacons, first, "actions");
        let [action] = &actions[..] else {
            bail!("one action was expected: {actions:?}");
        };
        ensure!(action["name"] == "buy" && action["kind"] == "click" && action["count"] == 1);

        let calls = items(beacons, second, "calls");
        let short: Vec<_> = calls
            .iter()
            .map(|call| {
                (
                    call["path"].as_str(),
                    call["status"].as_u64(),
                    call["reason"].as_str(),
                    call["count"].as_u64(),
                )
            })
            .collect();
        let expected = [
            (Some("/api/broken"), Some(503), Some("status"), Some(1)),
            (
                Some("http://127.0.0.1:1/nobody"),
                Some(0),
                Some("network"),
                Some(1),
            ),
        ];
        ensure!(short == expected, "{calls:?}");
        let [error] = &items(beacons, second, "errors")[..] else {
            bail!("the rejection of the call was expected");
        };
        ensure!(!text(error, "stack")?.contains("vitals.js"), "{error}");
        Ok(())
    })?;
    watched.probe.eventually(|metrics| {
        let kinds = metrics.counts_by("kind", "hostprobe_browser_errors_total", &[("page", "/")]);
        ensure!(
            kinds == BTreeMap::from([("error".into(), 2), ("unhandledrejection".into(), 1)]),
            "{kinds:?}"
        );
        Ok(())
    })?;
    watched.nothing_refused()
}

/// For both ways of sending: a request that is under way could keep a page out of the cache.
#[test]
fn a_return_from_the_back_forward_cache_is_a_page_life_of_its_own() -> Result<()> {
    let mut watched = Watched::start(Way::Own, "")?;
    let tab = watched.open("/")?;
    watched.browser.click(&tab, "#next")?;
    watched.browser.wait_for(
        &tab,
        "location.pathname === '/orders/17' && document.readyState === 'complete'",
    )?;
    watched.wait_for_script(&tab)?;
    let restored = watched.browser.back(&tab)?;
    ensure!(
        restored,
        "the page did not come from the back-forward cache"
    );
    watched
        .browser
        .evaluate(&tab, "new Promise((done) => setTimeout(done, 200))")?;
    watched.browser.close(tab)?;
    watched.beacons(|beacons| {
        let views = views(beacons)?;
        let kinds: Vec<[&str; 2]> = views
            .iter()
            .map(|[_, page, kind]| [page.as_str(), kind.as_str()])
            .collect();
        let expected = [
            ["/", "navigate"],
            ["/orders/17", "navigate"],
            ["/", "back-forward-cache"],
        ];
        ensure!(kinds == expected, "{kinds:?}");
        let sessions: BTreeSet<String> = beacons
            .iter()
            .map(|beacon| text(beacon, "session"))
            .collect::<Result<_>>()?;
        ensure!(sessions.len() == 2, "a document is a session: {sessions:?}");
        for [view, ..] in &views {
            let vitals = vitals_of(beacons, view)?;
            for name in ["FCP", "LCP", "TTFB", "CLS"] {
                value(&vitals, name)?;
            }
        }
        let again = vitals_of(beacons, &views[2][0])?;
        ensure!(
            value(&again, "TTFB")? == 0.0,
            "nothing was asked for: {again:?}"
        );
        Ok(())
    })?;
    watched.nothing_refused()
}

#[test]
fn the_script_keeps_no_page_of_another_origin_out_of_the_back_forward_cache() -> Result<()> {
    let mut watched = Watched::start(Way::Other, "")?;
    let tab = watched.open("/")?;
    watched.browser.click(&tab, "#next")?;
    watched.browser.wait_for(
        &tab,
        "location.pathname === '/orders/17' && document.readyState === 'complete'",
    )?;
    watched.wait_for_script(&tab)?;
    let restored = watched.browser.back(&tab)?;
    ensure!(
        restored,
        "the page did not come from the back-forward cache"
    );
    watched.browser.close(tab)?;
    watched.probe.eventually(|metrics| {
        let kinds = metrics.counts_by("navigation", "hostprobe_browser_navigations_total", &[]);
        ensure!(
            kinds == BTreeMap::from([("navigate".into(), 2), ("back-forward-cache".into(), 1)]),
            "{kinds:?}"
        );
        Ok(())
    })?;
    watched.nothing_refused()
}

#[test]
fn views_of_a_single_page_app_are_told_apart() -> Result<()> {
    let mut watched = Watched::start(Way::Own, "")?;
    let tab = watched.open("/shop")?;
    for (link, path) in [("#to-list", "/shop/list"), ("#to-item", "/shop/items/42")] {
        watched.browser.click(&tab, link)?;
        watched.browser.wait_for(
            &tab,
            &format!("document.querySelector('h1').textContent.includes('{path},')"),
        )?;
        // The browser decides some time after the paint that this was a navigation.
        watched
            .browser
            .evaluate(&tab, "new Promise((done) => setTimeout(done, 500))")?;
    }
    watched.browser.evaluate(
        &tab,
        "setTimeout(() => { throw new TypeError('in the item'); })",
    )?;
    watched
        .browser
        .evaluate(&tab, "new Promise((done) => setTimeout(done, 100))")?;
    watched.browser.close(tab)?;
    watched.beacons(|beacons| {
        let views = views(beacons)?;
        let kinds: Vec<[&str; 2]> = views
            .iter()
            .map(|[_, page, kind]| [page.as_str(), kind.as_str()])
            .collect();
        let expected = [
            ["/shop", "navigate"],
            ["/shop/list", "soft-navigation"],
            ["/shop/items/42", "soft-navigation"],
        ];
        ensure!(kinds == expected, "{kinds:?}");
        for [view, page, _] in &views {
            let vitals = vitals_of(beacons, view)?;
            for name in ["FCP", "LCP", "TTFB", "CLS"] {
                value(&vitals, name).with_context(|| format!("of {page}"))?;
            }
            ensure!(value(&vitals, "LCP")? < 60_000.0);
        }
        let routes = items(beacons, &views[1][0], "actions");
        ensure!(
            routes.len() == 1 && routes[0]["kind"] == "route",
            "{routes:?}"
        );
        let errors = items(beacons, &views[2][0], "errors");
        ensure!(
            errors.len() == 1 && errors[0]["message"] == "in the item",
            "{errors:?}"
        );
        Ok(())
    })?;
    watched.nothing_refused()
}

#[test]
fn what_happens_offline_arrives_when_the_network_is_back() -> Result<()> {
    let mut watched = Watched::start(Way::Own, "")?;
    let tab = watched.open("/")?;
    watched.browser.set_offline(&tab, true)?;
    watched
        .browser
        .wait_for(&tab, "navigator.onLine === false")?;
    watched.browser.click(&tab, "#throw")?;
    watched.browser.click(&tab, "#reject")?;
    watched.browser.wait_for(&tab, "seen.length === 2")?;
    ensure!(watched.pages.beacons().is_empty());
    watched.browser.set_offline(&tab, false)?;
    watched.beacons(|beacons| {
        let [[view, ..]] = &views(beacons)?[..] else {
            bail!("one page life was expected");
        };
        ensure!(items(beacons, view, "errors").len() == 2);
        Ok(())
    })?;
    let own = seen(&mut watched, &tab)?;
    ensure!(own.len() == 2, "{own:?}");
    watched.browser.close(tab)?;
    watched.nothing_refused()
}

/// A blocker, a policy, an endpoint that is down: the page works, and its own listeners hear nothing.
#[test]
fn a_page_works_when_the_script_or_its_way_out_is_blocked() -> Result<()> {
    let nobody = free_address()?;
    let blocked = [
        // The script can't be loaded.
        (format!("http://{nobody}/vitals.js"), "", String::new()),
        (
            format!("http://{nobody}/vitals.js"),
            "",
            format!("http://{nobody}"),
        ),
        // It can, but not send: by the policy, and because nobody is there.
        (
            "/vitals.js".to_owned(),
            "data-endpoint=\"http://127.0.0.1:1/x\"",
            String::new(),
        ),
        (
            "/vitals.js".to_owned(),
            "data-endpoint=\"http://127.0.0.1:1/x\"",
            "http://127.0.0.1:1".to_owned(),
        ),
    ];
    let watched = Watched::start(Way::Own, "")?;
    let mut browser = watched.browser;
    for (script, attributes, policy) in blocked {
        let pages = Pages::serve(Options {
            script: script.clone(),
            attributes: attributes.to_owned(),
            policy: Some(policy),
            referrer: "no-referrer",
            probe: Some(watched.probe.address()),
        })?;
        let tab = browser.open(&pages.at("/"))?;
        browser.click(&tab, "#throw")?;
        browser.wait_for(&tab, "seen.length === 1")?;
        // As if the page was left, and came back.
        let hide = "Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true }); \
                    document.dispatchEvent(new Event('visibilitychange', { bubbles: true })); \
                    delete document.visibilityState; new Promise((done) => setTimeout(done, 300))";
        browser.evaluate(&tab, hide)?;
        let seen = browser.evaluate(&tab, "seen")?;
        ensure!(
            seen == serde_json::json!(["error: Uncaught TypeError: no order to place"]),
            "{script}: {seen}"
        );
        browser.close(tab)?;
        ensure!(pages.beacons().is_empty());
    }
    Ok(())
}

#[test]
fn who_asks_not_to_be_tracked_is_left_alone_and_so_is_who_is_not_in_the_sample() -> Result<()> {
    let mut watched = Watched::start(Way::Own, "")?;
    let tab = watched.browser.tab()?;
    watched.browser.prepare(
        &tab,
        "Object.defineProperty(navigator, 'globalPrivacyControl', { value: true })",
    )?;
    watched.browser.go(&tab, &watched.pages.at("/"))?;
    watched.browser.click(&tab, "#throw")?;
    watched.browser.wait_for(&tab, "seen.length === 1")?;
    ensure!(
        watched
            .pages
            .asked()
            .iter()
            .any(|path| path == "/vitals.js")
    );
    let untouched = watched
        .browser
        .evaluate(&tab, "window[Symbol.for('hostprobe.vitals')] === undefined")?;
    ensure!(untouched == true);
    watched.browser.close(tab)?;
    // One who may be watched comes after, so that what was to be seen of the first was seen.
    let tab = watched.open("/plain")?;
    watched.browser.close(tab)?;
    watched.beacons(|beacons| {
        let views = views(beacons)?;
        ensure!(views.len() == 1 && views[0][1] == "/plain", "{views:?}");
        Ok(())
    })?;
    // The page keeps nothing for the script, and the script keeps nothing on the page.
    let tab = watched.open("/")?;
    let kept = "document.cookie + localStorage.length + sessionStorage.length";
    ensure!(watched.browser.evaluate(&tab, kept)? == "00");
    watched.browser.close(tab)
}
