//! One round over one database: from the statements that run there to advice.

use std::time::{Duration, Instant};

use sqlx::PgConnection;

use super::{
    candidate::Candidate,
    catalog::{Catalog, Table},
    housekeeping::{housekeeping, table_facts},
    report::{
        Advice, DatabaseAdvice, Evidence, Gain, HypoPg, IndexFacts, Kind, LookedAt, WriteCost,
    },
    search::{Proposal, Search, shown, with_index},
    session::{PlanError, Planner},
    statement::Plannable,
    workload::{Statement, Workload},
};
use crate::config;

/// Most attempts to have one index serve what two were found for.
const MAX_MERGES: usize = 60;
/// How much more than with its own index a statement may cost with another's.
const MERGED: f64 = 1.5;

/// What a round found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The database's name on the server.
    pub database: String,
    /// Whether proposals are proven.
    pub hypopg: HypoPg,
    /// The statements that were looked at.
    pub looked_at: Vec<LookedAt>,
    /// The advice, the most valuable first.
    pub advice: Vec<Advice>,
}

impl Found {
    /// Puts it into what is known of the database.
    pub fn publish(self, known: &mut DatabaseAdvice) {
        known.database = self.database;
        known.hypopg = self.hypopg;
        known.looked_at = self.looked_at;
        known.advice = self.advice;
    }
}

/// An index with all statements that it is for.
struct Index<'w> {
    proposal: Proposal,
    statements: Vec<Served<'w>>,
}

struct Served<'w> {
    statement: &'w Statement,
    plannable: Plannable,
    gain: Option<Gain>,
    plan_before: String,
    plan_after: Option<String>,
}

/// Looks at the statements of `workload`, then at the indexes that exist.
///
/// # Errors
/// The connection broke, or the role may not even read the catalogue.
pub async fn round(
    connection: &mut PgConnection,
    catalog: &Catalog,
    workload: &Workload,
    settings: &config::Advice,
) -> Result<Found, sqlx::Error> {
    let deadline = Instant::now() + Duration::from_secs(settings.round_timeout_s.into());
    let timeout = Duration::from_millis(settings.statement_timeout_ms.into());
    let (mut planner, hypopg) = Planner::new(connection, &catalog.server, timeout).await?;
    let mut search = Search::new(catalog, settings, deadline);
    let mut found = Found {
        database: catalog.server.database.clone(),
        hypopg,
        ..Found::default()
    };
    let mut indexes: Vec<Index<'_>> = Vec::new();
    let mut stale: Vec<(i64, &Statement)> = Vec::new();
    let top = usize::try_from(settings.top).unwrap_or(usize::MAX);
    for statement in workload.statements.iter().take(top) {
        let outcome = search.statement(&mut planner, statement).await?;
        found.looked_at.push(outcome.looked_at);
        stale.extend(outcome.stale.into_iter().map(|table| (table, statement)));
        if let Some(plannable) = outcome.plannable {
            for proposal in outcome.proposals {
                add(&mut indexes, proposal, statement, &plannable);
            }
        }
    }
    merge(&mut planner, &mut indexes, settings, deadline).await?;
    found.advice = stale_statistics(catalog, &stale);
    let mut proposed: Vec<Advice> = Vec::new();
    for index in indexes {
        proposed.extend(proposal(catalog, workload, &proposed, index));
    }
    proposed.sort_by(|a, b| value(b).total_cmp(&value(a)));
    found.advice.extend(proposed);
    found.advice.extend(housekeeping(
        catalog,
        |table| Search::is_large(settings, table),
        f64::from(settings.unused_after_days) * 86_400.0,
    ));
    Ok(found)
}

/// Time that the statements of a piece of advice take, as far as it would save that.
fn value(advice: &Advice) -> f64 {
    let saved = advice
        .statements
        .iter()
        .map(|one| one.total_seconds * one.gain.map_or(0.1, |gain| gain.saved_share));
    saved.sum()
}

fn add<'w>(
    indexes: &mut Vec<Index<'w>>,
    proposal: Proposal,
    statement: &'w Statement,
    plannable: &Plannable,
) {
    let served = Served {
        statement,
        plannable: plannable.clone(),
        gain: proposal.gain,
        plan_before: proposal.plan_before.clone(),
        plan_after: proposal.plan_after.clone(),
    };
    // Compared by their text: for one statement a column may be for a range, for another for equality.
    let definition = proposal.candidate.to_string();
    match indexes
        .iter_mut()
        .find(|index| index.proposal.candidate.to_string() == definition)
    {
        Some(index) => index.statements.push(served),
        None => indexes.push(Index {
            proposal,
            statements: vec![served],
        }),
    }
}

/// Has one index serve what two were found for, where the planner agrees: an index that is the
/// start of another, or has the same columns in another order.
async fn merge(
    planner: &mut Planner<'_>,
    indexes: &mut Vec<Index<'_>>,
    settings: &config::Advice,
    deadline: Instant,
) -> Result<(), sqlx::Error> {
    // The shortest first, so that it ends in the longest.
    indexes.sort_by_key(|index| index.proposal.candidate.keys.len());
    let mut left = MAX_MERGES;
    let mut at = 0;
    while at < indexes.len() {
        let mut other = at + 1;
        let mut merged = false;
        while other < indexes.len() && !merged && left > 0 && Instant::now() < deadline {
            let (Some(small), Some(large)) = (indexes.get(at), indexes.get(other)) else {
                break;
            };
            if may_merge(&small.proposal.candidate, &large.proposal.candidate) {
                left -= 1;
                if let Some(served) = served_by(planner, small, large, settings).await? {
                    if let Some(large) = indexes.get_mut(other) {
                        large.statements.extend(served);
                    }
                    merged = true;
                }
            }
            other += 1;
        }
        if merged {
            indexes.remove(at);
        } else {
            at += 1;
        }
    }
    Ok(())
}

fn may_merge(small: &Candidate, large: &Candidate) -> bool {
    let same_first = small.keys.first() == large.keys.first();
    let same_columns = small.keys.iter().all(|key| large.keys.contains(key));
    small.table == large.table
        && (large.predicate.is_none() || large.predicate == small.predicate)
        && (same_first || same_columns)
}

/// What the statements of one index gain by the other, if all of them gain enough.
async fn served_by<'w>(
    planner: &mut Planner<'_>,
    small: &Index<'w>,
    large: &Index<'w>,
    settings: &config::Advice,
) -> Result<Option<Vec<Served<'w>>>, sqlx::Error> {
    let candidate = &large.proposal.candidate;
    let mut served = Vec::new();
    for one in &small.statements {
        let mut now = Served {
            statement: one.statement,
            plannable: one.plannable.clone(),
            gain: one.gain,
            plan_before: one.plan_before.clone(),
            plan_after: None,
        };
        if let Some(own) = one.gain {
            let (plan, name) = match with_index(planner, &one.plannable, candidate).await {
                Ok(Some((plan, name, _))) => (plan, name),
                Ok(None) | Err(PlanError::Refused(_)) => return Ok(None),
                Err(PlanError::Broken(error)) => return Err(error),
            };
            let gain = Gain::new(own.cost_before, plan.cost);
            if gain.saved_share < settings.min_improvement
                || gain.cost_after > own.cost_after * MERGED
            {
                return Ok(None);
            }
            now.gain = Some(gain);
            now.plan_after = Some(shown(&plan, &[(name, candidate.to_string())]));
        } else if !small.proposal.candidate.is_prefix_of(candidate) {
            return Ok(None);
        }
        let known = large.statements.iter().chain(&served);
        if known
            .into_iter()
            .all(|other| other.statement.sql.fingerprint != one.statement.sql.fingerprint)
        {
            served.push(now);
        }
    }
    Ok(Some(served))
}

fn stale_statistics(catalog: &Catalog, stale: &[(i64, &Statement)]) -> Vec<Advice> {
    let of = |table: &Table| -> Option<Advice> {
        let statements: Vec<Evidence> = stale
            .iter()
            .filter(|(oid, _)| *oid == table.oid)
            .map(|(_, statement)| evidence(statement))
            .collect();
        if statements.is_empty() {
            return None;
        }
        Some(Advice {
            kind: Kind::StaleStatistics,
            summary: format!("{}: {}", table.quoted, table.stale()?),
            statement: format!("ANALYZE {};", table.quoted),
            cautions: vec![
                "Indexes on this table are looked for once this is done".to_owned(),
                "Autovacuum does it by itself, unless it is off or kept from its work".to_owned(),
            ],
            table: table_facts(table),
            index: None,
            gain: None,
            write_cost: None,
            statements,
        })
    };
    catalog.tables.iter().filter_map(of).collect()
}

fn evidence(statement: &Statement) -> Evidence {
    Evidence {
        fingerprint: statement.sql.fingerprint_hex(),
        sql: statement.sql.text.to_string(),
        operation: statement.sql.operation.as_str().to_owned(),
        services: statement.services.iter().cloned().collect(),
        routes: statement.routes.iter().cloned().collect(),
        calls: statement.totals.calls,
        total_seconds: seconds(statement.totals.busy_ns),
        rows: statement.totals.rows,
        gain: None,
        plan_before: String::new(),
        plan_after: None,
    }
}

fn proposal(
    catalog: &Catalog,
    workload: &Workload,
    others: &[Advice],
    index: Index<'_>,
) -> Option<Advice> {
    let Index {
        proposal,
        statements,
    } = index;
    let table = catalog
        .tables
        .iter()
        .find(|table| table.oid == proposal.table)?;
    let candidate = proposal.candidate;
    let name = candidate.name(|name| {
        catalog.indexes.iter().any(|index| index.name == name)
            || catalog.tables.iter().any(|table| table.name == name)
            || others
                .iter()
                .filter_map(|one| one.index.as_ref())
                .any(|index| index.name == name)
    });
    let mut statements: Vec<Evidence> = statements
        .into_iter()
        .map(|served| Evidence {
            gain: served.gain,
            plan_before: served.plan_before,
            plan_after: served.plan_after,
            ..evidence(served.statement)
        })
        .collect();
    statements.sort_by(|a, b| b.total_seconds.total_cmp(&a.total_seconds));
    let gain = together(&statements);
    let write_cost = write_cost(catalog, workload, table, &candidate);
    let (kind, summary) = match gain {
        Some(gain) => (
            Kind::MissingIndex,
            format!(
                "An index on {candidate} saves {:.0} % of the cost of {}, by the planner's estimate",
                (gain.saved_share * 100.0).floor(),
                number_of(statements.len())
            ),
        ),
        None => (
            Kind::UnprovenIndex,
            format!(
                "An index on {candidate} may help {}; nothing proves it without HypoPG",
                number_of(statements.len())
            ),
        ),
    };
    Some(Advice {
        kind,
        summary,
        statement: format!("{};", candidate.create(true, &name)),
        cautions: cautions(&candidate, &write_cost, gain.is_some()),
        table: table_facts(table),
        index: Some(IndexFacts {
            name,
            definition: candidate.to_string(),
            bytes: proposal.bytes,
        }),
        gain,
        write_cost: Some(write_cost),
        statements,
    })
}

fn number_of(statements: usize) -> String {
    match statements {
        1 => "one statement".to_owned(),
        several => format!("{several} statements"),
    }
}

/// The cost of all calls before and after; `None` when nothing was proven.
fn together(statements: &[Evidence]) -> Option<Gain> {
    let mut sum = Gain::default();
    let mut any = false;
    for one in statements {
        let Some(gain) = one.gain else {
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "an estimate anyway")]
        let calls = one.calls.max(1) as f64;
        sum.cost_before += gain.cost_before * calls;
        sum.cost_after += gain.cost_after * calls;
        any = true;
    }
    any.then(|| Gain::new(sum.cost_before, sum.cost_after))
}

fn write_cost(
    catalog: &Catalog,
    workload: &Workload,
    table: &Table,
    candidate: &Candidate,
) -> WriteCost {
    let sets_a_key = |columns: &[String]| {
        let keys = candidate
            .keys
            .iter()
            .map(|key| &key.text)
            .chain(&candidate.predicate);
        keys.into_iter()
            .any(|text| columns.iter().any(|column| names(text, column)))
    };
    let updates = workload
        .updates
        .iter()
        .filter(|(assigned, _)| assigned.table == table.name && sets_a_key(&assigned.columns));
    #[expect(clippy::cast_precision_loss, reason = "shares and rates")]
    let (inserted, updated, hot) = (
        table.inserted as f64,
        table.updated as f64,
        table.hot_updated as f64,
    );
    let counted_seconds = catalog.server.statistics_age_s.max(0.0);
    WriteCost {
        rows_inserted: table.inserted,
        rows_updated: table.updated,
        rows_deleted: table.deleted,
        counted_seconds,
        entries_per_second: (inserted + updated - hot).max(0.0) / counted_seconds.max(1.0),
        existing_indexes: catalog.indexes_of(table).len(),
        heap_only_share: if updated > 0.0 { hot / updated } else { 0.0 },
        updates_of_its_columns: updates.map(|(_, calls)| *calls).sum(),
    }
}

/// Whether a key or a condition names a column.
fn names(text: &str, column: &str) -> bool {
    crate::sql::Lexer::new(text.as_bytes(), false)
        .any(|token| super::predicate::identifier(&token).as_deref() == Some(column))
}

fn cautions(candidate: &Candidate, write_cost: &WriteCost, proven: bool) -> Vec<String> {
    let mut cautions = vec![
        "CREATE INDEX CONCURRENTLY takes longer than CREATE INDEX, can't run inside a transaction, and \
         leaves an invalid index behind when it fails"
            .to_owned(),
    ];
    if proven {
        cautions.push(
            "The planner does not know the values: rare and frequent ones count alike, and so does every range"
                .to_owned(),
        );
    }
    if write_cost.updates_of_its_columns > 0 {
        cautions.push(format!(
            "{} calls of updates set its columns: with the index these can't be heap-only, and write to all indexes",
            write_cost.updates_of_its_columns
        ));
    }
    if candidate.predicate.is_some() {
        cautions.push("Only queries that repeat the index' condition can use it".to_owned());
    }
    if candidate.keys.iter().any(|key| key.expression) {
        cautions.push("Only queries that repeat the expression can use it".to_owned());
    }
    cautions
}

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}
