//! Attaches the programs of the TLS probe to the libraries that traced processes have mapped.
//!
//! A uprobe sits on a file, not on a process: each library is attached once, and its later users,
//! new processes included, are followed from their first call.

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    programs::{
        UProbe,
        uprobe::{UProbeAttachLocation, UProbeLinkId, UProbeScope},
    },
};
use object::{
    Object as _, ObjectSegment as _, ObjectSymbol as _,
    read::{ReadCache, ReadRef, elf},
};
use tracing::{debug, info, warn};

use super::{
    loader::chain,
    probes::{self, Hook},
};
use crate::targets::libraries::{FileId, MappedFile};

/// Libraries that are followed at most; each takes about two dozen descriptors.
const MAX_LIBRARIES: usize = 128;

/// Files that are remembered as being no such library.
const MAX_FILES: usize = 65_536;

/// The files that were looked at.
#[derive(Debug, Default)]
pub struct Libraries {
    files: HashMap<FileId, Look>,
    followed: Vec<PathBuf>,
    /// Libraries that could not be followed.
    failed: u64,
}

/// What a look at a file told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It has none of the functions, or is no ELF file.
    Nothing,
    /// Its functions are followed, or it was tried in vain.
    Done,
}

/// How many libraries there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LibraryCounts {
    /// Whose calls are followed.
    pub followed: u64,
    /// That could not be followed.
    pub failed: u64,
}

#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("the kernel object has no program {0}")]
    NoProgram(&'static str),
    #[error("{MAX_LIBRARIES} libraries are followed already")]
    TooMany,
    #[error("{symbol}: {error}")]
    Attach { symbol: &'static str, error: String },
}

impl Libraries {
    /// Looks at files that were not looked at before, and follows those that are TLS libraries.
    pub fn follow(&mut self, ebpf: &mut Ebpf, files: &[MappedFile]) {
        if self.files.len() > MAX_FILES {
            // Those that are followed are never forgotten: twice would count everything twice.
            self.files.retain(|_, look| *look == Look::Done);
        }
        for file in files {
            if self.files.contains_key(&file.id) {
                continue;
            }
            if let Some(look) = self.look_at(ebpf, file) {
                self.files.insert(file.id, look);
            }
        }
    }

    /// `None` when the process through which the file is reached has gone meanwhile: the next one
    /// that maps it is another chance.
    fn look_at(&mut self, ebpf: &mut Ebpf, file: &MappedFile) -> Option<Look> {
        let functions = match functions_of(&file.path) {
            Ok(functions) if !functions.is_empty() => functions,
            Ok(_) => return Some(Look::Nothing),
            Err(error) => {
                debug!("{}: {error}", file.name.display());
                return file.path.exists().then_some(Look::Nothing);
            }
        };
        let name = file.name.display();
        match self.attach(ebpf, &file.path, &functions) {
            Ok(()) => {
                info!("following TLS in {name}");
                self.followed.push(file.name.clone());
            }
            Err(_) if !file.path.exists() => return None,
            Err(error) => {
                warn!("what {name} encrypts will not be decoded: {error}");
                self.failed += 1;
            }
        }
        Some(Look::Done)
    }

    fn attach(
        &self,
        ebpf: &mut Ebpf,
        path: &Path,
        functions: &[(&'static str, u64)],
    ) -> Result<(), FollowError> {
        if self.followed.len() >= MAX_LIBRARIES {
            return Err(FollowError::TooMany);
        }
        let mut attached = Vec::new();
        let result = attach_all(ebpf, path, functions, &mut attached);
        if result.is_err() {
            // Reads without writes would be worse than neither.
            for (program, link) in attached {
                if let Ok(uprobe) = program_of(ebpf, program) {
                    // It is gone with the daemon at the latest.
                    let _ = uprobe.detach(link);
                }
            }
        }
        result
    }

    /// How many there are.
    pub fn counts(&self) -> LibraryCounts {
        LibraryCounts {
            followed: self.followed.len() as u64,
            failed: self.failed,
        }
    }
}

/// Attaches every program to the functions that it is for; `attached` gets what was, also before an
/// error.
fn attach_all(
    ebpf: &mut Ebpf,
    path: &Path,
    functions: &[(&'static str, u64)],
    attached: &mut Vec<(&'static str, UProbeLinkId)>,
) -> Result<(), FollowError> {
    for program in probes::TLS.programs {
        let Hook::Function(hook) = program.hook else {
            continue;
        };
        let uprobe = program_of(ebpf, program.name)?;
        let wanted = functions
            .iter()
            .filter(|(symbol, _)| hook.symbols.contains(symbol));
        for (symbol, offset) in wanted {
            let place = UProbeAttachLocation::AbsoluteOffset(*offset);
            let link = uprobe
                .attach(place, path, UProbeScope::AllProcesses)
                .map_err(|error| FollowError::Attach {
                    symbol,
                    error: chain(&error),
                })?;
            attached.push((program.name, link));
        }
    }
    Ok(())
}

fn program_of<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, FollowError> {
    let program = ebpf.program_mut(name);
    program
        .and_then(|program| program.try_into().ok())
        .ok_or(FollowError::NoProgram(name))
}

/// The functions that the probe hooks and the file has, with their offsets in the file.
fn functions_of(path: &Path) -> Result<Vec<(&'static str, u64)>, FileError> {
    let file = File::open(path)?;
    // Reads what is asked for: some executables have hundreds of megabytes.
    let cache = ReadCache::new(file);
    let magic = cache.read_bytes_at(0, 4).unwrap_or_default();
    if magic != [0x7f, b'E', b'L', b'F'] {
        return Ok(Vec::new());
    }
    let elf = elf::ElfFile64::<object::Endianness, _>::parse(&cache)?;
    let mut functions: Vec<(&'static str, u64)> = Vec::new();
    for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
        // Names of what the file only imports are undefined here.
        if !symbol.is_definition() {
            continue;
        }
        let Some(known) = symbol.name().ok().and_then(known_symbol) else {
            continue;
        };
        let is_new = functions.iter().all(|(name, _)| *name != known);
        if is_new && let Some(offset) = offset_of(&elf, symbol.address()) {
            functions.push((known, offset));
        }
    }
    // A file that has only some of them is something else, such as a wrapper.
    let is_library = ["SSL_read", "SSL_write"]
        .iter()
        .all(|needed| functions.iter().any(|(name, _)| name == needed));
    if !is_library {
        functions.clear();
    }
    Ok(functions)
}

#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    Open(#[from] std::io::Error),
    #[error(transparent)]
    Elf(#[from] object::read::Error),
}

fn known_symbol(name: &str) -> Option<&'static str> {
    let programs = probes::TLS.programs.iter();
    programs
        .filter_map(|program| match program.hook {
            Hook::Function(function) => Some(function.symbols),
            _ => None,
        })
        .flatten()
        .find(|symbol| **symbol == name)
        .copied()
}

/// Where in the file the instruction at a virtual address is.
fn offset_of<'data, R: ReadRef<'data>>(
    elf: &elf::ElfFile64<'data, object::Endianness, R>,
    address: u64,
) -> Option<u64> {
    elf.segments().find_map(|segment| {
        let within = address.checked_sub(segment.address())?;
        let (start, length) = segment.file_range();
        (within < length).then(|| start + within)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library whose functions were not found would leave everything in it unseen.
    #[test]
    fn every_hooked_function_has_a_known_name_and_others_have_none() {
        for symbol in ["SSL_read", "SSL_write_ex", "SSL_free", "SSL_do_handshake"] {
            assert_eq!(known_symbol(symbol), Some(symbol));
        }
        assert_eq!(known_symbol("SSL_peek"), None);
        assert_eq!(known_symbol(""), None);
    }

    #[test]
    fn a_program_without_tls_and_what_is_no_program_have_no_functions() {
        let own = std::env::current_exe().unwrap();
        assert!(functions_of(&own).unwrap().is_empty());
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        std::fs::write(&text, "no ELF").unwrap();
        assert!(functions_of(&text).unwrap().is_empty());
        let cut = folder.path().join("cut");
        std::fs::write(&cut, b"\x7fELF\x02\x01\x01").unwrap();
        assert!(functions_of(&cut).is_err());
    }
}
