//! A FastAPI app with asyncpg under `wrk`: one row by primary key per request.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    as_f64,
    collector::Collector,
    cost::{DaemonBefore, cpu_of_tree},
    report::Measurement,
    server::{ACCOUNTS, Inside, Server},
};
use crate::{
    exposition::Metrics,
    http,
    postgres::Postgres,
    probe::{Config, Probe, free_address},
    process::{Process, run},
    site::{Site, need, repository},
    web::{WebApp, environment},
};

/// Connections of the load generator, each with one request under way at any time.
pub(super) const CONNECTIONS: usize = 16;

/// Seconds of load before the measurement.
const WARM_UP: u64 = 1;

/// What observes the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observer {
    /// Nothing.
    Nothing,
    /// The probe, which traces the app and Postgres.
    Probe,
    /// prometheus-fastapi-instrumentator, and asyncpg's query logger into a histogram.
    Prometheus,
    /// `opentelemetry-instrument` with the instrumentations of FastAPI and asyncpg.
    OpenTelemetry,
}

/// Measures one variant for so many seconds.
///
/// # Errors
/// Something does not start, or the observer did not see what it should have.
pub(super) fn measure(
    site: &Site,
    server: &Server,
    observer: Observer,
    seconds: u64,
) -> Result<Measurement> {
    let postgres = server.start(Inside::Nothing)?;
    // Outlives the app, which sends its last spans when it ends.
    let collector = match observer {
        Observer::OpenTelemetry => Some(Collector::start()?),
        _ => None,
    };
    let app = start(&postgres, observer, collector.as_ref())?;
    let probe = match observer {
        Observer::Probe => {
            let config = Config::default()
                .with_payload()
                .service("app", &[app.pid()])
                .service("postgres", &[postgres.pid()]);
            Some(Probe::start(site, &config)?)
        }
        _ => None,
    };
    let warm_up = load(&app, WARM_UP)?;
    let before = probe.as_ref().map(DaemonBefore::look).transpose()?;
    let cpu = || -> Result<Duration> { Ok(cpu_of_tree(app.pid())? + cpu_of_tree(postgres.pid())?) };
    let cpu_before = cpu()?;
    let load = load(&app, seconds)?;
    let cpu = cpu()?.saturating_sub(cpu_before);
    let daemon = match (before, &probe) {
        (Some(before), Some(probe)) => Some(before.after(probe, load.seconds)?),
        _ => None,
    };
    let made = warm_up.requests + load.requests;
    if let Some(probe) = probe {
        // What was lost is in the report, and can't have been seen.
        if daemon
            .as_ref()
            .is_some_and(|daemon| daemon.lost_total() == 0)
        {
            check_probe(&probe, made)?;
        }
        probe.stop()?;
    }
    if observer == Observer::Prometheus {
        check_prometheus(&app, made)?;
    }
    app.stop()?;
    if let Some(collector) = collector {
        ensure!(collector.traces() > 0, "no spans came to the collector");
    }
    postgres.stop()?;
    Ok(Measurement {
        throughput: as_f64(load.requests) / load.seconds,
        p50_us: load.p50_us,
        p99_us: load.p99_us,
        cpu_us: cpu.as_secs_f64() * 1e6 / as_f64(load.requests),
        daemon,
    })
}

/// Starts the app: uvicorn with one worker, and with the event loop and the parser that
/// `uvicorn[standard]` brings.
fn start(postgres: &Postgres, observer: Observer, collector: Option<&Collector>) -> Result<WebApp> {
    let python = environment("bench-venv", "bench-requirements.txt")?;
    let mut command = match collector {
        None => Command::new(&python),
        Some(collector) => {
            let mut command = Command::new(python.with_file_name("opentelemetry-instrument"));
            command
                .arg(&python)
                .env("OTEL_SERVICE_NAME", "bench")
                .env("OTEL_TRACES_EXPORTER", "otlp")
                .env("OTEL_METRICS_EXPORTER", "otlp")
                .env("OTEL_LOGS_EXPORTER", "none")
                .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
                .env(
                    "OTEL_EXPORTER_OTLP_ENDPOINT",
                    format!("http://{}", collector.address()),
                );
            command
        }
    };
    let address = free_address()?;
    command
        .args(["-m", "uvicorn", "main:app", "--no-access-log"])
        .args(["--loop", "uvloop", "--http", "httptools"])
        .args(["--host", &address.ip().to_string()])
        .args(["--port", &address.port().to_string()])
        .current_dir(directory())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("BENCH_DATABASE", postgres.url_over_tcp());
    if observer == Observer::Prometheus {
        command.env("BENCH_METRICS", "prometheus");
    }
    let mut app = WebApp::running_as(address, Process::spawn("uvicorn", command)?);
    app.wait_ready()?;
    Ok(app)
}

fn directory() -> PathBuf {
    repository().join("tests/apps/bench")
}

/// What `wrk` says.
#[derive(Debug, PartialEq)]
struct Load {
    requests: u64,
    seconds: f64,
    p50_us: f64,
    p99_us: f64,
}

fn load(app: &WebApp, seconds: u64) -> Result<Load> {
    let mut command = Command::new(need("wrk", "wrk")?);
    command
        .arg("--threads=1")
        .arg(format!("--connections={CONNECTIONS}"))
        .arg(format!("--duration={seconds}s"))
        .arg("--script=load.lua")
        .arg(format!("http://{}", app.address()))
        .current_dir(directory())
        .env("BENCH_ACCOUNTS", ACCOUNTS.to_string());
    let output = run("wrk", command)?;
    parse(&output).with_context(|| format!("wrk wrote:\n{output}"))
}

/// Reads the line that `load.lua` writes.
fn parse(output: &str) -> Result<Load> {
    let line = output
        .lines()
        .find_map(|line| line.strip_prefix("result "))
        .context("no line with the result")?;
    let number = |name: &str| -> Result<u64> {
        let field = line
            .split_whitespace()
            .find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        let field = field.with_context(|| format!("no {name}"))?;
        field.parse().with_context(|| format!("{name}={field}"))
    };
    ensure!(number("failed")? == 0, "requests failed");
    let requests = number("requests")?;
    ensure!(requests > 0, "no request was answered");
    Ok(Load {
        requests,
        seconds: as_f64(number("duration_us")?) / 1e6,
        p50_us: as_f64(number("p50_us")?),
        p99_us: as_f64(number("p99_us")?),
    })
}

/// The probe has seen each request and its statement, at both ends; otherwise it was cheap because
/// it did nothing.
fn check_probe(probe: &Probe, made: u64) -> Result<()> {
    probe.eventually(|metrics| {
        for (service, name) in [
            ("app", "http_server_request_duration_seconds_count"),
            ("app", "db_client_operation_duration_seconds_count"),
            (
                "postgres",
                "hostprobe_postgres_statement_duration_seconds_count",
            ),
        ] {
            let seen = metrics.count(name, &[("service", service)]);
            ensure!(
                seen >= made,
                "{made} requests were made, the probe has {seen} in {name} of {service}"
            );
        }
        Ok(())
    })
}

/// Likewise for what the app measures itself.
fn check_prometheus(app: &WebApp, made: u64) -> Result<()> {
    let metrics = Metrics::parse(&http::get(app.address(), "/metrics", &[])?.body)?;
    let route = [("handler", "/accounts/{account}")];
    for (name, labels) in [
        ("http_requests_total", &route[..]),
        ("app_statement_seconds_count", &[]),
    ] {
        let seen = metrics.count(name, labels);
        ensure!(
            seen >= made,
            "{made} requests were made, the app has {seen} in {name}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_load_generator_says_is_read() {
        let output = "Running 3s test\nresult requests=300 failed=0 duration_us=3000000 p50_us=4276 p99_us=8744\n";
        let expected = Load {
            requests: 300,
            seconds: 3.0,
            p50_us: 4276.0,
            p99_us: 8744.0,
        };
        assert_eq!(parse(output).unwrap(), expected);
    }

    /// Errors are answered faster than requests, and would look like speed.
    #[test]
    fn failed_requests_void_a_measurement() {
        let output = "result requests=300 failed=2 duration_us=3000000 p50_us=4276 p99_us=8744\n";
        assert!(parse(output).is_err());
        assert!(parse("").is_err());
    }
}
