//! The extended protocol: Parse, Bind, Execute and their errors.

use super::*;

/// Named and unnamed statements and portals, in a pipeline.
#[test]
fn extended_protocol() {
    let mut wire = Wire::started();
    wire.client(
        &[
            parse("s1", "select a from t where b = $1"),
            describe('S', "s1"),
            sync(),
        ]
        .concat(),
    );
    wire.server(&answer("1 t T ZI"));
    assert!(wire.statements().is_empty());
    for parameter in ["x", "y", "x"] {
        wire.client(&[bind("", "s1", parameter), execute("", 0), sync()].concat());
        wire.server(&answer("2 D2 CSELECT_2 ZI"));
    }
    assert_eq!(wire.short(), ["select a from t where b = $1 2 ok"; 3]);
    let parameters: Vec<_> = wire.statements().iter().map(|one| one.parameters).collect();
    assert_eq!(parameters[0], parameters[2]);
    assert_ne!(parameters[0], parameters[1]);
    let one = wire.statements()[0];
    assert_eq!(
        (one.kind, one.batch, one.shared_latency),
        (Kind::Extended, 1, false)
    );

    // Three statements in one write are three (OBI makes it one).
    wire.events.clear();
    let three = |text: &str| [parse("", text), bind("", "", ""), execute("", 0)].concat();
    wire.client(
        &[
            three("select 1"),
            three("update t set a = 1"),
            three("select 2 from u"),
            sync(),
        ]
        .concat(),
    );
    wire.server(&answer("1 2 D CSELECT_1 1 2 CUPDATE_7 1 2 D CSELECT_1 ZI"));
    assert_eq!(
        wire.short(),
        [
            "select ? 1 ok",
            "update t set a = ? 7 ok",
            "select ? from u 1 ok"
        ]
    );
    assert!(
        wire.statements()
            .iter()
            .all(|one| one.shared_latency && one.batch == 3)
    );
}

/// An error skips the rest up to Sync: skipped statements did not happen.
#[test]
fn extended_errors() {
    let run = |text: &str| {
        [
            parse("", text),
            bind("", "", ""),
            describe('P', ""),
            execute("", 0),
        ]
        .concat()
    };
    let mut wire = Wire::started();
    wire.client(&[run("insert into t values ($1)"), run("select 2"), sync()].concat());
    wire.server(&answer("1 2 n E23505 ZI"));
    wire.client(&[run("selec"), run("select 2"), sync()].concat());
    wire.server(&answer("E42601 ZI"));
    wire.client(&[run("select $1::int"), sync()].concat());
    wire.server(&answer("1 E22P02 ZI"));
    assert_eq!(
        wire.short(),
        [
            "insert into t values ($1) 0 23505",
            "selec - 42601",
            "select $1::int - 22P02"
        ]
    );
    let phases: Vec<_> = wire.statements().iter().map(|one| one.phase).collect();
    assert_eq!(phases, [Phase::Execute, Phase::Parse, Phase::Bind]);
    // Their own Execute messages, and those of the statements behind them.
    assert_eq!(wire.connection.stats().skipped, 4);
    // What the client sends on after the error is skipped as well.
    wire.events.clear();
    wire.client(&run("selec")).server(&answer("E42601"));
    wire.client(&run("select 3"))
        .client(&sync())
        .server(&answer("ZI"));
    wire.client(&[run("select 4"), sync()].concat())
        .server(&answer("1 2 T D CSELECT_1 ZI"));
    assert_eq!(wire.short(), ["selec - 42601", "select ? 1 ok"]);
    // A deferred constraint fails at Sync.
    wire.client(&[run("select 5"), sync()].concat())
        .server(&answer("1 2 T D CSELECT_1 E23503 ZI"));
    assert_eq!(wire.short()[2], "select ? 1 ok");
    assert!(wire.events.contains(&Event::ServerError {
        sqlstate: SqlState(*b"23503")
    }));
}

/// asyncpg: Parse, Describe, Flush, and later Bind, Execute, Sync. The time counts from Bind.
#[test]
fn flush_and_late_bind() {
    let mut wire = Wire::started();
    wire.client(
        &[
            parse("a", "select 1"),
            describe('S', "a"),
            message(b'H', b""),
        ]
        .concat(),
    );
    wire.server(&answer("1 t T"));
    wire.client(&[bind("", "a", ""), execute("", 0), sync()].concat());
    wire.server(&answer("2 D CSELECT_1 ZI"));
    let one = wire.statements()[0];
    assert_eq!((one.started_ns, one.finished_ns), (Some(51), Some(60)));
}

/// A portal that is fetched in steps is one statement, of all its rows.
#[test]
fn portals_are_suspended() {
    let mut wire = Wire::started();
    wire.client(&query("begin")).server(&answer("CBEGIN ZT"));
    wire.client(
        &[
            parse("", "select a from t"),
            bind("p", "", ""),
            execute("p", 2),
            sync(),
        ]
        .concat(),
    );
    wire.server(&answer("1 2 D2 s ZT"));
    wire.client(&[execute("p", 2), sync()].concat())
        .server(&answer("D2 s ZT"));
    assert_eq!(wire.short(), ["begin - ok"]);
    wire.client(&[execute("p", 2), sync()].concat())
        .server(&answer("D CSELECT_1 ZT"));
    assert_eq!(wire.short()[1], "select a from t 5 ok");
    let one = wire.statements()[1];
    assert_eq!((one.fetches, one.busy_ns), (3, Some(27)));
    // One that is never read to its end ends with its transaction.
    wire.client(
        &[
            parse("", "select b from t"),
            bind("q", "", ""),
            execute("q", 2),
            sync(),
        ]
        .concat(),
    );
    wire.server(&answer("1 2 D2 s ZT"));
    wire.client(&query("commit")).server(&answer("CCOMMIT ZI"));
    assert_eq!(wire.short()[2..], ["commit - ok", "select b from t 2 ok"]);
}

/// The ways in which PostgreSQL 15 counts otherwise, each measured on a server.
#[test]
fn statistics_differ_where_the_server_says_so() {
    let differences = |wire: &Wire| -> Vec<(i64, i64)> {
        let differ = |event: &Event| match event {
            Event::StatisticsDiffer(one) => Some((one.calls, one.rows)),
            _ => None,
        };
        wire.events.iter().filter_map(differ).collect()
    };
    let select = [parse("", "select a from t"), bind("", "", "")].concat();
    for (client, server, expected) in [
        (
            [&select[..], &execute("", 3), &execute("", 3), &sync()].concat(),
            "1 2 D3 s D3 s ZI",
            &[(0, -3)][..],
        ),
        (
            [&select[..], &execute("", 0), &parse("", "selec"), &sync()].concat(),
            "1 2 D9 CSELECT_9 E42601 ZI",
            &[(-1, -9)],
        ),
        (
            [
                &select[..],
                &execute("", 0),
                &select[..],
                &execute("", 0),
                &sync(),
            ]
            .concat(),
            "1 2 D9 CSELECT_9 1 2 E22012 ZI",
            &[],
        ),
        ([&select[..], &sync()].concat(), "1 2 ZI", &[(1, 0)]),
        (
            [&select[..], &execute("", 0), &execute("", 0), &sync()].concat(),
            "1 2 D9 CSELECT_9 CSELECT_0 ZI",
            &[(0, -9)],
        ),
        (
            [
                parse("b", "begin"),
                bind("", "b", ""),
                execute("", 0),
                bind("", "b", ""),
                execute("", 0),
                sync(),
            ]
            .concat(),
            "1 2 CBEGIN 2 N25001 CBEGIN ZT",
            &[(-1, 0)],
        ),
    ] {
        let mut wire = Wire::started();
        wire.client(&client).server(&answer(server));
        assert_eq!(differences(&wire), expected, "{server}");
    }
    // A savepoint keeps what came before it.
    let mut wire = Wire::started();
    let named = [
        parse("", "select a from t"),
        bind("q", "", ""),
        execute("q", 0),
        sync(),
    ]
    .concat();
    wire.client(&query("begin")).server(&answer("CBEGIN ZT"));
    wire.client(&named).server(&answer("1 2 D9 CSELECT_9 ZT"));
    wire.client(&query("savepoint a"))
        .server(&answer("CSAVEPOINT ZT"));
    wire.client(&query("select 1/0"))
        .server(&answer("E22012 ZE"));
    wire.client(&query("rollback to a"))
        .server(&answer("CROLLBACK ZT"));
    assert!(
        !wire
            .events
            .iter()
            .any(|event| matches!(event, Event::Transaction { .. }))
    );
    wire.client(&query("commit")).server(&answer("CCOMMIT ZI"));
    assert_eq!(differences(&wire), []);
    assert!(wire.events.contains(&Event::Transaction {
        committed: true,
        explicit: true
    }));
}
