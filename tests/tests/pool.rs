//! Pools as the wire shows them, against what the program itself measures.

use std::{net::SocketAddr, thread, time::Instant};

use anyhow::{Context, Result, anyhow, ensure};
use end_to_end::{
    exposition::Metrics,
    http,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, nothing_lost},
    site::Site,
    web::WebApp,
};
use serde_json::Value;

/// Connections of the app's pool, in `tests/apps/pooled/pooled.py`.
const POOL: u64 = 2;

const WEB: (&str, &str) = ("service", "web");

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// One worker with more threads than connections.
fn pooled_app(postgres: &Postgres) -> Result<WebApp> {
    let database = postgres.address();
    WebApp::gunicorn(
        ("pooled", "pooled:app"),
        &[
            "--workers",
            "1",
            "--worker-class",
            "gthread",
            "--threads",
            "12",
        ],
        (&database.ip().to_string(), database.port()),
    )
}

fn ask(address: SocketAddr, path: &str) -> Result<Value> {
    let response = http::get(address, path, &[])?;
    let status = response.status;
    ensure!(status == 200, "{path}: {status}: {}", response.body);
    Ok(serde_json::from_str(&response.body)?)
}

/// Asks for `/slow` so many times at once; how long each waited for its connection, in seconds.
fn slow(address: SocketAddr, clients: u32) -> Result<Vec<f64>> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| ask(address, "/slow")))
            .collect();
        clients
            .into_iter()
            .map(|client| {
                let answer = client.join().map_err(|_| anyhow!("a client panicked"))??;
                let waited = answer.get("waited").and_then(Value::as_f64);
                waited.context("the app does not say how long it waited")
            })
            .collect()
    })
}

fn saturated(metrics: &Metrics) -> f64 {
    metrics.sum("hostprobe_db_pool_saturated_seconds_total", &[WEB])
}

fn waits(metrics: &Metrics) -> (u64, f64) {
    let labels = [WEB, ("source", "inferred")];
    (
        metrics.count("hostprobe_db_pool_wait_seconds_count", &labels),
        metrics.sum("hostprobe_db_pool_wait_seconds_sum", &labels),
    )
}

/// A user sees slow requests and fast statements: if this fails, nothing says that the requests
/// waited for a connection, or it says so of a pool that is large enough.
#[test]
fn requests_that_wait_for_a_connection_are_seen_as_the_app_measures_them() -> Result<()> {
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    let app = pooled_app(&postgres)?;
    let config = Config::new().with_payload().service("web", &[app.pid()]);
    let probe = Probe::start(&site, &config)?;
    ask(app.address(), "/fill")?;

    // As many as there are connections: all are busy, and nobody waits.
    slow(app.address(), 2)?;
    probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        let peak = metrics.count("hostprobe_db_pool_busy_connections_peak", &[WEB]);
        ensure!(peak == POOL, "{peak} connections busy at once");
        let idle = metrics.count("hostprobe_db_connections", &[WEB, ("state", "idle")]);
        ensure!(idle == POOL, "{idle} connections idle");
        let seen = (saturated(metrics), waits(metrics));
        ensure!(seen == (0.0, (0, 0.0)), "{seen:?} though nobody waited");
        let busy = metrics.sum("hostprobe_db_pool_busy_connection_seconds_total", &[WEB]);
        ensure!(
            (1.0..30.0).contains(&busy),
            "busy for {busy} s, not twice 0.5 s"
        );
        Ok(())
    })?;

    let began = Instant::now();
    let measured = slow(app.address(), 10).with_context(|| app.log())?;
    let elapsed = began.elapsed().as_secs_f64();
    // Who did not wait took a connection at once.
    let waited: Vec<f64> = measured.into_iter().filter(|wait| *wait > 0.25).collect();
    let truth: f64 = waited.iter().sum();
    ensure!(waited.len() == 8, "the app measured {waited:?}");
    probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        let (count, sum) = waits(metrics);
        ensure!(
            count == waited.len() as u64,
            "{count} waited, not {waited:?}"
        );
        let off = (sum / truth - 1.0).abs();
        ensure!(
            off < 0.2,
            "waited for {sum} s together, the app measured {truth} s"
        );
        // Until the last two have their connections: four times half a second.
        let saturated = saturated(metrics);
        ensure!(
            (1.5..elapsed).contains(&saturated),
            "saturated for {saturated} s of {elapsed} s"
        );
        Ok(())
    })?;
    probe.stop()?;
    app.stop()?;
    postgres.stop()
}

/// The server has no place for another connection: a user must see who is refused and how often,
/// and that the others are still there.
#[test]
fn connections_beyond_the_server_s_limit_are_counted_as_refused_on_both_sides() -> Result<()> {
    let site = site()?;
    let cluster = Cluster::create()?;
    let postgres = cluster
        .with("max_connections = 8\nsuperuser_reserved_connections = 0")?
        .start()?;
    let app = pooled_app(&postgres)?;
    let config = Config::new()
        .with_payload()
        .service("web", &[app.pid()])
        .service("database", &[postgres.pid()]);
    let probe = Probe::start(&site, &config)?;
    ask(app.address(), "/fill")?;
    let answer = ask(app.address(), "/more").with_context(|| app.log())?;
    let number = |name| answer.get(name).and_then(Value::as_u64).context(name);
    let (opened, refused) = (number("opened")?, number("refused")?);
    ensure!((opened, refused) == (8 - POOL, 2), "{answer}");
    let all = POOL + opened;
    for (service, side) in [("web", "client"), ("database", "server")] {
        let labels = [("service", service), ("side", side)];
        probe.eventually(|metrics| {
            nothing_lost(metrics)?;
            let by = |label, name| metrics.counts_by(label, name, &labels);
            let reasons = by("reason", "hostprobe_db_connection_errors_total");
            ensure!(
                reasons == [("too_many_connections".to_owned(), refused)].into(),
                "{side}: refused for {reasons:?}"
            );
            let connects = metrics.count("hostprobe_db_connect_duration_seconds_count", &labels);
            ensure!(connects == all, "{side}: {connects} connected, not {all}");
            let idle = [labels.as_slice(), &[("state", "idle")]].concat();
            let idle = metrics.count("hostprobe_db_connections", &idle);
            let open = metrics.count("hostprobe_db_connections", &labels);
            ensure!(
                (idle, open) == (all, all),
                "{side}: {idle} of {open} idle, not {all}"
            );
            Ok(())
        })?;
    }
    ask(app.address(), "/fewer")?;
    probe.eventually(|metrics| {
        for service in ["web", "database"] {
            let open = metrics.count("hostprobe_db_connections", &[("service", service)]);
            ensure!(open == POOL, "{service}: {open} connections are left");
        }
        Ok(())
    })?;
    probe.stop()?;
    app.stop()?;
    postgres.stop()
}
