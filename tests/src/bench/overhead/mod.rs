//! `bench overhead`: a web app and Postgres under load, observed by nothing, by the probe, and by
//! what people use instead.
//!
//! Each round measures every variant of every scenario once, the variants in a random order, with
//! servers that were started for it. A ratio is taken within a round, so that a machine that is
//! slower for a while slows both sides of it.

mod app;
mod collector;
mod cost;
mod interrupt;
mod pgbench;
mod plot;
mod report;
mod server;
mod tables;

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};

use self::{
    interrupt::Interrupt,
    pgbench::Way,
    report::{Measurement, NOTHING, Report, Scenario, Variant},
    server::{Inside, Server},
};
use super::{documents, rounds::Random};
use crate::{
    process::run as run_command,
    site::{Site, repository, target_directory},
};

/// Fewer rounds than this say too little to be published.
const PUBLISHABLE_ROUNDS: usize = 3;

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rounds.
    pub rounds: usize,
    /// Seconds of each measurement.
    pub seconds: u64,
    /// Only the scenarios whose names contain this; the result is then printed and not kept.
    pub only: Option<String>,
}

/// A scenario that is to be measured.
struct Plan {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    variants: Vec<(&'static str, Observer)>,
}

#[derive(Clone, Copy)]
enum Observer {
    App(app::Observer),
    Pgbench(Way, pgbench::Observer),
}

/// The probe's name in tables and plot.
const PROBE: &str = "hostprobe";

fn plans() -> Vec<Plan> {
    let app = Plan {
        name: "app",
        title: "FastAPI and asyncpg",
        unit: "requests",
        variants: vec![
            (NOTHING, Observer::App(app::Observer::Nothing)),
            (PROBE, Observer::App(app::Observer::Probe)),
            (
                "Prometheus instrumentator + query hook",
                Observer::App(app::Observer::Prometheus),
            ),
            (
                "OpenTelemetry auto-instrumentation",
                Observer::App(app::Observer::OpenTelemetry),
            ),
        ],
    };
    let ways = [
        (
            "unix-prepared",
            "pgbench -S, unix socket, prepared",
            true,
            "prepared",
        ),
        (
            "unix-simple",
            "pgbench -S, unix socket, simple",
            true,
            "simple",
        ),
        (
            "tcp-prepared",
            "pgbench -S, TCP, prepared",
            false,
            "prepared",
        ),
        ("tcp-simple", "pgbench -S, TCP, simple", false, "simple"),
    ];
    let pgbench = ways.map(|(name, title, unix, protocol)| {
        let way = Way { unix, protocol };
        let variant = |name, observer| (name, Observer::Pgbench(way, observer));
        let inside = pgbench::Observer::Inside;
        Plan {
            name,
            title,
            unit: "statements",
            variants: vec![
                variant(NOTHING, inside(Inside::Nothing)),
                variant(PROBE, pgbench::Observer::Probe),
                variant("pg_stat_statements", inside(Inside::PgStatStatements)),
                variant("log_min_duration_statement = 0", inside(Inside::LogAll)),
            ],
        }
    });
    [app].into_iter().chain(pgbench).collect()
}

/// Measures, keeps the numbers in `target/bench/overhead.json` after each round, and returns the
/// tables.
///
/// # Errors
/// Not root, something is not installed or does not start, or an observer did not observe.
pub fn run(options: &Options) -> Result<String> {
    // The bench has no use for the tests' workload.
    let site = Site::new(&[])?;
    let interrupt = Interrupt::watch()?;
    let mut plans = plans();
    if let Some(only) = &options.only {
        plans.retain(|plan| plan.name.contains(only.as_str()));
        ensure!(!plans.is_empty(), "no scenario has `{only}` in its name");
    }
    let server = Server::create()?;
    let mut report = empty_report(options, &plans)?;
    let mut random = Random::new()?;
    for round in 0..options.rounds {
        for (plan, scenario) in plans.iter().zip(&mut report.scenarios) {
            let mut row: Vec<Option<Measurement>> = vec![None; plan.variants.len()];
            for index in random.order(plan.variants.len()) {
                interrupt.check()?;
                let (name, observer) = plan.variants[index];
                let what = format!("round {}, {}, {name}", round + 1, plan.name);
                let one = measure(&site, &server, observer, options.seconds)
                    .with_context(|| what.clone())?;
                eprintln!("{what}: {}", tables::line(&one, plan.unit));
                row[index] = Some(one);
            }
            for (variant, one) in scenario.variants.iter_mut().zip(row) {
                variant.rounds.extend(one);
            }
        }
        report.date = now()?;
        if options.only.is_none() {
            save(&report)?;
        }
    }
    Ok(tables::terminal(&report))
}

fn measure(site: &Site, server: &Server, observer: Observer, seconds: u64) -> Result<Measurement> {
    match observer {
        Observer::App(observer) => app::measure(site, server, observer, seconds),
        Observer::Pgbench(way, observer) => pgbench::measure(site, server, way, observer, seconds),
    }
}

fn empty_report(options: &Options, plans: &[Plan]) -> Result<Report> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, model)| model.trim());
    let scenarios = plans.iter().map(|plan| Scenario {
        name: plan.name.into(),
        title: plan.title.into(),
        unit: plan.unit.into(),
        variants: plan
            .variants
            .iter()
            .map(|(name, _)| Variant {
                name: (*name).into(),
                rounds: Vec::new(),
            })
            .collect(),
    });
    Ok(Report {
        date: now()?,
        kernel: kernel.trim().into(),
        cpu: model.into(),
        cpus: std::thread::available_parallelism()?.get(),
        seconds: options.seconds,
        rounds: options.rounds,
        scenarios: scenarios.collect(),
    })
}

fn now() -> Result<String> {
    let mut command = Command::new("date");
    command.args(["--utc", "+%Y-%m-%d %H:%M UTC"]);
    Ok(run_command("date", command)?.trim().to_owned())
}

fn kept() -> PathBuf {
    target_directory().join("bench/overhead.json")
}

fn save(report: &Report) -> Result<()> {
    let path = kept();
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    // Whole or not at all: a run that is interrupted leaves the rounds before.
    let fresh = path.with_extension("json.new");
    std::fs::write(&fresh, serde_json::to_string_pretty(report)?)
        .with_context(|| format!("writing {}", fresh.display()))?;
    std::fs::rename(&fresh, &path).with_context(|| format!("writing {}", path.display()))
}

/// Writes the sections of the documents and the plot from the numbers that were kept, without
/// measuring; returns what was written.
///
/// # Errors
/// Nothing was measured, too little, or a document lacks its markers.
pub fn write() -> Result<String> {
    let path = kept();
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "reading {}: measure first, with `cargo xtask bench overhead`",
            path.display()
        )
    })?;
    let report: Report = serde_json::from_str(&text)
        .with_context(|| format!("{} is not what this version writes", path.display()))?;
    check_publishable(&report)?;
    let root = repository();
    let plot = root.join("docs/overhead.svg");
    std::fs::write(&plot, plot::svg(&report))
        .with_context(|| format!("writing {}", plot.display()))?;
    let performance = root.join("docs/performance.md");
    documents::replace_in_file(&performance, "overhead", &tables::document(&report))?;
    let readme = root.join("README.md");
    documents::replace_in_file(&readme, "overhead", &tables::summary(&report))?;
    Ok(format!(
        "from the run of {}: docs/performance.md, docs/overhead.svg, README.md",
        report.date
    ))
}

/// Documents are for numbers that mean something.
fn check_publishable(report: &Report) -> Result<()> {
    if report.scenarios.is_empty() {
        bail!("the results have no scenario");
    }
    for scenario in &report.scenarios {
        for variant in &scenario.variants {
            let rounds = variant.rounds.len();
            ensure!(
                rounds >= PUBLISHABLE_ROUNDS,
                "{}, {}: {rounds} rounds are too few to be published, {PUBLISHABLE_ROUNDS} are \
                 the least",
                scenario.name,
                variant.name
            );
        }
    }
    Ok(())
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts and microseconds of a few seconds"
)]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ratios are taken to the first variant.
    #[test]
    fn each_scenario_has_a_name_of_its_own_and_begins_with_nothing() {
        let plans = plans();
        let mut names: Vec<&str> = plans.iter().map(|plan| plan.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), plans.len());
        assert!(plans.iter().all(|plan| plan.variants[0].0 == NOTHING));
    }

    #[test]
    fn a_smoke_run_is_not_published() {
        let mut report = report::tests::example(0);
        assert!(check_publishable(&report).is_err());
        for variant in &mut report.scenarios[0].variants {
            let one = variant.rounds[0].clone();
            variant.rounds.push(one);
        }
        assert!(check_publishable(&report).is_ok());
        report.scenarios.clear();
        assert!(check_publishable(&report).is_err());
    }
}
