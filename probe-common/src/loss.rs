//! Why something that happened is not in the numbers.

/// One cause of loss; the index into the kernel side's per-CPU counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Loss {
    /// A thread's slot was taken and the overflow table full: a syscall was not timed or counted.
    ThreadTableFull = 0,
    /// The table of (service, syscall) was full: a call was not counted.
    SyscallTableFull = 1,
    /// The table of (service, syscall, errno) was full: an error was not counted.
    ErrorTableFull = 2,
    /// The socket table was full: a connection is not followed.
    SocketTableFull = 3,
    /// The ring of process events was full: userspace learns of the process at its next scan.
    EventRingFull = 4,
    /// A call had begun before its process was traced; its duration is unknown, so it is left out.
    CallBeganUntraced = 5,
    /// The descriptor was closed or replaced during the call: its bytes have no socket.
    SocketGone = 6,
    /// A kernel or user address could not be read.
    ReadFailed = 7,
    /// A `sendmmsg`/`recvmmsg` had more messages than are added up.
    MessagesBeyondLimit = 8,
    /// A syscall number outside the table, such as a 32-bit program's.
    UnknownSyscall = 9,
    /// The ring of socket payload was full: what the call said is not decoded.
    PayloadRingFull = 10,
    /// The bytes of a call could not be read back: paged out, or unmapped by another thread.
    PayloadUnreadable = 11,
    /// More threads than can be told apart were inside of a TLS library: a call is not decoded.
    TlsTableFull = 12,
    /// A call into a TLS library was made within another one, whose bytes are not decoded.
    TlsCallNested = 13,
    /// More threads shared their slots than can be told apart: where their time goes is not counted.
    ScheduleTableFull = 14,
    /// More requests to block devices were under way than are followed, or too many combinations of
    /// service, device and operation were seen: a request is not counted.
    BlockTableFull = 15,
}

impl Loss {
    /// All causes, in the order of their index.
    pub const ALL: [Self; 16] = [
        Self::ThreadTableFull,
        Self::SyscallTableFull,
        Self::ErrorTableFull,
        Self::SocketTableFull,
        Self::EventRingFull,
        Self::CallBeganUntraced,
        Self::SocketGone,
        Self::ReadFailed,
        Self::MessagesBeyondLimit,
        Self::UnknownSyscall,
        Self::PayloadRingFull,
        Self::PayloadUnreadable,
        Self::TlsTableFull,
        Self::TlsCallNested,
        Self::ScheduleTableFull,
        Self::BlockTableFull,
    ];

    /// Number of causes.
    pub const COUNT: usize = Self::ALL.len();

    /// The value of the `cause` label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ThreadTableFull => "thread_table_full",
            Self::SyscallTableFull => "syscall_table_full",
            Self::ErrorTableFull => "error_table_full",
            Self::SocketTableFull => "socket_table_full",
            Self::EventRingFull => "event_ring_full",
            Self::CallBeganUntraced => "call_began_untraced",
            Self::SocketGone => "socket_gone",
            Self::ReadFailed => "read_failed",
            Self::MessagesBeyondLimit => "messages_beyond_limit",
            Self::UnknownSyscall => "unknown_syscall",
            Self::PayloadRingFull => "payload_ring_full",
            Self::PayloadUnreadable => "payload_unreadable",
            Self::TlsTableFull => "tls_table_full",
            Self::TlsCallNested => "tls_call_nested",
            Self::ScheduleTableFull => "schedule_table_full",
            Self::BlockTableFull => "block_table_full",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_each_cause_is_its_place_in_the_list() {
        for (index, loss) in Loss::ALL.into_iter().enumerate() {
            assert_eq!(loss as usize, index, "{}", loss.name());
        }
    }
}
