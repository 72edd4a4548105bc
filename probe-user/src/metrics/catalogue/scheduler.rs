//! Threads: where their time goes.

use super::{FedBy, SCHEDULER_PROBE};

catalogue! {
    RUN_QUEUE_LATENCY: HistogramOf<1> = "hostprobe_runqueue_latency_seconds" ["service"]
        Seconds Scheduler SCHEDULER_PROBE;
        "How long the service's threads waited for a processor: from being woken, or from losing it to another thread or to a limit of the control group, to running. The sum is what /proc/PID/schedstat calls run delay."
        => "histogram_quantile(0.99, sum by (le, service) (rate(hostprobe_runqueue_latency_seconds_bucket[5m])))"

    CPU_SLICE: HistogramOf<1> = "hostprobe_cpu_slice_seconds" ["service"]
        Seconds Scheduler SCHEDULER_PROBE;
        "How long the service's threads ran at a stretch, kernel included. Counted when the stretch ends; the sum is CPU time."
        => "sum by (service) (rate(hostprobe_cpu_slice_seconds_sum[5m]))"

    OFF_CPU_SECONDS: Counter<2> = "hostprobe_off_cpu_seconds_total" ["service", "reason"]
        Seconds Scheduler SCHEDULER_PROBE;
        "How long the service's threads were away from a processor, by what they waited for when that is certain. `preempted`: they wanted to run; this time is also in hostprobe_runqueue_latency_seconds. `request`: a connection, or the next request on one that the service accepted; `database`: a connection that it made to Postgres; `network`: another socket; `lock`: futexes, semaphores, file locks; `disk`; `sleep`; `poll`: one of several descriptors, which in most servers is being idle; `other`. Until they are woken, and counted then."
        => "topk by (service) (3, sum by (service, reason) (rate(hostprobe_off_cpu_seconds_total[5m])))"

    OFF_CPU_SWITCHES: Counter<2> = "hostprobe_off_cpu_switches_total" ["service", "reason"]
        None Scheduler SCHEDULER_PROBE;
        "How often the service's threads left a processor. `preempted` are the involuntary context switches, all others the voluntary ones."
        => "sum by (service) (rate(hostprobe_off_cpu_switches_total{reason!=\"preempted\"}[5m]))"

    SCHEDULER_THREADS: Gauge<2> = "hostprobe_scheduler_threads" ["service", "state"]
        None Scheduler SCHEDULER_PROBE;
        "Threads by what they do now: `running`, `runnable`, or what they wait for, as in hostprobe_off_cpu_seconds_total. Threads that have not moved since they are traced are missing."
        => "hostprobe_scheduler_threads{state=\"lock\"} > 0"

    PAGE_FAULTS: Counter<2> = "hostprobe_page_faults_total" ["service", "kind"]
        None Scheduler SCHEDULER_PROBE;
        "Page faults of the service's threads: `minor` when the page was in memory, `major` when it had to be read. Counted when a thread leaves its processor."
        => "sum by (service) (rate(hostprobe_page_faults_total{kind=\"major\"}[5m])) > 0"

    OOM_KILLS: Counter<1> = "hostprobe_oom_kills_total" ["service"]
        None Scheduler FedBy::Probe("process");
        "Processes of the service that the kernel killed because memory ran out, on the host or in a control group. Counted by kernels since 6.8, and by Debian's 6.1."
        => "increase(hostprobe_oom_kills_total[1h]) > 0"
}
