//! Calls, errors and durations.

use std::process::Stdio;

use anyhow::{Result, bail, ensure};

use super::traced::{Workload, is, run, same_calls, same_some_calls};
use crate::{
    exposition::Metrics,
    probe::{BEGAN_UNTRACED, Config, Probe, nothing_lost},
    process::Process,
    site::Site,
    waiting::{self, PATIENCE},
    workload::tally::{Fact, Tally},
};

/// Without this a rate of calls would be a guess.
pub(super) fn every_call_is_counted(site: &Site) -> Result<()> {
    let run = run(site, &["calls", "count=5000"])?;
    ensure!(run.tally.calls("getppid") == 5000, "{:?}", run.tally);
    same_calls(&run.metrics, "app", &run.tally)?;
    run.probe.stop()
}

/// Without this a user can't tell a refused file from a full disk.
pub(super) fn errors_are_counted_by_errno(site: &Site) -> Result<()> {
    let run = run(site, &["errors", "count=200"])?;
    ensure!(run.tally.errors.len() == 6, "{:?}", run.tally);
    same_calls(&run.metrics, "app", &run.tally)?;
    run.probe.stop()
}

/// Without this a percentile would point at the wrong call.
pub(super) fn a_slow_call_is_in_its_bucket(site: &Site) -> Result<()> {
    const CALLS: u64 = 5;
    const SECONDS: f64 = 0.030;
    let run = run(site, &["sleep", "count=5", "ms=30"])?;
    same_calls(&run.metrics, "app", &run.tally)?;
    let labels = [("service", "app"), ("syscall", "clock_nanosleep")];
    let name = "hostprobe_syscall_duration_seconds";
    is(&run.metrics, &format!("{name}_count"), &labels, CALLS)?;

    // The kernel sleeps no shorter than asked, and the workload's own clock saw a bit more.
    let sum = run.metrics.sum(&format!("{name}_sum"), &labels);
    #[allow(clippy::cast_precision_loss, reason = "a second has 2^30 nanoseconds")]
    let outside = run.tally.fact(Fact::SlowNanoseconds)? as f64 / 1e9;
    #[allow(clippy::cast_precision_loss, reason = "five")]
    let least = CALLS as f64 * SECONDS;
    ensure!(
        (least..=outside).contains(&sum),
        "the sum is {sum} s: it should be between {least} s and {outside} s"
    );

    // The buckets double in the kernel; the exposition may merge some of them, but 30 ms lie in
    // one that is no wider than this.
    let buckets = buckets(&run.metrics, &labels);
    let below = buckets.iter().rfind(|(bound, _)| *bound < SECONDS);
    let within = buckets.iter().find(|(bound, _)| *bound >= SECONDS);
    let (Some(below), Some(within)) = (below, within) else {
        bail!("30 ms lie outside of the buckets {buckets:?}");
    };
    ensure!(
        within.0 / below.0 <= 4.01,
        "the bucket of 30 ms is too wide: {below:?}, {within:?}"
    );
    ensure!(below.1 == 0, "{below:?}: sleeps of 30 ms took less");
    // The scheduler may have been late, but the workload saw that.
    let seen = run.tally.fact(Fact::SlowWithinBucket)?;
    ensure!(
        within.1 >= seen,
        "{within:?}, but from outside {seen} of the sleeps took at most 33.6 ms"
    );
    let all = run.metrics.count(
        &format!("{name}_bucket"),
        &[labels[0], labels[1], ("le", "+Inf")],
    );
    ensure!(all == CALLS, "the last bucket has {all} calls, not {CALLS}");
    run.probe.stop()
}

/// Upper bound in seconds and cumulative count of each bucket, the shortest first.
fn buckets(metrics: &Metrics, labels: &[(&str, &str)]) -> Vec<(f64, u64)> {
    let name = "hostprobe_syscall_duration_seconds_bucket";
    let mut buckets: Vec<(f64, u64)> = metrics
        .all_counts_by("le", name, labels)
        .into_iter()
        .filter_map(|(bound, count)| Some((bound.parse().ok()?, count)))
        .collect();
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    buckets
}

/// Without this a server with threads or workers would look idle.
pub(super) fn threads_and_children_are_counted(site: &Site) -> Result<()> {
    let run = run(site, &["threads", "threads=4", "count=2000"])?;
    ensure!(run.tally.calls("getppid") == 16_000, "{:?}", run.tally);
    // The C library makes calls of its own to start threads.
    let ours = |name: &str| matches!(name, "getppid" | "wait4" | "clone");
    same_some_calls(&run.metrics, "app", &run.tally, ours)?;
    run.probe.stop()
}

/// Without this a call would be counted with a duration that nobody measured.
pub(super) fn a_call_under_way_at_attach_is_not_counted(site: &Site) -> Result<()> {
    let command = site.workload(&["blocked", "count=500"]);
    let mut process = Process::spawn_with_input("workload blocked", command, Stdio::piped())?;
    let pid = process.pid();
    waiting::until("the workload blocks in read", PATIENCE, || {
        if !process.output()?.contains("blocking\n") {
            return Ok(None);
        }
        let call = std::fs::read_to_string(format!("/proc/{pid}/syscall"))?;
        let blocked = call.starts_with(&format!("{} ", nix::libc::SYS_read));
        Ok(blocked.then_some(()))
    })?;
    let probe = Probe::start(site, &Config::new().service("app", &[pid]))?;
    process.feed(b"x")?;
    process.wait_stopped()?;
    let metrics = probe.metrics()?;
    nothing_lost(&metrics)?;
    is(
        &metrics,
        "hostprobe_events_lost_total",
        &[("cause", BEGAN_UNTRACED)],
        1,
    )?;
    process.resume()?;
    let tally = Tally::parse(&process.wait_success()?)?;
    same_some_calls(&metrics, "app", &tally, |name| name != "getpid")?;
    probe.stop()
}

/// Without this a service's numbers would hold other people's calls.
pub(super) fn an_untraced_twin_never_shows_up(site: &Site) -> Result<()> {
    let mut traced = Workload::start(site, &["calls", "count=1000"])?;
    let mut twin = Workload::start(site, &["calls", "count=1000"])?;
    let probe = Probe::start(site, &Config::new().service("app", &[traced.pid()]))?;
    twin.resume()?;
    traced.resume()?;
    twin.wait_gate()?;
    traced.wait_gate()?;
    twin.finish()?;
    let metrics = probe.metrics()?;
    nothing_lost(&metrics)?;
    same_calls(&metrics, "app", &traced.finish()?)?;
    let services = metrics.services();
    ensure!(services == ["app"], "there are services {services:?}");
    is(
        &metrics,
        "hostprobe_service_processes",
        &[("service", "app")],
        1,
    )?;
    probe.stop()
}
