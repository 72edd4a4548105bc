//! What counts as found. If these failed, a program could be loaded that reads the wrong bytes.

use super::*;
use crate::kernel::btf::{Kind, assemble::Blob};
use probe_common::offsets::MISSING;

/// A kernel that has nothing but a `task_struct` with these members.
fn resolve_task(
    members: &[(&str, u32)],
    expectations: &[Expectation],
    field: &str,
) -> Result<u32, MissingReason> {
    let mut blob = Blob::new();
    let sizes = [1, 2, 4, 8].map(|size| (size, blob.int("integer", size)));
    let pointer = blob.reference(Kind::Ptr, "", 0);
    let members: Vec<_> = members
        .iter()
        .enumerate()
        .map(|(at, (name, size))| {
            let integer = sizes.iter().find(|(s, _)| s == size);
            (
                *name,
                integer.map_or(pointer, |(_, id)| *id),
                u32::try_from(at).unwrap() * 64,
            )
        })
        .collect();
    let size = u32::try_from(members.len()).unwrap() * 8;
    blob.aggregate(Kind::Struct, "task_struct", size, &members);
    let bytes = blob.bytes();
    let resolution = resolve_with(&Btf::parse(&bytes).unwrap(), expectations);
    let missing = resolution
        .missing
        .into_iter()
        .find(|missing| missing.field == field);
    let offset = resolution.offsets.get(field).unwrap();
    assert_eq!(
        missing.is_some(),
        offset == MISSING,
        "missing and offsets disagree on {field}"
    );
    missing.map_or(Ok(offset), |missing| Err(missing.why))
}

/// Stands for a pointer in [`resolve_task`].
const POINTER: u32 = 0;

#[test]
fn every_field_is_declared_once() {
    let declared: Vec<_> = EXPECTATIONS
        .iter()
        .map(|expectation| expectation.field)
        .collect();
    let fields: Vec<_> = Offsets::FIELDS.iter().map(|(field, _, _)| *field).collect();
    assert_eq!(declared, fields);
}

#[test]
fn a_field_of_the_expected_width_is_found() {
    let members = [("flags", 8), ("tgid", 4)];
    assert_eq!(resolve_task(&members, EXPECTATIONS, "task_tgid"), Ok(8));
}

#[test]
fn another_width_is_missing_and_says_so() {
    let why = resolve_task(&[("tgid", 8)], EXPECTATIONS, "task_tgid").unwrap_err();
    let expected = MissingReason::Unexpected {
        expected: Shape::Integer,
        expected_size: 4,
        found: Shape::Integer,
        found_size: 8,
    };
    assert_eq!(why, expected);
    assert!(why.to_string().contains("8-byte integer"), "{why}");
}

#[test]
fn a_number_is_no_pointer_even_of_the_same_width() {
    let why = resolve_task(&[("files", 8)], EXPECTATIONS, "task_files").unwrap_err();
    assert!(matches!(
        why,
        MissingReason::Unexpected {
            found: Shape::Integer,
            ..
        }
    ));
    assert_eq!(
        resolve_task(&[("files", POINTER)], EXPECTATIONS, "task_files"),
        Ok(0)
    );
}

#[test]
fn absent_structures_and_members_are_missing() {
    let why = resolve_task(&[], EXPECTATIONS, "task_tgid").unwrap_err();
    assert_eq!(
        why,
        MissingReason::NotFound(FieldErrorReason::NoSuchMember("tgid".to_owned()))
    );
    let why = resolve_task(&[], EXPECTATIONS, "sock_family").unwrap_err();
    assert_eq!(why, MissingReason::NotFound(FieldErrorReason::NoSuchType));
}

#[test]
fn a_field_without_expectation_is_missing() {
    let why = resolve_task(&[("tgid", 4)], &[], "task_tgid").unwrap_err();
    assert_eq!(why, MissingReason::Undeclared);
}

#[test]
fn a_renamed_member_is_found_under_its_other_names() {
    let renamed = [Expectation {
        elsewhere: &[
            ("no_such_struct", "x"),
            ("task_struct", "group"),
            ("task_struct", "flags"),
        ],
        ..integer("task_tgid", 4)
    }];
    assert_eq!(
        resolve_task(&[("flags", 4), ("group", 4)], &renamed, "task_tgid"),
        Ok(8)
    );
    assert_eq!(
        resolve_task(&[("group", 4), ("tgid", 4)], &renamed, "task_tgid"),
        Ok(8)
    );
    // Found under another name, but not what it should be: missing, and no further attempts.
    let why = resolve_task(&[("flags", 4), ("group", 8)], &renamed, "task_tgid").unwrap_err();
    assert!(matches!(why, MissingReason::Unexpected { .. }));
    // Nowhere: reported under the usual name.
    let why = resolve_task(&[("pid", 4)], &renamed, "task_tgid").unwrap_err();
    assert_eq!(
        why,
        MissingReason::NotFound(FieldErrorReason::NoSuchMember("tgid".to_owned()))
    );
}

#[test]
fn the_message_names_field_place_and_reason() {
    let missing = MissingField {
        field: "sock_protocol",
        type_name: "sock",
        member: "sk_protocol",
        why: MissingReason::NotFound(FieldErrorReason::Bitfield),
    };
    let text = missing.to_string();
    assert!(
        text.contains("sock.sk_protocol") && text.contains("bit field"),
        "{text}"
    );
}

#[test]
fn structures_are_listed_once() {
    let names = structures();
    assert_eq!(
        names.iter().filter(|name| **name == "task_struct").count(),
        1
    );
    assert!(names.contains(&"tcp_sock"));
}
