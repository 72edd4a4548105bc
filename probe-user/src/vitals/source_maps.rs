//! Shows stacks as they were written, by the source maps in a folder (ECMA-426).
//!
//! Maps are looked for by the name of the script that a browser told, and only below the folder:
//! `RELEASE/path/app.js.map`, `RELEASE/app.js.map`, `path/app.js.map`, `app.js.map`.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use lru::LruCache;
use serde::Serialize;
use sourcemap::DecodedMap;

use super::stack::{Frame, frames};

/// Bytes of one map.
const MAX_MAP: u64 = 48 << 20;
/// Bytes of the files whose maps are kept in memory; a map takes about as many.
const MAX_KEPT: u64 = 96 << 20;
/// Maps that are kept.
const KEPT: usize = 64;
/// Characters of a line of source that are shown, around its place.
const CONTEXT: usize = 200;
/// Folders of a script's address.
const MAX_FOLDERS: usize = 20;

/// The folder, and the maps that were used last.
#[derive(Debug)]
pub struct SourceMaps {
    folder: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    maps: LruCache<PathBuf, Loaded>,
    bytes: u64,
}

#[derive(Debug, Clone)]
struct Loaded {
    modified: Option<SystemTime>,
    bytes: u64,
    map: Arc<DecodedMap>,
}

/// Why a frame could not be shown as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// There is none.
    #[error("there is no source map for {0}")]
    NotFound(String),
    /// It is too large, can't be read, or is none.
    #[error("the source map {path}: {why}")]
    Unusable {
        /// Where it is, below the folder.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// A frame, and where it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownFrame {
    /// The function as the browser names it.
    pub function: Option<String>,
    /// Address of the script; empty for the browser's own code.
    pub file: String,
    /// Line in it.
    pub line: Option<u32>,
    /// Column in that.
    pub column: Option<u32>,
    /// Where that was written; `None` when no map says it.
    pub original: Option<Original>,
}

/// A place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Original {
    /// The file as the map names it.
    pub file: String,
    /// Line in it, from 1.
    pub line: u32,
    /// Column in that, from 1.
    pub column: u32,
    /// What stood there before it was made shorter.
    pub name: Option<String>,
    /// That line, when the map has it.
    pub context: Option<String>,
}

/// The frames of a stack without looking for maps.
pub fn plain_frames(stack: &str) -> Vec<ShownFrame> {
    frames(stack).iter().map(shown).collect()
}

fn shown(frame: &Frame<'_>) -> ShownFrame {
    ShownFrame {
        function: frame.function.map(str::to_owned),
        file: frame.file.to_owned(),
        line: frame.line,
        column: frame.column,
        original: None,
    }
}

impl SourceMaps {
    /// Of a folder, which is not looked at before it is needed.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            kept: Mutex::new(Kept {
                maps: LruCache::unbounded(),
                bytes: 0,
            }),
        }
    }

    /// The frames of a stack of a release, as far as there are maps, and why some are missing. Reads
    /// files, so it may take long.
    pub fn frames(&self, release: &str, stack: &str) -> (Vec<ShownFrame>, Vec<String>) {
        let mut missing: Vec<String> = Vec::new();
        let frames = frames(stack);
        let frames = frames.iter().map(|frame| {
            let mut shown = shown(frame);
            match self.original(release, frame) {
                Ok(original) => shown.original = original,
                Err(error) => {
                    let error = error.to_string();
                    if !missing.contains(&error) {
                        missing.push(error);
                    }
                }
            }
            shown
        });
        (frames.collect(), missing)
    }

    /// Where a frame was written; `None` when it has no place, or the map does not know it.
    fn original(&self, release: &str, frame: &Frame<'_>) -> Result<Option<Original>, MapError> {
        let Some(line) = frame.line.filter(|_| !frame.file.is_empty()) else {
            return Ok(None);
        };
        let map = self.map(release, frame.file)?;
        // Maps count from 0; without a column the first of the line is taken.
        let place = (
            line.saturating_sub(1),
            frame.column.unwrap_or(1).saturating_sub(1),
        );
        let Some(token) = map.lookup_token(place.0, place.1) else {
            return Ok(None);
        };
        // One of an earlier line says nothing of this one.
        let Some(file) = token
            .get_source()
            .filter(|_| token.get_dst_line() == place.0)
        else {
            return Ok(None);
        };
        let column = token.get_src_col();
        let line = token
            .get_source_view()
            .and_then(|view| view.get_line(token.get_src_line()));
        Ok(Some(Original {
            file: file.to_owned(),
            line: token.get_src_line().saturating_add(1),
            column: column.saturating_add(1),
            name: token.get_name().map(str::to_owned),
            context: line.map(|line| context(line, column)),
        }))
    }

    fn map(&self, release: &str, script: &str) -> Result<Arc<DecodedMap>, MapError> {
        let not_found = || MapError::NotFound(script.to_owned());
        let root = fs::canonicalize(&self.folder).map_err(|_| not_found())?;
        for candidate in candidates(release, script) {
            // Also where a link below the folder leads must be below it.
            let Ok(path) = fs::canonicalize(root.join(&candidate)) else {
                continue;
            };
            if !path.starts_with(&root) {
                continue;
            }
            return self.load(&path).map_err(|why| MapError::Unusable {
                path: candidate.display().to_string(),
                why,
            });
        }
        Err(not_found())
    }

    fn load(&self, path: &Path) -> Result<Arc<DecodedMap>, String> {
        let text = |error: std::io::Error| error.to_string();
        let metadata = fs::metadata(path).map_err(text)?;
        if !metadata.is_file() {
            return Err("it is no file".to_owned());
        }
        let (modified, bytes) = (metadata.modified().ok(), metadata.len());
        if bytes > MAX_MAP {
            return Err(format!("it has more than {MAX_MAP} bytes"));
        }
        // Held while a map is read: two requests for the same one would need the memory twice.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = kept.maps.get(path)
            && (loaded.modified, loaded.bytes) == (modified, bytes)
        {
            return Ok(Arc::clone(&loaded.map));
        }
        let mut content = Vec::new();
        let file = File::open(path).map_err(text)?;
        file.take(MAX_MAP).read_to_end(&mut content).map_err(text)?;
        let map = sourcemap::decode_slice(&content).map_err(|error| error.to_string())?;
        let map = Arc::new(map);
        let loaded = Loaded {
            modified,
            bytes,
            map: Arc::clone(&map),
        };
        kept.add(path, loaded);
        Ok(map)
    }
}

impl Kept {
    fn add(&mut self, path: &Path, loaded: Loaded) {
        self.bytes += loaded.bytes;
        if let Some((_, old)) = self.maps.push(path.to_owned(), loaded) {
            self.bytes = self.bytes.saturating_sub(old.bytes);
        }
        while (self.bytes > MAX_KEPT || self.maps.len() > KEPT)
            && let Some((_, old)) = self.maps.pop_lru()
        {
            self.bytes = self.bytes.saturating_sub(old.bytes);
        }
    }
}

/// Where the map of a script may be, most special first. Nothing in an address or a release leads
/// out of the folder.
fn candidates(release: &str, script: &str) -> Vec<PathBuf> {
    let address = script.split(['?', '#']).next().unwrap_or_default();
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => address,
    };
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let harmless = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && !part.contains(['/', '\\', '\0'])
    };
    if parts.len() > MAX_FOLDERS || !parts.iter().all(|part| harmless(part)) {
        return Vec::new();
    }
    let Some(name) = parts.last() else {
        return Vec::new();
    };
    let whole: PathBuf = parts.iter().collect();
    let with_map = |path: &Path| PathBuf::from(format!("{}.map", path.display()));
    let below = [with_map(&whole), with_map(Path::new(name))];
    let mut candidates = Vec::new();
    if harmless(release) {
        candidates.extend(below.iter().map(|path| Path::new(release).join(path)));
    }
    candidates.extend(below);
    candidates.dedup();
    candidates
}

/// The line around a column.
fn context(line: &str, column: u32) -> String {
    let column = usize::try_from(column).unwrap_or(usize::MAX);
    let length = line.chars().count();
    if length <= CONTEXT {
        return line.to_owned();
    }
    let begin = column.saturating_sub(CONTEXT / 2).min(length - CONTEXT);
    line.chars().skip(begin).take(CONTEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `total.ts` and `cart.ts`, bundled and shortened by esbuild with its map.
    const SCRIPT: &str = include_str!("source_maps/shop.js");
    const MAP: &str = include_str!("source_maps/shop.js.map");

    fn folder() -> (tempfile::TempDir, SourceMaps) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("maps/2.0")).unwrap();
        let maps = SourceMaps::new(&folder.path().join("maps"));
        (folder, maps)
    }

    /// The stack that a browser would write for the call of `throw` in the bundle.
    fn stack() -> String {
        let line = SCRIPT
            .lines()
            .position(|line| line.contains("throw"))
            .unwrap();
        let column = SCRIPT.lines().nth(line).unwrap().find("throw").unwrap();
        format!(
            "RangeError: no price\n    at o (https://shop.example/js/shop.js:{}:{})\n    \
             at https://elsewhere.example/x.js:1:1\n    at Array.map (<anonymous>)",
            line + 1,
            column + 1
        )
    }

    #[test]
    fn a_stack_is_shown_as_it_was_written() {
        let (folder, maps) = folder();
        fs::write(folder.path().join("maps/shop.js.map"), MAP).unwrap();
        let (frames, missing) = maps.frames("1.0", &stack());
        let original = frames[0].original.as_ref().unwrap();
        assert!(original.file.ends_with("total.ts"), "{original:?}");
        assert!(
            original
                .context
                .as_ref()
                .unwrap()
                .contains("throw new RangeError")
        );
        let source = include_str!("source_maps/total.ts");
        let line = source.lines().nth(original.line as usize - 1).unwrap();
        assert!(line.contains("throw new RangeError"), "{line}");
        assert_eq!((&frames[1].original, &frames[2].original), (&None, &None));
        assert_eq!(
            missing,
            ["there is no source map for https://elsewhere.example/x.js"]
        );
    }

    #[test]
    fn the_map_of_the_release_goes_first_and_a_new_one_is_read() {
        let (folder, maps) = folder();
        let at = folder.path().join("maps");
        fs::write(at.join("shop.js.map"), "no map").unwrap();
        fs::write(at.join("2.0/shop.js.map"), MAP).unwrap();
        assert!(maps.frames("2.0", &stack()).0[0].original.is_some());
        let (frames, missing) = maps.frames("1.0", &stack());
        assert!(frames[0].original.is_none());
        assert!(
            missing[0].starts_with("the source map shop.js.map: "),
            "{missing:?}"
        );
        fs::write(at.join("shop.js.map"), MAP).unwrap();
        assert!(maps.frames("1.0", &stack()).0[0].original.is_some());
        assert_eq!(maps.kept.lock().unwrap().bytes, 2 * MAP.len() as u64);
    }

    /// A page can send any address and any release: it must not read other files with them.
    #[test]
    fn nothing_leads_out_of_the_folder() {
        let (folder, maps) = folder();
        fs::write(folder.path().join("secret.js.map"), MAP).unwrap();
        let link = folder.path().join("maps/link.js.map");
        std::os::unix::fs::symlink(folder.path().join("secret.js.map"), link).unwrap();
        for (release, script) in [
            ("1.0", "https://a.example/../secret.js"),
            ("..", "https://a.example/secret.js"),
            ("../", "https://a.example/secret.js"),
            ("1.0", "https://a.example/x/../../secret.js"),
            ("1.0", "../secret.js"),
            ("1.0", "https://a.example/link.js"),
            ("1.0", "https://a.example/..\\secret.js"),
            ("1.0", ""),
            ("", "https://a.example"),
            ("1.0\0", "\0"),
        ] {
            let found = maps.map(release, script);
            assert!(
                matches!(found, Err(MapError::NotFound(_))),
                "{release} {script}"
            );
        }
        fs::create_dir(folder.path().join("maps/dir.js.map")).unwrap();
        let found = maps.map("1.0", "https://a.example/dir.js");
        assert!(matches!(found, Err(MapError::Unusable { .. })));
    }

    #[test]
    fn a_long_line_is_shown_around_its_place() {
        let line = format!("{}here{}", "a".repeat(5_000), "b".repeat(5_000));
        let shown = context(&line, 5_000);
        assert!(shown.contains("here") && shown.chars().count() == CONTEXT);
        assert_eq!(context("short", 9_999), "short");
    }
}
