//! Calls of AI models as they are recognised on the wire.

use super::FedBy;

catalogue! {
    GEMINI_WIRE_CALLS: Counter<2> = "hostprobe_gemini_wire_calls_total" ["service", "outcome"]
        None Tls FedBy::Probe("tls");
        "Calls of Gemini's models that were recognised in the service's own TLS connections, by how they ended: ok, error, or incomplete when the answer's end was not seen."
        => "sum by (service, outcome) (rate(hostprobe_gemini_wire_calls_total[5m]))"

    GEMINI_WIRE_PROBLEMS: Counter<1> = "hostprobe_gemini_wire_problems_total" ["problem"]
        None Tls FedBy::Probe("tls");
        "What could not be known of calls on the wire: the request was made before its process was traced, or too little of its head was copied (request_not_seen, the call is in no other metric), bytes of the answer were lost (bytes_missing), it was broken off (broken_off), its end was not seen (end_not_seen), too many were read at once (too_many_at_once), it was not understood (not_understood), or there was no room to hand it on (dropped)."
        => "increase(hostprobe_gemini_wire_problems_total[1h]) > 0"
}
