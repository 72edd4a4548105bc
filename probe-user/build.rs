//! Embeds the kernel object that `cargo xtask build` made.
//!
//! Checks and unit tests need no object, so a build without one succeeds; such a binary says at
//! start what it lacks.

use std::{env, fs, io, path::PathBuf, process::Command};

fn main() -> io::Result<()> {
    const OBJECT: &str = "HOSTPROBE_BPF_OBJECT";
    println!("cargo:rerun-if-env-changed={OBJECT}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let object = match env::var_os(OBJECT) {
        Some(path) => {
            println!("cargo:rerun-if-changed={}", path.to_string_lossy());
            fs::read(path)?
        }
        None => Vec::new(),
    };
    println!(
        "cargo:rustc-env=HOSTPROBE_BPF_OBJECT_ID={:016x}",
        fnv1a(&object)
    );
    println!("cargo:rustc-env=HOSTPROBE_RUSTC={}", compiler());
    fs::write(out.join("hostprobe.bpf.o"), object)
}

/// The compiler's version, such as `1.95.0`; empty when it does not say.
fn compiler() -> String {
    let output =
        env::var_os("RUSTC").and_then(|rustc| Command::new(rustc).arg("--version").output().ok());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.as_deref()
        .and_then(|text| text.split_whitespace().nth(1))
        .unwrap_or_default()
        .to_owned()
}

/// FNV-1a, 64 bits: tells objects apart, no more (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
