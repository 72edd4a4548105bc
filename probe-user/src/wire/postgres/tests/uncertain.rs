//! Where certainty begins again.

use super::*;

/// A pool that was opened before the probe: the first statement is seen, and what was prepared
/// before is counted and timed without its text (Pixie never sees such a connection).
#[test]
fn open_connections_are_recognised() {
    let mut wire = Wire::open();
    wire.client(&[bind("", "old", "x"), execute("", 0), sync()].concat());
    wire.server(&answer("2 D2 CSELECT_2 ZI"));
    wire.client(&query("select 1"))
        .server(&answer("T D CSELECT_1 ZI"));
    assert_eq!(wire.short(), ["unknown 2 ok", "select ? 1 ok"]);
    assert_eq!(wire.statements()[0].busy_ns, Some(9));
    assert_eq!(wire.connection.stats().unknown_sql, 1);
}

/// An answer whose question came before the probe is an execution all the same.
#[test]
fn answers_without_questions_are_counted() {
    let mut wire = Wire::open();
    wire.server(&answer("T D5 CSELECT_5 ZT"));
    wire.client(&query("select 1"))
        .server(&answer("T D CSELECT_1 ZT"));
    assert_eq!(wire.short(), ["unknown 5 ok", "select ? 1 ok"]);
    let mut wire = Wire::open();
    let long = answer("D50 CSELECT_50 ZI");
    wire.server(&long[7..]);
    wire.client(&query("select 1"))
        .server(&answer("T D CSELECT_1 ZT"));
    // It may have been the last step of a portal.
    assert_eq!(wire.short(), ["select ? 1 ok"]);
    assert_eq!(wire.connection.stats().unknown_steps, 1);
}

/// A long result in a few bytes: its end says what it was.
#[test]
fn long_answers_are_resolved_from_their_end() {
    for (end, expected) in [
        ("CSELECT_900", "select a from t 900 ok"),
        ("E57014", "select a from t - 57014"),
        ("s", "select a from t - unknown"),
    ] {
        let mut wire = Wire::started();
        let long = answer(&format!("T D900 {end} ZI"));
        wire.client(&query("select a from t"));
        wire.both(Direction::ToClient, &long[..8192], 64, 16);
        wire.both(Direction::ToClient, &long[8192..], 64, 64);
        assert_eq!(wire.short(), [expected]);
        let one = wire.statements()[0];
        let known = one.outcome != Outcome::Unknown;
        assert_eq!(one.first_byte_ns, known.then_some(40));
        wire.client(&query("select 1"))
            .server(&answer("T D CSELECT_1 ZI"));
        assert_eq!(wire.short()[1], "select ? 1 ok");
    }
    let extended = [
        parse("", "select a from t"),
        bind("", "", ""),
        execute("", 0),
        sync(),
    ]
    .concat();
    let mut wire = Wire::started();
    wire.client(&extended);
    wire.both(
        Direction::ToClient,
        &answer("1 2 D900 CSELECT_900 ZI"),
        64,
        64,
    );
    wire.client(&extended);
    wire.both(Direction::ToClient, &answer("1 2 D900 s ZI"), 64, 64);
    assert_eq!(
        wire.short(),
        ["select a from t 900 ok", "select a from t - ok"]
    );
}

/// Of several statements under one gap only what is certain is told.
#[test]
fn several_answers_under_one_gap() {
    let mut wire = Wire::started();
    wire.client(&query("select a from t; select b from t"));
    wire.both(
        Direction::ToClient,
        &answer("T D90 CSELECT_90 T D80 CSELECT_80 ZI"),
        30,
        40,
    );
    wire.client(&query("select a from t; select b from t"));
    wire.both(
        Direction::ToClient,
        &answer("T D90 CSELECT_90 T D80 E57014 ZI"),
        30,
        80,
    );
    assert_eq!(
        wire.short(),
        [
            "select a from t - ok",
            "select b from t 80 ok",
            "select a from t - unknown",
            "select b from t - unknown",
        ]
    );
    // Two batches in flight: which of them this answers is not known.
    let mut wire = Wire::started();
    wire.client(&[query("select a from t"), query("select b from t")].concat());
    wire.both(
        Direction::ToClient,
        &answer("T D90 CSELECT_90 ZI T D80 CSELECT_80 ZI"),
        30,
        40,
    );
    wire.client(&query("select 1"))
        .server(&answer("T D CSELECT_1 ZI"));
    assert_eq!(
        wire.short(),
        [
            "select a from t - unknown",
            "select b from t - unknown",
            "select ? 1 ok"
        ]
    );
}

/// Data that looks like an end is not one, unless it is the last.
#[test]
fn data_is_not_taken_for_an_end() {
    let mut wire = Wire::started();
    wire.client(&query("select a from t"));
    let row = message(
        b'D',
        &[
            b"\0\x01\0\0\0\x40".to_vec(),
            answer("CSELECT_7 ZI"),
            vec![b'x'; 60],
        ]
        .concat(),
    );
    wire.both(
        Direction::ToClient,
        &[row.repeat(50), answer("CSELECT_50 ZI")].concat(),
        20,
        200,
    );
    assert_eq!(wire.short(), ["select a from t 50 ok"]);
}

/// A large parameter is skipped by its length; what is around it is known.
#[test]
fn large_parameters_are_skipped() {
    let mut wire = Wire::started();
    let large = "x".repeat(100_000);
    let insert = [
        parse("", "insert into t values ($1)"),
        bind("", "", &large),
        execute("", 0),
        sync(),
    ]
    .concat();
    wire.both(Direction::ToServer, &insert, 200, 64)
        .server(&answer("1 2 CINSERT_0_1 ZI"));
    assert_eq!(wire.short(), ["insert into t values ($1) 1 ok"]);
    assert_eq!(wire.statements()[0].parameters, None);
    assert_eq!(wire.connection.stats().desynchronised, 0);
}

/// Requests under a gap are executions without a text, by their answers.
#[test]
fn hidden_requests_are_counted_by_their_answers() {
    let mut wire = Wire::started();
    let one = [bind("", "s", "parameter"), execute("", 0)].concat();
    wire.both(
        Direction::ToServer,
        &[one.repeat(20), sync()].concat(),
        100,
        20,
    );
    wire.server(&answer(&["2 CUPDATE_1"; 20].join(" ")))
        .server(&answer("ZI"));
    assert_eq!(wire.statements().len(), 20);
    assert!(
        wire.statements()
            .iter()
            .all(|one| one.outcome == Outcome::Ok)
    );
    wire.client(&query("select 1"))
        .server(&answer("T D CSELECT_1 ZI"));
    assert_eq!(wire.short()[20], "select ? 1 ok");
}

/// After a lost call the next question and its answer belong together again.
#[test]
fn lost_calls() {
    let mut wire = Wire::started();
    wire.client(&query("select a from t"));
    wire.connection.lost(Direction::ToClient);
    wire.client(&query("select b from t"))
        .server(&answer("T D CSELECT_1 ZI"));
    assert_eq!(
        wire.short(),
        ["select a from t - unknown", "select b from t 1 ok"]
    );
    wire.connection.lost(Direction::ToServer);
    wire.server(&answer("T D3 CSELECT_3 ZI"));
    wire.client(&query("select c from t"))
        .server(&answer("T D CSELECT_1 ZI"));
    assert_eq!(wire.short()[2..], ["unknown 3 ok", "select c from t 1 ok"]);
    assert_eq!(wire.connection.stats().lost_segments, 2);
}

/// A name that is used for another text after a loss must not show the old text.
#[test]
fn names_that_are_given_again_are_doubted_after_a_loss() {
    let run = [bind("", "s", ""), execute("", 0), sync()].concat();
    let prepare = |text| [close('S', "s"), parse("s", text), sync()].concat();
    for (again, expected) in [(false, "select a from t 1 ok"), (true, "unknown 1 ok")] {
        let mut wire = Wire::started();
        if again {
            wire.client(&prepare("select z from t"))
                .server(&answer("3 1 ZI"));
            wire.client(&[parse("s", "select y from t"), sync()].concat())
                .server(&answer("1 ZI"));
        }
        wire.client(&[parse("s", "select a from t"), sync()].concat())
            .server(&answer("1 ZI"));
        wire.connection.lost(Direction::ToServer);
        wire.server(&answer("3 1 ZI"));
        wire.client(&run).server(&answer("2 D CSELECT_1 ZI"));
        assert_eq!(wire.short(), [expected]);
    }
}

/// What is not Postgres is left alone, soon.
#[test]
fn other_protocols_are_given_up() {
    let mut wire = Wire::open();
    for _ in 0..64 {
        wire.client(b"GET / HTTP/1.1\r\n\r\n");
    }
    assert_eq!(wire.events, [Event::NotPostgres]);
    assert!(wire.connection.is_left());
    let mut wire = Wire::open();
    wire.client(b"\0\0\0\x08\0\x02\0\0");
    wire.client(b"\0\0\0\x08\0\x02\0\0");
    assert!(wire.statements().is_empty());
}

/// A client without bounds must not make the probe one.
#[test]
fn memory_is_bounded() {
    let limits = Limits {
        statements: 4,
        portals: 2,
        pipeline: 100,
        sql_bytes: 64,
        ..Limits::default()
    };
    let mut wire = Wire::with(limits);
    wire.client(&super::startup()).server(&answer("R K ZI"));
    for number in 0..50 {
        wire.client(
            &[
                parse(
                    &format!("s{number}"),
                    &format!("select {}", "a,".repeat(100)),
                ),
                sync(),
            ]
            .concat(),
        );
        wire.server(&answer("1 ZI"));
    }
    let stats = wire.connection.stats();
    assert_eq!((stats.evicted, stats.cut_texts), (46, 50));
    wire.client(
        &[
            [bind("", "s49", ""), execute("", 0)].concat().repeat(1000),
            sync(),
        ]
        .concat(),
    );
    assert!(wire.connection.session.requests.len() <= 101);
    assert!(wire.connection.stats().overflowed > 1000);
    wire.server(&answer(&["2 CSELECT_1"; 1000].join(" ")))
        .server(&answer("ZI"));
    assert_eq!(wire.statements().len(), 1000);
    wire.client(&query("select 1"))
        .server(&answer("T D CSELECT_1 ZI"));
    assert_eq!(wire.short()[1000], "select ? 1 ok");
}

/// Half a number is another number.
#[test]
fn cut_tags_tell_no_rows() {
    let mut wire = Wire::started();
    wire.client(&query("select a from t"));
    let all = answer("T D CSELECT_100 ZI");
    wire.both(Direction::ToClient, &all, all.len() - 8, 6);
    assert_eq!(wire.short(), ["select a from t - ok"]);
}
