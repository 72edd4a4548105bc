//! From shares to a cause and a sentence. The thresholds are here, and in `docs/verdict.md`.

use std::time::Duration;

use super::{Interval, Latency, Pressure, State, Work};

/// Requests of which one in twenty takes longer than this are slow.
pub(super) const SLOW_REQUEST: Duration = Duration::from_millis(200);
/// Statements likewise.
pub(super) const SLOW_STATEMENT: Duration = Duration::from_millis(100);
/// A state dominates from this share of the work.
pub(super) const DOMINANT: f64 = 50.0;
/// A service that could run, but does not, for this share of its work lacks CPU, however fast its
/// answers are.
pub(super) const RUN_QUEUE_SHORTAGE: f64 = 25.0;
/// The same for disks.
pub(super) const DISK_SHORTAGE: f64 = 40.0;
/// A shortage of something that is hardly used is none: this much time a second must go there.
const SHORTAGE_RATE: f64 = 0.02;
/// Other states are named from this share.
const WORTH_NAMING: f64 = 1.0;
/// Pressure of the host that is worth a sentence, as a share of ten seconds.
const PRESSURE: f64 = 0.2;

pub(super) struct Judged {
    pub(super) sentence: String,
    pub(super) cause: Option<State>,
    pub(super) slow: bool,
}

pub(super) fn judge(
    name: &str,
    interval: &Interval,
    work: &Work,
    latency: Option<(Latency, f64)>,
) -> Judged {
    if interval.length.is_zero() {
        return Judged {
            sentence: format!("{name} was not watched for long enough yet"),
            cause: None,
            slow: false,
        };
    }
    if work.is_nothing(interval.length) {
        return Judged {
            sentence: format!("{name} has nothing to do"),
            cause: None,
            slow: false,
        };
    }
    let slow = latency.is_some_and(is_high);
    let cause = cause(interval, work, slow);
    let mut sentence = match cause {
        Some(cause) => head(name, cause, work),
        None if slow => {
            format!(
                "{name} is slow, and no single cause stands out: {}",
                shares(work, None, 3)
            )
        }
        None => format!("{name} is fine"),
    };
    if cause.is_some() {
        let others = shares(work, cause, 2);
        if !others.is_empty() {
            sentence.push_str("; ");
            sentence.push_str(&others);
        }
    }
    if let Some((kind, p95)) = latency {
        let what = match kind {
            Latency::Requests => "requests",
            Latency::Statements => "statements",
        };
        sentence.push_str(&format!("; p95 of its {what} {}", time(p95)));
    }
    if cause.is_none() && !slow {
        sentence.push_str(&format!("; {}", shares(work, None, 2)));
    }
    Judged {
        sentence,
        cause,
        slow: slow || cause.is_some(),
    }
}

fn is_high((kind, p95): (Latency, f64)) -> bool {
    let limit = match kind {
        Latency::Requests => SLOW_REQUEST,
        Latency::Statements => SLOW_STATEMENT,
    };
    p95 > limit.as_secs_f64()
}

/// The state that most of the work is lost to, of those that count as a cause.
fn cause(interval: &Interval, work: &Work, slow: bool) -> Option<State> {
    let of_work = work.shares_of_work();
    let counts = |state: &State| {
        let share = of_work.percent(*state);
        let rate = super::per_second(work.ns(*state), interval.length).unwrap_or(0.0);
        let short = match state {
            State::RunQueue => share >= RUN_QUEUE_SHORTAGE && rate >= SHORTAGE_RATE,
            State::Disk => share >= DISK_SHORTAGE && rate >= SHORTAGE_RATE,
            _ => false,
        };
        short || (slow && share >= DOMINANT)
    };
    let causes = State::ALL.into_iter().filter(counts);
    causes.max_by_key(|state| (of_work.per_mille(*state), std::cmp::Reverse(*state)))
}

fn head(name: &str, cause: State, work: &Work) -> String {
    let share = percent(work, cause);
    match cause {
        State::OnCpu => format!("{name} computes: {share} of its time on CPU"),
        State::RunQueue => format!("{name} is short of CPU: {share} of its time in the run queue"),
        State::Disk => format!("{name} waits {share} on disk"),
        State::Database => format!("{name} waits {share} on Postgres"),
        State::Network => format!("{name} waits {share} on other servers"),
        State::Lock => format!("{name} waits {share} on locks between its threads"),
        State::Other => format!("{name} waits {share} on pipes, children and the like"),
        State::Unknown => format!(
            "{name} is slow, and nothing shows why for {share} of its time: timers, queues or \
             locks inside of the program"
        ),
        State::Idle => format!("{name} is idle {share}"),
    }
}

/// The largest shares but one.
fn shares(work: &Work, but: Option<State>, at_most: usize) -> String {
    let of_work = work.shares_of_work();
    let mut states: Vec<(State, f64)> = of_work
        .iter()
        .filter(|(state, share)| Some(*state) != but && *share >= WORTH_NAMING)
        .collect();
    states.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    states.truncate(at_most);
    let words = states
        .iter()
        .map(|(state, _)| format!("{} {}", state.words(), percent(work, *state)));
    words.collect::<Vec<_>>().join(", ")
}

fn percent(work: &Work, state: State) -> String {
    format!("{:.0} %", work.shares_of_work().percent(state))
}

/// A time as people say it.
fn time(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds:.1} s")
    } else if seconds >= 0.001 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{:.0} µs", seconds * 1e6)
    }
}

pub(super) fn host_hints(pressure: &Pressure) -> Vec<String> {
    let hints = [
        ("a CPU", pressure.cpu),
        ("memory", pressure.memory),
        ("a disk", pressure.io),
    ];
    let hints = hints
        .into_iter()
        .filter_map(|(what, share)| Some((what, share?)));
    hints
        .filter(|(_, share)| *share >= PRESSURE)
        .map(|(what, share)| {
            format!(
                "on this host, tasks had to wait for {what} in {:.0} % of the last 10 s",
                share * 100.0
            )
        })
        .collect()
}
