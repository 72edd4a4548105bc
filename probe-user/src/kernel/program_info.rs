//! What the kernel knows about our programs: run time, runs, skipped runs, verified instructions.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use aya::programs::ProgramFd;
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_info};
use nix::libc;

/// A program whose cost can be asked for.
#[derive(Debug)]
pub struct MeasuredProgram {
    /// Its name in the object.
    pub name: &'static str,
    /// Instructions that the verifier looked at, 0 before Linux 5.16.
    pub verified_instructions: u64,
    fd: ProgramFd,
}

/// Run statistics since the program was loaded. Runs are only counted while measuring is on.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunStats {
    /// Measured runs.
    pub runs: u64,
    /// Time spent in them, in nanoseconds.
    pub run_ns: u64,
    /// Runs skipped because the program was running on that CPU already.
    pub recursion_misses: u64,
}

/// `BPF_OBJ_GET_INFO_BY_FD` failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask the kernel about the program {program}: {source}")]
pub struct ProgramInfoError {
    program: &'static str,
    source: io::Error,
}

impl MeasuredProgram {
    /// Takes note of a loaded program.
    ///
    /// # Errors
    /// The kernel does not answer for this descriptor.
    pub fn new(name: &'static str, fd: ProgramFd) -> Result<Self, ProgramInfoError> {
        let info = info(name, &fd)?;
        Ok(Self {
            name,
            verified_instructions: info.verified_insns.into(),
            fd,
        })
    }

    /// Asks for the program's run statistics.
    ///
    /// # Errors
    /// The kernel does not answer for this descriptor.
    pub fn run_stats(&self) -> Result<RunStats, ProgramInfoError> {
        let info = info(self.name, &self.fd)?;
        Ok(RunStats {
            runs: info.run_cnt,
            run_ns: info.run_time_ns,
            recursion_misses: info.recursion_misses,
        })
    }
}

/// `bpf(BPF_OBJ_GET_INFO_BY_FD)`; aya's own accessor leaves the run statistics out.
fn info(program: &'static str, fd: &ProgramFd) -> Result<bpf_prog_info, ProgramInfoError> {
    // SAFETY: both are plain kernel structures for which all zeroes is valid.
    let (mut info, mut attr): (bpf_prog_info, bpf_attr) = unsafe { std::mem::zeroed() };
    let request = bpf_attr_info(&fd.as_fd(), &raw mut info);
    attr.info = request;
    // SAFETY: the attribute names a live descriptor and a buffer of the given length, and both
    // outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            bpf_cmd::BPF_OBJ_GET_INFO_BY_FD,
            &raw mut attr,
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(ProgramInfoError {
            program,
            source: io::Error::last_os_error(),
        });
    }
    Ok(info)
}

fn bpf_attr_info(
    fd: &impl AsRawFd,
    info: *mut bpf_prog_info,
) -> aya_obj::generated::bpf_attr__bindgen_ty_9 {
    aya_obj::generated::bpf_attr__bindgen_ty_9 {
        bpf_fd: fd.as_raw_fd().cast_unsigned(),
        info_len: u32::try_from(size_of::<bpf_prog_info>()).unwrap_or(u32::MAX),
        info: info as u64,
    }
}
