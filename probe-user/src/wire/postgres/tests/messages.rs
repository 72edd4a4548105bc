//! Each message of the specification, as the server and the clients use it.

use super::*;
use crate::sql::Operation;

/// The start-up tells who connected, and how long that took.
#[test]
fn startup() {
    let mut wire = Wire::open();
    wire.client(&super::startup());
    wire.server(&answer("R Sserver_version=15.1 Sapplication_name=app2 K"));
    assert!(wire.events.is_empty());
    wire.server(&answer("ZI"));
    let Event::Connected {
        connect_to_ready_ns,
        session,
    } = &wire.events[0]
    else {
        panic!("{:?}", wire.events);
    };
    assert_eq!(*connect_to_ready_ns, 30 - 11);
    assert_eq!(session.user.as_deref(), Some("alice"));
    assert_eq!(session.database.as_deref(), Some("shop"));
    assert_eq!(session.application_name.as_deref(), Some("app2"));
    assert_eq!(session.server_version.as_deref(), Some("15.1"));
    assert_eq!(
        (session.protocol, session.backend_pid),
        (Some((3, 0)), Some(0x1000))
    );
    wire.client(&query("select 1"))
        .server(&answer("T D CSELECT_1 ZI"));
    assert_eq!(
        wire.statements()[0].session.database.as_deref(),
        Some("shop")
    );
}

/// PostgreSQL 18 speaks 3.2: longer keys, and a message that lowers the version.
#[test]
fn protocol_3_2() {
    let mut wire = Wire::open();
    let mut packet = super::startup();
    packet[7] = 2;
    wire.client(&packet);
    wire.server(&message(b'v', b"\0\x03\0\0\0\0\0\0"));
    wire.server(&[&answer("R")[..], &message(b'K', &[7; 260]), &answer("ZI")].concat());
    let Event::Connected { session, .. } = &wire.events[0] else {
        panic!("{:?}", wire.events);
    };
    assert_eq!(session.protocol, Some((3, 0)));
}

/// A refused client is a full pool or a wrong password: the operator must see which.
#[test]
fn refusal() {
    let mut wire = Wire::open();
    wire.client(&super::startup()).server(&answer("E53300"));
    let Event::Refused { sqlstate, session } = &wire.events[0] else {
        panic!("{:?}", wire.events);
    };
    assert_eq!((sqlstate.as_str(), sqlstate.class()), ("53300", "53"));
    assert_eq!(session.user.as_deref(), Some("alice"));
}

/// After `S` only clear text counts; what is encrypted must not be misread.
#[test]
fn encryption_is_negotiated() {
    let request = [0, 0, 0, 8, 4, 210, 22, 47];
    let mut wire = Wire::open();
    wire.client(&request).server(b"S");
    assert_eq!(wire.events, [Event::TlsNegotiated]);
    wire.client(&[22, 3, 1, 2, 0, 1, 0])
        .server(&[22, 3, 3, 0, 122, 2]);
    wire.client(&super::startup()).server(&answer("R K ZI"));
    wire.client(&query("select 1"))
        .server(&answer("T D CSELECT_1 ZI"));
    assert_eq!(wire.short(), ["select ? 1 ok"]);

    let mut wire = Wire::open();
    wire.client(&[0, 0, 0, 8, 4, 210, 22, 48]).server(b"N");
    wire.client(&request).server(b"N");
    wire.client(&super::startup()).server(&answer("R K ZI"));
    assert!(matches!(
        wire.events[..],
        [Event::Connected { .. }, Event::Ready { .. }]
    ));

    let mut wire = Wire::open();
    wire.client(&request).server(&answer("E0A000"));
    assert!(matches!(wire.events[..], [Event::Refused { .. }]));
}

/// A cancel is a connection of its own.
#[test]
fn cancel() {
    let mut wire = Wire::open();
    wire.client(&[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2]);
    assert_eq!(wire.events, [Event::Cancel]);
    assert!(wire.connection.is_left());
}

/// Passwords go through the decoder without a trace.
#[test]
fn passwords_are_not_kept() {
    let mut wire = Wire::open();
    wire.client(&super::startup()).server(&answer("R"));
    let password = message(b'p', b"hunter2\0");
    for byte in password.chunks(3) {
        wire.client(byte);
        assert!(!format!("{:?}", wire.connection).contains("104, 117, 110, 116"));
    }
    wire.server(&answer("R ZI"));
    assert!(matches!(wire.events[0], Event::Connected { .. }));
}

/// One observation for each statement of a text, with its own rows.
#[test]
fn simple_queries() {
    let mut wire = Wire::started();
    wire.client(&query("select 1"))
        .server(&answer("T D3 CSELECT_3 ZI"));
    wire.client(&query("begin; insert into t values (1);; commit"));
    wire.server(&answer("CBEGIN CINSERT_0_1 CCOMMIT ZI"));
    wire.client(&query(" -- nothing")).server(&answer("I ZI"));
    assert_eq!(
        wire.short(),
        [
            "select ? 3 ok",
            "begin - ok",
            "insert into t values (?) 1 ok",
            "commit - ok"
        ]
    );
    let first = wire.statements()[0];
    assert_eq!(
        (first.started_ns, first.first_byte_ns),
        (Some(31), Some(40))
    );
    assert_eq!((first.finished_ns, first.busy_ns), (Some(40), Some(9)));
    assert_eq!(
        (first.batch, first.shared_latency, first.kind),
        (1, false, Kind::Simple)
    );
    assert_eq!(first.transaction_status, Some(TransactionStatus::Idle));
    let second = wire.statements()[1];
    assert_eq!((second.batch, second.shared_latency), (3, true));
    let transactions: Vec<_> = wire
        .events
        .iter()
        .filter(|event| matches!(event, Event::Transaction { .. }))
        .collect();
    assert_eq!(
        transactions,
        [
            &Event::Transaction {
                committed: true,
                explicit: false
            },
            &Event::Transaction {
                committed: true,
                explicit: true
            },
        ]
    );
}

/// An error after rows is an error (Coroot calls it a success), and ends the text.
#[test]
fn simple_query_fails() {
    let mut wire = Wire::started();
    wire.client(&query("select 1; select 1/x from t; select 2"));
    wire.server(&answer("T D CSELECT_1 T D2 E22012 ZI"));
    assert_eq!(
        wire.short(),
        ["select ? 1 ok", "select ? / x from t 2 22012"]
    );
    wire.client(&query("select 1; selec 2"))
        .server(&answer("E42601 ZI"));
    assert_eq!(wire.short()[2], "unknown 0 42601");
    wire.client(&query("selec 2")).server(&answer("E42601 ZI"));
    assert_eq!(wire.short()[3], "selec ? 0 42601");
    assert!(wire.events.contains(&Event::Transaction {
        committed: false,
        explicit: false
    }));
}

/// COPY, both ways and in both protocols; a Sync before the data is ignored by the server.
#[test]
fn copy() {
    let mut wire = Wire::started();
    wire.client(&query("copy t from stdin"))
        .server(&answer("G"));
    wire.client(&answer("d d d"))
        .client(&answer("d c"))
        .server(&answer("CCOPY_4 ZI"));
    wire.client(&query("copy t to stdout"))
        .server(&answer("H d d d c CCOPY_3 ZI"));
    wire.client(
        &[
            parse("", "copy t from stdin"),
            bind("", "", ""),
            execute("", 0),
            sync(),
        ]
        .concat(),
    );
    wire.server(&answer("1 2 G"));
    wire.client(&answer("d c"))
        .client(&sync())
        .server(&answer("CCOPY_1 ZI"));
    wire.client(&query("copy t from stdin"))
        .server(&answer("G"));
    wire.client(&answer("d"))
        .client(&message(b'f', b"no\0"))
        .server(&answer("E57014 ZI"));
    wire.client(&query("select 1"))
        .server(&answer("T D CSELECT_1 ZI"));
    assert_eq!(
        wire.short(),
        [
            "copy t from stdin 4 ok",
            "copy t to stdout 3 ok",
            "copy t from stdin 1 ok",
            "copy t from stdin 0 57014",
            "select ? 1 ok"
        ]
    );
    let copies: Vec<_> = wire.statements().iter().map(|one| one.copy).collect();
    use CopyDirection::{In, Out};
    assert_eq!(copies, [Some(In), Some(Out), Some(In), Some(In), None]);
    // An error in the data of an extended COPY: the Sync that came first is gone.
    wire.client(
        &[
            parse("", "copy t from stdin"),
            bind("", "", ""),
            execute("", 0),
            sync(),
        ]
        .concat(),
    );
    wire.server(&answer("1 2 G"));
    wire.client(&answer("d")).server(&answer("E22P02"));
    wire.client(&[answer("d c"), sync()].concat())
        .server(&answer("ZI"));
    wire.client(&query("select 2 from t"))
        .server(&answer("T D CSELECT_1 ZI"));
    assert_eq!(
        wire.short()[5..],
        ["copy t from stdin 0 22P02", "select ? from t 1 ok"]
    );
    assert_eq!(wire.connection.stats().violations, 0);
}

/// Messages that come at any time belong to nobody.
#[test]
fn asynchronous_messages() {
    let mut wire = Wire::started();
    wire.server(&answer("A N00000 SDateStyle=ISO"));
    wire.client(
        &[
            parse("", "select 1"),
            bind("", "", ""),
            execute("", 0),
            sync(),
        ]
        .concat(),
    );
    wire.server(&answer(
        "N00000 1 A 2 Sapplication_name=later D N00000 D CSELECT_2 A ZI",
    ));
    assert_eq!(wire.short(), ["select ? 2 ok"]);
    assert_eq!(
        wire.connection.session().application_name.as_deref(),
        Some("later")
    );
    wire.server(&answer("E57P01"));
    assert_eq!(
        wire.events.last(),
        Some(&Event::ServerError {
            sqlstate: SqlState(*b"57P01")
        })
    );
}

/// What SQL does to prepared statements.
#[test]
fn statements_by_sql() {
    let mut wire = Wire::started();
    wire.client(&query("prepare p as select a from t"))
        .server(&answer("CPREPARE ZI"));
    wire.client(&query("execute p(1)"))
        .server(&answer("T D CSELECT_1 ZI"));
    wire.client(&[bind("", "p", ""), execute("", 0), sync()].concat())
        .server(&answer("2 D CSELECT_1 ZI"));
    wire.client(&query("deallocate p"))
        .server(&answer("CDEALLOCATE ZI"));
    wire.client(&[bind("", "p", ""), execute("", 0), sync()].concat())
        .server(&answer("E26000 ZI"));
    assert_eq!(
        wire.short(),
        [
            "prepare p as select a from t - ok",
            "select a from t 1 ok",
            "select a from t 1 ok",
            "deallocate p - ok",
            "unknown - 26000"
        ]
    );
    // A name that is given again means the new statement; one that could not be given, the old.
    wire.client(&[parse("s", "select 1"), sync()].concat())
        .server(&answer("1 ZI"));
    wire.client(&[parse("s", "select b from u"), sync()].concat())
        .server(&answer("E42P05 ZI"));
    wire.client(&[bind("", "s", ""), execute("", 0), sync()].concat())
        .server(&answer("2 D CSELECT_1 ZI"));
    wire.client(&[close('S', "s"), parse("s", "select c from v"), sync()].concat())
        .server(&answer("3 1 ZI"));
    wire.client(&[bind("", "s", ""), execute("", 0), sync()].concat())
        .server(&answer("2 D CSELECT_1 ZI"));
    assert_eq!(wire.short()[6..], ["select ? 1 ok", "select c from v 1 ok"]);
}

/// The rest of the messages.
#[test]
fn function_calls_replication_and_the_end() {
    let mut wire = Wire::started();
    wire.client(&message(b'F', &[0; 12]))
        .server(&answer("V ZI"));
    wire.client(&query("select 1"))
        .server(&answer("T D CSELECT_1 ZI"));
    assert_eq!(
        (wire.short(), wire.connection.stats().function_calls),
        (vec!["select ? 1 ok".to_owned()], 1)
    );
    wire.client(&[parse("", ""), bind("", "", ""), execute("", 0), sync()].concat())
        .server(&answer("1 2 I ZI"));
    assert_eq!(wire.short().len(), 1);
    wire.client(&message(b'X', b""));
    assert_eq!(wire.events.last(), Some(&Event::Terminated));

    let mut wire = Wire::started();
    wire.client(&query("START_REPLICATION SLOT s LOGICAL 0/0"))
        .server(&answer("W"));
    wire.client(&answer("d")).server(&answer("d d"));
    assert_eq!(wire.events, [Event::Replication]);
    assert!(wire.connection.is_left());
}

/// A connection that ends with a question open: the question is not forgotten.
#[test]
fn the_end_leaves_nothing_out() {
    let mut wire = Wire::started();
    wire.client(&query("select pg_sleep(10)"));
    let mut events = Vec::new();
    wire.connection.finish(&mut events);
    assert_eq!(
        short(statements(&events)[0]),
        "select pg_sleep(?) - unknown"
    );
    assert_eq!(
        statements(&events)[0].sql.as_ref().unwrap().operation,
        Operation::Select
    );
}

/// A backend that is terminated says why and goes; its last statement must not wait for a
/// ReadyForQuery, or for an end of the connection that nobody may see.
#[test]
fn a_fatal_error_ends_the_statement_at_once() {
    let fatal = |severity: &str| {
        let body = format!("SFATAL\0V{severity}\0C57P01\0Mterminating connection\0\0");
        message(b'E', body.as_bytes())
    };
    let mut wire = Wire::started();
    wire.client(&query("select pg_terminate_backend(1)"))
        .server(&[&answer("T D")[..], &fatal("FATAL")].concat());
    assert_eq!(wire.short(), ["select pg_terminate_backend(?) 1 57P01"]);
    // The severity counts that is never translated.
    let mut wire = Wire::started();
    wire.client(&query("select 1")).server(&fatal("ERROR"));
    assert!(wire.short().is_empty());
    wire.server(&answer("ZI"));
    assert_eq!(wire.short().len(), 1);
}
