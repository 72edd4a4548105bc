//! `bench syscalls`: rounds of all variants, paired and interleaved, and their medians.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{
    measurer::{self, LOOPS, Loop},
    rounds::{Random, median},
};
use crate::{
    probe::{Config, Probe},
    process::Process,
    site::{Site, target_directory},
    waiting::{self, PATIENCE},
};

/// What is attached while a measurement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    None,
    Floor,
    Untraced,
    Traced,
}

const VARIANTS: [Variant; 4] = [
    Variant::None,
    Variant::Floor,
    Variant::Untraced,
    Variant::Traced,
];

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none attached",
            Self::Floor => "empty programs: the floor",
            Self::Untraced => "probe, process not traced",
            Self::Traced => "probe, process traced",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Floor => "floor",
            Self::Untraced => "untraced",
            Self::Traced => "traced",
        }
    }
}

/// Nanoseconds per call: one row per round, in the order of [`VARIANTS`] and [`LOOPS`].
type Round = [[f64; LOOPS.len()]; VARIANTS.len()];

/// Measures and returns the tables in Markdown; the numbers go to `target/bench/syscalls.json`.
///
/// # Errors
/// Not root, the probe is not built, or something does not start.
pub fn run(rounds: usize, calls: u64, cpu: Option<usize>) -> Result<String> {
    // The bench measures with a program of its own, so it needs no workload.
    let site = Site::new(&[])?;
    let cpu = match cpu {
        Some(cpu) => cpu,
        None => std::thread::available_parallelism()?.get() - 1,
    };
    let mut measurer = Measurer::start(cpu)?;
    // The probe has to trace something in every variant; this one makes no calls.
    let mut idle = Command::new("sleep");
    idle.arg("1000000");
    let idle = Process::spawn("sleep", idle)?;
    // Warm up: caches, and the kernel's own patching when the first program is attached.
    measure(&site, &mut measurer, &idle, Variant::Traced, calls / 10)?;

    let mut results: Vec<Round> = Vec::with_capacity(rounds);
    let mut random = Random::new()?;
    for round in 0..rounds {
        let mut row = Round::default();
        for index in random.order(VARIANTS.len()) {
            row[index] = measure(&site, &mut measurer, &idle, VARIANTS[index], calls)?;
        }
        eprintln!("round {} of {rounds}: {row:.0?}", round + 1);
        results.push(row);
    }
    let report = Report::new(&results, calls, cpu);
    report.save(&results)?;
    Ok(report.markdown())
}

/// Attaches what the variant wants, measures, and detaches it.
fn measure(
    site: &Site,
    measurer: &mut Measurer,
    idle: &Process,
    variant: Variant,
    calls: u64,
) -> Result<[f64; LOOPS.len()]> {
    let probe = |pid| {
        // The kernel's own run-time statistics would be measured, too.
        let config = Config::new()
            .with_payload()
            .service("bench", &[pid])
            .with("[kernel]\nprogram_stats = \"off\"");
        Probe::start(site, &config)
    };
    match variant {
        Variant::None => measurer.all(calls),
        Variant::Floor => {
            let floor = Floor::start(site)?;
            let result = measurer.all(calls)?;
            floor.stop()?;
            Ok(result)
        }
        Variant::Untraced => {
            let probe = probe(idle.pid())?;
            let result = measurer.all(calls)?;
            probe.stop()?;
            Ok(result)
        }
        Variant::Traced => {
            let probe = probe(measurer.child.id())?;
            // Busy syscalls get their fast lane when the tables are read, as Prometheus and the
            // daemon itself do every few seconds.
            let warm_up = calls / 20;
            measurer.all(warm_up)?;
            probe.metrics()?;
            let result = measurer.all(calls)?;
            let seen = probe.metrics()?.count(
                "hostprobe_syscalls_total",
                &[("service", "bench"), ("syscall", "getppid")],
            );
            let made = measurer::calls_made(warm_up) + measurer::calls_made(calls);
            if seen != made {
                bail!("{made} calls were made, the probe counted {seen}: it was not traced");
            }
            probe.stop()?;
            Ok(result)
        }
    }
}

/// The process whose calls are timed.
struct Measurer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Measurer {
    fn start(cpu: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["measurer", "--cpu", &cpu.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the measured program")?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self {
            child,
            input,
            output,
        })
    }

    fn all(&mut self, calls: u64) -> Result<[f64; LOOPS.len()]> {
        let mut result = [0.0; LOOPS.len()];
        for (value, Loop { name, divisor, .. }) in result.iter_mut().zip(LOOPS) {
            writeln!(self.input, "{name} {}", calls / divisor)?;
            let mut line = String::new();
            self.output.read_line(&mut line)?;
            *value = line.trim().parse().context("the measured program failed")?;
        }
        Ok(result)
    }
}

impl Drop for Measurer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `hostprobe bench-floor`: empty programs at the same hooks.
struct Floor(Process);

impl Floor {
    fn start(site: &Site) -> Result<Self> {
        let command = site.hostprobe("bench-floor");
        let mut process = Process::spawn("hostprobe bench-floor", command)?;
        waiting::until("the empty programs are attached", PATIENCE, || {
            let output = process.output()?;
            if let Some(status) = process.ended()? {
                bail!("bench-floor ended with {status}:\n{output}");
            }
            Ok(output.lines().any(|line| line == "ready").then_some(()))
        })?;
        Ok(Self(process))
    }

    fn stop(mut self) -> Result<()> {
        self.0.signal(Signal::SIGTERM)?;
        self.0.wait_ended(PATIENCE)?;
        Ok(())
    }
}

/// Medians over the rounds.
struct Report {
    rounds: usize,
    calls: u64,
    cpu: usize,
    /// Nanoseconds per call.
    nanoseconds: Round,
    /// Nanoseconds per call more than `none` of the same round.
    added: Round,
}

impl Report {
    fn new(results: &[Round], calls: u64, cpu: usize) -> Self {
        let mut nanoseconds = Round::default();
        let mut added = Round::default();
        for variant in 0..VARIANTS.len() {
            for which in 0..LOOPS.len() {
                let values = results.iter().map(|round| round[variant][which]);
                nanoseconds[variant][which] = median(values.collect());
                let differences = results
                    .iter()
                    .map(|round| round[variant][which] - round[0][which]);
                added[variant][which] = median(differences.collect());
            }
        }
        Self {
            rounds: results.len(),
            calls,
            cpu,
            nanoseconds,
            added,
        }
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        for (which, Loop { what, divisor, .. }) in LOOPS.iter().enumerate() {
            let _ = writeln!(
                text,
                "{what}: {} calls a measurement, median of {} paired rounds\n\n\
                 | variant | ns per call | added to none | added, as a multiple of the floor |\n\
                 | --- | ---: | ---: | ---: |",
                self.calls / divisor,
                self.rounds,
            );
            for (index, variant) in VARIANTS.iter().enumerate() {
                let _ = writeln!(
                    text,
                    "| {} | {:.0} | {:+.0} | {} |",
                    variant.name(),
                    self.nanoseconds[index][which],
                    self.added[index][which],
                    match variant {
                        Variant::None => "-".to_owned(),
                        _ => format!("{:.2}", self.ratio(index, which)),
                    },
                );
            }
            text.push('\n');
        }
        text
    }

    fn ratio(&self, variant: usize, which: usize) -> f64 {
        self.added[variant][which] / self.added[1][which]
    }

    fn save(&self, results: &[Round]) -> Result<()> {
        let directory = target_directory().join("bench");
        std::fs::create_dir_all(&directory)?;
        let mut loops = serde_json::Map::new();
        for (which, one) in LOOPS.iter().enumerate() {
            let mut variants = serde_json::Map::new();
            for (index, variant) in VARIANTS.iter().enumerate() {
                let rounds: Vec<f64> = results.iter().map(|round| round[index][which]).collect();
                variants.insert(
                    variant.key().into(),
                    json!({
                        "ns_per_call": self.nanoseconds[index][which],
                        "added_ns": self.added[index][which],
                        "added_per_floor": self.ratio(index, which),
                        "rounds_ns_per_call": rounds,
                    }),
                );
            }
            loops.insert(one.name.into(), variants.into());
        }
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let report = json!({
            "kernel": kernel.trim(),
            "cpu": self.cpu,
            "calls": self.calls,
            "rounds": self.rounds,
            "loops": loops,
        });
        let path = directory.join("syscalls.json");
        std::fs::write(&path, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("writing {}", path.display()))
    }
}
