//! The checks that hold on every kernel, on this host's own. Inside VMs `guest` runs the same.

use anyhow::{Context, Result};
use end_to_end::{checks::CHECKS, for_each_check, site::Site};

fn run(name: &str) -> Result<()> {
    let site = Site::new(&[env!("CARGO_BIN_EXE_workload")])?;
    let check = CHECKS
        .iter()
        .find(|check| check.name == name)
        .context("no such check")?;
    (check.run)(&site)
}

macro_rules! test {
    ($name:ident) => {
        #[test]
        fn $name() -> Result<()> {
            run(stringify!($name))
        }
    };
}

for_each_check!(test);
