//! One process as `/proc` shows it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use procfs::{ProcError, process::Process as Entry};

use super::cgroup::Cgroups;

/// `PF_KTHREAD` in the flags of `/proc/PID/stat`.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// What is cheap to know of any process: one small file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// Process id.
    pub pid: u32,
    /// The parent's process id.
    pub parent: u32,
    /// Clock ticks from boot to its start. With the process id it names one process for good.
    pub start_time: u64,
    /// Its name, at most 15 bytes; changes with exec.
    pub comm: String,
    /// Whether it can be a service's process: not a kernel thread, not a zombie.
    pub is_program: bool,
}

/// What the rules and the names look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// The parent's process id.
    pub parent: u32,
    /// Clock ticks from boot to its start.
    pub start_time: u64,
    /// The executable, as its own mount namespace names it.
    pub exe: PathBuf,
    /// Arguments, the program's name first.
    pub cmdline: Vec<String>,
    /// Effective user id.
    pub uid: u32,
    /// Control groups.
    pub cgroups: Cgroups,
    /// Inode of its network namespace.
    pub netns: u64,
    /// Working directory, where it may be read.
    pub cwd: Option<PathBuf>,
}

/// Why a process can't be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It ended meanwhile: nothing to tell.
    Gone,
    /// The rights don't suffice.
    Denied,
}

impl Process {
    /// Reads everything about a process.
    ///
    /// # Errors
    /// [`Unreadable`], without further detail: one process must not fill the log.
    pub fn read(brief: &Brief) -> Result<Self, Unreadable> {
        let entry = open(brief.pid)?;
        let namespace = fs::metadata(format!("/proc/{}/ns/net", brief.pid)).map_err(io)?;
        let process = Self {
            pid: brief.pid,
            parent: brief.parent,
            start_time: brief.start_time,
            exe: without_deleted(entry.exe().map_err(proc)?),
            cmdline: entry.cmdline().map_err(proc)?,
            uid: entry.status().map_err(proc)?.euid,
            cgroups: entry.cgroups().map(Cgroups::new).map_err(proc)?,
            netns: namespace.ino(),
            cwd: entry.cwd().ok(),
        };
        // Paths were used beside the open directory: make sure that they meant the same process.
        match start_time(brief.pid) {
            Some(start_time) if start_time == brief.start_time => Ok(process),
            _ => Err(Unreadable::Gone),
        }
    }

    /// Last component of the executable's path.
    pub fn program(&self) -> &str {
        self.exe
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
    }

    /// The command line as people write it, without quotes.
    pub fn command(&self) -> String {
        self.cmdline.join(" ")
    }
}

impl Brief {
    /// Reads the brief form.
    ///
    /// # Errors
    /// [`Unreadable`], as for [`Process::read`].
    pub fn read(pid: u32) -> Result<Self, Unreadable> {
        let stat = open(pid)?.stat().map_err(proc)?;
        Ok(Self {
            pid,
            parent: u32::try_from(stat.ppid).unwrap_or_default(),
            start_time: stat.starttime,
            is_program: stat.flags & KERNEL_THREAD == 0 && !matches!(stat.state, 'Z' | 'X' | 'x'),
            comm: stat.comm,
        })
    }
}

/// The executable of a process, `None` when it is gone or may not be looked at.
pub fn executable(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe"))
        .ok()
        .map(without_deleted)
}

/// The start time of a process, `None` when there is none of that number.
pub fn start_time(pid: u32) -> Option<u64> {
    Brief::read(pid)
        .ok()
        .filter(|brief| brief.is_program)
        .map(|brief| brief.start_time)
}

/// The numbers of all processes that can be seen, in no order.
pub fn all_pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Clock ticks since boot, the unit of start times.
pub fn ticks_since_boot() -> u64 {
    let seconds = fs::read_to_string("/proc/uptime")
        .ok()
        .and_then(|text| text.split('.').next()?.parse::<u64>().ok())
        .unwrap_or_default();
    seconds.saturating_mul(procfs::ticks_per_second())
}

/// The host name that the root directory of a process holds: a container's own.
pub fn hostname_inside(pid: u32) -> Option<String> {
    let path = format!("/proc/{pid}/root/etc/hostname");
    // A container's file is not to be trusted with more than a name's length.
    let file = fs::File::open(path).ok()?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, 256), &mut text).ok()?;
    let name = text.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The host's own name.
pub fn own_hostname() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned())
}

/// The inode of the namespace behind a file such as `/run/netns/blue` or `/proc/1/ns/net`.
pub fn namespace_inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// The number of a user by name, from `/etc/passwd`. The daemon is one static binary, which can't
/// load the host's name service plug-ins; users from a directory service are given by number.
pub fn uid_of(name: &str) -> Option<u32> {
    uid_in(&fs::read_to_string("/etc/passwd").ok()?, name)
}

fn uid_in(passwd: &str, name: &str) -> Option<u32> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// The path without the mark of a file that was replaced or removed, as after an upgrade.
fn without_deleted(path: PathBuf) -> PathBuf {
    match path
        .to_str()
        .and_then(|text| text.strip_suffix(" (deleted)"))
    {
        Some(text) => PathBuf::from(text),
        None => path,
    }
}

fn open(pid: u32) -> Result<Entry, Unreadable> {
    let pid = i32::try_from(pid).map_err(|_| Unreadable::Gone)?;
    Entry::new(pid).map_err(proc)
}

fn proc(error: ProcError) -> Unreadable {
    match error {
        ProcError::PermissionDenied(_) => Unreadable::Denied,
        _ => Unreadable::Gone,
    }
}

fn io(error: std::io::Error) -> Unreadable {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Unreadable::Denied,
        _ => Unreadable::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_read_as_it_is() {
        let brief = Brief::read(std::process::id()).unwrap();
        assert!(brief.is_program);
        let process = Process::read(&brief).unwrap();
        assert_eq!(process.exe, std::env::current_exe().unwrap());
        assert_eq!(process.cwd, std::env::current_dir().ok());
        assert_eq!(process.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(process.cmdline, std::env::args().collect::<Vec<_>>());
        assert_eq!(
            Some(process.netns),
            namespace_inode(Path::new("/proc/self/ns/net"))
        );
        assert!(process.start_time <= ticks_since_boot() + procfs::ticks_per_second());
        assert!(all_pids().contains(&process.pid));
    }

    #[test]
    fn a_process_that_is_gone_is_no_error_worth_telling() {
        // Beyond any pid_max.
        assert_eq!(Brief::read(u32::MAX), Err(Unreadable::Gone));
        assert_eq!(Brief::read(4_194_305), Err(Unreadable::Gone));
    }

    #[test]
    fn an_upgraded_executable_keeps_its_name() {
        assert_eq!(
            without_deleted("/usr/sbin/nginx (deleted)".into()),
            Path::new("/usr/sbin/nginx")
        );
        assert_eq!(
            without_deleted("/usr/sbin/nginx".into()),
            Path::new("/usr/sbin/nginx")
        );
    }

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/bin/sh\nbad\n";
        assert_eq!(uid_in(passwd, "www-data"), Some(33));
        assert_eq!(uid_in(passwd, "www"), None);
        assert_eq!(uid_in(passwd, "bad"), None);
    }
}
