//! Budgets of pages and files.

use super::FedBy;

catalogue! {
    BUDGET_RATIO: Gauge<2> = "hostprobe_budget_ratio" ["page", "budget"]
        None Browsers FedBy::Daemon;
        "What is so as a part of what a budget allows: above 1 it is broken. Vitals are at the 75th percentile, requests and bytes of a page view on average; files on the disk have the page \"files\". Absent while it is not known; /api/budgets says why."
        => "hostprobe_budget_ratio > 1"

    BUDGETS: Gauge<1> = "hostprobe_budgets" ["state"]
        None Browsers FedBy::Daemon;
        "Budgets that are kept (ok), not kept (broken), or of which it can't be said (unknown)."
        => "hostprobe_budgets{state=\"broken\"} > 0"

    BUDGETS_LEFT_OUT: Gauge<0> = "hostprobe_budgets_left_out" []
        None Browsers FedBy::Daemon;
        "Budgets beyond the first thousand, the worst first, which have no series."

    BUDGETS_LOOKED_AT: Gauge<0> = "hostprobe_budgets_last_look_timestamp_seconds" []
        Seconds Browsers FedBy::Daemon;
        "When the budgets were looked at last, in seconds since the epoch; once a minute."
        => "time() - hostprobe_budgets_last_look_timestamp_seconds > 300"
}
