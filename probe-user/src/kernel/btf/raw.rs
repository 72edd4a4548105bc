//! The format's layout in bytes: header, sections, types. Nothing here follows a reference.

use std::{ffi::CStr, fmt};

use super::BtfError;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const HEADER_LEN: usize = 24;
/// Longest name in bytes, with its terminator. The kernel stops at 512 for identifiers; tags may be
/// longer. Without a bound, many types that share one huge name would take quadratic time.
const MAX_NAME: usize = 4096;
/// The bits of `btf_type.info` that have a meaning: kind flag, kind, number of entries.
const INFO_BITS: u32 = 0x9f00_ffff;

/// What a type is; the numbers are the format's (`btf.rst`, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "C's own terms")]
pub enum Kind {
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    /// A structure or union that is only declared.
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    /// An ELF section with variables.
    DataSec = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
}

impl Kind {
    const ALL: [Self; 19] = [
        Self::Int,
        Self::Ptr,
        Self::Array,
        Self::Struct,
        Self::Union,
        Self::Enum,
        Self::Fwd,
        Self::Typedef,
        Self::Volatile,
        Self::Const,
        Self::Restrict,
        Self::Func,
        Self::FuncProto,
        Self::Var,
        Self::DataSec,
        Self::Float,
        Self::DeclTag,
        Self::TypeTag,
        Self::Enum64,
    ];

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Bytes that follow the type's 12-byte head, for `len` entries.
    fn data_len(self, len: u16) -> usize {
        let len = usize::from(len);
        match self {
            Self::Int | Self::Var | Self::DeclTag => 4,
            Self::Array => 12,
            Self::Struct | Self::Union | Self::DataSec | Self::Enum64 => len * 12,
            Self::Enum | Self::FuncProto => len * 8,
            Self::Ptr
            | Self::Fwd
            | Self::Typedef
            | Self::Volatile
            | Self::Const
            | Self::Restrict
            | Self::Func
            | Self::Float
            | Self::TypeTag => 0,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One type as it is stored, with references not yet followed.
#[derive(Debug, Clone, Copy)]
pub struct Type<'a> {
    /// What it is.
    pub kind: Kind,
    /// Where its name starts in the string section; 0 when it has none.
    pub name_offset: u32,
    /// The kind flag. Structures and unions: members carry bit field sizes; forward declarations:
    /// it is a union; enumerations: values are signed.
    pub flag: bool,
    /// Number of members, enumerators, parameters or variables. For functions: their linkage.
    pub len: u16,
    /// Size in bytes, or the id of the type referred to, depending on the kind.
    pub size_or_type: u32,
    /// What follows the head, as stored.
    pub data: &'a [u8],
}

impl<'a> Type<'a> {
    /// Reads the type with this id from the front of `bytes`; also returns what follows it.
    pub(super) fn parse(id: u32, bytes: &'a [u8]) -> Result<(Self, &'a [u8]), BtfError> {
        let truncated = BtfError::TypeTruncated { id };
        let (head, rest) = bytes.split_first_chunk().ok_or_else(|| truncated.clone())?;
        let [name_offset, info, size_or_type] = three_words(head);
        let [top, _, len @ ..] = info.to_be_bytes();
        let number = top & 0x1f;
        let kind = Kind::from_number(number).ok_or(BtfError::UnknownKind { id, kind: number })?;
        if info & !INFO_BITS != 0 {
            return Err(BtfError::ReservedBits { id, info });
        }
        let len = u16::from_be_bytes(len);
        let (data, rest) = rest.split_at_checked(kind.data_len(len)).ok_or(truncated)?;
        let flag = info >> 31 == 1;
        Ok((
            Self {
                kind,
                name_offset,
                flag,
                len,
                size_or_type,
                data,
            },
            rest,
        ))
    }

    /// Members of a structure or union; nothing for other kinds.
    pub fn members(&self) -> impl Iterator<Item = Member> + use<'a> {
        let flag = self.flag;
        let data = if matches!(self.kind, Kind::Struct | Kind::Union) {
            self.data
        } else {
            &[]
        };
        data.as_chunks().0.iter().map(move |chunk| {
            let [name_offset, type_id, offset] = three_words(chunk);
            let (bit_offset, bitfield_bits) = if flag {
                (offset & 0xff_ffff, offset >> 24)
            } else {
                (offset, 0)
            };
            Member {
                name_offset,
                type_id,
                bit_offset,
                bitfield_bits,
            }
        })
    }

    /// Parameters of a function prototype; nothing for other kinds.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + use<'a> {
        let data = if self.kind == Kind::FuncProto {
            self.data
        } else {
            &[]
        };
        data.as_chunks().0.iter().map(|chunk| {
            let [name_offset, type_id] = two_words(chunk);
            Parameter {
                name_offset,
                type_id,
            }
        })
    }

    /// Element type, index type and number of elements of an array; `None` for other kinds.
    pub fn array(&self) -> Option<[u32; 3]> {
        (self.kind == Kind::Array)
            .then(|| self.data.first_chunk().map(three_words))
            .flatten()
    }

    /// For an integer that is itself a bit field (as old compilers write them): `true`.
    pub(super) fn is_partial_integer(&self) -> bool {
        let word = self.data.first_chunk().copied().map(u32::from_ne_bytes);
        match (self.kind, word) {
            (Kind::Int, Some(word)) => {
                let (bits, offset) = (word & 0xff, word >> 16 & 0xff);
                offset != 0 || bits != self.size_or_type.saturating_mul(8)
            }
            _ => false,
        }
    }
}

/// A member of a structure or union, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Where its name starts in the string section; 0 when it has none.
    pub name_offset: u32,
    /// The id of its type.
    pub type_id: u32,
    /// Its place in the structure, in bits.
    pub bit_offset: u32,
    /// For a bit field its width in bits, otherwise 0.
    pub bitfield_bits: u32,
}

/// A parameter of a function prototype, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Where its name starts in the string section; 0 when it has none.
    pub name_offset: u32,
    /// The id of its type.
    pub type_id: u32,
}

/// The two parts of a blob.
pub(super) struct Sections<'a> {
    pub(super) types: &'a [u8],
    pub(super) strings: &'a [u8],
}

/// Checks the header (`btf.rst`, section 2) and cuts out the sections.
pub(super) fn sections(data: &[u8]) -> Result<Sections<'_>, BtfError> {
    let have = data.len();
    let header: &[u8; HEADER_LEN] = data
        .first_chunk()
        .ok_or(BtfError::HeaderTruncated { have })?;
    let [m0, m1, version, flags, ref words @ ..] = *header;
    match u16::from_ne_bytes([m0, m1]) {
        MAGIC => {}
        found if found == MAGIC.swap_bytes() => return Err(BtfError::ByteOrder),
        found => return Err(BtfError::Magic { found }),
    }
    if version != VERSION {
        return Err(BtfError::Version { found: version });
    }
    if flags != 0 {
        return Err(BtfError::Flags { found: flags });
    }
    let [l0, l1, l2, l3, ref extents @ ..] = *words;
    let header_len = u32::from_ne_bytes([l0, l1, l2, l3]);
    // Later versions may append to the header; its length is there so that readers can skip that.
    let body = usize::try_from(header_len)
        .ok()
        .filter(|&len| len >= HEADER_LEN && len % 4 == 0)
        .and_then(|len| data.get(len..))
        .ok_or(BtfError::HeaderLength {
            found: header_len,
            have,
        })?;
    let [type_extent @ .., _, _, _, _, _, _, _, _] = extents;
    let [_, _, _, _, _, _, _, _, string_extent @ ..] = extents;
    let types = section(body, "type", two_words(type_extent), 4)?;
    let strings = section(body, "string", two_words(string_extent), 1)?;
    if strings.first() != Some(&0) || strings.last() != Some(&0) {
        return Err(BtfError::Strings);
    }
    Ok(Sections { types, strings })
}

fn section<'a>(
    body: &'a [u8],
    section: &'static str,
    [offset, len]: [u32; 2],
    align: u32,
) -> Result<&'a [u8], BtfError> {
    let start = usize::try_from(offset).ok();
    let end = offset
        .checked_add(len)
        .and_then(|end| usize::try_from(end).ok());
    start
        .zip(end)
        .filter(|_| offset.is_multiple_of(align))
        .and_then(|(start, end)| body.get(start..end))
        .ok_or(BtfError::Section {
            section,
            offset,
            len,
        })
}

/// The name at `offset`, without its terminator.
pub(super) fn name(strings: &[u8], offset: u32) -> Option<&[u8]> {
    let tail = strings.get(usize::try_from(offset).ok()?..)?;
    let tail = tail.get(..MAX_NAME).unwrap_or(tail);
    CStr::from_bytes_until_nul(tail).ok().map(CStr::to_bytes)
}

/// Sections are shorter than 4 GiB because their lengths are 32-bit, so this never saturates.
pub(super) fn as_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn two_words(bytes: &[u8; 8]) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = *bytes;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    ]
}

fn three_words(bytes: &[u8; 12]) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
    ]
}
