//! System calls.

use super::SYSCALL_PROBE;

catalogue! {
    SYSCALLS: Counter<2> = "hostprobe_syscalls_total" ["service", "syscall"]
        None Syscalls SYSCALL_PROBE;
        "Syscalls that returned, successful or not. Counted in the kernel, not sampled."
        => "topk(10, sum by (service, syscall) (rate(hostprobe_syscalls_total[5m])))"

    SYSCALL_ERRORS: Counter<3> = "hostprobe_syscall_errors_total" ["service", "syscall", "errno"]
        None Syscalls SYSCALL_PROBE;
        "Syscalls that returned an error, by the error's name. EAGAIN is normal on non-blocking sockets; ERESTART names are calls that a signal interrupted."
        => "sum by (service, syscall, errno) (rate(hostprobe_syscall_errors_total{errno!~\"EAGAIN|EINPROGRESS|ERESTART.*\"}[5m])) > 0"

    SYSCALL_DURATION: HistogramOf<2> = "hostprobe_syscall_duration_seconds" ["service", "syscall"]
        Seconds Syscalls SYSCALL_PROBE;
        "Time from entering a syscall to returning from it, waiting included: a long poll or read may just mean that there was nothing to do."
        => "histogram_quantile(0.99, sum by (le, service) (rate(hostprobe_syscall_duration_seconds_bucket{syscall=~\"fsync|fdatasync\"}[5m])))"
}
