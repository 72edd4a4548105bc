//! The small JSON endpoints. The shapes are documented in `openapi.json`, and tests hold both
//! together.

use axum::{Json, extract::State as Shared};
use serde::Serialize;

use super::{App, CollectError, Status};
use crate::{
    kernel::snapshot::{ProbeState, ProbeStatus, ProgramRuntime, Snapshot},
    metrics::{
        ExitCount, OwnProcess, ServiceView,
        collect::{epoch_seconds, losses},
        metric::seconds,
        names,
    },
    store::{State, StoreReport},
    targets,
};

/// `/api/services`.
#[derive(Serialize)]
pub(super) struct Services {
    services: Vec<Service>,
}

/// Who a service is.
#[derive(Serialize)]
pub(super) struct Service {
    pub(super) name: String,
    kind: String,
    found_by: String,
    processes: u64,
    starts: u64,
    exits: Vec<Exit>,
    ports: Vec<u16>,
}

#[derive(Serialize)]
struct Exit {
    code: Option<u8>,
    signal: Option<String>,
    count: u64,
}

/// `/api/probes`.
#[derive(Serialize)]
pub(super) struct Probes {
    probes: Vec<Probe>,
    programs: Vec<Program>,
}

#[derive(Serialize)]
pub(super) struct Probe {
    name: &'static str,
    what: &'static str,
    state: &'static str,
    reason: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Program {
    name: &'static str,
    runs: u64,
    run_seconds: f64,
    measured_seconds: f64,
    recursion_misses: u64,
    verified_instructions: u64,
}

/// `/api/status`.
#[derive(Serialize)]
pub(super) struct StatusAnswer {
    #[serde(flatten)]
    about: About,
    losses: Vec<LossCount>,
    store: StoreStatus,
    own_process: Option<OwnProcess>,
}

/// How the store does.
#[derive(Serialize)]
struct StoreStatus {
    location: String,
    state: &'static str,
    reason: Option<String>,
    queue_records: u64,
    size_bytes: Option<u64>,
    kinds: Vec<StoredKind>,
}

#[derive(Serialize)]
struct StoredKind {
    kind: &'static str,
    written: u64,
    dropped: u64,
}

/// The daemon in a few words.
#[derive(Serialize)]
pub(super) struct About {
    version: String,
    object_build_id: String,
    rustc: String,
    kernel: String,
    started_at_seconds: f64,
    uptime_seconds: f64,
    summary: String,
    ready: bool,
    not_ready_because: Option<String>,
}

#[derive(Serialize)]
pub(super) struct LossCount {
    cause: &'static str,
    count: u64,
}

/// The services that are watched.
pub(super) async fn services(Shared(app): Shared<App>) -> Result<Json<Services>, CollectError> {
    let reading = app.collector.read().await?;
    let services = reading
        .collected
        .services
        .iter()
        .map(Service::from)
        .collect();
    Ok(Json(Services { services }))
}

/// The probes, and what their kernel programs cost.
pub(super) async fn probes(Shared(app): Shared<App>) -> Result<Json<Probes>, CollectError> {
    let reading = app.collector.read().await?;
    Ok(Json(Probes {
        probes: probe_list(&reading.collected.snapshot),
        programs: program_list(&reading.collected.snapshot),
    }))
}

/// The daemon's state.
pub(super) async fn status(Shared(app): Shared<App>) -> Result<Json<StatusAnswer>, CollectError> {
    let reading = app.collector.read().await?;
    Ok(Json(StatusAnswer {
        about: About::from(&reading.status),
        losses: loss_list(&reading.collected.snapshot),
        store: StoreStatus::from(&reading.store),
        own_process: reading.own_process,
    }))
}

pub(super) fn probe_list(snapshot: &Snapshot) -> Vec<Probe> {
    snapshot.probes.iter().map(Probe::from).collect()
}

pub(super) fn program_list(snapshot: &Snapshot) -> Vec<Program> {
    snapshot.programs.iter().map(Program::from).collect()
}

pub(super) fn loss_list(snapshot: &Snapshot) -> Vec<LossCount> {
    losses(snapshot)
        .map(|(cause, count)| LossCount { cause, count })
        .collect()
}

impl From<&Status> for About {
    fn from(status: &Status) -> Self {
        let not_ready_because = status.not_ready();
        Self {
            version: status.build.version.clone(),
            object_build_id: status.build.object_build_id.clone(),
            rustc: status.build.rustc.clone(),
            kernel: status.kernel.clone(),
            started_at_seconds: epoch_seconds(status.started_at),
            uptime_seconds: status.uptime.as_secs_f64(),
            summary: status.summary.clone(),
            ready: not_ready_because.is_none(),
            not_ready_because,
        }
    }
}

impl From<&StoreReport> for StoreStatus {
    fn from(report: &StoreReport) -> Self {
        let (state, reason) = match &report.state {
            State::Off => ("off", None),
            State::Opening => ("opening", None),
            State::Up => ("up", None),
            State::Down(why) => ("down", Some(why.clone())),
        };
        let kinds = report.kinds.iter().map(|kind| StoredKind {
            kind: kind.kind.as_str(),
            written: kind.written,
            dropped: kind.dropped.iter().map(|(_, rows)| rows).sum(),
        });
        Self {
            location: report.location.clone(),
            state,
            reason,
            queue_records: report.queue_records,
            size_bytes: report.size_bytes,
            kinds: kinds.collect(),
        }
    }
}

impl From<&ServiceView> for Service {
    fn from(view: &ServiceView) -> Self {
        Self {
            name: view.name.clone(),
            kind: view.kind.clone(),
            found_by: view.found_by.clone(),
            processes: view.processes,
            starts: view.starts,
            exits: view.exits.iter().map(Exit::from).collect(),
            ports: view.ports.clone(),
        }
    }
}

impl Service {
    /// Two services of one name are shown as one, as in `/metrics`.
    pub(super) fn merge(&mut self, view: &ServiceView) {
        self.processes = self.processes.saturating_add(view.processes);
        self.starts = self.starts.saturating_add(view.starts);
        self.exits.extend(view.exits.iter().map(Exit::from));
        self.ports.extend(&view.ports);
        self.ports.sort_unstable();
        self.ports.dedup();
    }
}

impl From<&ExitCount> for Exit {
    fn from(exit: &ExitCount) -> Self {
        let (code, signal) = match exit.outcome {
            targets::Exit::Code(code) => (Some(code), None),
            targets::Exit::Signal(number) => (None, Some(names::signal(number).into_owned())),
        };
        Self {
            code,
            signal,
            count: exit.count,
        }
    }
}

impl From<&ProbeStatus> for Probe {
    fn from(probe: &ProbeStatus) -> Self {
        let (state, reason) = match &probe.state {
            ProbeState::Active => ("active", None),
            ProbeState::Disabled(reason) => ("disabled", Some(reason.clone())),
            ProbeState::Failed(reason) => ("failed", Some(reason.clone())),
        };
        Self {
            name: probe.name,
            what: probe.what,
            state,
            reason,
        }
    }
}

impl From<&ProgramRuntime> for Program {
    fn from(program: &ProgramRuntime) -> Self {
        Self {
            name: program.name,
            runs: program.runs,
            run_seconds: seconds(program.run_ns),
            measured_seconds: seconds(program.measured_ns),
            recursion_misses: program.recursion_misses,
            verified_instructions: program.verified_instructions,
        }
    }
}
