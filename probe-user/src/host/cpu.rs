//! CPU time, load and pressure of the host.

use super::files::{Files, value_of};

/// Modes of CPU time, in the order of `/proc/stat` (`proc_stat(5)`). Time of guests is within
/// `user` and `nice`.
pub const CPU_MODES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];

/// Time in each of [`CPU_MODES`], in clock ticks since boot.
pub type CpuTimes = [u64; CPU_MODES.len()];

/// What `/proc/stat` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuReport {
    /// Sum over all CPUs.
    pub all: CpuTimes,
    /// Each CPU that is online, by its number.
    pub each: Vec<(u32, CpuTimes)>,
    /// Context switches since boot.
    pub context_switches: u64,
    /// Processes and threads made since boot.
    pub forks: u64,
    /// Interrupts served since boot.
    pub interrupts: u64,
    /// Threads that run or could run now.
    pub running: u64,
    /// Threads that wait for a disk now.
    pub blocked: u64,
    /// When the host was booted, in seconds since the epoch.
    pub boot_time_seconds: u64,
}

/// CPUs that are told apart.
const MAX_CPUS: usize = 4096;

impl CpuReport {
    pub(super) fn read(files: &mut Files) -> Option<Self> {
        files.parse("stat", format_args!("stat"), Self::parse)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut all = None;
        let mut each = Vec::new();
        for line in text.lines() {
            // The line of all interrupts is long, and comes after the CPUs.
            let Some(rest) = line.strip_prefix("cpu") else {
                break;
            };
            let (name, times) = rest.split_once(' ')?;
            if name.is_empty() {
                all = Some(parse_times(times)?);
            } else if each.len() < MAX_CPUS {
                each.push((name.parse().ok()?, parse_times(times)?));
            }
        }
        let value = |key| value_of(text, key);
        Some(Self {
            all: all?,
            each,
            context_switches: value("ctxt")?,
            forks: value("processes")?,
            interrupts: value("intr")?,
            running: value("procs_running")?,
            blocked: value("procs_blocked")?,
            boot_time_seconds: value("btime")?,
        })
    }

    /// Keeps what the kernel takes back: its times of `idle` and `iowait` may go down.
    pub(super) fn never_less_than(&mut self, last: &Self) {
        keep_highest(&mut self.all, &last.all);
        for (cpu, times) in &mut self.each {
            let before = last.each.iter().find(|(other, _)| other == cpu);
            if let Some((_, before)) = before {
                keep_highest(times, before);
            }
        }
    }
}

fn keep_highest(times: &mut CpuTimes, last: &CpuTimes) {
    for (now, last) in times.iter_mut().zip(last) {
        *now = (*now).max(*last);
    }
}

/// Older kernels have fewer columns.
fn parse_times(text: &str) -> Option<CpuTimes> {
    let mut times = CpuTimes::default();
    for (time, word) in times.iter_mut().zip(text.split_ascii_whitespace()) {
        *time = word.parse().ok()?;
    }
    Some(times)
}

/// Load averages over 1, 5 and 15 minutes.
pub(super) fn load(files: &mut Files) -> Option<[f64; 3]> {
    files.parse("loadavg", format_args!("loadavg"), parse_load)
}

fn parse_load(text: &str) -> Option<[f64; 3]> {
    let mut words = text.split_ascii_whitespace();
    let mut next = || words.next()?.parse::<f64>().ok().filter(|n| n.is_finite());
    Some([next()?, next()?, next()?])
}

/// For how long work waited for one resource: pressure stall information.
#[derive(Clone, Debug, PartialEq)]
pub struct Pressure {
    /// `cpu`, `memory` or `io`.
    pub resource: &'static str,
    /// While at least one thread waited.
    pub some: Stall,
    /// While nothing else could run, either; older kernels don't say it for the CPU.
    pub full: Option<Stall>,
}

/// One line of pressure.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// Shares of the last 10, 60 and 300 seconds, from 0 to 1.
    pub shares: [f64; 3],
    /// Microseconds since boot.
    pub total_us: u64,
}

/// Pressure on each resource; empty when the kernel does not measure it.
pub(super) fn pressure(files: &mut Files) -> Vec<Pressure> {
    let resources = ["cpu", "memory", "io"].into_iter();
    resources
        .filter_map(|resource| {
            let path = format_args!("pressure/{resource}");
            files.optional("pressure", path, |text| parse_pressure(resource, text))
        })
        .collect()
}

pub(super) fn parse_pressure(resource: &'static str, text: &str) -> Option<Pressure> {
    let line = |kind: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| parse_stall(line.strip_prefix(kind)?))
    };
    Some(Pressure {
        resource,
        some: line("some ")?,
        full: line("full "),
    })
}

fn parse_stall(text: &str) -> Option<Stall> {
    let value = |key: &str| {
        let mut words = text.split_ascii_whitespace();
        words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    let share = |key| {
        let percent: f64 = value(key)?.parse().ok()?;
        Some((percent / 100.0).clamp(0.0, 1.0))
    };
    Some(Stall {
        shares: [share("avg10")?, share("avg60")?, share("avg300")?],
        total_us: value("total")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  10 2 30 400 5 6 7 8 9 1\ncpu0 5 1 15 200 5 6 7 8 9 1\n\
                        cpu3 5 1 15 200 0 0 0 0 0 0\nintr 99 1 2 3\nctxt 1234\nbtime 1700000000\n\
                        processes 55\nprocs_running 2\nprocs_blocked 1\n";

    #[test]
    fn the_time_of_all_cpus_is_read_by_mode() {
        let report = CpuReport::parse(STAT).unwrap();
        assert_eq!(report.all, [10, 2, 30, 400, 5, 6, 7, 8]);
        assert_eq!(report.each.len(), 2);
        assert_eq!(report.each[1].0, 3);
        assert_eq!((report.context_switches, report.forks), (1234, 55));
        assert_eq!(
            (report.interrupts, report.boot_time_seconds),
            (99, 1_700_000_000)
        );
        assert_eq!((report.running, report.blocked), (2, 1));
    }

    /// Prometheus takes a counter that goes down for a restart, and shows a peak that never was.
    #[test]
    fn time_that_the_kernel_takes_back_is_kept() {
        let mut now = CpuReport::parse(STAT).unwrap();
        let mut last = now.clone();
        last.all[4] = 9;
        last.each[0].1[4] = 8;
        now.never_less_than(&last);
        assert_eq!((now.all[4], now.each[0].1[4]), (9, 8));
        assert_eq!(now.all[0], 10);
    }

    #[test]
    fn pressure_is_a_share_and_a_total() {
        let text = "some avg10=12.50 avg60=1.00 avg300=0.00 total=42\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let pressure = parse_pressure("io", text).unwrap();
        assert_eq!(pressure.some.shares, [0.125, 0.01, 0.0]);
        assert_eq!(pressure.some.total_us, 42);
        assert_eq!(pressure.full.unwrap().total_us, 7);
        assert!(parse_pressure("io", "some").is_none());
        assert_eq!(
            parse_pressure("cpu", text.lines().next().unwrap())
                .unwrap()
                .full,
            None
        );
    }

    #[test]
    fn load_is_three_numbers() {
        assert_eq!(
            parse_load("0.52 0.58 0.59 1/213 9"),
            Some([0.52, 0.58, 0.59])
        );
        assert_eq!(parse_load("0.52 inf 0.59"), None);
    }
}
