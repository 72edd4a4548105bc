//! The kernel object inside this binary.

use aya::include_bytes_aligned;

/// The ELF object; empty when the binary was built without one.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/hostprobe.bpf.o"));

/// Identifies the object: the hash of its bytes, 16 hexadecimal digits.
pub const BUILD_ID: &str = env!("HOSTPROBE_BPF_OBJECT_ID");

/// The object's bytes, or `None` when this binary was built without it.
pub fn bytes() -> Option<&'static [u8]> {
    (!OBJECT.is_empty()).then_some(OBJECT)
}
