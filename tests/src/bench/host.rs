//! What reading the resources of the host and of five hundred processes costs the daemon.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    probe::{Config, Probe},
    process::Process,
    site::{Site, repository},
    waiting::{self, PATIENCE},
};

use super::documents;

/// Seconds from one scrape to the next that the share of a core is told for.
const SCRAPED_EVERY: f64 = 15.0;

/// Measures some scrapes with and without the host's resources, and returns the table.
///
/// # Errors
/// Not root, or the probe can't be started.
pub fn run(processes: usize, scrapes: usize) -> Result<String> {
    let site = Site::new(&["unused"])?;
    let mut command = std::process::Command::new("sh");
    let script =
        format!("n=0; while [ $n -lt {processes} ]; do n=$((n+1)); sleep 100000 & done; wait");
    command.args(["-c", &script]);
    let shell = Process::spawn("sleepers", command)?;
    let outcome = measure(&site, shell.pid(), processes, scrapes);
    // The shell first, so that it starts no more.
    let sleepers = children(shell.pid())?;
    drop(shell);
    for pid in sleepers {
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)?;
    }
    outcome
}

/// As [`run`], into docs/performance.md as well.
///
/// # Errors
/// As [`run`], and when the document lacks its markers.
pub fn run_and_write(processes: usize, scrapes: usize) -> Result<String> {
    let table = run(processes, scrapes)?;
    documents::replace_in_file(&repository().join("docs/performance.md"), "host", &table)?;
    Ok(table)
}

fn children(pid: u32) -> Result<Vec<i32>> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path)?;
    text.split_whitespace()
        .map(|pid| Ok(pid.parse()?))
        .collect()
}

fn measure(site: &Site, shell: u32, processes: usize, scrapes: usize) -> Result<String> {
    waiting::until("all processes sleep", PATIENCE, || {
        Ok((children(shell)?.len() == processes).then_some(()))
    })?;
    let mut table = String::from(
        "| | CPU per scrape | of it in the kernel | the host's part of one core, scraped every 15 s |\n\
         | --- | ---: | ---: | ---: |\n",
    );
    let mut without = 0.0;
    for (name, section) in [
        ("nothing of the host", "enabled = false"),
        (
            "without sockets and proportional memory",
            "pss_interval_s = 0\nsockets_interval_s = 0",
        ),
        // The most that both can take: with the defaults, sockets are looked at with each scrape,
        // and proportional memory with each fourth.
        (
            "with both at each scrape",
            "pss_interval_s = 1\nsockets_interval_s = 1",
        ),
    ] {
        let section = format!("[host]\n{section}");
        let config = Config::new().service("app", &[shell]).with(&section);
        let probe = Probe::start(site, &config)?;
        let watched = probe.metrics()?.count("hostprobe_service_processes", &[]);
        ensure!(
            watched > processes as u64,
            "only {watched} processes are watched"
        );
        let cost = cost(&probe, scrapes)?;
        let all = cost.user + cost.system;
        if section.ends_with("enabled = false") {
            without = all;
        }
        let _ = writeln!(
            table,
            "| {name} | {:.1} ms | {:.1} ms | {:.2} % |",
            1e3 * all,
            1e3 * cost.system,
            100.0 * (all - without) / SCRAPED_EVERY,
        );
        probe.stop()?;
    }
    Ok(table)
}

/// Seconds of CPU time per scrape.
struct Cost {
    user: f64,
    system: f64,
}

fn cost(probe: &Probe, scrapes: usize) -> Result<Cost> {
    let times = || -> Result<[f64; 2]> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", probe.pid()))?;
        let (_, rest) = stat.rsplit_once(')').context("a name")?;
        let mut times = rest.split_whitespace().skip(11);
        let mut next = || -> Result<f64> {
            let ticks: u64 = times.next().context("a time")?.parse()?;
            Ok(ticks as f64 / 100.0)
        };
        Ok([next()?, next()?])
    };
    let begin = times()?;
    for _ in 0..scrapes {
        pause();
        probe.metrics()?;
    }
    let end = times()?;
    Ok(Cost {
        user: (end[0] - begin[0]) / scrapes as f64,
        system: (end[1] - begin[1]) / scrapes as f64,
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "no async runtime here, and the time is what is meant"
)]
fn pause() {
    std::thread::sleep(Duration::from_secs(1));
}
