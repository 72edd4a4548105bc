//! Every web server that people use: what the probe says of its requests equals its own access log,
//! and what its client counted.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use end_to_end::{
    exposition::Metrics,
    probe::{Config, Probe, nothing_lost},
    servers::{Asked, Client, Requests, Server},
    site::Site,
    tls::Certificate,
};
use tempfile::TempDir;

/// Everything that a server does that keeps connections.
const ALL: [&str; 12] = [
    "keep_alive",
    "session",
    "close",
    "old",
    "heads",
    "pipelined",
    "chunked",
    "large",
    "expect",
    "leaves",
    "breaks",
    "websocket",
];

/// What is left where each request has a connection of its own.
const SINGLE: [&str; 8] = [
    "keep_alive",
    "session",
    "close",
    "old",
    "heads",
    "chunked",
    "large",
    "expect",
];

/// By method, route and status.
type ByRoute = BTreeMap<(String, String, u16), i64>;

/// By method and status.
type ByStatus = BTreeMap<(String, u16), i64>;

/// One client and the server that it asks.
struct Pair<'a> {
    name: &'static str,
    server: &'a Server,
    client: Client,
    /// Whether the server's log has the requests whose clients went away.
    logs_abandoned: bool,
    /// Whether the server keeps back what the client does not take. One that encrypts in memory has
    /// handed over the whole answer, and cannot know when it is broken off.
    holds_back: bool,
}

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// Nothing lost, and no request that was not known. Where a call holds more chunks than a record
/// does, their sizes are hidden, and the end of the content has to be found again: that is counted,
/// too, and no request may be the worse for it.
fn all_certain(metrics: &Metrics) -> Result<()> {
    nothing_lost(metrics)?;
    let mut problems = metrics.counts_by("problem", "hostprobe_stream_problems_total", &[]);
    problems.remove("desynchronised");
    ensure!(problems.is_empty(), "not sure of everything: {problems:?}");
    Ok(())
}

/// The route that the probe learns from these paths.
fn route(path: &str, status: u16) -> String {
    if status == 404 {
        return "unmatched".into();
    }
    match path.split_once("/items/") {
        Some((before, _)) => format!("{before}/items/{{id}}"),
        None => path.to_owned(),
    }
}

fn by_route(requests: &Requests) -> ByRoute {
    let mut routes = ByRoute::new();
    for ((method, path, status), count) in requests {
        let key = (method.clone(), route(path, *status), *status);
        *routes.entry(key).or_default() += count;
    }
    routes
}

fn by_status(requests: &Requests) -> ByStatus {
    let mut statuses = ByStatus::new();
    for ((method, _, status), count) in requests {
        *statuses.entry((method.clone(), *status)).or_default() += count;
    }
    statuses
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "counts of a test are far below 2^53"
)]
fn served(metrics: &Metrics, service: &str) -> ByRoute {
    let labels = [("service", service)];
    let mut routes = ByRoute::new();
    for sample in metrics.matching("http_server_request_duration_seconds_count", &labels) {
        let label = |key: &str| sample.labels.get(key).cloned().unwrap_or_default();
        let key = (
            label("http_request_method"),
            label("http_route"),
            label("http_response_status_code").parse().unwrap_or(999),
        );
        *routes.entry(key).or_default() += sample.value as i64;
    }
    routes.retain(|_, count| *count > 0);
    routes
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "counts of a test are far below 2^53"
)]
fn asked(metrics: &Metrics, service: &str) -> ByStatus {
    let labels = [("service", service)];
    let mut statuses = ByStatus::new();
    for sample in metrics.matching("http_client_request_duration_seconds_count", &labels) {
        let label = |key: &str| sample.labels.get(key).cloned().unwrap_or_default();
        let key = (
            label("http_request_method"),
            label("http_response_status_code").parse().unwrap_or(999),
        );
        *statuses.entry(key).or_default() += sample.value as i64;
    }
    statuses.retain(|_, count| *count > 0);
    statuses
}

fn equal<K: Ord + Clone + std::fmt::Debug>(
    what: &str,
    counted: &BTreeMap<K, i64>,
    truth: &BTreeMap<K, i64>,
) -> Result<()> {
    let mut wrong = Vec::new();
    let mut keys: Vec<&K> = counted.keys().chain(truth.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let of = |counts: &BTreeMap<K, i64>| counts.get(key).copied().unwrap_or(0);
        if of(counted) != of(truth) {
            wrong.push(format!("{key:?}: {}, not {}", of(counted), of(truth)));
        }
    }
    ensure!(wrong.is_empty(), "{what}: {}", wrong.join("; "));
    Ok(())
}

/// The probe, the client and the access log of one server agree.
fn pair_agrees(metrics: &Metrics, pair: &Pair<'_>, client: &Asked) -> Result<()> {
    let own = by_route(&client.requests);
    let mut log = by_route(&pair.server.answered()?);
    if !pair.logs_abandoned {
        // They are not in the log, so that the client has to be believed.
        log.extend(
            own.iter()
                .filter(|((_, _, status), _)| *status == 0)
                .map(|(key, count)| (key.clone(), *count)),
        );
    }
    equal("the client's own count, by the access log", &own, &log)?;
    equal("as server", &served(metrics, pair.name), &log)?;
    let service = format!("{}-client", pair.name);
    equal(
        "as client",
        &asked(metrics, &service),
        &by_status(&client.requests),
    )?;
    for (path, (certain, all)) in &client.sent {
        let labels = [("service", pair.name), ("http_route", path)];
        let counted = metrics.count("hostprobe_http_server_request_body_bytes_total", &labels);
        ensure!(
            (*certain..=*all).contains(&counted),
            "{counted} bytes sent to {path}, not {certain} to {all}"
        );
    }
    // As many left before the answer as broke it off.
    let left = abandoned(&client.requests);
    let expected = if pair.holds_back { 2 * left } else { left };
    let aborted = metrics.count(
        "hostprobe_http_server_aborted_total",
        &[("service", pair.name)],
    );
    ensure!(
        aborted == expected,
        "{aborted} were broken off, not {expected}"
    );
    let active = metrics.count("http_server_active_requests", &[("service", pair.name)]);
    ensure!(active == 0, "{active} requests are under way");
    Ok(())
}

fn abandoned(requests: &Requests) -> u64 {
    let counts = requests.iter().filter(|((_, _, status), _)| *status == 0);
    counts.map(|(_, count)| count.unsigned_abs()).sum()
}

/// Runs every client, and compares; `more` are the servers that were asked by other servers.
fn all_agree(mut pairs: Vec<Pair<'_>>, more: &[(&str, &Server)]) -> Result<()> {
    let mut config = Config::new().with_payload();
    for pair in &pairs {
        config = config
            .service(pair.name, &[pair.server.pid()])
            .service(&format!("{}-client", pair.name), &[pair.client.pid()]);
    }
    for (name, server) in more {
        config = config.service(name, &[server.pid()]);
    }
    let probe = Probe::start(&site()?, &config)?;
    let mut wrong = Vec::new();
    for pair in &mut pairs {
        let client = pair.client.run().with_context(|| pair.name)?;
        let compared = probe.eventually(|metrics| {
            all_certain(metrics)?;
            pair_agrees(metrics, pair, &client)?;
            equal(
                "as client of another server",
                &asked(metrics, pair.name),
                &pair.server.asked()?,
            )
        });
        if let Err(error) = compared {
            wrong.push(format!("{}: {error:#}", pair.name));
        }
    }
    for (name, server) in more {
        let compared = probe.eventually(|metrics| {
            equal(
                "as server of another server",
                &served(metrics, name),
                &by_route(&server.answered()?),
            )
        });
        if let Err(error) = compared {
            wrong.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    probe.stop()?;
    Ok(())
}

/// A pair whose client asks for some of the scenarios, all paths with a prefix.
fn pair<'a>(
    name: &'static str,
    server: &'a Server,
    certificate: Option<&Certificate>,
    prefix: &str,
    scenarios: &[&str],
) -> Result<Pair<'a>> {
    Ok(Pair {
        name,
        server,
        client: Client::start(server.address(), certificate, prefix, scenarios)?,
        logs_abandoned: name != "uvicorn",
        holds_back: certificate.is_none() || !matches!(name, "uvicorn" | "node"),
    })
}

fn uvicorn_and_nginx(certificate: Option<&Certificate>) -> Result<()> {
    let uvicorn = Server::uvicorn(certificate)?;
    let behind = Server::node(None)?;
    let nginx = Server::nginx(behind.address(), certificate)?;
    let files = Server::nginx(behind.address(), certificate)?;
    let of_files = ["files", "heads"];
    let pairs = vec![
        pair("uvicorn", &uvicorn, certificate, "", &ALL)?,
        pair("nginx-proxy", &nginx, certificate, "/node", &ALL)?,
        pair("nginx-files", &files, certificate, "/static", &of_files)?,
    ];
    all_agree(pairs, &[("node-behind", &behind)])?;
    for server in [uvicorn, nginx, files, behind] {
        server.stop()?;
    }
    Ok(())
}

fn node_and_gunicorn(certificate: Option<&Certificate>) -> Result<()> {
    let node = Server::node(certificate)?;
    let gunicorn = Server::gunicorn(certificate)?;
    let pairs = vec![
        pair("node", &node, certificate, "", &ALL)?,
        pair("gunicorn", &gunicorn, certificate, "", &SINGLE)?,
    ];
    all_agree(pairs, &[])?;
    node.stop()?;
    gunicorn.stop()
}

fn with_tls(compare: fn(Option<&Certificate>) -> Result<()>) -> Result<()> {
    let directory = TempDir::new()?;
    compare(Some(&Certificate::create(directory.path())?))
}

#[test]
fn uvicorn_and_nginx_equal_their_access_logs() -> Result<()> {
    uvicorn_and_nginx(None)
}

#[test]
fn uvicorn_and_nginx_equal_their_access_logs_over_tls() -> Result<()> {
    with_tls(uvicorn_and_nginx)
}

#[test]
fn node_and_gunicorn_equal_their_access_logs() -> Result<()> {
    node_and_gunicorn(None)
}

#[test]
fn node_and_gunicorn_equal_their_access_logs_over_tls() -> Result<()> {
    with_tls(node_and_gunicorn)
}
