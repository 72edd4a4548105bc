//! What must be true on every kernel: the probe's numbers equal what the workloads made.
//!
//! These need the probe, a workload and Linux; nothing else. So the same checks run on the host
//! (`tests/kernel.rs`) and inside a VM with nothing but busybox (`guest`).

mod host;
mod io_uring;
mod processes;
mod scheduler;
mod syscalls;
mod tcp;
mod traced;
mod unix;

use anyhow::Result;

pub(crate) use traced::same;

use crate::{
    probe::{Config, Probe},
    site::Site,
};

/// One thing that must be true.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// What a user can rely on.
    pub name: &'static str,
    /// Establishes it, or says what is wrong.
    pub run: fn(&Site) -> Result<()>,
}

macro_rules! checks {
    ($($module:ident :: $function:ident),* $(,)?) => {
        /// All checks.
        pub const CHECKS: &[Check] = &[
            $(Check { name: stringify!($function), run: $module::$function },)*
        ];

        /// Calls a macro once per check, with its name: for a `#[test]` each.
        #[macro_export]
        macro_rules! for_each_check {
            ($callback:ident) => { $($callback!($function);)* };
        }
    };
}

checks! {
    syscalls::every_call_is_counted,
    syscalls::errors_are_counted_by_errno,
    syscalls::a_slow_call_is_in_its_bucket,
    syscalls::threads_and_children_are_counted,
    syscalls::a_call_under_way_at_attach_is_not_counted,
    syscalls::an_untraced_twin_never_shows_up,
    processes::a_fresh_fork_is_traced_from_its_first_call,
    processes::a_fresh_program_is_traced,
    processes::exits_are_counted_by_code_and_signal,
    tcp::connects_equal_accepts_over_ipv4,
    tcp::connects_equal_accepts_over_ipv6,
    tcp::nonblocking_connects_equal_accepts,
    tcp::bytes_are_equal_for_every_way_of_sending,
    tcp::bytes_are_equal_for_every_way_of_receiving,
    tcp::peeked_bytes_are_not_counted,
    tcp::inherited_and_duplicated_descriptors_are_followed,
    tcp::connections_open_before_the_probe_are_adopted,
    tcp::half_closed_connections_are_whole,
    tcp::resets_are_counted_by_direction,
    tcp::refused_connects_are_counted,
    tcp::abandoned_connects_are_counted_and_so_are_retransmits,
    tcp::datagrams_are_neither_tcp_nor_unix,
    unix::connects_equal_accepts_over_unix,
    unix::bytes_over_unix_are_equal_in_every_way,
    unix::refused_unix_connects_are_counted,
    unix::bytes_through_a_socket_pair_are_counted,
    scheduler::time_is_what_the_kernel_itself_counts,
    scheduler::waits_are_counted_by_what_they_wait_for,
    scheduler::a_kill_for_lack_of_memory_is_counted,
    io_uring::requests_to_an_io_uring_are_counted,
    host::limits_of_a_control_group_are_the_ceiling,
}

/// Runs the checks whose name contains `filter` (all without one) and prints what they found,
/// then what the verifier looked at, then the sum.
///
/// Returns how many failed.
pub fn run_and_print(site: &Site, filter: Option<&str>) -> usize {
    let mut passed = 0;
    let mut failed = 0;
    for check in CHECKS {
        if filter.is_some_and(|filter| !check.name.contains(filter)) {
            continue;
        }
        match (check.run)(site) {
            Ok(()) => {
                passed += 1;
                println!("ok {}", check.name);
            }
            Err(error) => {
                failed += 1;
                println!("FAILED {}: {error:#}", check.name);
            }
        }
    }
    if let Err(error) = print_verifier_counts(site) {
        failed += 1;
        println!("FAILED verifier_counts: {error:#}");
    }
    println!("{passed} passed, {failed} failed");
    failed
}

fn print_verifier_counts(site: &Site) -> Result<()> {
    let idle = traced::Workload::start(site, &["idle"])?;
    // With everything switched on, which is also the proof that this kernel takes all of it.
    let config = Config::new().with_payload().service("app", &[idle.pid()]);
    let probe = Probe::start(site, &config)?;
    let metrics = probe.metrics()?;
    for name in [
        "process",
        "syscalls",
        "sockets",
        "payload",
        "tls",
        "scheduler",
        "block",
    ] {
        let up = metrics.count("hostprobe_probe_up", &[("probe", name)]);
        anyhow::ensure!(
            up == 1,
            "the probe {name} is not up; the log:\n{}",
            probe.log()
        );
    }
    let programs = metrics.counts_by(
        "program",
        "hostprobe_bpf_program_verified_instructions",
        &[],
    );
    anyhow::ensure!(!programs.is_empty(), "there are no verifier counts");
    for (program, instructions) in programs {
        println!("verifier {program} {instructions}");
    }
    probe.stop()
}
