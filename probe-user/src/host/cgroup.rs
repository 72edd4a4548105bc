//! Limits of control groups, and what hitting them cost: v1 and v2 (`cgroups(7)`).
//!
//! A group may use what it and all groups above it may use, so the smallest limit on the way to the
//! root is the ceiling.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use super::{
    files::{Files, Reason, value_of},
    filesystems::unescape,
};

/// Groups of one service that are looked at.
const MAX_GROUPS: usize = 64;
/// Groups above one another that are looked at.
const MAX_DEPTH: usize = 32;
/// Samples until the mounts are looked at again.
const MOUNTS_KEPT_FOR: u32 = 20;
/// v1 says a little less than the largest number where there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// What happens to a group's memory, as its counters are called in v2.
pub const MEMORY_EVENTS: [&str; 5] = ["low", "high", "max", "oom", "oom_kill"];

/// What its control groups allow a service, and what that cost it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupReport {
    /// CPUs' worth of time that it may use; the host's CPUs without a quota.
    pub cpu_limit: Option<f64>,
    /// Bytes that it may use; the host's memory without a limit.
    pub memory_limit: Option<u64>,
    /// Bytes that the groups use which have the limit, else the service's own.
    pub memory_used: Option<u64>,
    /// What happened in groups with a limit, since the service is watched.
    pub counts: GroupCounts,
}

impl GroupReport {
    /// Adds what is allowed to another id of the same service, as if the groups were others.
    pub(super) fn merge(&mut self, other: &Self) {
        let counts = &mut self.counts;
        let more = &other.counts;
        counts.periods = counts.periods.saturating_add(more.periods);
        counts.throttled_periods = counts
            .throttled_periods
            .saturating_add(more.throttled_periods);
        counts.throttled_ns = counts.throttled_ns.saturating_add(more.throttled_ns);
        for (sum, more) in counts.memory_events.iter_mut().zip(more.memory_events) {
            *sum = sum.saturating_add(more);
        }
        // Not their sum, which may be more than the host has.
        self.cpu_limit = either(self.cpu_limit, other.cpu_limit, f64::max);
        self.memory_limit = either(self.memory_limit, other.memory_limit, u64::max);
        self.memory_used = either(self.memory_used, other.memory_used, u64::max);
    }
}

/// Counts of groups with a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounts {
    /// Times that the quota was handed out while something ran.
    pub periods: u64,
    /// Of these: those in which it was used up.
    pub throttled_periods: u64,
    /// Nanoseconds for which threads had to wait for the next, added up over CPUs.
    pub throttled_ns: u64,
    /// Events in the order of [`MEMORY_EVENTS`].
    pub memory_events: [u64; MEMORY_EVENTS.len()],
}

impl GroupCounts {
    fn add_growth(&mut self, last: Option<&Self>, now: &Self) {
        // A group that is seen for the first time begins at zero, as all counters do; one that was
        // made anew under its old name began at zero itself.
        let Some(last) = last else { return };
        let is_new = now.periods < last.periods;
        let grown = |now: u64, last: u64| match is_new || now < last {
            true => now,
            false => now - last,
        };
        self.periods = self
            .periods
            .saturating_add(grown(now.periods, last.periods));
        let throttled = grown(now.throttled_periods, last.throttled_periods);
        self.throttled_periods = self.throttled_periods.saturating_add(throttled);
        let ns = grown(now.throttled_ns, last.throttled_ns);
        self.throttled_ns = self.throttled_ns.saturating_add(ns);
        let events = now.memory_events.iter().zip(&last.memory_events);
        for (sum, (now, last)) in self.memory_events.iter_mut().zip(events) {
            *sum = sum.saturating_add(grown(*now, *last));
        }
    }
}

/// Where the groups of one process are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    cpu: Option<Place>,
    memory: Option<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    version: Version,
    /// Where the hierarchy is mounted: the end of the way up.
    top: PathBuf,
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Version {
    V1,
    V2,
}

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    version: Version,
    /// Of v1.
    controllers: Vec<String>,
    /// The group that is mounted.
    root: String,
    mountpoint: PathBuf,
}

/// One group, read once a sample.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    cpu_limit: Option<f64>,
    memory_limit: Option<u64>,
    memory_used: Option<u64>,
    counts: GroupCounts,
}

/// Groups of all services.
#[derive(Debug, Default)]
pub(super) struct ControlGroups {
    hierarchies: Vec<Hierarchy>,
    age: u32,
    /// Of this sample.
    read: HashMap<(PathBuf, Kind), Group>,
    last: HashMap<(PathBuf, Kind), GroupCounts>,
    totals: HashMap<u16, GroupCounts>,
    /// Where each service's processes were when there were some: what killed the last of them is
    /// counted there.
    places: HashMap<u16, [BTreeSet<Place>; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Cpu,
    Memory,
}

/// What the host itself has: the ceiling of all groups.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HostCeiling {
    pub(super) cpus: Option<f64>,
    pub(super) memory: Option<u64>,
}

impl ControlGroups {
    /// Begins a sample.
    pub(super) fn begin(&mut self, files: &mut Files) {
        if self.age.is_multiple_of(MOUNTS_KEPT_FOR) {
            let path = format_args!("self/mountinfo");
            let found = files.optional("mountinfo", path, |text| {
                Some(text.lines().filter_map(hierarchy).collect())
            });
            self.hierarchies = found.unwrap_or_default();
        }
        self.age = self.age.wrapping_add(1);
    }

    /// Where a process is.
    pub(super) fn of_process(&self, files: &mut Files, pid: u32) -> Groups {
        let path = format_args!("{pid}/cgroup");
        let found = files.parse("process_cgroup", path, |text| {
            Some(Groups {
                cpu: self.place(text, "cpu"),
                memory: self.place(text, "memory"),
            })
        });
        found.unwrap_or_default()
    }

    fn place(&self, text: &str, controller: &str) -> Option<Place> {
        // With a v1 hierarchy for the controller, the v2 one has nothing to say about it.
        let v1 = self.hierarchies.iter().find(|hierarchy| {
            hierarchy.version == Version::V1
                && hierarchy.controllers.iter().any(|c| c == controller)
        });
        let hierarchy = match v1 {
            Some(hierarchy) => hierarchy,
            None => self.hierarchies.iter().find(|h| h.version == Version::V2)?,
        };
        let path = text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let is_it = match hierarchy.version {
                Version::V1 => controllers.split(',').any(|name| name == controller),
                Version::V2 => controllers.is_empty(),
            };
            is_it.then_some(path)
        })?;
        // A group outside of what is mounted, or above our own namespace's root, can't be reached.
        let below = path.strip_prefix(hierarchy.root.trim_end_matches('/'))?;
        if below.split('/').any(|segment| segment == "..") {
            return None;
        }
        Some(Place {
            version: hierarchy.version,
            top: hierarchy.mountpoint.clone(),
            directory: hierarchy.mountpoint.join(below.trim_start_matches('/')),
        })
    }

    /// What the groups of one service's processes allow it.
    pub(super) fn of_service<'a>(
        &mut self,
        files: &mut Files,
        service: u16,
        processes: impl Iterator<Item = &'a Groups>,
        host: HostCeiling,
    ) -> GroupReport {
        let mut now = [BTreeSet::new(), BTreeSet::new()];
        for groups in processes {
            let [cpu, memory] = &mut now;
            cpu.extend(groups.cpu.clone());
            memory.extend(groups.memory.clone());
        }
        let places = self.places.entry(service).or_default();
        if now.iter().any(|places| !places.is_empty()) {
            places.clone_from(&now);
        }
        let [cpu, memory] = places.clone();
        if cpu.len() > MAX_GROUPS || memory.len() > MAX_GROUPS {
            files.failed("process_cgroup", Reason::Truncated);
        }
        let mut counted = Vec::new();
        let cpu_limit = self.limit(files, Kind::Cpu, &cpu, &mut counted, |group| {
            group.cpu_limit
        });
        let with_limits = counted.len();
        #[expect(
            clippy::cast_precision_loss,
            reason = "petabytes are exact, and more is no limit"
        )]
        let memory_limit = self.limit(files, Kind::Memory, &memory, &mut counted, |group| {
            group.memory_limit.map(|bytes| bytes as f64)
        });
        // Without any limit, what the service's own groups use; a hierarchy's root is the host.
        let limiting = counted.get(with_limits..).unwrap_or_default();
        let own: Vec<(PathBuf, Kind)> = match limiting {
            [] => memory
                .iter()
                .take(MAX_GROUPS)
                .filter(|place| place.directory != place.top)
                .map(|place| (place.directory.clone(), Kind::Memory))
                .collect(),
            limiting => limiting.to_vec(),
        };
        let used = |key: &(PathBuf, Kind)| self.read.get(key)?.memory_used;
        let used: Vec<u64> = own.iter().filter_map(used).collect();
        for key in own {
            if !counted.contains(&key) {
                counted.push(key);
            }
        }
        let total = self.totals.entry(service).or_default();
        for key in &counted {
            if let Some(group) = self.read.get(key) {
                total.add_growth(self.last.get(key), &group.counts);
            }
        }
        let bytes = |limit: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a sum of sizes"
            )]
            let bytes = limit as u64;
            bytes
        };
        GroupReport {
            cpu_limit: either(cpu_limit, host.cpus, f64::min),
            memory_limit: either(memory_limit.map(bytes), host.memory, u64::min),
            memory_used: (!used.is_empty()).then(|| used.iter().sum()),
            counts: *total,
        }
    }

    /// The sum of the limits of several groups; `None` as soon as one of them has none. Groups
    /// below the same limit count once.
    fn limit(
        &mut self,
        files: &mut Files,
        kind: Kind,
        places: &BTreeSet<Place>,
        counted: &mut Vec<(PathBuf, Kind)>,
        limit_of: impl Fn(&Group) -> Option<f64>,
    ) -> Option<f64> {
        let mut limits: BTreeMap<PathBuf, f64> = BTreeMap::new();
        let mut all_limited = !places.is_empty();
        for place in places.iter().take(MAX_GROUPS) {
            let mut lowest: Option<(f64, PathBuf)> = None;
            let on_the_way = place.directory.ancestors().take(MAX_DEPTH);
            for directory in on_the_way.take_while(|directory| directory.starts_with(&place.top)) {
                let key = (directory.to_owned(), kind);
                let group = *self.read.entry(key.clone()).or_insert_with(|| match kind {
                    Kind::Cpu => cpu(files, place.version, directory),
                    Kind::Memory => memory(files, place.version, directory),
                });
                let Some(limit) = limit_of(&group) else {
                    continue;
                };
                if !counted.contains(&key) {
                    counted.push(key);
                }
                if lowest.as_ref().is_none_or(|(other, _)| limit < *other) {
                    lowest = Some((limit, directory.to_owned()));
                }
            }
            match lowest {
                Some((limit, directory)) => {
                    limits.insert(directory, limit);
                }
                None => all_limited = false,
            }
        }
        all_limited.then(|| limits.values().sum())
    }

    /// Ends a sample: the groups of this one are what the next is compared with.
    pub(super) fn end(&mut self) {
        let read = std::mem::take(&mut self.read);
        self.last = read
            .into_iter()
            .map(|(key, group)| (key, group.counts))
            .collect();
    }

    /// Forgets the counts of services whose id another one has now.
    pub(super) fn forget(&mut self, service: u16) {
        self.totals.remove(&service);
        self.places.remove(&service);
    }
}

/// The better of two, or the one that there is.
fn either<T: Copy>(one: Option<T>, other: Option<T>, better: impl Fn(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(better(one, other)),
        (one, other) => one.or(other),
    }
}

/// A line of `/proc/self/mountinfo`, when it is a hierarchy.
fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (place, what) = line.split_once(" - ")?;
    let mut place = place.split(' ');
    let root = unescape(place.nth(3)?);
    let mountpoint = PathBuf::from(unescape(place.next()?));
    let mut what = what.split(' ');
    let version = match what.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let options = what.nth(1).unwrap_or_default();
    Some(Hierarchy {
        version,
        controllers: options.split(',').map(ToOwned::to_owned).collect(),
        root,
        mountpoint,
    })
}

fn cpu(files: &mut Files, version: Version, directory: &Path) -> Group {
    let mut read = |name: &str| {
        files.elsewhere("cgroup", &directory.join(name), |text| {
            Some(text.to_owned())
        })
    };
    let limit = match version {
        Version::V1 => {
            let quota = read("cpu.cfs_quota_us").and_then(|text| text.trim().parse::<i64>().ok());
            let period = read("cpu.cfs_period_us").and_then(|text| text.trim().parse::<i64>().ok());
            quota
                .zip(period)
                .and_then(|(quota, period)| share(quota, period))
        }
        Version::V2 => read("cpu.max").and_then(|text| {
            let mut words = text.split_ascii_whitespace();
            share(words.next()?.parse().ok()?, words.next()?.parse().ok()?)
        }),
    };
    let mut counts = GroupCounts::default();
    if limit.is_some()
        && let Some(text) = read("cpu.stat")
    {
        let value = |key| value_of(&text, key).unwrap_or_default();
        counts.periods = value("nr_periods");
        counts.throttled_periods = value("nr_throttled");
        counts.throttled_ns = match version {
            Version::V1 => value("throttled_time"),
            Version::V2 => value("throttled_usec").saturating_mul(1000),
        };
    }
    Group {
        cpu_limit: limit,
        counts,
        ..Group::default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a second or so")]
fn share(quota: i64, period: i64) -> Option<f64> {
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

fn memory(files: &mut Files, version: Version, directory: &Path) -> Group {
    let mut read = |name: &str| {
        files.elsewhere("cgroup", &directory.join(name), |text| {
            Some(text.to_owned())
        })
    };
    let number = |text: String| text.trim().parse::<u64>().ok();
    let mut group = Group::default();
    let events = &mut group.counts.memory_events;
    match version {
        Version::V1 => {
            group.memory_limit = read("memory.limit_in_bytes").and_then(number);
            group.memory_used = read("memory.usage_in_bytes").and_then(number);
            let [_, _, max, _, oom_kill] = events;
            *max = read("memory.failcnt").and_then(number).unwrap_or_default();
            let control = read("memory.oom_control").unwrap_or_default();
            *oom_kill = value_of(&control, "oom_kill").unwrap_or_default();
        }
        Version::V2 => {
            group.memory_limit = read("memory.max").and_then(number);
            group.memory_used = read("memory.current").and_then(number);
            let text = read("memory.events").unwrap_or_default();
            for (count, name) in events.iter_mut().zip(MEMORY_EVENTS) {
                *count = value_of(&text, name).unwrap_or_default();
            }
        }
    }
    group.memory_limit = group.memory_limit.filter(|bytes| *bytes < NO_LIMIT);
    group
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(mountinfo: &str, cgroup: &str) -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            let mounts = mountinfo.replace("ROOT", tree.0.path().to_str().unwrap());
            tree.write("self/mountinfo", &mounts);
            tree.write("7/cgroup", cgroup);
            tree
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    const HOST: HostCeiling = HostCeiling {
        cpus: Some(4.0),
        memory: Some(1 << 30),
    };

    fn sample(tree: &Tree, groups: &mut ControlGroups) -> GroupReport {
        let mut files = Files::new(tree.0.path().to_owned());
        groups.begin(&mut files);
        let of_process = groups.of_process(&mut files, 7);
        let report = groups.of_service(&mut files, 1, std::iter::once(&of_process), HOST);
        groups.end();
        report
    }

    /// A container with half a CPU is full at half a CPU, whatever the host has.
    #[test]
    fn the_lowest_limit_on_the_way_up_is_the_ceiling() {
        let tree = Tree::new(
            "30 1 0:26 / ROOT/cg rw - cgroup2 cgroup2 rw\n",
            "0::/slice/unit\n",
        );
        tree.write("cg/slice/cpu.max", "50000 100000\n");
        tree.write(
            "cg/slice/cpu.stat",
            "usage_usec 5\nnr_periods 10\nnr_throttled 3\nthrottled_usec 700\n",
        );
        tree.write("cg/slice/unit/cpu.max", "max 100000\n");
        tree.write("cg/slice/memory.max", "max\n");
        tree.write("cg/slice/unit/memory.max", "4096\n");
        tree.write("cg/slice/unit/memory.current", "1024\n");
        tree.write(
            "cg/slice/unit/memory.events",
            "low 0\nhigh 1\nmax 2\noom 1\noom_kill 1\n",
        );
        let mut groups = ControlGroups::default();
        let first = sample(&tree, &mut groups);
        assert_eq!(
            (first.cpu_limit, first.memory_limit),
            (Some(0.5), Some(4096))
        );
        assert_eq!(first.memory_used, Some(1024));
        assert_eq!(first.counts, GroupCounts::default());
        tree.write(
            "cg/slice/cpu.stat",
            "nr_periods 14\nnr_throttled 4\nthrottled_usec 900\n",
        );
        tree.write(
            "cg/slice/unit/memory.events",
            "low 0\nhigh 1\nmax 5\noom 1\noom_kill 2\n",
        );
        let counts = sample(&tree, &mut groups).counts;
        assert_eq!((counts.periods, counts.throttled_periods), (4, 1));
        assert_eq!(counts.throttled_ns, 200_000);
        assert_eq!(counts.memory_events, [0, 0, 3, 0, 1]);
        // Made anew: it counts from zero, the sum goes on.
        tree.write(
            "cg/slice/cpu.stat",
            "nr_periods 2\nnr_throttled 2\nthrottled_usec 100\n",
        );
        let counts = sample(&tree, &mut groups).counts;
        assert_eq!((counts.periods, counts.throttled_periods), (6, 3));
        assert_eq!(counts.throttled_ns, 300_000);
    }

    #[test]
    fn v1_hierarchies_are_read_where_they_have_the_controller() {
        let tree = Tree::new(
            "30 1 0:26 / ROOT/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
             31 1 0:27 /outer ROOT/memory rw - cgroup cgroup rw,memory\n\
             32 1 0:28 / ROOT/unified rw - cgroup2 cgroup2 rw\n",
            "9:memory:/outer/inner\n2:cpu,cpuacct:/limited\n0::/\n",
        );
        tree.write("cpu/limited/cpu.cfs_quota_us", "150000\n");
        tree.write("cpu/limited/cpu.cfs_period_us", "100000\n");
        tree.write("cpu/cpu.cfs_quota_us", "-1\n");
        tree.write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        tree.write(
            "memory/inner/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        tree.write("memory/inner/memory.usage_in_bytes", "77\n");
        let report = sample(&tree, &mut ControlGroups::default());
        assert_eq!(
            (report.cpu_limit, report.memory_limit),
            (Some(1.5), Some(1 << 30))
        );
        assert_eq!(report.memory_used, Some(77));
    }

    #[test]
    fn without_control_groups_the_host_is_the_ceiling() {
        for (mounts, cgroup) in [
            ("", "0::/\n"),
            (
                "30 1 0:26 / ROOT/cg rw - cgroup2 cgroup2 rw\n",
                "0::/../../other\n",
            ),
            (
                "30 1 0:26 /mine ROOT/cg rw - cgroup2 cgroup2 rw\n",
                "0::/other\n",
            ),
            ("x - cgroup2\n - \n", ":::\n::\n\n"),
        ] {
            let tree = Tree::new(mounts, cgroup);
            let report = sample(&tree, &mut ControlGroups::default());
            assert_eq!(
                (report.cpu_limit, report.memory_limit),
                (Some(4.0), Some(1 << 30))
            );
            assert_eq!(report.memory_used, None);
        }
    }
}
