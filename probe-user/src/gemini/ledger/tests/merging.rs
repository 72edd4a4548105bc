//! Calls that are reported more than once, or by more than one.

use super::*;
use crate::gemini::{Audio, ErrorCode, Format, Mismatch};

pub(super) async fn a_key_is_one_call(settings: config::Store) {
    let books = Books::open(&settings, &[tokens(100)]).await;
    let keyed = |tokens| Call {
        key: Some("k".into()),
        ..reported(NOON, tokens)
    };
    let first = keyed(10);
    assert_eq!(books.one(&first).await, Recorded::New(first.id));
    // Sent again a while later, so its times differ.
    let again = Call {
        at_ms: NOON + HOUR,
        duration_ns: 1,
        ..keyed(10)
    };
    assert_eq!(
        books.one(&again).await,
        Recorded::Duplicate { of: first.id }
    );
    let other = books.record(&[keyed(11)]).await;
    assert!(
        matches!(other, Err(GeminiError::KeyReused { .. })),
        "{other:?}"
    );
    assert_eq!(books.stands(NOON).await, [(10, 0)]);
    assert_eq!(books.calls().await, 1);
    books.close().await;
}

/// Half of a batch would be counted again when it is sent again.
pub(super) async fn all_of_a_batch_or_nothing(settings: config::Store) {
    let books = Books::open(&settings, &[tokens(100)]).await;
    let keyed = |key: &str, tokens| Call {
        key: Some(key.into()),
        ..reported(NOON, tokens)
    };
    books.one(&keyed("b", 1)).await;
    let broken = [keyed("a", 10), keyed("b", 2), keyed("c", 10)];
    assert!(books.record(&broken).await.is_err());
    assert_eq!(books.calls().await, 1);
    assert_eq!(books.stands(NOON).await, [(1, 0)]);
    let whole = [keyed("a", 10), keyed("b", 1), keyed("a", 10)];
    let recorded = books.record(&whole).await.unwrap();
    assert!(matches!(
        recorded[..],
        [
            Recorded::New(_),
            Recorded::Duplicate { .. },
            Recorded::Duplicate { .. }
        ]
    ));
    assert_eq!(books.stands(NOON).await, [(11, 0)]);
    books.adds_up().await;
    books.close().await;
}

pub(super) async fn a_call_comes_back_as_it_was_written(settings: config::Store) {
    let books = Books::open(&settings, &[]).await;
    let full = Call {
        key: Some("k".into()),
        response_id: Some("r".into()),
        service: "shop".into(),
        feature: "search".into(),
        route: Some("/a/{id}".into()),
        operation: Operation::Stream,
        outcome: Outcome::Error {
            status: 429,
            code: Some(ErrorCode::ResourceExhausted),
        },
        first_chunk_ns: Some(7),
        usage: Some(Usage {
            prompt: 10,
            cached: 4,
            output: 3,
            thoughts: 2,
            tool_use: 1,
            total: Some(16),
            audio: Audio {
                prompt: 3,
                cached: 2,
                output: 1,
            },
            batch: true,
            format: Format::Interactions,
            mismatch: Some(Mismatch::OnlyTotal),
        }),
        ..reported(NOON, 0)
    };
    let sparse = Call {
        outcome: Outcome::Incomplete,
        usage: None,
        cost: Cost::UnknownModel,
        ..seen(NOON + HOUR, 0)
    };
    books.record(&[full.clone(), sparse.clone()]).await.unwrap();
    let mut connection = books.begin().await.unwrap();
    let order = "1 = 1 ORDER BY at_ms";
    let rows = row::find(&mut connection, order, crate::store::Values::default());
    let read: Vec<Call> = rows
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.call)
        .collect();
    assert_eq!(read, [full, sparse]);
    connection.rollback().await.unwrap();
    books.close().await;
}

pub(super) async fn the_wire_and_a_report_are_one_call(settings: config::Store) {
    let books = Books::open(&settings, &[tokens(1_000)]).await;
    let mut n = 0;
    for (first, second) in [
        (Source::Wire, Source::Endpoint),
        (Source::Endpoint, Source::Wire),
        (Source::Gateway, Source::Endpoint),
    ] {
        for with_id in [true, false] {
            n += 1;
            let at = NOON + n * HOUR / 2;
            let id = with_id.then(|| format!("response {n}"));
            let a = Call {
                response_id: id.clone(),
                ..call(first, at, 10)
            };
            // A report by its id may come late and from elsewhere; else it comes soon.
            let b = Call {
                response_id: id,
                host: if with_id { "b" } else { "a" }.into(),
                ..call(second, at + if with_id { 600_000 } else { 3_000 }, 10)
            };
            assert_eq!(
                books.one(&a).await,
                Recorded::New(a.id),
                "{first}, {second}"
            );
            assert_eq!(
                books.one(&b).await,
                Recorded::Merged { into: a.id },
                "{first}, {second}"
            );
            // Twice by the same way.
            let again = books.one(&Call { id: 1, ..b }).await;
            if with_id {
                assert_eq!(again, Recorded::Duplicate { of: a.id });
            } else {
                assert!(matches!(again, Recorded::New(_)), "{again:?}");
            }
        }
    }
    let calls = books.calls().await;
    assert_eq!(calls, 9, "six pairs, and three reports that stand alone");
    books.adds_up().await;
    books.close().await;
}

pub(super) async fn calls_that_only_look_alike_stay_two(settings: config::Store) {
    let books = Books::open(&settings, &[]).await;
    let first = Call {
        response_id: Some("x".into()),
        service: "shop".into(),
        ..seen(NOON, 10)
    };
    books.one(&first).await;
    let report = || reported(NOON, 10);
    for (what, other) in [
        ("later", reported(NOON + 10_000, 10)),
        ("earlier", reported(NOON - 10_000, 10)),
        ("more tokens", reported(NOON, 11)),
        (
            "another model",
            Call {
                model: "flash".into(),
                ..report()
            },
        ),
        (
            "another host",
            Call {
                host: "b".into(),
                ..report()
            },
        ),
        (
            "another service",
            Call {
                service: "desk".into(),
                ..report()
            },
        ),
        (
            "another answer",
            Call {
                response_id: Some("y".into()),
                ..report()
            },
        ),
        (
            "an error",
            Call {
                outcome: Outcome::Error {
                    status: 500,
                    code: None,
                },
                ..report()
            },
        ),
    ] {
        let recorded = books.one(&other).await;
        assert_eq!(recorded, Recorded::New(other.id), "{what}");
    }
    for _ in 0..2 {
        let other = seen(NOON + HOUR, 10);
        let recorded = books.one(&other).await;
        assert_eq!(recorded, Recorded::New(other.id), "the same way");
    }
    books.close().await;
}

/// A burst of the same question: each report takes one call, the nearest.
pub(super) async fn as_many_reports_as_calls_are_as_many(settings: config::Store) {
    let books = Books::open(&settings, &[calls(100)]).await;
    for n in 0..5 {
        books.one(&seen(NOON + n * 100, 10)).await;
    }
    let mut merged = 0;
    for n in 0..8 {
        let recorded = books.one(&reported(NOON + n * 100, 10)).await;
        merged += u32::from(matches!(recorded, Recorded::Merged { .. }));
    }
    assert_eq!(merged, 5);
    assert_eq!(books.stands(NOON).await, [(8, 0)]);
    books.adds_up().await;
    books.close().await;
}

pub(super) async fn a_reserved_call_that_the_wire_sees_is_one(settings: config::Store) {
    let books = Books::open(&settings, &[tokens(100), calls(100)]).await;
    let reservation = books.ask(50, NOON).await.unwrap();
    let wire = seen(NOON + 10, 30);
    books.one(&wire).await;
    let settled = books.settled(reservation.id, &reported(NOON, 30)).await;
    assert_eq!(
        settled,
        Settled::Recorded(Recorded::Merged { into: wire.id })
    );
    assert_eq!(books.stands(NOON).await, [(1, 0), (30, 0)]);
    // The other way round.
    let reservation = books.ask(50, NOON + HOUR).await.unwrap();
    books
        .settled(reservation.id, &reported(NOON + HOUR, 30))
        .await;
    let late = books.one(&seen(NOON + HOUR, 30)).await;
    assert!(matches!(late, Recorded::Merged { .. }), "{late:?}");
    assert_eq!(books.stands(NOON).await, [(2, 0), (60, 0)]);
    books.adds_up().await;
    books.close().await;
}

/// The wire does not know what a call is for; the limit of the feature must count it all the same.
pub(super) async fn a_report_moves_the_call_to_its_feature(settings: config::Store) {
    let of = |feature: &str| GeminiLimit {
        feature: Some(feature.into()),
        ..tokens(100)
    };
    let books = Books::open(&settings, &[of("search"), of("unknown"), tokens(100)]).await;
    let wire = Call {
        service: "shop".into(),
        route: Some("/find".into()),
        outcome: Outcome::Incomplete,
        usage: None,
        cost: Cost::NoUsage,
        response_id: Some("r".into()),
        ..seen(NOON, 0)
    };
    books.one(&wire).await;
    let report = Call {
        feature: "search".into(),
        key: Some("k".into()),
        response_id: Some("r".into()),
        ..reported(NOON + 5_000, 40)
    };
    books.one(&report).await;
    // The whole, search, unknown.
    assert_eq!(books.stands(NOON).await, [(40, 0), (40, 0), (0, 0)]);
    let mut connection = books.begin().await.unwrap();
    let rows = row::find(&mut connection, "1 = 1", crate::store::Values::default());
    let merged = rows.await.unwrap().remove(0);
    connection.rollback().await.unwrap();
    assert_eq!(merged.sources, 5);
    assert_eq!(
        merged.call,
        Call {
            id: wire.id,
            service: "shop".into(),
            route: Some("/find".into()),
            at_ms: NOON,
            duration_ns: wire.duration_ns,
            ..report.clone()
        }
    );
    // The report's key is known from now on.
    assert_eq!(
        books.one(&report).await,
        Recorded::Duplicate { of: wire.id }
    );
    books.adds_up().await;
    books.close().await;
}

/// Neither transaction sees the other's call before it is committed.
pub(super) async fn two_who_report_at_once_are_one(settings: config::Store) {
    let first = Books::open(&settings, &[calls(1_000)]).await;
    let second = Books::open(&settings, &[calls(1_000)]).await;
    for n in 0..20 {
        let at = NOON + n * 60_000;
        let (wire, report) = ([seen(at, 10)], [reported(at, 10)]);
        let (a, b) = tokio::join!(first.record(&wire), second.record(&report));
        let both = [a.unwrap()[0], b.unwrap()[0]];
        let merged = both
            .iter()
            .filter(|one| matches!(one, Recorded::Merged { .. }));
        assert_eq!(merged.count(), 1, "{both:?}");
    }
    assert_eq!(first.stands(NOON).await, [(20, 0)]);
    first.adds_up().await;
    first.close().await;
    second.close().await;
}
