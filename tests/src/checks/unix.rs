//! AF_UNIX connections, their bytes and their failures.

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{
    tcp::same_bytes,
    traced::{converse, is, run, same_calls},
};
use crate::{
    site::Site,
    workload::{
        stream::{RECEIVE_WAYS, SEND_WAYS},
        tally::Fact,
    },
};

/// Without this a service behind a unix socket, such as a local Postgres, would look idle.
pub(super) fn connects_equal_accepts_over_unix(site: &Site) -> Result<()> {
    conversation(site, &["connections=50", "bytes=20000"])?;
    conversation(site, &["connections=5", "bytes=50000", "inherit=1"])
}

/// Without this traffic would be missing for whoever uses the unlucky call.
pub(super) fn bytes_over_unix_are_equal_in_every_way(site: &Site) -> Result<()> {
    for way in SEND_WAYS {
        conversation(site, &[&format!("send={way}"), "connections=3"]).context(way)?;
    }
    for way in RECEIVE_WAYS {
        conversation(site, &[&format!("receive={way}"), "connections=3"]).context(way)?;
    }
    conversation(site, &["nonblocking=1", "wait=epoll", "peek=1"]).context("peeking")
}

fn conversation(site: &Site, options: &[&str]) -> Result<()> {
    let directory = TempDir::new()?;
    let path = format!("path={}", directory.path().join("socket").display());
    let talk = converse(site, &[&["family=unix", &path], options].concat())?;
    let connects = talk.client.fact(Fact::Connects)?;
    for (service, tally) in [("server", &talk.server), ("client", &talk.client)] {
        same_calls(&talk.metrics, service, tally)?;
        same_bytes(&talk.metrics, service, "unix", tally)?;
        let own = [("service", service)];
        is(
            &talk.metrics,
            "hostprobe_tcp_connections_opened_total",
            &own,
            0,
        )?;
        is(
            &talk.metrics,
            "hostprobe_unix_connect_errors_total",
            &own,
            0,
        )?;
    }
    let attempts = "hostprobe_unix_connect_duration_seconds_count";
    is(&talk.metrics, attempts, &[("service", "client")], connects)?;
    is(&talk.metrics, attempts, &[("service", "server")], 0)?;
    let accepts = "hostprobe_unix_accepts_total";
    is(&talk.metrics, accepts, &[("service", "server")], connects)?;
    is(&talk.metrics, accepts, &[("service", "client")], 0)?;
    talk.probe.stop()
}

/// Without this a missing or dead local server would only show as silence.
pub(super) fn refused_unix_connects_are_counted(site: &Site) -> Result<()> {
    let directory = TempDir::new()?;
    let path = format!("path={}", directory.path().join("socket").display());
    let run = run(site, &["refused", "count=20", "family=unix", &path])?;
    same_calls(&run.metrics, "app", &run.tally)?;
    let name = "hostprobe_unix_connect_errors_total";
    let errors = run.metrics.counts_by("errno", name, &[("service", "app")]);
    ensure!(
        errors.len() == 2 && errors["ECONNREFUSED"] == 20 && errors["ENOENT"] == 21,
        "the errors are {errors:?}"
    );
    is(
        &run.metrics,
        "hostprobe_unix_connect_duration_seconds_count",
        &[("service", "app")],
        0,
    )?;
    run.probe.stop()
}

/// Without this the traffic between a parent and its workers would be missing.
pub(super) fn bytes_through_a_socket_pair_are_counted(site: &Site) -> Result<()> {
    let run = run(site, &["pair", "connections=5", "bytes=10000"])?;
    same_calls(&run.metrics, "app", &run.tally)?;
    same_bytes(&run.metrics, "app", "unix", &run.tally)?;
    run.probe.stop()
}
