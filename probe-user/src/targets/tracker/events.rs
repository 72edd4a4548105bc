//! What the kernel side tells between two scans.

use std::time::{Duration, Instant};

use probe_common::event::{ProcessEvent, ProcessEventKind};
use probe_common::target::UNTRACED;

use super::{Member, Root, Tracker};
use crate::targets::TraceTable;
use crate::targets::discovery::{self, Likelihood};
use crate::targets::process;
use crate::targets::rules::Verdict;
use crate::targets::services::Exit;

/// The first scan after the start of a program that will probably open its port soon; the next
/// ones follow after twice the time each.
pub(super) const SOON: Duration = Duration::from_secs(1);
/// For how long such a program is waited for.
const SOON_FOR: Duration = Duration::from_secs(10);
/// Such programs that are waited for at once; a host that starts more is scanned no more often.
const MAX_EXPECTED: usize = 64;

impl Tracker {
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
        } else if event.kind == ProcessEventKind::Map as u32 && self.is_live(service) {
            self.to_examine.insert(pid);
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
            service.set_processes(service.processes + usize::from(is_new));
            service.vanished = None;
        }
    }

    fn on_exit(&mut self, pid: u32, service: u16, status: u32) {
        self.processes.forget(pid);
        self.to_examine.remove(&pid);
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
            service.set_processes(service.processes.saturating_sub(1));
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
        if current == Some(claim) {
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
        if !self.mark(pid, start_time, claim, root, table) {
            return;
        }
        tracing::debug!(pid, from = service, to = claim, "process moves by its exec");
        if let Some(former) = former.and_then(|former| self.services.get_mut(former)) {
            former.set_processes(former.processes.saturating_sub(1));
            former.roots.remove(&pid);
        }
        if let Some(service) = self.services.get_mut(claim) {
            service.starts += 1;
            service.set_processes(service.processes + 1);
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
}
