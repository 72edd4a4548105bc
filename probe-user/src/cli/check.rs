//! `hostprobe check`: what works here, and if not, why and what to do.

mod database;
mod gemini;

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode};

use serde::{Serialize, Serializer};

use super::{VERSION, exit, print};
use crate::api::DatabaseAnswer;
use crate::config::Config;
use crate::database::AskedDatabase;
use crate::kernel::{
    environment::{self, Finding, Verdict},
    probe, probes,
    snapshot::ProbeState,
};
use crate::store;

/// All that `check` found out.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    host: Vec<Finding>,
    /// Empty when nothing could be loaded; then `error` says why.
    probes: Vec<ProbeReport>,
    error: Option<String>,
    /// Programs that were attached, with the instructions that the verifier looked at.
    programs: BTreeMap<&'static str, u64>,
    store: StoreReport,
    gemini: gemini::Report,
    works: bool,
    /// The configured databases, which do not keep the probe from working.
    #[serde(serialize_with = "as_the_api_has_them")]
    databases: Vec<AskedDatabase>,
}

/// Where records would be kept.
#[derive(Debug, Serialize)]
struct StoreReport {
    location: String,
    works: bool,
    /// What is there, or why it can't be used.
    detail: String,
}

#[derive(Debug, Serialize)]
struct ProbeReport {
    name: &'static str,
    what: &'static str,
    state: &'static str,
    why: Option<String>,
    /// Optional programs of an active probe that this kernel refused.
    without: Vec<&'static str>,
}

fn as_the_api_has_them<S: Serializer>(
    databases: &[AskedDatabase],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(databases.iter().map(DatabaseAnswer::from))
}

/// Loads and attaches everything for a moment, without tracing anything, and asks the configured
/// databases once.
pub(super) fn check(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let report = report(config)?;
    if json {
        print(&(serde_json::to_string_pretty(&report)? + "\n"))?;
    } else {
        print(&text(&report)?)?;
    }
    Ok(if report.works {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::UNSUPPORTED)
    })
}

fn report(config: &Config) -> anyhow::Result<Report> {
    let mut report = Report {
        version: VERSION,
        host: environment::inspect(),
        probes: Vec::new(),
        error: None,
        programs: BTreeMap::new(),
        store: store(config)?,
        gemini: gemini::report(config),
        works: false,
        databases: database::ask(&config.databases),
    };
    // What `run` loads with nothing configured.
    let wanted = super::run::wanted(&Config::default(), true);
    match probe::load(&wanted) {
        Ok(loaded) => {
            let attached = |name: &str| loaded.programs.iter().any(|program| program.name == name);
            for (status, probe) in loaded.probes.iter().zip(&probes::ALL) {
                let (state, why) = match &status.state {
                    ProbeState::Active => ("active", None),
                    ProbeState::Disabled(why) => ("disabled", Some(why.clone())),
                    ProbeState::Failed(why) => ("failed", Some(why.clone())),
                };
                let without = probe.programs.iter().map(|program| program.name);
                report.probes.push(ProbeReport {
                    name: status.name,
                    what: status.what,
                    state,
                    why,
                    without: without
                        .filter(|name| status.state == ProbeState::Active && !attached(name))
                        .collect(),
                });
            }
            report.works = loaded
                .probes
                .iter()
                .any(|status| status.state == ProbeState::Active);
            for program in &loaded.programs {
                report
                    .programs
                    .insert(program.name, program.verified_instructions);
            }
        }
        Err(error) => report.error = Some(error.to_string()),
    }
    Ok(report)
}

fn store(config: &Config) -> anyhow::Result<StoreReport> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let examined = runtime.block_on(store::examine(&config.store));
    Ok(StoreReport {
        location: examined.location,
        works: examined.found.is_ok(),
        detail: examined.found.unwrap_or_else(|error| error.to_string()),
    })
}

fn text(report: &Report) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "hostprobe {}\n\nThis host", report.version)?;
    for finding in &report.host {
        let mark = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "PROBLEM",
        };
        writeln!(out, "  {:<18} {mark:<8} {}", finding.what, finding.detail)?;
    }
    writeln!(out, "\nProbes")?;
    for probe in &report.probes {
        let mark = match probe.state {
            "active" => "ok",
            "failed" => "FAILED",
            _ => "off",
        };
        writeln!(out, "  {:<18} {mark:<8} {}", probe.name, probe.what)?;
        if let Some(why) = &probe.why {
            writeln!(out, "  {:<27} {why}", "")?;
        }
        if !probe.without.is_empty() {
            let without = probe.without.join(", ");
            writeln!(out, "  {:<27} without {without}: not in this kernel", "")?;
        }
    }
    if let Some(error) = &report.error {
        writeln!(out, "  {error}")?;
    }
    let mark = if report.store.works { "ok" } else { "PROBLEM" };
    writeln!(out, "\nStore")?;
    writeln!(
        out,
        "  {:<18} {mark:<8} {}",
        "location", report.store.location
    )?;
    writeln!(out, "  {:<27} {}", "", report.store.detail)?;
    database::text(&mut out, &report.databases)?;
    gemini::text(&mut out, &report.gemini)?;
    writeln!(
        out,
        "\nNot seen on any kernel: what is moved through io_uring (its requests are counted), 32-bit programs, and \
         what is encrypted by anything else than OpenSSL or BoringSSL with its symbols (Go, Java and \
         rustls encrypt by themselves)."
    )?;
    let verdict = if report.works {
        "The probe works here: `hostprobe run` traces, `hostprobe check --json` has the details."
    } else {
        "The probe cannot work here until the problems above are solved."
    };
    writeln!(out, "\n{verdict}")?;
    Ok(out)
}
