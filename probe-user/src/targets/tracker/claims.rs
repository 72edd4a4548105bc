//! What a process is found to be by what it runs, and not by whom it descends from.

use std::time::Instant;

use super::{Kind, Known, Process, Rule, Scope, Tracker};
use crate::targets::discovery::{self, Likelihood};
use crate::targets::names::{self, Proposal};
use crate::targets::rules::Verdict;
use crate::targets::services::Discovered;
use crate::targets::{process, programs};

impl Tracker {
    /// The service that a process is found to be by what it runs.
    pub(super) fn claim(
        &mut self,
        pid: u32,
        inherited: Option<u16>,
        current: Option<u16>,
        now: Instant,
    ) -> Option<u16> {
        let known = self.processes.get(pid)?;
        let process = known.process.as_ref()?;
        let ports = || known.ports.iter().copied();
        let rule = self
            .rules
            .iter()
            .position(|rule| rule.matches(process, ports()));
        if let Some(rule) = rule {
            return self.rule_ids.get(rule).copied().flatten();
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
            return Some(member.service);
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
        self.services.discovered(&discovered, now)
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
}

/// Whether it matters on which ports a process listens. Also for services that don't ask: it is
/// shown.
pub(super) fn may_need_ports(rules: &[Rule], scope: Option<&Scope>, process: &Process) -> bool {
    rules
        .iter()
        .any(|rule| rule.verdict(process) != Verdict::No)
        || scope.is_some_and(|scope| {
            scope.contains(process)
                && (discovery::likelihood(process) != Likelihood::Never
                    || discovery::is_postmaster(process, None))
        })
}
