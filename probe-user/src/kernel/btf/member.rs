//! Finds a member of a structure by name and says where it lies.

use super::{Btf, FieldError, FieldErrorReason as Reason, Kind, Member, Type};

/// Bounds the nesting of anonymous structures and the length of chains of typedefs, qualifiers and
/// arrays. Kernels need about ten.
const MAX_DEPTH: u32 = 32;
/// Bounds the members looked at in one look-up: depth alone would not, as each level may hold
/// 65,535 members. Kernels need a few hundred.
const MAX_MEMBERS: u32 = 1 << 17;
/// BTF does not record the size of pointers.
const POINTER_SIZE: u32 = 8;
const _: () = assert!(
    size_of::<usize>() == 8,
    "the probe supports 64-bit kernels only: see POINTER_SIZE"
);

/// Where a member lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberOffset {
    /// Distance from the start of the structure that was named, in bytes.
    pub byte_offset: u32,
    /// Size in bytes; 0 for a flexible array.
    pub size: u32,
    /// What lies there.
    pub shape: Shape,
}

/// What a member is, after typedefs and qualifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A whole number, a truth value or an enumeration.
    Integer,
    /// An address.
    Pointer,
    /// A structure or union, such as `atomic_t`.
    Aggregate,
    /// An array.
    Array,
    /// A floating-point number.
    Float,
    /// A bit field of one bit.
    Bit,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Integer => "integer",
            Self::Pointer => "pointer",
            Self::Aggregate => "structure",
            Self::Array => "array",
            Self::Float => "floating-point number",
            Self::Bit => "bit",
        })
    }
}

impl Btf<'_> {
    /// Where `member` lies in the structure or union `type_name`. The path may descend by name
    /// (`__sk_common.skc_family`); anonymous structures and unions are looked through as in C.
    ///
    /// # Errors
    /// [`FieldError`] when this kernel has no such structure or member, when it is a bit field, or
    /// when structures of that name disagree: never a guess.
    pub fn member_offset(&self, type_name: &str, member: &str) -> Result<MemberOffset, FieldError> {
        self.locate(type_name, member, Self::descend)
            .map_err(|reason| FieldError {
                type_name: type_name.to_owned(),
                member: member.to_owned(),
                reason,
            })
    }

    /// Where the bit field `member` of one bit lies in the structure `type_name`: the number of the bit
    /// from the structure's start, counted from the lowest bit of each byte.
    ///
    /// # Errors
    /// As [`Self::member_offset`]; also when it is no bit field of one bit, or the machine counts bits from
    /// the other end.
    pub fn bit_offset(&self, type_name: &str, member: &str) -> Result<u32, FieldError> {
        self.locate(type_name, member, Self::bit)
            .map_err(|reason| FieldError {
                type_name: type_name.to_owned(),
                member: member.to_owned(),
                reason,
            })
    }

    fn locate<T: PartialEq>(
        &self,
        type_name: &str,
        path: &str,
        descend: impl Fn(&Self, u32, &str, &mut u32) -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        let kind = if self.type_by_name(Kind::Struct, type_name).is_some() {
            Kind::Struct
        } else {
            Kind::Union
        };
        let mut budget = MAX_MEMBERS;
        let mut places = self
            .types_by_name(kind, type_name)
            .map(|id| descend(self, id, path, &mut budget));
        let first = places.next().ok_or(Reason::NoSuchType)?;
        // Two namesakes that agree about this member are harmless.
        if places.all(|other| other == first) {
            first
        } else {
            Err(Reason::Ambiguous)
        }
    }

    fn bit(&self, structure: u32, path: &str, budget: &mut u32) -> Result<u32, Reason> {
        let place = self.walk(structure, path, budget)?;
        let (_, whole) = self.unqualified(structure)?;
        if place.bitfield_bits != 1 || cfg!(target_endian = "big") {
            return Err(Reason::Bitfield);
        }
        if place.bit_offset / 8 >= whole.size_or_type {
            return Err(Reason::Damaged(structure));
        }
        Ok(place.bit_offset)
    }

    fn descend(
        &self,
        structure: u32,
        path: &str,
        budget: &mut u32,
    ) -> Result<MemberOffset, Reason> {
        let place = self.walk(structure, path, budget)?;
        if place.is_bitfield || !place.bit_offset.is_multiple_of(8) {
            return Err(Reason::Bitfield);
        }
        let (size, shape) = self.measure(place.type_id)?;
        let byte_offset = place.bit_offset / 8;
        let (_, whole) = self.unqualified(structure)?;
        match byte_offset.checked_add(size) {
            Some(end) if end <= whole.size_or_type => Ok(MemberOffset {
                byte_offset,
                size,
                shape,
            }),
            _ => Err(Reason::Damaged(structure)),
        }
    }

    /// Follows a path of names from a structure.
    fn walk(&self, structure: u32, path: &str, budget: &mut u32) -> Result<Place, Reason> {
        let mut place = Place {
            bit_offset: 0,
            type_id: structure,
            is_bitfield: false,
            bitfield_bits: 0,
        };
        let mut parent = "";
        for name in path.split('.') {
            let (id, aggregate) = self.unqualified(place.type_id)?;
            if !matches!(aggregate.kind, Kind::Struct | Kind::Union) {
                let member = parent.to_owned();
                return Err(Reason::NotAStructure {
                    member,
                    kind: aggregate.kind,
                });
            }
            let inner = self
                .find(id, &aggregate, name.as_bytes(), MAX_DEPTH, budget)?
                .ok_or_else(|| Reason::NoSuchMember(name.to_owned()))?;
            let bit_offset = place.bit_offset.checked_add(inner.bit_offset);
            place = Place {
                bit_offset: bit_offset.ok_or(Reason::Damaged(id))?,
                ..inner
            };
            parent = name;
        }
        Ok(place)
    }

    /// Searches one structure and the anonymous ones inside it, in the order of declaration.
    fn find(
        &self,
        id: u32,
        aggregate: &Type<'_>,
        wanted: &[u8],
        depth: u32,
        budget: &mut u32,
    ) -> Result<Option<Place>, Reason> {
        let depth = depth.checked_sub(1).ok_or(Reason::TooDeep)?;
        for member in aggregate.members() {
            *budget = budget.checked_sub(1).ok_or(Reason::TooDeep)?;
            let name = self.name(member.name_offset).ok_or(Reason::Damaged(id))?;
            if name == wanted && !name.is_empty() {
                return self.place(&member).map(Some);
            }
            if !name.is_empty() {
                continue;
            }
            // Unnamed members that are no structure are padding bit fields.
            let (inner_id, inner) = self.unqualified(member.type_id)?;
            if let Some(found) = self.find(inner_id, &inner, wanted, depth, budget)? {
                let bit_offset = member.bit_offset.checked_add(found.bit_offset);
                return Ok(Some(Place {
                    bit_offset: bit_offset.ok_or(Reason::Damaged(id))?,
                    ..found
                }));
            }
        }
        Ok(None)
    }

    fn place(&self, member: &Member) -> Result<Place, Reason> {
        // Bit fields are marked on the member, or, by old compilers, on an integer of its own.
        let partial = self.unqualified(member.type_id)?.1.is_partial_integer();
        Ok(Place {
            bit_offset: member.bit_offset,
            type_id: member.type_id,
            is_bitfield: partial || member.bitfield_bits != 0,
            bitfield_bits: member.bitfield_bits,
        })
    }

    /// Size in bytes and shape of a type.
    fn measure(&self, id: u32) -> Result<(u32, Shape), Reason> {
        let mut elements: u32 = 1;
        let mut is_array = false;
        let mut current = id;
        for _ in 0..MAX_DEPTH {
            let (at, found) = self.unqualified(current)?;
            let (size, shape) = match found.kind {
                Kind::Int | Kind::Enum | Kind::Enum64 => (found.size_or_type, Shape::Integer),
                Kind::Ptr => (POINTER_SIZE, Shape::Pointer),
                Kind::Struct | Kind::Union => (found.size_or_type, Shape::Aggregate),
                Kind::Float => (found.size_or_type, Shape::Float),
                Kind::Array => {
                    let [element, _, count] = found.array().ok_or(Reason::Damaged(at))?;
                    elements = elements.checked_mul(count).ok_or(Reason::Damaged(at))?;
                    is_array = true;
                    current = element;
                    continue;
                }
                // Declarations, functions and the like: nothing that a member can be made of.
                _ => return Err(Reason::Damaged(at)),
            };
            let size = size.checked_mul(elements).ok_or(Reason::Damaged(at))?;
            return Ok((size, if is_array { Shape::Array } else { shape }));
        }
        Err(Reason::TooDeep)
    }

    /// Follows typedefs, qualifiers and type tags to what the type really is.
    fn unqualified(&self, id: u32) -> Result<(u32, Type<'_>), Reason> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            let found = self.get(id).ok_or(Reason::Damaged(id))?;
            match found.kind {
                Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => {
                    id = found.size_or_type;
                }
                _ => return Ok((id, found)),
            }
        }
        Err(Reason::TooDeep)
    }
}

/// A member during the descent.
struct Place {
    bit_offset: u32,
    type_id: u32,
    is_bitfield: bool,
    /// How many bits it has, if it is marked as a bit field itself.
    bitfield_bits: u32,
}
