//! The verifier's work per program and kernel, and the checked-in numbers that it is held to.
//!
//! A count that jumps is an early sign of a program that the next kernel, or the next compiler,
//! will refuse.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs, io,
    path::Path,
};

use anyhow::{Context as _, Result};
use toml::Table;

/// Program name to instructions that the verifier walked.
type Instructions = BTreeMap<String, u64>;

/// One kernel's counts.
pub(super) struct Measured {
    /// Major and minor version: `6.12`.
    pub(super) kernel: String,
    /// Whether the baseline must name it: a kernel of the matrix, not somebody's host.
    pub(super) required: bool,
    pub(super) instructions: Instructions,
}

/// Kernel to its programs' counts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Baseline {
    kernels: BTreeMap<String, Instructions>,
}

const HEADER: &str = "\
# How many instructions the verifier walks per program and kernel.
# `cargo xtask vm-test` fails when a count is over 1.25 times the one here;
# `cargo xtask vm-test --bless` writes this file.
";

impl Baseline {
    /// An absent file is an empty baseline.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.with_context(|| format!("reading {}", path.display()))?,
        };
        Self::parse(&text).with_context(|| format!("reading {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut kernels = BTreeMap::new();
        let file: Table = text.parse()?;
        for (key, value) in file {
            let named = value.as_table().filter(|_| key == "kernel");
            let named = named.with_context(|| format!("`{key}` is no table of kernels"))?;
            for (kernel, programs) in named {
                let programs = programs
                    .as_table()
                    .with_context(|| format!("kernel `{kernel}` is no table of programs"))?;
                kernels.insert(kernel.clone(), counts(programs)?);
            }
        }
        Ok(Self { kernels })
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.text()).with_context(|| format!("writing {}", path.display()))
    }

    fn text(&self) -> String {
        let mut text = HEADER.to_owned();
        for (kernel, instructions) in &self.kernels {
            // Writing to a string can't fail.
            let _ = writeln!(text, "\n[kernel.\"{kernel}\"]");
            for (program, count) in instructions {
                let _ = writeln!(text, "{program} = {count}");
            }
        }
        text
    }

    /// Makes what was measured the baseline. A host's own kernel enters it only if it was in there
    /// before: else everybody's machine would leave a trace.
    pub(super) fn take_over(&mut self, measured: &[Measured]) {
        // The matrix last: a host may run a kernel of the same version.
        for one in measured
            .iter()
            .filter(|one| !one.required)
            .chain(required(measured))
        {
            if one.required || self.kernels.contains_key(&one.kernel) {
                self.kernels
                    .insert(one.kernel.clone(), one.instructions.clone());
            }
        }
    }

    /// What to tell the person who made the change; empty if nothing.
    pub(super) fn problems(&self, measured: &[Measured]) -> Vec<String> {
        let mut problems = Vec::new();
        for one in measured {
            let kernel = &one.kernel;
            let Some(expected) = self.kernels.get(kernel) else {
                if one.required {
                    problems.push(format!("kernel {kernel}: not in the file"));
                }
                continue;
            };
            for (program, now) in &one.instructions {
                match expected.get(program) {
                    None => problems.push(format!("kernel {kernel}: {program} is not in the file")),
                    Some(before) if jumped(*before, *now) => problems.push(format!(
                        "kernel {kernel}: {program} takes {now} instructions, {before} before"
                    )),
                    Some(_) => {}
                }
            }
            let gone = expected
                .keys()
                .filter(|program| !one.instructions.contains_key(*program));
            problems.extend(gone.map(|program| {
                format!("kernel {kernel}: {program} is in the file, but was not loaded")
            }));
        }
        problems
    }
}

fn required(measured: &[Measured]) -> impl Iterator<Item = &Measured> {
    measured.iter().filter(|one| one.required)
}

fn counts(programs: &Table) -> Result<Instructions> {
    programs
        .iter()
        .map(|(program, count)| {
            let count = count
                .as_integer()
                .and_then(|count| u64::try_from(count).ok());
            let count = count.with_context(|| format!("`{program}` is no count"))?;
            Ok((program.clone(), count))
        })
        .collect()
}

/// Over 1.25 times.
fn jumped(before: u64, now: u64) -> bool {
    now.saturating_mul(4) > before.saturating_mul(5)
}

/// Programs as rows, kernels as columns.
pub(super) fn table(measured: &[Measured]) -> String {
    const COLUMN: usize = 12;
    let programs: BTreeSet<&String> = measured
        .iter()
        .flat_map(|one| one.instructions.keys())
        .collect();
    let title = "instructions the verifier walked";
    let width = programs
        .iter()
        .map(|name| name.len())
        .chain([title.len()])
        .max();
    let width = width.unwrap_or_default();
    // Writing to a string can't fail.
    let mut text = format!("{title:<width$}");
    for one in measured {
        let name = if one.required {
            one.kernel.clone()
        } else {
            format!("host {}", one.kernel)
        };
        let _ = write!(text, " {name:>COLUMN$}");
    }
    text.push('\n');
    for program in programs {
        let _ = write!(text, "{program:<width$}");
        for one in measured {
            let count = one.instructions.get(program);
            let count = count.map_or_else(|| "-".to_owned(), u64::to_string);
            let _ = write!(text, " {count:>COLUMN$}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(kernel: &str, required: bool, counts: &[(&str, u64)]) -> Measured {
        let instructions = counts
            .iter()
            .map(|(name, n)| ((*name).to_owned(), *n))
            .collect();
        Measured {
            kernel: kernel.to_owned(),
            required,
            instructions,
        }
    }

    fn baseline() -> Baseline {
        Baseline::parse("[kernel.\"6.1\"]\nsys_enter = 100\nfork = 8\n").expect("valid")
    }

    #[test]
    fn a_quarter_more_is_accepted_and_not_one_instruction_further() {
        let good = measured("6.1", true, &[("sys_enter", 125), ("fork", 8)]);
        assert_eq!(baseline().problems(&[good]), Vec::<String>::new());
        let bad = measured("6.1", true, &[("sys_enter", 126), ("fork", 8)]);
        let problems = baseline().problems(&[bad]);
        assert_eq!(
            problems,
            ["kernel 6.1: sys_enter takes 126 instructions, 100 before"]
        );
    }

    /// Otherwise a new program grows unwatched, and one that stops loading is never missed.
    #[test]
    fn programs_that_come_and_go_are_told() {
        let changed = measured("6.1", true, &[("sys_enter", 90), ("exec", 5)]);
        let problems = baseline().problems(&[changed]);
        assert_eq!(
            problems,
            [
                "kernel 6.1: exec is not in the file",
                "kernel 6.1: fork is in the file, but was not loaded"
            ]
        );
    }

    #[test]
    fn only_kernels_of_the_matrix_must_be_in_the_file() {
        assert_eq!(
            baseline()
                .problems(&[measured("6.18", false, &[("fork", 9)])])
                .len(),
            0
        );
        assert_eq!(
            baseline()
                .problems(&[measured("6.12", true, &[("fork", 9)])])
                .len(),
            1
        );
    }

    #[test]
    fn what_is_blessed_is_read_back_and_leaves_hosts_out() {
        let mut baseline = baseline();
        let new = [
            measured("6.12", true, &[("sys_enter", 300)]),
            measured("6.18", false, &[("sys_enter", 400)]),
        ];
        baseline.take_over(&new);
        assert_eq!(Baseline::parse(&baseline.text()).expect("valid"), baseline);
        assert!(baseline.problems(&new).is_empty());
        assert!(!baseline.kernels.contains_key("6.18"));
    }

    #[test]
    fn a_broken_file_is_told_not_ignored() {
        for text in [
            "kernel = 1",
            "[kernel]\n6 = 1",
            "[kernel.\"6.1\"]\nfork = \"8\"",
            "[other]",
        ] {
            assert!(Baseline::parse(text).is_err(), "{text}");
        }
    }
}
