//! What a workload and its children did, in memory that they share.

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::{Context, Result, bail};
use libc::c_long;
use nix::errno::Errno;

use super::call;

/// Syscall numbers below this bound are counted.
const NUMBERS: usize = 512;
/// Error numbers below this bound are counted.
const ERRNOS: usize = 160;

/// What a workload knows besides its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Fact {
    /// Bytes that went into sockets.
    Sent = 0,
    /// Bytes that came out of sockets, peeked ones not counted.
    Received,
    /// Bytes that were only looked at.
    Peeked,
    /// Connections made.
    Connects,
    /// Connection attempts that failed.
    ConnectErrors,
    /// Connections accepted.
    Accepts,
    /// Processes started.
    Children,
    /// Segments sent again, as the kernel reports for our sockets.
    Retransmits,
    /// Time that the slow calls took, seen from outside them, in nanoseconds.
    SlowNanoseconds,
    /// Slow calls that took no longer than 2^25 ns (33.55 ms), seen from outside them.
    SlowWithinBucket,
    /// Requests that an io_uring has done.
    UringRequests,
}

impl Fact {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Sent, "sent"),
        (Self::Received, "received"),
        (Self::Peeked, "peeked"),
        (Self::Connects, "connects"),
        (Self::ConnectErrors, "connect_errors"),
        (Self::Accepts, "accepts"),
        (Self::Children, "children"),
        (Self::Retransmits, "retransmits"),
        (Self::SlowNanoseconds, "slow_nanoseconds"),
        (Self::SlowWithinBucket, "slow_within_bucket"),
        (Self::UringRequests, "uring_requests"),
    ];
}

struct Shared {
    calls: [AtomicU64; NUMBERS],
    errors: [[AtomicU64; ERRNOS]; NUMBERS],
    facts: [AtomicU64; Fact::ALL.len()],
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<&'static Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let memory = call::shared_memory(size_of::<Shared>());
        // SAFETY: the mapping is as large as the type, page-aligned, zeroed (a valid state of
        // atomics), and never unmapped.
        unsafe { &*memory.cast::<Shared>() }
    })
}

/// Maps the shared memory; before anything is counted.
pub(super) fn prepare() {
    shared();
}

/// Counts one call as the kernel answered it.
pub(super) fn count(number: c_long, error: Option<Errno>) {
    count_many(number, 1);
    if let Some(error) = error {
        shared().errors[number as usize][error as usize].fetch_add(1, Relaxed);
    }
}

/// Counts calls that another program makes on this one's account.
pub(super) fn count_many(number: c_long, calls: u64) {
    shared().calls[number as usize].fetch_add(calls, Relaxed);
}

/// Adds to a fact.
pub(super) fn add(fact: Fact, amount: usize) {
    shared().facts[fact as usize].fetch_add(amount as u64, Relaxed);
}

/// Stops this process; counting begins when it goes on.
pub(super) fn start_gate() -> Gate {
    let gate = gate_without_stop();
    call::stop_uncounted(gate.pid);
    gate
}

/// Counting begins now.
pub(super) fn gate_without_stop() -> Gate {
    let shared = shared();
    for counter in shared.calls.iter().chain(shared.errors.as_flattened()) {
        counter.store(0, Relaxed);
    }
    for fact in &shared.facts {
        fact.store(0, Relaxed);
    }
    Gate {
        pid: std::process::id() as i32,
    }
}

/// The second gate: what was counted is compared there.
#[must_use = "the harness waits for the second stop"]
pub(super) struct Gate {
    pid: i32,
}

impl Gate {
    /// Stops this process, then prints the tally.
    pub(super) fn end(self) {
        // The call that stops us has returned, as far as the kernel is concerned, before it does.
        count(libc::SYS_kill, None);
        call::stop_uncounted(self.pid);
        print();
    }
}

fn print() {
    let shared = shared();
    for (number, counter) in shared.calls.iter().enumerate() {
        let calls = counter.load(Relaxed);
        if calls == 0 {
            continue;
        }
        let name = call::name(number);
        println!("calls {name} {calls}");
        for (errno, counter) in shared.errors[number].iter().enumerate() {
            let errors = counter.load(Relaxed);
            if errors != 0 {
                println!("errors {name} {:?} {errors}", Errno::from_raw(errno as i32));
            }
        }
    }
    for (fact, name) in Fact::ALL {
        println!("fact {name} {}", shared.facts[fact as usize].load(Relaxed));
    }
    println!("done");
}

/// A tally as the workload printed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls by syscall.
    pub calls: BTreeMap<String, u64>,
    /// Errors by syscall and errno name.
    pub errors: BTreeMap<(String, String), u64>,
    facts: BTreeMap<String, u64>,
}

impl Tally {
    /// Reads what a workload wrote.
    ///
    /// # Errors
    /// The output is not complete.
    pub fn parse(output: &str) -> Result<Self> {
        let mut tally = Self::default();
        for line in output.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["calls", name, count] => {
                    tally.calls.insert(name.into(), count.parse()?);
                }
                ["errors", name, errno, count] => {
                    tally
                        .errors
                        .insert((name.into(), errno.into()), count.parse()?);
                }
                ["fact", name, value] => {
                    tally.facts.insert(name.into(), value.parse()?);
                }
                ["done"] => return Ok(tally),
                _ => {}
            }
        }
        bail!("the workload did not finish its report:\n{output}");
    }

    /// One fact.
    ///
    /// # Errors
    /// The workload did not report it.
    pub fn fact(&self, fact: Fact) -> Result<u64> {
        let (_, name) = Fact::ALL[fact as usize];
        self.facts
            .get(name)
            .copied()
            .with_context(|| format!("the workload reported no {name}"))
    }

    /// Calls of one syscall.
    pub fn calls(&self, name: &str) -> u64 {
        self.calls.get(name).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_in_the_order_of_their_numbers() {
        for (index, (fact, name)) in Fact::ALL.into_iter().enumerate() {
            assert_eq!(fact as usize, index, "{name}");
        }
    }

    #[test]
    fn a_report_without_its_end_is_no_report() {
        assert!(Tally::parse("calls read 3\n").is_err());
        let tally = Tally::parse("port 7\ncalls read 3\nerrors read EAGAIN 1\nfact sent 9\ndone\n")
            .unwrap();
        assert_eq!(tally.calls("read"), 3);
        assert_eq!(tally.errors[&("read".into(), "EAGAIN".into())], 1);
        assert_eq!(tally.fact(Fact::Sent).unwrap(), 9);
    }
}
