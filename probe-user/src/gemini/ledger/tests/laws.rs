//! Whatever happens in whatever order: use is the sum of the calls, and holds are those of the open
//! reservations.

use proptest::{prelude::*, strategy::ValueTree as _};

use super::*;
use crate::config::Per;

/// One thing that happens to a ledger.
#[derive(Debug, Clone)]
enum Step {
    Reserve {
        tokens: u64,
        feature: bool,
    },
    Settle {
        which: usize,
        tokens: Option<u64>,
    },
    Release {
        which: usize,
    },
    Record {
        source: u8,
        tokens: u64,
        feature: bool,
        key: Option<u8>,
    },
    Expire,
    Forget,
    /// The clock goes on, or back.
    Jump {
        ms: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..60_u64, any::<bool>()).prop_map(|(tokens, feature)| Step::Reserve { tokens, feature }),
        3 => (0..20_usize, proptest::option::of(0..80_u64))
            .prop_map(|(which, tokens)| Step::Settle { which, tokens }),
        1 => (0..20_usize).prop_map(|which| Step::Release { which }),
        4 => (0..3_u8, 0..5_u64, any::<bool>(), proptest::option::of(0..6_u8))
            .prop_map(|(source, tokens, feature, key)| Step::Record { source, tokens, feature, key }),
        1 => Just(Step::Expire),
        1 => Just(Step::Forget),
        2 => (-2 * DAY..3 * DAY).prop_map(|ms| Step::Jump { ms }),
        2 => (0..120_000_i64).prop_map(|ms| Step::Jump { ms }),
    ]
}

fn limits() -> [GeminiLimit; 4] {
    [
        GeminiLimit {
            calls: Some(15),
            ..tokens(200)
        },
        GeminiLimit {
            per: Per::Minute,
            ..calls(4)
        },
        GeminiLimit {
            per: Per::Month,
            usd: Some(0.000_5),
            ..per_day()
        },
        GeminiLimit {
            feature: Some("search".into()),
            ..tokens(90)
        },
    ]
}

fn feature(named: bool) -> &'static str {
    if named { "search" } else { "unknown" }
}

/// Does all of it; no promise may exceed a limit, whatever was used without asking.
async fn run(books: &Books, steps: &[Step]) {
    let mut now = NOON;
    let mut reservations: Vec<ReservationId> = Vec::new();
    for step in steps {
        match step {
            Step::Reserve {
                tokens,
                feature: named,
            } => {
                let want = Estimate {
                    model: "pro".into(),
                    feature: feature(*named).into(),
                    tokens: *tokens,
                    ..Estimate::default()
                };
                let price = Some(tokens * 1_000);
                match books.reserve(&want, price, "a", now).await {
                    Ok(granted) => {
                        reservations.push(granted.id);
                        for state in &granted.limits {
                            let taken = state.used + state.held;
                            assert!(taken <= state.limit.cap, "{state:?}");
                        }
                    }
                    Err(ReserveError::Refused(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Settle { which, tokens } => {
                let Some(id) = reservations.get(which % reservations.len().max(1)) else {
                    continue;
                };
                let mut call = reported(now, tokens.unwrap_or(0));
                if tokens.is_none() {
                    call = Call {
                        usage: None,
                        cost: Cost::NoUsage,
                        ..call
                    };
                }
                match books.settle(*id, &call).await {
                    Ok(_) | Err(GeminiError::NoReservation(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Release { which } => {
                if let Some(id) = reservations.get(which % reservations.len().max(1)) {
                    books.release(*id).await.unwrap();
                }
            }
            Step::Record {
                source,
                tokens,
                feature: named,
                key,
            } => {
                let source =
                    [Source::Endpoint, Source::Gateway, Source::Wire][usize::from(*source)];
                let call = Call {
                    key: key.map(|key| format!("{key}")),
                    feature: feature(*named).into(),
                    ..call(source, now, *tokens)
                };
                match books.record(&[call]).await {
                    Ok(_) | Err(GeminiError::KeyReused { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Expire => drop(books.expire(now).await.unwrap()),
            Step::Forget => books.forget_old(now).await.unwrap(),
            Step::Jump { ms } => now += ms,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn use_is_the_sum_of_calls_and_open_reservations(steps in proptest::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let gemini = config::Gemini { limits: limits().to_vec(), ..config::Gemini::default() };
            let store = Store::in_memory().await.unwrap();
            let books = Books {
                ledger: Ledger::new(&gemini, store).unwrap(),
                stop: CancellationToken::new(),
            };
            run(&books, &steps).await;
            books.adds_up().await;
        });
    }
}

/// The same from several tasks of two daemons at once.
pub(super) async fn everything_at_once_adds_up(settings: config::Store) {
    let first = Books::open(&settings, &limits()).await;
    let second = Books::open(&settings, &limits()).await;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let scripts: Vec<Vec<Step>> = (0..6)
        .map(|_| {
            let strategy = proptest::collection::vec(step(), 60);
            strategy.new_tree(&mut runner).unwrap().current()
        })
        .collect();
    let mut running = tokio::task::JoinSet::new();
    for (n, steps) in scripts.into_iter().enumerate() {
        let ledger = if n % 2 == 0 {
            &first.ledger
        } else {
            &second.ledger
        }
        .clone();
        running.spawn(async move {
            let books = Books {
                ledger,
                stop: CancellationToken::new(),
            };
            run(&books, &steps).await;
        });
    }
    running.join_all().await;
    first.adds_up().await;
    let calls = first.calls().await;
    assert!(calls > 0);
    first.close().await;
    second.close().await;
}
