//! Resources of the host and of services against `/proc` itself and against node_exporter and
//! process-exporter, under load. Without these, somebody who replaces the exporters by the probe
//! would look at other numbers, or at sums that fall when a worker ends.
//!
//! Counts that grow while one looks are compared by brackets: the probe is asked before and after
//! the other, whose number has to lie between, give or take what both round to.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use end_to_end::{
    control_group::ControlGroup,
    exporters::Exporter,
    exposition::Metrics,
    probe::{Config, Probe, SETTLING},
    process::{Process, run_stopped},
    site::{Site, need, target_directory},
    waiting::{self, PATIENCE},
};
use nix::sys::signal::Signal;

const APP: [(&str, &str); 1] = [("service", "app")];
const GROUP: [(&str, &str); 1] = [("groupname", "app")];
const MIB: f64 = 1_048_576.0;

fn site() -> Result<Site> {
    Site::new(&[env!("CARGO_BIN_EXE_workload")])
}

/// A folder on a real disk, and a name that is nowhere else on the host.
fn folder() -> Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    Ok(builder
        .prefix("hostprobe-host-")
        .tempdir_in(target_directory())?)
}

fn stress(folder: &Path, arguments: &[&str]) -> Result<Process> {
    let mut command = Command::new(need("stress-ng", "stress-ng")?);
    command
        .arg("--quiet")
        .arg("--temp-path")
        .arg(folder)
        .args(arguments);
    run_stopped("stress-ng", &command)
}

/// A shell that holds still, runs this script when it is let go, and holds still again.
fn script(text: &str) -> Result<Process> {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("kill -STOP $$\n{text}\nkill -STOP $$")]);
    let mut process = Process::spawn("script", command)?;
    process.wait_stopped()?;
    Ok(process)
}

/// A number of the probe beside the number of another source.
struct Pair {
    name: &'static str,
    ours: fn(&Metrics) -> f64,
    theirs: fn(&Metrics) -> f64,
    /// What both may round to.
    tolerance: f64,
}

/// What grew at the one has grown at the other, too.
fn growth_is_equal(
    probe: &Probe,
    other: &Exporter,
    pairs: &[Pair],
    enough: impl Fn(&Metrics, &Metrics) -> bool,
) -> Result<()> {
    let outer_begin = probe.metrics()?;
    let their_begin = other.metrics()?;
    let inner_begin = probe.metrics()?;
    waiting::until("there was enough load", PATIENCE, || {
        let now = probe.metrics()?;
        Ok(enough(&inner_begin, &now).then_some(()))
    })?;
    let inner_end = probe.metrics()?;
    let their_end = other.metrics()?;
    let outer_end = probe.metrics()?;
    for pair in pairs {
        let ours = |end: &Metrics, begin: &Metrics| (pair.ours)(end) - (pair.ours)(begin);
        let least = ours(&inner_end, &inner_begin) - pair.tolerance;
        let most = ours(&outer_end, &outer_begin) + pair.tolerance;
        let theirs = (pair.theirs)(&their_end) - (pair.theirs)(&their_begin);
        ensure!(
            (least..=most).contains(&theirs),
            "{} grew by {theirs} at the other, at the probe by {least} to {most}",
            pair.name
        );
    }
    Ok(())
}

/// What goes up and down is about the same at some moment.
fn values_are_equal(probe: &Probe, other: &Exporter, pairs: &[Pair]) -> Result<()> {
    for pair in pairs {
        waiting::eventually(SETTLING, || {
            let (before, theirs, after) = (probe.metrics()?, other.metrics()?, probe.metrics()?);
            let (before, after) = ((pair.ours)(&before), (pair.ours)(&after));
            let theirs = (pair.theirs)(&theirs);
            let least = before.min(after) - pair.tolerance;
            let most = before.max(after) + pair.tolerance;
            ensure!(
                (least..=most).contains(&theirs),
                "{} is {theirs} at the other, at the probe {before}, then {after}",
                pair.name
            );
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_service_under_load_equals_process_exporter() -> Result<()> {
    let folder = folder()?;
    let load = [
        "--cpu",
        "1",
        "--vm",
        "1",
        "--vm-bytes",
        "32M",
        "--vm-keep",
        "--vm-hang",
        "0",
    ];
    let process = stress(folder.path(), &load)?;
    let config = Config::new()
        .service("app", &[process.pid()])
        .with("[host]\npss_interval_s = 1");
    let probe = Probe::start(&site()?, &config)?;
    process.resume()?;
    // Once its children are there, so that both follow the same processes.
    probe.eventually(|metrics| {
        let processes = metrics.count("hostprobe_service_processes", &APP);
        ensure!(processes >= 3, "{processes} processes");
        Ok(())
    })?;
    let name = folder
        .path()
        .file_name()
        .context("a name")?
        .to_string_lossy();
    let other = Exporter::process(&name)?;
    let pairs = [
        Pair {
            name: "CPU seconds",
            ours: |ours| ours.sum("hostprobe_process_cpu_seconds_total", &APP),
            theirs: |theirs| theirs.sum("namedprocess_namegroup_cpu_seconds_total", &GROUP),
            tolerance: 0.05,
        },
        Pair {
            name: "CPU seconds in the kernel",
            ours: |ours| ours.sum("hostprobe_process_cpu_system_seconds_total", &APP),
            theirs: |theirs| {
                let labels = [GROUP[0], ("mode", "system")];
                theirs.sum("namedprocess_namegroup_cpu_seconds_total", &labels)
            },
            tolerance: 0.05,
        },
        Pair {
            name: "minor page faults",
            ours: |ours| {
                let labels = [APP[0], ("process_paging_fault_type", "minor")];
                ours.sum("hostprobe_process_page_faults_total", &labels)
            },
            theirs: |theirs| theirs.sum("namedprocess_namegroup_minor_page_faults_total", &GROUP),
            tolerance: 0.0,
        },
    ];
    growth_is_equal(&probe, &other, &pairs, |before, now| {
        let cpu = |metrics: &Metrics| metrics.sum("hostprobe_process_cpu_seconds_total", &APP);
        cpu(now) - cpu(before) > 1.5
    })?;
    let memory = |kind| [GROUP[0], ("memtype", kind)];
    let resident = memory("resident");
    let theirs = other.metrics()?;
    ensure!(theirs.sum("namedprocess_namegroup_memory_bytes", &resident) > 32.0 * MIB);
    let pairs = [
        Pair {
            name: "resident memory",
            ours: |ours| ours.sum("hostprobe_process_resident_memory_bytes", &APP),
            theirs: |theirs| {
                let labels = [GROUP[0], ("memtype", "resident")];
                theirs.sum("namedprocess_namegroup_memory_bytes", &labels)
            },
            tolerance: 2.0 * MIB,
        },
        Pair {
            name: "proportional memory",
            ours: |ours| ours.sum("hostprobe_process_proportional_memory_bytes", &APP),
            theirs: |theirs| {
                let labels = [GROUP[0], ("memtype", "proportionalResident")];
                theirs.sum("namedprocess_namegroup_memory_bytes", &labels)
            },
            tolerance: 4.0 * MIB,
        },
        Pair {
            name: "virtual memory",
            ours: |ours| ours.sum("hostprobe_process_virtual_memory_bytes", &APP),
            theirs: |theirs| {
                let labels = [GROUP[0], ("memtype", "virtual")];
                theirs.sum("namedprocess_namegroup_memory_bytes", &labels)
            },
            tolerance: 2.0 * MIB,
        },
        Pair {
            name: "threads",
            ours: |ours| ours.sum("hostprobe_process_threads", &APP),
            theirs: |theirs| theirs.sum("namedprocess_namegroup_num_threads", &GROUP),
            tolerance: 0.0,
        },
        Pair {
            name: "open descriptors",
            ours: |ours| ours.sum("hostprobe_process_open_fds", &APP),
            theirs: |theirs| theirs.sum("namedprocess_namegroup_open_filedesc", &GROUP),
            tolerance: 0.0,
        },
        Pair {
            name: "the fullest process",
            ours: |ours| ours.sum("hostprobe_process_worst_fd_ratio", &APP),
            theirs: |theirs| theirs.sum("namedprocess_namegroup_worst_fd_ratio", &GROUP),
            tolerance: 1e-6,
        },
        Pair {
            name: "the oldest start",
            ours: |ours| ours.sum("hostprobe_process_oldest_start_time_seconds", &APP),
            theirs: |theirs| theirs.sum("namedprocess_namegroup_oldest_start_time_seconds", &GROUP),
            tolerance: 1.0,
        },
    ];
    values_are_equal(&probe, &other, &pairs)?;
    process.signal(Signal::SIGTERM)?;
    probe.stop()
}

#[test]
fn the_host_under_load_equals_node_exporter() -> Result<()> {
    let folder = folder()?;
    let load = [
        "--cpu",
        "1",
        "--hdd",
        "1",
        "--hdd-bytes",
        "32M",
        "--hdd-opts",
        "fsync",
    ];
    let process = stress(folder.path(), &load)?;
    let probe = Probe::start(&site()?, &Config::new().service("app", &[process.pid()]))?;
    let other = Exporter::node()?;
    process.resume()?;
    let mut pairs = vec![
        Pair {
            name: "context switches",
            ours: |ours| ours.sum("hostprobe_host_context_switches_total", &[]),
            theirs: |theirs| theirs.sum("node_context_switches_total", &[]),
            tolerance: 0.0,
        },
        Pair {
            name: "forks",
            ours: |ours| ours.sum("hostprobe_host_forks_total", &[]),
            theirs: |theirs| theirs.sum("node_forks_total", &[]),
            tolerance: 0.0,
        },
        Pair {
            name: "bytes written to disks",
            ours: |ours| {
                let labels = [("disk_io_direction", "write")];
                ours.sum("hostprobe_host_disk_io_bytes_total", &labels)
            },
            theirs: |theirs| theirs.sum("node_disk_written_bytes_total", &[]),
            tolerance: 0.0,
        },
        Pair {
            name: "writes to disks",
            ours: |ours| {
                let labels = [("disk_io_direction", "write")];
                ours.sum("hostprobe_host_disk_operations_total", &labels)
            },
            theirs: |theirs| theirs.sum("node_disk_writes_completed_total", &[]),
            tolerance: 0.0,
        },
        Pair {
            name: "time of disks",
            ours: |ours| ours.sum("hostprobe_host_disk_io_seconds_total", &[]),
            theirs: |theirs| theirs.sum("node_disk_io_time_seconds_total", &[]),
            tolerance: 0.05,
        },
        Pair {
            name: "page faults",
            ours: |ours| ours.sum("hostprobe_host_page_faults_total", &[]),
            theirs: |theirs| theirs.sum("node_vmstat_pgfault", &[]),
            tolerance: 0.0,
        },
        Pair {
            // node_exporter leaves the loopback out.
            name: "bytes through interfaces",
            ours: |ours| {
                let all = [("network_io_direction", "receive")];
                let lo = [all[0], ("device", "lo")];
                let name = "hostprobe_host_network_io_bytes_total";
                ours.sum(name, &all) - ours.sum(name, &lo)
            },
            theirs: |theirs| {
                let name = "node_network_receive_bytes_total";
                theirs.sum(name, &[]) - theirs.sum(name, &[("device", "lo")])
            },
            tolerance: 0.0,
        },
        Pair {
            name: "waiting for CPUs",
            ours: |ours| {
                let labels = [("resource", "cpu")];
                ours.sum("hostprobe_host_pressure_waiting_seconds_total", &labels)
            },
            theirs: |theirs| theirs.sum("node_pressure_cpu_waiting_seconds_total", &[]),
            tolerance: 0.01,
        },
    ];
    macro_rules! modes {
        ($($mode:literal),*) => {
            $(pairs.push(Pair {
                name: concat!("CPU seconds, ", $mode),
                ours: |ours| ours.sum("hostprobe_host_cpu_seconds_total", &[("cpu_mode", $mode)]),
                theirs: |theirs| theirs.sum("node_cpu_seconds_total", &[("mode", $mode)]),
                // A tick for each CPU at each end.
                tolerance: 0.1,
            });)*
        };
    }
    modes!(
        "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"
    );
    growth_is_equal(&probe, &other, &pairs, |before, now| {
        let labels = [("cpu_mode", "user")];
        let cpu = |metrics: &Metrics| metrics.sum("hostprobe_host_cpu_seconds_total", &labels);
        cpu(now) - cpu(before) > 1.0
    })?;
    values_are_equal(&probe, &other, &host_values())?;
    process.signal(Signal::SIGTERM)?;
    probe.stop()
}

/// What has to be equal at any time, and what nearly.
fn host_values() -> Vec<Pair> {
    const ROOT: [(&str, &str); 1] = [("mountpoint", "/")];
    vec![
        Pair {
            name: "the boot time",
            ours: |ours| ours.sum("hostprobe_host_boot_time_seconds", &[]),
            theirs: |theirs| theirs.sum("node_boot_time_seconds", &[]),
            tolerance: 1.0,
        },
        Pair {
            name: "memory",
            ours: |ours| ours.sum("hostprobe_host_memory_total_bytes", &[]),
            theirs: |theirs| theirs.sum("node_memory_MemTotal_bytes", &[]),
            tolerance: 0.0,
        },
        Pair {
            name: "the sum of memory by state",
            ours: |ours| ours.sum("hostprobe_host_memory_usage_bytes", &[]),
            theirs: |theirs| theirs.sum("node_memory_MemTotal_bytes", &[]),
            tolerance: 0.0,
        },
        Pair {
            name: "available memory",
            ours: |ours| ours.sum("hostprobe_host_memory_available_bytes", &[]),
            theirs: |theirs| theirs.sum("node_memory_MemAvailable_bytes", &[]),
            tolerance: 64.0 * MIB,
        },
        Pair {
            name: "the size of the root",
            ours: |ours| ours.sum("hostprobe_host_filesystem_size_bytes", &ROOT),
            theirs: |theirs| theirs.sum("node_filesystem_size_bytes", &ROOT),
            tolerance: 0.0,
        },
        Pair {
            name: "what is left of the root",
            ours: |ours| ours.sum("hostprobe_host_filesystem_avail_bytes", &ROOT),
            theirs: |theirs| theirs.sum("node_filesystem_avail_bytes", &ROOT),
            tolerance: 256.0 * MIB,
        },
        Pair {
            name: "open files",
            ours: |ours| ours.sum("hostprobe_host_open_fds", &[]),
            theirs: |theirs| theirs.sum("node_filefd_allocated", &[]),
            tolerance: 256.0,
        },
        Pair {
            name: "the load",
            ours: |ours| ours.sum("hostprobe_host_load1", &[]),
            theirs: |theirs| theirs.sum("node_load1", &[]),
            tolerance: 0.0,
        },
    ]
}

/// A worker that dies every now and then must not make the graph of its service a saw.
#[test]
fn sums_of_a_crash_loop_never_fall_and_miss_nothing_that_its_parent_has_waited_for() -> Result<()> {
    const CRASHES: u64 = 40;
    let burn = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; kill -KILL $$";
    let loops = format!("n=0; while [ $n -lt {CRASHES} ]; do n=$((n+1)); sh -c '{burn}'; done");
    let mut process = script(&loops)?;
    let before = ticks_with_children(process.pid())?;
    let probe = Probe::start(&site()?, &Config::new().service("app", &[process.pid()]))?;
    process.resume()?;
    let mut last = Metrics::default();
    let counters = [
        "hostprobe_process_cpu_seconds_total",
        "hostprobe_process_cpu_system_seconds_total",
        "hostprobe_process_page_faults_total",
        "hostprobe_process_context_switches_total",
        "hostprobe_process_disk_io_bytes_total",
    ];
    probe_until(&probe, "all have crashed", |metrics| {
        for name in counters {
            let (was, is) = (last.sum(name, &APP), metrics.sum(name, &APP));
            ensure!(is >= was, "{name} fell from {was} to {is}");
        }
        last = metrics.clone();
        let labels = [APP[0], ("signal", "SIGKILL")];
        Ok(metrics.count("hostprobe_process_exits_total", &labels) >= CRASHES)
    })?;
    process.wait_stopped()?;
    let ticks = ticks_with_children(process.pid())? - before;
    let made = ticks as f64 / 100.0;
    probe.eventually(|metrics| {
        let counted = metrics.sum("hostprobe_process_cpu_seconds_total", &APP);
        // Ticks of each of the children are rounded by the kernel itself.
        ensure!(
            (counted - made).abs() < 0.05 + 0.02 * made,
            "{counted} s were counted, the kernel says {made} s"
        );
        Ok(())
    })?;
    probe.stop()
}

fn probe_until(
    probe: &Probe,
    what: &str,
    mut done: impl FnMut(&Metrics) -> Result<bool>,
) -> Result<()> {
    waiting::until(
        what,
        PATIENCE,
        || Ok(done(&probe.metrics()?)?.then_some(())),
    )
}

/// User and system time, that of children who were waited for included.
fn ticks_with_children(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("a name")?;
    let times = rest.split_whitespace().skip(11).take(4);
    times.map(|time| Ok(time.parse::<u64>()?)).sum()
}

/// A child's bytes are its parent's, too, once that has waited: they must not count twice.
#[test]
fn bytes_of_children_are_counted_once() -> Result<()> {
    const WRITTEN: u64 = 48 << 20;
    let folder = folder()?;
    let file = folder.path().join("file");
    let write = format!(
        "for n in 1 2 3; do dd if=/dev/zero of={0}$n bs=1M count=16 conv=fsync 2>/dev/null; done",
        file.display()
    );
    let mut process = script(&write)?;
    let probe = Probe::start(&site()?, &Config::new().service("app", &[process.pid()]))?;
    process.resume()?;
    // While it writes, so that its children are seen at work.
    probe_until(&probe, "something was written", |metrics| {
        let labels = [APP[0], ("disk_io_direction", "write")];
        Ok(metrics.count("hostprobe_process_disk_io_bytes_total", &labels) > 0)
    })?;
    process.wait_stopped()?;
    probe.eventually(|metrics| {
        let labels = [APP[0], ("disk_io_direction", "write")];
        let counted = metrics.count("hostprobe_process_disk_io_bytes_total", &labels);
        ensure!(
            (WRITTEN..WRITTEN + (1 << 20)).contains(&counted),
            "{counted} bytes were counted, {WRITTEN} were written"
        );
        Ok(())
    })?;
    probe.stop()
}

#[test]
fn descriptors_limits_and_threads_are_those_of_the_process() -> Result<()> {
    let open = "ulimit -n 64; exec 7</dev/null 8</dev/null 9</dev/null; kill -STOP $$";
    let mut process = script(open)?;
    let probe = Probe::start(&site()?, &Config::new().service("app", &[process.pid()]))?;
    process.resume()?;
    process.wait_stopped()?;
    let fds = fs::read_dir(format!("/proc/{}/fd", process.pid()))?.count();
    probe.eventually(|metrics| {
        let open = metrics.count("hostprobe_process_open_fds", &APP);
        ensure!(open == fds as u64, "{open} descriptors, not {fds}");
        let threads = metrics.count("hostprobe_process_threads", &APP);
        ensure!(threads == 1, "{threads} threads");
        Ok(())
    })?;
    // The limit is looked at less often than what it limits.
    probe_until(&probe, "the new limit is known", |metrics| {
        let limit = metrics.count("hostprobe_process_max_fds", &APP);
        let share = metrics.sum("hostprobe_process_worst_fd_ratio", &APP);
        Ok(limit == 64 && (share - fds as f64 / 64.0).abs() < 1e-6)
    })?;
    probe.stop()
}

/// The one event that explains why a process is gone.
#[test]
fn a_kill_for_lack_of_memory_is_counted_where_it_happened() -> Result<()> {
    let folder = folder()?;
    let group = ControlGroup::create("hostprobe-memory")?;
    group.limit_memory(32 << 20)?;
    let load = ["--vm", "1", "--vm-bytes", "256M", "--vm-keep", "--oomable"];
    let process = stress(folder.path(), &load)?;
    group.add(process.pid())?;
    let probe = Probe::start(&site()?, &Config::new().service("app", &[process.pid()]))?;
    let host = probe
        .metrics()?
        .count("hostprobe_host_oom_kills_total", &[]);
    process.resume()?;
    probe_until(&probe, "a process was killed for its memory", |metrics| {
        let labels = [APP[0], ("event", "oom_kill")];
        let events = metrics.count("hostprobe_cgroup_memory_events_total", &labels);
        Ok(events > 0 && metrics.count("hostprobe_host_oom_kills_total", &[]) > host)
    })?;
    let metrics = probe.metrics()?;
    let limit = metrics.count("hostprobe_cgroup_memory_limit_bytes", &APP);
    ensure!(limit == 32 << 20, "the limit is {limit}");
    let used = metrics.count("hostprobe_cgroup_memory_used_bytes", &APP);
    ensure!(used > 0 && used <= 33 << 20, "{used} bytes are used");
    let answer = probe.get("/api/host", &[])?;
    let json: serde_json::Value = serde_json::from_str(&answer.body)?;
    let limit = json.pointer("/services/app/memory_limit_bytes");
    ensure!(limit == Some(&(32 << 20).into()), "{limit:?}");
    drop(process);
    probe.stop()
}

/// Processes come and go between looking at a folder and at what is in it, all the time.
#[test]
fn processes_that_vanish_are_no_error_storm() -> Result<()> {
    let mut process = script("n=0; while [ $n -lt 400 ]; do n=$((n+1)); /bin/true & done; wait")?;
    let probe = Probe::start(&site()?, &Config::new().service("app", &[process.pid()]))?;
    process.resume()?;
    probe_until(&probe, "all have ended", |metrics| {
        let labels = [APP[0], ("code", "0")];
        Ok(metrics.count("hostprobe_process_exits_total", &labels) >= 400)
    })?;
    process.wait_stopped()?;
    let metrics = probe.metrics()?;
    for sample in metrics.matching("hostprobe_host_read_errors_total", &[]) {
        let reason = sample.labels.get("reason").context("no reason")?;
        ensure!(reason == "gone", "{sample:?}");
    }
    let log = probe.log();
    ensure!(!log.contains("could not be read"), "{log}");
    probe.stop()
}
