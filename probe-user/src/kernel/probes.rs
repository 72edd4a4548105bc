//! The probes: which programs belong together, what they hook and which kernel fields they read.

/// A group of programs that stands or falls together.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Name, as in the configuration and `hostprobe_probe_up{probe}`.
    pub name: &'static str,
    /// What it measures, for people.
    pub what: &'static str,
    /// Its programs.
    pub programs: &'static [Program],
    /// Fields of [`probe_common::offsets::Offsets`] without which it can't work.
    pub fields: &'static [&'static str],
}

/// One program of the kernel object.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Name in the object.
    pub name: &'static str,
    /// Where it is attached.
    pub hook: Hook,
    /// Whether the probe works without it.
    pub optional: bool,
}

/// A place in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// A BTF raw tracepoint, by the tracepoint's name.
    Tracepoint(&'static str),
    /// Likewise, by the names that it has had, the latest first.
    Renamed(&'static [&'static str]),
    /// A BPF iterator, by what it walks over.
    Iterator(&'static str),
    /// Functions of libraries that traced processes map (uprobes), by their names. Loaded once,
    /// attached to each file that is found.
    Function(&'static Function),
}

/// Functions of a library that one program is attached to.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Their symbols; those that a file lacks are passed over.
    pub symbols: &'static [&'static str],
}

const fn tracepoint(name: &'static str) -> Program {
    Program {
        name,
        hook: Hook::Tracepoint(name),
        optional: false,
    }
}

const fn function(name: &'static str, function: &'static Function) -> Program {
    Program {
        name,
        hook: Hook::Function(function),
        optional: false,
    }
}

macro_rules! symbols {
    ($($symbol:literal),*) => {{
        static FUNCTION: Function = Function { symbols: &[$($symbol),*] };
        &FUNCTION
    }};
}

const fn optional(program: Program) -> Program {
    Program {
        optional: true,
        ..program
    }
}

/// Follows forks, execs and exits of traced processes. Without it nothing else is of use.
pub const PROCESS: Probe = Probe {
    name: "process",
    what: "forks, execs and exits of traced processes",
    programs: &[
        tracepoint("sched_process_fork"),
        tracepoint("sched_process_exec"),
        tracepoint("sched_process_exit"),
        optional(tracepoint("mark_victim")),
    ],
    fields: &[
        "task_tgid",
        "task_pid",
        "task_exit_code",
        "task_signal",
        "signal_live",
    ],
};

/// Counts and times syscalls; its programs also carry `sockets`.
pub const SYSCALLS: Probe = Probe {
    name: "syscalls",
    what: "count, errors and latency of each syscall",
    programs: &[tracepoint("sys_enter"), tracepoint("sys_exit")],
    fields: &[],
};

/// Follows TCP and AF_UNIX sockets.
pub const SOCKETS: Probe = Probe {
    name: "sockets",
    what: "connects, accepts, bytes, round-trip time, retransmits and resets",
    programs: &[
        tracepoint("inet_sock_set_state"),
        tracepoint("tcp_destroy_sock"),
        optional(tracepoint("tcp_retransmit_skb")),
        optional(tracepoint("tcp_receive_reset")),
        optional(tracepoint("tcp_send_reset")),
        Program {
            name: "io_uring_submit_req",
            hook: Hook::Renamed(&["io_uring_submit_req", "io_uring_submit_sqe"]),
            optional: true,
        },
        optional(Program {
            name: "seed_sockets",
            hook: Hook::Iterator("task_file"),
            optional: true,
        }),
    ],
    fields: &[
        "task_tgid",
        "task_files",
        "files_fdt",
        "fdtable_max_fds",
        "fdtable_fd",
        "file_private_data",
        "socket_file",
        "socket_sk",
        "sock_family",
        "sock_state",
        "sock_protocol",
        "sock_err",
        "tcp_srtt_us",
    ],
};

/// Copies what is said on sockets that look like HTTP or Postgres. Its code is part of `sys_exit`,
/// so it has no program of its own.
pub const PAYLOAD: Probe = Probe {
    name: "payload",
    what: "requests and statements on sockets that speak HTTP/1 or Postgres",
    programs: &[],
    fields: SOCKETS.fields,
};

/// Follows what goes into and comes out of TLS libraries.
pub const TLS: Probe = Probe {
    name: "tls",
    what: "requests and statements in TLS, where a library like OpenSSL encrypts them",
    programs: &[
        // Before the entries: a call whose entry is seen must not return unseen.
        function(
            "tls_return",
            symbols![
                "SSL_read",
                "SSL_write",
                "SSL_read_ex",
                "SSL_write_ex",
                "SSL_do_handshake"
            ],
        ),
        function("tls_read", symbols!["SSL_read"]),
        function("tls_write", symbols!["SSL_write"]),
        function("tls_read_ex", symbols!["SSL_read_ex"]),
        function("tls_write_ex", symbols!["SSL_write_ex"]),
        function("tls_handshake", symbols!["SSL_do_handshake"]),
        function("tls_free", symbols!["SSL_free"]),
        function("tls_new", symbols!["SSL_new"]),
    ],
    fields: &[],
};

/// Follows threads through the scheduler. What they wait for it learns from `syscalls` and `sockets`;
/// without them it counts that they wait.
pub const SCHEDULER: Probe = Probe {
    name: "scheduler",
    what: "time on the processor, in the run queue and waiting, and for what; page faults",
    programs: &[
        tracepoint("sched_wakeup_new"),
        tracepoint("sched_wakeup"),
        tracepoint("sched_switch"),
    ],
    fields: &[
        "task_tgid",
        "task_pid",
        "task_flags",
        "task_in_iowait",
        "task_min_flt",
        "task_maj_flt",
        "task_sum_exec_runtime",
        "task_run_delay",
    ],
};

/// Follows requests to block devices.
pub const BLOCK: Probe = Probe {
    name: "block",
    what: "requests to block devices: latency, bytes, errors",
    programs: &[
        // Before the beginnings: a request whose beginning is seen must not end unseen.
        tracepoint("block_rq_complete"),
        tracepoint("block_rq_issue"),
        Program {
            name: "block_io_start",
            hook: Hook::Renamed(&["block_io_start", "block_rq_insert"]),
            optional: false,
        },
    ],
    fields: &[
        "task_tgid",
        "task_flags",
        "request_q",
        "request_cmd_flags",
        "request_data_len",
        "request_queue_disk",
        "gendisk_major",
        "gendisk_first_minor",
    ],
};

/// All probes, in the order in which they are attached.
pub const ALL: [Probe; 7] = [PROCESS, SYSCALLS, SOCKETS, PAYLOAD, TLS, SCHEDULER, BLOCK];

#[cfg(test)]
mod tests {
    use probe_common::offsets::Offsets;

    use super::*;

    #[test]
    fn every_field_that_a_probe_needs_is_one_that_is_looked_up() {
        for probe in ALL {
            for field in probe.fields {
                assert!(
                    Offsets::UNKNOWN.get(field).is_some(),
                    "{} needs {field}",
                    probe.name
                );
            }
        }
    }
}
