//! What a cgroup path says: the systemd unit and the container that a process runs in.

/// The control groups of one process: the path in the unified hierarchy (v2) first, then those of
/// the v1 hierarchies, systemd's own before the others. The root of a hierarchy is left out,
/// because it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cgroups {
    paths: Vec<String>,
}

impl Cgroups {
    /// Puts the lines of `/proc/PID/cgroup` in order.
    pub fn new(groups: procfs::ProcessCGroups) -> Self {
        let mut ranked: Vec<(u8, String)> = groups
            .into_iter()
            .filter(|group| group.pathname != "/")
            .map(|group| {
                let rank = match (group.hierarchy, group.controllers.first()) {
                    (0, _) => 0,
                    (_, Some(name)) if name == "name=systemd" => 1,
                    _ => 2,
                };
                (rank, group.pathname)
            })
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        let mut paths: Vec<String> = Vec::new();
        for (_, path) in ranked {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        Self { paths }
    }

    /// Whether one of them is `group` or below it. `group` may be written with the mount point.
    pub fn is_within(&self, group: &str) -> bool {
        let group = group.strip_prefix("/sys/fs/cgroup").unwrap_or(group);
        let group = group.trim_end_matches('/');
        self.paths.iter().any(|path| {
            path.strip_prefix(group)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Whether the process belongs to this systemd unit, at whatever depth.
    pub fn is_in_unit(&self, unit: &str) -> bool {
        let has_type = unit
            .rsplit_once('.')
            .is_some_and(|(_, suffix)| matches!(suffix, "service" | "scope" | "slice"));
        let wanted = if has_type {
            unit.to_owned()
        } else {
            format!("{unit}.service")
        };
        self.segments()
            .any(|segment| unescape(segment) == unescape(&wanted))
    }

    /// Where the process lives, as far as that has a name.
    pub fn home(&self) -> Home {
        let mut home = Home::default();
        for path in &self.paths {
            let mut groups: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
            home.kubernetes |= groups.iter().any(|s| s.starts_with("kubepods"));
            // Innermost first: systemd may run in a container, and a container in a unit.
            while let Some(segment) = groups.last() {
                if home.container.is_none() && home.unit.is_none() {
                    home.container = container(segment, &groups);
                }
                if home.unit.is_none() {
                    home.unit = unit(segment);
                }
                groups.pop();
            }
            if home.unit.is_some() || home.container.is_some() {
                return home;
            }
        }
        home
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().flat_map(|path| path.split('/'))
    }
}

/// What the cgroups say about where a process lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    /// The container, unless it is only around a unit that the process belongs to.
    pub container: Option<Container>,
    /// The systemd unit without its type, such as `postgresql@15-main`; with a container set, the
    /// unit that the container runs in. Units that only hold other people's processes, such as
    /// login sessions, are no unit here.
    pub unit: Option<String>,
    /// Whether Kubernetes runs it.
    pub kubernetes: bool,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Container {
    /// Docker, containerd, CRI-O, Podman: 64 hexadecimal digits.
    Id(String),
    /// LXC, systemd-nspawn: a name that a person gave.
    Named(String),
}

/// Digits of a container id.
const ID_DIGITS: usize = 64;

/// The container that a cgroup stands for, by its name and those of its parents.
fn container(segment: &str, path: &[&str]) -> Option<Container> {
    let plain = segment.strip_suffix(".scope").unwrap_or(segment);
    // The monitor beside the container is not in it.
    if plain.contains("conmon-") {
        return None;
    }
    if let Some(name) = plain.strip_prefix("lxc.payload.") {
        return Some(Container::Named(name.to_owned()));
    }
    if path.len() == 2 && path.first() == Some(&"lxc") {
        return Some(Container::Named(plain.to_owned()));
    }
    if path.first() == Some(&"machine.slice") {
        let machine = plain.strip_prefix("machine-").map(unescape);
        let spawned = plain
            .strip_prefix("systemd-nspawn@")
            .and_then(|rest| rest.strip_suffix(".service"))
            .map(unescape);
        if let Some(name) = machine.or(spawned) {
            return Some(Container::Named(name));
        }
    }
    // docker-ID, cri-containerd-ID, crio-ID, libpod-ID, libpod-payload-ID, nerdctl-ID, or the
    // bare id; "namespace:runtime:id" when containerd drives systemd under another name.
    let id = plain.rsplit(['-', ':']).next()?;
    let is_id = id.len() == ID_DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then(|| Container::Id(id.to_owned()))
}

/// Units that hold processes of all kinds, so that their name says nothing about one of them:
/// logins, job runners, container engines and process managers.
const HOLDERS: &[&str] = &[
    "init",
    "ssh",
    "sshd",
    "cron",
    "crond",
    "atd",
    "anacron",
    "dbus",
    "docker",
    "containerd",
    "crio",
    "podman",
    "kubelet",
    "k3s",
    "snapd",
    "supervisor",
    "supervisord",
    "monit",
    "rc-local",
    "xinetd",
    "console-getty",
    "gdm",
    "lightdm",
    "sddm",
    "display-manager",
    "hostprobe",
];

/// Likewise, by the beginning of their names.
const HOLDER_PREFIXES: &[&str] = &[
    "session-",
    "user@",
    "user-",
    "user-runtime-dir@",
    "getty@",
    "serial-getty@",
    "ssh@",
    "sshd@",
    "run-",
    "run@",
    "tmux-spawn-",
    "vte-spawn-",
    "screen-",
    "app-",
    "gnome-",
    "plasma-",
    "xdg-",
    "pm2-",
    "libpod-",
    "docker-",
    "crio-",
    "cri-containerd-",
    "nerdctl-",
    "buildkit",
    "systemd-",
    "machine-",
    "conmon-",
    "podman-",
    "rootless",
];

/// The name of a service or scope that stands for one thing.
fn unit(segment: &str) -> Option<String> {
    let name = segment
        .strip_suffix(".service")
        .or_else(|| segment.strip_suffix(".scope"))?;
    let name = unescape(name);
    let holds_others = HOLDERS.contains(&name.as_str())
        || HOLDER_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix));
    (!holds_others && !name.is_empty()).then_some(name)
}

/// Undoes systemd's `\x2d` escapes.
fn unescape(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("\\x") {
        let (before, escape) = rest.split_at(at);
        plain.push_str(before);
        let code = escape
            .get(2..4)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code.filter(u8::is_ascii) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = escape.get(4..).unwrap_or_default();
            }
            None => {
                plain.push_str("\\x");
                rest = escape.get(2..).unwrap_or_default();
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use procfs::FromRead;

    use super::*;

    const ID: &str = "3f4e1c5a9b7d2e8f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7";

    fn cgroups(text: &str) -> Cgroups {
        let text = text.replace("ID", ID);
        Cgroups::new(procfs::ProcessCGroups::from_read(text.as_bytes()).unwrap())
    }

    fn home(text: &str) -> Home {
        cgroups(text).home()
    }

    fn unit_of(path: &str) -> Option<String> {
        home(&format!("0::{path}\n")).unit
    }

    #[test]
    fn a_container_is_recognised_under_every_engine() {
        for path in [
            "12:pids:/docker/ID\n1:name=systemd:/docker/ID\n0::/\n",
            "0::/system.slice/docker-ID.scope\n",
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope\n",
            "0::/kubepods/burstable/pod6b1c/ID\n",
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6b_1c.slice/cri-containerd-ID.scope\n",
            "0::/kubepods.slice/kubepods-pod6b_1c.slice/crio-ID.scope\n",
            "0::/system.slice/containerd.service/kubepods-burstable-pod6b.slice:cri-containerd:ID\n",
            "0::/machine.slice/libpod-ID.scope/container\n",
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope\n",
            "0::/libpod_parent/libpod-ID\n",
            "0::/ecs/9d1c/ID\n",
            "0::/../../docker-ID.scope\n",
        ] {
            let home = home(path);
            assert_eq!(home.container, Some(Container::Id(ID.to_owned())), "{path}");
            assert_eq!(home.unit, None, "{path}");
            assert_eq!(home.kubernetes, path.contains("kubepods"), "{path}");
        }
    }

    #[test]
    fn the_monitor_of_a_container_is_not_the_container() {
        assert_eq!(
            home("0::/machine.slice/libpod-conmon-ID.scope\n").container,
            None
        );
    }

    #[test]
    fn named_containers_keep_their_names() {
        let named = |path: &str| home(&format!("0::{path}\n")).container;
        let shop = Some(Container::Named("shop".to_owned()));
        assert_eq!(named("/lxc.payload.shop/system.slice"), shop);
        assert_eq!(named("/lxc/shop"), shop);
        assert_eq!(named("/machine.slice/machine-shop.scope/payload"), shop);
        assert_eq!(
            named("/machine.slice/systemd-nspawn@shop.service/payload"),
            shop
        );
    }

    #[test]
    fn a_unit_is_named_without_its_type() {
        assert_eq!(
            unit_of("/system.slice/nginx.service").as_deref(),
            Some("nginx")
        );
        let postgres = "/system.slice/system-postgresql.slice/postgresql@15-main.service";
        assert_eq!(unit_of(postgres).as_deref(), Some("postgresql@15-main"));
        let user = "/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service";
        assert_eq!(unit_of(user).as_deref(), Some("shop"));
        assert_eq!(
            unit_of("/system.slice/my\\x2dshop.service/worker").as_deref(),
            Some("my-shop")
        );
        assert_eq!(
            unit_of("/system.slice/batch.scope").as_deref(),
            Some("batch")
        );
    }

    #[test]
    fn a_login_or_a_process_manager_is_no_name() {
        for path in [
            "/user.slice/user-1000.slice/session-3.scope",
            "/user.slice/user-1000.slice/user@1000.service/tmux-spawn-1b2c.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-code-77.scope",
            "/system.slice/ssh.service",
            "/system.slice/pm2-root.service",
            "/init.scope",
            "/system.slice",
        ] {
            assert_eq!(unit_of(path), None, "{path}");
        }
    }

    #[test]
    fn the_innermost_of_unit_and_container_counts() {
        let inside = home("0::/system.slice/docker-ID.scope/system.slice/nginx.service\n");
        assert_eq!(
            (inside.container, inside.unit.as_deref()),
            (None, Some("nginx"))
        );
        let around = home("0::/system.slice/shop.service/libpod-payload-ID\n");
        assert!(around.container.is_some());
        assert_eq!(around.unit.as_deref(), Some("shop"));
    }

    #[test]
    fn a_subtree_ends_at_a_slash_and_a_v1_hierarchy_counts_too() {
        let groups =
            cgroups("4:memory:/other/place\n1:name=systemd:/system.slice/nginx.service\n0::/\n");
        assert!(groups.is_within("/system.slice"));
        assert!(groups.is_within("/system.slice/nginx.service/"));
        assert!(groups.is_within("/sys/fs/cgroup/other"));
        assert!(!groups.is_within("/system.slice/nginx"));
        assert!(groups.is_in_unit("nginx"));
        assert!(groups.is_in_unit("nginx.service"));
        assert!(groups.is_in_unit("system.slice"));
        assert!(!groups.is_in_unit("ngin"));
        assert_eq!(groups.home().unit.as_deref(), Some("nginx"));
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(unescape(r"a\x2"), r"a\x2");
        assert_eq!(unescape(r"a\xzz\x2db"), r"a\xzz-b");
    }
}
