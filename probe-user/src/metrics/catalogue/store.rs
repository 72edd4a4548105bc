//! Where records are kept.

use super::FedBy;

catalogue! {
    STORE_UP: Gauge<0> = "hostprobe_store_up" []
        None Store FedBy::Daemon;
        "1 when the store can be written, 0 while it can't; the log and /api/status say why. Absent when none is configured."
        => "hostprobe_store_up == 0"

    STORE_WRITTEN: Counter<1> = "hostprobe_store_written_total" ["kind"]
        None Store FedBy::Daemon;
        "Rows written to the store, by what they are."

    STORE_DROPPED: Counter<2> = "hostprobe_store_dropped_total" ["kind", "reason"]
        None Store FedBy::Daemon;
        "Rows that were not stored, by what they are and why: too many were waiting (queue_full), the database refuses what is in them (refused), or the daemon ended first (stopped)."
        => "sum by (kind, reason) (increase(hostprobe_store_dropped_total[1h])) > 0"

    STORE_QUEUE: Gauge<0> = "hostprobe_store_queue_records" []
        None Store FedBy::Daemon;
        "Records that wait to be written."
        => "hostprobe_store_queue_records / hostprobe_store_queue_limit_records > 0.5"

    STORE_QUEUE_LIMIT: Gauge<0> = "hostprobe_store_queue_limit_records" []
        None Store FedBy::Daemon;
        "Records that may wait to be written (store.queue)."

    STORE_SIZE: Gauge<0> = "hostprobe_store_size_bytes" []
        Bytes Store FedBy::Daemon;
        "Bytes of the store on the disk: the SQLite file with its log, or the tables in Postgres with their indexes, whichever host wrote them."

    STORE_TRANSACTIONS: Counter<0> = "hostprobe_store_transactions_total" []
        None Store FedBy::Daemon;
        "Batches of records that were committed."

    STORE_FAILURES: Counter<0> = "hostprobe_store_failures_total" []
        None Store FedBy::Daemon;
        "Attempts to open or write the store that failed. The records are kept and tried again."

    STORE_WRITE_SECONDS: Counter<0> = "hostprobe_store_write_seconds_total" []
        Seconds Store FedBy::Daemon;
        "Time that committed batches took."
        => "rate(hostprobe_store_write_seconds_total[5m]) / rate(hostprobe_store_transactions_total[5m])"
}
