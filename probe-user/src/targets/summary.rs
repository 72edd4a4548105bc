//! What is traced, in one line for people.

use std::time::Duration;

use super::services::{Kind, Service};

/// Services that are named one by one.
const NAMED: usize = 8;

/// Says what is traced, or what is looked for when that is nothing.
pub(super) fn summary<'a>(
    services: impl Iterator<Item = &'a Service>,
    discovers: bool,
    interval: Duration,
    unreadable: usize,
) -> String {
    let mut services: Vec<&Service> = services.collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    let mut line = if services.is_empty() {
        nothing(discovers, interval)
    } else {
        let mut parts: Vec<String> = services.iter().take(NAMED).map(|s| one(s)).collect();
        let more = services.len().saturating_sub(NAMED);
        if more > 0 {
            parts.push(format!("and {more} more"));
        }
        format!(
            "tracing {}: {}",
            counted(services.len(), "service", "services"),
            parts.join(", ")
        )
    };
    if unreadable > 0 {
        let processes = counted(unreadable, "process", "processes");
        line.push_str(&format!(
            "; {processes} may not be read: run as root, or with CAP_SYS_PTRACE and \
             CAP_DAC_READ_SEARCH"
        ));
    }
    line
}

fn nothing(discovers: bool, interval: Duration) -> String {
    if !discovers {
        return "tracing nothing: discovery is off and no [[service]] is configured".to_owned();
    }
    format!(
        "tracing nothing yet: found no Postgres server and no process that listens for HTTP in \
         the scope of [discovery]; looking again every {} s; add a [[service]] to the \
         configuration to name processes yourself",
        interval.as_secs()
    )
}

fn one(service: &Service) -> String {
    if service.processes == 0 {
        let hint = if service.kind == Kind::Configured {
            "no process yet"
        } else {
            "no process"
        };
        return format!("{} ({hint})", service.name);
    }
    let processes = counted(service.processes, "process", "processes");
    let ports: Vec<String> = service.ports.iter().map(ToString::to_string).collect();
    match ports.as_slice() {
        [] => format!("{} ({processes})", service.name),
        [port] => format!("{} ({processes}, port {port})", service.name),
        _ => format!("{} ({processes}, ports {})", service.name, ports.join(" ")),
    }
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Instant;

    use super::super::names::Proposal;
    use super::super::services::{Discovered, Services};
    use super::*;

    #[test]
    fn a_line_tells_name_size_and_port_of_each_service() {
        let mut services = Services::default();
        let now = Instant::now();
        for (name, kind, ports, processes) in [
            ("shop", Kind::Http, vec![8000], 3),
            ("postgres-15-main", Kind::Postgres, vec![5432], 1),
            ("gate", Kind::Http, vec![80, 443], 2),
        ] {
            let proposal = Proposal {
                name: name.to_owned(),
                group: None,
            };
            let ports = ports.into_iter().collect::<BTreeSet<u16>>();
            let found = Discovered {
                pid: 7,
                current: None,
                proposal: &proposal,
                kind,
                ports: &ports,
                found: "",
            };
            let id = services.discovered(&found, now).unwrap();
            services.get_mut(id).unwrap().processes = processes;
        }
        services.configured("worker", "", now);
        assert_eq!(
            summary(services.iter(), true, Duration::from_secs(10), 0),
            "tracing 4 services: gate (2 processes, ports 80 443), \
             postgres-15-main (1 process, port 5432), shop (3 processes, port 8000), \
             worker (no process yet)"
        );
    }

    #[test]
    fn nothing_found_says_what_is_looked_for_and_what_to_do() {
        let line = summary(std::iter::empty(), true, Duration::from_secs(10), 2);
        assert!(
            line.starts_with("tracing nothing yet: found no Postgres server"),
            "{line}"
        );
        assert!(line.contains("[[service]]"), "{line}");
        assert!(line.contains("2 processes may not be read"), "{line}");
    }
}
