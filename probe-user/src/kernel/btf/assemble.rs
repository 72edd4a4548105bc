//! Assembles small blobs by hand, as `btf.rst` describes them, for tests.

use super::Kind;

/// Offset of the type section in the bytes of a [`Blob`] without options.
pub(crate) const HEADER_LEN: usize = 24;

/// A blob under construction. Methods that add a type give its id.
#[derive(Default)]
pub(crate) struct Blob {
    types: Vec<u32>,
    strings: Vec<u8>,
    count: u32,
}

impl Blob {
    pub(crate) fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    /// Adds a type from its raw parts.
    pub(crate) fn raw(&mut self, name: &str, info: u32, size_or_type: u32, data: &[u32]) -> u32 {
        let name = self.string(name);
        self.types.extend([name, info, size_or_type]);
        self.types.extend(data);
        self.count += 1;
        self.count
    }

    /// The id that the next type gets, for references forward.
    pub(crate) fn next_id(&self) -> u32 {
        self.count + 1
    }

    pub(crate) fn int(&mut self, name: &str, size: u32) -> u32 {
        self.raw(name, info(Kind::Int, 0), size, &[size * 8])
    }

    /// Pointers, typedefs, qualifiers, tags, functions: one reference.
    pub(crate) fn reference(&mut self, kind: Kind, name: &str, to: u32) -> u32 {
        self.raw(name, info(kind, 0), to, &[])
    }

    pub(crate) fn array(&mut self, element: u32, count: u32) -> u32 {
        self.raw("", info(Kind::Array, 0), 0, &[element, element, count])
    }

    /// A structure or union; members are name, type and place in bits.
    pub(crate) fn aggregate(
        &mut self,
        kind: Kind,
        name: &str,
        size: u32,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        let data = self.members(members);
        self.raw(name, info(kind, members.len()), size, &data)
    }

    /// A structure with the kind flag: the upper 8 bits of a member's place are its width.
    pub(crate) fn flagged(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let data = self.members(members);
        self.raw(
            name,
            1 << 31 | info(Kind::Struct, members.len()),
            size,
            &data,
        )
    }

    /// A tracepoint: the typedef, its pointer and the prototype.
    pub(crate) fn tracepoint(&mut self, name: &str, parameters: usize) -> u32 {
        let data = vec![0; parameters * 2];
        let prototype = self.raw("", info(Kind::FuncProto, parameters), 0, &data);
        let pointer = self.reference(Kind::Ptr, "", prototype);
        self.reference(Kind::Typedef, &format!("btf_trace_{name}"), pointer)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let type_len = u32::try_from(self.types.len() * 4).unwrap();
        let string_len = u32::try_from(self.strings.len()).unwrap();
        let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let header = [
            u32::try_from(HEADER_LEN).unwrap(),
            0,
            type_len,
            type_len,
            string_len,
        ];
        bytes.extend(
            header
                .iter()
                .chain(&self.types)
                .flat_map(|word| word.to_ne_bytes()),
        );
        bytes.extend(&self.strings);
        bytes
    }

    fn members(&mut self, members: &[(&str, u32, u32)]) -> Vec<u32> {
        members
            .iter()
            .flat_map(|&(name, type_id, place)| [self.string(name), type_id, place])
            .collect()
    }

    fn string(&mut self, string: &str) -> u32 {
        if string.is_empty() {
            return 0;
        }
        let offset = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(string.bytes());
        self.strings.push(0);
        offset
    }
}

/// The word that holds kind and number of entries.
pub(crate) fn info(kind: Kind, len: usize) -> u32 {
    (kind as u32) << 24 | u32::try_from(len).unwrap()
}
