//! The services that are or were traced: their ids, names and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use probe_common::target::MAX_SERVICES;

use super::names::{self, Proposal};

/// How long the id of a service that ended is kept for it, so that its series go on after a
/// restart. Even then it is given away only when no other id is left.
pub const ID_KEPT_FOR: Duration = Duration::from_secs(600);

/// What a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A Postgres server that was discovered.
    Postgres,
    /// A process that was discovered to listen for HTTP.
    Http,
    /// One `[[service]]` of the configuration.
    Configured,
}

impl Kind {
    /// As a label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Http => "http",
            Self::Configured => "configured",
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// By the signal of this number.
    Signal(u8),
}

impl Exit {
    /// Reads the kernel's wait status: `exit code << 8 | signal`, where bit 7 tells of a core dump
    /// (`wait(2)`).
    pub const fn from_status(status: u32) -> Self {
        let [low, code, ..] = status.to_le_bytes();
        match low & 0x7f {
            0 => Self::Code(code),
            signal => Self::Signal(signal),
        }
    }
}

impl fmt::Display for Exit {
    /// `0` or `137` for a code, `SIGKILL` for a signal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code}"),
            Self::Signal(number) => match Signal::try_from(i32::from(*number)) {
                Ok(signal) => f.write_str(signal.as_str()),
                Err(_) => write!(f, "SIG{number}"),
            },
        }
    }
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its id in the kernel's tables.
    pub id: u16,
    /// Value of the `service` label; unique among all services, never changes.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How it was found, in words.
    pub found: String,
    /// Processes now.
    pub processes: usize,
    /// Those of them that were found by themselves; the others are their descendants.
    pub roots: BTreeSet<u32>,
    /// TCP ports that it listens on, or last did.
    pub ports: BTreeSet<u16>,
    /// Processes that were seen to be forked, or to become the service's by an exec.
    pub starts: u64,
    /// Processes that were seen to end.
    pub exits: BTreeMap<Exit, u64>,
    /// Times that it came back after its last process had ended.
    pub restarts: u64,
    /// Whether it had processes and has none now.
    pub(super) down: bool,
    /// Since when it has had no process and is not configured either.
    pub(super) vanished: Option<Instant>,
    /// The name that was proposed for it, before another service's name got in the way.
    base: String,
    group: Option<String>,
}

impl Service {
    /// Has so many processes from now on.
    pub(super) fn set_processes(&mut self, count: usize) {
        self.restarts += u64::from(self.down && count > 0);
        self.down = count == 0 && (self.down || self.processes > 0);
        self.processes = count;
    }
}

/// A process that was discovered to be a service's root.
#[derive(Debug, Clone, Copy)]
pub struct Discovered<'a> {
    /// Its process id.
    pub pid: u32,
    /// The service that it belongs to already.
    pub current: Option<u16>,
    /// What it would be called.
    pub proposal: &'a Proposal,
    /// What it is.
    pub kind: Kind,
    /// Ports that it listens on.
    pub ports: &'a BTreeSet<u16>,
    /// How it was found, in words.
    pub found: &'a str,
}

/// All services by id.
#[derive(Debug, Default)]
pub struct Services {
    by_id: BTreeMap<u16, Service>,
    refused: u64,
    recycled: Vec<u16>,
}

impl Services {
    /// The service of a `[[service]]` section, made if there is none of that name.
    pub fn configured(&mut self, name: &str, found: &str, now: Instant) -> Option<u16> {
        let known = self.by_id.values_mut().find(|service| service.name == name);
        let id = match known {
            Some(service) => service.id,
            None => self.add(name, name, Kind::Configured, None, now)?,
        };
        let service = self.by_id.get_mut(&id)?;
        service.kind = Kind::Configured;
        service.group = None;
        service.found = found.to_owned();
        service.vanished = None;
        Some(id)
    }

    /// The service of a process that was discovered: one that it belongs to, one that it is the
    /// next life of, or a new one.
    pub fn discovered(&mut self, discovered: &Discovered<'_>, now: Instant) -> Option<u16> {
        let Discovered {
            pid,
            proposal,
            kind,
            ports,
            ..
        } = *discovered;
        let id = match self.continued(discovered) {
            Some(id) => id,
            None => {
                let name = self.free_name(&proposal.name, ports)?;
                self.add(&name, &proposal.name, kind, proposal.group.clone(), now)?
            }
        };
        let service = self.by_id.get_mut(&id)?;
        service.kind = kind;
        service.roots.insert(pid);
        service.ports.extend(ports);
        service.group.clone_from(&proposal.group);
        discovered.found.clone_into(&mut service.found);
        service.vanished = None;
        Some(id)
    }

    fn continued(&self, new: &Discovered<'_>) -> Option<u16> {
        let is_alike = |service: &&Service| {
            // A name that was configured until the last reload is free for what it meant.
            let is_kind = service.kind == new.kind
                || service.kind == Kind::Configured && service.vanished.is_some();
            service.base == new.proposal.name && is_kind
        };
        let alike: Vec<&Service> = self.by_id.values().filter(is_alike).collect();
        let group = &new.proposal.group;
        let own = alike.iter().find(|service| Some(service.id) == new.current);
        let same_group = alike.iter().find(|s| group.is_some() && s.group == *group);
        // Restarted on the port that it had, or one of several that share a port; containers that
        // use the same port each have their own.
        let same_port = alike.iter().find(|service| {
            let is_free = service.roots.is_empty() || group.is_none() && service.group.is_none();
            is_free && !service.ports.is_disjoint(new.ports)
        });
        // With one candidate only there is nothing to confuse it with: it moved to another port.
        let only = alike
            .iter()
            .find(|service| service.roots.is_empty() && alike.len() == 1);
        own.or(same_group)
            .or(same_port)
            .or(only)
            .map(|service| service.id)
    }

    /// The name, or with the port as a suffix when it is taken.
    fn free_name(&self, name: &str, ports: &BTreeSet<u16>) -> Option<String> {
        let is_free = |name: &str| self.by_id.values().all(|service| service.name != name);
        if is_free(name) {
            return Some(name.to_owned());
        }
        let with_port = ports
            .first()
            .map(|port| names::with_suffix(name, &port.to_string()));
        let stem = with_port.clone().unwrap_or_else(|| name.to_owned());
        let numbered = (2..=MAX_SERVICES).map(|n| names::with_suffix(&stem, &n.to_string()));
        with_port
            .into_iter()
            .chain(numbered)
            .find(|name| is_free(name))
    }

    fn add(
        &mut self,
        name: &str,
        base: &str,
        kind: Kind,
        group: Option<String>,
        now: Instant,
    ) -> Option<u16> {
        let Some(id) = self.free_id(now) else {
            if self.refused == 0 {
                tracing::warn!(
                    service = name,
                    "more than {} services: this one and others are not traced; narrow [discovery]",
                    MAX_SERVICES - 1
                );
            }
            self.refused += 1;
            return None;
        };
        self.by_id.insert(
            id,
            Service {
                id,
                name: name.to_owned(),
                kind,
                found: String::new(),
                processes: 0,
                roots: BTreeSet::new(),
                ports: BTreeSet::new(),
                starts: 0,
                exits: BTreeMap::new(),
                restarts: 0,
                down: false,
                vanished: None,
                base: base.to_owned(),
                group,
            },
        );
        Some(id)
    }

    fn free_id(&mut self, now: Instant) -> Option<u16> {
        let last = u16::try_from(MAX_SERVICES - 1).unwrap_or(u16::MAX);
        if let Some(id) = (1..=last).find(|id| !self.by_id.contains_key(id)) {
            return Some(id);
        }
        let is_over = |since: &Instant| now.saturating_duration_since(*since) >= ID_KEPT_FOR;
        let (_, id) = self
            .by_id
            .values()
            .filter_map(|service| Some((service.vanished.filter(is_over)?, service.id)))
            .min()?;
        self.by_id.remove(&id);
        self.recycled.push(id);
        Some(id)
    }

    /// One service.
    pub fn get(&self, id: u16) -> Option<&Service> {
        self.by_id.get(&id)
    }

    /// One service, to be changed.
    pub fn get_mut(&mut self, id: u16) -> Option<&mut Service> {
        self.by_id.get_mut(&id)
    }

    /// All services, those without processes as well.
    pub fn iter(&self) -> impl Iterator<Item = &Service> {
        self.by_id.values()
    }

    /// All services, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Service> {
        self.by_id.values_mut()
    }

    /// How often a service could not be traced because all ids are taken.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Ids that went to another service since the last call: the kernel's counts for them are the
    /// former service's.
    pub fn take_recycled(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.recycled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(name: &str) -> Proposal {
        Proposal {
            name: name.to_owned(),
            group: None,
        }
    }

    fn id(
        services: &mut Services,
        proposal: &Proposal,
        kind: Kind,
        port: u16,
        now: Instant,
    ) -> Option<u16> {
        let ports = &BTreeSet::from([port]);
        let (pid, current, found) = (77, None, "");
        services.discovered(
            &Discovered {
                pid,
                current,
                proposal,
                kind,
                ports,
                found,
            },
            now,
        )
    }

    fn discover(services: &mut Services, proposal: &Proposal, port: u16) -> Option<String> {
        let id = id(services, proposal, Kind::Http, port, Instant::now())?;
        services.get(id).map(|service| service.name.clone())
    }

    fn vanish(services: &mut Services, name: &str, at: Instant) {
        let service = services
            .iter_mut()
            .find(|service| service.name == name)
            .unwrap();
        service.vanished = Some(at);
        service.roots.clear();
    }

    #[test]
    fn a_clash_of_names_is_solved_by_the_port_and_survives_restarts_in_any_order() {
        let mut services = Services::default();
        assert_eq!(discover(&mut services, &alone("app"), 8000).unwrap(), "app");
        assert_eq!(
            discover(&mut services, &alone("app"), 8001).unwrap(),
            "app-8001"
        );
        vanish(&mut services, "app", Instant::now());
        vanish(&mut services, "app-8001", Instant::now());
        assert_eq!(
            discover(&mut services, &alone("app"), 8001).unwrap(),
            "app-8001"
        );
        assert_eq!(discover(&mut services, &alone("app"), 8000).unwrap(), "app");
        // And several processes that share a port are one service.
        assert_eq!(
            discover(&mut services, &alone("app"), 8001).unwrap(),
            "app-8001"
        );
    }

    #[test]
    fn containers_on_the_same_port_stay_apart() {
        let mut services = Services::default();
        let container = |id: &str| Proposal {
            name: "shop".into(),
            group: Some(id.into()),
        };
        assert_eq!(
            discover(&mut services, &container("a"), 80).unwrap(),
            "shop"
        );
        assert_eq!(
            discover(&mut services, &container("b"), 80).unwrap(),
            "shop-80"
        );
        assert_eq!(
            discover(&mut services, &container("c"), 80).unwrap(),
            "shop-80-2"
        );
        assert_eq!(
            discover(&mut services, &container("b"), 80).unwrap(),
            "shop-80"
        );
    }

    #[test]
    fn a_service_that_moved_to_another_port_is_still_the_same() {
        let mut services = Services::default();
        discover(&mut services, &alone("app"), 8000).unwrap();
        vanish(&mut services, "app", Instant::now());
        assert_eq!(discover(&mut services, &alone("app"), 9000).unwrap(), "app");
    }

    #[test]
    fn processes_of_one_unit_are_one_service() {
        let mut services = Services::default();
        let unit = Proposal {
            name: "shop".into(),
            group: Some("unit shop".into()),
        };
        assert_eq!(discover(&mut services, &unit, 8000).unwrap(), "shop");
        assert_eq!(discover(&mut services, &unit, 8001).unwrap(), "shop");
        let id = id(&mut services, &unit, Kind::Postgres, 5432, Instant::now()).unwrap();
        assert_eq!(services.get(id).unwrap().name, "shop-5432");
    }

    #[test]
    fn an_id_is_given_away_only_when_none_is_left_and_its_service_is_long_gone() {
        let mut services = Services::default();
        for number in 1..MAX_SERVICES {
            let name = discover(&mut services, &alone(&format!("s{number}")), 80).unwrap();
            assert_eq!(name, format!("s{number}"));
        }
        let now = Instant::now();
        assert_eq!(discover(&mut services, &alone("late"), 80), None);
        vanish(&mut services, "s3", now);
        assert_eq!(discover(&mut services, &alone("late"), 80), None);
        assert_eq!(services.refused(), 2);
        let later = now + ID_KEPT_FOR;
        assert_eq!(
            id(&mut services, &alone("late"), Kind::Http, 80, later),
            Some(3)
        );
        assert_eq!(services.take_recycled(), [3]);
        assert!(services.take_recycled().is_empty());
    }

    #[test]
    fn a_status_tells_code_or_signal() {
        let read = |status| Exit::from_status(status).to_string();
        assert_eq!(read(0), "0");
        assert_eq!(read(3 << 8), "3");
        assert_eq!(read(9), "SIGKILL");
        assert_eq!(read(11 | 0x80), "SIGSEGV");
        assert_eq!(read(35), "SIG35");
    }
}
