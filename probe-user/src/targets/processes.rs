//! All processes of the host, looked at again and again at a bounded cost.
//!
//! A look costs one small file per process. What hardly ever changes (executable, cgroup, open
//! sockets) is kept and read again when the process is young, when its name changed, when it was
//! seen to exec, and else every few looks, staggered over processes.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::listeners::{self, Listening};
use super::process::{self, Brief, Process, Unreadable};

/// A process is read in full at each look until it is this old: start-up scripts change the user
/// and the cgroup, servers open their sockets.
const YOUNG_SECONDS: u64 = 60;
/// Every how many looks an older one is read in full.
const STAGGER: u64 = 6;
/// Processes of a network namespace that are tried for its table of sockets.
const TRIES: usize = 3;

/// The processes of the last look.
#[derive(Debug, Default)]
pub struct Processes {
    known: HashMap<u32, Known>,
    /// Listening sockets per network namespace.
    listening: HashMap<u64, Listening>,
    looks: u64,
}

/// What is known of one process.
#[derive(Debug)]
pub struct Known {
    /// As of the last look.
    pub brief: Brief,
    /// `None` when it may not or need not be read.
    pub process: Option<Process>,
    /// Listening sockets, by inode; only looked for where it matters.
    pub sockets: BTreeSet<u64>,
    /// Ports of those sockets.
    pub ports: BTreeSet<u16>,
    denied: bool,
    /// Was read in the last look.
    is_fresh: bool,
    /// Is to be read in the next look, however old it is.
    is_due: bool,
}

impl Known {
    fn new(brief: Brief) -> Self {
        Self {
            brief,
            process: None,
            sockets: BTreeSet::new(),
            ports: BTreeSet::new(),
            denied: false,
            is_fresh: false,
            is_due: true,
        }
    }

    fn read(&mut self) {
        self.is_fresh = true;
        self.is_due = false;
        match Process::read(&self.brief) {
            Ok(process) => (self.process, self.denied) = (Some(process), false),
            Err(Unreadable::Denied) => (self.process, self.denied) = (None, true),
            Err(Unreadable::Gone) => (self.process, self.denied) = (None, false),
        }
    }
}

impl Processes {
    /// Looks at all processes. `skip` are never read: the probe itself. `wants_ports` says for
    /// which processes the listening sockets matter.
    pub fn look(&mut self, skip: &HashSet<u32>, wants_ports: impl Fn(&Process) -> bool) {
        self.looks += 1;
        let now = process::ticks_since_boot();
        let young = YOUNG_SECONDS.saturating_mul(procfs::ticks_per_second());
        let mut last = std::mem::take(&mut self.known);
        for pid in process::all_pids() {
            let Ok(brief) = Brief::read(pid) else {
                continue;
            };
            let before = last
                .remove(&pid)
                .filter(|known| known.brief.start_time == brief.start_time);
            let is_due = match &before {
                Some(known) => {
                    known.is_due
                        || known.brief.comm != brief.comm
                        || now.saturating_sub(brief.start_time) < young
                        || (u64::from(pid) + self.looks).is_multiple_of(STAGGER)
                }
                None => true,
            };
            let mut known = before.unwrap_or_else(|| Known::new(brief.clone()));
            known.brief = brief;
            known.is_fresh = false;
            if known.brief.is_program && is_due && !skip.contains(&pid) {
                known.read();
            }
            self.known.insert(pid, known);
        }
        self.look_at_sockets(wants_ports);
    }

    fn look_at_sockets(&mut self, wants_ports: impl Fn(&Process) -> bool) {
        let mut inhabitants: HashMap<u64, Vec<u32>> = HashMap::new();
        for (pid, known) in &mut self.known {
            match &known.process {
                Some(process) if wants_ports(process) => {
                    inhabitants.entry(process.netns).or_default().push(*pid);
                }
                _ => {
                    known.sockets.clear();
                    known.ports.clear();
                }
            }
        }
        let mut last = std::mem::take(&mut self.listening);
        // Namespaces with a socket that was not there at the last look: its holder is unknown.
        let mut changed = HashSet::new();
        for (netns, pids) in inhabitants {
            // The first may have ended meanwhile.
            let mut tables = pids.iter().take(TRIES).map(|pid| listeners::read(*pid));
            let listening = tables.find(|table| !table.is_empty()).unwrap_or_default();
            let before = last.remove(&netns).unwrap_or_default();
            if listening.keys().any(|inode| !before.contains_key(inode)) {
                changed.insert(netns);
            }
            for pid in pids {
                let Some(known) = self.known.get_mut(&pid) else {
                    continue;
                };
                if known.is_fresh || changed.contains(&netns) {
                    known.sockets = listeners::held_by(pid, &listening);
                } else {
                    known.sockets.retain(|inode| listening.contains_key(inode));
                }
                let ports = known
                    .sockets
                    .iter()
                    .filter_map(|inode| listening.get(inode));
                known.ports = ports.copied().collect();
            }
            self.listening.insert(netns, listening);
        }
    }

    /// Processes that appeared since the last look or the last call of this.
    pub fn newcomers(&mut self) -> Vec<Brief> {
        let mut new = Vec::new();
        for pid in process::all_pids() {
            if !self.known.contains_key(&pid)
                && let Ok(brief) = Brief::read(pid)
            {
                self.known.insert(pid, Known::new(brief.clone()));
                new.push(brief);
            }
        }
        new
    }

    /// Reads one process anew, as after an exec. Its sockets wait for the next look.
    pub fn reread(&mut self, pid: u32) -> Option<&Known> {
        let Ok(brief) = Brief::read(pid) else {
            self.known.remove(&pid);
            return None;
        };
        let mut known = Known::new(brief);
        if known.brief.is_program {
            known.read();
            known.is_due = true;
        }
        self.known.insert(pid, known);
        self.known.get(&pid)
    }

    /// A process of the last look.
    pub fn get(&self, pid: u32) -> Option<&Known> {
        self.known.get(&pid)
    }

    /// Forgets a process that ended.
    pub fn forget(&mut self, pid: u32) {
        self.known.remove(&pid);
    }

    /// The parent of a process, as far as it is known.
    pub fn parent(&self, pid: u32) -> Option<&Known> {
        self.known.get(&self.known.get(&pid)?.brief.parent)
    }

    /// All programs, each after its parent.
    pub fn ancestors_first(&self) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut order = Vec::with_capacity(self.known.len());
        for (pid, known) in &self.known {
            let parent = known.brief.parent;
            if self.known.contains_key(&parent) && parent != *pid {
                children.entry(parent).or_default().push(*pid);
            } else {
                order.push(*pid);
            }
        }
        // The same order each time, so that names are given the same way.
        order.sort_unstable();
        let mut next = 0;
        while let Some(pid) = order.get(next).copied() {
            if let Some(mut found) = children.remove(&pid) {
                found.sort_unstable();
                order.append(&mut found);
            }
            next += 1;
        }
        // A ring can only come from process ids that were reused during the look.
        order.retain(|pid| {
            self.known
                .get(pid)
                .is_some_and(|known| known.brief.is_program)
        });
        order
    }

    /// Processes that may not be read.
    pub fn unreadable(&self) -> usize {
        self.known.values().filter(|known| known.denied).count()
    }
}
