//! Loads the kernel object and attaches its probes, each for itself: what a kernel can't do is
//! switched off with its reason, and the rest works.

use std::collections::BTreeMap;

use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{BtfTracePoint, Iter, ProgramError, ProgramFd, UProbe},
};
use aya_log::LEVEL;
use probe_common::{offsets::Offsets, payload::PayloadLimits};
use tracing::{debug, warn};

use super::{
    arch, object,
    offsets::MissingField,
    probes::{self, Hook, Probe, Program},
    program_info::{MeasuredProgram, ProgramInfoError},
    snapshot::{ProbeState, ProbeStatus},
};

/// What the caller wants of the kernel side.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Names of probes that were switched off, with the reason to show.
    pub disabled: BTreeMap<&'static str, String>,
    /// Connections that can be followed at once.
    pub max_sockets: u32,
    /// Distinct (service, syscall) pairs.
    pub max_syscall_series: u32,
    /// Size of the ring of process events in bytes, a power of two and multiple of the page size.
    pub event_ring_bytes: u32,
    /// Connections whose bytes are looked at, at once.
    pub max_streams: u32,
    /// Size of the ring of socket payload in bytes, a power of two and multiple of the page size.
    pub payload_ring_bytes: u32,
    /// How much of each call is copied.
    pub payload: PayloadLimits,
    /// Whether execs of untraced processes are reported, as discovery needs.
    pub all_execs: bool,
    /// Most verbose `aya-log` level that the programs emit: 0 off, 1 error … 5 trace.
    pub log_level: u8,
}

/// Why nothing at all could be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Built by plain `cargo build`.
    #[error("this binary was built without its kernel object; build it with `cargo xtask build`")]
    NoObject,
    /// No type information.
    #[error(
        "cannot read the kernel's type information at /sys/kernel/btf/vmlinux: {0}; the kernel must be built with CONFIG_DEBUG_INFO_BTF=y (Debian, Ubuntu, Fedora, RHEL and their cloud images are), and /sys must be mounted"
    )]
    NoBtf(String),
    /// The kernel refused the maps or the object is broken.
    #[error("cannot create the kernel tables: {0}{hint}", hint = rights_hint(.0))]
    Object(String),
    /// Loaded, but nothing works.
    #[error("no probe works on this kernel: {0}")]
    Nothing(String),
    /// `/proc/sys/kernel/pid_max` is unreadable.
    #[error("cannot read /proc/sys/kernel/pid_max: {0}")]
    PidMax(String),
}

fn rights_hint(error: &str) -> &'static str {
    if error.contains("Operation not permitted") || error.contains("os error 1)") {
        "; the probe needs root, or CAP_BPF and CAP_PERFMON (see `hostprobe check`)"
    } else {
        ""
    }
}

/// The loaded object with its probes attached. Dropping it detaches everything.
pub struct Loaded {
    /// The object; owns programs, links and maps.
    pub ebpf: Ebpf,
    /// State of each probe, in the order of [`probes::ALL`].
    pub probes: Vec<ProbeStatus>,
    /// The programs that are attached.
    pub programs: Vec<MeasuredProgram>,
    /// Process ids of this kernel are below this.
    pub pid_max: u32,
}

/// Threads that can be told apart without falling back to a hash table. 2 MiB.
const MAX_THREAD_SLOTS: u32 = 131_072;

/// Loads and attaches everything that this kernel allows.
///
/// # Errors
/// When not even one probe can work; the message says what to do.
pub fn load(
    wanted: &Wanted,
    offsets: &Offsets,
    missing: &[MissingField],
) -> Result<Loaded, LoadError> {
    let mut wanted = wanted.clone();
    let mut given_up = Vec::new();
    loop {
        let mut loaded = attempt(&wanted, offsets, missing)?;
        let refused = loaded.probes.iter().find_map(|status| match &status.state {
            ProbeState::Failed(why) if status.name == probes::SYSCALLS.name => Some(why.clone()),
            _ => None,
        });
        // `sys_exit` carries other probes. When it is refused with one, it may work without it.
        let passenger = [probes::PAYLOAD.name, probes::SOCKETS.name]
            .into_iter()
            .find(|name| !wanted.disabled.contains_key(name));
        if let (Some(why), Some(passenger)) = (refused, passenger) {
            warn!("loading again without the {passenger} probe: {why}");
            wanted.disabled.insert(passenger, why.clone());
            given_up.push((passenger, why));
            continue;
        }
        for (name, why) in given_up {
            for status in loaded
                .probes
                .iter_mut()
                .filter(|status| status.name == name)
            {
                status.state = ProbeState::Failed(why.clone());
            }
        }
        return some_active(loaded);
    }
}

fn some_active(loaded: Loaded) -> Result<Loaded, LoadError> {
    if loaded
        .probes
        .iter()
        .any(|status| status.state == ProbeState::Active)
    {
        return Ok(loaded);
    }
    let reasons = loaded.probes.iter().map(|status| match &status.state {
        ProbeState::Active => String::new(),
        ProbeState::Disabled(why) | ProbeState::Failed(why) => format!("{}: {why}", status.name),
    });
    Err(LoadError::Nothing(reasons.collect::<Vec<_>>().join("; ")))
}

fn attempt(
    wanted: &Wanted,
    offsets: &Offsets,
    missing: &[MissingField],
) -> Result<Loaded, LoadError> {
    let bytes = object::bytes().ok_or(LoadError::NoObject)?;
    let btf = Btf::from_sys_fs().map_err(|error| LoadError::NoBtf(chain(&error)))?;
    let pid_max = pid_max()?;
    let thread_slots = pid_max.next_power_of_two().min(MAX_THREAD_SLOTS);
    let tgid_pages = pid_max.div_ceil(page_tgids()) + 1;

    let tls_off = off_reason(&probes::TLS, wanted, missing);
    let sockets_off = off_reason(&probes::SOCKETS, wanted, missing);
    let syscalls_off = off_reason(&probes::SYSCALLS, wanted, missing);
    let payload_off = off_reason(&probes::PAYLOAD, wanted, missing).is_some();
    let payload = if payload_off || sockets_off.is_some() {
        PayloadLimits::OFF
    } else {
        wanted.payload
    };
    // Whether there is somebody to hand clear text to.
    let tls_off = tls_off
        .or_else(|| (payload.head_bytes == 0).then(|| "needs the probe `payload`".to_owned()));
    let kinds = arch::syscall_kinds();
    let scheduler_off = off_reason(&probes::SCHEDULER, wanted, missing).is_some();
    let mut ebpf = EbpfLoader::new()
        .btf(Some(&btf))
        .override_global("OFFSETS", offsets, true)
        .override_global("REGISTERS", &arch::REGISTERS, true)
        .override_global("FUNCTION_REGISTERS", &arch::FUNCTION_REGISTERS, true)
        .override_global("FOLLOW_TLS", &u8::from(tls_off.is_none()), true)
        .override_global("SYSCALL_KINDS", &kinds, true)
        .override_global("WAIT_KINDS", &arch::wait_kinds(), true)
        .override_global("THREAD_MASK", &(thread_slots - 1), true)
        .override_global("COUNT_SYSCALLS", &u8::from(syscalls_off.is_none()), true)
        .override_global("FOLLOW_SOCKETS", &u8::from(sockets_off.is_none()), true)
        .override_global("ALL_EXECS", &u8::from(wanted.all_execs), true)
        .override_global(LEVEL, &wanted.log_level, true)
        .map_max_entries("THREADS", thread_slots)
        .map_max_entries("SCHEDULE", if scheduler_off { 1 } else { thread_slots })
        .map_max_entries("TGID_SERVICE", tgid_pages)
        .map_max_entries("SOCKETS", wanted.max_sockets)
        .map_max_entries("SYSCALLS", wanted.max_syscall_series)
        .map_max_entries("SYSCALL_ERRORS", wanted.max_syscall_series)
        .map_max_entries("PROCESS_EVENTS", wanted.event_ring_bytes)
        .map_max_entries("STREAMS", wanted.max_streams)
        .map_max_entries("TLS_SESSIONS", wanted.max_streams)
        .map_max_entries("PAYLOAD", wanted.payload_ring_bytes)
        .override_global("PAYLOAD_LIMITS", &payload, true)
        .load(bytes)
        .map_err(|error| LoadError::Object(chain(&error)))?;

    let mut statuses = Vec::new();
    let mut programs = Vec::new();
    for probe in &probes::ALL {
        let off = if probe.name == probes::TLS.name {
            tls_off.clone()
        } else {
            off_reason(probe, wanted, missing)
        };
        // The syscall hooks stay when only their counting is off, because sockets need them.
        let carries_sockets = probe.name == probes::SYSCALLS.name && sockets_off.is_none();
        let state = match off {
            Some(why) if !carries_sockets => ProbeState::Disabled(why),
            off => match attach_probe(&mut ebpf, probe, &btf, &mut programs) {
                Ok(()) => off.map_or(ProbeState::Active, ProbeState::Disabled),
                Err(why) => ProbeState::Failed(why),
            },
        };
        debug!(probe = probe.name, ?state, "probe");
        statuses.push(ProbeStatus {
            name: probe.name,
            what: probe.what,
            state,
        });
    }
    // Without their carrier these probes see no call.
    let carrier_failed = matches!(
        statuses.get(1).map(|status| &status.state),
        Some(ProbeState::Failed(_))
    );
    if carrier_failed {
        for status in &mut statuses {
            let carried = [probes::SOCKETS.name, probes::PAYLOAD.name, probes::TLS.name]
                .contains(&status.name);
            if carried && status.state == ProbeState::Active {
                status.state = ProbeState::Failed("the syscall hooks are not attached".into());
            }
        }
    }
    Ok(Loaded {
        ebpf,
        probes: statuses,
        programs,
        pid_max,
    })
}

/// Why a probe is not tried at all.
fn off_reason(probe: &Probe, wanted: &Wanted, missing: &[MissingField]) -> Option<String> {
    if let Some(why) = wanted.disabled.get(probe.name) {
        return Some(why.clone());
    }
    let lacking: Vec<String> = missing
        .iter()
        .filter(|field| probe.fields.contains(&field.field))
        .map(ToString::to_string)
        .collect();
    (!lacking.is_empty()).then(|| format!("this kernel lacks {}", lacking.join(", ")))
}

fn attach_probe(
    ebpf: &mut Ebpf,
    probe: &Probe,
    btf: &Btf,
    programs: &mut Vec<MeasuredProgram>,
) -> Result<(), String> {
    for program in probe.programs {
        match attach_program(ebpf, program, btf) {
            Ok(measured) => programs.push(measured),
            Err(error) if program.optional => {
                warn!(
                    probe = probe.name,
                    program = program.name,
                    "works without it: {error}"
                );
            }
            Err(error) => return Err(format!("{}: {error}", program.name)),
        }
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error("the kernel object has no such program")]
    Absent,
    #[error("{}", explain(.0))]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Info(#[from] ProgramInfoError),
    #[error("cannot keep a descriptor of it: {0}")]
    Descriptor(#[from] std::io::Error),
}

fn attach_program(
    ebpf: &mut Ebpf,
    program: &Program,
    btf: &Btf,
) -> Result<MeasuredProgram, AttachError> {
    let loaded = ebpf.program_mut(program.name).ok_or(AttachError::Absent)?;
    let fd = match program.hook {
        Hook::Tracepoint(name) => attach_tracepoint(loaded.try_into()?, &[name], btf)?,
        Hook::Renamed(names) => attach_tracepoint(loaded.try_into()?, names, btf)?,
        // Run on demand, see `seed`.
        Hook::Iterator(name) => {
            let iterator: &mut Iter = loaded.try_into()?;
            iterator.load(name, btf)?;
            iterator.fd()?.try_clone()?
        }
        // Attached file by file, see `tls`.
        Hook::Function(_) => {
            let uprobe: &mut UProbe = loaded.try_into()?;
            uprobe.load()?;
            uprobe.fd()?.try_clone()?
        }
    };
    Ok(MeasuredProgram::new(program.name, fd)?)
}

/// Attaches to the first of these tracepoints that the kernel has.
fn attach_tracepoint(
    tracepoint: &mut BtfTracePoint,
    names: &[&str],
    btf: &Btf,
) -> Result<ProgramFd, AttachError> {
    let mut loaded = Err(AttachError::Absent);
    for name in names {
        loaded = tracepoint.load(name, btf).map_err(AttachError::from);
        if loaded.is_ok() {
            break;
        }
    }
    loaded?;
    tracepoint.attach()?;
    Ok(tracepoint.fd()?.try_clone()?)
}

/// Says what the kernel said, with the verifier's last words rather than its whole log.
fn explain(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            let last: Vec<&str> = log
                .lines()
                .rev()
                .filter(|line| !line.is_empty())
                .take(3)
                .collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            debug!("{log}");
            if last.is_empty() {
                format!("the kernel refused the program: {io_error}")
            } else {
                format!(
                    "the kernel refused the program: {io_error}; its verifier says: {}",
                    last.join(" / ")
                )
            }
        }
        other => chain(other),
    }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn page_tgids() -> u32 {
    u32::try_from(probe_common::target::TGIDS_PER_PAGE).unwrap_or(u32::MAX)
}

fn pid_max() -> Result<u32, LoadError> {
    let path = "/proc/sys/kernel/pid_max";
    let text = std::fs::read_to_string(path).map_err(|e| LoadError::PidMax(e.to_string()))?;
    text.trim()
        .parse()
        .map_err(|_| LoadError::PidMax(format!("{text:?} is no number")))
}
