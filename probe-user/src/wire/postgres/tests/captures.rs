//! What real clients said, against what Postgres counted meanwhile.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::sql::{Effect, Operation};

/// The recordings, made by `fixtures/postgres/record.py`.
macro_rules! captures {
    ($($name:literal),* $(,)?) => {
        pub(super) const CAPTURES: &[Capture] = &[$(Capture {
            name: $name,
            bytes: include_bytes!(concat!("../../../../fixtures/postgres/", $name, ".cap")),
            expected: include_str!(concat!("../../../../fixtures/postgres/", $name, ".expected")),
        }),*];
    };
}

captures![
    "psql",
    "psycopg2",
    "psycopg3",
    "psycopg3_pipeline",
    "asyncpg",
    "pgbench_simple",
    "pgbench_extended",
    "pgbench_prepared",
];

#[derive(Debug, Clone, Copy)]
pub(super) struct Capture {
    pub(super) name: &'static str,
    bytes: &'static [u8],
    expected: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) connection: usize,
    pub(super) direction: Direction,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) bytes: &'static [u8],
}

impl Capture {
    pub(super) fn calls(self) -> Vec<Call> {
        let mut rest = self.bytes;
        let mut calls = Vec::new();
        while !rest.is_empty() {
            let line = rest.iter().position(|byte| *byte == b'\n').unwrap();
            let header = std::str::from_utf8(&rest[..line]).unwrap();
            let fields: Vec<&str> = header.split(' ').collect();
            let length: usize = fields[4].parse().unwrap();
            calls.push(Call {
                connection: fields[0].parse().unwrap(),
                direction: if fields[1] == ">" {
                    Direction::ToServer
                } else {
                    Direction::ToClient
                },
                start_ns: fields[2].parse().unwrap(),
                end_ns: fields[3].parse().unwrap(),
                bytes: &rest[line + 1..line + 1 + length],
            });
            rest = &rest[line + 2 + length..];
        }
        calls
    }

    /// Decodes it; `cut` says which segments a call becomes.
    pub(super) fn replay(
        self,
        limits: Limits,
        mut cut: impl FnMut(&Call, &mut dyn FnMut(&Segment<'_>)),
    ) -> Replay {
        let mut cache = SqlCache::default();
        let mut connections: BTreeMap<usize, (Connection, Vec<Event>)> = BTreeMap::new();
        for call in self.calls() {
            let (connection, events) = connections
                .entry(call.connection)
                .or_insert_with(|| (Connection::new(Side::Client, limits), Vec::new()));
            cut(&call, &mut |segment| {
                connection.segment(call.direction, segment, &mut cache, events);
            });
        }
        let mut replay = Replay::default();
        for (connection, events) in connections.values_mut() {
            connection.finish(events);
            replay.events.append(events);
            replay.stats.push(connection.stats());
        }
        replay
    }

    /// Decodes it with every byte at hand.
    pub(super) fn whole(self) -> Replay {
        self.replay(Limits::default(), |call, feed| {
            feed(&Segment::whole(call.start_ns, call.end_ns, call.bytes));
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) events: Vec<Event>,
    pub(super) stats: Vec<Stats>,
}

impl Replay {
    /// Calls and rows by fingerprint, as Postgres counts them.
    fn counted(&self) -> BTreeMap<u64, (String, i64, i64)> {
        let mut counted = BTreeMap::new();
        let mut add = |sql: &crate::sql::SqlInfo, calls: i64, rows: i64| {
            let entry = counted
                .entry(sql.fingerprint)
                .or_insert_with(|| (sql.text.to_string(), 0, 0));
            entry.1 += calls;
            entry.2 += rows;
        };
        for event in &self.events {
            match event {
                Event::Statement(statement) if statement.outcome == Outcome::Ok => {
                    let sql = statement.sql.as_ref().expect("the SQL is known");
                    // These it leaves out.
                    if !matches!(sql.operation, Operation::Prepare | Operation::Deallocate) {
                        add(sql, 1, i64::try_from(statement.rows.unwrap_or(0)).unwrap());
                    }
                }
                Event::StatisticsDiffer(difference) => {
                    add(
                        difference.sql.as_ref().unwrap(),
                        difference.calls,
                        difference.rows,
                    );
                }
                _ => {}
            }
        }
        counted.retain(|_, (_, calls, rows)| (*calls, *rows) != (0, 0));
        counted
    }

    fn errors(&self) -> BTreeMap<String, u64> {
        let mut errors = BTreeMap::new();
        for event in &self.events {
            let state = match event {
                Event::Statement(Statement {
                    outcome: Outcome::Error(state),
                    ..
                }) => state,
                Event::ServerError { sqlstate } => sqlstate,
                _ => continue,
            };
            *errors.entry(state.as_str().to_owned()).or_insert(0) += 1;
        }
        errors
    }
}

type Counted = BTreeMap<u64, (String, i64, i64)>;

/// What Postgres and the client counted while it was recorded.
fn expected(capture: Capture) -> (Counted, BTreeMap<String, u64>) {
    let (mut counted, mut errors) = (Counted::new(), BTreeMap::new());
    let mut cache = SqlCache::default();
    for line in capture.expected.lines() {
        let fields: Vec<&str> = line.splitn(4, '\t').collect();
        if fields[0] == "error" {
            errors.insert(fields[1].to_owned(), fields[2].parse().unwrap());
            continue;
        }
        let parsed = cache.parse(fields[3].as_bytes(), false, false);
        let part = match &parsed.parts[0].effect {
            // Executions of a statement of SQL's PREPARE are counted under the PREPARE.
            Effect::Prepare(_, Some(prepared)) => prepared.parts[0].clone(),
            _ => parsed.parts[0].clone(),
        };
        let entry = counted
            .entry(part.info.fingerprint)
            .or_insert_with(|| (part.info.text.to_string(), 0, 0));
        entry.1 += fields[1].parse::<i64>().unwrap();
        entry.2 += fields[2].parse::<i64>().unwrap();
    }
    (counted, errors)
}

/// Texts may differ in the numbers of parameters; the fingerprint is what counts.
fn numbers(counted: &Counted) -> BTreeMap<u64, (i64, i64)> {
    let numbers =
        |(fingerprint, (_, calls, rows)): (&u64, &(_, i64, i64))| (*fingerprint, (*calls, *rows));
    counted.iter().map(numbers).collect()
}

/// The promise: calls, rows and errors are those that Postgres and the client counted.
#[test]
fn counts_equal_those_of_postgres() {
    for capture in CAPTURES {
        let replay = capture.whole();
        let (counted, errors) = expected(*capture);
        let found = replay.counted();
        assert_eq!(
            numbers(&found),
            numbers(&counted),
            "{}: found {found:#?}, Postgres {counted:#?}",
            capture.name
        );
        assert_eq!(replay.errors(), errors, "{}", capture.name);
        for stats in &replay.stats {
            assert_eq!(
                (
                    stats.violations,
                    stats.desynchronised,
                    stats.unknown_outcome
                ),
                (0, 0, 0),
                "{}",
                capture.name
            );
        }
    }
}

/// What does not depend on where the calls were cut.
pub(super) fn gist(replay: &Replay) -> Vec<String> {
    let mut gist = Vec::new();
    for event in &replay.events {
        gist.push(match event {
            Event::Statement(statement) => format!(
                "{} {:?} {:?} {:?} {:?} {:?} {}",
                short(statement),
                statement.kind,
                statement.phase,
                statement.transaction_status,
                statement.parameters,
                statement.copy,
                statement.batch,
            ),
            Event::Connected { .. } => "connected".to_owned(),
            Event::Ready { status, .. } => format!("{status:?}"),
            other => format!("{other:?}"),
        });
    }
    gist
}

/// Long texts, long answers and small buffers cut messages anywhere.
#[test]
fn single_bytes_give_the_same_statements() {
    for capture in CAPTURES {
        let bytes = capture.replay(Limits::default(), |call, feed| {
            for byte in call.bytes.chunks(1) {
                feed(&Segment::whole(call.start_ns, call.end_ns, byte));
            }
        });
        assert!(gist(&bytes) == gist(&capture.whole()), "{}", capture.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(super::gaps::cases(40)))]

    #[test]
    fn cuts_anywhere_give_the_same_statements(
        which in 0..CAPTURES.len(),
        sizes in prop::collection::vec(1usize..600, 1..20),
    ) {
        let capture = CAPTURES[which];
        let mut sizes = sizes.into_iter().cycle();
        let replay = capture.replay(Limits::default(), |call, feed| {
            let mut rest = call.bytes;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                feed(&Segment::whole(call.start_ns, call.end_ns, now));
                rest = later;
            }
        });
        prop_assert_eq!(gist(&replay), gist(&capture.whole()));
    }
}
