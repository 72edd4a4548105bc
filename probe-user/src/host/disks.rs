//! Block devices of the host.

use super::files::Files;

/// Devices that are told apart.
const MAX_DISKS: usize = 256;
/// The unit of `/proc/diskstats`, whatever the device's own is.
const SECTOR: u64 = 512;

/// One device's line of `/proc/diskstats` (the kernel's `Documentation/admin-guide/iostats.rst`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskReport {
    /// Its name, such as `sda` or `nvme0n1`.
    pub device: String,
    /// Reads.
    pub read: DiskOperations,
    /// Writes.
    pub write: DiskOperations,
    /// Operations that are under way now.
    pub in_flight: u64,
    /// Milliseconds during which at least one was under way.
    pub busy_ms: u64,
    /// Milliseconds times operations under way.
    pub weighted_ms: u64,
}

/// Operations of one kind since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskOperations {
    /// Completed.
    pub count: u64,
    /// Joined with a neighbour before they got to the device.
    pub merged: u64,
    /// Bytes.
    pub bytes: u64,
    /// Milliseconds that they took, added up.
    pub ms: u64,
}

pub(super) fn read(files: &mut Files) -> Vec<DiskReport> {
    let disks = files.optional("diskstats", format_args!("diskstats"), |text| {
        text.lines().map(parse).collect::<Option<Vec<_>>>()
    });
    let mut disks = disks.unwrap_or_default();
    // A device that never did anything would only be noise: the kernel makes some in advance.
    disks.retain(|disk| is_whole(&disk.device) && disk.read.count + disk.write.count > 0);
    disks.truncate(MAX_DISKS);
    disks
}

fn parse(line: &str) -> Option<DiskReport> {
    let mut words = line.split_ascii_whitespace();
    let device = words.nth(2)?.to_owned();
    let mut next = || words.next()?.parse::<u64>().ok();
    let mut operations = || {
        Some(DiskOperations {
            count: next()?,
            merged: next()?,
            bytes: next()?.saturating_mul(SECTOR),
            ms: next()?,
        })
    };
    let (read, write) = (operations()?, operations()?);
    Some(DiskReport {
        device,
        read,
        write,
        in_flight: next()?,
        busy_ms: next()?,
        weighted_ms: next()?,
    })
}

/// Whether it is a device of its own: no partition, whose numbers are its disk's already, and no
/// memory or file that pretends to be one.
fn is_whole(device: &str) -> bool {
    let stem = device.trim_end_matches(|c: char| c.is_ascii_digit());
    let has_number = stem.len() < device.len();
    match stem {
        "ram" | "zram" | "loop" | "fd" | "sr" => false,
        // nvme0n1p1, mmcblk0p2, and whatever else ends in a digit before its partitions.
        _ if has_number && stem.ends_with('p') && device.starts_with(['n', 'm']) => !stem
            .strip_suffix('p')
            .is_some_and(|disk| disk.ends_with(|c: char| c.is_ascii_digit())),
        _ if has_number => {
            let is_letter_disk = ["hd", "sd", "vd", "xvd"].into_iter().any(|prefix| {
                stem.strip_prefix(prefix).is_some_and(|letters| {
                    !letters.is_empty() && letters.bytes().all(|b| b.is_ascii_lowercase())
                })
            });
            !is_letter_disk
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_and_what_is_no_disk_are_left_out() {
        for device in [
            "sda", "vda", "xvdf", "sdaa", "nvme0n1", "mmcblk0", "md0", "dm-3", "nbd0",
        ] {
            assert!(is_whole(device), "{device}");
        }
        for device in [
            "sda1",
            "vda15",
            "xvdf2",
            "nvme0n1p2",
            "mmcblk0p1",
            "loop7",
            "ram0",
            "zram0",
            "sr0",
        ] {
            assert!(!is_whole(device), "{device}");
        }
    }

    #[test]
    fn a_line_is_read_whatever_columns_follow() {
        let line = " 254  0 vda 10 1 16 30 20 2 32 60 3 70 90 5 0 8 1 42 9";
        let disk = parse(line).unwrap();
        assert_eq!(disk.device, "vda");
        assert_eq!(
            disk.read,
            DiskOperations {
                count: 10,
                merged: 1,
                bytes: 8192,
                ms: 30
            }
        );
        assert_eq!((disk.write.bytes, disk.in_flight), (16_384, 3));
        assert_eq!((disk.busy_ms, disk.weighted_ms), (70, 90));
        assert_eq!(parse(" 254 0 vda 1 2 3"), None);
    }
}
