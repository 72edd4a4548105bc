//! The checks as one program, for a VM with nothing but busybox: `guest [FILTER]`.
//!
//! `guest workload MODE ...` is the workload, so one static binary is enough. The probe is taken
//! from `HOSTPROBE_BIN`. Ends with 0 when every check passed.
#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Context, Result};
use end_to_end::{checks, site::Site, workload};

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("guest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<usize> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let myself = std::env::current_exe()?;
    if let Some(("workload", rest)) = arguments
        .split_first()
        .map(|(first, r)| (first.as_str(), r))
    {
        workload::main(&[OsString::from(myself), "workload".into()], rest)?;
        return Ok(0);
    }
    let path = myself
        .to_str()
        .context("the path of this program is not UTF-8")?;
    let mut site = Site::new(&[path, "workload"])?;
    // A small VM may be without; the host's tests are not.
    site.requires_ipv6 = false;
    Ok(checks::run_and_print(
        &site,
        arguments.first().map(String::as_str),
    ))
}
