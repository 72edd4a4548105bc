//! The programs of `tests/apps/wire`, one for each database driver: what they do, and what is to be
//! counted for it.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    exposition::Metrics,
    postgres::Postgres,
    process::Process,
    site::repository,
    waiting::{self, PATIENCE},
    web::python,
};

/// What carries the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The unix socket.
    Unix,
    /// TCP in clear text.
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// A driver's program, told what to do step by step.
#[derive(Debug)]
pub struct Driver {
    /// Name of the service that it is configured as.
    pub name: String,
    /// Database that it works in.
    pub database: String,
    process: Process,
}

impl Driver {
    /// Starts one of the programs, which connects to nothing yet.
    ///
    /// # Errors
    /// The Python packages are not there.
    pub fn start(
        program: &str,
        name: &str,
        postgres: &Postgres,
        database: &str,
        transport: Transport,
    ) -> Result<Self> {
        let host = match transport {
            Transport::Unix => postgres.socket_directory().display().to_string(),
            Transport::Tcp | Transport::Tls => postgres.address().ip().to_string(),
        };
        let sslmode = match transport {
            Transport::Tls => "require",
            Transport::Unix | Transport::Tcp => "disable",
        };
        let mut command = Command::new(python()?);
        command
            .arg(repository().join(format!("tests/apps/wire/{program}.py")))
            .args(["--host", &host, "--sslmode", sslmode])
            .args(["--port", &postgres.address().port().to_string()])
            .args(["--database", database])
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(Self {
            name: name.to_owned(),
            database: database.to_owned(),
            process: Process::spawn_with_input(name, command, Stdio::piped())?,
        })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until it takes commands.
    ///
    /// # Errors
    /// It ended instead.
    pub fn wait_started(&mut self) -> Result<()> {
        self.wait_event("started")
    }

    /// Has it open its connections, and prepare what it will run later.
    ///
    /// # Errors
    /// It failed; the message has its output.
    pub fn open(&mut self) -> Result<()> {
        self.process.tell("open\n")?;
        self.wait_event("opened")
    }

    /// Has it do everything and end.
    ///
    /// # Errors
    /// It failed; the message has its output.
    pub fn run(&mut self) -> Result<Log> {
        Log::parse(&self.finish()?)
    }

    /// As [`Self::run`]; everything that it said, as it said it.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn finish(&mut self) -> Result<Vec<Value>> {
        self.process.tell("run\n")?;
        let output = self.process.wait_success()?;
        let lines = output.lines().filter(|line| line.starts_with('{'));
        lines
            .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
            .collect()
    }

    fn wait_event(&mut self, event: &str) -> Result<()> {
        let wanted = format!("{{\"event\": \"{event}\"}}");
        waiting::until(&format!("{} has {event}", self.name), PATIENCE, || {
            let output = self.process.output()?;
            if output.lines().any(|line| line == wanted) {
                return Ok(Some(()));
            }
            match self.process.ended()? {
                Some(status) => bail!("it ended with {status}:\n{output}"),
                None => Ok(None),
            }
        })
    }
}

/// Calls and rows of one kind of statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Statements.
    pub calls: i64,
    /// Rows that they returned or changed.
    pub rows: i64,
}

/// By kind of statement, as in CommandComplete tags.
pub type ByOperation = BTreeMap<String, Count>;

/// What a program says it did.
#[derive(Debug)]
pub struct Log {
    statements: Vec<Statement>,
    /// What `pg_stat_statements` counts otherwise, with the program's reason for it.
    differences: ByOperation,
}

#[derive(Debug)]
struct Statement {
    opening: bool,
    operation: String,
    unseen: String,
    rows: i64,
    error: String,
}

impl Log {
    fn parse(lines: &[Value]) -> Result<Self> {
        let mut log = Self {
            statements: Vec::new(),
            differences: BTreeMap::new(),
        };
        for line in lines {
            let text = |key: &str| line[key].as_str().map(str::to_owned);
            let number = |key: &str| line[key].as_i64().context("a number is missing");
            if let Some(operation) = text("differs") {
                ensure!(text("why").is_some(), "a difference without a reason");
                add(
                    &mut log.differences,
                    &operation,
                    number("calls")?,
                    number("rows")?,
                );
            } else if let Some(operation) = text("operation") {
                log.statements.push(Statement {
                    opening: text("phase").context("no phase")? == "open",
                    unseen: text("unseen").context("no kind")?,
                    rows: number("rows")?,
                    error: text("error").context("no outcome")?,
                    operation,
                });
            }
        }
        ensure!(log.statements.len() > 10, "it did next to nothing");
        Ok(log)
    }

    /// What the probe is to count; with `all`, of everything, else of what came after `open`.
    pub fn seen(&self, all: bool) -> Seen {
        let mut seen = Seen::default();
        for statement in &self.statements {
            if statement.opening && !all {
                continue;
            }
            let operation = if all {
                &statement.operation
            } else {
                &statement.unseen
            };
            *seen
                .client
                .entry((operation.clone(), statement.error.clone()))
                .or_default() += 1;
            let outcome = if statement.error.is_empty() {
                "ok"
            } else {
                *seen.errors.entry(statement.error.clone()).or_default() += 1;
                "error"
            };
            *seen
                .server
                .entry((operation.clone(), outcome.to_owned()))
                .or_default() += 1;
            *seen.rows.entry(operation.clone()).or_default() += statement.rows;
            // On both ends of the connection.
            seen.uncertain += if operation == "unknown" { 2 } else { 0 };
        }
        seen.timed = seen.server.clone();
        seen.rows.retain(|_, rows| *rows != 0);
        seen
    }

    /// What `pg_stat_statements` is to count: only successes, and neither PREPARE nor DEALLOCATE.
    pub fn statistics(&self) -> ByOperation {
        let mut counts = self.differences.clone();
        for statement in &self.statements {
            let counted = !matches!(&*statement.operation, "PREPARE" | "DEALLOCATE");
            if statement.error.is_empty() && counted {
                add(&mut counts, &statement.operation, 1, statement.rows);
            }
        }
        counts.retain(|_, count| *count != Count::default());
        counts
    }
}

fn add(counts: &mut ByOperation, operation: &str, calls: i64, rows: i64) {
    let count = counts.entry(operation.to_owned()).or_default();
    count.calls += calls;
    count.rows += rows;
}

/// What the probe counted of one program's connections, or is to count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// As the client sees it: statements by operation and SQLSTATE.
    pub client: BTreeMap<(String, String), i64>,
    /// As the server sees it: statements by operation and outcome.
    pub server: BTreeMap<(String, String), i64>,
    /// Those of them that have a duration.
    pub timed: BTreeMap<(String, String), i64>,
    /// Rows by operation.
    pub rows: BTreeMap<String, i64>,
    /// Errors by SQLSTATE.
    pub errors: BTreeMap<String, i64>,
    /// Statements that could not be named.
    pub uncertain: i64,
}

impl Seen {
    /// Reads the numbers of a client, and of the service `server` in one of its databases.
    pub fn of(metrics: &Metrics, client: &str, database: &str) -> Self {
        let on_server = [("service", "server"), ("db_namespace", database)];
        let pairs = |name: &str, labels: &[(&str, &str)], second: &str| {
            let mut counts = BTreeMap::new();
            for sample in metrics.matching(name, labels) {
                let label = |key: &str| sample.labels.get(key).cloned().unwrap_or_default();
                let key = (label("db_operation_name"), label(second));
                *counts.entry(key).or_default() += whole(sample.value);
            }
            counts
        };
        let singles = |name: &str, label: &str| {
            metrics
                .counts_by(label, name, &on_server)
                .into_iter()
                .map(|(key, count)| (key, count.cast_signed()))
                .collect()
        };
        Self {
            client: pairs(
                "db_client_operation_duration_seconds_count",
                &[("service", client)],
                "error_type",
            ),
            server: pairs("hostprobe_postgres_statements_total", &on_server, "outcome"),
            timed: pairs(
                "hostprobe_postgres_statement_duration_seconds_count",
                &on_server,
                "outcome",
            ),
            rows: singles("hostprobe_postgres_rows_total", "db_operation_name"),
            errors: singles("hostprobe_postgres_errors_total", "sqlstate"),
            uncertain: metrics
                .count(
                    "hostprobe_stream_problems_total",
                    &[("problem", "uncertain")],
                )
                .cast_signed(),
        }
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        subtract(&mut self.client, &before.client);
        subtract(&mut self.server, &before.server);
        subtract(&mut self.timed, &before.timed);
        subtract(&mut self.rows, &before.rows);
        subtract(&mut self.errors, &before.errors);
        self.uncertain -= before.uncertain;
        self
    }

    /// Compares with what is expected.
    ///
    /// # Errors
    /// Names everything that differs.
    pub fn equals(&self, expected: &Self) -> Result<()> {
        let mut wrong = Vec::new();
        compare(&mut wrong, "client", &self.client, &expected.client);
        compare(&mut wrong, "server", &self.server, &expected.server);
        compare(&mut wrong, "server, timed", &self.timed, &expected.timed);
        compare(&mut wrong, "rows", &self.rows, &expected.rows);
        compare(&mut wrong, "errors", &self.errors, &expected.errors);
        if self.uncertain != expected.uncertain {
            wrong.push(format!(
                "uncertain: {}, not {}",
                self.uncertain, expected.uncertain
            ));
        }
        ensure!(wrong.is_empty(), "counted otherwise: {}", wrong.join("; "));
        Ok(())
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "counts of a test are far below 2^53"
)]
fn whole(value: f64) -> i64 {
    value as i64
}

fn subtract<K: Ord + Clone>(counts: &mut BTreeMap<K, i64>, before: &BTreeMap<K, i64>) {
    for (key, count) in before {
        *counts.entry(key.clone()).or_default() -= count;
    }
    counts.retain(|_, count| *count != 0);
}

fn compare<K: Ord + std::fmt::Debug, V: Copy + Default + PartialEq + std::fmt::Debug>(
    wrong: &mut Vec<String>,
    what: &str,
    counted: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) {
    let mut keys: Vec<&K> = counted.keys().chain(expected.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let of = |counts: &BTreeMap<K, V>| counts.get(key).copied().unwrap_or_default();
        let (counted, expected) = (of(counted), of(expected));
        if counted != expected {
            wrong.push(format!("{what} {key:?}: {counted:?}, not {expected:?}"));
        }
    }
}

/// What Postgres counted in a database, once its sessions there are over: of a cursor it counts only
/// when that is closed, which the session's end does too.
///
/// # Errors
/// psql failed, or sessions do not end.
pub fn statistics(postgres: &Postgres, database: &str) -> Result<ByOperation> {
    let unix = postgres.over_unix();
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
    waiting::until("the sessions are over", PATIENCE, || {
        Ok((postgres.psql(&unix, &[&sessions])? == "0").then_some(()))
    })?;
    let text = postgres.psql(
        &unix,
        &[&format!(
            "SELECT calls, rows, regexp_replace(query, '\\s+', ' ', 'g') FROM pg_stat_statements \
             JOIN pg_database ON pg_database.oid = dbid WHERE datname = '{database}' AND toplevel"
        )],
    )?;
    let mut counts = ByOperation::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, '|');
        let mut next = || fields.next().context("psql printed something else");
        let (calls, rows, query) = (next()?.parse()?, next()?.parse()?, next()?);
        add(&mut counts, &operation(query), calls, rows);
    }
    counts.retain(|_, count| *count != Count::default());
    Ok(counts)
}

/// Compares what Postgres counted with what it is to have counted.
///
/// # Errors
/// Names everything that differs.
pub fn statistics_equal(counted: &ByOperation, expected: &ByOperation) -> Result<()> {
    let mut wrong = Vec::new();
    compare(&mut wrong, "pg_stat_statements", counted, expected);
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// The kind of a statement: its first word at its own level. `EXPLAIN` and `PREPARE` are counted
/// with the statement that they are about.
fn operation(query: &str) -> String {
    let mut depth = 0_u32;
    let flat: String = query
        .chars()
        .filter(|character| {
            match character {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => return depth == 0,
            }
            false
        })
        .collect();
    let flat = flat.to_uppercase();
    let words: Vec<&str> = flat.split_whitespace().collect();
    let first = match words.as_slice() {
        ["PREPARE", _, "AS", rest @ ..] | ["EXPLAIN", rest @ ..] => rest.first(),
        ["WITH", rest @ ..] => rest
            .iter()
            .find(|word| matches!(**word, "SELECT" | "INSERT" | "UPDATE" | "DELETE")),
        ["ROLLBACK", "TO", ..] => return "ROLLBACK TO".into(),
        words => words.first(),
    };
    match first.copied().unwrap_or_default().trim_end_matches(';') {
        "VALUES" => "SELECT".into(),
        word => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::operation;

    #[test]
    fn statements_are_named_after_what_they_do() {
        for (query, expected) in [
            ("select $1", "SELECT"),
            ("VALUES ($1), ($2)", "SELECT"),
            ("ROLLBACK TO SAVEPOINT here", "ROLLBACK TO"),
            ("rollback;", "ROLLBACK"),
            ("EXPLAIN SELECT $1", "SELECT"),
            ("PREPARE held AS SELECT id FROM item", "SELECT"),
            (
                "WITH gone AS (SELECT id FROM item) DELETE FROM item USING gone",
                "DELETE",
            ),
            ("COPY (SELECT $1) TO STDOUT", "COPY"),
        ] {
            assert_eq!(operation(query), expected, "{query}");
        }
    }
}
