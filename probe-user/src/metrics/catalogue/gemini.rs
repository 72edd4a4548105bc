//! Usage of Gemini's models: tokens, cost, time, errors, limits.

use super::FedBy;

/// Upper bounds in seconds: 10 ms doubling to 82 s, as OpenTelemetry's conventions for
/// `gen_ai.client.operation.duration` have it, and two more for models that think for minutes. The
/// same as [`crate::gemini::BOUNDS_NS`].
pub const GEMINI_BOUNDS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
    327.68,
];

catalogue! {
    GEMINI_TOKENS: Counter<3> = "gen_ai_client_token_usage_total" ["gen_ai_request_model", "gen_ai_token_type", "feature"]
        None AiUsage FedBy::Daemon;
        "Tokens of calls, by type: input (of prompts, without those from a cache), cached, tool_use, output (without thoughts), thoughts. No token is in two of them."
        => "sum by (gen_ai_request_model, gen_ai_token_type) (rate(gen_ai_client_token_usage_total[1h]))"

    GEMINI_DURATION: HistogramOf<3> in GEMINI_BOUNDS = "gen_ai_client_operation_duration_seconds" ["gen_ai_request_model", "gen_ai_operation_name", "error_type"]
        Seconds AiUsage FedBy::Daemon;
        "Calls by how long they took, from the request to the end of the answer. error_type is the status or name of the error, incomplete, or empty."
        => "histogram_quantile(0.95, sum by (le, gen_ai_request_model) (rate(gen_ai_client_operation_duration_seconds_bucket[15m])))"

    GEMINI_FIRST_CHUNK: HistogramOf<2> in GEMINI_BOUNDS = "gen_ai_client_operation_time_to_first_chunk_seconds" ["gen_ai_request_model", "gen_ai_operation_name"]
        Seconds AiUsage FedBy::Daemon;
        "Calls by how long the first piece of their answer took, where that is known."
        => "histogram_quantile(0.95, sum by (le, gen_ai_request_model) (rate(gen_ai_client_operation_time_to_first_chunk_seconds_bucket[15m])))"

    GEMINI_COST: Counter<2> = "hostprobe_gemini_cost_usd_total" ["model", "feature"]
        None AiUsage FedBy::Daemon;
        "What calls cost in US dollars, at the price that applied when each was made. Calls without a known price are not in it: hostprobe_gemini_unpriced_calls_total."
        => "sum by (feature) (increase(hostprobe_gemini_cost_usd_total[1d]))"

    GEMINI_UNPRICED: Counter<3> = "hostprobe_gemini_unpriced_calls_total" ["model", "feature", "reason"]
        None AiUsage FedBy::Daemon;
        "Calls whose cost nobody knows: the model has no price (unknown_model), or the answer told no tokens (no_usage)."
        => "sum by (model, reason) (increase(hostprobe_gemini_unpriced_calls_total[1h])) > 0"

    GEMINI_CALLS: Counter<3> = "hostprobe_gemini_calls_total" ["model", "feature", "outcome"]
        None AiUsage FedBy::Daemon;
        "Calls, by how they ended: ok, error, or incomplete when the answer broke off."
        => "sum by (feature, outcome) (rate(hostprobe_gemini_calls_total[15m]))"

    GEMINI_ERRORS: Counter<3> = "hostprobe_gemini_errors_total" ["model", "status", "code"]
        None AiUsage FedBy::Daemon;
        "Calls that ended with an error, by the status of HTTP and the name that the API gives it."
        => "sum by (status, code) (rate(hostprobe_gemini_errors_total[15m])) > 0"

    GEMINI_THROTTLED: Counter<1> = "hostprobe_gemini_throttled_total" ["model"]
        None AiUsage FedBy::Daemon;
        "Calls that Google refused as too many (429). Those that our own limits refused never got there: hostprobe_gemini_refusals_total."
        => "sum by (model) (rate(hostprobe_gemini_throttled_total[15m])) > 0"

    GEMINI_SEEN: Counter<1> = "hostprobe_gemini_calls_seen_total" ["source"]
        None AiUsage FedBy::Daemon;
        "Calls by who told of them first: endpoint, gateway or wire."
        => "sum by (source) (rate(hostprobe_gemini_calls_seen_total[15m]))"

    GEMINI_MISMATCHES: Counter<1> = "hostprobe_gemini_usage_mismatches_total" ["kind"]
        None AiUsage FedBy::Daemon;
        "Answers whose counts of tokens contradict each other, by how."
        => "increase(hostprobe_gemini_usage_mismatches_total[1h]) > 0"

    GEMINI_REPEATED: Counter<1> = "hostprobe_gemini_repeated_reports_total" ["how"]
        None AiUsage FedBy::Daemon;
        "Reports of calls that were counted already: sent again under the same key (duplicate), or seen by somebody else as well (merged)."
        => "sum by (how) (rate(hostprobe_gemini_repeated_reports_total[15m]))"

    GEMINI_DROPPED: Counter<1> = "hostprobe_gemini_dropped_total" ["reason"]
        None AiUsage FedBy::Daemon;
        "Calls that could not be recorded, by the reason: they are in no other metric."
        => "increase(hostprobe_gemini_dropped_total[1h]) > 0"

    GEMINI_REFUSALS: Counter<1> = "hostprobe_gemini_refusals_total" ["limit"]
        None AiUsage FedBy::Daemon;
        "Calls that were refused before they were made, by the limit that refused, or by the reason when it was none."
        => "sum by (limit) (increase(hostprobe_gemini_refusals_total[1h])) > 0"

    GEMINI_MONTH_COST: Gauge<0> = "hostprobe_gemini_month_cost_usd" []
        None AiUsage FedBy::Daemon;
        "What is known of the cost of the month that runs now, in US dollars, of all hosts that share the store; looked at once a minute."
        => "hostprobe_gemini_month_cost_usd"

    GEMINI_MONTH_PROJECTED: Gauge<0> = "hostprobe_gemini_month_projected_cost_usd" []
        None AiUsage FedBy::Daemon;
        "What it will be at the month's end, if the days that are left are like the last seven; absent while less than a day is known."
        => "hostprobe_gemini_month_projected_cost_usd"

    GEMINI_MONTH_UNPRICED: Gauge<0> = "hostprobe_gemini_month_unpriced_calls" []
        None AiUsage FedBy::Daemon;
        "Calls of the month whose cost nobody knows."
        => "hostprobe_gemini_month_unpriced_calls > 0"

    GEMINI_LIMIT_USED: Gauge<3> = "hostprobe_gemini_limit_used" ["limit", "per", "unit"]
        None AiUsage FedBy::Daemon;
        "What calls have used of the limit in the window that runs now, of all hosts that share the store: tokens, calls or US dollars."
        => "hostprobe_gemini_limit_used / hostprobe_gemini_limit_cap > 0.8"

    GEMINI_LIMIT_RESERVED: Gauge<3> = "hostprobe_gemini_limit_reserved" ["limit", "per", "unit"]
        None AiUsage FedBy::Daemon;
        "What is kept for calls that are under way."
        => "hostprobe_gemini_limit_reserved"

    GEMINI_LIMIT_CAP: Gauge<3> = "hostprobe_gemini_limit_cap" ["limit", "per", "unit"]
        None AiUsage FedBy::Daemon;
        "The most that the limit allows in one window."
        => "hostprobe_gemini_limit_cap - hostprobe_gemini_limit_used - hostprobe_gemini_limit_reserved"

    GEMINI_LIMIT_TOKENS: Gauge<2> = "hostprobe_gemini_limit_tokens" ["limit", "per"]
        None AiUsage FedBy::Daemon;
        "The same of limits in tokens."
        => "hostprobe_gemini_limit_tokens"

    GEMINI_LIMIT_RATIO: Gauge<3> = "hostprobe_gemini_limit_ratio" ["limit", "per", "unit"]
        None AiUsage FedBy::Daemon;
        "Used and reserved as a part of the limit; above 1 when calls that nobody asked for went over it."
        => "max by (limit) (hostprobe_gemini_limit_ratio) > 0.8"

    GEMINI_LIMIT_RESET: Gauge<3> = "hostprobe_gemini_limit_reset_timestamp_seconds" ["limit", "per", "unit"]
        Seconds AiUsage FedBy::Daemon;
        "When the window ends and the use is 0 again, in seconds since the epoch."
        => "hostprobe_gemini_limit_reset_timestamp_seconds - time()"
}
