//! The offsets of real kernels. If these failed, the probe would read the wrong bytes on a kernel
//! that somebody runs.
//!
//! The offsets were cross-checked with two independent readers, which agreed on every one:
//! `bpftool btf dump` (7.1.0, its JSON walked by a script) on the full type information, and
//! `pahole -F btf -C` (1.24) on the full and the reduced one. The tracepoints' arguments were
//! compared with `bpftool` alone.

use probe_common::offsets::Offsets;

use super::resolve;
use crate::kernel::btf::Btf;

macro_rules! fixture {
    ($release:literal) => {
        (
            $release,
            include_bytes!(concat!("../../../fixtures/btf/", $release, ".btf")).as_slice(),
        )
    };
}

/// Kernel releases and their reduced type information, in the order of the columns below.
const FIXTURES: [(&str, &[u8]); 3] = [
    fixture!("6.1.0-56-cloud-amd64"),
    fixture!("6.12.117+deb12-cloud-amd64"),
    fixture!("6.18.44-fc-v669"),
];

#[rustfmt::skip]
const EXPECTED: &[(&str, [u32; 3])] = &[
    ("task_tgid",         [2420, 2436, 1268]),
    ("task_pid",          [2416, 2432, 1264]),
    ("task_flags",        [  44,   44,   44]),
    // A bit's number.
    ("task_in_iowait",    [18755, 18884, 9544]),
    ("task_min_flt",      [2792, 2792, 1568]),
    ("task_maj_flt",      [2800, 2800, 1576]),
    ("task_sum_exec_runtime", [ 200,  224,  232]),
    ("task_run_delay",    [2168, 2200, 1016]),
    ("task_files",        [3048, 3048, 1824]),
    ("task_signal",       [3072, 3072, 1848]),
    ("task_exit_code",    [2312, 2332, 1164]),
    ("signal_live",       [   4,    4,    4]),
    ("files_fdt",         [  32,   32,   32]),
    ("fdtable_max_fds",   [   0,    0,    0]),
    ("fdtable_fd",        [   8,    8,    8]),
    ("file_private_data", [ 200,   32,   24]),
    ("socket_file",       [  16,   16,   16]),
    ("socket_sk",         [  24,   24,   24]),
    ("sock_family",       [  16,   16,   16]),
    ("sock_state",        [  18,   18,   18]),
    ("sock_protocol",     [ 516,  574,  532]),
    ("sock_daddr",        [   0,    0,    0]),
    ("sock_v6_daddr",     [  56,   56,   56]),
    ("sock_err",          [ 544,  284,  284]),
    ("sock_socket",       [ 624,  288,  288]),
    ("tcp_srtt_us",       [1672, 1728, 1680]),
    ("request_q",           [   0,    0,    0]),
    ("request_cmd_flags",   [  24,   24,   24]),
    ("request_data_len",    [  44,   44,   44]),
    ("request_queue_disk",  [ 160,  104,  104]),
    ("gendisk_major",       [   0,    0,    0]),
    ("gendisk_first_minor", [   4,    4,    4]),
];

/// Arguments that programs see; `None` where the kernel lacks the tracepoint. They differ between
/// kernels at the end of the list only, so programs may rely on the common beginning.
#[rustfmt::skip]
const TRACEPOINTS: &[(&str, [Option<usize>; 3])] = &[
    ("sched_process_fork",    [Some(2), Some(2), Some(2)]),
    ("sched_process_exec",    [Some(3), Some(3), Some(3)]),
    ("sched_process_exit",    [Some(1), Some(1), Some(2)]),
    ("sys_enter",             [Some(2), Some(2), Some(2)]),
    ("sys_exit",              [Some(2), Some(2), Some(2)]),
    ("inet_sock_set_state",   [Some(3), Some(3), Some(3)]),
    ("tcp_retransmit_skb",    [Some(2), Some(2), Some(3)]),
    ("tcp_receive_reset",     [Some(1), Some(1), Some(1)]),
    ("tcp_send_reset",        [Some(2), Some(3), Some(3)]),
    ("tcp_destroy_sock",      [Some(1), Some(1), Some(1)]),
    ("sched_switch",          [Some(4), Some(4), Some(4)]),
    ("sched_wakeup",          [Some(1), Some(1), Some(1)]),
    ("sched_wakeup_new",      [Some(1), Some(1), Some(1)]),
    ("block_io_start",        [None, Some(1), Some(1)]),
    ("block_rq_insert",       [Some(1), Some(1), Some(1)]),
    ("block_rq_issue",        [Some(1), Some(1), Some(1)]),
    ("block_rq_complete",     [Some(3), Some(3), Some(3)]),
    ("mark_victim",           [Some(2), Some(2), Some(2)]),
    ("sock_send_length",      [None, Some(3), Some(3)]),
    ("sock_recv_length",      [None, Some(3), Some(3)]),
];

#[test]
fn every_fixture_resolves_every_field() {
    for (release, data) in FIXTURES {
        let resolution = resolve(&Btf::parse(data).unwrap());
        assert_eq!(resolution.missing, [], "{release}");
    }
}

#[test]
fn offsets_are_those_that_other_readers_find() {
    let fields: Vec<_> = Offsets::FIELDS.iter().map(|(field, _, _)| *field).collect();
    assert_eq!(
        EXPECTED.iter().map(|(field, _)| *field).collect::<Vec<_>>(),
        fields
    );
    for (column, (release, data)) in FIXTURES.into_iter().enumerate() {
        let offsets = resolve(&Btf::parse(data).unwrap()).offsets;
        for (field, expected) in EXPECTED {
            assert_eq!(
                offsets.get(field),
                Some(expected[column]),
                "{release}: {field}"
            );
        }
    }
}

#[test]
fn tracepoints_are_those_that_other_readers_find() {
    for (column, (release, data)) in FIXTURES.into_iter().enumerate() {
        let btf = Btf::parse(data).unwrap();
        for (name, expected) in TRACEPOINTS {
            assert_eq!(
                btf.tracepoint_exists(name),
                expected[column].is_some(),
                "{release}: {name}"
            );
            assert_eq!(
                btf.tracepoint_arguments(name),
                expected[column],
                "{release}: {name}"
            );
        }
    }
}

/// Run by hand on a new kernel: `cargo test -p probe-user --lib running_kernel -- --ignored`.
#[test]
#[ignore = "reads /sys/kernel/btf/vmlinux of the kernel that runs the test"]
fn the_running_kernel_resolves_every_field() {
    let data = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
    assert_eq!(resolve(&Btf::parse(&data).unwrap()).missing, []);
}
