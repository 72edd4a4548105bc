//! Where the store is, and the files that it needs there.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
};

use super::StoreError;
use crate::config::{self, DatabaseUrl, StoreUrl};

/// Name of the SQLite file in the state directory.
const FILE: &str = "hostprobe.db";

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A Postgres database.
    Postgres {
        /// Its address.
        url: DatabaseUrl,
        /// A file with its password.
        password_file: Option<PathBuf>,
    },
    /// Nowhere: what is kept ends with the daemon.
    Memory,
}

impl Place {
    /// As configured; `None` when nothing is to be kept.
    ///
    /// # Errors
    /// Nothing is configured and there is no default here.
    pub(super) fn configured(settings: &config::Store) -> Result<Option<Self>, StoreError> {
        Ok(match &settings.url {
            Some(StoreUrl::None) => None,
            Some(StoreUrl::Sqlite(path)) => Some(Self::Sqlite(path.clone())),
            Some(StoreUrl::Postgres(url)) => Some(Self::Postgres {
                url: url.clone(),
                password_file: settings.password_file.clone(),
            }),
            None => Some(Self::Sqlite(default_file()?)),
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => StoreUrl::Sqlite(path.clone()).fmt(f),
            Self::Postgres { url, .. } => url.fmt(f),
            Self::Memory => f.write_str("memory"),
        }
    }
}

/// The file that is used when none is configured: in `$STATE_DIRECTORY`, which systemd sets; else
/// for root in `/var/lib/hostprobe`; else in `$XDG_STATE_HOME/hostprobe`, or
/// `~/.local/state/hostprobe`.
///
/// # Errors
/// The user is not root, and has no home directory.
pub fn default_file() -> Result<PathBuf, StoreError> {
    let root = nix::unistd::geteuid().is_root();
    default_file_for(root, |name| std::env::var_os(name).map(PathBuf::from))
}

fn default_file_for(
    root: bool,
    variable: impl Fn(&str) -> Option<PathBuf>,
) -> Result<PathBuf, StoreError> {
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    // systemd gives several, separated by colons, when the unit names several.
    let state = variable("STATE_DIRECTORY").and_then(|list| {
        let first = list.to_str()?.split(':').next()?.to_owned();
        Some(PathBuf::from(first)).filter(|path| path.is_absolute())
    });
    let directory = match state {
        Some(directory) => directory,
        None if root => PathBuf::from("/var/lib/hostprobe"),
        None => absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
            .ok_or_else(|| {
                StoreError::Configuration(
                    "there is no directory for the store: neither STATE_DIRECTORY, XDG_STATE_HOME nor \
                     HOME is set; set `store.url`"
                        .to_owned(),
                )
            })?
            .join("hostprobe"),
    };
    Ok(directory.join(FILE))
}

/// Identity of a file: its device and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

/// The file that has this path now.
pub(super) fn file_id(path: &Path) -> Option<FileId> {
    let found = fs::metadata(path).ok()?;
    Some(FileId(found.dev(), found.ino()))
}

/// Makes the directory and the file where they are missing, for nobody but this user. What is
/// there is tightened, so that no copy of statements lies open; SQLite gives its other files the
/// same mode.
///
/// # Errors
/// What could not be made, and why.
pub(super) fn make_file(path: &Path) -> Result<FileId, StoreError> {
    let error = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::File {
            doing,
            path,
            source,
        }
    };
    if let Some(directory) = path.parent()
        && !directory.is_dir()
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(error("make the directory", directory))?;
    }
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    let file = open.map_err(error("open for writing", path))?;
    let found = file.metadata().map_err(error("look at", path))?;
    let mode = found.permissions().mode();
    if mode & 0o077 != 0 {
        let tightened = file.set_permissions(Permissions::from_mode(mode & 0o700));
        tightened.map_err(error("take the rights of others to", path))?;
    }
    Ok(FileId(found.dev(), found.ino()))
}

/// Bytes of the SQLite file and its log.
pub(super) fn file_bytes(path: &Path) -> Option<u64> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let length = |path: &Path| fs::metadata(path).ok().map(|found| found.len());
    Some(length(path)? + length(Path::new(&log)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_where_administrators_look_for_state() {
        let file = |root, variables: &[(&str, &str)]| {
            default_file_for(root, |name| {
                let found = variables.iter().find(|(given, _)| *given == name);
                found.map(|(_, value)| PathBuf::from(value))
            })
            .map(|path| path.display().to_string())
        };
        let unit = ("STATE_DIRECTORY", "/var/lib/private/probe:/x");
        let home = ("HOME", "/home/a");
        assert_eq!(
            file(true, &[unit, home]).unwrap(),
            "/var/lib/private/probe/hostprobe.db"
        );
        assert_eq!(
            file(true, &[home]).unwrap(),
            "/var/lib/hostprobe/hostprobe.db"
        );
        assert_eq!(
            file(false, &[home]).unwrap(),
            "/home/a/.local/state/hostprobe/hostprobe.db"
        );
        assert_eq!(
            file(false, &[home, ("XDG_STATE_HOME", "/s")]).unwrap(),
            "/s/hostprobe/hostprobe.db"
        );
        assert!(
            file(false, &[("HOME", "relative")])
                .unwrap_err()
                .to_string()
                .contains("store.url")
        );
    }

    /// Statements of other people's databases must not be readable for everybody.
    #[test]
    fn nobody_else_may_read_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/x.db");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let first = make_file(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(make_file(&path).unwrap(), first);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(file_id(&path), Some(first));
    }

    #[test]
    fn what_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let text = make_file(&file.join("x.db")).unwrap_err().to_string();
        assert!(text.starts_with("cannot make the directory /"), "{text}");
    }
}
