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

/// A container that waits for its disk while the host as a whole does not must show it.
#[test]
fn pressure_is_that_of_the_service_s_own_groups() {
    let tree = Tree::new(
        "30 1 0:26 / ROOT/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
         32 1 0:28 / ROOT/unified rw - cgroup2 cgroup2 rw\n",
        "2:cpu,cpuacct:/limited\n0::/app\n",
    );
    let line = |some: u64, full: u64| {
        let stall =
            |kind, total| format!("{kind} avg10=0.00 avg60=0.00 avg300=0.00 total={total}\n");
        stall("some", some) + &stall("full", full)
    };
    tree.write("unified/io.pressure", &line(1_000_000, 0));
    let mut groups = ControlGroups::default();
    assert_eq!(sample(&tree, &mut groups).pressure, None);
    tree.write("unified/app/io.pressure", &line(500, 100));
    tree.write(
        "unified/app/cpu.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
    );
    let first = sample(&tree, &mut groups).pressure;
    assert_eq!(first, Some(GroupPressure::default()));
    tree.write("unified/app/io.pressure", &line(700, 130));
    let grown = sample(&tree, &mut groups).pressure.unwrap();
    assert_eq!(
        (grown.waiting_us, grown.stalled_us),
        ([0, 0, 200], [0, 0, 30])
    );
    // Made anew under its old name.
    tree.write("unified/app/io.pressure", &line(5, 1));
    let grown = sample(&tree, &mut groups).pressure.unwrap();
    assert_eq!(
        (grown.waiting_us, grown.stalled_us),
        ([0, 0, 205], [0, 0, 31])
    );
}

/// A kernel that says something else is counted, and the other files are read all the same.
#[test]
fn pressure_that_can_not_be_read_is_counted() {
    let tree = Tree::new("30 1 0:26 / ROOT/cg rw - cgroup2 cgroup2 rw\n", "0::/app\n");
    tree.write("cg/app/io.pressure", "nonsense\n");
    tree.write(
        "cg/app/cpu.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
    );
    let mut groups = ControlGroups::default();
    let mut files = Files::new(tree.0.path().to_owned());
    groups.begin(&mut files);
    let of_process = groups.of_process(&mut files, 7);
    let report = groups.of_service(&mut files, 1, std::iter::once(&of_process), HOST);
    assert!(report.pressure.is_some());
    let errors = files.errors().get(&("cgroup_pressure", Reason::Malformed));
    assert_eq!(errors, Some(&1));
}
