//! Requests to block devices.

use super::BLOCK_PROBE;

catalogue! {
    BLOCK_IO_DURATION: HistogramOf<3> = "hostprobe_block_io_duration_seconds"
        ["service", "device", "operation"]
        Seconds Block BLOCK_PROBE;
        "Requests to block devices, from their way to the device to their end. `[kernel]` as service: what the kernel writes back or flushes for programs, whoever they are. `flush` of a service: its `fsync`, as the device sees it (since Linux 6.5; before, all flushes are the kernel's)."
        => "histogram_quantile(0.99, sum by (le, service, device) (rate(hostprobe_block_io_duration_seconds_bucket[5m])))"

    BLOCK_IO_QUEUE_SECONDS: Counter<3> = "hostprobe_block_io_queue_seconds_total"
        ["service", "device", "operation"]
        Seconds Block BLOCK_PROBE;
        "How long requests waited for their way to the device."
        => "sum by (service, device) (rate(hostprobe_block_io_queue_seconds_total[5m])) / sum by (service, device) (rate(hostprobe_block_io_duration_seconds_count[5m]))"

    BLOCK_IO_BYTES: Counter<3> = "hostprobe_block_io_bytes_total" ["service", "device", "operation"]
        Bytes Block BLOCK_PROBE;
        "Bytes that requests read, wrote or discarded."
        => "sum by (service, device, operation) (rate(hostprobe_block_io_bytes_total[5m]))"

    BLOCK_IO_ERRORS: Counter<3> = "hostprobe_block_io_errors_total" ["service", "device", "operation"]
        None Block BLOCK_PROBE;
        "Requests that failed."
        => "increase(hostprobe_block_io_errors_total[1h]) > 0"
}
