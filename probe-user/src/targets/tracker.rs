//! Keeps the kernel's table of traced processes in step with the host.
//!
//! The kernel side marks the children of marked processes itself, at fork. What is left to do here
//! is to find the first process of each service, to mark what it had already forked, and to notice
//! when a process starts to run another service's program.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use probe_common::target::UNTRACED;

use crate::config::{Config, Discovery};
use crate::routes::Templates;

use super::TraceTable;
use super::discovery::Scope;
use super::process::{self, Process};
use super::processes::{Known, Processes};
use super::rules::Rule;
use super::services::{Kind, Service, Services};

mod claims;
mod events;

/// Times that a scan looks for processes that were forked while it marked their parents.
const MAX_PASSES: usize = 32;
/// Decides who is traced, and tells the kernel.
#[derive(Debug)]
pub struct Tracker {
    rules: Vec<Rule>,
    /// Service ids of the rules, in their order; `None` when there was no room.
    rule_ids: Vec<Option<u16>>,
    /// `None` when discovery is off.
    scope: Option<Scope>,
    interval: Duration,
    services: Services,
    members: HashMap<u32, Member>,
    processes: Processes,
    /// Processes that are never traced: PID 1 and the probe.
    never: HashSet<u32>,
    own_hostname: Option<String>,
    /// Processes that may open a port soon, with the time of their start.
    expected: HashMap<u32, Instant>,
    /// The section that [`Scope`] was made from.
    discovery: Option<Discovery>,
    /// Traced processes whose mapped files may be new.
    to_examine: BTreeSet<u32>,
}

/// A traced process.
#[derive(Debug, Clone)]
struct Member {
    service: u16,
    /// `None` until the next scan, for a child that the kernel told of.
    start_time: Option<u64>,
    /// Whether it was found by itself, and by running what; an exec ends that.
    root: Option<Root>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Root {
    exe: std::path::PathBuf,
}

impl Tracker {
    /// A tracker that has not looked yet.
    pub fn new(config: &Config) -> Self {
        let mut tracker = Self {
            rules: Vec::new(),
            rule_ids: Vec::new(),
            scope: None,
            interval: Duration::ZERO,
            services: Services::default(),
            members: HashMap::new(),
            processes: Processes::default(),
            never: HashSet::from([1, std::process::id()]),
            own_hostname: process::own_hostname(),
            expected: HashMap::new(),
            discovery: None,
            to_examine: BTreeSet::new(),
        };
        tracker.configure(config);
        tracker
    }

    fn configure(&mut self, config: &Config) {
        let now = Instant::now();
        self.interval = Duration::from_secs(config.discovery.interval_s.into());
        self.discovery = config.discovery_enabled().then(|| config.discovery.clone());
        self.scope = self.discovery.as_ref().map(Scope::new);
        self.rules = config.services.iter().map(Rule::new).collect();
        self.rule_ids = self
            .rules
            .iter()
            .map(|rule| {
                self.services
                    .configured(&rule.service.name, &rule.in_words(), now)
            })
            .collect();
    }

    /// Looks at all processes of the host, and marks those that belong to a service. Blocks for
    /// some milliseconds: call it on a thread for that.
    pub fn scan(&mut self, table: &dyn TraceTable) {
        if let Some(scope) = &mut self.scope {
            scope.refresh();
        }
        let (rules, scope) = (&self.rules, &self.scope);
        self.processes.look(&self.never, |process| {
            claims::may_need_ports(rules, scope.as_ref(), process)
        });
        for pid in &self.never {
            if table.get(*pid) != UNTRACED {
                table.set(*pid, UNTRACED);
            }
        }
        self.forget_vanished(table);
        // Before names are given: a service whose processes ended is free for its next life.
        self.take_stock();
        self.assign_all(table);
        self.adopt_newcomers(table);
        self.take_stock();
        // In case that it was not told of a mapped file.
        let roots = self.services.iter().flat_map(|service| &service.roots);
        self.to_examine.extend(roots);
    }

    /// Removes members that ended without an event, or whose number is another process's now.
    fn forget_vanished(&mut self, table: &dyn TraceTable) {
        let mut vanished = Vec::new();
        for (pid, member) in &self.members {
            let is_same = match (self.processes.get(*pid), member.start_time) {
                (Some(known), Some(start_time)) => known.brief.start_time == start_time,
                (Some(_), None) => true,
                // A child that was forked after the look is not in it, but exists.
                (None, _) => member.start_time.is_none() && process::start_time(*pid).is_some(),
            };
            if !is_same {
                vanished.push((*pid, member.service));
            }
        }
        for (pid, service) in vanished {
            self.members.remove(&pid);
            // The kernel clears its mark when a process ends, so one on a later process of the
            // same number is a child's. It is taken for left over when its parent isn't traced:
            // without the probe for process life nobody clears it.
            let parent = self.processes.get(pid).map(|known| known.brief.parent);
            let is_childs = parent.is_some_and(|parent| self.members.contains_key(&parent));
            if !is_childs && table.get(pid) == service {
                table.set(pid, UNTRACED);
            }
        }
    }

    fn assign_all(&mut self, table: &dyn TraceTable) {
        let now = Instant::now();
        for pid in self.processes.ancestors_first() {
            if self.never.contains(&pid) {
                continue;
            }
            let Some(known) = self.processes.get(pid) else {
                continue;
            };
            let (parent, start_time) = (known.brief.parent, known.brief.start_time);
            let exe = known.process.as_ref().map(|process| process.exe.clone());
            let inherited = self.members.get(&parent).map(|member| member.service);
            let marked = Some(table.get(pid)).filter(|service| self.is_live(*service));
            let claim = self.claim(pid, inherited, marked, now);
            let service = claim.or(inherited).or(marked);
            match service {
                Some(service) => {
                    let is_root = claim.is_some() && inherited != Some(service);
                    let root = exe.filter(|_| is_root).map(|exe| Root { exe });
                    self.mark(pid, start_time, service, root, table);
                }
                None => {
                    self.members.remove(&pid);
                    if table.get(pid) != UNTRACED {
                        table.set(pid, UNTRACED);
                    }
                }
            }
        }
    }

    /// Whether processes may be traced for this service now.
    fn is_live(&self, service: u16) -> bool {
        let Some(known) = self.services.get(service) else {
            return false;
        };
        match known.kind {
            Kind::Configured => self.rule_ids.contains(&Some(service)),
            Kind::Http | Kind::Postgres => self.scope.is_some(),
        }
    }

    /// Marks a process, and makes sure that it was the right one: its number may have been given
    /// to another process since it was looked at. Returns whether it is marked.
    fn mark(
        &mut self,
        pid: u32,
        start_time: u64,
        service: u16,
        root: Option<Root>,
        table: &dyn TraceTable,
    ) -> bool {
        if table.get(pid) != service {
            table.set(pid, service);
            if process::start_time(pid) != Some(start_time) {
                table.set(pid, UNTRACED);
                self.members.remove(&pid);
                return false;
            }
            self.to_examine.insert(pid);
        }
        let member = Member {
            service,
            start_time: Some(start_time),
            root,
        };
        self.members.insert(pid, member);
        true
    }

    /// Marks what marked processes had forked between the look and the mark. Each pass finds the
    /// children of the last one's; what those fork from now on the kernel marks itself.
    fn adopt_newcomers(&mut self, table: &dyn TraceTable) {
        for _ in 0..MAX_PASSES {
            let new = self.processes.newcomers();
            let mut any = false;
            for brief in new.iter().filter(|brief| brief.is_program) {
                if self.never.contains(&brief.pid) {
                    continue;
                }
                let marked = Some(table.get(brief.pid)).filter(|service| self.is_live(*service));
                let inherited = self.members.get(&brief.parent).map(|member| member.service);
                if let Some(service) = marked.or(inherited) {
                    any |= self.mark(brief.pid, brief.start_time, service, None, table);
                }
            }
            if !any {
                return;
            }
        }
    }

    /// Counts each service's processes and ports.
    fn take_stock(&mut self) {
        let now = Instant::now();
        let mut counts: HashMap<u16, (usize, BTreeSet<u32>, BTreeSet<u16>)> = HashMap::new();
        for (pid, member) in &self.members {
            let (processes, roots, ports) = counts.entry(member.service).or_default();
            *processes += 1;
            if member.root.is_some() {
                roots.insert(*pid);
            }
            ports.extend(
                self.processes
                    .get(*pid)
                    .into_iter()
                    .flat_map(|known| &known.ports),
            );
        }
        for service in self.services.iter_mut() {
            let (processes, roots, ports) = counts.remove(&service.id).unwrap_or_default();
            service.set_processes(processes);
            service.roots = roots;
            if processes > 0 {
                service.ports = ports;
            }
            let stays = processes > 0 || self.rule_ids.contains(&Some(service.id));
            service.vanished = if stays {
                None
            } else {
                service.vanished.or(Some(now))
            };
        }
    }

    /// Takes over a changed configuration. Services that are not in it any more stop being traced;
    /// a name that stays keeps its id, so that its series go on.
    pub fn reload(&mut self, config: &Config, table: &dyn TraceTable) {
        let former: HashMap<String, (u16, crate::config::Service)> = self
            .rules
            .iter()
            .zip(&self.rule_ids)
            .filter_map(|(rule, id)| {
                Some((rule.service.name.clone(), ((*id)?, rule.service.clone())))
            })
            .collect();
        let discovery = self.discovery.clone();
        self.configure(config);
        let discovers_the_same = discovery.is_some() && discovery == self.discovery;
        // Membership that rests on a changed definition is found anew; where nothing changed,
        // children whose parent is gone could not be found again, so it stays.
        let unchanged: HashSet<u16> = self
            .rules
            .iter()
            .filter_map(|rule| {
                former
                    .get(&rule.service.name)
                    .filter(|(_, old)| old.has_criteria_of(&rule.service))
            })
            .map(|(id, _)| *id)
            .collect();
        for (pid, member) in std::mem::take(&mut self.members) {
            let service = self.services.get(member.service);
            let is_discovered = service.is_some_and(|service| service.kind != Kind::Configured);
            if unchanged.contains(&member.service) || is_discovered && discovers_the_same {
                self.members.insert(pid, member);
            } else {
                // Tracing pauses for the milliseconds of the scan below.
                table.set(pid, UNTRACED);
            }
        }
        self.scan(table);
    }

    /// Every service that has an id: those that are traced, and those that ended, whose counts are
    /// still in the kernel's tables.
    pub fn services(&self) -> Vec<&Service> {
        self.services.iter().collect()
    }

    /// The processes of every service that has an id, whether it has some now or not.
    pub fn processes_by_service(&self) -> BTreeMap<u16, Vec<u32>> {
        let services = self.services.iter();
        let mut processes: BTreeMap<u16, Vec<u32>> =
            services.map(|service| (service.id, Vec::new())).collect();
        for (pid, member) in &self.members {
            processes.entry(member.service).or_default().push(*pid);
        }
        processes
    }

    /// Routes of the configured services that have some, by service id.
    pub fn routes(&self) -> BTreeMap<u16, Arc<Templates>> {
        let rules = self.rules.iter().zip(&self.rule_ids);
        rules
            .filter(|(rule, _)| !rule.service.routes.is_empty())
            .filter_map(|(rule, id)| {
                let templates = Templates::new(&rule.service.routes)
                    // The configuration was checked; that it differs now would be a mistake of ours.
                    .inspect_err(|error| tracing::error!("{error}"))
                    .ok()?;
                Some(((*id)?, templates.into()))
            })
            .collect()
    }

    /// Milliseconds from which on the statements of a service are slow, of those that are configured
    /// with some, by service id.
    pub fn slow_ms(&self) -> BTreeMap<u16, i32> {
        let rules = self.rules.iter().zip(&self.rule_ids);
        rules
            .filter_map(|(rule, id)| Some(((*id)?, rule.service.slow_ms?)))
            .collect()
    }

    /// Traced processes that may execute files which they did not execute before: those that were
    /// found since the last call, and those that mapped one. A child that was forked has its
    /// parent's.
    pub fn take_to_examine(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.to_examine)
    }

    /// Ids that went to another service since the last call. What the kernel counted for them
    /// belongs to the former service and has to be cleared.
    pub fn take_recycled_ids(&mut self) -> Vec<u16> {
        self.services.take_recycled()
    }

    /// Whether the execs of untraced processes are wanted: they tell of a new service at once.
    /// Always, unless services are given by process id alone.
    pub fn wants_exec_events(&self) -> bool {
        self.scope.is_some() || self.rules.iter().any(|rule| rule.service.has_condition())
    }

    /// Processes that may not be read, for lack of rights.
    pub fn unreadable(&self) -> usize {
        self.processes.unreadable()
    }

    /// How often a service could not be traced because all ids are taken.
    pub fn refused(&self) -> u64 {
        self.services.refused()
    }

    /// What is traced, in one line for people.
    pub fn summary(&self) -> String {
        let is_shown = |service: &&Service| service.vanished.is_none() && self.is_live(service.id);
        let shown = self.services.iter().filter(is_shown);
        super::summary::summary(
            shown,
            self.scope.is_some(),
            self.interval,
            self.unreadable(),
        )
    }
}

#[cfg(test)]
mod tests;
