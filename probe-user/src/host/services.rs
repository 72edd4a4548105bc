//! Resources of services: the sums over their processes, which never go down when one ends.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::{
    cgroup::{ControlGroups, GroupReport, Groups, HostCeiling},
    files::{Files, Reason},
    process::{self, Stat, Switches},
    sockets::{Holder, SocketStates, Sockets},
};

/// Processes that are looked at.
const MAX_PROCESSES: usize = 16_384;
/// Samples after which what hardly ever changes is read again: limits and control groups.
const STAGGER: u32 = 8;
/// Time of one sample for [`process::proportional_bytes`], which walks the process' page tables.
const PROPORTIONAL_BUDGET: Duration = Duration::from_millis(10);

/// The processes of one service now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceProcesses {
    /// The service's id.
    pub service: u16,
    /// Ids of its processes.
    pub pids: Vec<u32>,
}

/// What one service takes from the host. Counts are since the service is watched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessReport {
    /// Processes that could be read.
    pub processes: u64,
    /// Clock ticks in user mode.
    pub user_ticks: u64,
    /// Clock ticks in the kernel.
    pub system_ticks: u64,
    /// Page faults that needed no disk.
    pub minor_faults: u64,
    /// Page faults that had to wait for a disk.
    pub major_faults: u64,
    /// Bytes that came from disks.
    pub read_bytes: u64,
    /// Bytes that went to disks, or will.
    pub written_bytes: u64,
    /// Times that a thread gave the CPU away.
    pub voluntary_switches: u64,
    /// Times that a thread lost the CPU to another.
    pub involuntary_switches: u64,
    /// Resident memory in bytes; what processes share counts for each.
    pub resident_bytes: u64,
    /// Resident memory in bytes, of which what is shared counts once. `None` when not read yet.
    pub proportional_bytes: Option<u64>,
    /// Address space in bytes.
    pub virtual_bytes: u64,
    /// Memory in swap, in bytes.
    pub swapped_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Of the process that is nearest to its limit.
    pub fullest: Option<Descriptors>,
    /// When the oldest process started, in clock ticks since boot.
    pub oldest_start: Option<u64>,
    /// TCP sockets by state.
    pub sockets: SocketStates,
    /// What its control groups allow it.
    pub group: GroupReport,
}

impl ProcessReport {
    /// Adds what another id of the same service takes.
    pub fn merge(&mut self, other: &Self) {
        for (mine, more) in [
            (&mut self.processes, other.processes),
            (&mut self.user_ticks, other.user_ticks),
            (&mut self.system_ticks, other.system_ticks),
            (&mut self.minor_faults, other.minor_faults),
            (&mut self.major_faults, other.major_faults),
            (&mut self.read_bytes, other.read_bytes),
            (&mut self.written_bytes, other.written_bytes),
            (&mut self.voluntary_switches, other.voluntary_switches),
            (&mut self.involuntary_switches, other.involuntary_switches),
            (&mut self.resident_bytes, other.resident_bytes),
            (&mut self.virtual_bytes, other.virtual_bytes),
            (&mut self.swapped_bytes, other.swapped_bytes),
            (&mut self.threads, other.threads),
            (&mut self.open_fds, other.open_fds),
        ] {
            *mine = mine.saturating_add(more);
        }
        self.proportional_bytes = self
            .proportional_bytes
            .zip(other.proportional_bytes)
            .map(|(mine, more)| mine.saturating_add(more));
        let candidates = self.fullest.into_iter().chain(other.fullest);
        self.fullest = candidates.max_by(|one, other| one.share().total_cmp(&other.share()));
        let starts = self.oldest_start.into_iter().chain(other.oldest_start);
        self.oldest_start = starts.min();
        for (state, count) in &other.sockets {
            *self.sockets.entry(state).or_default() += count;
        }
        self.group.merge(&other.group);
    }
}

/// Descriptors against their limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptors {
    /// Open.
    pub open: u64,
    /// At most.
    pub limit: u64,
}

impl Descriptors {
    /// From 0 to 1.
    pub fn share(&self) -> f64 {
        if self.limit == 0 {
            return 0.0;
        }
        self.open as f64 / self.limit as f64
    }
}

/// Counts that a process passes on to its parent, once that has waited for it.
const COUNTS: usize = 6;
type Counts = [u64; COUNTS];

/// What the kernel has counted for one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// By itself.
    own: Counts,
    /// By children that ended and were waited for; bytes of disks are not told apart, and are here.
    waited: Counts,
}

impl Counted {
    fn new(stat: &Stat, io: [u64; 2]) -> Self {
        let [read, written] = io;
        Self {
            own: [
                stat.user,
                stat.system,
                stat.minor_faults,
                stat.major_faults,
                0,
                0,
            ],
            waited: [
                stat.waited_user,
                stat.waited_system,
                stat.waited_minor_faults,
                stat.waited_major_faults,
                read,
                written,
            ],
        }
    }

    /// What the parent gets when it ends.
    fn all(&self) -> Counts {
        let mut all = self.own;
        add(&mut all, &self.waited);
        all
    }
}

fn add(sum: &mut Counts, more: &Counts) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = sum.saturating_add(*more);
    }
}

/// A process of the last sample.
#[derive(Debug)]
struct Known {
    start_time: u64,
    parent: u32,
    counted: Counted,
    /// Of children that ended: counted when they lived, and expected to show up in `waited`.
    expected: Counts,
    switches: HashMap<u32, Switches>,
    open_fds: u64,
    fd_limit: Option<u64>,
    groups: Groups,
    first_seen: Instant,
    proportional: Option<(u64, Instant)>,
    /// Samples since it is known.
    age: u32,
    /// The number of the last sample that saw it.
    seen: u64,
}

/// What a service's processes have counted.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    counts: Counts,
    switches: Switches,
}

/// All processes of services.
#[derive(Debug, Default)]
pub(super) struct Services {
    known: HashMap<u32, Known>,
    totals: HashMap<u16, Total>,
    groups: ControlGroups,
    sockets: Sockets,
    samples: u64,
    /// In clock ticks since boot: what started later began at zero.
    began: Option<u64>,
}

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// From one reading of proportional memory to the next; `None` for never.
    pub(super) proportional: Option<Duration>,
    /// From one look at sockets to the next; `None` for never.
    pub(super) sockets: Option<Duration>,
    pub(super) page_size: u64,
}

impl Services {
    pub(super) fn new(began: Option<u64>) -> Self {
        Self {
            began,
            ..Self::default()
        }
    }

    pub(super) fn sample(
        &mut self,
        files: &mut Files,
        services: &[ServiceProcesses],
        effort: Effort,
        host: HostCeiling,
    ) -> BTreeMap<u16, ProcessReport> {
        self.samples += 1;
        self.groups.begin(files);
        let mut processes: Vec<(u16, u32)> = services
            .iter()
            .flat_map(|of| of.pids.iter().map(|pid| (of.service, *pid)))
            .collect();
        if processes.len() > MAX_PROCESSES {
            files.failed("processes", Reason::Truncated);
            processes.truncate(MAX_PROCESSES);
        }
        let mut reports: BTreeMap<u16, ProcessReport> = services
            .iter()
            .map(|of| (of.service, ProcessReport::default()))
            .collect();
        // Two rounds: what children had counted has to be known when their parents are looked at.
        let read: Vec<(u16, u32, Stat)> = processes
            .iter()
            .filter_map(|(service, pid)| Some((*service, *pid, process::stat(files, *pid)?)))
            .collect();
        for (_, pid, stat) in &read {
            if let Some(known) = self.known.get_mut(pid)
                && known.start_time == stat.start_time
            {
                known.seen = self.samples;
            }
        }
        self.forget_ended();
        for (service, pid, stat) in read {
            let report = reports.entry(service).or_default();
            self.process(files, service, pid, &stat, effort, report);
        }
        self.proportional(files, services, effort, &mut reports);
        if let Some(every) = effort.sockets {
            let holders = processes.iter().filter_map(|(service, pid)| {
                let known = self.known.get(pid)?;
                Some(Holder {
                    service: *service,
                    pid: *pid,
                    start_time: known.start_time,
                    open_fds: known.open_fds,
                })
            });
            let holders: Vec<Holder> = holders.collect();
            self.sockets.sample(files, &holders, every);
        }
        for of in services {
            let report = reports.entry(of.service).or_default();
            let known = of.pids.iter().filter_map(|pid| self.known.get(pid));
            let groups = known.map(|known| &known.groups);
            report.group = self.groups.of_service(files, of.service, groups, host);
            report.sockets = self.sockets.of_service(of.service);
            self.totals.entry(of.service).or_default().tell(report);
        }
        self.groups.end();
        reports
    }

    /// Leaves what ended processes had counted to their parents, who will show it once more when
    /// they have waited for them.
    fn forget_ended(&mut self) {
        let samples = self.samples;
        let ended: Vec<(u32, Counts)> = self
            .known
            .values()
            .filter(|known| known.seen != samples)
            .map(|known| (known.parent, known.counted.all()))
            .collect();
        self.known.retain(|_, known| known.seen == samples);
        for (parent, counts) in ended {
            if let Some(parent) = self.known.get_mut(&parent) {
                add(&mut parent.expected, &counts);
            }
        }
    }

    fn process(
        &mut self,
        files: &mut Files,
        service: u16,
        pid: u32,
        stat: &Stat,
        effort: Effort,
        report: &mut ProcessReport,
    ) {
        let total = self.totals.entry(service).or_default();
        let io = process::io(files, pid);
        let status = process::status(files, pid);
        let known = match self.known.entry(pid) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => {
                let is_new = self.began.is_some_and(|began| stat.start_time >= began);
                let before = Counted::new(stat, io.unwrap_or_default());
                let counted = if is_new { Counted::default() } else { before };
                free.insert(Known::new(stat, counted, self.samples))
            }
        };
        known.parent = stat.parent;
        // What can't be read is as before.
        let [.., read, written] = known.counted.waited;
        let now = Counted::new(stat, io.unwrap_or([read, written]));
        known.grow(&now, total);
        if let Some(status) = status {
            let is_first = known.age == 0 && self.began.is_none_or(|began| stat.start_time < began);
            let mut switches = HashMap::from([(pid, status.switches)]);
            if stat.threads > 1 {
                switches.extend(process::thread_switches(files, pid));
            }
            known.switch(switches, is_first, total);
            report.swapped_bytes = report.swapped_bytes.saturating_add(status.swapped_bytes);
        }
        // Not all in the same sample.
        let is_due = known.age == 0 || known.age.wrapping_add(pid).is_multiple_of(STAGGER);
        if is_due && !stat.is_zombie {
            known.groups = self.groups.of_process(files, pid);
            known.fd_limit = process::fd_limit(files, pid).flatten();
        }
        known.age = known.age.saturating_add(1);
        report.processes += 1;
        report.threads = report.threads.saturating_add(stat.threads);
        report.virtual_bytes = report.virtual_bytes.saturating_add(stat.virtual_bytes);
        let resident = stat.resident_pages.saturating_mul(effort.page_size);
        report.resident_bytes = report.resident_bytes.saturating_add(resident);
        let oldest = report.oldest_start.unwrap_or(u64::MAX);
        report.oldest_start = Some(oldest.min(stat.start_time));
        if stat.is_zombie {
            return;
        }
        if let Some(open) = process::open_fds(files, pid) {
            known.open_fds = open;
            report.open_fds = report.open_fds.saturating_add(open);
            if let Some(limit) = known.fd_limit {
                let descriptors = Descriptors { open, limit };
                let is_fuller = |other: Descriptors| descriptors.share() > other.share();
                if report.fullest.is_none_or(is_fuller) {
                    report.fullest = Some(descriptors);
                }
            }
        }
    }

    /// Reads the memory of some processes, those first that were read longest ago, and tells the
    /// sum where all of a service's are known.
    fn proportional(
        &mut self,
        files: &mut Files,
        services: &[ServiceProcesses],
        effort: Effort,
        reports: &mut BTreeMap<u16, ProcessReport>,
    ) {
        let Some(every) = effort.proportional else {
            return;
        };
        let begin = Instant::now();
        let mut due: Vec<(Option<Instant>, u32)> = self
            .known
            .iter()
            .filter(|(_, known)| known.is_proportional_due(every))
            .map(|(pid, known)| (known.proportional.map(|(_, read)| read), *pid))
            .collect();
        due.sort_unstable();
        for (_, pid) in due {
            if begin.elapsed() >= PROPORTIONAL_BUDGET {
                break;
            }
            // A zombie has none; what may not be read is missing in the sum, and counted.
            let bytes = process::proportional_bytes(files, pid).unwrap_or_default();
            if let Some(known) = self.known.get_mut(&pid) {
                known.proportional = Some((bytes, Instant::now()));
            }
        }
        for of in services {
            let known = of.pids.iter().filter_map(|pid| self.known.get(pid));
            let bytes = known.map(|known| known.proportional.map(|(bytes, _)| bytes));
            if let Some(report) = reports.get_mut(&of.service) {
                report.proportional_bytes = bytes.sum();
            }
        }
    }

    /// Forgets the counts of services whose id another one has now.
    pub(super) fn forget(&mut self, services: &[u16]) {
        for service in services {
            self.totals.remove(service);
            self.groups.forget(*service);
        }
    }

    pub(super) fn sockets_of_host(&self) -> &SocketStates {
        self.sockets.of_host()
    }
}

impl Known {
    fn new(stat: &Stat, counted: Counted, sample: u64) -> Self {
        Self {
            start_time: stat.start_time,
            parent: stat.parent,
            counted,
            expected: Counts::default(),
            switches: HashMap::new(),
            open_fds: 0,
            fd_limit: None,
            groups: Groups::default(),
            first_seen: Instant::now(),
            proportional: None,
            age: 0,
            seen: sample,
        }
    }

    /// Sooner while it is young: programs take most of their memory at their start.
    fn is_proportional_due(&self, every: Duration) -> bool {
        self.proportional.is_none_or(|(_, read)| {
            let known_for = read.saturating_duration_since(self.first_seen);
            read.elapsed() >= every.min(known_for.max(Duration::from_secs(1)))
        })
    }

    /// Adds what is new since the last sample. What its children counted was added while they
    /// lived; what they counted after the last sample comes to light here.
    fn grow(&mut self, now: &Counted, total: &mut Total) {
        let last = self.counted;
        let own = now.own.iter().zip(&last.own);
        let waited = now.waited.iter().zip(&last.waited);
        let sums = total.counts.iter_mut().zip(&mut self.expected);
        for ((sum, expected), ((own, last_own), (waited, last_waited))) in sums.zip(own.zip(waited))
        {
            let new = own.saturating_sub(*last_own);
            let handed_over = waited.saturating_sub(*last_waited);
            let known = handed_over.min(*expected);
            *expected -= known;
            *sum = sum.saturating_add(new).saturating_add(handed_over - known);
        }
        // The kernel scales times: one of them may go down by a little.
        for (mine, now) in [
            (&mut self.counted.own, &now.own),
            (&mut self.counted.waited, &now.waited),
        ] {
            for (mine, now) in mine.iter_mut().zip(now) {
                *mine = (*mine).max(*now);
            }
        }
    }

    /// Threads end, too; and what they counted is not passed on.
    fn switch(&mut self, now: HashMap<u32, Switches>, is_first: bool, total: &mut Total) {
        for (tid, now) in &now {
            let last = match self.switches.get(tid) {
                Some(last) => *last,
                None if is_first => *now,
                None => Switches::default(),
            };
            let sums = &mut total.switches;
            let voluntary = now.voluntary.saturating_sub(last.voluntary);
            sums.voluntary = sums.voluntary.saturating_add(voluntary);
            let involuntary = now.involuntary.saturating_sub(last.involuntary);
            sums.involuntary = sums.involuntary.saturating_add(involuntary);
        }
        self.switches = now;
    }
}

impl Total {
    fn tell(&self, report: &mut ProcessReport) {
        let [user, system, minor, major, read, written] = self.counts;
        report.user_ticks = user;
        report.system_ticks = system;
        report.minor_faults = minor;
        report.major_faults = major;
        report.read_bytes = read;
        report.written_bytes = written;
        report.voluntary_switches = self.switches.voluntary;
        report.involuntary_switches = self.switches.involuntary;
    }
}
