//! What each service is, and its processes.

use super::FedBy;

catalogue! {
    SERVICE_INFO: Info<3> = "hostprobe_service_info" ["service", "kind", "found_by"]
        None Services FedBy::Targets;
        "A service that is watched, what it is and how it was found. Always 1."
        => "sum by (service) (rate(hostprobe_syscalls_total[5m])) * on (service) group_left (kind) hostprobe_service_info"

    SERVICE_PROCESSES: Gauge<1> = "hostprobe_service_processes" ["service"]
        None Services FedBy::Targets;
        "Processes of the service that are alive. 0 for a service that is known but not running."
        => "hostprobe_service_processes == 0"

    PROCESS_STARTS: Counter<1> = "hostprobe_process_starts_total" ["service"]
        None Services FedBy::Targets;
        "Processes of the service that started while the probe watched, forks included."
        => "rate(hostprobe_process_starts_total[5m])"

    SERVICE_RESTARTS: Counter<1> = "hostprobe_service_restarts_total" ["service"]
        None Services FedBy::Targets;
        "Times that the service came back after its last process had ended."
        => "increase(hostprobe_service_restarts_total[15m]) > 3"

    PROCESS_EXITS: Counter<3> = "hostprobe_process_exits_total" ["service", "code", "signal"]
        None Services FedBy::Targets;
        "Processes of the service that ended, by exit code or by the signal that killed them; the other label is empty."
        => "increase(hostprobe_process_exits_total{signal=~\"SIGKILL|SIGSEGV|SIGABRT\"}[1h]) > 0"

    SERVICE_TIME_SHARE: Gauge<2> = "hostprobe_service_time_share" ["service", "state"]
        None Services FedBy::Daemon;
        "Where the service's time went in the last ten seconds, as a share from 0 to 1; all states of a service add up to 1. States: on_cpu, run_queue, disk, database, network, lock, other, unknown, idle. As /api/verdict has it in its shares, which has the sentence, too."
        => "max by (service) (hostprobe_service_time_share{state=\"database\"}) > 0.5"
}
