//! What the processes of each service take from the host.

use super::FedBy;

catalogue! {
    PROCESS_CPU: Counter<1> = "hostprobe_process_cpu_seconds_total" ["service"]
        Seconds ProcessResources FedBy::Host;
        "CPU time of the service's processes, user and system, since it is watched. Goes on growing when processes end; children that lived between two scrapes are in it once their parent has waited for them."
        => "rate(hostprobe_process_cpu_seconds_total[5m]) / hostprobe_cgroup_cpu_limit"

    PROCESS_CPU_SYSTEM: Counter<1> = "hostprobe_process_cpu_system_seconds_total" ["service"]
        Seconds ProcessResources FedBy::Host;
        "Of this: in the kernel."
        => "rate(hostprobe_process_cpu_system_seconds_total[5m]) / rate(hostprobe_process_cpu_seconds_total[5m])"

    PROCESS_RESIDENT: Gauge<1> = "hostprobe_process_resident_memory_bytes" ["service"]
        Bytes ProcessResources FedBy::Host;
        "Resident memory, added up over the processes: what they share, such as Postgres' shared buffers, counts for each."
        => "hostprobe_process_resident_memory_bytes"

    PROCESS_PROPORTIONAL: Gauge<1> = "hostprobe_process_proportional_memory_bytes" ["service"]
        Bytes ProcessResources FedBy::Host;
        "Resident memory of which what is shared counts once (PSS). Read less often (host.pss_interval_s); absent until all processes were read."
        => "hostprobe_process_proportional_memory_bytes / hostprobe_cgroup_memory_limit_bytes"

    PROCESS_VIRTUAL: Gauge<1> = "hostprobe_process_virtual_memory_bytes" ["service"]
        Bytes ProcessResources FedBy::Host;
        "Address space."

    PROCESS_SWAPPED: Gauge<1> = "hostprobe_process_swapped_memory_bytes" ["service"]
        Bytes ProcessResources FedBy::Host;
        "Memory in swap."
        => "hostprobe_process_swapped_memory_bytes > 0"

    PROCESS_THREADS: Gauge<1> = "hostprobe_process_threads" ["service"]
        None ProcessResources FedBy::Host;
        "Threads."
        => "deriv(hostprobe_process_threads[1h]) > 0"

    PROCESS_OPEN_FDS: Gauge<1> = "hostprobe_process_open_fds" ["service"]
        None ProcessResources FedBy::Host;
        "Open file descriptors, added up over the processes."

    PROCESS_MAX_FDS: Gauge<1> = "hostprobe_process_max_fds" ["service"]
        None ProcessResources FedBy::Host;
        "Most file descriptors that the process which is nearest to its limit may open."

    PROCESS_FDS_RATIO: Gauge<1> = "hostprobe_process_worst_fd_ratio" ["service"]
        None ProcessResources FedBy::Host;
        "How full that process is, from 0 to 1; at 1 it can't accept a connection or open a file."
        => "hostprobe_process_worst_fd_ratio > 0.8"

    PROCESS_DISK_IO: Counter<2> = "hostprobe_process_disk_io_bytes_total" ["service", "disk_io_direction"]
        Bytes ProcessResources FedBy::Host;
        "Bytes that the processes caused to be read from disks or written to them; what the page cache answers is not in it."
        => "sum by (service, disk_io_direction) (rate(hostprobe_process_disk_io_bytes_total[5m]))"

    PROCESS_SWITCHES: Counter<2> = "hostprobe_process_context_switches_total" ["service", "process_context_switch_type"]
        None ProcessResources FedBy::Host;
        "Times that a thread gave up the CPU (voluntary, to wait for something) or lost it to another (involuntary)."
        => "rate(hostprobe_process_context_switches_total{process_context_switch_type=\"involuntary\"}[5m])"

    PROCESS_FAULTS: Counter<2> = "hostprobe_process_page_faults_total" ["service", "process_paging_fault_type"]
        None ProcessResources FedBy::Host;
        "Page faults: minor ones need no disk, major ones wait for it."
        => "rate(hostprobe_process_page_faults_total{process_paging_fault_type=\"major\"}[5m]) > 0"

    PROCESS_OLDEST: Gauge<1> = "hostprobe_process_oldest_start_time_seconds" ["service"]
        Seconds ProcessResources FedBy::Host;
        "When the oldest process of the service started, in seconds since the epoch."
        => "time() - hostprobe_process_oldest_start_time_seconds < 300"

    PROCESS_SOCKETS: Gauge<2> = "hostprobe_process_tcp_sockets" ["service", "state"]
        None ProcessResources FedBy::Host;
        "TCP sockets that the processes hold, by state; a socket that processes share counts for each. Looked at less often (host.sockets_interval_s). Many in close_wait: the program does not close what its peers have left."
        => "hostprobe_process_tcp_sockets{state=\"close_wait\"} > 100"

    CGROUP_CPU_LIMIT: Gauge<1> = "hostprobe_cgroup_cpu_limit" ["service"]
        None ProcessResources FedBy::Host;
        "CPUs' worth of time that the service may use: the lowest quota of its control groups and those above them, else the host's CPUs."
        => "rate(hostprobe_process_cpu_seconds_total[5m]) / hostprobe_cgroup_cpu_limit > 0.9"

    CGROUP_PERIODS: Counter<1> = "hostprobe_cgroup_cpu_periods_total" ["service"]
        None ProcessResources FedBy::Host;
        "Periods of CPU quotas in which something ran."

    CGROUP_THROTTLED_PERIODS: Counter<1> = "hostprobe_cgroup_cpu_throttled_periods_total" ["service"]
        None ProcessResources FedBy::Host;
        "Of these: those in which the quota was used up, so that threads had to wait for the next."
        => "rate(hostprobe_cgroup_cpu_throttled_periods_total[5m]) / rate(hostprobe_cgroup_cpu_periods_total[5m]) > 0.1"

    CGROUP_THROTTLED_SECONDS: Counter<1> = "hostprobe_cgroup_cpu_throttled_seconds_total" ["service"]
        Seconds ProcessResources FedBy::Host;
        "Time for which they had to wait, added up over CPUs."
        => "rate(hostprobe_cgroup_cpu_throttled_seconds_total[5m]) > 0"

    CGROUP_MEMORY_LIMIT: Gauge<1> = "hostprobe_cgroup_memory_limit_bytes" ["service"]
        Bytes ProcessResources FedBy::Host;
        "Memory that the service may use: the lowest limit of its control groups and those above them, else the host's memory."
        => "hostprobe_cgroup_memory_used_bytes / hostprobe_cgroup_memory_limit_bytes > 0.9"

    CGROUP_MEMORY_USED: Gauge<1> = "hostprobe_cgroup_memory_used_bytes" ["service"]
        Bytes ProcessResources FedBy::Host;
        "Memory that the control groups with the limit use, the page cache included; without a limit, the service's own groups. Absent when these are the root."

    CGROUP_MEMORY_EVENTS: Counter<2> = "hostprobe_cgroup_memory_events_total" ["service", "event"]
        None ProcessResources FedBy::Host;
        "What happened at limits of memory: low, high, max (the limit was hit; v1: failcnt), oom, oom_kill (a process was killed)."
        => "increase(hostprobe_cgroup_memory_events_total{event=\"oom_kill\"}[1h]) > 0"

    CGROUP_PRESSURE_WAITING: Counter<2> = "hostprobe_cgroup_pressure_waiting_seconds_total" ["service", "resource"]
        Seconds ProcessResources FedBy::Host;
        "Time for which some task of the service's control groups waited for cpu, memory or io: pressure stall information of cgroup v2, added up over groups. Absent where the kernel does not measure it, and for a service in the root group."
        => "rate(hostprobe_cgroup_pressure_waiting_seconds_total{resource=\"io\"}[5m]) > 0.2"

    CGROUP_PRESSURE_STALLED: Counter<2> = "hostprobe_cgroup_pressure_stalled_seconds_total" ["service", "resource"]
        Seconds ProcessResources FedBy::Host;
        "Time for which no task of the service's control groups could do anything but wait for the resource."
}
