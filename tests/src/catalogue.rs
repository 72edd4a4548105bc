//! What `docs/METRICS.md` promises, for whoever queries it: rules and dashboards.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use promql_parser::{
    label::{Matcher, Matchers},
    parser::{self, Expr, VectorSelector},
    util::{ExprVisitor, walk_expr},
};

use crate::site::repository;

/// Series by name, with the labels that they may have.
#[derive(Debug, Clone, Default)]
pub struct Series(BTreeMap<String, BTreeSet<String>>);

/// Labels that Prometheus itself gives to what it scrapes.
const OF_THE_SCRAPE: [&str; 2] = ["job", "instance"];

impl Series {
    /// All series of the probe, and `up`.
    ///
    /// # Errors
    /// The document is not what its generator writes.
    pub fn documented() -> Result<Self> {
        let text = std::fs::read_to_string(repository().join("docs/METRICS.md"))?;
        let mut series = Self::default();
        series.add("up", &[]);
        for line in text.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, name, kind, labels, ..] = cells.as_slice() else {
                continue;
            };
            let labels: Vec<&str> = labels
                .split(',')
                .map(|label| label.trim().trim_matches('`'))
                .filter(|label| !label.is_empty())
                .collect();
            let name = name.trim_matches('`');
            if *kind == "histogram" {
                series.add(&format!("{name}_sum"), &labels);
                series.add(&format!("{name}_count"), &labels);
                let with_le: Vec<&str> = labels.iter().copied().chain(["le"]).collect();
                series.add(&format!("{name}_bucket"), &with_le);
            } else {
                series.add(name, &labels);
            }
        }
        ensure!(
            series.0.len() > 100,
            "docs/METRICS.md lists hardly anything"
        );
        Ok(series)
    }

    /// Takes a series with its labels.
    pub fn add(&mut self, name: &str, labels: &[&str]) {
        let labels = labels.iter().chain(&OF_THE_SCRAPE);
        self.0.insert(
            name.to_owned(),
            labels.map(|&label| label.to_owned()).collect(),
        );
    }

    /// Takes what a rule records: it may have any label that its expression could.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn add_recorded(&mut self, name: &str, expression: &str) -> Result<()> {
        let mut labels: BTreeSet<String> = BTreeSet::new();
        for selector in self.check(expression)? {
            labels.extend(self.labels_of(&selector)?);
        }
        self.0.insert(name.to_owned(), labels);
        Ok(())
    }

    fn labels_of(&self, selector: &VectorSelector) -> Result<BTreeSet<String>> {
        let name = selector
            .name
            .as_ref()
            .context("a selector without a name")?;
        let labels = self.0.get(name);
        labels
            .cloned()
            .with_context(|| format!("there is no metric {name}"))
    }

    /// Whether an expression asks for nothing that is not there; its selectors.
    ///
    /// # Errors
    /// It does not parse, or names a metric or a label that does not exist.
    pub fn check(&self, expression: &str) -> Result<Vec<VectorSelector>> {
        let parsed = parser::parse(expression)
            .map_err(|error| anyhow::anyhow!("{error}"))
            .with_context(|| format!("parsing {expression}"))?;
        let mut found = Selectors(Vec::new());
        walk_expr(&mut found, &parsed).map_err(|never: std::convert::Infallible| match never {})?;
        for selector in &found.0 {
            let known = self
                .labels_of(selector)
                .with_context(|| expression.to_owned())?;
            for matcher in matchers(&selector.matchers) {
                ensure!(
                    known.contains(&matcher.name),
                    "{} has no label {} in {expression}",
                    selector.name.as_deref().unwrap_or_default(),
                    matcher.name
                );
            }
        }
        Ok(found.0)
    }
}

fn matchers(all: &Matchers) -> impl Iterator<Item = &Matcher> {
    all.matchers.iter().chain(all.or_matchers.iter().flatten())
}

struct Selectors(Vec<VectorSelector>);

impl ExprVisitor for Selectors {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        match expression {
            Expr::VectorSelector(selector) => self.0.push(selector.clone()),
            Expr::MatrixSelector(selector) => self.0.push(selector.vs.clone()),
            _ => {}
        }
        Ok(true)
    }
}
