//! What strangers send: floods, nonsense, slowness. The daemon takes what is good, says why it
//! refuses the rest, counts all of it, stays small, and answers `/metrics` meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use end_to_end::{
    beacons::{Client, Flood, Post, resident_bytes},
    exposition::Metrics,
    http,
    probe::{Config, Probe, free_address},
    site::Site,
    waiting,
};

/// Memory that an attack may cost: the tables of clients and ids, bodies under way, and what an
/// allocator keeps. Far below what a table without bounds would take.
const MOST_GROWTH: u64 = 128 << 20;

/// Longest time for `/metrics` during an attack. A scrape takes milliseconds; the machine that runs
/// the test is shared, and its build not optimised.
const SCRAPE: Duration = Duration::from_secs(10);

fn start(vitals: &str) -> Result<Probe> {
    let site = Site::new(&[env!("CARGO_BIN_EXE_workload")])?;
    // No processes are watched: it is about what comes in by HTTP.
    let config = Config::new().service("nothing", &[std::process::id()]);
    Probe::start(&site, &config.with(&format!("[vitals]\n{vitals}\n[log]\nlevel = \"info\"")))
}

/// Rates that nobody reaches.
const WITHOUT_RATES: &str = "client_rate = 1000000\nclient_burst = 1000000\nrate = 1000000\nburst = 1000000";

fn refused(metrics: &Metrics) -> BTreeMap<String, u64> {
    metrics.counts_by("reason", "hostprobe_beacons_refused_total", &[])
}

fn accepted(metrics: &Metrics) -> u64 {
    metrics.count("hostprobe_beacons_accepted_total", &[])
}

/// Scrapes until it is told to stop; the longest time that one took, and how many there were.
fn scrape_until(probe: &Probe, stop: &AtomicBool) -> Result<(Duration, u32)> {
    let (mut longest, mut scrapes) = (Duration::ZERO, 0);
    while !stop.load(Ordering::Relaxed) || scrapes == 0 {
        let begin = Instant::now();
        probe.metrics()?;
        longest = longest.max(begin.elapsed());
        scrapes += 1;
    }
    Ok((longest, scrapes))
}

/// Runs `attack` while somebody scrapes.
fn while_scraped<T: Send>(
    probe: &Probe,
    attack: impl FnOnce() -> Result<T> + Send,
) -> Result<(T, Duration)> {
    let stop = AtomicBool::new(false);
    let (attacked, scraped) = std::thread::scope(|scope| {
        let scraper = scope.spawn(|| scrape_until(probe, &stop));
        let attacked = attack();
        stop.store(true, Ordering::Relaxed);
        (attacked, scraper.join().expect("the scraper panicked"))
    });
    let (longest, _) = scraped?;
    ensure!(longest < SCRAPE, "a scrape took {longest:?}");
    Ok((attacked?, longest))
}

#[test]
fn a_flood_of_one_client_is_refused_beyond_its_rate_and_another_client_is_not() -> Result<()> {
    let probe = start("client_rate = 50\nclient_burst = 200")?;
    let before = resident_bytes(probe.pid())?;
    let beacon = |n: u64| {
        let body = format!(
            r#"{{"v":1,"session":"{n:016x}","page":"/p{n}","started":true,
            "vitals":[{{"name":"LCP","value":1200,"id":"v6-{n}"}}],"actions":[{{"name":"a{n}"}}]}}"#
        );
        Post::new("/api/metrics", body)
    };
    let address = probe.address();
    let (flood, longest) = while_scraped(&probe, || Flood::run(address, 8, 40_000, beacon))?;
    println!(
        "{:.0} beacons a second for {:.1} s: {:?}; longest scrape {longest:?}",
        flood.rate(),
        flood.took.as_secs_f64(),
        flood.statuses
    );
    // Whom a proxy forwards is somebody else.
    let neighbour = beacon(1).header("X-Forwarded-For", "198.51.100.7");
    ensure!(neighbour.send(address)?.status == 204, "the neighbour was refused");
    let metrics = probe.metrics()?;
    ensure!(
        accepted(&metrics) == flood.count(204) + 1,
        "{} were taken, {:?} answered",
        accepted(&metrics),
        flood.statuses
    );
    let refused = refused(&metrics);
    let sum: u64 = refused.values().sum();
    ensure!(sum + flood.count(204) == 40_000, "{refused:?}, {:?}", flood.statuses);
    ensure!(
        refused.get("client_rate").copied() == Some(flood.count(429)),
        "{refused:?}, {:?}",
        flood.statuses
    );
    ensure!(flood.count(429) > 0 && flood.count(204) >= 200, "{:?}", flood.statuses);
    let grown = resident_bytes(probe.pid())?.saturating_sub(before);
    println!("resident memory grew by {} KiB", grown / 1024);
    ensure!(grown < MOST_GROWTH, "{grown} bytes");
    probe.stop()
}

/// A name of letters for each number.
fn word(mut number: u64) -> String {
    let mut word = String::from("w");
    while number > 0 {
        let letter = u8::try_from(number % 26).expect("less than 26");
        word.push(char::from(b'a' + letter));
        number /= 26;
    }
    word
}

/// Scanner paths took somebody's bill from a quarter to half a million of series.
#[test]
fn a_million_pages_make_no_more_series_than_the_configuration_allows() -> Result<()> {
    let probe = start(&format!("{WITHOUT_RATES}\nmax_pages = 40\npages = [\"/cart\"]"))?;
    let address = probe.address();
    let before = resident_bytes(probe.pid())?;
    const EACH: u64 = 250;
    let beacon = |n: u64| {
        let pages = (n * EACH..(n + 1) * EACH).map(|page| {
            // Some differ in the first segment, some deeper, and some look like ids. Words have no
            // digits, so that nothing but counting helps.
            let path = match page % 3 {
                0 => format!("/{}", word(page)),
                1 => format!("/{}/{}/edit", word(page % 977), word(page)),
                _ => format!("/item/{page}/{}", word(page % 1_009)),
            };
            format!(r#"{{"name":"LCP","value":{},"id":"v-{page}","page":"{path}"}}"#, page % 9_000)
        });
        let pages: Vec<String> = pages.collect();
        Post::new("/api/metrics", format!("[{}]", pages.join(",")))
    };
    let (flood, longest) = while_scraped(&probe, || Flood::run(address, 4, 4_000, beacon))?;
    println!(
        "{} pages in {:.1} s; longest scrape {longest:?}",
        4_000 * EACH,
        flood.took.as_secs_f64()
    );
    ensure!(flood.count(204) == 4_000, "{:?}", flood.statuses);
    let cart = Post::new("/api/metrics", r#"{"name":"LCP","value":7,"page":"/cart"}"#);
    ensure!(cart.send(address)?.status == 204, "the shop's own page");
    // No value is lost: all are observed once nothing grows any more.
    let metrics = probe.eventually(|metrics| {
        let observed = metrics.count("hostprobe_web_vital_lcp_seconds_count", &[]);
        ensure!(observed == 4_000 * EACH + 1, "{observed} observed");
        Ok(metrics.clone())
    })?;
    let pages = metrics.counts_by("page", "hostprobe_web_vital_lcp_seconds_count", &[]);
    ensure!(pages.len() <= 40 + 2, "{} pages: {:?}", pages.len(), pages.keys());
    ensure!(pages.get("/cart") == Some(&1) && pages.contains_key("other"), "{pages:?}");
    let browsers = metrics.samples.iter().filter(|sample| {
        sample.name.starts_with("hostprobe_web_vital") || sample.name.starts_with("hostprobe_b")
    });
    let browsers = browsers.count();
    ensure!(browsers < 42 * 20 + 200, "{browsers} series of browsers");
    let grown = resident_bytes(probe.pid())?.saturating_sub(before);
    println!("{browsers} series; resident memory grew by {} KiB", grown / 1024);
    ensure!(grown < MOST_GROWTH, "{grown} bytes");
    probe.stop()
}

const LCP: &str = r#"{"name":"LCP","value":1200,"id":"v6-1","page":"/a"}"#;

fn zip(body: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(body).expect("memory takes all");
    gzip.finish().expect("memory takes all")
}

#[test]
fn nonsense_is_refused_with_the_reason_and_counted_exactly() -> Result<()> {
    let probe = start(&format!(
        "{WITHOUT_RATES}\nallowed_origins = [\"https://shop.example\"]"
    ))?;
    let address = probe.address();
    let before = resident_bytes(probe.pid())?;
    let post = |body: &str| Post::new("/api/metrics", body.to_owned());
    let bomb = zip(&vec![b' '; 50 << 20]);
    let attacks: Vec<(Post, u16, &str, u64)> = vec![
        (post(&"[".repeat(60_000)), 400, "too_deep", 40),
        (post(&"{\"a\":".repeat(12_000)), 400, "too_deep", 40),
        (post(&" ".repeat(65_537)), 413, "too_large", 40),
        (
            Post::new("/api/metrics", bomb).header("Content-Encoding", "gzip"),
            413,
            "too_large",
            10,
        ),
        (post(LCP).header("Content-Encoding", "gzip"), 400, "broken", 20),
        (post(LCP).header("Content-Encoding", "zstd"), 415, "encoding", 20),
        (post(r#"{"name":"LCP","value":NaN}"#), 400, "malformed", 30),
        (post(r#"{"name":"LCP","value":1e999}"#), 400, "malformed", 30),
        (post("\u{0}\u{1}"), 400, "malformed", 30),
        (post(r#"{"name":"LCP","value":-1}"#), 400, "invalid", 30),
        (post(r#"{"name":"XXX","value":1}"#), 400, "invalid", 30),
        (post(&format!("[{}]", [LCP; 257].join(","))), 400, "too_many", 30),
        (post("{}"), 400, "empty", 30),
        (
            post(LCP).header("Origin", "https://evil.example").header("Sec-Fetch-Site", "cross-site"),
            403,
            "origin",
            50,
        ),
        (post(LCP).header("Origin", "https://shop.example"), 204, "", 25),
        (post(LCP).header("Origin", "http://localhost"), 204, "", 25),
    ];
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    let mut good = 0;
    for (post, status, reason, times) in &attacks {
        for _ in 0..*times {
            let answer = post.send(address)?;
            ensure!(answer.status == *status, "{reason}: {answer:?}");
            ensure!(
                *status == 204 || answer.body.contains("\"detail\":"),
                "{reason}: {answer:?}"
            );
        }
        match *reason {
            "" => good += times,
            reason => *expected.entry(reason.to_owned()).or_default() += times,
        }
    }
    let metrics = probe.metrics()?;
    ensure!(refused(&metrics) == expected, "{:?} and not {expected:?}", refused(&metrics));
    ensure!(accepted(&metrics) == good, "{} and not {good}", accepted(&metrics));
    let grown = resident_bytes(probe.pid())?.saturating_sub(before);
    println!("resident memory grew by {} KiB", grown / 1024);
    ensure!(grown < MOST_GROWTH, "{grown} bytes");
    probe.stop()
}

/// Bodies that never come must neither block others nor be waited for.
#[test]
fn slow_bodies_are_given_up_and_the_daemon_answers_meanwhile() -> Result<()> {
    let probe = start(WITHOUT_RATES)?;
    let address = probe.address();
    const SLOW: usize = 48;
    let slow: Vec<Client> = (0..SLOW)
        .map(|_| Post::new("/api/metrics", LCP).send_half(address))
        .collect::<Result<_>>()?;
    let ((statuses, other), longest) = while_scraped(&probe, move || {
        // Another client's beacon gets through while they are waited for.
        let other = Post::new("/api/metrics", LCP).header("X-Forwarded-For", "198.51.100.9");
        let other = other.send(address)?.status;
        let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
        for mut client in slow {
            *statuses.entry(client.answer()?.status).or_default() += 1;
        }
        Ok((statuses, other))
    })?;
    println!("{statuses:?}; longest scrape {longest:?}");
    ensure!(other == 204, "{other}");
    // So many of one client are read at once; the others are told to come again.
    ensure!(statuses == BTreeMap::from([(408, 32), (503, 16)]), "{statuses:?}");
    let refused = refused(&probe.metrics()?);
    let expected = BTreeMap::from([("slow".to_owned(), 32), ("busy".to_owned(), 16)]);
    ensure!(refused == expected, "{refused:?}");
    probe.stop()
}

#[test]
fn browsers_have_an_address_of_their_own_where_nothing_else_is() -> Result<()> {
    let own: SocketAddr = free_address()?;
    let probe = start(&format!("listen = \"{own}\"\nsample_rate = 0.5"))?;
    let script = http::get(own, "/vitals.js", &[("Origin", "https://shop.example")])?;
    ensure!(script.status == 200, "{script:?}");
    ensure!(script.body.contains("\"sample\":0.5"), "the configured default");
    ensure!(script.body == probe.get("/vitals.js", &[])?.body, "the same at both addresses");
    for path in ["/", "/metrics", "/api/status", "/api/openapi.json", "/healthz"] {
        ensure!(http::get(own, path, &[])?.status == 404, "{path} is there");
    }
    let batch = r#"{"v":1,"session":"00000000000000aa","page":"/orders/17","app":"shop","device":"mobile",
        "navigation":"navigate","started":true,
        "vitals":[{"name":"LCP","value":1200,"id":"v6-1"},{"name":"CLS","value":0.3,"id":"v6-2"}]}"#;
    for address in [own, probe.address()] {
        let answer = Post::new("/api/metrics", batch).send(address)?;
        ensure!(answer.status == 204, "{answer:?}");
    }
    // Within five seconds of leaving the page; the deadline of the test is generous.
    let metrics = waiting::eventually(waiting::PATIENCE, || {
        let metrics = probe.metrics()?;
        let labels = [("page", "/orders/{id}"), ("device", "mobile")];
        let observed = metrics.count("hostprobe_web_vital_lcp_seconds_count", &labels);
        ensure!(observed == 1, "{observed} values of LCP: the same id twice is one value");
        Ok(metrics)
    })?;
    let labels = [("vital", "CLS"), ("rating", "poor")];
    ensure!(metrics.count("hostprobe_web_vital_ratings_total", &labels) == 1, "the rating");
    let views = metrics.count("hostprobe_browser_page_views_total", &[("device", "mobile")]);
    ensure!(views == 2, "{views} page views");
    let users = metrics.count("hostprobe_active_users", &[("service", "shop")]);
    ensure!(users == 1, "{users} users");
    let names: BTreeSet<&str> = metrics.samples.iter().map(|sample| &*sample.name).collect();
    ensure!(names.contains("hostprobe_web_vital_cls_bucket"), "{names:?}");
    probe.stop()
}
