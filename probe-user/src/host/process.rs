//! What `/proc` says of one process.
//!
//! Not the parsers of the `procfs` crate: some of them panic on what they don't expect (a name of a
//! program such as `)(`, a line that is cut), and they read whole files into maps, where here a few
//! numbers of each of hundreds of processes are wanted.

use std::{fs, io};

use super::files::{Files, Reason, value_of};

/// Descriptors that are counted one by one, on kernels that don't tell their number.
const MAX_COUNTED_FDS: u64 = 65_536;
/// Threads whose context switches are read.
const MAX_THREADS: usize = 512;

/// `/proc/PID/stat` (`proc_pid_stat(5)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) is_zombie: bool,
    pub(super) parent: u32,
    pub(super) minor_faults: u64,
    pub(super) waited_minor_faults: u64,
    pub(super) major_faults: u64,
    pub(super) waited_major_faults: u64,
    /// Clock ticks, as all times here.
    pub(super) user: u64,
    pub(super) system: u64,
    /// Of children that ended and were waited for.
    pub(super) waited_user: u64,
    pub(super) waited_system: u64,
    pub(super) threads: u64,
    /// From boot.
    pub(super) start_time: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_pages: u64,
}

pub(super) fn stat(files: &mut Files, pid: u32) -> Option<Stat> {
    files.parse("process_stat", format_args!("{pid}/stat"), parse_stat)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name may hold blanks and brackets; nothing after it does.
    let (_, rest) = text.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace();
    let state = words.next()?;
    let parent = words.next()?.parse().ok()?;
    // Skips some words, then reads one.
    let mut after = |skip: usize| words.nth(skip)?.parse::<u64>().ok();
    Some(Stat {
        is_zombie: matches!(state, "Z" | "X" | "x"),
        parent,
        // pgrp, session, tty_nr, tpgid, flags.
        minor_faults: after(5)?,
        waited_minor_faults: after(0)?,
        major_faults: after(0)?,
        waited_major_faults: after(0)?,
        user: after(0)?,
        system: after(0)?,
        waited_user: after(0)?,
        waited_system: after(0)?,
        // priority, nice.
        threads: after(2)?,
        // itrealvalue.
        start_time: after(1)?,
        virtual_bytes: after(0)?,
        resident_pages: after(0)?,
    })
}

/// `/proc/PID/status`, as far as it is only there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) swapped_bytes: u64,
    pub(super) switches: Switches,
}

/// Context switches of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Switches {
    pub(super) voluntary: u64,
    pub(super) involuntary: u64,
}

pub(super) fn status(files: &mut Files, pid: u32) -> Option<Status> {
    files.parse("process_status", format_args!("{pid}/status"), |text| {
        Some(Status {
            // A process without memory of its own, such as a zombie, has no such line.
            swapped_bytes: value_of(text, "VmSwap").unwrap_or(0).saturating_mul(1024),
            switches: parse_switches(text)?,
        })
    })
}

fn parse_switches(text: &str) -> Option<Switches> {
    Some(Switches {
        voluntary: value_of(text, "voluntary_ctxt_switches")?,
        involuntary: value_of(text, "nonvoluntary_ctxt_switches")?,
    })
}

/// Context switches of each thread but the first, whose are in [`Status`].
pub(super) fn thread_switches(files: &mut Files, pid: u32) -> Vec<(u32, Switches)> {
    let folder = fs::read_dir(files.path_to(format_args!("{pid}/task")));
    let entries = match folder {
        Ok(entries) => entries,
        Err(error) => {
            files.failed("process_threads", Reason::from(&error));
            return Vec::new();
        }
    };
    let tids: Vec<u32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|tid| *tid != pid)
        .take(MAX_THREADS + 1)
        .collect();
    if tids.len() > MAX_THREADS {
        files.failed("process_threads", Reason::Truncated);
    }
    tids.into_iter()
        .take(MAX_THREADS)
        .filter_map(|tid| {
            // One that ended is no failure.
            let path = format_args!("{pid}/task/{tid}/status");
            let switches = files.optional("process_threads", path, parse_switches)?;
            Some((tid, switches))
        })
        .collect()
}

/// Bytes that a process and its children, once they were waited for, got from and gave to disks.
pub(super) fn io(files: &mut Files, pid: u32) -> Option<[u64; 2]> {
    files.parse("process_io", format_args!("{pid}/io"), |text| {
        Some([
            value_of(text, "read_bytes")?,
            value_of(text, "write_bytes")?,
        ])
    })
}

/// Descriptors that are open.
pub(super) fn open_fds(files: &mut Files, pid: u32) -> Option<u64> {
    match count_fds(files, pid) {
        Ok(count) => Some(count),
        Err(error) => {
            files.failed("process_fds", Reason::from(&error));
            None
        }
    }
}

fn count_fds(files: &mut Files, pid: u32) -> io::Result<u64> {
    let folder = files.path_to(format_args!("{pid}/fd"));
    // Since Linux 6.2 the folder's size is their number.
    match fs::metadata(folder)?.len() {
        0 => {}
        // A folder of a real file system, as in tests.
        size if size.is_multiple_of(4096) => {}
        count => return Ok(count),
    }
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        entry?;
        count += 1;
        if count >= MAX_COUNTED_FDS {
            break;
        }
    }
    Ok(count)
}

/// Descriptors that may be open; `None` without a limit.
pub(super) fn fd_limit(files: &mut Files, pid: u32) -> Option<Option<u64>> {
    files.parse("process_limits", format_args!("{pid}/limits"), |text| {
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("Max open files"))?;
        let soft = line.split_ascii_whitespace().next()?;
        match soft {
            "unlimited" => Some(None),
            number => Some(Some(number.parse().ok()?)),
        }
    })
}

/// Memory in bytes, of which what is shared counts for each sharer in part.
pub(super) fn proportional_bytes(files: &mut Files, pid: u32) -> Option<u64> {
    let path = format_args!("{pid}/smaps_rollup");
    files.optional("process_smaps", path, |text| {
        Some(value_of(text, "Pss").unwrap_or(0).saturating_mul(1024))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        for name in ["postgres", "a b", ") S 1 (", ")(", ""] {
            let text = format!(
                "77 ({name}) S 9 77 77 0 -1 4194560 100 200 3 4 50 60 7 8 20 0 5 0 1234 \
                 1000000 250 18446744073709551615 1 1\n"
            );
            let stat = parse_stat(&text).unwrap();
            let expected = Stat {
                is_zombie: false,
                parent: 9,
                minor_faults: 100,
                waited_minor_faults: 200,
                major_faults: 3,
                waited_major_faults: 4,
                user: 50,
                system: 60,
                waited_user: 7,
                waited_system: 8,
                threads: 5,
                start_time: 1234,
                virtual_bytes: 1_000_000,
                resident_pages: 250,
            };
            assert_eq!(stat, expected, "{name}");
        }
        assert_eq!(parse_stat("77 (x) S 9"), None);
    }

    #[test]
    fn this_process_is_read_as_it_is() {
        let mut files = Files::new("/proc".into());
        let pid = std::process::id();
        let stat = stat(&mut files, pid).unwrap();
        assert!(stat.resident_pages > 100 && stat.threads >= 1, "{stat:?}");
        assert!(status(&mut files, pid).is_some());
        assert!(io(&mut files, pid).is_some());
        let fds = open_fds(&mut files, pid).unwrap();
        assert!(fds >= 3, "{fds}");
        assert!(
            fd_limit(&mut files, pid)
                .unwrap()
                .is_none_or(|limit| limit >= fds)
        );
        assert!(proportional_bytes(&mut files, pid).unwrap() > 0);
        assert!(files.errors().is_empty());
    }

    #[test]
    fn a_limit_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("7")).unwrap();
        let text = "Limit   Soft  Hard\nMax open files    unlimited   unlimited   files\n";
        std::fs::write(folder.path().join("7/limits"), text).unwrap();
        let mut files = Files::new(folder.path().to_owned());
        assert_eq!(fd_limit(&mut files, 7), Some(None));
    }
}
