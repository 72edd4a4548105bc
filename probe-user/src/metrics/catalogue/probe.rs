//! The probe itself and the daemon's process.

use super::{FedBy, PAYLOAD_PROBE};

catalogue! {
    STREAMS: Gauge<0> = "hostprobe_streams" []
        None Probe PAYLOAD_PROBE;
        "Connections that are decoded now."

    STREAM_RECORDS: Counter<0> = "hostprobe_stream_records_total" []
        None Probe PAYLOAD_PROBE;
        "Reads and writes that were decoded."

    STREAM_PROBLEMS: Counter<1> = "hostprobe_stream_problems_total" ["problem"]
        None Probe PAYLOAD_PROBE;
        "What decoding could not be sure of: lost records, connections that made room, were something else or lost their place, requests or statements whose text or answer was not seen, and statements that were not compared with others for lack of room."
        => "sum by (problem) (rate(hostprobe_stream_problems_total[5m])) > 0"

    EVENTS_LOST: Counter<1> = "hostprobe_events_lost_total" ["cause"]
        None Probe FedBy::Daemon;
        "What happened but is not in the numbers, by cause. Every cause is always present, so that 0 is a statement."
        => "sum by (cause) (increase(hostprobe_events_lost_total[1h])) > 0"

    PROBE_UP: Gauge<1> = "hostprobe_probe_up" ["probe"]
        None Probe FedBy::Daemon;
        "1 while the probe is loaded and attached, else 0; /api/probes and 'hostprobe check' say why."
        => "hostprobe_probe_up == 0"

    PROGRAM_RUNS: Counter<1> = "hostprobe_bpf_program_runs_total" ["program"]
        None Probe FedBy::Daemon;
        "Runs of a kernel program while the kernel measured its run time."

    PROGRAM_RUN_SECONDS: Counter<1> = "hostprobe_bpf_program_run_seconds_total" ["program"]
        Seconds Probe FedBy::Daemon;
        "Time spent in a kernel program while the kernel measured it, summed over CPUs."
        => "rate(hostprobe_bpf_program_run_seconds_total[5m]) / rate(hostprobe_bpf_program_runs_total[5m])"

    PROGRAM_MEASURED_SECONDS: Counter<1> = "hostprobe_bpf_program_measured_seconds_total" ["program"]
        Seconds Probe FedBy::Daemon;
        "Time for which the kernel measured the run time of a program. The load on one CPU is the ratio of the rates."
        => "rate(hostprobe_bpf_program_run_seconds_total[5m]) / rate(hostprobe_bpf_program_measured_seconds_total[5m])"

    PROGRAM_VERIFIED_INSTRUCTIONS: Gauge<1> = "hostprobe_bpf_program_verified_instructions" ["program"]
        None Probe FedBy::Daemon;
        "Instructions that the kernel's verifier looked at when it loaded the program; its limit is one million."

    BUILD_INFO: Info<3> = "hostprobe_build_info" ["version", "object_build_id", "rustc"]
        None Probe FedBy::Daemon;
        "Version of the daemon, build id of its kernel object, and the compiler. Always 1."

    START_TIME: Gauge<0> = "hostprobe_start_time_seconds" []
        Seconds Probe FedBy::Daemon;
        "When the probe began to count, in seconds since the epoch. Counters start at zero then."

    SCRAPE_DURATION: Gauge<0> = "hostprobe_scrape_duration_seconds" []
        Seconds Probe FedBy::Daemon;
        "Time that it took to read the kernel's tables for this scrape."
        => "max_over_time(hostprobe_scrape_duration_seconds[1h])"

    OWN_CPU: Counter<0> = "process_cpu_seconds_total" []
        Seconds OwnProcess FedBy::Daemon;
        "User and system CPU time of the daemon. The kernel programs' time is spent in the observed processes; see the program run time."
        => "rate(process_cpu_seconds_total{job=\"hostprobe\"}[5m])"

    OWN_RESIDENT_MEMORY: Gauge<0> = "process_resident_memory_bytes" []
        Bytes OwnProcess FedBy::Daemon;
        "Resident memory of the daemon."

    OWN_VIRTUAL_MEMORY: Gauge<0> = "process_virtual_memory_bytes" []
        Bytes OwnProcess FedBy::Daemon;
        "Address space of the daemon."

    OWN_OPEN_FDS: Gauge<0> = "process_open_fds" []
        None OwnProcess FedBy::Daemon;
        "Open file descriptors of the daemon."

    OWN_MAX_FDS: Gauge<0> = "process_max_fds" []
        None OwnProcess FedBy::Daemon;
        "Most file descriptors that the daemon may open; absent when there is no limit."

    OWN_START_TIME: Gauge<0> = "process_start_time_seconds" []
        Seconds OwnProcess FedBy::Daemon;
        "When the daemon's process started, in seconds since the epoch."
}
