//! TCP sockets by state: of each service, and of the host.
//!
//! A table of a network namespace and the descriptors of each process have to be read for this, so
//! it is done less often than the rest, and only so far.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{BufRead, BufReader},
    time::{Duration, Instant},
};

use super::files::{Files, Reason};

/// Lines of one table that are read.
const MAX_SOCKETS: usize = 20_000;
/// Descriptors of one process that are looked at.
const MAX_FDS: usize = 4_096;
/// Descriptors of all processes that are looked at.
const MAX_ALL_FDS: usize = 65_536;
/// Network namespaces that are looked at.
const MAX_NAMESPACES: usize = 64;

/// Names of the kernel's states, by their number (`include/net/tcp_states.h`).
const STATES: [&str; 12] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "new_syn_recv",
];

/// Sockets by state.
pub type SocketStates = BTreeMap<&'static str, u64>;

/// Looks after which the descriptors of a process are looked at again although nothing seems to have
/// changed: it may have closed a file and opened a connection.
const STAGGER: u32 = 8;

/// The latest look.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    taken: Option<Instant>,
    held: HashMap<u32, Held>,
    of_services: HashMap<u16, SocketStates>,
    of_host: SocketStates,
}

/// A process whose sockets are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) service: u16,
    pub(super) pid: u32,
    /// With the process id it names one process.
    pub(super) start_time: u64,
    pub(super) open_fds: u64,
}

/// What a process held when its descriptors were looked at.
#[derive(Debug)]
struct Held {
    start_time: u64,
    open_fds: u64,
    namespace: String,
    inodes: Vec<u64>,
    /// Looks since then.
    age: u32,
}

/// A table: the state of each socket by its inode, and how many there are of each state.
#[derive(Debug, Default)]
struct Table {
    by_inode: HashMap<u64, &'static str>,
    states: SocketStates,
    truncated: bool,
}

impl Sockets {
    /// Looks again, if it is time.
    pub(super) fn sample(&mut self, files: &mut Files, holders: &[Holder], every: Duration) {
        if self.taken.is_some_and(|taken| taken.elapsed() < every) {
            return;
        }
        self.taken = Some(Instant::now());
        self.of_host = read(files, "self").states;
        let own = namespace(files, "self");
        let mut tables: HashMap<String, Table> = HashMap::new();
        let mut left = MAX_ALL_FDS;
        let mut before = std::mem::take(&mut self.held);
        let mut of_services: HashMap<u16, SocketStates> = HashMap::new();
        for holder in holders {
            let known = before
                .remove(&holder.pid)
                .filter(|held| held.start_time == holder.start_time && held.age < STAGGER);
            let name = match &known {
                Some(held) => Some(held.namespace.clone()),
                None => namespace(files, &holder.pid.to_string()).or_else(|| own.clone()),
            };
            let Some(name) = name else { continue };
            if !tables.contains_key(&name) {
                if tables.len() >= MAX_NAMESPACES {
                    files.failed("net_tcp", Reason::Truncated);
                    continue;
                }
                let table = read(files, &holder.pid.to_string());
                tables.insert(name.clone(), table);
            }
            let Some(table) = tables.get(&name) else {
                continue;
            };
            let held = match known.filter(|held| held.is_as_before(holder, table)) {
                Some(held) => Held {
                    age: held.age + 1,
                    ..held
                },
                None => Held {
                    start_time: holder.start_time,
                    open_fds: holder.open_fds,
                    namespace: name,
                    inodes: held(files, holder.pid, table, &mut left),
                    // Not all of them in the same look.
                    age: holder.pid % STAGGER / 2,
                },
            };
            let states = of_services.entry(holder.service).or_default();
            for state in held
                .inodes
                .iter()
                .filter_map(|inode| table.by_inode.get(inode))
            {
                *states.entry(state).or_default() += 1;
            }
            self.held.insert(holder.pid, held);
        }
        self.of_services = of_services;
    }

    pub(super) fn of_service(&self, service: u16) -> SocketStates {
        self.of_services.get(&service).cloned().unwrap_or_default()
    }

    pub(super) fn of_host(&self) -> &SocketStates {
        &self.of_host
    }
}

fn namespace(files: &mut Files, process: &str) -> Option<String> {
    let link = fs::read_link(files.path_to(format_args!("{process}/ns/net"))).ok()?;
    Some(link.to_str()?.to_owned())
}

fn read(files: &mut Files, process: &str) -> Table {
    let mut table = Table::default();
    for name in ["tcp", "tcp6"] {
        // A kernel without IPv6 has no tcp6; a process that ended has neither.
        let opened = File::open(files.path_to(format_args!("{process}/net/{name}")));
        if let Ok(file) = opened {
            table.add(BufReader::new(file));
        }
    }
    if table.truncated {
        files.failed("net_tcp", Reason::Truncated);
    }
    table
}

impl Table {
    fn add(&mut self, mut lines: impl BufRead) {
        let mut line = Vec::new();
        for number in 0..=MAX_SOCKETS {
            line.clear();
            // A line has some 150 bytes.
            let mut limited = std::io::Read::take(&mut lines, 4096);
            match limited.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if number == 0 => continue,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line);
            let mut words = text.split_ascii_whitespace();
            let state = words
                .nth(3)
                .and_then(|hex| usize::from_str_radix(hex, 16).ok())
                .and_then(|number| STATES.get(number.checked_sub(1)?));
            let Some(state) = state else { continue };
            *self.states.entry(state).or_default() += 1;
            let inode = words.nth(5).and_then(|inode| inode.parse().ok());
            if let Some(inode) = inode.filter(|inode| *inode != 0) {
                self.by_inode.insert(inode, state);
            }
        }
        self.truncated = true;
    }
}

impl Held {
    /// Whether it seems to hold what it held. Looking at descriptors is expensive: the kernel makes
    /// an inode for each.
    fn is_as_before(&self, holder: &Holder, table: &Table) -> bool {
        let is_there = |inode: &u64| table.by_inode.contains_key(inode);
        self.open_fds == holder.open_fds && self.inodes.iter().all(is_there)
    }
}

/// The sockets of the table that a process holds.
fn held(files: &mut Files, pid: u32, table: &Table, left: &mut usize) -> Vec<u64> {
    if table.by_inode.is_empty() {
        return Vec::new();
    }
    let entries = match fs::read_dir(files.path_to(format_args!("{pid}/fd"))) {
        Ok(entries) => entries,
        Err(error) => {
            files.failed("process_fds", Reason::from(&error));
            return Vec::new();
        }
    };
    let most = MAX_FDS.min(*left);
    let mut looked = 0;
    let mut inodes = Vec::new();
    for entry in entries.map_while(Result::ok).take(most) {
        looked += 1;
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let inode = target
            .to_str()
            .and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'))
            .and_then(|inode| inode.parse::<u64>().ok());
        inodes.extend(inode.filter(|inode| table.by_inode.contains_key(inode)));
    }
    *left = left.saturating_sub(looked);
    if looked == most {
        files.failed("process_fds", Reason::Truncated);
    }
    inodes
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_sockets_of_this_process_are_found_with_their_states() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _server = listener.accept().unwrap();
        let mut files = Files::new("/proc".into());
        let mut sockets = Sockets::default();
        let holder = |open_fds| Holder {
            service: 3,
            pid: std::process::id(),
            start_time: 1,
            open_fds,
        };
        sockets.sample(&mut files, &[holder(9)], Duration::from_secs(60));
        let states = sockets.of_service(3);
        assert!(
            states["listen"] >= 1 && states["established"] >= 2,
            "{states:?}"
        );
        assert!(sockets.of_host()["listen"] >= 1);
        assert!(sockets.of_service(4).is_empty());
    }

    /// A server that swaps its connections must not show those of a minute ago.
    #[test]
    fn what_was_held_is_believed_until_something_changes() {
        let mut table = Table::default();
        table.by_inode.insert(77, "listen");
        let held = Held {
            start_time: 1,
            open_fds: 4,
            namespace: String::new(),
            inodes: vec![77],
            age: 0,
        };
        let mut holder = Holder {
            service: 3,
            pid: 9,
            start_time: 1,
            open_fds: 4,
        };
        assert!(held.is_as_before(&holder, &table));
        holder.open_fds = 5;
        assert!(!held.is_as_before(&holder, &table));
        holder.open_fds = 4;
        table.by_inode.remove(&77);
        assert!(!held.is_as_before(&holder, &table));
    }

    #[test]
    fn lines_that_are_not_understood_are_skipped() {
        let mut table = Table::default();
        let text = "sl local\n0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 77 1\n\
                    1: a b 06 0:0 0:0 0 0 0 0 1\n2: a b FF 0 0 0 0 0 8\nnothing\n\n3: a b 00\n";
        table.add(text.as_bytes());
        assert_eq!(
            table.states,
            SocketStates::from([("listen", 1), ("time_wait", 1)])
        );
        assert_eq!(table.by_inode, HashMap::from([(77, "listen")]));
    }
}
