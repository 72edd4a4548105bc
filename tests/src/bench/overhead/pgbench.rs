//! `pgbench -S`: one statement by primary key, as fast as Postgres can.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{
    as_f64,
    cost::{DaemonBefore, cpu_of_tree},
    report::Measurement,
    server::{Inside, Server, check_pg_stat_statements},
};
use crate::{
    postgres::Postgres,
    probe::{Config, Probe},
    process::Process,
    site::Site,
};

/// Clients, each with a connection of its own, on one thread of pgbench.
pub(super) const CLIENTS: usize = 4;

/// The part of the transactions whose latency pgbench writes down.
const SAMPLED: f64 = 0.1;

/// Warms up, stops itself, measures, and stops itself again, so that the bench can look at it
/// while it is there. The first stop is for the probe, which is told its process id.
const SCRIPT: &str = r#"
kill -STOP $$
"$@" --time="$WARM_UP" || exit 1
kill -STOP $$
"$@" --time="$MEASURED_FOR" --log --log-prefix="$LOG" --sampling-rate="$SAMPLED" || exit 1
kill -STOP $$
"#;

/// How pgbench talks to Postgres.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Through the unix socket, or over TCP on loopback.
    pub(super) unix: bool,
    /// pgbench's `--protocol`.
    pub(super) protocol: &'static str,
}

/// What observes Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observer {
    /// Something inside, or nothing.
    Inside(Inside),
    /// The probe, which traces Postgres and pgbench.
    Probe,
}

/// Measures one variant for so many seconds.
///
/// # Errors
/// Something does not start, or the observer did not see what it should have.
pub(super) fn measure(
    site: &Site,
    server: &Server,
    way: Way,
    observer: Observer,
    seconds: u64,
) -> Result<Measurement> {
    let inside = match observer {
        Observer::Inside(inside) => inside,
        Observer::Probe => Inside::Nothing,
    };
    let postgres = server.start(inside)?;
    let directory = TempDir::new()?;
    let mut pgbench = start(&postgres, way, seconds, directory.path())?;
    pgbench.wait_stopped()?;
    let probe = match observer {
        Observer::Inside(_) => None,
        Observer::Probe => {
            let config = Config::default()
                .with_payload()
                .service("postgres", &[postgres.pid()])
                .service("pgbench", &[pgbench.pid()]);
            Some(Probe::start(site, &config)?)
        }
    };
    pgbench.resume()?;
    pgbench.wait_stopped().context("warming up")?;
    let before = probe.as_ref().map(DaemonBefore::look).transpose()?;
    let cpu = |pgbench: &Process| -> Result<Duration> {
        Ok(cpu_of_tree(pgbench.pid())? + cpu_of_tree(postgres.pid())?)
    };
    let cpu_before = cpu(&pgbench)?;
    pgbench.resume()?;
    pgbench.wait_stopped().context("measuring")?;
    let cpu = cpu(&pgbench)?.saturating_sub(cpu_before);
    let daemon = match (before, &probe) {
        (Some(before), Some(probe)) => Some(before.after(probe, as_f64(seconds))?),
        _ => None,
    };
    pgbench.resume()?;
    let output = pgbench.wait_success()?;
    let made = transactions(&output)?;
    if let Some(probe) = probe {
        // What was lost is in the report, and can't have been seen.
        if daemon
            .as_ref()
            .is_some_and(|daemon| daemon.lost_total() == 0)
        {
            check_probe(&probe, made.iter().sum())?;
        }
        probe.stop()?;
    }
    if inside == Inside::PgStatStatements {
        check_pg_stat_statements(&postgres, made.iter().sum())?;
    }
    postgres.stop()?;
    let measured = *made.last().context("pgbench told no number")?;
    let latencies = latencies(directory.path())?;
    Ok(Measurement {
        throughput: throughput(&output)?,
        p50_us: percentile(&latencies, 50)?,
        p99_us: percentile(&latencies, 99)?,
        cpu_us: cpu.as_secs_f64() * 1e6 / as_f64(measured),
        daemon,
    })
}

fn start(postgres: &Postgres, way: Way, seconds: u64, directory: &Path) -> Result<Process> {
    let connection = if way.unix {
        postgres.over_unix()
    } else {
        postgres.over_tcp()
    };
    let pgbench = postgres.pgbench(&connection)?;
    let mut command = Command::new("sh");
    command
        .args(["-c", SCRIPT, "sh"])
        .arg(pgbench.get_program())
        .args(pgbench.get_args())
        .args(["--select-only", "--no-vacuum", "--jobs=1"])
        .arg(format!("--client={CLIENTS}"))
        .arg(format!("--protocol={}", way.protocol))
        .env("WARM_UP", "1")
        .env("MEASURED_FOR", seconds.to_string())
        .env("SAMPLED", SAMPLED.to_string())
        .env("LOG", directory.join("latency"));
    Process::spawn("pgbench", command)
}

/// The probe has seen each statement, at both ends; otherwise it was cheap because it did nothing.
fn check_probe(probe: &Probe, made: u64) -> Result<()> {
    probe.eventually(|metrics| {
        for (service, name) in [
            (
                "postgres",
                "hostprobe_postgres_statement_duration_seconds_count",
            ),
            ("pgbench", "db_client_operation_duration_seconds_count"),
        ] {
            let seen = metrics.count(name, &[("service", service)]);
            ensure!(
                seen >= made,
                "{made} statements were made, the probe saw {seen} of them at {service}"
            );
        }
        Ok(())
    })
}

/// Transactions of each run of pgbench, none of which may have failed.
fn transactions(output: &str) -> Result<Vec<u64>> {
    let failed = numbers(output, "number of failed transactions:")?;
    ensure!(
        failed.iter().all(|failed| *failed == 0),
        "pgbench's transactions failed:\n{output}"
    );
    let made = numbers(output, "number of transactions actually processed:")?;
    ensure!(made.len() == 2, "pgbench did not run twice:\n{output}");
    Ok(made)
}

fn numbers(output: &str, name: &str) -> Result<Vec<u64>> {
    let values = output.lines().filter_map(|line| line.strip_prefix(name));
    values
        .map(|value| {
            let first = value.split_whitespace().next();
            first
                .and_then(|number| number.parse().ok())
                .with_context(|| format!("{name}{value}"))
        })
        .collect()
}

/// The last run's transactions a second, connecting not counted.
fn throughput(output: &str) -> Result<f64> {
    let line = output
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("tps = "))
        .with_context(|| format!("pgbench told no speed:\n{output}"))?;
    let number = line.split_whitespace().next().unwrap_or_default();
    number.parse().context("pgbench's speed")
}

/// The latencies that pgbench wrote down, in microseconds, sorted.
fn latencies(directory: &Path) -> Result<Vec<u64>> {
    let mut latencies = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let text = std::fs::read_to_string(file?.path())?;
        for line in text.lines() {
            // client_id transaction_no time script_no time_epoch time_us
            let time = line.split_whitespace().nth(2);
            let time = time.and_then(|time| time.parse::<u64>().ok());
            latencies.push(time.with_context(|| format!("pgbench's log: {line}"))?);
        }
    }
    latencies.sort_unstable();
    Ok(latencies)
}

/// The nearest-rank percentile of sorted values.
fn percentile(sorted: &[u64], percent: usize) -> Result<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    let value = sorted
        .get(rank - 1)
        .context("no latency was written down")?;
    Ok(as_f64(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "transaction type: <builtin: select only>\n\
        number of transactions actually processed: 7\nnumber of failed transactions: 0 (0.000%)\n\
        tps = 7.5 (without initial connection time)\n\
        number of transactions actually processed: 21\nnumber of failed transactions: 0 (0.000%)\n\
        tps = 20.5 (without initial connection time)\n";

    #[test]
    fn the_second_run_is_the_one_that_counts() {
        assert_eq!(transactions(OUTPUT).unwrap(), [7, 21]);
        assert!((throughput(OUTPUT).unwrap() - 20.5).abs() < 1e-9);
    }

    #[test]
    fn failures_and_missing_runs_void_a_measurement() {
        assert!(transactions(&OUTPUT.replace("transactions: 0", "transactions: 1")).is_err());
        assert!(transactions("").is_err());
        assert!(throughput("").is_err());
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<u64> = (1..=200).collect();
        assert!((percentile(&values, 50).unwrap() - 100.0).abs() < 1e-9);
        assert!((percentile(&values, 99).unwrap() - 198.0).abs() < 1e-9);
        assert!((percentile(&[5], 99).unwrap() - 5.0).abs() < 1e-9);
        assert!(percentile(&[], 50).is_err());
    }
}
