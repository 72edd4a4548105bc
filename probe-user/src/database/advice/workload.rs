//! Which statements are worth the planner's time: those that take most of it, and still run.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use super::statement::{self, Assigned};
use crate::{
    sql::{Lexer, Operation, SqlInfo, TokenKind},
    traffic::{DatabaseReport, Report, Totals},
};

/// Most statements whose last call is remembered.
const MAX_REMEMBERED: usize = 10_000;

/// Most routes of one statement and service that are told.
const MAX_ROUTES: usize = 5;

/// One statement, over all services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its text without literals.
    pub sql: Arc<SqlInfo>,
    /// The services that run it or send it.
    pub services: BTreeSet<String>,
    /// The routes whose requests it was for, as far as they are known.
    pub routes: BTreeSet<String>,
    /// Its numbers.
    pub totals: Totals,
}

impl Statement {
    /// Rows of one call, on average; `None` when there were none.
    pub fn rows_per_call(&self) -> Option<u64> {
        (self.totals.rows > 0).then(|| self.totals.rows.div_ceil(self.totals.calls.max(1)))
    }
}

/// What runs in one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// Statements that search for rows, the costliest first.
    pub statements: Vec<Statement>,
    /// Which columns are set how often.
    pub updates: Vec<(Assigned, u64)>,
}

/// Remembers when statements ran last.
#[derive(Debug, Default)]
pub struct Recent(HashMap<u64, (u64, Instant)>);

impl Recent {
    /// Whether a statement ran since `within` ago, as far as its number of calls tells.
    fn is_recent(&mut self, fingerprint: u64, calls: u64, within: Duration, now: Instant) -> bool {
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(&fingerprint) {
            self.0
                .retain(|_, (_, at)| now.saturating_duration_since(*at) < within);
            if self.0.len() >= MAX_REMEMBERED {
                return true;
            }
        }
        let (last, at) = self.0.entry(fingerprint).or_insert((calls, now));
        if *last != calls {
            (*last, *at) = (calls, now);
        }
        now.saturating_duration_since(*at) <= within
    }
}

impl Workload {
    /// What a report says of the database that the server calls `database`; of one service alone, if
    /// that is given. Statements that did not run since `within` ago are left out.
    pub fn of(
        report: &Report,
        names: &BTreeMap<u16, String>,
        database: &str,
        service: Option<&str>,
        recent: &mut Recent,
        within: Duration,
    ) -> Self {
        let now = Instant::now();
        let mut merged: HashMap<u64, Sides> = HashMap::new();
        for (id, of_service) in &report.services {
            let name = names.get(id).map_or("unknown", String::as_str);
            if service.is_some_and(|wanted| wanted != name) {
                continue;
            }
            for (server, side) in [
                (true, &of_service.database_server),
                (false, &of_service.database_client),
            ] {
                add_side(&mut merged, side, server, name, database);
            }
            for (fingerprint, routes) in &of_service.db.statement_routes {
                if let Some(sides) = merged.get_mut(fingerprint) {
                    let mut routes: Vec<_> = routes.iter().collect();
                    routes.sort_by_key(|route| std::cmp::Reverse(route.calls));
                    let routes = routes.into_iter().take(MAX_ROUTES);
                    sides
                        .routes
                        .extend(routes.map(|one| format!("{} {}", one.key.method, one.key.route)));
                }
            }
        }
        let mut workload = Self::default();
        for (fingerprint, sides) in merged {
            let Some(statement) = sides.into_statement() else {
                continue;
            };
            if !recent.is_recent(fingerprint, statement.totals.calls, within, now) {
                continue;
            }
            if statement.sql.operation == Operation::Update
                && let Some(assigned) = statement::assigned(&statement.sql.text)
            {
                workload.updates.push((assigned, statement.totals.calls));
            }
            workload.statements.push(statement);
        }
        workload.statements.sort_by(|a, b| {
            let key = |one: &Statement| (one.totals.busy_ns, one.sql.fingerprint);
            key(b).cmp(&key(a))
        });
        workload
    }
}

/// One statement as seen from both ends of its connections: the same executions twice, perhaps.
#[derive(Debug, Default)]
struct Sides {
    sql: Option<Arc<SqlInfo>>,
    services: BTreeSet<String>,
    routes: BTreeSet<String>,
    server: Totals,
    client: Totals,
}

impl Sides {
    fn into_statement(self) -> Option<Statement> {
        let totals = if self.server.calls >= self.client.calls {
            self.server
        } else {
            self.client
        };
        Some(Statement {
            sql: self.sql?,
            services: self.services,
            routes: self.routes,
            totals,
        })
    }
}

fn add_side(
    merged: &mut HashMap<u64, Sides>,
    report: &DatabaseReport,
    server: bool,
    service: &str,
    database: &str,
) {
    for fingerprint in &report.fingerprints.top {
        let elsewhere = !fingerprint.database.is_empty() && *fingerprint.database != *database;
        if elsewhere || !searches(&fingerprint.sql) || asks_the_catalogue(&fingerprint.sql.text) {
            continue;
        }
        let sides = merged.entry(fingerprint.sql.fingerprint).or_default();
        sides
            .sql
            .get_or_insert_with(|| Arc::clone(&fingerprint.sql));
        sides.services.insert(service.to_owned());
        let side = if server {
            &mut sides.server
        } else {
            &mut sides.client
        };
        side.add(&fingerprint.totals);
    }
}

fn searches(sql: &SqlInfo) -> bool {
    matches!(
        sql.operation,
        Operation::Select
            | Operation::Insert
            | Operation::Update
            | Operation::Delete
            | Operation::Merge
    )
}

/// Whether a statement is about the server itself: those of monitoring, ours among them.
fn asks_the_catalogue(text: &str) -> bool {
    const TABLES: [&[u8]; 9] = [
        b"pg_stat",
        b"pg_catalog",
        b"pg_class",
        b"pg_index",
        b"pg_attribute",
        b"pg_locks",
        b"pg_settings",
        b"information_schema",
        b"hypopg",
    ];
    let words = Lexer::new(text.as_bytes(), false).filter(|token| token.kind == TokenKind::Word);
    words
        .into_iter()
        .any(|word| TABLES.iter().any(|table| word.text.starts_with(table)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sql::SqlCache,
        traffic::{Fingerprint, ServiceReport, Timing},
    };

    fn fingerprint(text: &str, calls: u64, busy_ns: u64) -> Fingerprint {
        let parsed = SqlCache::default().parse(text.as_bytes(), false, false);
        let totals = Totals {
            calls,
            busy_ns,
            rows: calls * 3,
            errors: 0,
        };
        Fingerprint::with(
            Arc::clone(&parsed.parts[0].info),
            "shop".into(),
            totals,
            Timing::default(),
        )
    }

    fn report(server: Vec<Fingerprint>, client: Vec<Fingerprint>) -> Report {
        let mut report = Report::default();
        let mut service = ServiceReport::default();
        service.database_server.fingerprints.top = server;
        service.database_client.fingerprints.top = client;
        report.services.insert(1, Arc::new(service));
        report
    }

    fn workload(report: &Report, recent: &mut Recent, within: Duration) -> Workload {
        let names = BTreeMap::from([(1, "shop".to_owned())]);
        Workload::of(report, &names, "shop", None, recent, within)
    }

    /// An execution that is seen at both ends of its connection is one.
    #[test]
    fn both_ends_are_not_added_up_and_the_costliest_comes_first() {
        let report = report(
            vec![
                fingerprint("select a from t where b = 1", 10, 500),
                fingerprint("select relname from pg_class", 9, 9_000),
                fingerprint("commit", 100, 90_000),
            ],
            vec![
                fingerprint("select a from t where b = 1", 8, 600),
                fingerprint("update u set x = 1, y = 2 where z = 3", 5, 700),
            ],
        );
        let found = workload(&report, &mut Recent::default(), Duration::from_secs(60));
        let texts: Vec<&str> = found.statements.iter().map(|one| &*one.sql.text).collect();
        assert_eq!(
            texts,
            [
                "update u set x = ?, y = ? where z = ?",
                "select a from t where b = ?"
            ]
        );
        assert_eq!(found.statements[1].totals.calls, 10);
        assert_eq!(found.statements[1].rows_per_call(), Some(3));
        assert_eq!(found.updates[0].0.columns, ["x", "y"]);
    }

    /// Advice on a statement that nobody runs any more would stay for ever.
    #[test]
    fn what_does_not_run_any_more_is_left_out() {
        let mut recent = Recent::default();
        let within = Duration::ZERO;
        let calls = |calls| report(vec![fingerprint("select a from t", calls, 5)], vec![]);
        assert_eq!(workload(&calls(1), &mut recent, within).statements.len(), 1);
        assert_eq!(workload(&calls(1), &mut recent, within).statements.len(), 0);
        assert_eq!(workload(&calls(2), &mut recent, within).statements.len(), 1);
    }
}
