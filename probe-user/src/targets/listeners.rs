//! Who listens on which TCP port.
//!
//! The kernel tells it in two halves: `/proc/PID/net/tcp` lists the listening sockets of a network
//! namespace with their inodes, `/proc/PID/fd` the inodes that a process holds.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{BufRead, BufReader};

/// Descriptors of one process that are looked at; a listening socket is made early, so its number
/// is low even in a process with a hundred thousand connections.
const MAX_DESCRIPTORS: usize = 16_384;

/// State `LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The listening sockets of one network namespace: port by inode.
pub type Listening = HashMap<u64, u16>;

/// Reads the listening sockets of the network namespace that `pid` is in, IPv4 and IPv6.
pub fn read(pid: u32) -> Listening {
    let mut found = Listening::new();
    for table in ["tcp", "tcp6"] {
        // A kernel without IPv6 has no tcp6; a process that ended has neither.
        if let Ok(file) = fs::File::open(format!("/proc/{pid}/net/{table}")) {
            parse(BufReader::new(file), &mut found);
        }
    }
    found
}

/// Reads listening sockets from the text of `/proc/net/tcp`. The kernel lists them before all
/// others, so reading ends at the first socket that doesn't listen: a busy server's hundred
/// thousand connections are never read.
fn parse(table: impl BufRead, found: &mut Listening) {
    for line in table.lines().skip(1).map_while(Result::ok) {
        let mut fields = line.split_ascii_whitespace();
        let address = fields.nth(1);
        let state = fields.nth(1);
        let inode = fields.nth(5);
        if state != Some(LISTEN) {
            return;
        }
        let port = address
            .and_then(|address| address.rsplit_once(':'))
            .and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        if let (Some(port), Some(Ok(inode))) = (port, inode.map(str::parse)) {
            found.insert(inode, port);
        }
    }
}

/// The listening sockets, by inode, that a process holds. Empty when its descriptors may not be
/// read.
pub fn held_by(pid: u32, listening: &Listening) -> BTreeSet<u64> {
    let mut held = BTreeSet::new();
    if listening.is_empty() {
        return held;
    }
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return held;
    };
    for entry in entries.take(MAX_DESCRIPTORS).flatten() {
        let inode = fs::read_link(entry.path())
            .ok()
            .and_then(|target| socket_inode(target.to_str()?));
        if let Some(inode) = inode
            && listening.contains_key(&inode)
        {
            held.insert(inode);
            if held.len() == listening.len() {
                break;
            }
        }
    }
    held
}

/// The inode in `socket:[1234]`.
fn socket_inode(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 21437 1 0000000000000000 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 19023 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1538 0100007F:9C4E 01 00000000:00000000 00:00000000 00000000   105        0 99999 1 0000000000000000 20 4 30 10 -1
";
    const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:1F40 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 30111 1 0000000000000000 100 0 0 10 0
";

    #[test]
    fn only_listening_sockets_are_read() {
        let mut found = Listening::new();
        parse(TCP.as_bytes(), &mut found);
        parse(TCP6.as_bytes(), &mut found);
        assert_eq!(
            found,
            Listening::from([(21437, 5432), (19023, 80), (30111, 8000)])
        );
    }

    #[test]
    fn damaged_tables_are_survived() {
        let mut found = Listening::new();
        for text in [
            "",
            "head",
            "head\n0: zz 0A",
            "head\n 0: x:1 y 0A a b c d e f",
        ] {
            parse(text.as_bytes(), &mut found);
        }
        assert!(found.is_empty());
    }

    #[test]
    fn a_listening_socket_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let listening = read(std::process::id());
        let held = held_by(std::process::id(), &listening);
        assert!(held.iter().any(|inode| listening.get(inode) == Some(&port)));
    }

    #[test]
    fn other_descriptors_are_no_sockets() {
        assert_eq!(socket_inode("socket:[77]"), Some(77));
        assert_eq!(socket_inode("pipe:[77]"), None);
        assert_eq!(socket_inode("/tmp/socket:[77]"), None);
    }
}
