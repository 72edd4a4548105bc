//! Processes that come and go.

use anyhow::{Result, ensure};

use super::traced::{is, run, same_calls, same_some_calls};
use crate::{site::Site, workload::tally::Fact};

const APP: [(&str, &str); 1] = [("service", "app")];

/// Without this every new backend or worker would be missing at its beginning.
pub(super) fn a_fresh_fork_is_traced_from_its_first_call(site: &Site) -> Result<()> {
    let run = run(site, &["forks", "children=100", "count=20"])?;
    ensure!(run.tally.fact(Fact::Children)? == 200, "{:?}", run.tally);
    ensure!(run.tally.calls("getppid") == 4000, "{:?}", run.tally);
    same_calls(&run.metrics, "app", &run.tally)?;
    run.probe.eventually(|metrics| {
        is(metrics, "hostprobe_process_starts_total", &APP, 200)?;
        is(
            metrics,
            "hostprobe_process_exits_total",
            &[("service", "app"), ("code", "0")],
            200 + 1,
        )?;
        is(metrics, "hostprobe_service_processes", &APP, 0)
    })?;
    run.probe.stop()
}

/// Without this what a service starts, such as a script's commands, would be missing.
pub(super) fn a_fresh_program_is_traced(site: &Site) -> Result<()> {
    let run = run(site, &["programs", "children=20", "count=30"])?;
    same_some_calls(&run.metrics, "app", &run.tally, |name| name == "getppid")?;
    run.probe
        .eventually(|metrics| is(metrics, "hostprobe_process_starts_total", &APP, 20))?;
    is(
        &run.metrics,
        "hostprobe_syscalls_total",
        &[("service", "app"), ("syscall", "execve")],
        20,
    )?;
    run.probe.stop()
}

/// Without this a crash would look like an end.
pub(super) fn exits_are_counted_by_code_and_signal(site: &Site) -> Result<()> {
    let run = run(site, &["exits", "codes=0,1,3,3,255", "signals=9,9,15,11,6"])?;
    same_calls(&run.metrics, "app", &run.tally)?;
    let expected = [
        // The workload itself ends well, too.
        ("code", "0", 1 + 1),
        ("code", "1", 1),
        ("code", "3", 2),
        ("code", "255", 1),
        ("signal", "SIGKILL", 2),
        ("signal", "SIGTERM", 1),
        ("signal", "SIGSEGV", 1),
        ("signal", "SIGABRT", 1),
    ];
    run.probe.eventually(|metrics| {
        for (label, value, count) in expected {
            let labels = [APP[0], (label, value)];
            is(metrics, "hostprobe_process_exits_total", &labels, count)?;
        }
        is(metrics, "hostprobe_process_exits_total", &APP, 11)
    })?;
    run.probe.stop()
}
