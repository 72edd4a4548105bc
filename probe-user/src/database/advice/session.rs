//! Asking the planner: plans of statements that are never run, and indexes that never exist.
//!
//! Each question is a transaction of its own, read-only, with limits on time and locks, and rolled
//! back at its end. The statement goes to the server by `PREPARE`, in a message that takes a single
//! command, and is planned by `EXPLAIN EXECUTE` without `ANALYZE`. Its parameters stay unknown to the
//! planner (`force_generic_plan`), so no value has to be invented for them.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::{
    candidate::Candidate, catalog::Server, plan::Plan, report::HypoPg, statement::Plannable,
};

/// Name of the statement that is prepared for a moment.
const NAME: &str = "hostprobe_advice";

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The server refuses the statement; the connection is as good as before.
    #[error("{0}")]
    Refused(String),
    /// The connection is of no use any more.
    #[error("the connection broke: {0}")]
    Broken(sqlx::Error),
}

impl From<sqlx::Error> for PlanError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refusal) => {
                let code = refusal.code().unwrap_or_default();
                let message = refusal.message();
                let hint = match &*code {
                    "42501" => "; grant the role the right to read it, see docs/database.md",
                    "42P01" | "3F000" | "42883" => {
                        "; the role's search_path may lack the schema, see docs/database.md"
                    }
                    "57014" => "; planning took longer than advice.statement_timeout_ms",
                    "55P03" => {
                        "; another transaction holds a lock on the table, tried again in the next round"
                    }
                    "42P18" | "42725" => "; the type of a value can't be told without the value",
                    _ => "",
                };
                Self::Refused(format!("{message} (SQLSTATE {code}){hint}"))
            }
            _ => Self::Broken(error),
        }
    }
}

/// A connection that asks.
pub struct Planner<'c> {
    connection: &'c mut PgConnection,
    timeout: Duration,
    hypopg_schema: Option<String>,
}

/// An index in theory: its number and name in this session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hypothetical {
    number: i64,
    /// What plans call it.
    pub name: String,
}

impl<'c> Planner<'c> {
    /// Asks by this connection; `timeout` is for each plan. Finds out whether HypoPG can be used.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn new(
        connection: &'c mut PgConnection,
        server: &Server,
        timeout: Duration,
    ) -> Result<(Self, HypoPg), sqlx::Error> {
        let mut planner = Self {
            connection,
            timeout,
            hypopg_schema: server.hypopg_schema.clone(),
        };
        let reason = match &server.hypopg_schema {
            Some(_) => match planner.forget_indexes().await {
                Ok(()) => None,
                Err(PlanError::Broken(error)) => return Err(error),
                Err(PlanError::Refused(why)) => Some(format!("HypoPG can't be used: {why}")),
            },
            None if server.hypopg_available => Some(format!(
                "HypoPG is installed but not created in database {}: run `CREATE EXTENSION hypopg` there",
                server.database
            )),
            None => Some(format!(
                "HypoPG is not installed: on Debian install postgresql-{}-hypopg, then run \
                 `CREATE EXTENSION hypopg` in database {}",
                server.version / 10_000,
                server.database
            )),
        };
        if reason.is_some() {
            planner.hypopg_schema = None;
        }
        let usable = planner.hypopg_schema.is_some();
        Ok((planner, HypoPg { usable, reason }))
    }

    /// Whether indexes can be tried.
    pub fn can_try(&self) -> bool {
        self.hypopg_schema.is_some()
    }

    /// The connection, for other questions.
    pub fn connection(&mut self) -> &mut PgConnection {
        self.connection
    }

    /// The plan that Postgres would make with what it knows without values.
    ///
    /// # Errors
    /// The server refuses it, or the connection broke.
    pub async fn plan(&mut self, statement: &Plannable) -> Result<Plan, PlanError> {
        let milliseconds = self.timeout.as_millis();
        let mut transaction = self.connection.begin().await?;
        let settings = format!(
            "SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = {milliseconds}; \
             SET LOCAL lock_timeout = {milliseconds}; SET LOCAL plan_cache_mode = force_generic_plan"
        );
        sqlx::raw_sql(AssertSqlSafe(settings))
            .execute(&mut *transaction)
            .await?;
        let planned = explain(&mut transaction, statement).await;
        transaction.rollback().await?;
        // `PREPARE` outlives the transaction. When it failed, there is nothing to take back.
        let taken_back = sqlx::raw_sql(AssertSqlSafe(format!("DEALLOCATE {NAME}")))
            .execute(&mut *self.connection)
            .await;
        match (planned, taken_back) {
            (planned, Ok(_) | Err(sqlx::Error::Database(_))) => planned,
            (_, Err(error)) => Err(error.into()),
        }
    }

    /// Makes an index that only this session's planner sees.
    ///
    /// # Errors
    /// There can be no such index, or the connection broke.
    pub async fn try_index(&mut self, candidate: &Candidate) -> Result<Hypothetical, PlanError> {
        let create = candidate.create(false, "");
        let schema = self.hypopg()?;
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT indexrelid::int8 AS number, indexname::text AS name \
             FROM {schema}.hypopg_create_index($1)"
        )))
        .persistent(false)
        .bind(create)
        .fetch_one(&mut *self.connection)
        .await?;
        Ok(Hypothetical {
            number: row.try_get("number")?,
            name: row.try_get("name")?,
        })
    }

    /// How large an index in theory would be, in bytes.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn size(&mut self, index: &Hypothetical) -> Result<i64, PlanError> {
        let schema = self.hypopg()?;
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT {schema}.hypopg_relation_size($1::oid)::int8 AS bytes"
        )))
        .persistent(false)
        .bind(index.number)
        .fetch_one(&mut *self.connection)
        .await?;
        Ok(row.try_get("bytes")?)
    }

    /// Takes an index in theory away.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn forget(&mut self, index: &Hypothetical) -> Result<(), PlanError> {
        let schema = self.hypopg()?;
        sqlx::query(AssertSqlSafe(format!(
            "SELECT {schema}.hypopg_drop_index($1::oid)"
        )))
        .persistent(false)
        .bind(index.number)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    /// Takes all indexes in theory away.
    ///
    /// # Errors
    /// The role may not use HypoPG, or the connection broke.
    pub async fn forget_indexes(&mut self) -> Result<(), PlanError> {
        let schema = self.hypopg()?;
        sqlx::query(AssertSqlSafe(format!("SELECT {schema}.hypopg_reset()")))
            .persistent(false)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    fn hypopg(&self) -> Result<&str, PlanError> {
        let missing = || PlanError::Refused("HypoPG is not there".to_owned());
        self.hypopg_schema.as_deref().ok_or_else(missing)
    }
}

async fn explain(connection: &mut PgConnection, statement: &Plannable) -> Result<Plan, PlanError> {
    // By a message that takes a single command: were there two, the server would refuse them.
    sqlx::query(AssertSqlSafe(format!(
        "PREPARE {NAME} AS {}",
        statement.text
    )))
    .persistent(false)
    .execute(&mut *connection)
    .await?;
    let values = vec!["NULL"; statement.parameters].join(", ");
    let arguments = if values.is_empty() {
        String::new()
    } else {
        format!("({values})")
    };
    let row = sqlx::query(AssertSqlSafe(format!(
        "EXPLAIN (FORMAT JSON, VERBOSE) EXECUTE {NAME}{arguments}"
    )))
    .persistent(false)
    .fetch_one(connection)
    .await?;
    let json: String = row.try_get_unchecked(0)?;
    Plan::parse(&json)
        .ok_or_else(|| PlanError::Refused("the server's plan is not understood".to_owned()))
}
