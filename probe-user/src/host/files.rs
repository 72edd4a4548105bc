//! Reading small files of `/proc` and `/sys`: bounded, and with every failure counted.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs::File,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use nix::libc;

/// The most that is read of one file; what these files say in time comes first.
const MAX_BYTES: usize = 1 << 20;
/// Read at once; most files fit.
const CHUNK: usize = 16 * 1024;

/// Why something could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is not there any more: a process that ended meanwhile, a device that was unplugged.
    Gone,
    /// The rights don't suffice, or `hidepid` hides it.
    Denied,
    /// It says something else than this kernel interface is documented to say.
    Malformed,
    /// It has more than is looked at.
    Truncated,
    /// It did not answer in time.
    TimedOut,
    /// Reading failed otherwise.
    Failed,
}

impl Reason {
    /// As a label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Denied => "denied",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
        }
    }
}

impl From<&io::Error> for Reason {
    fn from(error: &io::Error) -> Self {
        match (error.kind(), error.raw_os_error()) {
            (ErrorKind::NotFound, _) | (_, Some(libc::ESRCH)) => Self::Gone,
            (ErrorKind::PermissionDenied, _) => Self::Denied,
            _ => Self::Failed,
        }
    }
}

/// Failures since the start, by what was read and why it could not be.
pub type ReadErrors = BTreeMap<(&'static str, Reason), u64>;

/// The files of one root, usually `/proc`.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    path: String,
    buffer: Vec<u8>,
    errors: ReadErrors,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            path: String::new(),
            buffer: Vec::new(),
            errors: ReadErrors::new(),
        }
    }

    pub(super) fn errors(&self) -> &ReadErrors {
        &self.errors
    }

    /// What a file below the root says; that it is not there is counted, too.
    pub(super) fn parse<T>(
        &mut self,
        source: &'static str,
        path: fmt::Arguments<'_>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.path_to(path);
        let outcome = self.read(parse);
        outcome.map_err(|reason| self.failed(source, reason)).ok()
    }

    /// As [`Self::parse`], for what some kernels don't have.
    pub(super) fn optional<T>(
        &mut self,
        source: &'static str,
        path: fmt::Arguments<'_>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.path_to(path);
        match self.read(parse) {
            Ok(value) => Some(value),
            Err(Reason::Gone) => None,
            Err(reason) => {
                self.failed(source, reason);
                None
            }
        }
    }

    /// As [`Self::optional`], for a path that is not below the root.
    pub(super) fn elsewhere<T>(
        &mut self,
        source: &'static str,
        path: &Path,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.path.clear();
        let _ = write!(self.path, "{}", path.display());
        match self.read(parse) {
            Ok(value) => Some(value),
            Err(Reason::Gone) => None,
            Err(reason) => {
                self.failed(source, reason);
                None
            }
        }
    }

    /// Counts a failure. The first of its kind is logged, the others would be a storm.
    pub(super) fn failed(&mut self, source: &'static str, reason: Reason) {
        let count = self.errors.entry((source, reason)).or_default();
        if *count == 0 && reason != Reason::Gone {
            tracing::warn!(
                source,
                reason = reason.as_str(),
                "something of the host could not be read; from now on this is counted in \
                 hostprobe_host_read_errors_total and not logged again"
            );
        }
        *count += 1;
    }

    pub(super) fn path_to(&mut self, path: fmt::Arguments<'_>) -> &Path {
        self.path.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.path, "{}/{path}", self.root.display());
        Path::new(&self.path)
    }

    fn read<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Reason> {
        let length = fill(&self.path, &mut self.buffer).map_err(|error| Reason::from(&error))?;
        let bytes = self.buffer.get(..length).unwrap_or_default();
        // Names of programs and devices may be any bytes.
        parse(&String::from_utf8_lossy(bytes)).ok_or(Reason::Malformed)
    }
}

/// Reads a file into the buffer and says how long it is. Not `read_to_end`, which asks for size and
/// position first: two calls more for each of thousands of files.
fn fill(path: &str, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut file = File::open(path)?;
    let mut length = 0;
    loop {
        if buffer.len() < length + CHUNK {
            buffer.resize(length + CHUNK, 0);
        }
        let Some(free) = buffer.get_mut(length..) else {
            return Ok(length);
        };
        match file.read(free) {
            Ok(0) => return Ok(length),
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if length >= MAX_BYTES {
            return Ok(length);
        }
    }
}

/// The number that stands after a key, as in `MemTotal:  123 kB` or `oom_kill 3`.
pub(super) fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(key)?;
        let rest = rest.strip_prefix(':').unwrap_or(rest);
        if !rest.starts_with([' ', '\t']) {
            return None;
        }
        rest.split_ascii_whitespace().next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_matched_as_a_whole() {
        let text = "Swap: 7 kB\nSwapFree:   3 kB\nSwapFreeX: 9\noom 1\noom_kill 2\n";
        assert_eq!(value_of(text, "Swap"), Some(7));
        assert_eq!(value_of(text, "SwapFree"), Some(3));
        assert_eq!(value_of(text, "oom"), Some(1));
        assert_eq!(value_of(text, "oom_kill"), Some(2));
        assert_eq!(value_of(text, "oom_kil"), None);
    }

    /// A container with a hundred processes that may not be read must not fill the log, nor hide
    /// that something is missing.
    #[test]
    fn failures_are_counted_by_what_and_why() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bad"), b"\xff\xfe(\n").unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        let mut files = Files::new(folder.path().to_owned());
        for _ in 0..3 {
            let none: Option<()> = files.parse("process", format_args!("nowhere"), |_| Some(()));
            assert!(none.is_none());
            assert!(
                files
                    .optional("psi", format_args!("nowhere"), |_| Some(()))
                    .is_none()
            );
            assert!(
                files
                    .parse("bad", format_args!("bad"), |_| None::<()>)
                    .is_none()
            );
            assert!(
                files
                    .parse("folder", format_args!("folder"), |_| Some(()))
                    .is_none()
            );
        }
        let expected = [
            (("bad", Reason::Malformed), 3),
            (("folder", Reason::Failed), 3),
            (("process", Reason::Gone), 3),
        ];
        assert_eq!(files.errors(), &ReadErrors::from(expected));
    }
}
