//! Names for services that nobody named: what a person would choose.
//!
//! In this order: the systemd unit, the container (by the host name that someone gave it), the
//! Postgres cluster, the program.

use super::cgroup::{Container, Home};
use super::process::Process;
use super::programs;

/// Longest name, in characters.
const MAX: usize = 64;
/// Digits of a container's id that people and engines use.
const SHORT_ID: usize = 12;
/// Kubernetes makes suffixes of these characters only, so that they never form a word.
const GENERATED: &str = "bcdfghjklmnpqrstvwxz2456789";

/// A name, and what else belongs to the same service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The name, if it is still free.
    pub name: String,
    /// Processes of one kind in the same unit or container are one service, even when they have
    /// no common ancestor; `None` for a process that stands alone.
    pub group: Option<String>,
}

/// Names the service of a process. `hostname` gives the host name inside of its root directory,
/// and is asked for containers only; `own_hostname` is the host's.
pub fn propose(
    process: &Process,
    is_postgres: bool,
    hostname: impl FnOnce() -> Option<String>,
    own_hostname: Option<&str>,
) -> Proposal {
    let Home {
        container,
        unit,
        kubernetes,
    } = process.cgroups.home();
    match (container, unit) {
        (Some(Container::Named(name)), _) => grouped(&name, &format!("container {name}")),
        (Some(Container::Id(id)), unit) => {
            // With the host's network the host's name is inside as well, and says nothing.
            let hostname = hostname().filter(|name| {
                !id.starts_with(name.as_str()) && Some(name.as_str()) != own_hostname
            });
            let group = format!("container {id}");
            match (hostname, unit) {
                (Some(pod), _) if kubernetes => {
                    let name = without_generated(&pod);
                    // Replicas of one deployment are one service, its sidecars are not.
                    grouped(name, &format!("pods {name} {}", programs::name(process)))
                }
                (Some(name), _) => grouped(&name, &group),
                (None, Some(unit)) => grouped(&unit, &group),
                (None, None) => {
                    let short = id.get(..SHORT_ID).unwrap_or(&id);
                    let program = program(process, is_postgres);
                    grouped(&format!("{program}-{short}"), &group)
                }
            }
        }
        (None, Some(unit)) => grouped(&unit, &format!("unit {unit}")),
        (None, None) => Proposal {
            name: sanitise(&program(process, is_postgres)),
            group: None,
        },
    }
}

fn grouped(name: &str, group: &str) -> Proposal {
    Proposal {
        name: sanitise(name),
        group: Some(group.to_owned()),
    }
}

fn program(process: &Process, is_postgres: bool) -> String {
    if is_postgres {
        cluster(&process.cmdline)
    } else {
        programs::name(process)
    }
}

/// The name of a Postgres server after its data directory: Debian's `.../15/main` is
/// `postgres-15-main`, Red Hat's `.../15/data` is `postgres-15`.
fn cluster(cmdline: &[String]) -> String {
    let after = |flag: &str| {
        cmdline.windows(2).find_map(|pair| match pair {
            [first, value] if first == flag => Some(value.as_str()),
            _ => None,
        })
    };
    let joined = cmdline.iter().find_map(|argument| {
        argument
            .strip_prefix("-D")
            .filter(|path| path.starts_with('/'))
    });
    let data = after("-D").or(joined).unwrap_or_default();
    let mut parts = data.rsplit('/').filter(|part| !part.is_empty());
    let (last, before) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let is_version = before.starts_with(|c: char| c.is_ascii_digit())
        && before.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match (is_version, last) {
        (true, "data") => format!("postgres-{before}"),
        (true, cluster) => format!("postgres-{before}-{cluster}"),
        _ => "postgres".to_owned(),
    }
}

/// A pod's name without what its ReplicaSet or DaemonSet appended: `shop-7d4b9c6f5d-x2x7k` and
/// `agent-x2x7k` lose it, a StatefulSet's `db-0` stays.
fn without_generated(pod: &str) -> &str {
    let generated = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.chars().all(|c| GENERATED.contains(c))
    };
    let Some((owner, last)) = pod.rsplit_once('-') else {
        return pod;
    };
    if !generated(last, 5..=5) {
        return pod;
    }
    match owner.rsplit_once('-') {
        Some((deployment, hash)) if generated(hash, 6..=10) => deployment,
        _ => owner,
    }
}

/// The name with nothing but `A-Z a-z 0-9 _ . @ -`, at most 64 of them, and none that means
/// something else as a label.
pub fn sanitise(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '@' | '-') {
            plain.push(character);
        } else if !plain.is_empty() && !plain.ends_with('-') {
            plain.push('-');
        }
    }
    plain.truncate(MAX);
    let plain = plain.trim_end_matches('-');
    match plain {
        "" => "unnamed".to_owned(),
        "other" | "unknown" => format!("{plain}-service"),
        _ => plain.to_owned(),
    }
}

/// The name with a suffix, still within the limit.
pub fn with_suffix(name: &str, suffix: &str) -> String {
    let room = MAX.saturating_sub(suffix.len() + 1);
    let start: String = name.chars().take(room).collect();
    format!("{start}-{suffix}")
}

#[cfg(test)]
mod tests {
    use procfs::FromRead;

    use super::super::cgroup::Cgroups;
    use super::*;

    const ID: &str = "3f4e1c5a9b7d2e8f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7";

    fn process(cgroup: &str, command: &str) -> Process {
        let text = format!("0::{}\n", cgroup.replace("ID", ID));
        let cmdline: Vec<String> = command
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect();
        Process {
            exe: cmdline[0].clone().into(),
            cmdline,
            cgroups: Cgroups::new(procfs::ProcessCGroups::from_read(text.as_bytes()).unwrap()),
            ..Process::default()
        }
    }

    fn named(cgroup: &str, command: &str, hostname: Option<&str>) -> String {
        let process = process(cgroup, command);
        let is_postgres = command.contains("postgres ");
        propose(
            &process,
            is_postgres,
            || hostname.map(str::to_owned),
            Some("host1"),
        )
        .name
    }

    #[test]
    fn a_unit_is_the_best_name() {
        let unit = "/system.slice/system-postgresql.slice/postgresql@15-main.service";
        assert_eq!(
            named(
                unit,
                "/usr/lib/postgresql/15/bin/postgres -D /x/15/main",
                None
            ),
            "postgresql@15-main"
        );
        assert_eq!(
            named("/system.slice/nginx.service", "/usr/sbin/nginx", None),
            "nginx"
        );
    }

    #[test]
    fn a_container_is_named_as_its_owner_named_it() {
        let docker = "/system.slice/docker-ID.scope";
        assert_eq!(named(docker, "/usr/bin/shop", Some("orders")), "orders");
        assert_eq!(
            named(docker, "/usr/bin/shop", Some("3f4e1c5a9b7d")),
            "shop-3f4e1c5a9b7d"
        );
        assert_eq!(
            named(docker, "/usr/bin/shop", Some("host1")),
            "shop-3f4e1c5a9b7d"
        );
        assert_eq!(named(docker, "/usr/bin/shop", None), "shop-3f4e1c5a9b7d");
        let quadlet = "/system.slice/shop.service/libpod-payload-ID";
        assert_eq!(
            named(quadlet, "/usr/bin/python3 x.py", Some("3f4e1c5a9b7d")),
            "shop"
        );
        assert_eq!(named("/lxc.payload.crm/x", "/usr/bin/shop", None), "crm");
    }

    #[test]
    fn a_pod_is_named_after_what_made_it() {
        let pod = "/kubepods.slice/kubepods-pod6b_1c.slice/cri-containerd-ID.scope";
        let named = |hostname| named(pod, "/usr/bin/shop", Some(hostname));
        assert_eq!(named("shop-7d4b9c6f5d-x2x7k"), "shop");
        assert_eq!(named("agent-x2x7k"), "agent");
        assert_eq!(named("db-0"), "db-0");
        assert_eq!(named("shop-front"), "shop-front");
        assert_eq!(named("host1"), "shop-3f4e1c5a9b7d");
    }

    #[test]
    fn replicas_are_one_service_and_neighbours_in_a_pod_are_not() {
        let pod = "/kubepods.slice/kubepods-pod6b_1c.slice/cri-containerd-ID.scope";
        let group = |command, hostname: &str| {
            propose(
                &process(pod, command),
                false,
                || Some(hostname.to_owned()),
                None,
            )
            .group
        };
        assert_eq!(
            group("/bin/shop", "shop-7d4b9c6f5d-x2x7k"),
            group("/bin/shop", "shop-7d4b9c6f5d-bbbbb")
        );
        assert_ne!(
            group("/bin/shop", "shop-7d4b9c6f5d-x2x7k"),
            group("/bin/envoy", "shop-7d4b9c6f5d-x2x7k")
        );
    }

    #[test]
    fn a_postgres_server_is_named_after_its_cluster() {
        let named = |command| named("/", command, None);
        assert_eq!(
            named("/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main -c x=y"),
            "postgres-15-main"
        );
        assert_eq!(
            named("/usr/pgsql-15/bin/postgres -D /var/lib/pgsql/15/data/"),
            "postgres-15"
        );
        assert_eq!(
            named("/usr/bin/postgres -D/srv/9.6/shop"),
            "postgres-9.6-shop"
        );
        assert_eq!(named("/usr/bin/postgres -D /tmp/x/pgdata"), "postgres");
        assert_eq!(named("/usr/bin/postgres -k /tmp"), "postgres");
    }

    #[test]
    fn names_are_safe_as_labels() {
        assert_eq!(sanitise("a b/c\"\n"), "a-b-c");
        assert_eq!(sanitise("größe"), "gr-e");
        assert_eq!(sanitise("///"), "unnamed");
        assert_eq!(sanitise("other"), "other-service");
        assert_eq!(sanitise(&"x".repeat(100)).len(), 64);
        assert_eq!(with_suffix(&"x".repeat(64), "8001").len(), 64);
        assert_eq!(with_suffix("app", "8001"), "app-8001");
    }
}
