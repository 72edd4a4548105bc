//! Real servers: what the probe says of them equals what their clients did.

use anyhow::{Result, ensure};
use end_to_end::{
    exposition::Metrics,
    http::Connection,
    postgres::{Cluster, Postgres},
    probe::{Config, Probe, nothing_lost},
    process::run_stopped,
    site::Site,
    web::WebApp,
};

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

fn bytes(metrics: &Metrics, service: &str, transport: &str, direction: &str) -> u64 {
    metrics.count(
        "hostprobe_socket_io_bytes_total",
        &[
            ("service", service),
            ("network_transport", transport),
            ("network_io_direction", direction),
        ],
    )
}

/// What the client sent is what the server received, and the other way round.
fn same_bytes(metrics: &Metrics, transport: &str) -> Result<()> {
    let there = (
        bytes(metrics, "client", transport, "transmit"),
        bytes(metrics, "server", transport, "receive"),
    );
    let back = (
        bytes(metrics, "server", transport, "transmit"),
        bytes(metrics, "client", transport, "receive"),
    );
    ensure!(
        there.0 > 0 && there.0 == there.1,
        "to the server: {there:?}"
    );
    ensure!(back.0 > 0 && back.0 == back.1, "to the client: {back:?}");
    Ok(())
}

/// pgbench as the service `client`, all of Postgres as `server`; both ends must agree.
fn pgbench_agrees_with_postgres(
    arguments: &[&str],
    connection: fn(&Postgres) -> Vec<String>,
    compare: impl Fn(&Metrics) -> Result<()>,
) -> Result<()> {
    let site = site()?;
    let postgres = Cluster::create()?.start()?;
    postgres.fill()?;
    let mut command = postgres.pgbench(&connection(&postgres))?;
    command.args(["-n"]).args(arguments);
    let mut client = run_stopped("pgbench", &command)?;
    let config = Config::new()
        .service("server", &[postgres.pid()])
        .service("client", &[client.pid()]);
    let probe = Probe::start(&site, &config)?;
    client.resume()?;
    client.wait_success()?;
    probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        compare(metrics)
    })?;
    probe.stop()?;
    postgres.stop()
}

#[test]
fn every_connection_of_pgbench_is_accepted_over_tcp() -> Result<()> {
    let arguments = ["-C", "-S", "-c", "2", "-t", "50"];
    pgbench_agrees_with_postgres(&arguments, Postgres::over_tcp, |metrics| {
        let client = [("service", "client")];
        let server = [("service", "server")];
        let made = metrics.count("hostprobe_tcp_connect_duration_seconds_count", &client);
        ensure!(made >= 100, "pgbench -C made only {made} connections");
        let accepts = metrics.count("hostprobe_tcp_accepts_total", &server);
        ensure!(accepts == made, "{made} made, {accepts} accepted");
        for labels in [client, server] {
            for name in ["opened", "closed"] {
                let name = format!("hostprobe_tcp_connections_{name}_total");
                let count = metrics.count(&name, &labels);
                ensure!(count == made, "{name}{labels:?} is {count}, not {made}");
            }
        }
        same_bytes(metrics, "tcp")
    })
}

#[test]
fn every_connection_of_pgbench_is_accepted_over_unix() -> Result<()> {
    let arguments = ["-C", "-S", "-c", "2", "-t", "50"];
    pgbench_agrees_with_postgres(&arguments, Postgres::over_unix, |metrics| {
        let made = metrics.count(
            "hostprobe_unix_connect_duration_seconds_count",
            &[("service", "client")],
        );
        ensure!(made >= 100, "pgbench -C made only {made} connections");
        let accepts = metrics.count("hostprobe_unix_accepts_total", &[("service", "server")]);
        ensure!(accepts == made, "{made} made, {accepts} accepted");
        same_bytes(metrics, "unix")
    })
}

#[test]
fn bytes_of_pgbench_equal_those_of_its_backends() -> Result<()> {
    for mode in ["simple", "prepared"] {
        let arguments = ["-c", "4", "-t", "200", "-M", mode];
        pgbench_agrees_with_postgres(&arguments, Postgres::over_tcp, |metrics| {
            same_bytes(metrics, "tcp")
        })?;
        pgbench_agrees_with_postgres(&arguments, Postgres::over_unix, |metrics| {
            same_bytes(metrics, "unix")
        })?;
    }
    Ok(())
}

#[test]
fn a_web_app_shows_what_its_client_did() -> Result<()> {
    const CONNECTIONS: u64 = 10;
    const REQUESTS: u64 = 20;
    let site = site()?;
    let app = WebApp::start()?;
    let probe = Probe::start(&site, &Config::new().service("web", &[app.pid()]))?;
    let mut sent = 0;
    let mut received = 0;
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(app.address())?;
        for item in 0..REQUESTS {
            let answer = connection.get(&format!("/items/{}", item * 50))?;
            ensure!(answer.status == 200, "the app answered {}", answer.status);
        }
        sent += connection.sent;
        received += connection.received;
    }
    probe.eventually(|metrics| {
        nothing_lost(metrics)?;
        let web = [("service", "web")];
        for name in [
            "hostprobe_tcp_accepts_total",
            "hostprobe_tcp_connections_opened_total",
            "hostprobe_tcp_connections_closed_total",
            "hostprobe_tcp_connection_duration_seconds_count",
        ] {
            let count = metrics.count(name, &web);
            ensure!(count == CONNECTIONS, "{name} is {count}, not {CONNECTIONS}");
        }
        let found = (
            bytes(metrics, "web", "tcp", "receive"),
            bytes(metrics, "web", "tcp", "transmit"),
        );
        ensure!(
            found == (sent, received),
            "the client sent {sent} bytes and received {received}; the probe has {found:?}"
        );
        let accepts = metrics.count(
            "hostprobe_syscalls_total",
            &[("service", "web"), ("syscall", "accept4")],
        );
        let empty = metrics.count(
            "hostprobe_syscall_errors_total",
            &[
                ("service", "web"),
                ("syscall", "accept4"),
                ("errno", "EAGAIN"),
            ],
        );
        ensure!(
            accepts - empty == CONNECTIONS,
            "{accepts} calls of accept4, {empty} of them without a connection"
        );
        Ok(())
    })?;
    probe.stop()?;
    app.stop()?;
    Ok(())
}
