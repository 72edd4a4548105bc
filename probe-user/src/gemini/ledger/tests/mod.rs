//! What who pays relies on, on both databases: no limit is exceeded, nothing is counted twice or
//! lost, and what nobody settles is free again.

mod laws;
mod merging;
mod promises;
mod reports;

use sqlx::Row as _;
use tokio_util::sync::CancellationToken;

use laws::*;
use merging::*;
use promises::*;
use reports::*;

use super::*;
use crate::{
    config::{GeminiLimit, UnknownPrice},
    gemini::{
        Call, Cost, Estimate, GeminiError, Operation, Outcome, PriceVersion, Recorded, Reservation,
        ReservationId, ReserveError, Settled, Source, Usage,
    },
    store::{
        tests::{cluster::Cluster, on_sqlite, settings},
        trusted,
    },
};

/// Runs each check on a new SQLite file, and all of them on new databases of one Postgres.
macro_rules! on_both {
    ($($check:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let folder = tempfile::tempdir().unwrap();
                    super::$check(super::on_sqlite(&folder.path().join("x.db"))).await;
                }
            )*
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn all_of_it_on_postgres() {
            let cluster = Cluster::start();
            $(
                println!(stringify!($check));
                let url = cluster.database(stringify!($check));
                $check(settings(&url)).await;
            )*
        }
    };
}

on_both!(
    who_asks_at_once_gets_exactly_what_fits,
    a_refusal_says_which_limit_and_until_when,
    what_was_used_replaces_what_was_held,
    an_answer_that_told_nothing_took_the_estimate,
    a_hold_over_midnight_settles_to_its_own_day,
    what_nobody_settles_is_free_after_its_lease,
    what_is_given_back_is_free_at_once,
    clocks_that_jump_neither_lose_nor_double,
    a_restart_keeps_the_counts,
    a_new_limit_counts_what_was_before,
    a_key_is_one_reservation,
    a_model_without_a_price_follows_the_configuration,
    what_is_over_is_forgotten_and_the_rest_is_not,
    a_key_is_one_call,
    all_of_a_batch_or_nothing,
    a_call_comes_back_as_it_was_written,
    the_wire_and_a_report_are_one_call,
    calls_that_only_look_alike_stay_two,
    as_many_reports_as_calls_are_as_many,
    a_reserved_call_that_the_wire_sees_is_one,
    a_report_moves_the_call_to_its_feature,
    two_who_report_at_once_are_one,
    everything_at_once_adds_up,
    a_report_is_the_sum_of_its_calls,
    without_calls_a_report_is_empty_and_projects_nothing,
);

/// 10 November 2026, 12:00 UTC.
const NOON: i64 = 1_794_312_000_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const LEASE: i64 = 300_000;

/// A ledger over a store.
struct Books {
    ledger: Ledger,
    stop: CancellationToken,
}

impl std::ops::Deref for Books {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.ledger
    }
}

impl Books {
    async fn open(settings: &config::Store, limits: &[GeminiLimit]) -> Self {
        let gemini = config::Gemini {
            limits: limits.to_vec(),
            ..config::Gemini::default()
        };
        Self::open_with(settings, &gemini).await
    }

    async fn open_with(settings: &config::Store, gemini: &config::Gemini) -> Self {
        let stop = CancellationToken::new();
        let store = Store::open(settings, stop.clone()).await.unwrap();
        let ledger = Ledger::new(gemini, store).unwrap();
        Self { ledger, stop }
    }

    async fn close(self) {
        self.stop.cancel();
        self.store().ended().await;
    }

    /// A reservation of so many tokens for a model whose tokens cost a microdollar each.
    async fn ask(&self, tokens: u64, now_ms: i64) -> Result<Reservation, ReserveError> {
        let want = Estimate {
            model: "pro".into(),
            tokens,
            ..Estimate::default()
        };
        self.reserve(&want, Some(tokens * 1_000), "a", now_ms).await
    }

    async fn settled(&self, id: ReservationId, call: &Call) -> Settled {
        self.settle(id, call).await.unwrap()
    }

    async fn one(&self, call: &Call) -> Recorded {
        self.record(std::slice::from_ref(call)).await.unwrap()[0]
    }

    /// What all limits stand at: used and held.
    async fn stands(&self, now_ms: i64) -> Vec<(u64, u64)> {
        let levels = self.levels(now_ms).await.unwrap();
        levels
            .iter()
            .map(|level| (level.used, level.held))
            .collect()
    }

    async fn number(&self, sql: &str) -> i64 {
        let readers = self.store().readers().unwrap();
        let row = sqlx::query(trusted(sql.to_owned())).fetch_one(&readers);
        row.await.unwrap().try_get(0).unwrap()
    }

    async fn calls(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM gemini_calls").await
    }

    /// The law of the ledger: each limit's use is the sum of the calls that it counts, and what it
    /// holds is the sum of the open reservations.
    async fn adds_up(&self) {
        let mut connection = self.begin().await.unwrap();
        let rows = sqlx::query("SELECT limit_key, window_ms, ends_ms, used, held FROM gemini_use")
            .fetch_all(&mut *connection)
            .await
            .unwrap();
        let calls = row::find(&mut connection, "1 = 1", crate::store::Values::default());
        let calls = calls.await.unwrap();
        for row in rows {
            let key: String = row.get("limit_key");
            let limit = self.limits().by_key(&key).unwrap().clone();
            let window: (i64, i64) = (row.get("window_ms"), row.get("ends_ms"));
            let fits = |row: &&row::Row| {
                (window.0..window.1).contains(&row.counted_ms)
                    && limit.covers(&row.call.model, &row.call.feature)
            };
            let used: u64 = calls
                .iter()
                .filter(fits)
                .map(|row| row.counted.of(limit.unit))
                .sum();
            assert_eq!(row.get::<i64, _>("used"), counting::signed(used), "{key}");
            let held = sqlx::query(
                "SELECT CAST(COALESCE(SUM(h.amount), 0) AS BIGINT) FROM gemini_holds h \
                 JOIN gemini_reservations r ON r.id = h.reservation_id AND r.state = 0 \
                 WHERE h.limit_key = $1 AND h.window_ms = $2",
            )
            .bind(key.clone())
            .bind(window.0)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
            assert_eq!(row.get::<i64, _>("held"), held.get::<i64, _>(0), "{key}");
        }
        connection.rollback().await.unwrap();
    }
}

fn per_day() -> GeminiLimit {
    GeminiLimit::default()
}

fn tokens(tokens: u64) -> GeminiLimit {
    GeminiLimit {
        tokens: Some(tokens),
        ..per_day()
    }
}

fn calls(calls: u64) -> GeminiLimit {
    GeminiLimit {
        calls: Some(calls),
        ..per_day()
    }
}

fn call(source: Source, at_ms: i64, tokens: u64) -> Call {
    Call {
        id: Call::new_id(at_ms),
        key: None,
        response_id: None,
        at_ms,
        host: "a".into(),
        service: String::new(),
        feature: "unknown".into(),
        route: None,
        model: "pro".into(),
        operation: Operation::GenerateContent,
        source,
        outcome: Outcome::Ok,
        duration_ns: 2_000_000_000,
        first_chunk_ns: None,
        usage: Some(Usage {
            prompt: tokens,
            ..Usage::default()
        }),
        cost: Cost::Known {
            nano_usd: tokens * 1_000,
            price: PriceVersion::new("test"),
        },
    }
}

fn reported(at_ms: i64, tokens: u64) -> Call {
    call(Source::Endpoint, at_ms, tokens)
}

fn seen(at_ms: i64, tokens: u64) -> Call {
    call(Source::Wire, at_ms, tokens)
}

fn refusal(result: Result<Reservation, ReserveError>) -> crate::gemini::Refusal {
    match result {
        Err(ReserveError::Refused(refusal)) => *refusal,
        other => panic!("{other:?}"),
    }
}
