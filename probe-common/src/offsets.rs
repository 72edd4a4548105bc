//! Where the running kernel keeps the fields that the programs read.
//!
//! rustc emits no CO-RE relocations. The daemon reads the kernel's own type information (BTF),
//! fills this table and hands it to the programs as read-only data before they are loaded, so the
//! verifier sees constants. A field that the kernel does not have is [`MISSING`]; programs that
//! need it are not loaded.

use crate::kernel_abi;

/// The offset of a field that this kernel does not have.
pub const MISSING: u32 = u32::MAX;

macro_rules! offsets {
    ($( $(#[$doc:meta])* $field:ident = $type:literal . $member:literal ),* $(,)?) => {
        /// Byte offsets of kernel structure members.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(C)]
        pub struct Offsets {
            $( $(#[$doc])* #[doc = concat!("\n\n`", $type, ".", $member, "`, in bytes unless said otherwise.")] pub $field: u32, )*
        }

        impl Offsets {
            /// Nothing is known.
            pub const UNKNOWN: Self = Self { $( $field: MISSING, )* };

            /// Field name, structure and member path of each entry, in order.
            pub const FIELDS: &'static [(&'static str, &'static str, &'static str)] =
                &[ $( (stringify!($field), $type, $member), )* ];

            /// Sets a field by its name; `false` when there is no such field.
            pub fn set(&mut self, field: &str, offset: u32) -> bool {
                match field {
                    $( stringify!($field) => self.$field = offset, )*
                    _ => return false,
                }
                true
            }

            /// Reads a field by its name.
            pub fn get(&self, field: &str) -> Option<u32> {
                match field {
                    $( stringify!($field) => Some(self.$field), )*
                    _ => None,
                }
            }
        }
        kernel_abi!(Offsets, 4 * Offsets::FIELDS.len());
    };
}

offsets! {
    /// Thread group id.
    task_tgid = "task_struct"."tgid",
    /// Thread id.
    task_pid = "task_struct"."pid",
    /// `PF_` flags.
    task_flags = "task_struct"."flags",
    /// Whether it waits for I/O: the number of the *bit*, not of a byte.
    task_in_iowait = "task_struct"."in_iowait",
    /// Page faults that found the page in memory.
    task_min_flt = "task_struct"."min_flt",
    /// Page faults that waited for the disk.
    task_maj_flt = "task_struct"."maj_flt",
    /// How long it has run; nanoseconds.
    task_sum_exec_runtime = "task_struct"."se.sum_exec_runtime",
    /// How long it has waited for a processor; nanoseconds.
    task_run_delay = "task_struct"."sched_info.run_delay",
    /// Open files.
    task_files = "task_struct"."files",
    /// State shared by the thread group.
    task_signal = "task_struct"."signal",
    /// Wait status.
    task_exit_code = "task_struct"."exit_code",
    /// Threads alive.
    signal_live = "signal_struct"."live",
    /// The descriptor table.
    files_fdt = "files_struct"."fdt",
    /// Size of the descriptor table.
    fdtable_max_fds = "fdtable"."max_fds",
    /// The descriptor array.
    fdtable_fd = "fdtable"."fd",
    /// For a socket: its `struct socket`.
    file_private_data = "file"."private_data",
    /// The file that the socket belongs to.
    socket_file = "socket"."file",
    /// The protocol's part of the socket.
    socket_sk = "socket"."sk",
    /// Address family.
    sock_family = "sock"."__sk_common.skc_family",
    /// Protocol state.
    sock_state = "sock"."__sk_common.skc_state",
    /// Protocol number.
    sock_protocol = "sock"."sk_protocol",
    /// The other end's IPv4 address.
    sock_daddr = "sock"."__sk_common.skc_daddr",
    /// The other end's IPv6 address.
    sock_v6_daddr = "sock"."__sk_common.skc_v6_daddr",
    /// Pending error.
    sock_err = "sock"."sk_err",
    /// The `struct socket` that it belongs to.
    sock_socket = "sock"."sk_socket",
    /// Smoothed round-trip time, in eighths of a microsecond.
    tcp_srtt_us = "tcp_sock"."srtt_us",
    /// The queue that it goes through.
    request_q = "request"."q",
    /// Operation and flags.
    request_cmd_flags = "request"."cmd_flags",
    /// Bytes that are not done yet.
    request_data_len = "request"."__data_len",
    /// The disk behind the queue.
    request_queue_disk = "request_queue"."disk",
    /// Major device number.
    gendisk_major = "gendisk"."major",
    /// Minor device number of the whole disk.
    gendisk_first_minor = "gendisk"."first_minor",
}
