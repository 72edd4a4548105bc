//! Network interfaces and TCP of the network namespace that the daemon runs in.

use super::files::Files;

/// Interfaces that are told apart; a host with thousands of containers has as many.
const MAX_INTERFACES: usize = 128;

/// One interface's line of `/proc/net/dev`, as counts since it came up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceReport {
    /// Its name, such as `eth0`.
    pub device: String,
    /// What came in.
    pub received: Packets,
    /// What went out.
    pub sent: Packets,
}

/// One direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    /// Bytes, link-level headers included.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that were damaged, or could not be sent.
    pub errors: u64,
    /// Packets that were thrown away for lack of room.
    pub dropped: u64,
}

pub(super) fn interfaces(files: &mut Files) -> Vec<InterfaceReport> {
    let path = format_args!("self/net/dev");
    let found = files.optional("net_dev", path, |text| {
        text.lines().skip(2).map(parse).collect::<Option<Vec<_>>>()
    });
    let mut found = found.unwrap_or_default();
    found.truncate(MAX_INTERFACES);
    found
}

fn parse(line: &str) -> Option<InterfaceReport> {
    // The name may hold a colon of its own: an alias.
    let (device, numbers) = line.rsplit_once(':')?;
    let mut words = numbers.split_ascii_whitespace();
    let mut packets = |skip: usize| {
        let mut next = || words.next()?.parse().ok();
        let read = Packets {
            bytes: next()?,
            packets: next()?,
            errors: next()?,
            dropped: next()?,
        };
        // fifo, frame, compressed, multicast.
        for _ in 0..skip {
            next()?;
        }
        Some(read)
    };
    Some(InterfaceReport {
        device: device.trim().to_owned(),
        received: packets(4)?,
        sent: packets(0)?,
    })
}

/// TCP as a whole, as counts since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpReport {
    /// Segments that were sent, those sent again left out.
    pub segments_sent: u64,
    /// Segments that were sent again.
    pub retransmits: u64,
    /// Connections that were asked for by this host.
    pub active_opens: u64,
    /// Connections that were taken.
    pub passive_opens: u64,
    /// Attempts that failed.
    pub attempt_fails: u64,
    /// Connections that a listener did not take because its queue was full.
    pub listen_overflows: u64,
    /// Connections that a listener did not take, for whatever reason.
    pub listen_drops: u64,
}

pub(super) fn tcp(files: &mut Files) -> Option<TcpReport> {
    let snmp = files.optional("net_snmp", format_args!("self/net/snmp"), |text| {
        Some(TcpReport {
            segments_sent: column(text, "Tcp:", "OutSegs")?,
            retransmits: column(text, "Tcp:", "RetransSegs")?,
            active_opens: column(text, "Tcp:", "ActiveOpens")?,
            passive_opens: column(text, "Tcp:", "PassiveOpens")?,
            attempt_fails: column(text, "Tcp:", "AttemptFails")?,
            ..TcpReport::default()
        })
    })?;
    let listeners = files.optional("net_netstat", format_args!("self/net/netstat"), |text| {
        let value = |name| column(text, "TcpExt:", name);
        Some((value("ListenOverflows")?, value("ListenDrops")?))
    });
    let (listen_overflows, listen_drops) = listeners.unwrap_or_default();
    Some(TcpReport {
        listen_overflows,
        listen_drops,
        ..snmp
    })
}

/// A number of a table of two lines: names, then values.
fn column(text: &str, table: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(table));
    let mut names = lines.next()?.split_ascii_whitespace();
    let place = names.position(|other| other == name)?;
    lines
        .next()?
        .split_ascii_whitespace()
        .nth(place)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_read_with_both_directions() {
        let line = "  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0";
        let interface = parse(line).unwrap();
        assert_eq!(interface.device, "eth0");
        assert_eq!(
            interface.received,
            Packets {
                bytes: 1000,
                packets: 10,
                errors: 1,
                dropped: 2
            }
        );
        assert_eq!(
            interface.sent,
            Packets {
                bytes: 2000,
                packets: 20,
                errors: 3,
                dropped: 4
            }
        );
        assert_eq!(parse("eth0: 1 2"), None);
        assert_eq!(parse("nothing"), None);
    }

    #[test]
    fn a_column_is_found_by_its_name() {
        let text = "Ip: A B\nIp: 1 2\nTcp: OutSegs RetransSegs\nTcp: 7 -1\n";
        assert_eq!(column(text, "Tcp:", "OutSegs"), Some(7));
        assert_eq!(column(text, "Tcp:", "RetransSegs"), None);
        assert_eq!(column(text, "Tcp:", "InSegs"), None);
    }
}
