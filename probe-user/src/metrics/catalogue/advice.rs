//! Advice on indexes.

use super::FedBy;

catalogue! {
    ADVICE: Gauge<2> = "hostprobe_advice" ["database", "kind"]
        None Advice FedBy::Daemon;
        "Pieces of advice on a database's indexes after the last round; /api/advice has them. Absent before the first round."
        => "hostprobe_advice{kind=\"missing_index\"} > 0"

    ADVICE_HYPOPG: Gauge<1> = "hostprobe_advice_hypopg" ["database"]
        None Advice FedBy::Daemon;
        "1 when HypoPG proves what is proposed, 0 when it is missing."

    ADVICE_LAST_ROUND: Gauge<1> = "hostprobe_advice_last_round_timestamp_seconds" ["database"]
        Seconds Advice FedBy::Daemon;
        "When the last round that came to its end was over, in seconds since the epoch."
        => "time() - hostprobe_advice_last_round_timestamp_seconds"

    ADVICE_ROUND_DURATION: Gauge<1> = "hostprobe_advice_round_duration_seconds" ["database"]
        Seconds Advice FedBy::Daemon;
        "How long the last round that came to its end took."

    ADVICE_ROUNDS: Counter<1> = "hostprobe_advice_rounds_total" ["database"]
        None Advice FedBy::Daemon;
        "Rounds of looking for advice that came to their end."

    ADVICE_ERRORS: Counter<1> = "hostprobe_advice_errors_total" ["database"]
        None Advice FedBy::Daemon;
        "Rounds of looking for advice that failed, since the database could not be asked; /api/advice says why."
        => "increase(hostprobe_advice_errors_total[1h])"
}
