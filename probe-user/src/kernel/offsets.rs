//! Fills the table of kernel structure offsets from the kernel's type information.
//!
//! Pure: type information in, offsets and the list of what is missing out. A member that cannot be
//! found, or that is not what the kernel programs expect it to be, is missing; the probes that need
//! it stay off. Nothing is ever guessed.

#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod tests;

use probe_common::offsets::Offsets;

use super::btf::{Btf, FieldError, FieldErrorReason, MemberOffset, Shape};

/// What the type information of one kernel says about [`Offsets`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The offsets found; the others are [`probe_common::offsets::MISSING`].
    pub offsets: Offsets,
    /// What was not found, in the order of [`Offsets::FIELDS`].
    pub missing: Vec<MissingField>,
}

/// A field that the programs cannot read on this kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kernel field {field} ({type_name}.{member}) cannot be read: {why}")]
pub struct MissingField {
    /// Its name in [`Offsets`].
    pub field: &'static str,
    /// The kernel structure.
    pub type_name: &'static str,
    /// The member path in that structure, by its usual name.
    pub member: &'static str,
    /// What stands in the way.
    pub why: MissingReason,
}

/// Why a field cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MissingReason {
    /// The member was not found, under its usual name and under those of other kernels.
    #[error("{0}")]
    NotFound(FieldErrorReason),
    /// The member is there but is something else than the programs load.
    #[error(
        "this kernel has a {found_size}-byte {found} there, the programs expect a \
         {expected_size}-byte {expected}"
    )]
    Unexpected {
        /// What the programs load.
        expected: Shape,
        /// How many bytes they load.
        expected_size: u32,
        /// What this kernel has.
        found: Shape,
        /// How many bytes it has.
        found_size: u32,
    },
    /// The field has no line in the table of expectations of this module.
    #[error("its type was not declared; this is a defect of hostprobe, please report it")]
    Undeclared,
}

/// What the programs load for a field, and where else kernels keep it.
struct Expectation {
    field: &'static str,
    shape: Shape,
    size: u32,
    /// Further places as (structure, member path), tried in order when the usual one is absent.
    /// Such as `("task_struct", "state")` for `__state`, renamed in Linux 5.14.
    elsewhere: &'static [(&'static str, &'static str)],
}

const fn integer(field: &'static str, size: u32) -> Expectation {
    Expectation {
        field,
        shape: Shape::Integer,
        size,
        elsewhere: &[],
    }
}

const fn pointer(field: &'static str) -> Expectation {
    Expectation {
        field,
        shape: Shape::Pointer,
        size: 8,
        elsewhere: &[],
    }
}

/// A structure or an array that is loaded as a whole.
const fn structure(field: &'static str, size: u32) -> Expectation {
    Expectation {
        field,
        shape: Shape::Aggregate,
        size,
        elsewhere: &[],
    }
}

/// A bit field of one bit, of which the number of the bit is wanted.
const fn bit(field: &'static str) -> Expectation {
    Expectation {
        field,
        shape: Shape::Bit,
        size: 0,
        elsewhere: &[],
    }
}

/// `atomic_t` is a structure around an `int`.
const fn atomic(field: &'static str) -> Expectation {
    structure(field, 4)
}

/// One line per entry of [`Offsets::FIELDS`]; a test compares the two.
const EXPECTATIONS: &[Expectation] = &[
    integer("task_tgid", 4),
    integer("task_pid", 4),
    integer("task_flags", 4),
    bit("task_in_iowait"),
    integer("task_min_flt", 8),
    integer("task_maj_flt", 8),
    integer("task_sum_exec_runtime", 8),
    integer("task_run_delay", 8),
    pointer("task_files"),
    pointer("task_signal"),
    integer("task_exit_code", 4),
    atomic("signal_live"),
    pointer("files_fdt"),
    integer("fdtable_max_fds", 4),
    pointer("fdtable_fd"),
    pointer("file_private_data"),
    pointer("socket_file"),
    pointer("socket_sk"),
    integer("sock_family", 2),
    integer("sock_state", 1),
    // Before Linux 5.6 a bit field, hence missing there.
    integer("sock_protocol", 2),
    integer("sock_daddr", 4),
    structure("sock_v6_daddr", 16),
    integer("sock_err", 4),
    pointer("sock_socket"),
    integer("tcp_srtt_us", 4),
    pointer("request_q"),
    integer("request_cmd_flags", 4),
    integer("request_data_len", 4),
    pointer("request_queue_disk"),
    integer("gendisk_major", 4),
    integer("gendisk_first_minor", 4),
];

/// Looks up every field of [`Offsets`].
pub fn resolve(btf: &Btf<'_>) -> Resolution {
    resolve_with(btf, EXPECTATIONS)
}

/// The kernel structures that [`resolve`] looks into, each once, in no particular order: what a
/// reduced copy of a kernel's type information must hold.
pub fn structures() -> Vec<&'static str> {
    let usual = Offsets::FIELDS.iter().map(|(_, type_name, _)| *type_name);
    let elsewhere = EXPECTATIONS
        .iter()
        .flat_map(|e| e.elsewhere)
        .map(|(type_name, _)| *type_name);
    let mut names: Vec<_> = usual.chain(elsewhere).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn resolve_with(btf: &Btf<'_>, expectations: &[Expectation]) -> Resolution {
    let mut offsets = Offsets::UNKNOWN;
    let mut missing = Vec::new();
    for &(field, type_name, member) in Offsets::FIELDS {
        let found = expectations
            .iter()
            .find(|expectation| expectation.field == field)
            .ok_or(MissingReason::Undeclared)
            .and_then(|expectation| find(btf, expectation, type_name, member));
        match found {
            Ok(offset) => {
                offsets.set(field, offset);
            }
            Err(why) => missing.push(MissingField {
                field,
                type_name,
                member,
                why,
            }),
        }
    }
    Resolution { offsets, missing }
}

fn find(
    btf: &Btf<'_>,
    expectation: &Expectation,
    type_name: &str,
    member: &str,
) -> Result<u32, MissingReason> {
    if expectation.shape == Shape::Bit {
        return btf
            .bit_offset(type_name, member)
            .map_err(|error| MissingReason::NotFound(error.reason));
    }
    let usual = btf.member_offset(type_name, member);
    let place =
        expectation
            .elsewhere
            .iter()
            .fold(usual, |found, (type_name, member)| match found {
                // Only what is absent may be elsewhere; what is there but unreadable stays an error.
                Err(FieldError {
                    reason: FieldErrorReason::NoSuchType | FieldErrorReason::NoSuchMember(_),
                    ..
                }) => btf.member_offset(type_name, member).or(found),
                other => other,
            });
    let MemberOffset {
        byte_offset,
        size,
        shape,
    } = place.map_err(|error| MissingReason::NotFound(error.reason))?;
    if (shape, size) != (expectation.shape, expectation.size) {
        return Err(MissingReason::Unexpected {
            expected: expectation.shape,
            expected_size: expectation.size,
            found: shape,
            found_size: size,
        });
    }
    Ok(byte_offset)
}
