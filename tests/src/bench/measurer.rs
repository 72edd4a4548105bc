//! The program whose calls are timed. One process for all variants, so that neither its layout in
//! memory nor its CPU differ between them.

use std::{
    io::{BufRead, Write},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// A loop that is timed.
#[derive(Clone, Copy, Debug)]
pub struct Loop {
    /// Its name on standard input.
    pub name: &'static str,
    /// What is called.
    pub what: &'static str,
    /// Its calls are this many times fewer than `getppid`'s.
    pub divisor: u64,
}

/// All loops.
pub const LOOPS: [Loop; 4] = [
    Loop {
        name: "getppid",
        what: "getppid",
        divisor: 1,
    },
    Loop {
        name: "unix",
        what: "read of 1 byte, AF_UNIX",
        divisor: 2,
    },
    Loop {
        name: "tcp",
        what: "write + read of 1 byte, TCP loopback",
        divisor: 10,
    },
    Loop {
        name: "switch",
        what: "a byte to another thread on the same CPU and back, over pipes: two switches, two \
               wake-ups, four calls",
        divisor: 20,
    },
];

/// Bytes put into the socket at once; each is then read alone.
const FILL: usize = 4096;

/// A measurement is the median of so many: what else runs on the host disturbs a few of them only.
const BATCHES: usize = 11;

/// How many calls the `getppid` loop makes when it is asked for so many: whole batches.
pub fn calls_made(asked: u64) -> u64 {
    asked / BATCHES as u64 * BATCHES as u64
}

/// Answers each line `LOOP CALLS` of standard input with nanoseconds per call.
///
/// # Errors
/// The CPU does not exist, or the sockets fail.
pub fn run(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pinning to CPU {cpu}"))?;
    let (unix, unix_peer) = std::os::unix::net::UnixStream::pair()?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let tcp = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (tcp_peer, _) = listener.accept()?;
    tcp.set_nodelay(true)?;
    let mut partner = Partner::start()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (name, calls) = line.split_once(' ').context("not LOOP CALLS")?;
        let calls: u64 = calls.parse()?;
        let mut batches = [0.0; BATCHES];
        for nanoseconds in &mut batches {
            let calls = calls / BATCHES as u64;
            *nanoseconds = match name {
                "getppid" => getppid(calls),
                "unix" => unix_reads(&unix, &unix_peer, calls)?,
                "tcp" => tcp_round(&tcp, &tcp_peer, calls)?,
                "switch" => partner.turns(calls)?,
                other => bail!("there is no loop {other}"),
            };
        }
        batches.sort_by(f64::total_cmp);
        println!("{}", batches[BATCHES / 2]);
        std::io::stdout().flush()?;
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
fn per_call(nanoseconds: u128, calls: u64) -> f64 {
    nanoseconds as f64 / calls as f64
}

fn getppid(calls: u64) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        // SAFETY: no memory is involved. The C library's own function is the plain syscall, but
        // this says so.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
    per_call(start.elapsed().as_nanos(), calls)
}

fn unix_reads(
    mut from: &std::os::unix::net::UnixStream,
    mut to: &std::os::unix::net::UnixStream,
    calls: u64,
) -> Result<f64> {
    use std::io::Read;
    let mut nanoseconds = 0;
    let fill = [0; FILL];
    let fills = calls.div_ceil(FILL as u64);
    for _ in 0..fills {
        to.write_all(&fill)?;
        let start = Instant::now();
        for _ in 0..FILL {
            from.read_exact(&mut [0])?;
        }
        nanoseconds += start.elapsed().as_nanos();
    }
    Ok(per_call(nanoseconds, fills * FILL as u64))
}

fn tcp_round(
    mut from: &std::net::TcpStream,
    mut to: &std::net::TcpStream,
    calls: u64,
) -> Result<f64> {
    use std::io::Read;
    let start = Instant::now();
    for _ in 0..calls {
        to.write_all(&[0])?;
        from.read_exact(&mut [0])?;
    }
    Ok(per_call(start.elapsed().as_nanos(), calls))
}

/// A thread on the same CPU that sends back what it is sent.
struct Partner {
    to: std::io::PipeWriter,
    from: std::io::PipeReader,
}

impl Partner {
    fn start() -> Result<Self> {
        use std::io::Read;
        let (mut asked, to) = std::io::pipe()?;
        let (from, mut answered) = std::io::pipe()?;
        // Threads inherit the CPU of the one that makes them. It ends with its pipes.
        std::thread::spawn(move || {
            let mut byte = [0];
            while asked.read_exact(&mut byte).is_ok() && answered.write_all(&byte).is_ok() {}
        });
        Ok(Self { to, from })
    }

    fn turns(&mut self, turns: u64) -> Result<f64> {
        use std::io::Read;
        let start = Instant::now();
        for _ in 0..turns {
            self.to.write_all(&[0])?;
            self.from.read_exact(&mut [0])?;
        }
        Ok(per_call(start.elapsed().as_nanos(), turns))
    }
}
