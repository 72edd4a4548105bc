//! Steps that run one after the other, each timed, and the table of how they ended.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The steps so far.
#[derive(Default)]
pub(crate) struct Steps {
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// How a step ended, with a few words for the table.
pub(crate) enum Outcome {
    Passed(String),
    Failed(String),
    /// Could not be looked at here. Never used for something that could have been.
    NotChecked(String),
}

impl Steps {
    /// Runs a step. Says whether it passed; a failure is told at once, and again in the table.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<Outcome>,
    ) -> bool {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = step().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        let took = start.elapsed();
        if let Outcome::Failed(why) = &outcome {
            eprintln!("{name}: FAILED: {why}");
        }
        println!("-- {name}: {}", shown(took));
        let passed = !matches!(outcome, Outcome::Failed(_));
        self.rows.push(Row {
            name,
            outcome,
            took,
        });
        passed
    }

    /// Prints the table. Fails if a step did.
    pub(crate) fn finish(self) -> Result<()> {
        let width = self
            .rows
            .iter()
            .map(|row| row.name.len())
            .max()
            .unwrap_or_default();
        println!("\n== summary");
        let mut failed = Vec::new();
        for row in &self.rows {
            let (verdict, words) = match &row.outcome {
                Outcome::Passed(words) => ("ok", words),
                Outcome::NotChecked(words) => ("not checked", words),
                Outcome::Failed(words) => {
                    failed.push(row.name);
                    ("FAILED", words)
                }
            };
            // A message of many lines was shown when it came up.
            let words = words.lines().next().unwrap_or_default();
            let took = shown(row.took);
            println!("{:<width$}  {verdict:<11}  {took:>8}  {words}", row.name);
        }
        let total = self.rows.iter().map(|row| row.took).sum();
        println!("{:<width$}  {:<11}  {:>8}", "total", "", shown(total));
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

/// A command that has nothing to say when it succeeds.
pub(crate) fn passed((): ()) -> Outcome {
    Outcome::Passed(String::new())
}

fn shown(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 60 {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    /// CI must be red when one step of many failed, also when the last one passed.
    #[test]
    fn one_failed_step_fails_all() {
        let mut steps = Steps::default();
        assert!(!steps.run("first", || Err(anyhow!("broken"))));
        assert!(steps.run("second", || Ok(passed(()))));
        let error = steps.finish().expect_err("the first step failed");
        assert_eq!(error.to_string(), "failed: first");
    }

    #[test]
    fn what_can_not_be_checked_does_not_fail() {
        let mut steps = Steps::default();
        assert!(steps.run("far away", || Ok(Outcome::NotChecked(
            "no network".to_owned()
        ))));
        assert!(steps.finish().is_ok());
    }
}
