//! Damaged type information of a real kernel. If these failed, a daemon could be brought down, or
//! made to hang, by a bad file.

use proptest::prelude::*;

use super::{Btf, Kind};
use crate::kernel::offsets;

const FIXTURE: &[u8] = include_bytes!("../../../fixtures/btf/6.1.0-56-cloud-amd64.btf");

/// Asks everything that can be asked; results do not matter, only that there are some. The fuzz
/// target `btf` does the same.
fn exercise(data: &[u8]) {
    let Ok(btf) = Btf::parse(data) else { return };
    let _ = offsets::resolve(&btf);
    for name in ["sys_enter", "sched_process_exit"] {
        let _ = (btf.tracepoint_exists(name), btf.tracepoint_arguments(name));
    }
    for id in (0..).take(btf.type_count() + 2) {
        let Some(found) = btf.get(id) else { continue };
        let name = btf
            .name(found.name_offset)
            .and_then(|name| str::from_utf8(name).ok());
        if let (Kind::Struct | Kind::Union, Some(name)) = (found.kind, name) {
            for member in found.members().take(4) {
                let member = btf.name(member.name_offset).unwrap_or_default();
                let _ = btf.member_offset(name, &String::from_utf8_lossy(member));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn damage_never_panics(
        bytes in prop::collection::vec((0..FIXTURE.len(), any::<u8>()), 1..16),
        words in prop::collection::vec((0..FIXTURE.len() / 4, 0_u32..4096), 0..16),
        cut in prop::option::of(0..FIXTURE.len()),
    ) {
        let mut data = FIXTURE.to_vec();
        for (at, value) in bytes {
            data[at] = value;
        }
        // Small words are what ids, offsets and lengths look like, so this damage gets further.
        for (at, value) in words {
            data[at * 4..at * 4 + 4].copy_from_slice(&value.to_ne_bytes());
        }
        data.truncate(cut.unwrap_or(data.len()));
        exercise(&data);
    }

    #[test]
    fn references_into_the_wild_never_panic(
        words in prop::collection::vec((6..FIXTURE.len() / 4, 0_u32..1500), 1..64),
    ) {
        let mut data = FIXTURE.to_vec();
        let btf = Btf::parse(FIXTURE).unwrap();
        // Only the third word of a type changes: the blob still parses, its references are wild.
        for (at, value) in words {
            let start = 24 + btf.starts[at % btf.starts.len()] as usize;
            data[start + 8..start + 12].copy_from_slice(&value.to_ne_bytes());
        }
        prop_assert!(Btf::parse(&data).is_ok());
        exercise(&data);
    }
}
