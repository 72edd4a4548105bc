//! Services that nobody configured: Postgres servers, and processes that listen for HTTP.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config::{Discovery, NetnsSpec, Pattern};

use super::process::{self, Process};
use super::{known, programs, rules};

/// The part of the host in which services are looked for.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    cgroup: Option<String>,
    /// `Some(None)`: a user was given whose name is unknown.
    uid: Option<Option<u32>>,
    netns: Option<PathBuf>,
    /// Looked up anew for each scan, because a namespace may be made later.
    netns_inode: Option<u64>,
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Scope {
    /// Prepares the section `[discovery]`, and warns of a user who doesn't exist.
    pub fn new(discovery: &Discovery) -> Self {
        let uid = discovery.user.as_ref().map(|user| {
            let uid = rules::resolve_user(user);
            if uid.is_none() {
                tracing::warn!(
                    "discovery.user: `{user}` is not in /etc/passwd, so nothing will be found; \
                     give its number instead"
                );
            }
            uid
        });
        let mut scope = Self {
            cgroup: discovery.cgroup.clone(),
            uid,
            netns: discovery.netns.as_ref().map(|netns| match netns {
                NetnsSpec::OfPid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
                NetnsSpec::Path(path) => path.clone(),
            }),
            netns_inode: None,
            include: discovery.exe_include.clone(),
            exclude: discovery.exe_exclude.clone(),
        };
        scope.refresh();
        scope
    }

    /// Looks the network namespace up again.
    pub fn refresh(&mut self) {
        // A process that is gone doesn't make the scope empty: its namespace is remembered.
        let inode = self.netns.as_deref().and_then(process::namespace_inode);
        self.netns_inode = inode.or(self.netns_inode);
    }

    /// Whether a process is looked at.
    pub fn contains(&self, process: &Process) -> bool {
        let exe = process.exe.to_string_lossy();
        let matches = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.is_match(&exe));
        self.cgroup
            .as_ref()
            .is_none_or(|group| process.cgroups.is_within(group))
            && self.uid.is_none_or(|uid| uid == Some(process.uid))
            && (self.netns.is_none() || self.netns_inode == Some(process.netns))
            && (self.include.is_empty() || matches(&self.include))
            && !matches(&self.exclude)
    }
}

/// Arguments with which the Postgres executable is a tool and not a server.
const NOT_A_SERVER: &[&str] = &[
    "--boot",
    "--single",
    "--check",
    "--describe-config",
    "--version",
    "-V",
    "--help",
    "-?",
    "-C",
];

/// Whether a process is a Postgres server's first process, the postmaster. `parent` is the name
/// of the parent's program: the children of a postmaster run the same executable.
pub fn is_postmaster(process: &Process, parent: Option<&str>) -> bool {
    is_postgres(process.program())
        && !parent.is_some_and(is_postgres)
        && !process
            .cmdline
            .iter()
            .any(|argument| NOT_A_SERVER.contains(&argument.as_str()))
}

fn is_postgres(program: &str) -> bool {
    matches!(program, "postgres" | "postmaster" | "edb-postgres")
}

/// Whether a program may serve HTTP, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likelihood {
    /// On any port.
    Known,
    /// On a customary port.
    Possible,
    /// On none.
    Never,
}

/// Whether a program is worth a closer look when it is started: Postgres, and what is known to
/// serve HTTP. Other servers are found once they listen.
pub fn is_promising(program: &str) -> bool {
    is_postgres(program) || known::contains(known::HTTP, program)
}

/// Judges a program by its name and its command line.
pub fn likelihood(process: &Process) -> Likelihood {
    let program = process.program();
    let script = programs::script(process);
    let names = [Some(program), script.as_deref()];
    let mut names = names.into_iter().flatten();
    if names
        .clone()
        .any(|name| known::contains(known::NEVER, name))
    {
        return Likelihood::Never;
    }
    if script.is_some() || known::contains(known::HTTP, program) {
        let command = process.command();
        if known::NEVER_COMMANDS
            .iter()
            .any(|part| command.contains(part))
        {
            return Likelihood::Never;
        }
    }
    if names.any(|name| known::contains(known::HTTP, name)) || is_php_server(process) {
        return Likelihood::Known;
    }
    Likelihood::Possible
}

/// PHP's development server.
fn is_php_server(process: &Process) -> bool {
    process.program().starts_with("php") && process.cmdline.iter().any(|argument| argument == "-S")
}

/// Says in words why a process that listens on these ports is taken for an HTTP server; `None`
/// when it isn't.
pub fn http_server(process: &Process, ports: &BTreeSet<u16>) -> Option<String> {
    let port = match likelihood(process) {
        Likelihood::Known => *ports.first()?,
        Likelihood::Possible => *ports.iter().find(|port| known::is_http_port(**port))?,
        Likelihood::Never => return None,
    };
    Some(format!(
        "discovered: {} listens on port {port}",
        process.program()
    ))
}

#[cfg(test)]
mod tests {
    use procfs::FromRead;

    use super::super::cgroup::Cgroups;
    use super::*;

    fn process(command: &str) -> Process {
        let cmdline: Vec<String> = command
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect();
        Process {
            exe: cmdline[0].clone().into(),
            cmdline,
            ..Process::default()
        }
    }

    fn taken(command: &str, ports: &[u16]) -> bool {
        http_server(&process(command), &ports.iter().copied().collect()).is_some()
    }

    #[test]
    fn web_servers_are_taken_on_any_port() {
        for command in [
            "/usr/sbin/nginx -g x",
            "/usr/bin/python3.11 -m uvicorn a:b",
            "/usr/bin/node server.js",
            "/usr/lib/jvm/17/bin/java -jar shop.jar",
            "/usr/bin/php8.2 -S 0.0.0.0:7777",
            "/usr/bin/prometheus-postgres_exporter",
            "/usr/lib/erlang/bin/beam.smp -sname shop@h",
        ] {
            assert!(taken(command, &[12_345]), "{command}");
            assert!(!taken(command, &[]), "{command} listens on nothing");
        }
    }

    #[test]
    fn daemons_that_speak_something_else_are_never_taken() {
        for command in [
            "/usr/sbin/sshd -D",
            "/usr/sbin/mysqld",
            "/usr/bin/redis-server *:8080",
            "/usr/bin/dockerd",
            "/usr/bin/docker-proxy -host-port 8080",
            "/usr/lib/postfix/sbin/master",
            "/usr/sbin/php-fpm8.2",
            "/usr/bin/python3 /usr/bin/supervisord",
            "/usr/bin/java -cp x kafka.Kafka server.properties",
            "/usr/lib/erlang/bin/beam.smp -sname rabbit@host",
            "/usr/bin/hostprobe run",
            "/usr/lib/postgresql/15/bin/postgres -D /x",
        ] {
            assert!(!taken(command, &[80, 8080, 9000]), "{command}");
        }
    }

    #[test]
    fn an_unknown_program_is_taken_on_customary_ports_only() {
        assert!(taken("/srv/shop/shop-api", &[8080]));
        assert!(taken("/srv/shop/shop-api", &[443, 7000]));
        assert!(!taken("/srv/shop/shop-api", &[7000]));
        assert!(!taken("/srv/shop/shop-api", &[3306]));
    }

    #[test]
    fn only_the_first_process_of_a_postgres_server_is_its_root() {
        let server = process("/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main");
        assert!(is_postmaster(&server, Some("pg_ctl")));
        assert!(is_postmaster(&server, None));
        assert!(!is_postmaster(&server, Some("postgres")));
        assert!(!is_postmaster(
            &process("/usr/bin/postgres --single -D /x"),
            None
        ));
        assert!(!is_postmaster(&process("/usr/bin/postgres -V"), None));
        assert!(!is_postmaster(&process("/usr/bin/postgres_exporter"), None));
    }

    #[test]
    fn the_scope_keeps_others_out() {
        let groups = b"0::/system.slice/shop.service\n".as_slice();
        let mut shop = process("/srv/shop/bin/shop");
        shop.uid = 33;
        shop.netns = process::namespace_inode("/proc/self/ns/net".as_ref()).unwrap();
        shop.cgroups = Cgroups::new(procfs::ProcessCGroups::from_read(groups).unwrap());
        let own = std::process::id();
        for (inside, outside) in [
            (
                "cgroup = '/system.slice'".to_owned(),
                "cgroup = '/user.slice'",
            ),
            ("user = 33".to_owned(), "user = 34"),
            (format!("netns = {own}"), "netns = '/run/netns/absent'"),
            (
                "exe_include = ['^/srv/']".to_owned(),
                "exe_include = ['nginx']",
            ),
            (
                "exe_exclude = ['nginx']".to_owned(),
                "exe_exclude = ['shop$']",
            ),
            (String::new(), "user = 'nobody-has-this-name'"),
        ] {
            let scope = |text: &str| Scope::new(&toml::from_str(text).unwrap());
            assert!(scope(&inside).contains(&shop), "{inside}");
            assert!(!scope(outside).contains(&shop), "{outside}");
        }
    }
}
