//! `bench decode`: what criterion measured of the decoders, as a table of rates.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::documents;
use crate::site::{repository, target_directory};

/// One of criterion's benchmarks.
#[derive(Debug, PartialEq)]
struct Rate {
    group: String,
    name: String,
    /// What one iteration takes in nanoseconds; the median.
    ns: f64,
    /// Elements of an iteration.
    elements: f64,
}

impl Rate {
    fn ns_per_element(&self) -> f64 {
        self.ns / self.elements
    }
}

/// The part of criterion's `benchmark.json` that we read.
#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
    throughput: Option<Throughput>,
}

#[derive(Deserialize)]
struct Throughput {
    #[serde(rename = "Elements")]
    elements: Option<f64>,
}

/// The part of criterion's `estimates.json` that we read.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// The groups whose elements are statements or requests, and what an element is called.
const GROUPS: &[(&str, &str)] = &[
    ("postgres", "statements"),
    ("http1", "requests"),
    ("records to numbers", "exchanges"),
    ("sql, not in the cache", "texts"),
    ("routes", "paths"),
];

/// The table of what criterion measured last.
///
/// # Errors
/// Nothing was measured, or criterion's files are not understood.
pub fn table() -> Result<String> {
    let rates = read(&target_directory().join("criterion"))?;
    render(&rates)
}

/// Writes the table into `docs/performance.md`.
///
/// # Errors
/// As [`table`], or the document lacks its markers.
pub fn write() -> Result<()> {
    let path = repository().join("docs/performance.md");
    documents::replace_in_file(&path, "decode", &table()?)
}

fn render(rates: &[Rate]) -> Result<String> {
    let mut text = String::from("| on one core | a second | ns for one |\n| --- | ---: | ---: |\n");
    let mut lines = 0;
    for (group, unit) in GROUPS {
        for rate in rates.iter().filter(|rate| rate.group == *group) {
            let ns = rate.ns_per_element();
            let _ = writeln!(
                text,
                "| {group}: {} | {:.2} million {unit} | {ns:.0} |",
                rate.name,
                1e3 / ns
            );
            lines += 1;
        }
    }
    ensure!(lines > 0, "criterion has measured none of our groups");
    Ok(text)
}

fn read(directory: &Path) -> Result<Vec<Rate>> {
    let mut folders = Vec::new();
    find(directory, &mut folders).with_context(|| format!("reading {}", directory.display()))?;
    let mut rates = Vec::new();
    for folder in folders {
        rates.extend(read_one(&folder).with_context(|| format!("reading {}", folder.display()))?);
    }
    rates.sort_by(|a, b| (&a.group, &a.name).cmp(&(&b.group, &b.name)));
    Ok(rates)
}

/// Collects the folders `new`, in which criterion keeps its last measurement.
fn find(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        if entry.file_name() == "new" {
            found.push(entry.path());
        } else {
            find(&entry.path(), found)?;
        }
    }
    Ok(())
}

/// `None` for a benchmark that counts no elements.
fn read_one(folder: &Path) -> Result<Option<Rate>> {
    let benchmark: Benchmark =
        serde_json::from_str(&std::fs::read_to_string(folder.join("benchmark.json"))?)?;
    let estimates: Estimates =
        serde_json::from_str(&std::fs::read_to_string(folder.join("estimates.json"))?)?;
    let Some(elements) = benchmark.throughput.and_then(|one| one.elements) else {
        return Ok(None);
    };
    Ok(Some(Rate {
        group: benchmark.group_id,
        name: benchmark.function_id.unwrap_or_default(),
        ns: estimates.median.point_estimate,
        elements,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As criterion 0.8 writes them, shortened.
    fn keep(folder: &Path, group: &str, name: &str, elements: u64, ns: f64) {
        std::fs::create_dir_all(folder).unwrap();
        let benchmark = format!(
            "{{\"group_id\":\"{group}\",\"function_id\":\"{name}\",\"value_str\":null,\
             \"throughput\":{{\"Elements\":{elements}}},\"full_id\":\"x\"}}"
        );
        std::fs::write(folder.join("benchmark.json"), benchmark).unwrap();
        let estimates = format!(
            "{{\"mean\":{{\"point_estimate\":1.0}},\"median\":{{\"point_estimate\":{ns}}}}}"
        );
        std::fs::write(folder.join("estimates.json"), estimates).unwrap();
    }

    #[test]
    fn rates_are_read_from_what_criterion_keeps() {
        let directory = tempfile::TempDir::new().unwrap();
        let root = directory.path();
        keep(
            &root.join("postgres/prepared/new"),
            "postgres",
            "prepared",
            1000,
            500_000.0,
        );
        keep(
            &root.join("postgres/prepared/base"),
            "postgres",
            "prepared",
            1000,
            1.0,
        );
        let rates = read(root).unwrap();
        assert_eq!(rates.len(), 1);
        let table = render(&rates).unwrap();
        assert!(
            table.contains("| postgres: prepared | 2.00 million statements | 500 |"),
            "{table}"
        );
    }

    #[test]
    fn nothing_measured_is_an_error() {
        let directory = tempfile::TempDir::new().unwrap();
        assert!(render(&read(directory.path()).unwrap()).is_err());
        assert!(read(&directory.path().join("missing")).is_err());
    }
}
