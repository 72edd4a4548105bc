//! Names of block devices.

use std::{collections::HashMap, fs};

use probe_common::block::BlockKey;

/// What the kernel calls these devices, such as `nvme0n1`, by [`BlockKey::device`]. A device that is gone
/// is named by its numbers, such as `254:0`.
pub fn device_names<'a>(keys: impl Iterator<Item = &'a BlockKey>) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for key in keys {
        names.entry(key.device).or_insert_with(|| name(key));
    }
    names
}

fn name(key: &BlockKey) -> String {
    let numbers = format!("{}:{}", key.major(), key.minor());
    // Not opened, so no rights are needed, and a hanging device hangs nobody.
    fs::read_link(format!("/sys/dev/block/{numbers}"))
        .ok()
        .and_then(|device| Some(device.file_name()?.to_str()?.to_owned()))
        .unwrap_or(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_named_by_its_numbers() {
        let key = BlockKey {
            device: 4095 << 20 | 77,
            service: 1,
            operation: 0,
            reserved: 0,
        };
        assert_eq!(device_names([key].iter())[&key.device], "4095:77");
    }
}
