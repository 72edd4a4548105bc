//! What is not at hand may make a statement unknown, never wrong.

use proptest::prelude::*;

use super::captures::{CAPTURES, Capture, Replay};
use super::*;
use crate::sql::Operation;

/// `PROPTEST_CASES` asks for more.
pub(super) fn cases(usual: u32) -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(usual)
}

/// Head and tail of a call, as the kernel side copies them.
fn limited(
    bytes: &'static [u8],
    start_ns: u64,
    end_ns: u64,
    head: usize,
    tail: usize,
) -> Segment<'static> {
    let head = head.min(bytes.len());
    let tail = tail.min(bytes.len() - head);
    Segment {
        start_ns,
        end_ns,
        len: bytes.len() as u64,
        head: &bytes[..head],
        tail: &bytes[bytes.len() - tail..],
    }
}

/// Whether `found` may be a report of `truth` by someone who saw less.
fn agrees(found: &Statement, truth: &Statement) -> bool {
    let same_text = match (&found.sql, &truth.sql) {
        (None, _) => true,
        // What is executed is not known if the PREPARE was not seen.
        (Some(found), Some(_)) if found.operation == Operation::Execute => true,
        (Some(found), Some(truth)) if found.complete => found.fingerprint == truth.fingerprint,
        (Some(found), Some(truth)) => {
            truth.text.starts_with(found.text.trim_end_matches('…').trim_end())
                // `IN (1, 2` is shown as `in (?`.
                || found.operation == truth.operation
                    && (found.text.contains("in (") || found.text.contains("values ("))
        }
        (Some(_), None) => false,
    };
    same_text
        && (match found.outcome {
            Outcome::Unknown => true,
            // The code was not at hand.
            Outcome::Error(SqlState::UNKNOWN) => matches!(truth.outcome, Outcome::Error(_)),
            outcome => outcome == truth.outcome,
        })
        && (found.rows.is_none() || found.outcome == Outcome::Unknown || found.rows == truth.rows)
}

/// Each report must have a statement of its own that it agrees with: a matching, found by
/// augmenting paths.
fn check(found: &Replay, truth: &Replay, what: &str) -> Result<(usize, usize), TestCaseError> {
    let (mut reports, truths) = (statements(&found.events), statements(&truth.events));
    reports.sort_by_key(|one| one.outcome == Outcome::Unknown);
    // What the server skipped after an error is unknown to who did not see the error.
    let mut skipped: u64 = truth.stats.iter().map(|stats| stats.skipped).sum();
    let mut taken: Vec<Option<usize>> = vec![None; truths.len()];
    for report in 0..reports.len() {
        let mut tried = vec![false; truths.len()];
        if place(report, &reports, &truths, &mut taken, &mut tried) {
            continue;
        }
        if reports[report].outcome == Outcome::Unknown && skipped > 0 {
            skipped -= 1;
        } else {
            let what = format!(
                "{what}: {} is one too many, {} reports of {}",
                short(reports[report]),
                reports.len(),
                truths.len()
            );
            return Err(TestCaseError::fail(what));
        }
    }
    let certain = |one: &&&Statement| one.sql.is_some() && one.outcome != Outcome::Unknown;
    Ok((reports.iter().filter(certain).count(), truths.len()))
}

fn place(
    report: usize,
    reports: &[&Statement],
    truths: &[&Statement],
    taken: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    for truth in 0..truths.len() {
        if tried[truth] || !agrees(reports[report], truths[truth]) {
            continue;
        }
        tried[truth] = true;
        if taken[truth].is_none_or(|other| place(other, reports, truths, taken, tried)) {
            taken[truth] = Some(report);
            return true;
        }
    }
    false
}

fn with_limits(capture: Capture, head: usize, tail: usize) -> Replay {
    capture.replay(Limits::default(), |call, feed| {
        feed(&limited(call.bytes, call.start_ns, call.end_ns, head, tail));
    })
}

/// With a few hundred bytes of each call nearly everything is known; this says how much.
#[test]
fn usual_limits_lose_little() {
    for capture in CAPTURES {
        let truth = capture.whole();
        for (head, tail) in [(4096, 256), (1024, 128), (512, 64)] {
            // Of many executions in one large write, those in its middle are counted only.
            let least = match capture.name {
                "asyncpg" => 0.15,
                "psycopg3_pipeline" => 0.5,
                _ => 1.0,
            };
            let what = format!("{} with {head} and {tail} bytes", capture.name);
            let (certain, total) =
                check(&with_limits(*capture, head, tail), &truth, &what).unwrap();
            assert!(
                certain as f64 >= least * total as f64,
                "{what}: {certain} of {total}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(60)))]

    #[test]
    fn gaps_are_never_filled_in(which in 0..CAPTURES.len(), head in 0usize..2048, tail in 0usize..512) {
        let capture = CAPTURES[which];
        let what = format!("{} with {head} and {tail} bytes", capture.name);
        check(&with_limits(capture, head, tail), &capture.whole(), &what)?;
    }

    /// Each call has limits of its own, as when the ring buffer's space decides.
    #[test]
    fn changing_gaps_are_never_filled_in(
        which in 0..CAPTURES.len(),
        limits in prop::collection::vec((64usize..4096, 0usize..300), 1..50),
    ) {
        let capture = CAPTURES[which];
        let mut limits = limits.into_iter().cycle();
        let replay = capture.replay(Limits::default(), |call, feed| {
            let (head, tail) = limits.next().unwrap();
            feed(&limited(call.bytes, call.start_ns, call.end_ns, head, tail));
        });
        check(&replay, &capture.whole(), capture.name)?;
    }

    /// A full ring buffer loses whole calls.
    #[test]
    fn lost_calls_make_no_statements_up(
        which in 0..CAPTURES.len(),
        lost in prop::collection::vec(prop::bool::weighted(0.15), 1..200),
    ) {
        let capture = CAPTURES[which];
        let replay = lossy(capture, &lost);
        check(&replay, &capture.whole(), capture.name)?;
    }

    /// The probe starts when the connections are open already.
    #[test]
    fn late_starts_make_no_statements_up(which in 0..CAPTURES.len(), late in 1usize..400) {
        let capture = CAPTURES[which];
        let mut seen = 0;
        let replay = capture.replay(Limits::default(), |call, feed| {
            seen += 1;
            if seen > late {
                feed(&Segment::whole(call.start_ns, call.end_ns, call.bytes));
            }
        });
        check(&replay, &capture.whole(), capture.name)?;
    }

    /// No bytes, in whatever pieces, stop the decoder or make it grow.
    #[test]
    fn any_bytes_are_survived(
        pieces in prop::collection::vec((
            any::<bool>(),
            prop::collection::vec(any::<u8>(), 0..100),
            0u64..300,
            prop::collection::vec(any::<u8>(), 0..20),
        ), 0..40),
        started: bool,
    ) {
        feed_pieces(pieces, started);
    }

    /// The same with messages that are well formed, in an order that is not.
    #[test]
    fn any_messages_are_survived(
        pieces in prop::collection::vec((
            any::<bool>(),
            prop::sample::select(b"QPBDECSHFXdcfpTt123nsIZGWNAKRvV".to_vec()).prop_flat_map(|kind| {
                prop::collection::vec(prop::sample::select(b"SP\0Icommit rollback;select 1".to_vec()), 0..30)
                    .prop_map(move |body| message(kind, &body))
            }),
            Just(0),
            Just(Vec::new()),
        ), 0..60),
        started: bool,
    ) {
        feed_pieces(pieces, started);
    }
}

fn feed_pieces(pieces: Vec<(bool, Vec<u8>, u64, Vec<u8>)>, started: bool) {
    let limits = Limits {
        statements: 4,
        portals: 2,
        pipeline: 16,
        ..Limits::default()
    };
    let mut wire = Wire::with(limits);
    if started {
        wire.client(&super::startup()).server(&answer("R K ZI"));
    }
    for (to_server, head, gap, tail) in &pieces {
        let direction = if *to_server {
            Direction::ToServer
        } else {
            Direction::ToClient
        };
        if head.is_empty() && *gap == 7 {
            wire.connection.lost(direction);
        }
        let segment = Segment {
            start_ns: wire.now,
            end_ns: wire.now + 1,
            len: head.len() as u64 + gap + tail.len() as u64,
            head,
            tail,
        };
        wire.now += 1;
        wire.connection
            .segment(direction, &segment, &mut wire.cache, &mut wire.events);
        assert!(wire.connection.session.requests.len() <= limits.pipeline + 2);
    }
    wire.connection.finish(&mut wire.events);
    let stats = wire.connection.stats();
    assert_eq!(stats.statements, wire.statements().len() as u64);
}

fn lossy(capture: Capture, lost: &[bool]) -> Replay {
    let mut cache = SqlCache::default();
    let mut connections = std::collections::BTreeMap::new();
    for (call, lost) in capture.calls().iter().zip(lost.iter().cycle()) {
        let (connection, events) = connections
            .entry(call.connection)
            .or_insert_with(|| (Connection::new(Side::Client, Limits::default()), Vec::new()));
        if *lost {
            connection.lost(call.direction);
        } else {
            let segment = Segment::whole(call.start_ns, call.end_ns, call.bytes);
            connection.segment(call.direction, &segment, &mut cache, events);
        }
    }
    let mut replay = Replay::default();
    for (connection, events) in connections.values_mut() {
        connection.finish(events);
        replay.events.append(events);
        replay.stats.push(connection.stats());
    }
    replay
}
