//! The Postgres decoder: any bytes, in any calls, of both directions, with gaps and losses.
//!
//! `cargo +nightly fuzz run postgres NEW fuzz/corpus/postgres -- -max_len=4096`, where NEW is an
//! empty directory: it takes what is found, so that the committed corpus stays small.
//!
//! The input is a sequence of calls: a byte of flags, the length of head and of tail and the gap
//! between them (a byte each, the gap times 16), and the bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe_user::sql::SqlCache;
use probe_user::wire::postgres::{Connection, Event, Limits, Outcome};
use probe_user::wire::stream::{Direction, Segment, Side};

fuzz_target!(|data: &[u8]| {
    let limits = Limits {
        statements: 4,
        portals: 2,
        pipeline: 16,
        sql_bytes: 256,
        unrecognised_segments: 8,
    };
    let mut cache = SqlCache::new(8, 1 << 16);
    let mut connection = Connection::new(Side::Server, limits);
    let (mut events, mut rest, mut now) = (Vec::new(), data, 0);
    while let [flags, head, tail, gap, bytes @ ..] = rest {
        let direction = if flags & 1 == 0 {
            Direction::ToServer
        } else {
            Direction::ToClient
        };
        if *flags == 0xff {
            connection.lost(direction);
        }
        let (head, bytes) = bytes.split_at(usize::from(*head).min(bytes.len()));
        let (tail, bytes) = bytes.split_at(usize::from(*tail).min(bytes.len()));
        let missing = u64::from(*gap) * 16;
        let segment = Segment {
            start_ns: now,
            end_ns: now + 1,
            len: (head.len() + tail.len()) as u64 + missing,
            head,
            tail,
        };
        connection.segment(direction, &segment, &mut cache, &mut events);
        now += 10;
        rest = bytes;
    }
    connection.finish(&mut events);
    let mut statements = 0;
    for event in &events {
        if let Event::Statement(statement) = event {
            statements += 1;
            assert!(statement.batch >= 1);
            if let (Some(started), Some(finished)) = (statement.started_ns, statement.finished_ns) {
                assert!(started <= finished, "{statement:?}");
            }
            if let Outcome::Error(state) = statement.outcome {
                let _ = (state.as_str(), state.class());
            }
        }
    }
    assert_eq!(connection.stats().statements, statements);
});
