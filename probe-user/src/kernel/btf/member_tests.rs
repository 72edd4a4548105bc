//! Look-ups of members. If these failed, kernel programs would read a neighbour of the field they
//! mean: wrong numbers with no sign of it.

use super::{
    Btf, FieldErrorReason as Reason, Kind, MemberOffset, Shape,
    assemble::{Blob, info},
};

fn look_up(blob: &Blob, type_name: &str, member: &str) -> Result<MemberOffset, Reason> {
    let bytes = blob.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    btf.member_offset(type_name, member)
        .map_err(|error| error.reason)
}

fn integer(byte_offset: u32, size: u32) -> Result<MemberOffset, Reason> {
    Ok(MemberOffset {
        byte_offset,
        size,
        shape: Shape::Integer,
    })
}

fn no_member(name: &str) -> Result<MemberOffset, Reason> {
    Err(Reason::NoSuchMember(name.to_owned()))
}

/// The nesting of `struct sock_common`: anonymous unions of anonymous structures beside plain
/// members, and `struct sock` that holds it by name.
fn sock() -> Blob {
    let mut blob = Blob::new();
    let short = blob.int("unsigned short", 2);
    let int = blob.int("unsigned int", 4);
    let long = blob.int("unsigned long long", 8);
    let pair = blob.aggregate(
        Kind::Struct,
        "",
        8,
        &[("daddr", int, 0), ("rcv_saddr", int, 32)],
    );
    let addresses = blob.aggregate(Kind::Union, "", 8, &[("addrpair", long, 0), ("", pair, 0)]);
    let common = blob.aggregate(
        Kind::Struct,
        "sock_common",
        16,
        &[("", addresses, 0), ("hash", int, 64), ("family", short, 96)],
    );
    let named = blob.reference(Kind::Typedef, "common_t", common);
    blob.aggregate(
        Kind::Struct,
        "sock",
        24,
        &[("before", long, 0), ("__sk_common", named, 64)],
    );
    blob
}

#[test]
fn plain_members_have_their_place_and_size() {
    assert_eq!(look_up(&sock(), "sock_common", "hash"), integer(8, 4));
    assert_eq!(look_up(&sock(), "sock_common", "family"), integer(12, 2));
}

#[test]
fn anonymous_unions_and_structures_are_looked_through() {
    assert_eq!(look_up(&sock(), "sock_common", "addrpair"), integer(0, 8));
    assert_eq!(look_up(&sock(), "sock_common", "rcv_saddr"), integer(4, 4));
}

#[test]
fn a_path_descends_by_name_and_through_typedefs() {
    assert_eq!(
        look_up(&sock(), "sock", "__sk_common.family"),
        integer(20, 2)
    );
    assert_eq!(
        look_up(&sock(), "sock", "__sk_common.rcv_saddr"),
        integer(12, 4)
    );
    let whole = MemberOffset {
        byte_offset: 8,
        size: 16,
        shape: Shape::Aggregate,
    };
    assert_eq!(look_up(&sock(), "sock", "__sk_common"), Ok(whole));
}

#[test]
fn what_is_not_there_is_named() {
    assert_eq!(look_up(&sock(), "tcp_sock", "x"), Err(Reason::NoSuchType));
    assert_eq!(look_up(&sock(), "sock", "family"), no_member("family"));
    assert_eq!(
        look_up(&sock(), "sock", "__sk_common.port"),
        no_member("port")
    );
    assert_eq!(look_up(&sock(), "sock", ""), no_member(""));
    assert_eq!(look_up(&sock(), "sock", "__sk_common."), no_member(""));
    let bytes = sock().bytes();
    let error = Btf::parse(&bytes)
        .unwrap()
        .member_offset("sock", "a.b")
        .unwrap_err();
    assert!(error.to_string().contains("sock.a.b"), "{error}");
}

#[test]
fn a_path_through_a_number_is_an_error() {
    let expected = Reason::NotAStructure {
        member: "before".to_owned(),
        kind: Kind::Int,
    };
    assert_eq!(look_up(&sock(), "sock", "before.x"), Err(expected));
}

#[test]
fn chains_of_qualifiers_and_tags_are_followed() {
    let mut blob = Blob::new();
    let mut id = blob.int("unsigned char", 1);
    for kind in [
        Kind::Typedef,
        Kind::Const,
        Kind::Volatile,
        Kind::Restrict,
        Kind::TypeTag,
    ] {
        let name = if matches!(kind, Kind::Typedef | Kind::TypeTag) {
            "x"
        } else {
            ""
        };
        id = blob.reference(kind, name, id);
    }
    blob.aggregate(Kind::Struct, "s", 2, &[("state", id, 8)]);
    assert_eq!(look_up(&blob, "s", "state"), integer(1, 1));
}

#[test]
fn shapes_tell_numbers_pointers_structures_and_arrays_apart() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let pointer = blob.reference(Kind::Ptr, "", 0);
    let row = blob.array(int, 3);
    let table = blob.array(row, 5);
    let flexible = blob.array(int, 0);
    let atomic = blob.aggregate(Kind::Struct, "", 4, &[("counter", int, 0)]);
    let signed = blob.raw("e", info(Kind::Enum, 0), 4, &[]);
    let wide = blob.raw("e64", info(Kind::Enum64, 0), 8, &[]);
    let float = blob.reference(Kind::Float, "double", 8);
    let members = [
        ("p", pointer, 0),
        ("t", table, 64),
        ("a", atomic, 544),
        ("e", signed, 576),
        ("w", wide, 640),
        ("f", float, 704),
        ("rest", flexible, 768),
    ];
    blob.aggregate(Kind::Struct, "s", 96, &members);
    let expected = [
        ("p", 0, 8, Shape::Pointer),
        ("t", 8, 60, Shape::Array),
        ("a", 68, 4, Shape::Aggregate),
        ("e", 72, 4, Shape::Integer),
        ("w", 80, 8, Shape::Integer),
        ("f", 88, 8, Shape::Float),
        ("rest", 96, 0, Shape::Array),
    ];
    for (member, byte_offset, size, shape) in expected {
        assert_eq!(
            look_up(&blob, "s", member),
            Ok(MemberOffset {
                byte_offset,
                size,
                shape
            })
        );
    }
}

#[test]
fn unions_can_be_asked_directly() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    blob.aggregate(Kind::Union, "u", 4, &[("a", int, 0)]);
    assert_eq!(look_up(&blob, "u", "a"), integer(0, 4));
}

#[test]
fn bit_fields_are_refused_in_both_encodings() {
    let mut blob = Blob::new();
    let int = blob.int("unsigned int", 4);
    // 8 bits wide at bit 16, as `sk_protocol` was before Linux 5.6: aligned, yet a bit field.
    let members = [
        ("whole", int, 0),
        ("part", int, 8 << 24 | 48),
        ("flag", int, 1 << 24 | 57),
        ("after", int, 64),
    ];
    blob.flagged("new_style", 12, &members);
    let partial = blob.raw("unsigned int", info(Kind::Int, 0), 4, &[8]);
    let shifted = blob.raw("unsigned int", info(Kind::Int, 0), 4, &[3 << 16 | 29]);
    let boolean = blob.int("bool", 1);
    let members = [("a", partial, 0), ("b", shifted, 0), ("c", boolean, 3)];
    blob.aggregate(Kind::Struct, "old_style", 8, &members);
    assert_eq!(look_up(&blob, "new_style", "whole"), integer(0, 4));
    assert_eq!(look_up(&blob, "new_style", "part"), Err(Reason::Bitfield));
    assert_eq!(look_up(&blob, "new_style", "after"), integer(8, 4));
    let bytes = blob.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    let bit = |member| btf.bit_offset("new_style", member).map_err(|e| e.reason);
    assert_eq!(bit("flag"), Ok(57));
    // More than one bit, and none at all.
    for member in ["whole", "part", "after"] {
        assert_eq!(bit(member), Err(Reason::Bitfield), "{member}");
    }
    for member in ["a", "b", "c"] {
        assert_eq!(
            look_up(&blob, "old_style", member),
            Err(Reason::Bitfield),
            "{member}"
        );
    }
}

#[test]
fn namesakes_must_agree() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    blob.aggregate(
        Kind::Struct,
        "s",
        8,
        &[("same", int, 0), ("moved", int, 32)],
    );
    blob.aggregate(
        Kind::Struct,
        "s",
        12,
        &[("same", int, 0), ("moved", int, 64)],
    );
    assert_eq!(look_up(&blob, "s", "same"), integer(0, 4));
    assert_eq!(look_up(&blob, "s", "moved"), Err(Reason::Ambiguous));
    assert_eq!(look_up(&blob, "s", "none"), no_member("none"));
}

#[test]
fn circles_end() {
    let mut blob = Blob::new();
    let typedef = blob.next_id();
    blob.reference(Kind::Typedef, "circle", typedef);
    let array = blob.next_id();
    blob.array(array, 1);
    let anonymous = blob.next_id();
    blob.aggregate(
        Kind::Struct,
        "",
        4,
        &[("", anonymous, 0), ("", anonymous, 0)],
    );
    let members = [("t", typedef, 0), ("a", array, 0), ("", anonymous, 0)];
    blob.aggregate(Kind::Struct, "s", 4, &members);
    for member in ["t", "a", "none"] {
        assert_eq!(
            look_up(&blob, "s", member),
            Err(Reason::TooDeep),
            "{member}"
        );
    }
}

#[test]
fn wide_and_deep_nesting_ends_soon() {
    // 31 levels of 16 anonymous members each would take 16^31 steps without a bound.
    let mut blob = Blob::new();
    let mut id = blob.aggregate(Kind::Struct, "", 0, &[]);
    for _ in 0..30 {
        id = blob.aggregate(Kind::Struct, "", 0, &[("", id, 0); 16]);
    }
    blob.aggregate(Kind::Struct, "s", 0, &[("", id, 0)]);
    assert_eq!(look_up(&blob, "s", "none"), Err(Reason::TooDeep));
}

#[test]
fn references_that_lead_nowhere_are_damage() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let function = blob.reference(Kind::Func, "f", 0);
    let huge = blob.array(int, u32::MAX);
    let members = [
        ("gone", 99, 0),
        ("void", 0, 0),
        ("f", function, 0),
        ("huge", huge, 0),
    ];
    blob.aggregate(Kind::Struct, "s", 8, &members);
    blob.aggregate(Kind::Struct, "small", 4, &[("outside", int, 32)]);
    for member in ["gone", "void", "f", "huge"] {
        assert!(
            matches!(look_up(&blob, "s", member), Err(Reason::Damaged(_))),
            "{member}"
        );
    }
    assert!(matches!(
        look_up(&blob, "small", "outside"),
        Err(Reason::Damaged(_))
    ));
}

#[test]
fn places_beyond_32_bits_are_damage() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let inner = blob.aggregate(Kind::Struct, "", 4, &[("x", int, u32::MAX - 7)]);
    blob.aggregate(
        Kind::Struct,
        "s",
        8,
        &[("", inner, 64), ("named", inner, 64)],
    );
    for member in ["x", "named.x"] {
        assert!(
            matches!(look_up(&blob, "s", member), Err(Reason::Damaged(_))),
            "{member}"
        );
    }
}
