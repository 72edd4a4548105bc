//! The kernel's type information: any bytes are parsed, and what parses is asked everything.
//!
//! `cargo +nightly fuzz run btf NEW fuzz/corpus/btf probe-user/fixtures/btf -- -max_len=65536`,
//! where NEW is an empty directory: it takes what is found, so that the committed corpus stays small.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe_user::kernel::{
    btf::{Btf, Kind},
    offsets,
};

fuzz_target!(|data: &[u8]| {
    let Ok(btf) = Btf::parse(data) else { return };
    let resolution = offsets::resolve(&btf);
    for missing in &resolution.missing {
        let _ = missing.to_string();
    }
    for name in ["sys_enter", "sched_process_exit"] {
        // A prototype can only be read where the tracepoint exists.
        assert!(btf.tracepoint_exists(name) || btf.tracepoint_arguments(name).is_none());
    }
    for id in (0..).take(btf.type_count() + 2) {
        let Some(found) = btf.get(id) else { continue };
        let name = btf
            .name(found.name_offset)
            .and_then(|name| std::str::from_utf8(name).ok());
        let (Kind::Struct | Kind::Union, Some(name)) = (found.kind, name) else {
            continue;
        };
        for member in found.members().take(4) {
            let member = btf.name(member.name_offset).unwrap_or_default();
            let Ok(place) = btf.member_offset(name, &String::from_utf8_lossy(member)) else {
                continue;
            };
            // Whatever is found lies inside a structure of that name.
            assert!([Kind::Struct, Kind::Union].into_iter().any(|kind| {
                btf.types_by_name(kind, name)
                    .filter_map(|id| btf.get(id))
                    .any(|structure| place.byte_offset + place.size <= structure.size_or_type)
            }));
        }
    }
});
