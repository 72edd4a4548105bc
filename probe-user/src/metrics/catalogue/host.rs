//! The host.

use super::FedBy;

catalogue! {
    HOST_INFO: Info<3> = "hostprobe_host_info" ["kernel", "machine", "distribution"]
        None Host FedBy::Host;
        "The host: release of its kernel, architecture and distribution. Always 1."

    HOST_BOOT_TIME: Gauge<0> = "hostprobe_host_boot_time_seconds" []
        Seconds Host FedBy::Host;
        "When the host was booted, in seconds since the epoch."
        => "time() - hostprobe_host_boot_time_seconds"

    HOST_UPTIME: Gauge<0> = "hostprobe_host_uptime_seconds" []
        Seconds Host FedBy::Host;
        "Time since boot."

    HOST_CPUS: Gauge<0> = "hostprobe_host_cpus" []
        None Host FedBy::Host;
        "CPUs that are online."

    HOST_CPU: Counter<1> = "hostprobe_host_cpu_seconds_total" ["cpu_mode"]
        Seconds Host FedBy::Host;
        "CPU time of all CPUs by mode: user, nice, system, idle, iowait, irq, softirq, steal (the hypervisor gave it to others)."
        => "1 - sum(rate(hostprobe_host_cpu_seconds_total{cpu_mode=~\"idle|iowait\"}[5m])) / sum(rate(hostprobe_host_cpu_seconds_total[5m]))"

    HOST_LOGICAL_CPU: Counter<2> = "hostprobe_host_logical_cpu_seconds_total" ["cpu", "cpu_mode"]
        Seconds Host FedBy::Host;
        "The same for each CPU, when host.per_cpu is set."

    HOST_LOAD1: Gauge<0> = "hostprobe_host_load1" []
        None Host FedBy::Host;
        "Threads that ran, could run or waited for a disk, averaged over one minute."
        => "hostprobe_host_load1 / hostprobe_host_cpus > 2"

    HOST_LOAD5: Gauge<0> = "hostprobe_host_load5" []
        None Host FedBy::Host;
        "Threads that ran, could run or waited for a disk, averaged over five minutes."

    HOST_LOAD15: Gauge<0> = "hostprobe_host_load15" []
        None Host FedBy::Host;
        "Threads that ran, could run or waited for a disk, averaged over fifteen minutes."

    HOST_RUNNING: Gauge<0> = "hostprobe_host_threads_running" []
        None Host FedBy::Host;
        "Threads that run or could run now."

    HOST_BLOCKED: Gauge<0> = "hostprobe_host_threads_blocked" []
        None Host FedBy::Host;
        "Threads that wait for a disk now."

    HOST_FORKS: Counter<0> = "hostprobe_host_forks_total" []
        None Host FedBy::Host;
        "Processes and threads that were made."

    HOST_SWITCHES: Counter<0> = "hostprobe_host_context_switches_total" []
        None Host FedBy::Host;
        "Context switches."

    HOST_INTERRUPTS: Counter<0> = "hostprobe_host_interrupts_total" []
        None Host FedBy::Host;
        "Interrupts."

    HOST_PRESSURE_WAITING: Counter<1> = "hostprobe_host_pressure_waiting_seconds_total" ["resource"]
        Seconds Host FedBy::Host;
        "Time for which some thread waited for the resource: cpu, memory or io (PSI, 'some')."
        => "rate(hostprobe_host_pressure_waiting_seconds_total[5m]) > 0.2"

    HOST_PRESSURE_STALLED: Counter<1> = "hostprobe_host_pressure_stalled_seconds_total" ["resource"]
        Seconds Host FedBy::Host;
        "Time for which threads waited for the resource and nothing else could run (PSI, 'full')."
        => "rate(hostprobe_host_pressure_stalled_seconds_total[5m]) > 0.05"

    HOST_PRESSURE: Gauge<3> = "hostprobe_host_pressure_ratio" ["resource", "kind", "window"]
        None Host FedBy::Host;
        "The kernel's own averages of both, from 0 to 1: kind is some or full, window 10s, 60s or 300s."

    HOST_MEMORY_TOTAL: Gauge<0> = "hostprobe_host_memory_total_bytes" []
        Bytes Host FedBy::Host;
        "Memory of the host."

    HOST_MEMORY_AVAILABLE: Gauge<0> = "hostprobe_host_memory_available_bytes" []
        Bytes Host FedBy::Host;
        "What new programs could have without swapping."
        => "hostprobe_host_memory_available_bytes / hostprobe_host_memory_total_bytes < 0.1"

    HOST_MEMORY: Gauge<1> = "hostprobe_host_memory_usage_bytes" ["system_memory_state"]
        Bytes Host FedBy::Host;
        "Memory by state: used, free, buffers, cached (files, and kernel objects that can be given back). Their sum is all."

    HOST_MEMORY_SHARED: Gauge<0> = "hostprobe_host_memory_shared_bytes" []
        Bytes Host FedBy::Host;
        "Of the cached: shared memory and tmpfs, which can't be given back."

    HOST_MEMORY_DIRTY: Gauge<0> = "hostprobe_host_memory_dirty_bytes" []
        Bytes Host FedBy::Host;
        "Changed and not on disk yet."

    HOST_SWAP_TOTAL: Gauge<0> = "hostprobe_host_swap_total_bytes" []
        Bytes Host FedBy::Host;
        "Swap space."

    HOST_SWAP_FREE: Gauge<0> = "hostprobe_host_swap_free_bytes" []
        Bytes Host FedBy::Host;
        "Unused swap space."

    HOST_SWAPPING: Counter<1> = "hostprobe_host_swap_pages_total" ["system_paging_direction"]
        None Host FedBy::Host;
        "Pages that went to swap (out) or came back (in)."
        => "rate(hostprobe_host_swap_pages_total{system_paging_direction=\"in\"}[5m]) > 0"

    HOST_FAULTS: Counter<1> = "hostprobe_host_page_faults_total" ["system_paging_type"]
        None Host FedBy::Host;
        "Page faults of the whole host, minor or major."

    HOST_OOM_KILLS: Counter<0> = "hostprobe_host_oom_kills_total" []
        None Host FedBy::Host;
        "Processes that the kernel killed because memory ran out, on the host or in a control group."
        => "increase(hostprobe_host_oom_kills_total[1h]) > 0"

    DISK_IO: Counter<2> = "hostprobe_host_disk_io_bytes_total" ["device", "disk_io_direction"]
        Bytes Host FedBy::Host;
        "Bytes that the device read or wrote."

    DISK_OPERATIONS: Counter<2> = "hostprobe_host_disk_operations_total" ["device", "disk_io_direction"]
        None Host FedBy::Host;
        "Reads and writes that it completed."

    DISK_MERGED: Counter<2> = "hostprobe_host_disk_merged_total" ["device", "disk_io_direction"]
        None Host FedBy::Host;
        "Reads and writes that were joined with a neighbour before they got to it."

    DISK_OPERATION_SECONDS: Counter<2> = "hostprobe_host_disk_operation_seconds_total" ["device", "disk_io_direction"]
        Seconds Host FedBy::Host;
        "Time that they took, waiting in its queue included."
        => "rate(hostprobe_host_disk_operation_seconds_total[5m]) / rate(hostprobe_host_disk_operations_total[5m])"

    DISK_BUSY: Counter<1> = "hostprobe_host_disk_io_seconds_total" ["device"]
        Seconds Host FedBy::Host;
        "Time for which it had something to do. A device that works in parallel can do more although it is busy all the time."
        => "rate(hostprobe_host_disk_io_seconds_total[5m]) > 0.9"

    DISK_WEIGHTED: Counter<1> = "hostprobe_host_disk_weighted_io_seconds_total" ["device"]
        Seconds Host FedBy::Host;
        "The same times the operations that were under way; its rate is the queue's average length."
        => "rate(hostprobe_host_disk_weighted_io_seconds_total[5m])"

    DISK_IN_FLIGHT: Gauge<1> = "hostprobe_host_disk_operations_in_flight" ["device"]
        None Host FedBy::Host;
        "Operations that are under way now."

    FS_SIZE: Gauge<3> = "hostprobe_host_filesystem_size_bytes" ["device", "mountpoint", "fstype"]
        Bytes Host FedBy::Host;
        "Size of a file system. Those that only show something of the kernel are left out, and a device is there once."

    FS_FREE: Gauge<3> = "hostprobe_host_filesystem_free_bytes" ["device", "mountpoint", "fstype"]
        Bytes Host FedBy::Host;
        "What is not used."

    FS_AVAILABLE: Gauge<3> = "hostprobe_host_filesystem_avail_bytes" ["device", "mountpoint", "fstype"]
        Bytes Host FedBy::Host;
        "What users without special rights may still use."
        => "hostprobe_host_filesystem_avail_bytes / hostprobe_host_filesystem_size_bytes < 0.1"

    FS_FILES: Gauge<3> = "hostprobe_host_filesystem_files" ["device", "mountpoint", "fstype"]
        None Host FedBy::Host;
        "Files that it has room for; 0 when it has no limit."

    FS_FILES_FREE: Gauge<3> = "hostprobe_host_filesystem_files_free" ["device", "mountpoint", "fstype"]
        None Host FedBy::Host;
        "Files that can still be made."
        => "hostprobe_host_filesystem_files_free / hostprobe_host_filesystem_files < 0.05"

    FS_READONLY: Gauge<3> = "hostprobe_host_filesystem_readonly" ["device", "mountpoint", "fstype"]
        None Host FedBy::Host;
        "1 when nothing can be written, as after an error of its disk."

    FS_HANGS: Gauge<3> = "hostprobe_host_filesystem_unresponsive" ["device", "mountpoint", "fstype"]
        None Host FedBy::Host;
        "1 when it does not answer for five seconds, as a file system over the network whose server is gone."
        => "hostprobe_host_filesystem_unresponsive == 1"

    NETWORK_IO: Counter<2> = "hostprobe_host_network_io_bytes_total" ["device", "network_io_direction"]
        Bytes Host FedBy::Host;
        "Bytes that an interface received or sent (transmit), in the network namespace of the daemon."
        => "rate(hostprobe_host_network_io_bytes_total{device!=\"lo\"}[5m])"

    NETWORK_PACKETS: Counter<2> = "hostprobe_host_network_packets_total" ["device", "network_io_direction"]
        None Host FedBy::Host;
        "Packets."

    NETWORK_ERRORS: Counter<2> = "hostprobe_host_network_errors_total" ["device", "network_io_direction"]
        None Host FedBy::Host;
        "Packets that were damaged or could not be sent."
        => "rate(hostprobe_host_network_errors_total[5m]) > 0"

    NETWORK_DROPPED: Counter<2> = "hostprobe_host_network_dropped_total" ["device", "network_io_direction"]
        None Host FedBy::Host;
        "Packets that were thrown away for lack of room."
        => "rate(hostprobe_host_network_dropped_total[5m]) > 0"

    HOST_TCP_SEGMENTS: Counter<0> = "hostprobe_host_tcp_segments_sent_total" []
        None Host FedBy::Host;
        "TCP segments that were sent for the first time."

    HOST_TCP_RETRANSMITS: Counter<0> = "hostprobe_host_tcp_retransmits_total" []
        None Host FedBy::Host;
        "TCP segments that were sent again."
        => "rate(hostprobe_host_tcp_retransmits_total[5m]) / rate(hostprobe_host_tcp_segments_sent_total[5m]) > 0.01"

    HOST_TCP_OPENS: Counter<1> = "hostprobe_host_tcp_connections_total" ["direction"]
        None Host FedBy::Host;
        "TCP connections that were asked for (out) or taken (in)."

    HOST_TCP_FAILS: Counter<0> = "hostprobe_host_tcp_attempt_fails_total" []
        None Host FedBy::Host;
        "TCP connections that failed before they were established."

    HOST_LISTEN_OVERFLOWS: Counter<0> = "hostprobe_host_tcp_listen_overflows_total" []
        None Host FedBy::Host;
        "Connections that no listener took because its queue was full: the program accepts too slowly, or its backlog is too short."
        => "increase(hostprobe_host_tcp_listen_overflows_total[5m]) > 0"

    HOST_LISTEN_DROPS: Counter<0> = "hostprobe_host_tcp_listen_drops_total" []
        None Host FedBy::Host;
        "Connections that no listener took, for whatever reason."

    HOST_SOCKETS: Gauge<1> = "hostprobe_host_tcp_sockets" ["state"]
        None Host FedBy::Host;
        "TCP sockets by state, those without a process (time_wait) included. Looked at less often (host.sockets_interval_s)."
        => "hostprobe_host_tcp_sockets{state=\"time_wait\"}"

    HOST_OPEN_FDS: Gauge<0> = "hostprobe_host_open_fds" []
        None Host FedBy::Host;
        "Open files of the whole host."

    HOST_MAX_FDS: Gauge<0> = "hostprobe_host_max_fds" []
        None Host FedBy::Host;
        "Most of them that the kernel allows."
        => "hostprobe_host_open_fds / hostprobe_host_max_fds > 0.8"

    HOST_READ_ERRORS: Counter<2> = "hostprobe_host_read_errors_total" ["source", "reason"]
        None Host FedBy::Host;
        "What could not be read, by where and why: gone (a process that ended meanwhile), denied, malformed, truncated (more than is looked at), timed_out, failed."
        => "increase(hostprobe_host_read_errors_total{reason!=\"gone\"}[1h]) > 0"

    HOST_SAMPLE_DURATION: Gauge<0> = "hostprobe_host_sample_duration_seconds" []
        Seconds Host FedBy::Host;
        "Time that it took to read all of this."
        => "max_over_time(hostprobe_host_sample_duration_seconds[1h])"
}
