//! The configured services: which process belongs to which.

use std::path::{Path, PathBuf};

use crate::config::{Pattern, Service, UserSpec};

use super::process::{self, Process};

/// One configured service, ready to be compared with processes.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The service as it was configured.
    pub service: Service,
    /// The executable's path behind symbolic links, as `/proc` will show it.
    resolved_exe: Option<PathBuf>,
    /// The user's number; `None` when the name is unknown, so that nobody matches.
    uid: Option<u32>,
    /// Process ids with the start times of the processes that had them when the rule was made.
    pinned: Vec<(u32, u64)>,
}

/// How far a rule holds for a process whose listening ports are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to the service.
    Yes,
    /// It doesn't, whatever it listens on.
    No,
    /// It does when it listens on one of the ports.
    IfListening,
}

impl Rule {
    /// Prepares a service: looks up its user, its executable and its processes on this host, and
    /// warns of those that don't exist.
    pub fn new(service: &Service) -> Self {
        let uid = service.user.as_ref().and_then(resolve_user);
        if let (Some(user), None) = (&service.user, uid) {
            tracing::warn!(
                service = service.name,
                "user `{user}` is not in /etc/passwd, so no process matches; give its number instead"
            );
        }
        let pin = |pid: &u32| match process::start_time(*pid) {
            Some(start_time) => Some((*pid, start_time)),
            None => {
                tracing::warn!(service = service.name, "there is no process {pid}");
                None
            }
        };
        Self {
            resolved_exe: service
                .exe
                .as_ref()
                .filter(|exe| exe.starts_with('/'))
                .and_then(|exe| std::fs::canonicalize(exe).ok()),
            uid,
            pinned: service.pids.iter().filter_map(pin).collect(),
            service: service.clone(),
        }
    }

    /// Whether the process belongs to the service by what is known without its ports.
    pub fn verdict(&self, process: &Process) -> Verdict {
        if self.pinned.contains(&(process.pid, process.start_time)) {
            return Verdict::Yes;
        }
        let service = &self.service;
        let holds = service.has_condition()
            && service
                .exe
                .as_ref()
                .is_none_or(|exe| self.is_exe(exe, &process.exe))
            && matches_command(service.cmdline.as_ref(), process)
            && (service.user.is_none() || self.uid == Some(process.uid))
            && service
                .unit
                .as_ref()
                .is_none_or(|unit| process.cgroups.is_in_unit(unit))
            && service
                .cgroup
                .as_ref()
                .is_none_or(|group| process.cgroups.is_within(group));
        match (holds, service.ports.is_empty()) {
            (false, _) => Verdict::No,
            (true, true) => Verdict::Yes,
            (true, false) => Verdict::IfListening,
        }
    }

    /// Whether the process belongs to the service.
    pub fn matches(&self, process: &Process, ports: impl IntoIterator<Item = u16>) -> bool {
        match self.verdict(process) {
            Verdict::Yes => true,
            Verdict::No => false,
            Verdict::IfListening => ports
                .into_iter()
                .any(|port| self.service.ports.contains(&port)),
        }
    }

    /// Whether a process that runs this executable can match at all: what is cheap to know of
    /// each exec on the host.
    pub fn may_match(&self, executable: &Path) -> bool {
        self.service
            .exe
            .as_ref()
            .is_none_or(|exe| self.is_exe(exe, executable))
    }

    fn is_exe(&self, exe: &str, executable: &Path) -> bool {
        if exe.starts_with('/') {
            executable == Path::new(exe) || self.resolved_exe.as_deref() == Some(executable)
        } else {
            executable.file_name().is_some_and(|name| name == exe)
        }
    }

    /// What the service is found by, for people.
    pub fn in_words(&self) -> String {
        let service = &self.service;
        let mut words = Vec::new();
        let mut add = |what: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("{what} {value}")));
        };
        add("executable", service.exe.clone());
        add(
            "command line",
            service
                .cmdline
                .as_ref()
                .map(|pattern| pattern.as_str().to_owned()),
        );
        add("user", service.user.as_ref().map(ToString::to_string));
        add("unit", service.unit.clone());
        add("cgroup", service.cgroup.clone());
        let list = |numbers: &[String]| (!numbers.is_empty()).then(|| numbers.join(", "));
        let ports: Vec<String> = service.ports.iter().map(ToString::to_string).collect();
        let pids: Vec<String> = service.pids.iter().map(ToString::to_string).collect();
        add("port", list(&ports));
        add("process", list(&pids));
        format!("configured: {}", words.join(", "))
    }
}

fn matches_command(pattern: Option<&Pattern>, process: &Process) -> bool {
    pattern.is_none_or(|pattern| pattern.is_match(&process.command()))
}

/// The number of a user on this host.
pub fn resolve_user(user: &UserSpec) -> Option<u32> {
    match user {
        UserSpec::Uid(uid) => Some(*uid),
        UserSpec::Name(name) => process::uid_of(name),
    }
}

#[cfg(test)]
mod tests {
    use procfs::FromRead;

    use super::super::cgroup::Cgroups;
    use super::*;

    fn nginx() -> Process {
        let cgroups = b"0::/system.slice/nginx.service\n".as_slice();
        Process {
            pid: 100,
            start_time: 7,
            exe: "/usr/sbin/nginx".into(),
            cmdline: vec!["nginx:".into(), "master".into(), "process".into()],
            uid: 0,
            cgroups: Cgroups::new(procfs::ProcessCGroups::from_read(cgroups).unwrap()),
            ..Process::default()
        }
    }

    fn rule(text: &str) -> Rule {
        Rule::new(&toml::from_str(&format!("name = 'x'\n{text}")).unwrap())
    }

    #[test]
    fn each_criterion_takes_and_refuses() {
        for (takes, refuses) in [
            ("exe = '/usr/sbin/nginx'", "exe = '/usr/bin/nginx'"),
            ("exe = 'nginx'", "exe = 'ngin'"),
            ("cmdline = 'master p'", "cmdline = '^master'"),
            ("user = 'root'", "user = 5"),
            ("user = 0", "user = 'nobody-has-this-name'"),
            ("unit = 'nginx'", "unit = 'apache2'"),
            ("cgroup = '/system.slice'", "cgroup = '/user.slice'"),
            ("ports = [443, 80]", "ports = [443]"),
        ] {
            assert!(rule(takes).matches(&nginx(), [80]), "{takes}");
            assert!(!rule(refuses).matches(&nginx(), [80]), "{refuses}");
        }
    }

    #[test]
    fn criteria_are_all_needed() {
        assert!(rule("exe = 'nginx'\nuser = 0\nports = [80]").matches(&nginx(), [80]));
        assert!(!rule("exe = 'nginx'\nuser = 33\nports = [80]").matches(&nginx(), [80]));
        assert_eq!(
            rule("exe = 'nginx'\nports = [80]").verdict(&nginx()),
            Verdict::IfListening
        );
        assert_eq!(
            rule("exe = 'apache2'\nports = [80]").verdict(&nginx()),
            Verdict::No
        );
    }

    #[test]
    fn a_process_id_means_the_process_that_had_it_at_the_time() {
        let own = std::process::id();
        let rule = rule(&format!("exe = 'something-else'\npids = [{own}]"));
        let mut process = Process {
            pid: own,
            start_time: process::start_time(own).unwrap(),
            ..Process::default()
        };
        assert!(rule.matches(&process, []));
        process.start_time += 1;
        assert!(!rule.matches(&process, []));
    }

    #[test]
    fn a_link_to_the_executable_is_as_good_as_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let (file, link) = (folder.join("python3.11"), folder.join("python3"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let process = Process {
            exe: file,
            ..Process::default()
        };
        assert!(rule(&format!("exe = '{}'", link.display())).matches(&process, []));
    }
}
