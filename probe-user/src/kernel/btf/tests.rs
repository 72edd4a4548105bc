//! The format's header and types. If these failed, the probe would refuse a good kernel, or read a
//! damaged or foreign description as if it were good and load the wrong bytes.

use super::{
    Btf, BtfError, Kind,
    assemble::{Blob, HEADER_LEN, info},
};

/// One type of every kind.
fn every_kind() -> Blob {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    blob.reference(Kind::Ptr, "", int);
    blob.array(int, 3);
    blob.aggregate(Kind::Struct, "s", 8, &[("a", int, 0), ("b", int, 32)]);
    blob.aggregate(Kind::Union, "u", 4, &[("a", int, 0)]);
    blob.raw("e", info(Kind::Enum, 2), 4, &[0; 4]);
    blob.reference(Kind::Fwd, "declared", 0);
    blob.reference(Kind::Typedef, "t", int);
    blob.reference(Kind::Volatile, "", int);
    blob.reference(Kind::Const, "", int);
    blob.reference(Kind::Restrict, "", int);
    let prototype = blob.next_id() + 1;
    blob.reference(Kind::Func, "do_exit", prototype);
    blob.raw("", info(Kind::FuncProto, 2), int, &[0; 4]);
    blob.raw("v", info(Kind::Var, 0), int, &[1]);
    blob.raw(".data", info(Kind::DataSec, 2), 8, &[0; 6]);
    blob.reference(Kind::Float, "float", 4);
    blob.raw("tag", info(Kind::DeclTag, 0), int, &[u32::MAX]);
    blob.reference(Kind::TypeTag, "rcu", int);
    blob.raw("e64", info(Kind::Enum64, 2), 8, &[0; 6]);
    blob.tracepoint("sys_enter", 3);
    blob
}

fn with_byte(mut bytes: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    bytes[at] = value;
    bytes
}

fn with_word(mut bytes: Vec<u8>, at: usize, value: u32) -> Vec<u8> {
    bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    bytes
}

#[test]
fn every_kind_has_the_length_that_the_format_gives_it() {
    let bytes = every_kind().bytes();
    let btf = Btf::parse(&bytes).unwrap();
    let kinds: Vec<u8> = (1..=19).map(|id| btf.get(id).unwrap().kind as u8).collect();
    assert_eq!(kinds, (1..=19).collect::<Vec<_>>());
    assert_eq!(btf.type_count(), 22);
    assert!(btf.get(0).is_none());
    assert!(btf.get(23).is_none());
    assert!(btf.get(u32::MAX).is_none());
}

#[test]
fn types_are_found_by_kind_and_name() {
    let bytes = every_kind().bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.type_by_name(Kind::Struct, "s"), Some(4));
    assert_eq!(btf.type_by_name(Kind::Union, "s"), None);
    assert_eq!(btf.type_by_name(Kind::Typedef, "t"), Some(8));
    assert_eq!(
        btf.type_by_name(Kind::Ptr, ""),
        None,
        "anonymous types have no name to find"
    );
    assert!(btf.has_function("do_exit"));
    assert!(!btf.has_function("int"));
}

#[test]
fn namesakes_are_all_found() {
    let mut blob = Blob::new();
    for size in [4, 8, 12] {
        blob.aggregate(Kind::Struct, "twin", size, &[]);
    }
    let bytes = blob.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(
        btf.types_by_name(Kind::Struct, "twin").collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(btf.types_by_name(Kind::Struct, "other").count(), 0);
}

#[test]
fn a_tracepoint_reports_the_arguments_that_programs_see() {
    let mut blob = every_kind();
    blob.reference(Kind::Typedef, "btf_trace_odd", 1);
    let bytes = blob.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert!(btf.tracepoint_exists("sys_enter"));
    assert_eq!(btf.tracepoint_arguments("sys_enter"), Some(2));
    assert!(!btf.tracepoint_exists("enter"));
    assert_eq!(btf.tracepoint_arguments("enter"), None);
    assert_eq!(
        btf.tracepoint_arguments("odd"),
        None,
        "not a pointer to a prototype"
    );
}

#[test]
fn a_cut_at_any_byte_is_an_error() {
    let bytes = every_kind().bytes();
    for len in 0..bytes.len() {
        let error = Btf::parse(&bytes[..len]).expect_err("cut short");
        if len < HEADER_LEN {
            assert_eq!(error, BtfError::HeaderTruncated { have: len });
        } else {
            assert!(matches!(error, BtfError::Section { .. }), "{len}: {error}");
        }
    }
}

#[test]
fn a_type_section_that_ends_inside_a_type_is_an_error() {
    let blob = every_kind();
    let bytes = blob.bytes();
    let whole = Btf::parse(&bytes).unwrap().types.len();
    for len in 0..whole {
        let cut = with_word(bytes.clone(), 12, u32::try_from(len).unwrap());
        match Btf::parse(&cut) {
            // Cut between two types: what is there is read.
            Ok(prefix) => assert!(prefix.type_count() < 22),
            Err(error) => assert!(matches!(error, BtfError::TypeTruncated { .. }), "{error}"),
        }
    }
}

#[test]
fn the_other_byte_order_is_named() {
    let mut bytes = every_kind().bytes();
    bytes.swap(0, 1);
    assert_eq!(Btf::parse(&bytes).unwrap_err(), BtfError::ByteOrder);
}

#[test]
fn something_else_than_type_information_is_named() {
    let elf = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0";
    assert!(matches!(Btf::parse(&elf), Err(BtfError::Magic { .. })));
}

#[test]
fn an_unknown_version_or_flag_is_refused() {
    let bytes = every_kind().bytes();
    assert_eq!(
        Btf::parse(&with_byte(bytes.clone(), 2, 2)).unwrap_err(),
        BtfError::Version { found: 2 }
    );
    assert_eq!(
        Btf::parse(&with_byte(bytes, 3, 1)).unwrap_err(),
        BtfError::Flags { found: 1 }
    );
}

#[test]
fn a_longer_header_of_later_kernels_is_skipped() {
    let mut bytes = every_kind().bytes();
    bytes.splice(HEADER_LEN..HEADER_LEN, [7; 8]);
    let bytes = with_word(bytes, 4, 32);
    assert_eq!(Btf::parse(&bytes).unwrap().type_count(), 22);
}

#[test]
fn impossible_header_lengths_are_refused() {
    let bytes = every_kind().bytes();
    let have = bytes.len();
    for found in [0, 23, 26, 1 << 20, u32::MAX] {
        let error = Btf::parse(&with_word(bytes.clone(), 4, found)).unwrap_err();
        assert_eq!(error, BtfError::HeaderLength { found, have });
    }
}

#[test]
fn sections_outside_the_data_are_refused() {
    let bytes = every_kind().bytes();
    for (at, section) in [(8, "type"), (12, "type"), (16, "string"), (20, "string")] {
        for value in [1 << 20, u32::MAX] {
            let error = Btf::parse(&with_word(bytes.clone(), at, value)).unwrap_err();
            assert!(matches!(error, BtfError::Section { section: s, .. } if s == section));
        }
    }
    let error = Btf::parse(&with_word(bytes, 8, 2)).unwrap_err();
    assert!(
        matches!(
            error,
            BtfError::Section {
                section: "type",
                ..
            }
        ),
        "not aligned: {error}"
    );
}

#[test]
fn strings_must_be_enclosed_in_zeros() {
    let bytes = every_kind().bytes();
    let last = bytes.len() - 1;
    assert_eq!(
        Btf::parse(&with_byte(bytes.clone(), last, b'x')).unwrap_err(),
        BtfError::Strings
    );
    assert_eq!(
        Btf::parse(&with_word(bytes, 20, 0)).unwrap_err(),
        BtfError::Strings
    );
}

#[test]
fn an_unknown_kind_is_named() {
    for kind in [0, 20, 31] {
        let mut blob = Blob::new();
        blob.int("int", 4);
        blob.raw("new", u32::from(kind) << 24, 0, &[]);
        let error = Btf::parse(&blob.bytes()).unwrap_err();
        assert_eq!(error, BtfError::UnknownKind { id: 2, kind });
        assert!(error.to_string().contains(&format!("kind {kind}")));
    }
}

#[test]
fn reserved_bits_are_refused_because_lengths_may_depend_on_them() {
    for bit in (16..24).chain([29, 30]) {
        let mut blob = Blob::new();
        let info = info(Kind::Struct, 0) | 1 << bit;
        blob.raw("s", info, 4, &[]);
        assert_eq!(
            Btf::parse(&blob.bytes()).unwrap_err(),
            BtfError::ReservedBits { id: 1, info }
        );
    }
}

#[test]
fn names_outside_the_strings_are_refused() {
    let bytes = with_word(every_kind().bytes(), HEADER_LEN, 1 << 20);
    assert_eq!(
        Btf::parse(&bytes).unwrap_err(),
        BtfError::Name {
            id: 1,
            offset: 1 << 20
        }
    );
}

#[test]
fn an_absurdly_long_name_is_refused() {
    let mut blob = Blob::new();
    blob.int(&"x".repeat(4096), 4);
    assert_eq!(
        Btf::parse(&blob.bytes()).unwrap_err(),
        BtfError::Name { id: 1, offset: 1 }
    );
    let mut blob = Blob::new();
    blob.int(&"x".repeat(4095), 4);
    assert!(Btf::parse(&blob.bytes()).is_ok());
}
