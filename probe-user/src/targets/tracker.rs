//! Keeps the kernel's table of traced processes in step with the host.
//!
//! The kernel side marks the children of marked processes itself, at fork. What is left to do here
//! is to find the first process of each service, to mark what it had already forked, and to notice
//! when a process starts to run another service's program.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use probe_common::event::{ProcessEvent, ProcessEventKind};
use probe_common::target::UNTRACED;

use crate::config::{Config, Discovery};

use super::TraceTable;
use super::discovery::{self, Likelihood, Scope};
use super::names::{self, Proposal};
use super::process::{self, Process};
use super::processes::{Known, Processes};
use super::programs;
use super::rules::{Rule, Verdict};
use super::services::{Discovered, Exit, Kind, Service, Services};

/// Times that a scan looks for processes that were forked while it marked their parents.
const MAX_PASSES: usize = 32;
/// The first scan after the start of a program that will probably open its port soon; the next
/// ones follow after twice the time each.
const SOON: Duration = Duration::from_secs(1);
/// For how long such a program is waited for.
const SOON_FOR: Duration = Duration::from_secs(10);
/// Such programs that are waited for at once; a host that starts more is scanned no more often.
const MAX_EXPECTED: usize = 64;

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

/// What a process is by itself, without regard to its parents.
struct Claim {
    service: u16,
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
            may_need_ports(rules, scope.as_ref(), process)
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
    }

    /// Removes members that ended without an event, or whose number is another process's now.
    fn forget_vanished(&mut self, table: &dyn TraceTable) {
        let processes = &self.processes;
        self.members.retain(|pid, member| {
            let Some(known) = processes.get(*pid) else {
                // A child that was forked after the look is not among them, but it exists.
                let lives = member.start_time.is_none() && process::start_time(*pid).is_some();
                if !lives && table.get(*pid) == member.service {
                    table.set(*pid, UNTRACED);
                }
                return lives;
            };
            // The kernel clears its mark when a process ends: a mark on another process of the
            // same number is a new one, and stays.
            member
                .start_time
                .is_none_or(|start_time| start_time == known.brief.start_time)
        });
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
            let service = claim
                .as_ref()
                .map(|claim| claim.service)
                .or(inherited)
                .or(marked);
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

    /// The service that a process is found to be by what it runs.
    fn claim(
        &mut self,
        pid: u32,
        inherited: Option<u16>,
        current: Option<u16>,
        now: Instant,
    ) -> Option<Claim> {
        let known = self.processes.get(pid)?;
        let process = known.process.as_ref()?;
        let ports = || known.ports.iter().copied();
        let rule = self
            .rules
            .iter()
            .position(|rule| rule.matches(process, ports()));
        if let Some(rule) = rule {
            let service = self.rule_ids.get(rule).copied().flatten()?;
            return Some(Claim { service });
        }
        if !self.scope.as_ref()?.contains(process) {
            return None;
        }
        // Found before, and still the same program: it keeps its service whatever its siblings
        // and its ports do.
        if let Some(member) = self.members.get(&pid)
            && member
                .root
                .as_ref()
                .is_some_and(|root| root.exe == process.exe)
            && self.is_live(member.service)
        {
            return Some(Claim {
                service: member.service,
            });
        }
        let (kind, found) = self.discover(known, process, inherited)?;
        let discovered = Discovered {
            pid,
            current,
            proposal: &self.propose(process, kind),
            kind,
            ports: &known.ports,
            found: &found,
        };
        let service = self.services.discovered(&discovered, now)?;
        Some(Claim { service })
    }

    fn discover(
        &self,
        known: &Known,
        process: &Process,
        inherited: Option<u16>,
    ) -> Option<(Kind, String)> {
        let parent = self.processes.parent(process.pid);
        let parent_program = parent
            .and_then(|parent| parent.process.as_ref())
            .map(Process::program);
        let of_configured = inherited
            .and_then(|service| self.services.get(service))
            .is_some_and(|service| service.kind == Kind::Configured);
        // Children follow: what an operator configured is not taken apart.
        if of_configured {
            return None;
        }
        if discovery::is_postmaster(process, parent_program) {
            return Some((Kind::Postgres, "discovered: a Postgres server".to_owned()));
        }
        let found = discovery::http_server(process, &known.ports)?;
        let independent = match inherited {
            Some(_) => self.is_independent(known, process),
            None => true,
        };
        independent.then_some((Kind::Http, found))
    }

    /// Whether a server below another service's root is one of its own: it runs another program
    /// and has sockets of its own, unlike the workers of nginx or gunicorn. So a server that was
    /// started in an editor's terminal is not counted as the editor.
    fn is_independent(&self, known: &Known, process: &Process) -> bool {
        let own_name = programs::name(process);
        let mut pid = process.pid;
        // Bounded, because process ids that are reused during a scan can form a ring.
        for _ in 0..64 {
            let Some(ancestor) = self.processes.parent(pid) else {
                return true;
            };
            pid = ancestor.brief.pid;
            let is_root = self
                .members
                .get(&pid)
                .is_some_and(|member| member.root.is_some());
            if let (true, Some(root)) = (is_root, &ancestor.process) {
                return programs::name(root) != own_name
                    && known.sockets.is_disjoint(&ancestor.sockets);
            }
        }
        false
    }

    fn propose(&self, process: &Process, kind: Kind) -> Proposal {
        names::propose(
            process,
            kind == Kind::Postgres,
            || process::hostname_inside(process.pid),
            self.own_hostname.as_deref(),
        )
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
            service.processes = processes;
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

    /// Takes note of a fork, an exec or an exit.
    pub fn on_event(&mut self, event: &ProcessEvent, table: &dyn TraceTable) {
        let pid = event.tgid;
        let service = u16::try_from(event.service).unwrap_or(UNTRACED);
        if event.kind == ProcessEventKind::Fork as u32 {
            self.on_fork(pid, service);
        } else if event.kind == ProcessEventKind::Exec as u32 {
            self.on_exec(pid, service, table);
        } else if event.kind == ProcessEventKind::Exit as u32 {
            self.on_exit(pid, service, event.status);
        }
    }

    fn on_fork(&mut self, pid: u32, service: u16) {
        if !self.is_live(service) || self.never.contains(&pid) {
            return;
        }
        let member = Member {
            service,
            start_time: None,
            root: None,
        };
        // A scan may have been quicker, and knows more.
        let is_new = !self.members.contains_key(&pid);
        if is_new {
            self.members.insert(pid, member);
        }
        if let Some(service) = self.services.get_mut(service) {
            service.starts += 1;
            service.processes += usize::from(is_new);
            service.vanished = None;
        }
    }

    fn on_exit(&mut self, pid: u32, service: u16, status: u32) {
        self.processes.forget(pid);
        let member = self.members.remove(&pid);
        let id = if service == UNTRACED {
            member.as_ref().map_or(UNTRACED, |member| member.service)
        } else {
            service
        };
        if let Some(service) = self.services.get_mut(id) {
            *service.exits.entry(Exit::from_status(status)).or_default() += 1;
        }
        if let Some(service) = member.and_then(|member| self.services.get_mut(member.service)) {
            service.processes = service.processes.saturating_sub(1);
            service.roots.remove(&pid);
            let is_configured = self.rule_ids.contains(&Some(service.id));
            if service.processes == 0 && !is_configured {
                service.vanished = Some(Instant::now());
            }
        }
    }

    /// A traced process that runs another service's program moves there; an untraced one that runs
    /// a service's program is traced from now on.
    fn on_exec(&mut self, pid: u32, service: u16, table: &dyn TraceTable) {
        if self.never.contains(&pid) || !self.is_worth_reading(pid) {
            return;
        }
        if let Some(member) = self.members.get_mut(&pid) {
            member.root = None;
        }
        let Some(start_time) = self
            .processes
            .reread(pid)
            .map(|known| known.brief.start_time)
        else {
            return;
        };
        self.read_parent(pid);
        self.expect_port(pid);
        let current = Some(table.get(pid)).filter(|service| self.is_live(*service));
        let Some(claim) = self.claim(pid, current, current, Instant::now()) else {
            return;
        };
        if current == Some(claim.service) {
            return;
        }
        let exe = self
            .processes
            .get(pid)
            .and_then(|known| known.process.as_ref());
        let root = exe.map(|process| Root {
            exe: process.exe.clone(),
        });
        let former = self.members.get(&pid).map(|member| member.service);
        if !self.mark(pid, start_time, claim.service, root, table) {
            return;
        }
        tracing::debug!(
            pid,
            from = service,
            to = claim.service,
            "process moves by its exec"
        );
        if let Some(former) = former.and_then(|former| self.services.get_mut(former)) {
            former.processes = former.processes.saturating_sub(1);
            former.roots.remove(&pid);
        }
        if let Some(service) = self.services.get_mut(claim.service) {
            service.starts += 1;
            service.processes += 1;
            service.roots.insert(pid);
        }
    }

    /// Whether an exec can change anything: one link is read for each exec on the host, the rest
    /// only for those that matter.
    fn is_worth_reading(&self, pid: u32) -> bool {
        if self.members.contains_key(&pid) {
            return true;
        }
        let Some(exe) = process::executable(pid) else {
            return false;
        };
        let program = exe
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        self.rules
            .iter()
            .any(|rule| rule.service.has_condition() && rule.may_match(&exe))
            || self.scope.is_some() && discovery::is_promising(program)
    }

    /// A parent that started after the last scan is not known yet.
    fn read_parent(&mut self, pid: u32) {
        let parent = self.processes.get(pid).map(|known| known.brief.parent);
        if let Some(parent) = parent.filter(|parent| self.processes.get(*parent).is_none()) {
            self.processes.reread(parent);
        }
    }

    /// Servers open their ports some time after they were started: look again soon.
    fn expect_port(&mut self, pid: u32) {
        let Some(process) = self
            .processes
            .get(pid)
            .and_then(|known| known.process.as_ref())
        else {
            return;
        };
        let by_rule = self
            .rules
            .iter()
            .any(|rule| rule.verdict(process) == Verdict::IfListening);
        let by_name = self.scope.as_ref().is_some_and(|scope| {
            scope.contains(process) && discovery::likelihood(process) == Likelihood::Known
        });
        if (by_rule || by_name) && self.expected.len() < MAX_EXPECTED {
            self.expected.insert(pid, Instant::now());
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
                    .filter(|(_, old)| *old == rule.service)
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

    /// How long to wait before the next scan; to be asked again after an exec.
    pub fn next_scan_in(&mut self) -> Duration {
        let members = &self.members;
        self.expected.retain(|pid, started| {
            let is_traced = members.contains_key(pid);
            !is_traced && started.elapsed() < SOON_FOR && process::executable(*pid).is_some()
        });
        let youngest = self.expected.values().map(Instant::elapsed).min();
        youngest.map_or(self.interval, |age| age.max(SOON).min(self.interval))
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

/// Whether it matters on which ports a process listens. Also for services that don't ask: it is
/// shown.
fn may_need_ports(rules: &[Rule], scope: Option<&Scope>, process: &Process) -> bool {
    rules
        .iter()
        .any(|rule| rule.verdict(process) != Verdict::No)
        || scope.is_some_and(|scope| {
            scope.contains(process)
                && (discovery::likelihood(process) != Likelihood::Never
                    || discovery::is_postmaster(process, None))
        })
}

#[cfg(test)]
mod tests;
