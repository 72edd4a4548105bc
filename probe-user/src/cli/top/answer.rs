//! The parts of the daemon's answers that are shown. What an older daemon does not say is left out.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::cli::client::{AskError, Client};

/// Both answers, taken together.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) overview: Overview,
    pub(super) verdicts: Verdicts,
}

impl Answer {
    /// Asks the daemon.
    ///
    /// # Errors
    /// It does not answer, or not in a way that is understood.
    pub(super) async fn ask(client: &Client) -> Result<Self, String> {
        let overview = client.get("/api/overview", &[]).await;
        let overview = overview.map_err(|error: AskError| error.to_string())?;
        // A daemon that is older has no verdicts.
        let verdicts = client.get("/api/verdict", &[]).await.unwrap_or_default();
        Self::parse(overview, verdicts)
    }

    /// From JSON.
    ///
    /// # Errors
    /// What is not as expected.
    pub(super) fn parse(
        overview: serde_json::Value,
        verdicts: serde_json::Value,
    ) -> Result<Self, String> {
        let other = |error: serde_json::Error| {
            format!("the daemon is another version, and is not understood: {error}")
        };
        Ok(Self {
            overview: serde_json::from_value(overview).map_err(other)?,
            verdicts: serde_json::from_value(verdicts).unwrap_or_default(),
        })
    }
}

/// `/api/overview`: totals since the daemon's start.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Overview {
    pub(super) at_seconds: f64,
    pub(super) about: About,
    pub(super) bounds_seconds: Vec<f64>,
    pub(super) latency_bounds_seconds: Vec<f64>,
    pub(super) services: Vec<Service>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct About {
    pub(super) version: String,
    pub(super) kernel: String,
    pub(super) started_at_seconds: f64,
    pub(super) summary: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Service {
    pub(super) name: String,
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) processes: u64,
    #[serde(default)]
    pub(super) http: Http,
    #[serde(default)]
    pub(super) postgres: Vec<Statements>,
    #[serde(default)]
    pub(super) database: Database,
    #[serde(default)]
    pub(super) syscalls: Vec<Syscall>,
    pub(super) resources: Option<Resources>,
}

/// What its processes take.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Resources {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Http {
    pub(super) requests: Vec<Requests>,
}

/// Requests of one route and status.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Requests {
    pub(super) method: String,
    pub(super) route: String,
    pub(super) status: Option<u16>,
    pub(super) calls: u64,
    pub(super) aborted: u64,
    pub(super) sum_seconds: f64,
    pub(super) counts: Vec<u64>,
}

/// Statements that a server executed, by what they do and how they ended.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Statements {
    pub(super) outcome: String,
    pub(super) calls: u64,
    pub(super) sum_seconds: f64,
    pub(super) counts: Vec<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Database {
    #[serde(default)]
    pub(super) server: Side,
    #[serde(default)]
    pub(super) client: Side,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Side {
    #[serde(default)]
    pub(super) statements: Vec<Fingerprint>,
}

/// Statements that look alike.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Fingerprint {
    pub(super) fingerprint: String,
    pub(super) text: Option<String>,
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) sum_seconds: f64,
    pub(super) counts: Vec<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Syscall {
    pub(super) name: String,
    pub(super) duration: Buckets,
    pub(super) errors: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Buckets {
    pub(super) count: u64,
    pub(super) sum_seconds: f64,
    pub(super) counts: Vec<u64>,
}

/// `/api/verdict`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Verdicts {
    pub(super) window_seconds: f64,
    pub(super) host: Vec<String>,
    pub(super) services: Vec<Verdict>,
}

/// What is said of one service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Verdict {
    pub(super) name: String,
    pub(super) sentence: String,
    pub(super) cause: Option<String>,
    pub(super) slow: bool,
    pub(super) shares: BTreeMap<String, f64>,
    pub(super) work: BTreeMap<String, f64>,
    pub(super) cpu: Option<f64>,
    pub(super) run_queue_p99_seconds: Option<f64>,
    pub(super) disk_p99_seconds: Option<f64>,
}
