//! The files that a process executes: its program, and the libraries that it has mapped.

use std::path::PathBuf;

use procfs::process::{MMPermissions, MMapPath, Process as Entry};

/// A file that a process has mapped to execute it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedFile {
    /// Which file it is, whatever its name.
    pub id: FileId,
    /// Where it can be opened from outside of the process' mount namespace.
    pub path: PathBuf,
    /// The path that the process itself knows it by.
    pub name: PathBuf,
}

/// Identifies a file, as `/proc/PID/maps` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Major and minor number of the device.
    pub device: (i32, i32),
    /// Inode.
    pub inode: u64,
}

/// The files that a process executes, each once. Empty when the process is gone or may not be
/// looked at; files that were deleted or replaced since they were mapped are left out, because they
/// can't be opened by name any more.
pub fn mapped_files(pid: u32) -> Vec<MappedFile> {
    let maps = i32::try_from(pid)
        .ok()
        .and_then(|pid| Entry::new(pid).ok())
        .and_then(|entry| entry.maps().ok());
    let mut files: Vec<MappedFile> = Vec::new();
    for map in maps.into_iter().flatten() {
        let MMapPath::Path(name) = map.pathname else {
            continue;
        };
        let id = FileId {
            device: map.dev,
            inode: map.inode,
        };
        let is_known = files.iter().any(|file| file.id == id);
        let is_gone = name.to_string_lossy().ends_with(" (deleted)");
        if is_known || is_gone || !map.perms.contains(MMPermissions::EXECUTE) {
            continue;
        }
        let inside = name.strip_prefix("/").unwrap_or(&name);
        files.push(MappedFile {
            id,
            path: PathBuf::from(format!("/proc/{pid}/root")).join(inside),
            name,
        });
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Were the program itself missing, statically linked libraries would be.
    #[test]
    fn the_program_itself_is_among_them() {
        let files = mapped_files(std::process::id());
        let own = std::env::current_exe().unwrap();
        let found = files.iter().find(|file| file.name == own).unwrap();
        assert_eq!(
            std::fs::canonicalize(&found.path).unwrap(),
            std::fs::canonicalize(&own).unwrap()
        );
        let mut ids: Vec<FileId> = files.iter().map(|file| file.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), files.len());
    }

    #[test]
    fn a_process_that_is_gone_executes_nothing() {
        assert!(mapped_files(u32::MAX).is_empty());
    }
}
