//! `/api/database`: what Postgres and PgBouncer say themselves, where they are asked.

use std::{collections::BTreeMap, time::SystemTime};

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::Serialize;

use super::App;
use crate::database::{
    AskedDatabase, Chain, Checkpoints, ConnectError, DatabaseCounts, Extension, Limits, Link,
    Missing, Pool, PooledDatabase, Replication, Server, Session, SessionGroup, Sessions, Step,
    Table, Waiting,
};

/// Groups of sessions that are shown.
const GROUPS: usize = 50;

/// The whole answer.
#[derive(Serialize)]
pub(super) struct Answer {
    databases: Vec<Database>,
}

/// One configured database.
#[derive(Serialize)]
pub(crate) struct Database {
    name: String,
    service: Option<String>,
    #[serde(flatten)]
    link: LinkState,
    server: Option<ServerAnswer>,
    /// `None` when none is configured.
    pgbouncer: Option<PgBouncer>,
}

/// How a connection is.
#[derive(Serialize)]
struct LinkState {
    address: String,
    up: bool,
    problem: Option<LinkProblem>,
    /// When it answered last.
    looked_at: Option<String>,
    look_seconds: Option<f64>,
    /// Failed attempts by step.
    failed: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct LinkProblem {
    step: &'static str,
    message: String,
    hint: String,
}

/// What the server said last, also when it does not answer any more.
#[derive(Serialize)]
struct ServerAnswer {
    version: String,
    standby: bool,
    user: String,
    datname: String,
    connections: Option<Connections>,
    sessions: Option<SessionsAnswer>,
    locks: Option<Locks>,
    counters: Vec<DatabaseCounts>,
    checkpoints: Option<Checkpoints>,
    replication: Option<Replication>,
    tables: Vec<Table>,
    extensions: Vec<Extension>,
    missing: Vec<Missing>,
}

#[derive(Serialize)]
struct Connections {
    #[serde(flatten)]
    limits: Limits,
    usable: u64,
    available: u64,
    headroom: &'static str,
    verdict: String,
}

#[derive(Serialize)]
struct SessionsAnswer {
    count: u64,
    by_state: BTreeMap<String, u64>,
    /// Of active sessions: what they wait for.
    waits: BTreeMap<String, u64>,
    longest_transaction_seconds: Option<f64>,
    longest_statement_seconds: Option<f64>,
    oldest_idle_in_transaction_seconds: Option<f64>,
    groups: Vec<SessionGroup>,
    notable: Vec<Session>,
}

#[derive(Serialize)]
struct Locks {
    waiting: u64,
    chains: Vec<ChainAnswer>,
}

#[derive(Serialize)]
struct ChainAnswer {
    sentence: String,
    deadlock: bool,
    longest_wait_seconds: f64,
    root: Session,
    waiting: Vec<Waiting>,
}

#[derive(Serialize)]
struct PgBouncer {
    #[serde(flatten)]
    link: LinkState,
    version: Option<String>,
    pools: Vec<Pool>,
    databases: Vec<PooledDatabase>,
}

pub(super) async fn database(State(app): State<App>) -> Json<Answer> {
    let reports = app.source.databases();
    let databases = reports.iter().map(Database::from).collect();
    Json(Answer { databases })
}

impl From<&AskedDatabase> for Database {
    fn from(report: &AskedDatabase) -> Self {
        let look = report.server.look.as_ref();
        Self {
            name: report.name.clone(),
            service: report.service.clone(),
            link: LinkState::new(&report.server),
            server: look.map(|look| ServerAnswer::from(&look.found)),
            pgbouncer: report.pooler.as_deref().map(|link| {
                let found = link.look.as_ref().map(|look| look.found.clone());
                let version = found.as_ref().map(|found| found.version.clone());
                let found = found.unwrap_or_default();
                PgBouncer {
                    link: LinkState::new(link),
                    version,
                    pools: found.pools,
                    databases: found.databases,
                }
            }),
        }
    }
}

impl LinkState {
    fn new<T>(link: &Link<T>) -> Self {
        let steps = Step::ALL.into_iter().map(Step::as_str);
        Self {
            address: link.place.clone(),
            up: link.current().is_some(),
            problem: link.error.as_ref().map(LinkProblem::from),
            looked_at: link.look.as_ref().and_then(|look| rfc3339(look.at)),
            look_seconds: link.look.as_ref().map(|look| look.took.as_secs_f64()),
            failed: steps.zip(link.failed).collect(),
        }
    }
}

impl From<&ConnectError> for LinkProblem {
    fn from(error: &ConnectError) -> Self {
        Self {
            step: error.step.as_str(),
            message: error.what.clone(),
            hint: error.hint.clone(),
        }
    }
}

impl From<&Server> for ServerAnswer {
    fn from(server: &Server) -> Self {
        Self {
            version: server.version.clone(),
            standby: server.is_standby,
            user: server.user.clone(),
            datname: server.datname.clone(),
            connections: server.limits.map(Connections::from),
            sessions: server.sessions.as_ref().map(SessionsAnswer::from),
            locks: server.blocking.as_ref().map(|blocking| Locks {
                waiting: blocking.waiting,
                chains: blocking.chains.iter().map(ChainAnswer::from).collect(),
            }),
            counters: server.databases.clone(),
            checkpoints: server.checkpoints,
            replication: server.replication.clone(),
            tables: server.tables.clone(),
            extensions: server.extensions.clone(),
            missing: server.missing.clone(),
        }
    }
}

impl From<Limits> for Connections {
    fn from(limits: Limits) -> Self {
        Self {
            limits,
            usable: limits.usable(),
            available: limits.available(),
            headroom: limits.headroom().as_str(),
            verdict: limits.verdict(),
        }
    }
}

impl From<&Sessions> for SessionsAnswer {
    fn from(sessions: &Sessions) -> Self {
        let mut by_state: BTreeMap<String, u64> = BTreeMap::new();
        let mut waits: BTreeMap<String, u64> = BTreeMap::new();
        for group in &sessions.groups {
            *by_state.entry(group.state.clone()).or_default() += group.count;
            if group.state == "active"
                && let (Some(kind), Some(event)) = (&group.wait_event_type, &group.wait_event)
            {
                *waits.entry(format!("{kind}: {event}")).or_default() += group.count;
            }
        }
        let oldest = |age: fn(&SessionGroup) -> Option<f64>| {
            sessions.groups.iter().filter_map(age).reduce(f64::max)
        };
        Self {
            count: sessions.count,
            by_state,
            waits,
            longest_transaction_seconds: oldest(|group| group.transaction_seconds),
            longest_statement_seconds: oldest(|group| group.statement_seconds),
            oldest_idle_in_transaction_seconds: oldest(|group| {
                let idle = group.state.starts_with("idle in transaction");
                group.transaction_seconds.filter(|_| idle)
            }),
            groups: sessions.groups.iter().take(GROUPS).cloned().collect(),
            notable: sessions.notable.clone(),
        }
    }
}

impl From<&Chain> for ChainAnswer {
    fn from(chain: &Chain) -> Self {
        Self {
            sentence: chain.sentence(),
            deadlock: chain.is_cycle,
            longest_wait_seconds: chain.longest_wait_seconds(),
            root: chain.root.clone(),
            waiting: chain.waiting.clone(),
        }
    }
}

/// RFC 3339, UTC, with milliseconds.
fn rfc3339(at: SystemTime) -> Option<String> {
    let at = Timestamp::try_from(at).ok()?;
    Some(format!("{at:.3}"))
}
