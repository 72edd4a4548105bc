//! Reads the BPF Type Format (BTF): the kernel's description of its own structures, functions and
//! tracepoints. Format: Linux, `Documentation/bpf/btf.rst`.
//!
//! Pure and bounded: bytes in, answers or errors out. No input makes it panic, recurse without
//! end or allocate more than a small multiple of the input's size. Names are borrowed, not copied.
//!
//! Own code because no crate fits: `aya-obj` does not expose structure members, `btf-rs` is LGPL.

mod error;
mod member;
mod raw;

#[cfg(test)]
pub(super) mod assemble;
#[cfg(test)]
mod member_tests;
#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use error::{BtfError, FieldError, FieldErrorReason};
pub use member::{MemberOffset, Shape};
pub use raw::{Kind, Member, Parameter, Type};

/// Parsed type information, borrowing the bytes that it was read from.
#[derive(Debug)]
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type starts in `types`; type id `n` is entry `n - 1`, id 0 is `void`.
    starts: Vec<u32>,
    /// The first type of each kind and name.
    by_name: HashMap<(Kind, &'a [u8]), u32>,
    /// Further types of the same kind and name. C allows two files to define different structures
    /// under one name, and look-ups must not pick one by chance.
    namesakes: HashMap<(Kind, &'a [u8]), Vec<u32>>,
}

impl<'a> Btf<'a> {
    /// Reads a whole BTF blob, such as the content of `/sys/kernel/btf/vmlinux`.
    ///
    /// The header, the extent of both sections, and kind, length and name of every type are
    /// checked here; references between types when they are followed. "Split" BTF of a kernel
    /// module is not supported: it continues the numbering of another blob.
    ///
    /// # Errors
    /// [`BtfError`] when the data is not BTF of this machine's byte order, is cut short, or holds
    /// a kind of type that is not known here, since its length is then unknown too.
    pub fn parse(data: &'a [u8]) -> Result<Self, BtfError> {
        let raw::Sections { types, strings } = raw::sections(data)?;
        // 28 bytes is the average of kernel builds; a wrong guess costs one reallocation.
        let expected = types.len() / 28;
        let mut btf = Self {
            types,
            strings,
            starts: Vec::with_capacity(expected),
            by_name: HashMap::with_capacity(expected),
            namesakes: HashMap::new(),
        };
        let mut rest = types;
        while !rest.is_empty() {
            let start = raw::as_u32(types.len() - rest.len());
            let id = raw::as_u32(btf.starts.len()).saturating_add(1);
            let (parsed, after) = Type::parse(id, rest)?;
            let name = raw::name(strings, parsed.name_offset).ok_or(BtfError::Name {
                id,
                offset: parsed.name_offset,
            })?;
            btf.starts.push(start);
            btf.index(parsed.kind, name, id);
            rest = after;
        }
        Ok(btf)
    }

    fn index(&mut self, kind: Kind, name: &'a [u8], id: u32) {
        if name.is_empty() {
            return;
        }
        if *self.by_name.entry((kind, name)).or_insert(id) != id {
            self.namesakes.entry((kind, name)).or_default().push(id);
        }
    }

    /// How many types there are; their ids are `1..=type_count()`.
    pub fn type_count(&self) -> usize {
        self.starts.len()
    }

    /// The type with this id; `None` for 0 (`void`) and for ids that do not exist.
    pub fn get(&self, id: u32) -> Option<Type<'a>> {
        let entry = usize::try_from(id.checked_sub(1)?).ok()?;
        let start = usize::try_from(*self.starts.get(entry)?).ok()?;
        // Parsed once already, so this cannot fail; an error would only mean "no such type".
        Type::parse(id, self.types.get(start..)?)
            .ok()
            .map(|(found, _)| found)
    }

    /// The name at this offset of the string section, without its terminator; empty for anonymous
    /// types and members, `None` when the offset is outside the section.
    pub fn name(&self, offset: u32) -> Option<&'a [u8]> {
        raw::name(self.strings, offset)
    }

    /// The first type of this kind and name.
    pub fn type_by_name(&self, kind: Kind, name: &str) -> Option<u32> {
        self.by_name.get(&(kind, name.as_bytes())).copied()
    }

    /// All types of this kind and name.
    pub fn types_by_name<'b>(
        &'b self,
        kind: Kind,
        name: &'b str,
    ) -> impl Iterator<Item = u32> + 'b {
        let more = self
            .namesakes
            .get(&(kind, name.as_bytes()))
            .map_or(&[][..], Vec::as_slice);
        self.type_by_name(kind, name)
            .into_iter()
            .chain(more.iter().copied())
    }

    /// Whether the kernel has a function of this name that type information was kept for.
    pub fn has_function(&self, name: &str) -> bool {
        self.type_by_name(Kind::Func, name).is_some()
    }

    /// Whether programs of type `tp_btf` can be attached to this tracepoint. The kernel finds them
    /// by the same rule: a typedef `btf_trace_<name>`.
    pub fn tracepoint_exists(&self, name: &str) -> bool {
        self.type_by_name(Kind::Typedef, &tracepoint_typedef(name))
            .is_some()
    }

    /// How many arguments the tracepoint hands to a program; `None` when it does not exist or its
    /// prototype cannot be read.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let typedef = self.get(self.type_by_name(Kind::Typedef, &tracepoint_typedef(name))?)?;
        let pointer = self
            .get(typedef.size_or_type)
            .filter(|t| t.kind == Kind::Ptr)?;
        let prototype = self
            .get(pointer.size_or_type)
            .filter(|t| t.kind == Kind::FuncProto)?;
        // The first parameter is the kernel's own `void *__data`, which programs do not see.
        usize::from(prototype.len).checked_sub(1)
    }
}

fn tracepoint_typedef(name: &str) -> String {
    format!("btf_trace_{name}")
}
