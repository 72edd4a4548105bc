//! Advice on indexes: which are missing for the statements that take most of the time, which exist
//! and are not worth their cost.
//!
//! Statements come from the wire, without their literals; the planner of the database itself says
//! what they cost and what an index would change. No statement is ever run, nothing is analysed, and
//! no index is made: what is tried are HypoPG's, which only the probe's own session can see.
//!
//! - [`statement`], [`predicate`], [`plan`], [`candidate`]: pure functions of text;
//! - [`catalog`]: what exists; [`housekeeping`]: what of it is not worth its cost;
//! - [`session`]: asks the planner; [`search`]: for one statement; [`round`]: for all of them.

pub mod candidate;
pub mod catalog;
pub mod housekeeping;
pub mod plan;
pub mod predicate;
pub mod report;
mod rewriter;
pub mod round;
pub mod search;
pub mod session;
pub mod statement;
pub mod workload;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use sqlx::Connection as _;
use tokio::time::timeout;

use crate::{config, traffic::Report};
use catalog::Catalog;
use report::{AdviceReport, DatabaseAdvice, State};
use workload::{Recent, Workload};

/// What a round may take beyond its own limit before the connection counts as dead.
const GRACE: Duration = Duration::from_secs(30);

/// Looks for advice on one database, round after round.
#[derive(Debug)]
pub struct Adviser {
    database: config::Database,
    settings: config::Advice,
    recent: Recent,
}

/// The services' names by their ids.
pub type Names = BTreeMap<u16, String>;

impl Adviser {
    /// For one configured database.
    pub fn new(database: config::Database, settings: config::Advice) -> Self {
        Self {
            database,
            settings,
            recent: Recent::default(),
        }
    }

    /// One round: connects, looks, and disconnects, so that the server has one session less between
    /// two rounds. What is known of the database is changed in any case.
    pub async fn round(&mut self, traffic: &Report, names: &Names, known: &mut DatabaseAdvice) {
        let begin = Instant::now();
        let limit = Duration::from_secs(self.settings.round_timeout_s.into()) + GRACE;
        let result = match timeout(limit, self.look(traffic, names)).await {
            Ok(result) => result,
            Err(_) => Err(format!(
                "the server did not answer within {} s",
                limit.as_secs()
            )),
        };
        match result {
            Ok(found) => {
                found.publish(known);
                known.state = State::Done;
                known.rounds += 1;
                known.finished_at = Some(SystemTime::now());
                known.round_seconds = begin.elapsed().as_secs_f64();
            }
            Err(why) => {
                if known.state != State::Failed(why.clone()) {
                    tracing::warn!(database = %self.database.name, "no advice: {why}");
                }
                known.state = State::Failed(why);
                known.failures += 1;
            }
        }
    }

    async fn look(&mut self, traffic: &Report, names: &Names) -> Result<round::Found, String> {
        let mut connection = super::connect(&self.database)
            .await
            .map_err(|error| error.to_string())?;
        let found = self.look_by(&mut connection, traffic, names).await;
        // The server ends the session itself when this fails.
        drop(connection.close().await);
        found.map_err(|error| format!("asking the server failed: {error}"))
    }

    async fn look_by(
        &mut self,
        connection: &mut sqlx::PgConnection,
        traffic: &Report,
        names: &Names,
    ) -> Result<round::Found, sqlx::Error> {
        let catalog = Catalog::read(connection).await?;
        let workload = Workload::of(
            traffic,
            names,
            &catalog.server.database,
            self.database.service.as_deref(),
            &mut self.recent,
            Duration::from_secs(self.settings.recent_s.into()),
        );
        round::round(connection, &catalog, &workload, &self.settings).await
    }
}

/// What is known before the first round.
pub fn initial(databases: &[config::Database]) -> AdviceReport {
    let wanted = databases.iter().filter(|database| database.advice);
    AdviceReport {
        databases: wanted
            .map(|database| DatabaseAdvice {
                name: database.name.clone(),
                ..DatabaseAdvice::default()
            })
            .collect(),
    }
}
