//! A plan as `EXPLAIN (FORMAT JSON, VERBOSE)` gives it: read, shown, and searched for scans.

use std::fmt::Write as _;

use serde_json::Value;

use super::predicate::{self, Comparison, Predicate, SortKey};

/// Deepest plan that is read.
const MAX_DEPTH: usize = 64;
/// Longest condition that is shown, in characters.
const SHOWN: usize = 160;
/// Most lines of a plan that are shown.
const MAX_LINES: usize = 60;

/// A plan, or a part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What Postgres calls the step, such as `Seq Scan`.
    pub kind: String,
    /// How it serves the step above: `Outer`, `Inner`, `SubPlan`, `InitPlan`.
    relationship: String,
    /// The table that is scanned.
    pub relation: Option<Relation>,
    /// The index that is used.
    pub index: Option<String>,
    /// The planner's estimate for all of it, in its own unit.
    pub cost: f64,
    /// Rows that the planner expects.
    pub rows: f64,
    /// Conditions by what Postgres calls them.
    conditions: Vec<(&'static str, String)>,
    sort_keys: Vec<String>,
    output: Vec<String>,
    /// The steps below.
    pub steps: Vec<Plan>,
}

/// A table within a plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Relation {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What the plan calls it.
    pub alias: String,
}

/// The conditions that are read and shown.
const CONDITIONS: [&str; 6] = [
    "Index Cond",
    "Recheck Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "Filter",
];

/// One scan of a table and all that could be asked of an index there.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// The table.
    pub relation: Relation,
    /// Whether the whole table is read.
    pub whole_table: bool,
    /// The scan's own cost.
    pub cost: f64,
    /// Rows that come out of it.
    pub rows: f64,
    /// Conditions that all hold.
    pub predicates: Vec<Predicate>,
    /// The order that only some first rows are wanted in; empty when there is none.
    pub first_by: Vec<SortKey>,
    /// The index whose order is used to find only some first rows, in place of a sort.
    pub ordered_by: Option<String>,
}

impl Plan {
    /// Reads the answer of `EXPLAIN (FORMAT JSON)`; `None` when it is something else.
    pub fn parse(json: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(json).ok()?;
        Self::read(value.get(0)?.get("Plan")?, 0)
    }

    fn read(value: &Value, depth: usize) -> Option<Self> {
        if depth > MAX_DEPTH {
            return None;
        }
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let list = |key: &str| -> Vec<String> {
            let items = value.get(key).and_then(Value::as_array);
            let items = items.into_iter().flatten().filter_map(Value::as_str);
            items.map(str::to_owned).collect()
        };
        let relation = text("Relation Name").map(|name| Relation {
            schema: text("Schema").unwrap_or_default(),
            alias: text("Alias").unwrap_or_else(|| name.clone()),
            name,
        });
        let steps = value.get("Plans").and_then(Value::as_array);
        let steps = steps
            .into_iter()
            .flatten()
            .map(|step| Self::read(step, depth + 1));
        Some(Self {
            kind: text("Node Type")?,
            relationship: text("Parent Relationship").unwrap_or_default(),
            relation,
            index: text("Index Name"),
            cost: value.get("Total Cost")?.as_f64()?,
            rows: value
                .get("Plan Rows")
                .and_then(Value::as_f64)
                .unwrap_or(0.0),
            conditions: CONDITIONS
                .iter()
                .filter_map(|key| Some((*key, text(key)?)))
                .collect(),
            sort_keys: list("Sort Key"),
            output: list("Output"),
            steps: steps.collect::<Option<_>>()?,
        })
    }

    /// The plan as people read it, one step a line. `name` gives indexes that only exist in theory
    /// the name that they would have.
    pub fn text(&self, name: &dyn Fn(&str) -> Option<String>) -> String {
        let mut lines = Vec::new();
        self.lines(0, name, &mut lines);
        if lines.len() > MAX_LINES {
            let more = lines.len() - MAX_LINES;
            lines.truncate(MAX_LINES);
            lines.push(format!("… {more} more lines"));
        }
        lines.join("\n")
    }

    fn lines(&self, depth: usize, name: &dyn Fn(&str) -> Option<String>, lines: &mut Vec<String>) {
        let indent = "  ".repeat(depth);
        let mut line = format!("{indent}{}", self.kind);
        // Writing to a string can't fail.
        if let Some(index) = &self.index {
            let index = name(index).unwrap_or_else(|| index.clone());
            let _ = write!(line, " using {index}");
        }
        if let Some(relation) = &self.relation {
            let _ = write!(line, " on {}.{}", relation.schema, relation.name);
            if relation.alias != relation.name {
                let _ = write!(line, " {}", relation.alias);
            }
        }
        let _ = write!(line, " (cost {:.0}, rows {:.0})", self.cost, self.rows);
        lines.push(line);
        for (what, condition) in &self.conditions {
            lines.push(format!("{indent}    {what}: {}", shortened(condition)));
        }
        if !self.sort_keys.is_empty() {
            lines.push(format!(
                "{indent}    Sort Key: {}",
                shortened(&self.sort_keys.join(", "))
            ));
        }
        for step in &self.steps {
            step.lines(depth + 1, name, lines);
        }
    }

    /// Whether it uses an index of this name.
    pub fn uses(&self, index: &str) -> bool {
        self.index.as_deref() == Some(index) || self.steps.iter().any(|step| step.uses(index))
    }

    /// All scans of tables, with the conditions of the joins above them.
    pub fn scans(&self) -> Vec<Scan> {
        let mut scans = Vec::new();
        self.collect_scans(&Above::default(), &mut scans);
        scans
    }

    fn collect_scans<'a>(&'a self, above: &Above<'a>, scans: &mut Vec<Scan>) {
        if let Some(relation) = &self.relation
            && self.kind.ends_with("Scan")
        {
            scans.push(self.scan(relation, above));
        }
        for (at, step) in self.steps.iter().enumerate() {
            let mut below = above.clone();
            match self.kind.as_str() {
                _ if matches!(step.relationship.as_str(), "SubPlan" | "InitPlan") => {
                    // A query of its own: what is above does not concern it.
                    below = Above::default();
                }
                "Hash Join" | "Merge Join" | "Nested Loop" => {
                    below.joins.extend(self.joins());
                    // Only the outer side's order survives a join.
                    if at > 0 {
                        below.order = None;
                        below.limited = false;
                    }
                }
                "Limit" => below.limited = true,
                "Sort" | "Incremental Sort" => {
                    below.order = above.limited.then_some(self.sort_keys.as_slice());
                    below.limited = false;
                }
                "Gather" | "Gather Merge" | "Result" | "LockRows" | "Subquery Scan" | "Append"
                | "Merge Append" => {}
                "Aggregate" => {
                    below.limited = false;
                    below.order = None;
                    below.least_or_greatest = self.least_or_greatest();
                }
                _ => {
                    below.limited = false;
                    below.order = None;
                }
            }
            step.collect_scans(&below, scans);
        }
    }

    fn joins(&self) -> impl Iterator<Item = &str> {
        let joins = self.conditions.iter();
        joins
            .filter(|(what, _)| matches!(*what, "Hash Cond" | "Merge Cond" | "Join Filter"))
            .map(|(_, condition)| condition.as_str())
    }

    /// What the single `min(...)` or `max(...)` is of that an aggregation over everything computes.
    fn least_or_greatest(&self) -> Option<&str> {
        let [output] = self.output.as_slice() else {
            return None;
        };
        let inner = output
            .strip_prefix("min(")
            .or_else(|| output.strip_prefix("max("))?;
        inner.strip_suffix(')')
    }

    fn scan(&self, relation: &Relation, above: &Above<'_>) -> Scan {
        let alias = &relation.alias;
        let mut found = Vec::new();
        for (what, condition) in &self.conditions {
            if matches!(*what, "Filter" | "Index Cond" | "Recheck Cond") {
                found.extend(predicate::predicates(condition, alias));
            }
        }
        for join in &above.joins {
            let joined = predicate::predicates(join, alias);
            found.extend(
                joined
                    .into_iter()
                    .filter(|one| one.comparison == Comparison::Joined),
            );
        }
        let mut predicates: Vec<Predicate> = Vec::new();
        for one in found {
            if !predicates.contains(&one) {
                predicates.push(one);
            }
        }
        let wanted = above.order.map(<[String]>::to_vec);
        let wanted = wanted.or_else(|| above.least_or_greatest.map(|of| vec![of.to_owned()]));
        let first_by = wanted.and_then(|keys| predicate::sort_keys(&keys, alias));
        let in_order =
            above.limited && matches!(self.kind.as_str(), "Index Scan" | "Index Only Scan");
        Scan {
            ordered_by: self.index.clone().filter(|_| in_order),
            relation: relation.clone(),
            whole_table: self.kind == "Seq Scan",
            cost: self.cost,
            rows: self.rows,
            predicates,
            first_by: first_by.unwrap_or_default(),
        }
    }
}

/// What stands above a step.
#[derive(Debug, Clone, Default)]
struct Above<'a> {
    joins: Vec<&'a str>,
    limited: bool,
    /// A sort of which only some first rows are wanted.
    order: Option<&'a [String]>,
    least_or_greatest: Option<&'a str>,
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::advice::predicate::Term;

    const PLAN: &str = r#"[{"Plan": {"Node Type": "Limit", "Total Cost": 5666.1, "Plan Rows": 1, "Plans": [
        {"Node Type": "Gather Merge", "Parent Relationship": "Outer", "Total Cost": 5666.0, "Plan Rows": 1, "Plans": [
        {"Node Type": "Sort", "Parent Relationship": "Outer", "Total Cost": 4665.98, "Plan Rows": 1, "Sort Key": ["o.created_at DESC"], "Plans": [
        {"Node Type": "Hash Join", "Parent Relationship": "Outer", "Total Cost": 4665.96, "Plan Rows": 1, "Hash Cond": "(o.customer_id = c.id)", "Plans": [
        {"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Relation Name": "orders", "Schema": "public", "Alias": "o", "Total Cost": 3322.59, "Plan Rows": 3948,
         "Filter": "((o.deleted_at IS NULL) AND ((o.status)::text = $1))"},
        {"Node Type": "Hash", "Parent Relationship": "Inner", "Total Cost": 1333.0, "Plan Rows": 1, "Plans": [
        {"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Relation Name": "customers", "Schema": "public", "Alias": "c", "Total Cost": 1333.0, "Plan Rows": 1,
         "Filter": "(lower(c.email) = $2)"}]}]}]}]}]}}]"#;

    #[test]
    fn scans_have_the_conditions_of_their_joins_and_the_order_above() {
        let plan = Plan::parse(PLAN).unwrap();
        let scans = plan.scans();
        assert_eq!(scans.len(), 2);
        let (orders, customers) = (&scans[0], &scans[1]);
        assert!(orders.whole_table && customers.whole_table);
        let terms: Vec<_> = orders.predicates.iter().map(|one| one.comparison).collect();
        assert_eq!(
            terms,
            [Comparison::IsNull, Comparison::Equal, Comparison::Joined]
        );
        assert_eq!(
            orders.first_by,
            [SortKey {
                column: "created_at".into(),
                descending: true
            }]
        );
        assert_eq!(
            customers.first_by,
            [],
            "the order of the inner side is lost"
        );
        assert!(
            matches!(&customers.predicates[0].term, Term::Expression { text, .. } if text == "lower(email)")
        );
        assert_eq!(customers.predicates[1].comparison, Comparison::Joined);
    }

    #[test]
    fn a_plan_is_shown_as_a_tree() {
        let plan = Plan::parse(PLAN).unwrap();
        let text = plan.text(&|_| None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Limit (cost 5666, rows 1)");
        assert_eq!(lines[3], "        Sort Key: o.created_at DESC");
        assert_eq!(
            lines[6],
            "        Seq Scan on public.orders o (cost 3323, rows 3948)"
        );
    }

    #[test]
    fn what_is_no_plan_is_none() {
        for text in [
            "",
            "[]",
            "{}",
            "[{\"Plan\": 1}]",
            "[{\"Plan\": {\"Node Type\": \"X\"}}]",
        ] {
            assert!(Plan::parse(text).is_none(), "{text}");
        }
    }
}
