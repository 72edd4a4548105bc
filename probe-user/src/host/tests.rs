//! What a user would lose: the whole scrape to one odd file, or a sum that goes down when a process
//! ends.

use std::{fs, path::Path};

use proptest::prelude::*;

use super::*;

/// A made-up `/proc`.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.write("uptime", "100.00 50.00\n");
        tree.write(
            "meminfo",
            "MemTotal: 1000 kB\nMemFree: 400 kB\nCached: 100 kB\n",
        );
        tree.write("loadavg", "0.50 0.40 0.30 1/100 77\n");
        tree.write("vmstat", "pgfault 10\npgmajfault 1\n");
        tree.write(
            "stat",
            "cpu  1 2 3 4 5 6 7 8\ncpu0 1 2 3 4 5 6 7 8\nintr 1 0\nctxt 2\nbtime 3\n\
             processes 4\nprocs_running 1\nprocs_blocked 0\n",
        );
        tree
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn process(&self, process: &Made) {
        let Made {
            pid,
            parent,
            start,
            ticks,
            waited,
            read,
            switches,
        } = *process;
        let text = format!(
            "{pid} (x y) S {parent} 1 1 0 -1 0 10 0 1 0 {ticks} 0 {waited} 0 20 0 1 0 {start} \
             4096 2 0\n"
        );
        self.write(&format!("{pid}/stat"), text);
        self.write(
            &format!("{pid}/io"),
            format!("rchar: 1\nread_bytes: {read}\nwrite_bytes: 0\n"),
        );
        let switches =
            format!("voluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t0\n");
        self.write(&format!("{pid}/status"), switches);
        self.write(&format!("{pid}/limits"), "Max open files 10 20 files\n");
        self.write(&format!("{pid}/cgroup"), "0::/\n");
        fs::create_dir_all(self.0.path().join(format!("{pid}/fd"))).unwrap();
        self.write(&format!("{pid}/fd/0"), "");
    }

    fn ended(&self, pid: u32) {
        fs::remove_dir_all(self.0.path().join(pid.to_string())).unwrap();
    }

    fn sampler(&self) -> Sampler {
        let nothing = |_: &Path| None;
        Sampler::with_root(&Host::default(), self.0.path().to_owned(), nothing)
    }
}

/// A process of that tree.
#[derive(Clone, Copy, Default)]
struct Made {
    pid: u32,
    parent: u32,
    /// In ticks; the sampler began at 10,000.
    start: u64,
    ticks: u64,
    waited: u64,
    read: u64,
    switches: u64,
}

fn of(pids: &[u32]) -> [ServiceProcesses; 1] {
    [ServiceProcesses {
        service: 1,
        pids: pids.to_vec(),
    }]
}

fn report(sampler: &mut Sampler, pids: &[u32]) -> ProcessReport {
    sampler.sample(&of(pids)).services[&1].clone()
}

#[test]
fn a_service_is_the_sum_of_its_processes() {
    let tree = Tree::new();
    let old = Made {
        pid: 7,
        start: 5,
        ticks: 1_000,
        read: 100,
        switches: 50,
        ..Made::default()
    };
    let new = Made {
        pid: 8,
        start: 10_500,
        ticks: 20,
        read: 3,
        switches: 2,
        ..Made::default()
    };
    tree.process(&old);
    let mut sampler = tree.sampler();
    // What was there before begins at zero, as all counters of the daemon do.
    assert_eq!(report(&mut sampler, &[7]).user_ticks, 0);
    tree.process(&Made {
        ticks: 1_100,
        read: 110,
        switches: 60,
        ..old
    });
    tree.process(&new);
    let both = report(&mut sampler, &[7, 8]);
    assert_eq!((both.user_ticks, both.read_bytes), (120, 13));
    assert_eq!((both.voluntary_switches, both.processes), (12, 2));
    assert_eq!((both.virtual_bytes, both.threads), (8192, 2));
    assert_eq!((both.open_fds, both.fullest.unwrap().limit), (2, 10));
    assert_eq!(both.oldest_start, Some(5));
    // An end takes nothing back, and a service without processes keeps its sums.
    tree.ended(8);
    tree.ended(7);
    let none = report(&mut sampler, &[7, 8]);
    assert_eq!(
        (none.user_ticks, none.read_bytes, none.processes),
        (120, 13, 0)
    );
    let none = report(&mut sampler, &[]);
    assert_eq!(none.user_ticks, 120);
    sampler.forget(&[1]);
    assert_eq!(report(&mut sampler, &[]).user_ticks, 0);
}

/// Workers that live shorter than the time between two scrapes are most of some services' work.
#[test]
fn what_children_did_after_the_last_look_is_counted_once_with_their_parents() {
    let tree = Tree::new();
    let parent = Made {
        pid: 7,
        start: 20_000,
        ..Made::default()
    };
    let child = Made {
        pid: 8,
        parent: 7,
        start: 20_001,
        ticks: 40,
        read: 4,
        ..Made::default()
    };
    tree.process(&parent);
    tree.process(&child);
    let mut sampler = tree.sampler();
    assert_eq!(report(&mut sampler, &[7, 8]).user_ticks, 40);
    // It ended with 45, and a child that was never seen with 5.
    tree.ended(8);
    tree.process(&Made {
        waited: 50,
        read: 9,
        ..parent
    });
    let after = report(&mut sampler, &[7]);
    assert_eq!((after.user_ticks, after.read_bytes), (50, 9));
    // Nothing new, nothing more.
    let after = report(&mut sampler, &[7]);
    assert_eq!((after.user_ticks, after.read_bytes), (50, 9));
    // A child that is waited for only later is not counted twice either.
    tree.process(&Made {
        pid: 9,
        ticks: 30,
        read: 0,
        ..child
    });
    assert_eq!(report(&mut sampler, &[7, 9]).user_ticks, 80);
    tree.ended(9);
    assert_eq!(report(&mut sampler, &[7]).user_ticks, 80);
    tree.process(&Made {
        waited: 80,
        read: 9,
        ..parent
    });
    assert_eq!(report(&mut sampler, &[7]).user_ticks, 80);
}

#[test]
fn a_number_that_another_process_has_now_is_another_process() {
    let tree = Tree::new();
    let first = Made {
        pid: 7,
        start: 20_000,
        ticks: 40,
        ..Made::default()
    };
    tree.process(&first);
    let mut sampler = tree.sampler();
    assert_eq!(report(&mut sampler, &[7]).user_ticks, 40);
    tree.process(&Made {
        start: 20_500,
        ticks: 7,
        ..first
    });
    assert_eq!(report(&mut sampler, &[7]).user_ticks, 47);
}

#[test]
fn a_process_that_may_not_be_read_is_counted_and_the_others_are_there() {
    let tree = Tree::new();
    tree.process(&Made {
        pid: 7,
        start: 20_000,
        ticks: 3,
        ..Made::default()
    });
    tree.write("8/stat", "8 (cut");
    let mut sampler = tree.sampler();
    let report = sampler.sample(&of(&[7, 8, 9]));
    assert_eq!(report.services[&1].user_ticks, 3);
    assert_eq!(report.errors[&("process_stat", Reason::Malformed)], 1);
    assert_eq!(report.errors[&("process_stat", Reason::Gone)], 1);
    assert_eq!(report.memory.unwrap().total, 1_024_000);
    // What this kernel does not have is absent, and no error.
    assert!(report.pressure.is_empty() && report.disks.is_empty() && report.tcp.is_none());
}

#[test]
fn an_empty_proc_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("nowhere");
    let mut sampler = Sampler::with_root(&Host::default(), root, |_| None);
    let report = sampler.sample(&of(&[1, 2]));
    assert_eq!(report.cpu, None);
    assert!(report.errors.values().sum::<u64>() > 3);
}

#[test]
fn this_host_is_read_as_it_is() {
    let mut sampler = Sampler::new(&Host {
        per_cpu: true,
        ..Host::default()
    });
    let mine = of(&[std::process::id()]);
    sampler.sample(&mine);
    let report = sampler.sample(&mine);
    let cpu = report.cpu.as_ref().unwrap();
    assert!(!cpu.each.is_empty() && cpu.forks > 0);
    let memory = report.memory.unwrap();
    assert!(memory.used() > 0 && memory.available <= memory.total);
    assert!(
        report
            .interfaces
            .iter()
            .any(|interface| interface.device == "lo")
    );
    assert!(!report.about.kernel.is_empty());
    let own = &report.services[&1];
    assert!(own.resident_bytes > 1_000_000 && own.threads >= 1 && own.open_fds >= 3);
    assert!(own.proportional_bytes.unwrap() <= own.resident_bytes * 2);
    assert_eq!(report.errors, ReadErrors::new());
}

/// Files that a sample reads, each of which may say anything.
const FILES: &[&str] = &[
    "stat",
    "meminfo",
    "vmstat",
    "loadavg",
    "uptime",
    "diskstats",
    "pressure/cpu",
    "pressure/io",
    "self/mountinfo",
    "self/net/dev",
    "self/net/snmp",
    "self/net/netstat",
    "self/net/tcp",
    "sys/fs/file-nr",
    "7/stat",
    "7/status",
    "7/io",
    "7/limits",
    "7/cgroup",
    "7/smaps_rollup",
    "7/net/tcp",
];

/// Text that looks a little like these files, and any bytes.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "cpu",
        "cpu0",
        "some",
        "full ",
        "avg10=",
        "total=1",
        "MemTotal:",
        "kB",
        ")",
        "(",
        ":",
        "\n",
        " ",
        " - ",
        "\\04",
        "cgroup2",
        "0::/",
        "Tcp:",
        "OutSegs",
        "18446744073709551615",
        "-1",
        "1",
        "NaN",
        "../..",
        "Max open files",
        "Pss:",
        "0A",
        "7",
    ]);
    let alike = prop::collection::vec(words, 0..40).prop_map(|words| words.join(" ").into_bytes());
    prop_oneof![alike, prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_content_of_any_file_stops_a_sample(
        contents in prop::collection::vec(content(), FILES.len()),
    ) {
        let tree = Tree::new();
        for (path, content) in FILES.iter().zip(&contents) {
            tree.write(path, content);
        }
        let mut sampler = tree.sampler();
        sampler.sample(&of(&[7]));
        // And with what changed in between.
        for (path, content) in FILES.iter().zip(contents.iter().rev()) {
            tree.write(path, content);
        }
        let report = sampler.sample(&of(&[7]));
        prop_assert!(report.services.contains_key(&1));
    }
}
