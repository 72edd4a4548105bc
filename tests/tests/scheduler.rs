//! Block devices, which the machines of the kernel matrix do not have. What threads do is compared on all
//! kernels, see `checks::scheduler`.

use anyhow::{Context, Result, ensure};
use end_to_end::{
    probe::{Config, Probe, nothing_lost},
    process::Process,
    site::Site,
};

/// Without this nobody could tell which service keeps a disk busy.
#[test]
fn bytes_past_the_page_cache_are_those_that_the_program_moved() -> Result<()> {
    let site = Site::new(&[env!("CARGO_BIN_EXE_workload")])?;
    // On a disk: /tmp may be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let file = folder.path().join("file");
    let path = format!("path={}", file.to_str().context("a path of UTF-8")?);
    let mut process = Process::spawn("workload disk", site.workload(&["disk", &path]))?;
    process.wait_stopped()?;
    let probe = Probe::start(&site, &Config::new().service("app", &[process.pid()]))?;
    process.resume()?;
    process.wait_stopped()?;
    let metrics = probe.metrics()?;
    nothing_lost(&metrics)?;
    let bytes = |operation| {
        let labels = [("service", "app"), ("operation", operation)];
        metrics.count("hostprobe_block_io_bytes_total", &labels)
    };
    // The file system may read and write blocks of its own in the program's name.
    for (operation, least) in [("read", 8 << 20), ("write", 16 << 20)] {
        let moved = bytes(operation);
        ensure!(
            (least..least + (1 << 20)).contains(&moved),
            "{operation}: {moved} bytes, not {least}"
        );
    }
    let requests = metrics.count(
        "hostprobe_block_io_duration_seconds_count",
        &[("service", "app"), ("operation", "read")],
    );
    ensure!(requests >= 8, "{requests} requests");
    let waited = [("service", "app"), ("reason", "disk")];
    ensure!(
        metrics.count("hostprobe_off_cpu_switches_total", &waited) > 0,
        "the program waited for no disk"
    );
    process.resume()?;
    process.wait_success()?;
    probe.stop()
}
