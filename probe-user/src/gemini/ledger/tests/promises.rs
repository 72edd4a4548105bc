//! Reservations.

use super::*;
use crate::{config::Per, gemini::Unit};

/// Two daemons, many clients, one store: the check and the write must be one.
pub(super) async fn who_asks_at_once_gets_exactly_what_fits(settings: config::Store) {
    let limits = [
        tokens(1_000),
        GeminiLimit {
            per: Per::Month,
            calls: Some(70),
            ..per_day()
        },
    ];
    let first = Books::open(&settings, &limits).await;
    let second = Books::open(&settings, &limits).await;
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..96 {
        let ledger = if n % 2 == 0 {
            &first.ledger
        } else {
            &second.ledger
        }
        .clone();
        asked.spawn(async move {
            let want = Estimate {
                model: "pro".into(),
                tokens: 20,
                ..Estimate::default()
            };
            match ledger.reserve(&want, Some(0), "a", NOON).await {
                Ok(reservation) => Some(reservation),
                Err(ReserveError::Refused(_)) => None,
                Err(other) => panic!("{other}"),
            }
        });
    }
    let granted: Vec<Reservation> = asked.join_all().await.into_iter().flatten().collect();
    assert_eq!(granted.len(), 50, "1000 tokens are 50 times 20");
    assert_eq!(first.stands(NOON).await, [(0, 1_000), (0, 50)]);
    second.adds_up().await;
    // What the last one was told is what is left.
    let left = granted.iter().map(|one| {
        let tokens = one
            .limits
            .iter()
            .find(|state| state.limit.unit == Unit::Tokens);
        tokens.unwrap().remaining()
    });
    assert_eq!(left.min(), Some(0));
    first.close().await;
    second.close().await;
}

pub(super) async fn a_refusal_says_which_limit_and_until_when(settings: config::Store) {
    let month = GeminiLimit {
        name: Some("budget".into()),
        per: Per::Month,
        usd: Some(0.001),
        ..per_day()
    };
    let books = Books::open(&settings, &[tokens(100), month]).await;
    books.one(&reported(NOON, 90)).await;
    let refused = refusal(books.ask(11, NOON + 1).await);
    assert_eq!(refused.state.limit.key, "day/tokens");
    assert_eq!((refused.state.used, refused.wanted), (90, Some(11)));
    assert_eq!(refused.retry_after_s, 12 * 3_600);
    assert!(!refused.is_lasting());
    // Both are used up: the one that begins anew later.
    books.one(&reported(NOON, 910)).await;
    let refused = refusal(books.ask(1, NOON + 1).await);
    assert_eq!(refused.state.limit.name, "budget");
    assert_eq!(
        refused.to_string(),
        "the limit `budget` allows 0.001 USD a month, of which 0.001 USD are used and 0.00 USD \
         reserved; 0.000001 USD more do not fit until it begins anew in 1771200 s"
    );
    // More than there ever is.
    let refused = refusal(books.ask(101, NOON + 30 * DAY).await);
    assert!(refused.never_fits() && refused.to_string().contains("more than it ever allows"));
    // What was refused holds nothing.
    assert_eq!(
        books
            .number("SELECT COUNT(*) FROM gemini_reservations")
            .await,
        0
    );
    books.adds_up().await;
    books.close().await;
}

pub(super) async fn what_was_used_replaces_what_was_held(settings: config::Store) {
    let books = Books::open(&settings, &[tokens(100), calls(3)]).await;
    let reservation = books.ask(60, NOON).await.unwrap();
    assert_eq!(reservation.expires_at_ms, NOON + LEASE);
    assert_eq!(books.stands(NOON).await, [(0, 1), (0, 60)]);
    let call = reported(NOON, 45);
    let settled = books.settled(reservation.id, &call).await;
    assert_eq!(settled, Settled::Recorded(Recorded::New(call.id)));
    assert_eq!(books.stands(NOON).await, [(1, 0), (45, 0)]);
    // A client that does not know whether it was heard.
    let again = books.settled(reservation.id, &reported(NOON, 7)).await;
    assert_eq!(
        again,
        Settled::Already {
            call: Some(call.id)
        }
    );
    assert_eq!(books.stands(NOON).await, [(1, 0), (45, 0)]);
    // More than was asked for is used all the same, and only then refused.
    let reservation = books.ask(55, NOON).await.unwrap();
    books.settled(reservation.id, &reported(NOON, 80)).await;
    assert_eq!(books.stands(NOON).await, [(2, 0), (125, 0)]);
    refusal(books.ask(0, NOON).await);
    let unknown = books.settle(ReservationId::new(5), &call).await;
    assert!(
        matches!(unknown, Err(GeminiError::NoReservation(_))),
        "{unknown:?}"
    );
    books.adds_up().await;
    books.close().await;
}

/// A client that hangs up in the middle has been paid for all the same; an error costs nothing.
pub(super) async fn an_answer_that_told_nothing_took_the_estimate(settings: config::Store) {
    let usd = GeminiLimit {
        usd: Some(1.0),
        ..per_day()
    };
    let books = Books::open(&settings, &[tokens(100), usd]).await;
    let nothing = |outcome, cost| Call {
        outcome,
        usage: None,
        cost,
        ..reported(NOON, 0)
    };
    let reservation = books.ask(40, NOON).await.unwrap();
    let cut = nothing(Outcome::Incomplete, Cost::NoUsage);
    books.settled(reservation.id, &cut).await;
    assert_eq!(books.stands(NOON).await, [(40, 0), (40_000, 0)]);
    let reservation = books.ask(40, NOON).await.unwrap();
    let error = Outcome::Error {
        status: 503,
        code: None,
    };
    books
        .settled(reservation.id, &nothing(error, Cost::Free))
        .await;
    assert_eq!(books.stands(NOON).await, [(40, 0), (40_000, 0)]);
    books.adds_up().await;
    books.close().await;
}

pub(super) async fn a_hold_over_midnight_settles_to_its_own_day(settings: config::Store) {
    // In Berlin, where the day ends an hour before that of UTC.
    let gemini = config::Gemini {
        timezone: "Europe/Berlin".into(),
        limits: vec![tokens(100)],
        ..config::Gemini::default()
    };
    let books = Books::open_with(&settings, &gemini).await;
    let before = NOON + 11 * HOUR - 1;
    let reservation = books.ask(90, before).await.unwrap();
    refusal(books.ask(90, before).await);
    let after = before + 2;
    books.settled(reservation.id, &reported(after, 95)).await;
    assert_eq!(books.stands(before).await, [(95, 0)]);
    assert_eq!(books.stands(after).await, [(0, 0)]);
    books.ask(100, after).await.unwrap();
    books.adds_up().await;
    books.close().await;
}

/// A client that was killed must not keep others from calling for ever.
pub(super) async fn what_nobody_settles_is_free_after_its_lease(settings: config::Store) {
    let books = Books::open(&settings, &[calls(2)]).await;
    let lost = books.ask(1, NOON).await.unwrap();
    books.ask(1, NOON).await.unwrap();
    refusal(books.ask(1, NOON + LEASE - 1).await);
    assert_eq!(books.expire(NOON + LEASE - 1).await.unwrap(), 0);
    // Without waiting for anybody to look.
    let third = books.ask(1, NOON + LEASE).await.unwrap();
    assert_eq!(books.stands(NOON).await, [(0, 1)]);
    // It was only slow: what it used counts.
    books.settled(lost.id, &reported(NOON, 5)).await;
    assert_eq!(books.stands(NOON).await, [(1, 1)]);
    refusal(books.ask(1, NOON + LEASE).await);
    books.settled(third.id, &reported(NOON, 5)).await;
    books.adds_up().await;
    books.close().await;
}

pub(super) async fn what_is_given_back_is_free_at_once(settings: config::Store) {
    let books = Books::open(&settings, &[calls(1)]).await;
    let reservation = books.ask(1, NOON).await.unwrap();
    assert!(books.release(reservation.id).await.unwrap());
    assert!(!books.release(reservation.id).await.unwrap());
    let second = books.ask(1, NOON).await.unwrap();
    books.settled(second.id, &reported(NOON, 1)).await;
    // What is over stays as it is.
    assert!(!books.release(second.id).await.unwrap());
    assert_eq!(books.stands(NOON).await, [(1, 0)]);
    books.adds_up().await;
    books.close().await;
}

pub(super) async fn clocks_that_jump_neither_lose_nor_double(settings: config::Store) {
    let minute = GeminiLimit {
        per: Per::Minute,
        ..calls(2)
    };
    let books = Books::open(&settings, &[tokens(100), minute]).await;
    books.one(&reported(NOON, 60)).await;
    // A day ahead, and a reservation there.
    let ahead = books.ask(50, NOON + DAY).await.unwrap();
    books.one(&reported(NOON + DAY, 10)).await;
    // Back: what was used is used.
    assert_eq!(books.stands(NOON).await, [(60, 0), (1, 0)]);
    // What was promised by a clock that was wrong is given back.
    assert_eq!(books.expire(NOON).await.unwrap(), 1);
    refusal(books.ask(50, NOON).await);
    assert_eq!(books.stands(NOON + DAY).await, [(10, 0), (1, 0)]);
    // And is counted in its day when it comes.
    books.settled(ahead.id, &reported(NOON, 50)).await;
    assert_eq!(books.stands(NOON).await, [(60, 0), (1, 0)]);
    assert_eq!(books.stands(NOON + DAY).await, [(60, 0), (2, 0)]);
    books.adds_up().await;
    books.close().await;
}

pub(super) async fn a_restart_keeps_the_counts(settings: config::Store) {
    let books = Books::open(&settings, &[tokens(100)]).await;
    books.one(&reported(NOON, 30)).await;
    let open = books.ask(20, NOON).await.unwrap();
    books.close().await;
    // With another amount and another name it is the same limit.
    let renamed = GeminiLimit {
        name: Some("all".into()),
        ..tokens(60)
    };
    let books = Books::open(&settings, &[renamed]).await;
    assert_eq!(books.stands(NOON).await, [(30, 20)]);
    refusal(books.ask(11, NOON).await);
    books.settled(open.id, &reported(NOON, 25)).await;
    assert_eq!(books.stands(NOON).await, [(55, 0)]);
    books.adds_up().await;
    books.close().await;
}

/// A limit that is set at noon because the morning was expensive counts the morning.
pub(super) async fn a_new_limit_counts_what_was_before(settings: config::Store) {
    let books = Books::open(&settings, &[]).await;
    let named = |model: &str, feature: &str| Call {
        model: model.into(),
        feature: feature.into(),
        ..reported(NOON - HOUR, 10)
    };
    let calls_before = [
        named("models/pro-1", "chat"),
        named("pro-2", "search"),
        named("flash", "search"),
        reported(NOON - DAY, 10),
    ];
    books.record(&calls_before).await.unwrap();
    let open = books.ask(5, NOON).await.unwrap();
    books.close().await;
    let limits = [
        tokens(100),
        GeminiLimit {
            model: Some("pro-*".into()),
            ..calls(100)
        },
        GeminiLimit {
            model: Some("flash".into()),
            feature: Some("search".into()),
            ..tokens(100)
        },
        GeminiLimit {
            feature: Some("search".into()),
            usd: Some(1.0),
            ..per_day()
        },
        GeminiLimit {
            per: Per::Month,
            ..tokens(100)
        },
    ];
    let books = Books::open(&settings, &limits).await;
    let mut stands: Vec<_> = books.levels(NOON).await.unwrap();
    stands.sort_by(|a, b| a.limit.key.cmp(&b.limit.key));
    let stands: Vec<_> = stands
        .iter()
        .map(|level| (&*level.limit.key, level.used))
        .collect();
    assert_eq!(
        stands,
        [
            ("day/calls/model=pro-*", 2),
            ("day/tokens", 30),
            ("day/tokens/model=flash/feature=search", 10),
            ("day/usd/feature=search", 20_000),
            ("month/tokens", 40),
        ]
    );
    // A reservation that was made without it counts when it is settled.
    books.settled(open.id, &reported(NOON, 5)).await;
    let levels = books.levels(NOON).await.unwrap();
    assert_eq!((levels[1].used, levels[1].held), (35, 0));
    books.adds_up().await;
    books.close().await;
}

pub(super) async fn a_key_is_one_reservation(settings: config::Store) {
    let books = Books::open(&settings, &[calls(3)]).await;
    let want = |tokens| Estimate {
        model: "pro".into(),
        tokens,
        key: Some("k".into()),
        ..Estimate::default()
    };
    let ask = async |tokens| books.reserve(&want(tokens), None, "a", NOON).await;
    let first = ask(5).await.unwrap();
    let again = ask(5).await.unwrap();
    assert_eq!(
        (again.id, again.expires_at_ms),
        (first.id, first.expires_at_ms)
    );
    assert_eq!(books.stands(NOON).await, [(0, 1)]);
    let other = ask(6).await;
    assert!(
        matches!(other, Err(ReserveError::KeyReused { .. })),
        "{other:?}"
    );
    books.settled(first.id, &reported(NOON, 5)).await;
    let over = ask(5).await;
    assert!(
        matches!(over, Err(ReserveError::KeyReused { .. })),
        "{over:?}"
    );
    // At once.
    let other = Estimate {
        key: Some("x".into()),
        ..want(1)
    };
    let both = tokio::join!(
        books.reserve(&other, None, "a", NOON),
        books.reserve(&other, None, "a", NOON),
    );
    assert_eq!(both.0.unwrap().id, both.1.unwrap().id);
    assert_eq!(books.stands(NOON).await, [(1, 1)]);
    books.adds_up().await;
    books.close().await;
}

pub(super) async fn a_model_without_a_price_follows_the_configuration(settings: config::Store) {
    let mut gemini = config::Gemini {
        limits: vec![GeminiLimit {
            calls: Some(1),
            usd: Some(1.0),
            ..per_day()
        }],
        ..config::Gemini::default()
    };
    let want = Estimate {
        model: "new".into(),
        tokens: 5,
        ..Estimate::default()
    };
    let books = Books::open_with(&settings, &gemini).await;
    let refused = refusal(books.reserve(&want, None, "a", NOON).await);
    assert!(refused.is_lasting() && refused.to_string().contains("unknown_price"));
    books.close().await;
    gemini.unknown_price = UnknownPrice::CountCalls;
    let books = Books::open_with(&settings, &gemini).await;
    books.reserve(&want, None, "a", NOON).await.unwrap();
    assert_eq!(books.stands(NOON).await, [(0, 1), (0, 0)]);
    refusal(books.reserve(&want, None, "a", NOON).await);
    books.close().await;
}

pub(super) async fn what_is_over_is_forgotten_and_the_rest_is_not(settings: config::Store) {
    let minute = GeminiLimit {
        per: Per::Minute,
        ..calls(9)
    };
    let books = Books::open(
        &settings,
        &[
            minute,
            GeminiLimit {
                per: Per::Month,
                ..tokens(100)
            },
        ],
    )
    .await;
    let done = books.ask(5, NOON).await.unwrap();
    books.settled(done.id, &reported(NOON, 5)).await;
    let open = books.ask(5, NOON).await.unwrap();
    books.forget_old(NOON + 3 * DAY).await.unwrap();
    assert_eq!(
        books
            .number("SELECT COUNT(*) FROM gemini_reservations")
            .await,
        1
    );
    // A window that holds something is not over.
    assert_eq!(books.number("SELECT COUNT(*) FROM gemini_use").await, 2);
    books.release(open.id).await.unwrap();
    books.forget_old(NOON + 3 * DAY).await.unwrap();
    assert_eq!(books.number("SELECT COUNT(*) FROM gemini_use").await, 1);
    // What comes late finds it summed up again.
    books.one(&reported(NOON, 7)).await;
    assert_eq!(books.stands(NOON).await, [(2, 0), (12, 0)]);
    books.adds_up().await;
    books.close().await;
}
