//! A service as the exposition and the API see it.

/// The service that numbers go to when their service's id is not known any more, so that no count
/// is lost.
pub const UNKNOWN_SERVICE: &str = "unknown";

/// One service: a set of processes that an operator would name as one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceView {
    /// The id that the kernel side counts it under.
    pub id: u16,
    /// The name that a person would choose, such as `postgresql` or `shop`.
    pub name: String,
    /// What it is, such as `postgres`, `http` or `process`.
    pub kind: String,
    /// How it was found, such as `config` or `port 8000`.
    pub found_by: String,
    /// Processes alive now.
    pub processes: u64,
    /// Processes that started while the probe watched.
    pub starts: u64,
    /// Processes that ended while the probe watched, by outcome.
    pub exits: Vec<ExitCount>,
    /// TCP ports that it listens on.
    pub ports: Vec<u16>,
}

/// How many processes ended in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCount {
    /// In which way.
    pub outcome: Outcome,
    /// How many.
    pub count: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// By itself, with this exit code.
    Code(u8),
    /// Killed by the signal with this number.
    Signal(u8),
}

impl Outcome {
    /// Reads the wait status as the kernel keeps it: `exit code << 8 | signal`, where bit 7 says
    /// that a core was dumped (`wait(2)`).
    pub const fn from_wait_status(status: u32) -> Self {
        let [low, code, ..] = status.to_le_bytes();
        match low & 0x7f {
            0 => Self::Code(code),
            signal => Self::Signal(signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_is_read_as_wait_2_says() {
        assert_eq!(Outcome::from_wait_status(0), Outcome::Code(0));
        assert_eq!(Outcome::from_wait_status(3 << 8), Outcome::Code(3));
        assert_eq!(Outcome::from_wait_status(9), Outcome::Signal(9));
        assert_eq!(Outcome::from_wait_status(11 | 0x80), Outcome::Signal(11));
    }
}
