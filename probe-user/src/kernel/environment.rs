//! What this kernel and these rights allow, in plain words; the facts behind `hostprobe check`.

use std::{fs, path::Path};

use caps::{CapSet, Capability};
use nix::sys::utsname;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// Whether the probe can live with it.
    pub verdict: Verdict,
    /// What was found, and what to do if it is a problem.
    pub detail: String,
}

/// How a finding bears on the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Something will be missing.
    Warning,
    /// The probe can't work.
    Problem,
}

fn finding(what: &'static str, verdict: Verdict, detail: impl Into<String>) -> Finding {
    Finding {
        what,
        verdict,
        detail: detail.into(),
    }
}

/// Capabilities that the probe uses, and what for.
pub const CAPABILITIES: [(Capability, &str); 4] = [
    (
        Capability::CAP_BPF,
        "loading kernel programs and reading their tables",
    ),
    (Capability::CAP_PERFMON, "programs that read kernel memory"),
    (
        Capability::CAP_SYS_PTRACE,
        "looking at other users' processes in /proc",
    ),
    (
        Capability::CAP_DAC_READ_SEARCH,
        "reading other users' files in /proc",
    ),
];

/// Looks at the machine, without loading anything.
pub fn inspect() -> Vec<Finding> {
    vec![
        kernel(),
        architecture(),
        btf(),
        lockdown(),
        rights(),
        process_table(),
    ]
}

/// The running kernel's release, such as `6.12.117+deb12-cloud-amd64`.
pub fn kernel_release() -> String {
    utsname::uname().map_or_else(
        |error| format!("unknown ({error})"),
        |uname| uname.release().to_string_lossy().into_owned(),
    )
}

/// Major and minor number of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kernel() -> Finding {
    const WHAT: &str = "kernel";
    let release = kernel_release();
    match version(&release) {
        // Ring buffer and CAP_BPF are 5.8, verified by the kernel matrix from 6.1 on.
        Some(version) if version >= (6, 1) => finding(WHAT, Verdict::Ok, release),
        Some(version) if version >= (5, 8) => finding(
            WHAT,
            Verdict::Warning,
            format!(
                "{release}: has what the probe needs, but is older than the kernels that it is tested on (6.1 and newer)"
            ),
        ),
        Some(_) => finding(
            WHAT,
            Verdict::Problem,
            format!("{release}: the probe needs Linux 5.8 or newer (BPF ring buffer)"),
        ),
        None => finding(
            WHAT,
            Verdict::Warning,
            format!("{release}: no version that is understood"),
        ),
    }
}

fn architecture() -> Finding {
    let machine = std::env::consts::ARCH;
    finding("architecture", Verdict::Ok, machine)
}

fn btf() -> Finding {
    const WHAT: &str = "type information";
    match fs::metadata(super::probe::BTF_PATH) {
        Ok(file) => finding(
            WHAT,
            Verdict::Ok,
            format!("{} ({} KiB)", super::probe::BTF_PATH, file.len() / 1024),
        ),
        Err(error) => finding(
            WHAT,
            Verdict::Problem,
            format!(
                "{}: {error}; the kernel must be built with CONFIG_DEBUG_INFO_BTF=y, and /sys mounted",
                super::probe::BTF_PATH
            ),
        ),
    }
}

fn lockdown() -> Finding {
    const WHAT: &str = "lockdown";
    let text = fs::read_to_string("/sys/kernel/security/lockdown");
    match text.as_deref().map(active_lockdown) {
        Ok(Some("confidentiality")) => finding(
            WHAT,
            Verdict::Problem,
            "confidentiality: this mode forbids BPF programs to read kernel memory; the probe works up to `integrity` (boot parameter lockdown=integrity)",
        ),
        Ok(Some(mode)) => finding(
            WHAT,
            Verdict::Ok,
            format!("{mode}: no obstacle, the probe uses neither kprobes nor fentry"),
        ),
        Ok(None) => finding(WHAT, Verdict::Ok, "not understood, taken as none"),
        Err(_) => finding(
            WHAT,
            Verdict::Ok,
            "not visible (securityfs is not mounted); no obstacle up to `integrity`",
        ),
    }
}

/// The mode in brackets of `none [integrity] confidentiality`.
fn active_lockdown(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode)
}

fn rights() -> Finding {
    const WHAT: &str = "rights";
    let held = match caps::read(None, CapSet::Effective) {
        Ok(held) => held,
        Err(error) => {
            return finding(WHAT, Verdict::Warning, format!("cannot be read: {error}"));
        }
    };
    let lacking: Vec<String> = CAPABILITIES
        .iter()
        .filter(|(capability, _)| !held.contains(capability))
        .map(|(capability, purpose)| format!("{capability} ({purpose})"))
        .collect();
    if lacking.is_empty() {
        return finding(WHAT, Verdict::Ok, "all that the probe uses");
    }
    finding(
        WHAT,
        Verdict::Problem,
        format!("missing {}; run it as root", lacking.join(", ")),
    )
}

fn process_table() -> Finding {
    const WHAT: &str = "/proc";
    // PID 1 belongs to root, so hidepid hides it from others.
    if Path::new("/proc/1/stat").exists() {
        return finding(WHAT, Verdict::Ok, "shows all processes");
    }
    finding(
        WHAT,
        Verdict::Warning,
        "hides other users' processes (hidepid); services of other users will not be found",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_understood() {
        assert_eq!(version("6.1.0-56-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("6.12.117+deb12-cloud-amd64"), Some((6, 12)));
        assert_eq!(version("5.14.0-503.el9.x86_64"), Some((5, 14)));
        assert_eq!(version("custom"), None);
    }

    #[test]
    fn the_active_lockdown_mode_is_the_one_in_brackets() {
        assert_eq!(
            active_lockdown("none [integrity] confidentiality\n"),
            Some("integrity")
        );
        assert_eq!(
            active_lockdown("[none] integrity confidentiality\n"),
            Some("none")
        );
        assert_eq!(active_lockdown(""), None);
    }
}
