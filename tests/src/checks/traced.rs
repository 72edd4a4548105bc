//! Workloads under the probe, and the comparison of both tallies.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::{
    exposition::Metrics,
    probe::{Config, Probe, nothing_lost},
    process::Process,
    site::Site,
    waiting::{self, PATIENCE},
    workload::tally::Tally,
};

/// A workload that holds still at a gate.
pub(super) struct Workload {
    process: Process,
}

impl Workload {
    /// Starts a workload and waits for its first gate.
    pub(super) fn start(site: &Site, arguments: &[&str]) -> Result<Self> {
        let mut workload = Self::launch(site, arguments)?;
        workload.wait_gate()?;
        Ok(workload)
    }

    /// Starts a workload; [`Self::wait_gate`] follows.
    pub(super) fn launch(site: &Site, arguments: &[&str]) -> Result<Self> {
        let name = format!("workload {}", arguments.join(" "));
        let process = Process::spawn(&name, site.workload(arguments))?;
        Ok(Self { process })
    }

    pub(super) fn wait_gate(&mut self) -> Result<()> {
        self.process.wait_stopped()
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// The port that a server printed, which it does before its first gate.
    pub(super) fn port(&mut self) -> Result<String> {
        let process = &mut self.process;
        waiting::until("the server listens", PATIENCE, || {
            let output = process.output()?;
            if let Some(status) = process.ended()? {
                anyhow::bail!("the server ended with {status}:\n{output}");
            }
            let line = output.lines().find(|line| line.starts_with("port "));
            // A line may be half written; its end tells.
            let complete = line.filter(|line| output.contains(&format!("{line}\n")));
            Ok(complete.map(|line| line["port ".len()..].to_owned()))
        })
    }

    /// Lets a workload that is at its second gate print its tally and end.
    pub(super) fn finish(mut self) -> Result<Tally> {
        self.process.resume()?;
        Tally::parse(&self.process.wait_success()?)
    }
}

/// One workload, traced as the service `app` from gate to gate.
pub(super) struct Single {
    pub(super) probe: Probe,
    /// The numbers at the second gate.
    pub(super) metrics: Metrics,
    pub(super) tally: Tally,
}

/// Runs one workload under a probe. The numbers are read while it holds still at its second gate,
/// so what it does afterwards can't blur them.
pub(super) fn run(site: &Site, arguments: &[&str]) -> Result<Single> {
    let mut workload = Workload::start(site, arguments)?;
    let probe = Probe::start(site, &Config::new().service("app", &[workload.pid()]))?;
    workload.resume()?;
    workload.wait_gate()?;
    let metrics = probe.metrics()?;
    nothing_lost(&metrics)?;
    let tally = workload.finish()?;
    Ok(Single {
        probe,
        metrics,
        tally,
    })
}

/// Two workloads, traced as the services `server` and `client` from gate to gate.
pub(super) struct Conversation {
    pub(super) probe: Probe,
    pub(super) metrics: Metrics,
    pub(super) server: Tally,
    pub(super) client: Tally,
    /// Segments that the whole host sent again meanwhile: a bound for what the probe may count.
    pub(super) host_retransmits: u64,
}

/// Runs both ends of connections with these options.
pub(super) fn converse(site: &Site, options: &[&str]) -> Result<Conversation> {
    let mut server = Workload::launch(site, &[&["server"], options].concat())?;
    let port = format!("port={}", server.port()?);
    let client_options = [&["client"], options, &[&port]].concat();
    let mut client = Workload::launch(site, &client_options)?;
    server.wait_gate()?;
    client.wait_gate()?;
    let config = Config::new()
        .service("server", &[server.pid()])
        .service("client", &[client.pid()]);
    let probe = Probe::start(site, &config)?;
    let retransmits_before = host_retransmits()?;
    server.resume()?;
    client.resume()?;
    client.wait_gate()?;
    server.wait_gate()?;
    // A closing connection needs an acknowledgement that no call waits for.
    let metrics = probe.eventually(|metrics| {
        let open = metrics.sum("hostprobe_tcp_connections_open", &[]);
        ensure!(open == 0.0, "{open} connections are still open at the end");
        Ok(metrics.clone())
    })?;
    nothing_lost(&metrics)?;
    Ok(Conversation {
        probe,
        metrics,
        server: server.finish()?,
        client: client.finish()?,
        host_retransmits: host_retransmits()? - retransmits_before,
    })
}

/// TCP's `RetransSegs` of this network namespace.
fn host_retransmits() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next(), lines.next());
    names
        .zip(values)
        .and_then(|(names, values)| {
            let at = names.split(' ').position(|name| name == "RetransSegs")?;
            values.split(' ').nth(at)?.parse().ok()
        })
        .context("/proc/net/snmp has no RetransSegs")
}

/// Every call and every error of the tally, and no other, is in the numbers of the service.
pub(super) fn same_calls(metrics: &Metrics, service: &str, tally: &Tally) -> Result<()> {
    same_some_calls(metrics, service, tally, |_| true)
}

/// As [`same_calls`], for some syscalls.
pub(super) fn same_some_calls(
    metrics: &Metrics,
    service: &str,
    tally: &Tally,
    compared: impl Fn(&str) -> bool,
) -> Result<()> {
    let labels = [("service", service)];
    let mut counted = metrics.counts_by("syscall", "hostprobe_syscalls_total", &labels);
    counted.retain(|name, _| compared(name));
    let mut made = tally.calls.clone();
    made.retain(|name, _| compared(name));
    same(&format!("calls of {service}"), &made, &counted)?;

    let timed = metrics.counts_by(
        "syscall",
        "hostprobe_syscall_duration_seconds_count",
        &labels,
    );
    for (name, calls) in &made {
        ensure!(
            timed.get(name) == Some(calls),
            "{name} of {service}: {calls} calls made, {:?} timed",
            timed.get(name)
        );
    }

    let mut counted = BTreeMap::new();
    for sample in metrics.matching("hostprobe_syscall_errors_total", &labels) {
        let label = |name: &str| {
            let value = sample.labels.get(name).cloned();
            value.with_context(|| format!("an error without {name}"))
        };
        let key = (label("syscall")?, label("errno")?);
        if compared(&key.0) {
            let labels = [
                ("service", service),
                ("syscall", key.0.as_str()),
                ("errno", key.1.as_str()),
            ];
            let count = metrics.count("hostprobe_syscall_errors_total", &labels);
            counted.insert(key, count);
        }
    }
    let mut made = tally.errors.clone();
    made.retain(|(name, _), _| compared(name));
    same(&format!("errors of {service}"), &made, &counted)
}

/// Two maps are equal; if not, says where they differ.
pub(crate) fn same<K: Ord + Clone + std::fmt::Debug>(
    what: &str,
    made: &BTreeMap<K, u64>,
    counted: &BTreeMap<K, u64>,
) -> Result<()> {
    let keys: std::collections::BTreeSet<&K> = made.keys().chain(counted.keys()).collect();
    let differences: Vec<String> = keys
        .into_iter()
        .filter_map(|key| {
            let made = made.get(key).copied().unwrap_or(0);
            let counted = counted.get(key).copied().unwrap_or(0);
            (made != counted).then(|| format!("{key:?}: {made} made, {counted} counted"))
        })
        .collect();
    ensure!(
        differences.is_empty(),
        "{what} differ: {}",
        differences.join("; ")
    );
    Ok(())
}

/// One number of a service is what it should be.
pub(super) fn is(
    metrics: &Metrics,
    name: &str,
    labels: &[(&str, &str)],
    expected: u64,
) -> Result<()> {
    let found = metrics.count(name, labels);
    ensure!(
        found == expected,
        "{name}{labels:?} is {found}, not {expected}"
    );
    Ok(())
}
