//! Looks for the indexes that one statement lacks, and has the planner judge them.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Instant,
};

use super::{
    candidate::{Candidate, Ideas, ideas},
    catalog::{Catalog, Column, Table, columns},
    plan::{Plan, Scan},
    report::{Gain, LookedAt},
    session::{Hypothetical, PlanError, Planner},
    statement::{Plannable, plannable},
    workload::Statement,
};
use crate::config;

/// Most indexes that one statement is given.
const MAX_INDEXES: usize = 3;
/// How much more an index may leave of the cost than the best one, as a factor, to count as equal.
const NEARLY: f64 = 1.25;
/// Likewise, as a share of the cost before.
const NEGLIGIBLE: f64 = 0.001;
/// A partial index is worth its narrower use when its size is less than this share of the whole one's.
const PARTIAL_SHARE: f64 = 0.7;
/// Share of a table's rows below which an index probably helps, where nothing can prove it.
const SELECTIVE: f64 = 0.1;

/// Searches for several statements of one database.
pub struct Search<'s> {
    catalog: &'s Catalog,
    settings: &'s config::Advice,
    deadline: Instant,
    columns: HashMap<i64, HashMap<String, Column>>,
}

/// An index that one statement lacks.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The index.
    pub candidate: Candidate,
    /// Its table's number in the catalogue.
    pub table: i64,
    /// What the planner makes of it; `None` when it was not asked.
    pub gain: Option<Gain>,
    /// Its size in bytes, as far as anything estimates it.
    pub bytes: Option<i64>,
    /// The plan as it is.
    pub plan_before: String,
    /// The plan with the index.
    pub plan_after: Option<String>,
}

/// What came of one statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// In words.
    pub looked_at: LookedAt,
    /// As it was planned; `None` when it could not be.
    pub plannable: Option<Plannable>,
    /// Indexes that it lacks.
    pub proposals: Vec<Proposal>,
    /// Tables of which the planner has no good picture, by their numbers.
    pub stale: Vec<i64>,
}

/// An index that was tried.
struct Tried {
    candidate: Candidate,
    table: i64,
    plan: Plan,
    name: String,
    bytes: i64,
}

impl<'s> Search<'s> {
    /// Searches until `deadline`.
    pub fn new(catalog: &'s Catalog, settings: &'s config::Advice, deadline: Instant) -> Self {
        Self {
            catalog,
            settings,
            deadline,
            columns: HashMap::new(),
        }
    }

    /// Whether a table is large enough for indexes to matter.
    pub fn is_large(settings: &config::Advice, table: &Table) -> bool {
        table.known_rows() >= f64::from(settings.min_rows)
            || table.bytes >= i64::from(settings.min_bytes)
    }

    /// Whether there is time for more.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Looks at one statement.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn statement(
        &mut self,
        planner: &mut Planner<'_>,
        statement: &Statement,
    ) -> Result<Outcome, sqlx::Error> {
        let mut outcome = Outcome::new(statement);
        if self.is_over() {
            outcome.looked_at.outcome =
                "not looked at: advice.round_timeout_s was over before".to_owned();
            return Ok(outcome);
        }
        let plannable = match plannable(&statement.sql.text, statement.rows_per_call()) {
            Ok(plannable) => plannable,
            Err(why) => {
                outcome.looked_at.outcome = format!("not planned: {why}");
                return Ok(outcome);
            }
        };
        match planner.plan(&plannable).await {
            Ok(plan) => {
                outcome.looked_at.planned = true;
                outcome.looked_at.cost = Some(plan.cost);
                self.planned(planner, &plannable, plan, &mut outcome)
                    .await?;
            }
            Err(PlanError::Refused(why)) => {
                outcome.looked_at.outcome = format!("not planned: {why}");
            }
            Err(PlanError::Broken(error)) => return Err(error),
        }
        outcome.plannable = Some(plannable);
        Ok(outcome)
    }

    async fn planned(
        &mut self,
        planner: &mut Planner<'_>,
        plannable: &Plannable,
        plan: Plan,
        outcome: &mut Outcome,
    ) -> Result<(), sqlx::Error> {
        let scans = self.worth_it(&plan, planner.can_try(), outcome);
        if !scans.is_empty() {
            if planner.can_try() {
                let tried = self.prove(planner, plannable, plan, outcome).await;
                // Whatever happened, no index in theory may be left for the next statement.
                match planner.forget_indexes().await {
                    Err(PlanError::Broken(error)) => return Err(error),
                    Ok(()) | Err(PlanError::Refused(_)) => tried?,
                }
            } else {
                self.suppose(planner, &plan, &scans, outcome).await?;
            }
        }
        outcome.sum_up(&self.settings.min_improvement);
        Ok(())
    }

    /// The scans that could be worth an index.
    fn worth_it(
        &self,
        plan: &Plan,
        can_try: bool,
        outcome: &mut Outcome,
    ) -> Vec<(Scan, &'s Table)> {
        let catalog = self.catalog;
        let mut worth_it = Vec::new();
        if plan.cost < f64::from(self.settings.min_cost) {
            outcome.note(format!(
                "its cost of {:.0} is below advice.min_cost",
                plan.cost
            ));
            return worth_it;
        }
        for scan in plan.scans() {
            let Some(table) = catalog.table(&scan.relation.schema, &scan.relation.name) else {
                continue;
            };
            if !Self::is_large(self.settings, table) {
                continue;
            }
            if table.partitioned {
                outcome.note(format!(
                    "{} is partitioned, which is not looked at",
                    table.quoted
                ));
            } else if let Some(why) = table.stale() {
                outcome.note(format!("{} needs ANALYZE first: {why}", table.quoted));
                if !outcome.stale.contains(&table.oid) {
                    outcome.stale.push(table.oid);
                }
            } else if scan.whole_table || can_try {
                worth_it.push((scan, table));
            }
        }
        worth_it
    }

    async fn ideas(
        &mut self,
        planner: &mut Planner<'_>,
        scan: &Scan,
        table: &Table,
    ) -> Result<Ideas, sqlx::Error> {
        let columns = match self.columns.entry(table.oid) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(columns(planner.connection(), table).await?),
        };
        Ok(ideas(scan, table, columns, &self.catalog.indexes_of(table)))
    }

    /// Gives the statement one index after the other, as long as each saves enough.
    async fn prove(
        &mut self,
        planner: &mut Planner<'_>,
        plannable: &Plannable,
        mut plan: Plan,
        outcome: &mut Outcome,
    ) -> Result<(), sqlx::Error> {
        let mut left = usize::try_from(self.settings.max_candidates).unwrap_or(usize::MAX);
        let mut kept: Vec<(String, String)> = Vec::new();
        for _ in 0..MAX_INDEXES {
            let mut candidates: Vec<(Candidate, i64)> = Vec::new();
            for (scan, table) in self.worth_it(&plan, true, outcome) {
                let ideas = self.ideas(planner, &scan, table).await?;
                ideas.notes.into_iter().for_each(|note| outcome.note(note));
                candidates.extend(ideas.candidates.into_iter().map(|one| (one, table.oid)));
            }
            candidates.retain(|(candidate, _)| {
                !outcome
                    .proposals
                    .iter()
                    .any(|proposal| proposal.candidate == *candidate)
            });
            candidates.truncate(left);
            left -= candidates.len();
            let mut tried = Vec::new();
            for (candidate, table) in candidates {
                if self.is_over() {
                    outcome.note("advice.round_timeout_s was over before all was tried".to_owned());
                    break;
                }
                tried.extend(self.attempt(planner, plannable, candidate, table).await?);
            }
            let enough = plan.cost * (1.0 - self.settings.min_improvement);
            let Some(best) = choose(tried, plan.cost, enough) else {
                break;
            };
            let gain = Gain::new(plan.cost, best.plan.cost);
            if gain.saved_share < self.settings.min_improvement {
                outcome.note(format!(
                    "the best that was tried, ({}), saves {:.0} % of the cost",
                    best.candidate,
                    gain.saved_share * 100.0
                ));
                break;
            }
            let again = match planner.try_index(&best.candidate).await {
                Ok(again) => again,
                Err(PlanError::Refused(_)) => break,
                Err(PlanError::Broken(error)) => return Err(error),
            };
            let before = shown(&plan, &kept);
            kept.push((best.name.clone(), best.candidate.to_string()));
            let after = shown(&best.plan, &kept);
            kept.push((again.name, best.candidate.to_string()));
            outcome.proposals.push(Proposal {
                candidate: best.candidate,
                table: best.table,
                gain: Some(gain),
                bytes: Some(best.bytes),
                plan_before: before,
                plan_after: Some(after),
            });
            plan = best.plan;
        }
        Ok(())
    }

    /// Tries one index; `None` when it is impossible or the planner has no use for it.
    async fn attempt(
        &self,
        planner: &mut Planner<'_>,
        plannable: &Plannable,
        candidate: Candidate,
        table: i64,
    ) -> Result<Option<Tried>, sqlx::Error> {
        match with_index(planner, plannable, &candidate).await {
            Ok(Some((plan, name, bytes))) => Ok(Some(Tried {
                candidate,
                table,
                plan,
                name,
                bytes,
            })),
            Ok(None) | Err(PlanError::Refused(_)) => Ok(None),
            Err(PlanError::Broken(error)) => Err(error),
        }
    }

    /// Without proof: one index for each whole scan that returns a small share of its table.
    async fn suppose(
        &mut self,
        planner: &mut Planner<'_>,
        plan: &Plan,
        scans: &[(Scan, &'s Table)],
        outcome: &mut Outcome,
    ) -> Result<(), sqlx::Error> {
        for (scan, table) in scans {
            let ideas = self.ideas(planner, scan, table).await?;
            ideas.notes.into_iter().for_each(|note| outcome.note(note));
            let share = scan.rows / table.known_rows().max(1.0);
            if share > SELECTIVE && scan.first_by.is_empty() {
                outcome.note(format!(
                    "{} is read whole for {:.0} % of its rows, for which no index is faster",
                    table.quoted,
                    share * 100.0
                ));
                continue;
            }
            // The one with the most columns of those that are for all rows.
            let whole = ideas
                .candidates
                .into_iter()
                .filter(|one| one.predicate.is_none());
            let Some(candidate) = whole.max_by_key(|one| one.keys.len()) else {
                continue;
            };
            outcome.proposals.push(Proposal {
                candidate,
                table: table.oid,
                gain: None,
                bytes: None,
                plan_before: shown(plan, &[]),
                plan_after: None,
            });
        }
        Ok(())
    }
}

/// What a statement would cost with one index alone: the plan, the name of the index in it, and its
/// size. `None` when the planner has no use for it.
///
/// # Errors
/// There can be no such index, or the connection broke.
pub async fn with_index(
    planner: &mut Planner<'_>,
    plannable: &Plannable,
    candidate: &Candidate,
) -> Result<Option<(Plan, String, i64)>, PlanError> {
    let index: Hypothetical = planner.try_index(candidate).await?;
    let plan = planner.plan(plannable).await;
    let size = planner.size(&index).await;
    planner.forget(&index).await?;
    let (plan, size) = (plan?, size?);
    Ok(plan.uses(&index.name).then_some((plan, index.name, size)))
}

/// A plan in which indexes in theory are called by what they are on.
pub fn shown(plan: &Plan, indexes: &[(String, String)]) -> String {
    plan.text(&|name| {
        let found = indexes.iter().find(|(index, _)| index == name);
        found.map(|(_, on)| format!("the proposed index on {on}"))
    })
}

/// Of those that save about as much as the best one, that with the fewest columns, then the
/// smallest. One that starts with a range counts only when no other brings the cost down to `enough`.
fn choose(mut tried: Vec<Tried>, cost_before: f64, enough: f64) -> Option<Tried> {
    let by_range = |one: &Tried| one.candidate.starts_with_range;
    if tried
        .iter()
        .any(|one| !by_range(one) && one.plan.cost <= enough)
    {
        tried.retain(|one| !by_range(one));
    }
    let least = tried
        .iter()
        .map(|one| one.plan.cost)
        .min_by(f64::total_cmp)?;
    let nearly = least * NEARLY + cost_before * NEGLIGIBLE;
    #[expect(clippy::cast_precision_loss, reason = "sizes are compared roughly")]
    let size = |one: &Tried| {
        let bytes = one.bytes as f64;
        if one.candidate.predicate.is_some() {
            bytes
        } else {
            bytes * PARTIAL_SHARE
        }
    };
    tried
        .into_iter()
        .filter(|one| one.plan.cost <= nearly)
        .min_by(|a, b| {
            let keys = |one: &Tried| one.candidate.keys.len();
            keys(a)
                .cmp(&keys(b))
                .then(size(a).total_cmp(&size(b)))
                .then(a.plan.cost.total_cmp(&b.plan.cost))
        })
}

impl Outcome {
    fn new(statement: &Statement) -> Self {
        Self {
            looked_at: LookedAt {
                fingerprint: statement.sql.fingerprint_hex(),
                sql: statement.sql.text.to_string(),
                planned: false,
                cost: None,
                outcome: String::new(),
            },
            plannable: None,
            proposals: Vec::new(),
            stale: Vec::new(),
        }
    }

    /// Adds a reason, once.
    fn note(&mut self, note: String) {
        let outcome = &mut self.looked_at.outcome;
        if outcome.len() < 1_000 && !outcome.contains(&note) {
            if !outcome.is_empty() {
                outcome.push_str("; ");
            }
            outcome.push_str(&note);
        }
    }

    fn sum_up(&mut self, min_improvement: &f64) {
        let proposed: Vec<String> = self
            .proposals
            .iter()
            .map(|one| format!("an index on {}", one.candidate))
            .collect();
        if !proposed.is_empty() {
            // What was found wins over what was not.
            self.looked_at.outcome = format!("proposed: {}", proposed.join(", "));
        } else if self.looked_at.outcome.is_empty() {
            self.looked_at.outcome = format!(
                "no index was found that saves {:.0} % of its cost",
                min_improvement * 100.0
            );
        }
    }
}
