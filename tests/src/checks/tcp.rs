//! TCP connections, their bytes and their failures.

use anyhow::{Context, Result, ensure};

use super::traced::{Conversation, converse, is, run, same_calls};
use crate::{
    exposition::Metrics,
    site::Site,
    workload::{
        stream::{RECEIVE_WAYS, SEND_WAYS},
        tally::{Fact, Tally},
    },
};

/// Connections of the checks that don't care how many there are.
const CONNECTIONS: u64 = 5;

/// Without this a user can't trust a connection count.
pub(super) fn connects_equal_accepts_over_ipv4(site: &Site) -> Result<()> {
    let talk = converse(site, &["family=4", "connections=50", "bytes=20000"])?;
    ensure!(talk.client.fact(Fact::Connects)? == 50, "{:?}", talk.client);
    complete(&talk)?;
    talk.probe.stop()
}

/// The same over IPv6.
pub(super) fn connects_equal_accepts_over_ipv6(site: &Site) -> Result<()> {
    if !site.has_ipv6()? {
        return Ok(());
    }
    let talk = converse(site, &["family=6", "connections=50", "bytes=20000"])?;
    ensure!(talk.client.fact(Fact::Connects)? == 50, "{:?}", talk.client);
    complete(&talk)?;
    talk.probe.stop()
}

/// Without this every asynchronous client would be missing.
pub(super) fn nonblocking_connects_equal_accepts(site: &Site) -> Result<()> {
    for wait in ["wait=poll", "wait=epoll"] {
        let talk = converse(site, &["nonblocking=1", wait, "bytes=300000"])?;
        ensure!(
            talk.client
                .errors
                .get(&("connect".into(), "EINPROGRESS".into()))
                == Some(&CONNECTIONS),
            "no connect was under way when it returned: {:?}",
            talk.client
        );
        complete(&talk).context(wait)?;
        talk.probe.stop()?;
    }
    Ok(())
}

/// Without this traffic would be missing for whoever uses the unlucky call.
pub(super) fn bytes_are_equal_for_every_way_of_sending(site: &Site) -> Result<()> {
    for way in SEND_WAYS {
        let option = format!("send={way}");
        let talk = converse(site, &[&option, "bytes=200001"])?;
        ensure!(talk.client.calls(way) > 0, "no {way}: {:?}", talk.client);
        complete(&talk).context(option)?;
        talk.probe.stop()?;
    }
    Ok(())
}

/// The same for receiving.
pub(super) fn bytes_are_equal_for_every_way_of_receiving(site: &Site) -> Result<()> {
    for way in RECEIVE_WAYS {
        let option = format!("receive={way}");
        let talk = converse(site, &[&option, "bytes=200001"])?;
        ensure!(talk.client.calls(way) > 0, "no {way}: {:?}", talk.client);
        complete(&talk).context(option)?;
        talk.probe.stop()?;
    }
    Ok(())
}

/// Without this servers that peek (most TLS terminators) would seem to receive more than was sent.
pub(super) fn peeked_bytes_are_not_counted(site: &Site) -> Result<()> {
    let talk = converse(site, &["peek=1", "bytes=100000"])?;
    ensure!(talk.server.fact(Fact::Peeked)? > 0, "{:?}", talk.server);
    complete(&talk)?;
    talk.probe.stop()
}

/// Without this every server that forks per connection, such as Postgres, would be blind.
pub(super) fn inherited_and_duplicated_descriptors_are_followed(site: &Site) -> Result<()> {
    let talk = converse(site, &["inherit=1", "bytes=100000"])?;
    complete(&talk)?;
    talk.probe.stop()
}

/// Without this a pool that was opened before the probe would stay unseen for ever.
pub(super) fn connections_open_before_the_probe_are_adopted(site: &Site) -> Result<()> {
    let talk = converse(site, &["before=1", "bytes=100000"])?;
    for (service, tally) in [("server", &talk.server), ("client", &talk.client)] {
        let own = [("service", service)];
        same_calls(&talk.metrics, service, tally)?;
        same_bytes(&talk.metrics, service, "tcp", tally)?;
        for name in ["adopted", "opened", "closed"] {
            let name = format!("hostprobe_tcp_connections_{name}_total");
            is(&talk.metrics, &name, &own, CONNECTIONS)?;
        }
        // Their beginning was not seen, so nothing is said about it.
        for name in [
            "hostprobe_tcp_connection_duration_seconds_count",
            "hostprobe_tcp_connect_duration_seconds_count",
            "hostprobe_tcp_accepts_total",
        ] {
            is(&talk.metrics, name, &own, 0)?;
        }
        round_trips(&talk.metrics, service)?;
    }
    talk.probe.stop()
}

/// Without this a client that shuts down early would lose the answer's bytes.
pub(super) fn half_closed_connections_are_whole(site: &Site) -> Result<()> {
    let talk = converse(site, &["ending=half", "bytes=100000"])?;
    complete(&talk)?;
    talk.probe.stop()
}

/// Without this a user can't tell who hung up.
pub(super) fn resets_are_counted_by_direction(site: &Site) -> Result<()> {
    // With less than one chunk everything has arrived before half of it is read.
    for (ending, sender, receiver) in [
        ("ending=reset", "client", "server"),
        ("ending=unread", "server", "client"),
    ] {
        let talk = converse(site, &[ending, "bytes=10000"])?;
        complete_but_resets(&talk)?;
        for (service, direction, count) in [
            (sender, "sent", CONNECTIONS),
            (sender, "received", 0),
            (receiver, "sent", 0),
            (receiver, "received", CONNECTIONS),
        ] {
            let labels = [("service", service), ("direction", direction)];
            is(&talk.metrics, "hostprobe_tcp_resets_total", &labels, count).context(ending)?;
        }
        talk.probe.stop()?;
    }
    Ok(())
}

/// Without this a dead upstream would only show as silence.
pub(super) fn refused_connects_are_counted(site: &Site) -> Result<()> {
    for family in ["family=4", "family=6"] {
        if family == "family=6" && !site.has_ipv6()? {
            continue;
        }
        let run = run(site, &["refused", "count=20", family])?;
        same_calls(&run.metrics, "app", &run.tally)?;
        failed_attempts(&run.metrics, "ECONNREFUSED", 20 + 21)?;
        run.probe.stop()?;
    }
    Ok(())
}

/// Without this a client's own time-out, the usual sign of an overloaded server, would be missing.
pub(super) fn abandoned_connects_are_counted_and_so_are_retransmits(site: &Site) -> Result<()> {
    let run = run(site, &["abandoned", "count=3", "ms=1500"])?;
    same_calls(&run.metrics, "app", &run.tally)?;
    failed_attempts(&run.metrics, "abandoned", 3)?;
    let retransmits = run.tally.fact(Fact::Retransmits)?;
    ensure!(retransmits > 0, "no SYN was sent again: {:?}", run.tally);
    is(
        &run.metrics,
        "hostprobe_tcp_retransmits_total",
        &[("service", "app")],
        retransmits,
    )?;
    run.probe.stop()
}

/// Without this DNS traffic would be counted as TCP.
pub(super) fn datagrams_are_neither_tcp_nor_unix(site: &Site) -> Result<()> {
    let run = run(site, &["datagrams", "count=50"])?;
    ensure!(run.tally.fact(Fact::Sent)? > 0, "{:?}", run.tally);
    same_calls(&run.metrics, "app", &run.tally)?;
    for name in [
        "hostprobe_socket_io_bytes_total",
        "hostprobe_tcp_connections_opened_total",
        "hostprobe_tcp_connect_duration_seconds_count",
        "hostprobe_tcp_connect_errors_total",
    ] {
        is(&run.metrics, name, &[("service", "app")], 0)?;
    }
    run.probe.stop()
}

/// Attempts of the service `app` failed with this error so often, with no other, and none
/// succeeded.
fn failed_attempts(metrics: &Metrics, errno: &str, count: u64) -> Result<()> {
    let name = "hostprobe_tcp_connect_errors_total";
    let labels = [("service", "app"), ("errno", errno)];
    is(metrics, name, &labels, count)?;
    is(metrics, name, &[("service", "app")], count)?;
    for name in [
        "hostprobe_tcp_connect_duration_seconds_count",
        "hostprobe_tcp_connections_opened_total",
        "hostprobe_tcp_connections_open",
    ] {
        is(metrics, name, &[("service", "app")], 0)?;
    }
    Ok(())
}

/// Everything that both ends know about connections that were made and closed under the probe.
fn complete(talk: &Conversation) -> Result<()> {
    complete_but_resets(talk)?;
    is(&talk.metrics, "hostprobe_tcp_resets_total", &[], 0)
}

fn complete_but_resets(talk: &Conversation) -> Result<()> {
    let metrics = &talk.metrics;
    let connects = talk.client.fact(Fact::Connects)?;
    ensure!(
        talk.server.fact(Fact::Accepts)? == connects,
        "the workload itself lost a connection"
    );
    for (service, tally) in [("server", &talk.server), ("client", &talk.client)] {
        let own = [("service", service)];
        same_calls(metrics, service, tally)?;
        same_bytes(metrics, service, "tcp", tally)?;
        for name in [
            "hostprobe_tcp_connections_opened_total",
            "hostprobe_tcp_connections_closed_total",
            "hostprobe_tcp_connection_duration_seconds_count",
        ] {
            is(metrics, name, &own, connects)?;
        }
        for name in [
            "hostprobe_tcp_connections_adopted_total",
            "hostprobe_tcp_connections_open",
            "hostprobe_tcp_connect_errors_total",
        ] {
            is(metrics, name, &own, 0)?;
        }
        round_trips(metrics, service)?;
    }
    // On a busy host even loopback sends a segment again, when the receiver is not scheduled.
    let retransmits = metrics.count("hostprobe_tcp_retransmits_total", &[]);
    ensure!(
        retransmits <= talk.host_retransmits,
        "{retransmits} retransmits, but the whole host has {}",
        talk.host_retransmits
    );
    let attempts = "hostprobe_tcp_connect_duration_seconds_count";
    is(metrics, attempts, &[("service", "client")], connects)?;
    is(metrics, attempts, &[("service", "server")], 0)?;
    let accepts = "hostprobe_tcp_accepts_total";
    is(metrics, accepts, &[("service", "server")], connects)?;
    is(metrics, accepts, &[("service", "client")], 0)
}

/// The bytes of the tally are in the numbers of this transport, and no others.
pub(super) fn same_bytes(
    metrics: &Metrics,
    service: &str,
    transport: &str,
    tally: &Tally,
) -> Result<()> {
    let name = "hostprobe_socket_io_bytes_total";
    for (direction, fact) in [("transmit", Fact::Sent), ("receive", Fact::Received)] {
        let labels = [
            ("service", service),
            ("network_transport", transport),
            ("network_io_direction", direction),
        ];
        is(metrics, name, &labels, tally.fact(fact)?)?;
    }
    let both = tally.fact(Fact::Sent)? + tally.fact(Fact::Received)?;
    is(metrics, name, &[("service", service)], both)
}

/// Round-trip times were sampled, and are those of a loopback interface.
fn round_trips(metrics: &Metrics, service: &str) -> Result<()> {
    let own = [("service", service)];
    let samples = metrics.sum("hostprobe_tcp_rtt_seconds_count", &own);
    let mean = metrics.sum("hostprobe_tcp_rtt_seconds_sum", &own) / samples;
    ensure!(samples > 0.0, "no round-trip time of {service}");
    ensure!(
        mean > 0.0 && mean < 0.5,
        "the mean round-trip time of {service} over loopback is {mean} s"
    );
    Ok(())
}
