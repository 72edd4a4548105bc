//! Room on file systems. `statvfs` on a dead NFS server never returns, so threads ask, and nobody
//! waits for long.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::statvfs::{FsFlags, statvfs};

use super::files::{Files, Reason};
use crate::config::Pattern;

/// File systems that are told apart.
const MAX_FILE_SYSTEMS: usize = 128;
/// How long a reading waits for the threads; what is late is in the next.
const PATIENCE: Duration = Duration::from_millis(40);
/// After this time a file system counts as hanging, and others are asked without it.
const HANGS_AFTER: Duration = Duration::from_secs(5);
/// Threads that may hang at once.
const MAX_HANGING: usize = 8;

/// File systems that only show something of the kernel, or files that another one has.
const PSEUDO: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];
/// Places where programs mount for themselves.
const PRIVATE: &[&str] = &[
    "/dev",
    "/proc",
    "/sys",
    "/run/credentials",
    "/var/lib/docker",
    "/var/lib/containers/storage",
];

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mount {
    /// Where.
    pub mountpoint: String,
    /// What, such as `/dev/sda1` or `nas:/export`.
    pub device: String,
    /// Its type, such as `ext4`.
    pub fstype: String,
}

/// Its room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes in all.
    pub size: u64,
    /// Bytes that are not used.
    pub free: u64,
    /// Bytes that a user without special rights may still use.
    pub available: u64,
    /// Files that can exist; 0 when it has no limit.
    pub files: u64,
    /// Files that can still be made.
    pub files_free: u64,
    /// Whether nothing can be written, as after an error of the disk.
    pub read_only: bool,
}

/// A file system as of this reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystemReport {
    /// Which.
    pub mount: Mount,
    /// `None` while it has never answered.
    pub room: Option<Room>,
    /// Whether it does not answer now; its room is as of the last answer.
    pub hangs: bool,
}

/// How a file system is asked; another one in tests.
pub(super) type Ask = fn(&Path) -> Option<Room>;

pub(super) fn ask(path: &Path) -> Option<Room> {
    let found = statvfs(path).ok()?;
    let unit: u64 = found.fragment_size();
    let bytes = |blocks: u64| blocks.saturating_mul(unit);
    Some(Room {
        size: bytes(found.blocks()),
        free: bytes(found.blocks_free()),
        available: bytes(found.blocks_available()),
        files: found.files(),
        files_free: found.files_free(),
        read_only: found.flags().contains(FsFlags::ST_RDONLY),
    })
}

/// The threads that ask, and what they were told.
#[derive(Debug)]
pub(super) struct FileSystems {
    ask: Ask,
    exclude: Vec<Pattern>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when a round ended.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rooms: BTreeMap<Mount, Room>,
    /// What the current round has not asked yet.
    waiting: Vec<Mount>,
    /// What is being asked, since when.
    asked: Option<(Mount, Instant)>,
    hanging: BTreeSet<Mount>,
    /// Which thread works: the others hang, and end when they can.
    generation: u64,
    runs: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileSystems {
    pub(super) fn new(exclude: Vec<Pattern>, ask: Ask) -> Self {
        Self {
            ask,
            exclude,
            shared: Arc::default(),
        }
    }

    pub(super) fn read(&self, files: &mut Files) -> Vec<FileSystemReport> {
        let found = files.optional("mountinfo", format_args!("self/mountinfo"), |text| {
            Some(mounts(text))
        });
        let mut mounts = found.unwrap_or_default();
        mounts.retain(|mount| {
            let excluded = |pattern: &Pattern| pattern.is_match(&mount.mountpoint);
            !self.exclude.iter().any(excluded)
        });
        if mounts.len() > MAX_FILE_SYSTEMS {
            files.failed("mountinfo", Reason::Truncated);
            mounts.truncate(MAX_FILE_SYSTEMS);
        }
        let reports = self.look(&mounts);
        if reports.iter().any(|report| report.hangs) {
            files.failed("filesystem", Reason::TimedOut);
        }
        reports
    }

    fn look(&self, mounts: &[Mount]) -> Vec<FileSystemReport> {
        let mut state = self.shared.state();
        state.rooms.retain(|mount, _| mounts.contains(mount));
        if let Some((mount, since)) = state.asked.clone()
            && since.elapsed() >= HANGS_AFTER
            && state.hanging.len() < MAX_HANGING
        {
            // Its thread is given up; another one goes on with the others.
            state.hanging.insert(mount);
            state.asked = None;
            state.runs = false;
            state.generation += 1;
        }
        if !state.runs {
            let hanging = &state.hanging;
            let waiting = mounts.iter().filter(|mount| !hanging.contains(mount));
            state.waiting = waiting.cloned().collect();
            state.runs = self.start(state.generation);
        }
        let late = |state: &mut State| state.runs;
        let (state, _) = self
            .shared
            .done
            .wait_timeout_while(state, PATIENCE, late)
            .unwrap_or_else(PoisonError::into_inner);
        let reports = mounts.iter().map(|mount| FileSystemReport {
            mount: mount.clone(),
            room: state.rooms.get(mount).copied(),
            hangs: state.hanging.contains(mount),
        });
        reports.collect()
    }

    fn start(&self, generation: u64) -> bool {
        let (shared, ask) = (Arc::clone(&self.shared), self.ask);
        let thread = std::thread::Builder::new()
            .name("filesystems".into())
            .spawn(move || ask_all(&shared, ask, generation));
        thread.is_ok()
    }
}

/// One round, by a thread of its own.
fn ask_all(shared: &Shared, ask: Ask, generation: u64) {
    loop {
        let mount = {
            let mut state = shared.state();
            let next = state.waiting.pop();
            state.asked = next.clone().map(|mount| (mount, Instant::now()));
            let Some(mount) = next else {
                state.runs = false;
                shared.done.notify_all();
                return;
            };
            mount
        };
        let room = ask(Path::new(&mount.mountpoint));
        let mut state = shared.state();
        if let Some(room) = room {
            state.rooms.insert(mount.clone(), room);
        }
        if state.generation != generation && state.hanging.remove(&mount) {
            // It answered after all; another thread has the rest of the round.
            return;
        }
    }
}

/// Mounts that have room of their own, each device once (`proc_pid_mountinfo(5)`).
fn mounts(text: &str) -> Vec<Mount> {
    let mut devices = BTreeSet::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((number, mount)) = parse(line) else {
            continue;
        };
        let inside = |place: &str| {
            let rest = mount.mountpoint.strip_prefix(place);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let has_room =
            !PSEUDO.contains(&mount.fstype.as_str()) && !PRIVATE.iter().any(|place| inside(place));
        // A bind mount shows the same room again.
        if has_room && devices.insert(number) {
            found.push(mount);
        }
    }
    found
}

fn parse(line: &str) -> Option<(&str, Mount)> {
    let (place, what) = line.split_once(" - ")?;
    let mut place = place.split(' ');
    let number = place.nth(2)?;
    let mountpoint = place.nth(1)?;
    let mut what = what.split(' ');
    let fstype = what.next()?.to_owned();
    Some((
        number,
        Mount {
            mountpoint: unescape(mountpoint),
            device: unescape(what.next()?),
            fstype,
        },
    ))
}

/// Undoes the octal escapes of blanks and the like.
pub(super) fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| std::str::from_utf8(after.get(..3)?).ok())
            .flatten()
            .and_then(|octal| u8::from_str_radix(octal, 8).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::host::files::Files;

    const MOUNTINFO: &str = "\
22 1 254:0 / / rw,noatime shared:1 - ext4 /dev/vda rw\n\
23 22 0:5 / /dev rw - devtmpfs dev rw\n\
24 22 0:20 / /proc rw - proc proc rw\n\
25 22 254:0 /srv /mnt/bind rw - ext4 /dev/vda rw\n\
26 22 0:30 / /mnt/my\\040share rw - nfs4 nas:/export rw\n\
27 22 0:31 / /var/lib/docker/overlay2/x rw - ext4 /dev/vdb rw\n\
28 22 0:32 / /devices rw - ext4 /dev/vdc ro\n\
broken\n";

    fn points(mounts: &[Mount]) -> Vec<&str> {
        mounts
            .iter()
            .map(|mount| mount.mountpoint.as_str())
            .collect()
    }

    #[test]
    fn each_file_system_with_room_of_its_own_is_there_once() {
        let found = mounts(MOUNTINFO);
        assert_eq!(points(&found), ["/", "/mnt/my share", "/devices"]);
        assert_eq!(found[1].device, "nas:/export");
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(unescape(r"a\04"), r"a\04");
        assert_eq!(unescape(r"a\999b\134"), r"a\999b\");
    }

    #[test]
    fn the_root_has_room() {
        let file_systems = FileSystems::new(Vec::new(), ask);
        let mut files = Files::new("/proc".into());
        let read = || file_systems.read(&mut files);
        let room = std::iter::repeat_with(read)
            .take(100)
            .flatten()
            .find_map(|report| report.room);
        let room = room.unwrap();
        assert!(
            room.size >= room.free && room.free >= room.available,
            "{room:?}"
        );
    }

    static ANSWERS: AtomicBool = AtomicBool::new(false);

    /// Hangs on one file system until it is let go.
    fn hanging(path: &Path) -> Option<Room> {
        while path.ends_with("my share") && !ANSWERS.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Some(Room {
            size: 7,
            ..Room::default()
        })
    }

    /// A dead NFS server must not take the metrics of the whole host with it.
    #[test]
    fn a_file_system_that_hangs_stops_neither_the_reading_nor_the_others() {
        let file_systems = FileSystems::new(Vec::new(), hanging);
        let all = mounts(MOUNTINFO);
        let begin = Instant::now();
        file_systems.look(&all);
        assert!(begin.elapsed() < HANGS_AFTER);
        // As if the time were over.
        {
            let mut state = file_systems.shared.state();
            let (mount, since) = state.asked.clone().unwrap();
            assert_eq!(mount.mountpoint, "/mnt/my share");
            let Some(long_ago) = since.checked_sub(HANGS_AFTER) else {
                return;
            };
            state.asked = Some((mount, long_ago));
        }
        let of = |reports: &[FileSystemReport], point: &str| {
            let found = reports
                .iter()
                .find(|report| report.mount.mountpoint == point);
            found
                .map(|report| (report.room.is_some(), report.hangs))
                .unwrap()
        };
        let mut reports = file_systems.look(&all);
        while of(&reports, "/") != (true, false) {
            reports = file_systems.look(&all);
        }
        assert_eq!(of(&reports, "/mnt/my share"), (false, true));
        ANSWERS.store(true, Ordering::SeqCst);
        while of(&reports, "/mnt/my share") != (true, false) {
            reports = file_systems.look(&all);
        }
    }
}
