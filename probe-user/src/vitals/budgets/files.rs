//! Files on the disk by patterns, and their sizes, which are measured again only when a file changes.

use std::{
    collections::HashMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};
use serde::Serialize;

use super::compressed::{self, MAX_BYTES, Sizes};
use crate::config::FileBudget;

/// Entries of folders that one pattern looks at, and files that it takes.
const MAX_ENTRIES: usize = 50_000;
const MAX_FILES: usize = 2_000;
/// Folders within one another.
const MAX_DEPTH: usize = 16;
/// Longest pattern.
const MAX_GLOB: usize = 512;

/// Why a pattern can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// Nothing, or more than 512 bytes.
    #[error("it is empty, or longer than {MAX_GLOB} bytes")]
    Length,
    /// Its folders begin with a pattern or go up.
    #[error("`..` is not allowed in it")]
    Up,
    /// As the library says.
    #[error("{0}")]
    Syntax(String),
}

/// A pattern of files.
#[derive(Debug, Clone)]
pub struct Files {
    /// The folder below which they are.
    folder: PathBuf,
    matcher: GlobMatcher,
    /// Folders below `folder` that the pattern can reach.
    depth: usize,
}

/// A file and its sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MeasuredFile {
    /// Where it is.
    pub path: String,
    /// How large it is.
    #[serde(flatten)]
    pub sizes: Sizes,
}

impl Files {
    /// Reads a pattern.
    ///
    /// # Errors
    /// See [`GlobError`].
    pub fn new(glob: &str) -> Result<Self, GlobError> {
        if glob.is_empty() || glob.len() > MAX_GLOB {
            return Err(GlobError::Length);
        }
        let path = Path::new(glob);
        let components: Vec<Component<'_>> = path.components().collect();
        if components.contains(&Component::ParentDir) {
            return Err(GlobError::Up);
        }
        let plain = |component: &&Component<'_>| {
            let text = component.as_os_str().to_string_lossy();
            !text.contains(['*', '?', '[', '{', '\\'])
        };
        // The last part is the file's name, also when it is no pattern.
        let folders = components.len().saturating_sub(1);
        let folder: PathBuf = components.iter().take(folders).take_while(plain).collect();
        let below = components.len() - folder.components().count();
        let matcher = GlobBuilder::new(glob)
            .literal_separator(true)
            .build()
            .map_err(|error| GlobError::Syntax(error.kind().to_string()))?
            .compile_matcher();
        Ok(Self {
            folder,
            matcher,
            depth: if glob.contains("**") {
                MAX_DEPTH
            } else {
                below
            },
        })
    }

    /// The files that are there now, in the order of their names. Links to folders are not followed.
    ///
    /// # Errors
    /// A folder can't be read, or there are too many files.
    fn find(&self) -> Result<Vec<(PathBuf, Metadata)>, String> {
        let mut found = Vec::new();
        let mut entries = 0;
        let mut folders = vec![(self.folder.clone(), 1)];
        while let Some((folder, depth)) = folders.pop() {
            let at = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &folder
            };
            let refuse = |error: io::Error| format!("cannot read {}: {error}", at.display());
            let list = match fs::read_dir(at) {
                Ok(list) => list,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(refuse(error)),
            };
            for entry in list {
                let entry = entry.map_err(refuse)?;
                entries += 1;
                if entries > MAX_ENTRIES {
                    return Err(format!("its folders have more than {MAX_ENTRIES} entries"));
                }
                let path = folder.join(entry.file_name());
                let kind = entry.file_type().map_err(refuse)?;
                if kind.is_dir() {
                    if depth < self.depth {
                        folders.push((path, depth + 1));
                    }
                    continue;
                }
                if !self.matcher.is_match(&path) {
                    continue;
                }
                // A link to a file counts as that file.
                if let Ok(metadata) = fs::metadata(&path)
                    && metadata.is_file()
                {
                    found.push((path, metadata));
                }
                if found.len() > MAX_FILES {
                    return Err(format!("more than {MAX_FILES} files fit it"));
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }
}

/// What a file was like when it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Sizes of files that were measured.
#[derive(Debug, Default)]
pub(super) struct Measurer {
    known: HashMap<PathBuf, Known>,
    /// Files that were compressed so far.
    pub(super) compressed: u64,
}

#[derive(Debug)]
struct Known {
    version: Version,
    sizes: Sizes,
    /// Whether somebody asked for it in this round.
    used: bool,
}

impl Measurer {
    /// Measures the files of a budget.
    ///
    /// # Errors
    /// Why they can't be.
    pub(super) fn measure(&mut self, budget: &FileBudget) -> Result<Vec<MeasuredFile>, String> {
        let files = Files::new(&budget.glob).map_err(|error| error.to_string())?;
        let found = files.find()?;
        if found.is_empty() {
            return Err("no file fits it".to_owned());
        }
        let (gzip, brotli) = (budget.gzip.is_some(), budget.brotli.is_some());
        found
            .into_iter()
            .map(|(path, metadata)| {
                let shown = path.to_string_lossy().into_owned();
                if metadata.len() > MAX_BYTES && (gzip || brotli) {
                    return Err(format!("{shown} has more than {MAX_BYTES} bytes"));
                }
                let sizes = self.sizes(path, &metadata, gzip, brotli);
                let sizes = sizes.map_err(|error| format!("cannot read {shown}: {error}"))?;
                Ok(MeasuredFile { path: shown, sizes })
            })
            .collect()
    }

    fn sizes(
        &mut self,
        path: PathBuf,
        metadata: &Metadata,
        gzip: bool,
        brotli: bool,
    ) -> io::Result<Sizes> {
        let version = Version::of(metadata);
        let known = self
            .known
            .get_mut(&path)
            .filter(|known| known.version == version);
        let before = known.map(|known| {
            known.used = true;
            known.sizes
        });
        let missing = |wanted: bool, size: fn(&Sizes) -> Option<u64>| {
            wanted && before.as_ref().and_then(size).is_none()
        };
        let (gzip, brotli) = (
            missing(gzip, |sizes| sizes.gzip),
            missing(brotli, |sizes| sizes.brotli),
        );
        if let Some(sizes) = before.filter(|_| !gzip && !brotli) {
            return Ok(sizes);
        }
        self.compressed += u64::from(gzip || brotli);
        let measured = compressed::measure(&path, gzip, brotli)?;
        let sizes = Sizes {
            raw: measured.raw,
            gzip: measured.gzip.or(before.and_then(|sizes| sizes.gzip)),
            brotli: measured.brotli.or(before.and_then(|sizes| sizes.brotli)),
        };
        let known = Known {
            version,
            sizes,
            used: true,
        };
        self.known.insert(path, known);
        Ok(sizes)
    }

    /// Forgets files that nobody asked for since the last call.
    pub(super) fn end_round(&mut self) {
        self.known
            .retain(|_, known| std::mem::take(&mut known.used));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(glob: &str) -> Vec<String> {
        let found = Files::new(glob).unwrap().find().unwrap();
        let name = |(path, _): &(PathBuf, Metadata)| {
            path.file_name().unwrap().to_string_lossy().into_owned()
        };
        found.iter().map(name).collect()
    }

    #[test]
    fn patterns_take_the_files_that_a_shell_would() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        for file in ["x.js", "y.js", "x.css", "a/z.js", "a/b/deep.js"] {
            fs::write(root.join(file), "1").unwrap();
        }
        std::os::unix::fs::symlink(root, root.join("a/loop")).unwrap();
        std::os::unix::fs::symlink(root.join("x.js"), root.join("link.js")).unwrap();
        let at = |glob: &str| names(&format!("{}/{glob}", root.display()));
        assert_eq!(at("*.js"), ["link.js", "x.js", "y.js"]);
        assert_eq!(at("x.{js,css}"), ["x.css", "x.js"]);
        assert_eq!(at("*/*.js"), ["z.js"]);
        assert_eq!(
            at("**/*.js"),
            ["deep.js", "z.js", "link.js", "x.js", "y.js"]
        );
        assert_eq!(at("x.js"), ["x.js"]);
        assert!(at("none/*.js").is_empty());
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        assert_eq!(Files::new("").unwrap_err(), GlobError::Length);
        assert_eq!(Files::new("/a/../etc/*").unwrap_err(), GlobError::Up);
        assert!(matches!(Files::new("/a/[x"), Err(GlobError::Syntax(_))));
    }

    /// Compressing a megabyte takes a second: once a minute it would be a load of its own.
    #[test]
    fn files_are_compressed_again_only_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.js");
        fs::write(&path, "let a = 1;").unwrap();
        let mut budget = FileBudget {
            glob: path.display().to_string(),
            gzip: Some(1),
            ..FileBudget::default()
        };
        let mut measurer = Measurer::default();
        let first = measurer.measure(&budget).unwrap();
        assert_eq!(measurer.measure(&budget).unwrap(), first);
        measurer.end_round();
        measurer.measure(&budget).unwrap();
        assert_eq!(measurer.compressed, 1);
        // A budget that wants more gets it, and what was known stays.
        budget.brotli = Some(1);
        let both = measurer.measure(&budget).unwrap();
        assert!(both[0].sizes.brotli.is_some() && both[0].sizes.gzip == first[0].sizes.gzip);
        assert_eq!(measurer.compressed, 2);
        // As many bytes, but others.
        fs::write(folder.path().join("new"), "let b = 2;").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        measurer.measure(&budget).unwrap();
        assert_eq!(measurer.compressed, 3);
        measurer.end_round();
        measurer.end_round();
        assert!(
            measurer.known.is_empty(),
            "what is not asked for is forgotten"
        );
    }
}
