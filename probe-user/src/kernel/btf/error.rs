//! How reading type information fails.

use super::Kind;

/// Why a blob of type information cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The data ends inside the header.
    #[error(
        "reading kernel type information: {have} bytes are too few for its header; read \
         /sys/kernel/btf/vmlinux in full"
    )]
    HeaderTruncated {
        /// Length of the data, in bytes.
        have: usize,
    },
    /// The data starts with something else.
    #[error(
        "reading kernel type information: it starts with {found:#06x} instead of 0xeb9f; this is \
         not BTF, use /sys/kernel/btf/vmlinux"
    )]
    Magic {
        /// The first two bytes as a number in this machine's byte order.
        found: u16,
    },
    /// The data was made for a machine of the other byte order.
    #[error(
        "reading kernel type information: it has the other byte order; use the BTF of the kernel \
         that runs on this machine"
    )]
    ByteOrder,
    /// A version of the format that is not known here.
    #[error(
        "reading kernel type information: format version {found} is not known (1 is); this kernel \
         needs a newer hostprobe"
    )]
    Version {
        /// The version found.
        found: u8,
    },
    /// Header flags, of which version 1 defines none.
    #[error(
        "reading kernel type information: header flags {found:#04x} are not known; this kernel \
         needs a newer hostprobe"
    )]
    Flags {
        /// The flags found.
        found: u8,
    },
    /// The header's own length is impossible.
    #[error(
        "reading kernel type information: a header of {found} bytes in {have} bytes of data is \
         impossible; the data is damaged, read /sys/kernel/btf/vmlinux again"
    )]
    HeaderLength {
        /// The length that the header states, in bytes.
        found: u32,
        /// Length of the data, in bytes.
        have: usize,
    },
    /// A section does not lie inside the data or is not aligned.
    #[error(
        "reading kernel type information: the {section} section (offset {offset}, {len} bytes) is \
         outside the data or not aligned; read /sys/kernel/btf/vmlinux in full"
    )]
    Section {
        /// `type` or `string`.
        section: &'static str,
        /// Its offset from the end of the header, in bytes.
        offset: u32,
        /// Its length in bytes.
        len: u32,
    },
    /// The string section does not start and end with a NUL.
    #[error(
        "reading kernel type information: the string section must start and end with a zero byte; \
         this is damaged, or the split BTF of a kernel module: use /sys/kernel/btf/vmlinux"
    )]
    Strings,
    /// A kind of type that is not known here.
    #[error(
        "reading kernel type information: type {id} is of kind {kind}, which is not known (1 to 19 \
         are); this kernel needs a newer hostprobe"
    )]
    UnknownKind {
        /// The type's id.
        id: u32,
        /// The kind's number.
        kind: u8,
    },
    /// Bits that the format reserves are set, so the fields beside them may mean something else.
    #[error(
        "reading kernel type information: type {id} uses reserved bits ({info:#010x}); this kernel \
         needs a newer hostprobe"
    )]
    ReservedBits {
        /// The type's id.
        id: u32,
        /// The word that holds kind and length.
        info: u32,
    },
    /// The type section ends inside a type.
    #[error(
        "reading kernel type information: the type section ends inside type {id}; the data is \
         damaged, read /sys/kernel/btf/vmlinux again"
    )]
    TypeTruncated {
        /// The type's id.
        id: u32,
    },
    /// A type's name lies outside the string section, or is absurdly long.
    #[error(
        "reading kernel type information: type {id} has its name at {offset}, outside the string \
         section or longer than 4 KiB; this is damaged, or the split BTF of a kernel module: use \
         /sys/kernel/btf/vmlinux"
    )]
    Name {
        /// The type's id.
        id: u32,
        /// Offset of the name in the string section, in bytes.
        offset: u32,
    },
}

/// A member whose place is not known, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("looking up {type_name}.{member} in the kernel's type information: {reason}")]
pub struct FieldError {
    /// The structure that was asked for.
    pub type_name: String,
    /// The member path that was asked for.
    pub member: String,
    /// What stood in the way.
    pub reason: FieldErrorReason,
}

/// What stood in the way of a member look-up. The next step is the same for all: what needs the
/// member stays off on this kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldErrorReason {
    /// No structure or union of that name.
    #[error("this kernel has no such structure")]
    NoSuchType,
    /// The structure has no member of that name.
    #[error("this kernel's structure has no member `{0}`")]
    NoSuchMember(String),
    /// The path goes on below something without members.
    #[error("`{member}` has no members: it is of kind {kind}")]
    NotAStructure {
        /// The path component that ends the descent.
        member: String,
        /// What it is.
        kind: Kind,
    },
    /// The member does not start and end on a byte.
    #[error("the member is a bit field, which has no byte offset")]
    Bitfield,
    /// Several structures share the name and disagree.
    #[error("this kernel has several structures of that name with different layouts")]
    Ambiguous,
    /// Types are nested too deeply or the search takes too long; kernels stay far below the bounds.
    #[error("its types are nested too deeply or in a circle")]
    TooDeep,
    /// A reference leads nowhere, or a member lies outside its structure.
    #[error("the type information is damaged near type {0}")]
    Damaged(u32),
}
