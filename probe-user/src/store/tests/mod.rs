//! What an operator relies on, on both databases: what was kept is found, stays within its bounds,
//! and survives trouble. With the real binary, and harder faults, in the end-to-end tests.

pub(super) mod browser;
pub(crate) mod cluster;
mod faults;

use std::path::Path;

use sqlx::Row as _;

use super::{
    connections::{Dialect, connect, trusted},
    *,
};
use browser::*;
use cluster::Cluster;

const DAY_MS: i64 = 86_400_000;

/// Runs each check on a new SQLite file, and all of them on new databases of one Postgres.
macro_rules! on_both {
    ($($check:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test]
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
    what_was_kept_is_found_after_a_restart,
    every_filter_takes_and_leaves,
    pages_are_stable_while_records_come,
    what_is_written_twice_is_there_once,
    several_may_start_at_once,
    a_newer_store_is_refused,
    sums_add_up_and_minutes_become_hours,
    old_records_go_and_their_texts,
    a_store_that_is_too_large_loses_the_oldest,
    a_vital_counts_once_with_its_last_value,
    quantiles_are_those_of_the_weighted_values,
    errors_are_shown_by_what_they_have_in_common,
    a_sample_lives_as_long_as_its_error,
    sums_of_pages_add_up,
);

/// A time that is not long ago, or the record would be deleted at once.
fn at(offset_ms: i64) -> i64 {
    static BASE: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    BASE.get_or_init(|| now_ms() - 3_600_000) + offset_ms
}

pub(crate) fn settings(url: &str) -> config::Store {
    config::Store {
        url: Some(url.parse().unwrap()),
        flush_ms: 10,
        ..config::Store::default()
    }
}

pub(crate) fn on_sqlite(path: &Path) -> config::Store {
    settings(&format!("sqlite://{}", path.display()))
}

struct Running {
    store: Store,
    stop: CancellationToken,
}

impl Running {
    async fn open(settings: &config::Store) -> Self {
        let stop = CancellationToken::new();
        let store = Store::open(settings, stop.clone()).await.unwrap();
        Self { store, stop }
    }

    /// Writes what waits.
    async fn close(self) {
        self.stop.cancel();
        self.store.ended().await;
    }

    /// Keeps records and waits until they are written.
    async fn write(&self, records: impl IntoIterator<Item = Record>) {
        let mut rows = self.written();
        for record in records {
            rows += record.rows();
            self.store.keep(record);
            tokio::task::yield_now().await;
        }
        self.until(|| self.written() >= rows).await;
    }

    fn written(&self) -> u64 {
        let kinds = self.store.report().kinds;
        kinds.iter().map(|kind| kind.written).sum()
    }

    fn dropped(&self, why: Dropped) -> u64 {
        let kinds = self.store.report().kinds;
        let counts = kinds.iter().flat_map(|kind| &kind.dropped);
        counts
            .filter(|(reason, _)| *reason == why)
            .map(|(_, rows)| rows)
            .sum()
    }

    async fn until(&self, mut holds: impl FnMut() -> bool) {
        for _ in 0..3_000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", self.store.report());
    }

    async fn found(&self, filter: SlowQueryFilter) -> Vec<SlowQuery> {
        let filter = SlowQueryFilter {
            limit: MAX_LIMIT,
            ..filter
        };
        self.store.slow_queries(&filter).await.unwrap().items
    }
}

/// A connection of the test's own.
async fn look(settings: &config::Store) -> (sqlx::AnyConnection, Dialect) {
    let place = Place::configured(settings).unwrap().unwrap();
    connect(&place).await.unwrap()
}

async fn number(settings: &config::Store, sql: &str) -> i64 {
    let (mut connection, _) = look(settings).await;
    let row = sqlx::query(trusted(sql.to_owned())).fetch_one(&mut connection);
    row.await.unwrap().try_get(0).unwrap()
}

async fn execute(settings: &config::Store, sql: &str) {
    let (mut connection, _) = look(settings).await;
    let done = sqlx::query(trusted(sql.to_owned())).execute(&mut connection);
    done.await.unwrap();
}

fn slow_query(at_ms: i64) -> SlowQuery {
    SlowQuery {
        id: SlowQuery::new_id(at_ms),
        at_ms,
        host: "a".into(),
        service: "shop".into(),
        side: Side::Server,
        database: Some("orders".into()),
        user: None,
        application_name: Some("web".into()),
        client: Some("127.0.0.1:5".into()),
        fingerprint: 0xfedc_ba98_7654_3210,
        operation: "SELECT".into(),
        sql: "SELECT pg_sleep(?)".into(),
        text: None,
        duration_ns: 100_000_000,
        ttfb_ns: None,
        rows: Some(1),
        sqlstate: None,
        method: Some("GET".into()),
        route: Some("/a/{id}".into()),
        trace_id: None,
        shared_latency: true,
    }
}

fn record(query: &SlowQuery) -> Record {
    Record::SlowQuery(Box::new(query.clone()))
}

async fn what_was_kept_is_found_after_a_restart(settings: config::Store) {
    let running = Running::open(&settings).await;
    let full = SlowQuery {
        user: Some("max".into()),
        text: Some("SELECT pg_sleep(0.1) -- \0 ü".into()),
        ttfb_ns: Some(u64::MAX),
        sqlstate: Some("57014".into()),
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
        side: Side::Client,
        shared_latency: false,
        ..slow_query(at(1))
    };
    let sparse = slow_query(at(0));
    running.store.keep(record(&sparse));
    running.store.keep(record(&full));
    // Stopping writes what waits.
    running.close().await;
    let running = Running::open(&settings).await;
    let found = running.found(SlowQueryFilter::default()).await;
    // What no database can hold is replaced, not refused.
    let full = SlowQuery {
        text: Some("SELECT pg_sleep(0.1) -- \u{fffd} ü".into()),
        ttfb_ns: Some(i64::MAX as u64),
        ..full
    };
    assert_eq!(found, [full, sparse]);
    assert_eq!(running.store.report().state, State::Up);
    running.close().await;
}

async fn every_filter_takes_and_leaves(settings: config::Store) {
    let running = Running::open(&settings).await;
    let usual = slow_query(at(1_000));
    let odd = SlowQuery {
        service: "desk".into(),
        database: None,
        user: Some("max".into()),
        fingerprint: 7,
        route: None,
        side: Side::Client,
        sqlstate: Some("57014".into()),
        duration_ns: 5_000_000_000,
        ..slow_query(at(2_000))
    };
    running.write([record(&usual), record(&odd)]).await;
    let all = SlowQueryFilter::default;
    let takes_odd = [
        SlowQueryFilter {
            service: Some("desk".into()),
            ..all()
        },
        SlowQueryFilter {
            user: Some("max".into()),
            ..all()
        },
        SlowQueryFilter {
            fingerprint: Some(7),
            ..all()
        },
        SlowQueryFilter {
            side: Some(Side::Client),
            ..all()
        },
        SlowQueryFilter {
            sqlstate: Some("57014".into()),
            ..all()
        },
        SlowQueryFilter {
            only_errors: true,
            ..all()
        },
        SlowQueryFilter {
            min_duration_ns: Some(5_000_000_000),
            ..all()
        },
        SlowQueryFilter {
            from_ms: Some(at(2_000)),
            ..all()
        },
    ];
    for filter in takes_odd {
        assert_eq!(
            running.found(filter.clone()).await,
            std::slice::from_ref(&odd),
            "{filter:?}"
        );
    }
    let takes_usual = [
        SlowQueryFilter {
            database: Some("orders".into()),
            ..all()
        },
        SlowQueryFilter {
            route: Some("/a/{id}".into()),
            ..all()
        },
        SlowQueryFilter {
            to_ms: Some(at(2_000)),
            ..all()
        },
    ];
    for filter in takes_usual {
        assert_eq!(
            running.found(filter.clone()).await,
            std::slice::from_ref(&usual),
            "{filter:?}"
        );
    }
    let injected = SlowQueryFilter {
        service: Some("' OR 1=1 --".into()),
        ..all()
    };
    assert_eq!(running.found(injected).await, []);
    running.close().await;
}

async fn pages_are_stable_while_records_come(settings: config::Store) {
    let running = Running::open(&settings).await;
    // Many in the same millisecond, so that the time alone is no order.
    let queries: Vec<SlowQuery> = (0..525).map(|n| slow_query(at(n / 100))).collect();
    running.write(queries.iter().map(record)).await;
    let mut seen = Vec::new();
    let mut filter = SlowQueryFilter {
        limit: 100,
        ..SlowQueryFilter::default()
    };
    loop {
        let page = running.store.slow_queries(&filter).await.unwrap();
        seen.extend(page.items);
        running.write([record(&slow_query(at(99_000)))]).await;
        filter.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    let mut expected = queries;
    expected.sort_by_key(|query| std::cmp::Reverse((query.at_ms, query.id)));
    assert!(seen == expected, "{} records", seen.len());
    running.close().await;
}

async fn what_is_written_twice_is_there_once(settings: config::Store) {
    let running = Running::open(&settings).await;
    let (query, stats) = (slow_query(at(1_000)), stats(at(0), 5));
    let records = || [record(&query), Record::QueryStats(vec![stats.clone()])];
    running.write(records()).await;
    running.write(records()).await;
    assert_eq!(running.found(SlowQueryFilter::default()).await, [query]);
    assert_eq!(
        running.store.query_stats(0, now_ms()).await.unwrap(),
        [stats]
    );
    running.close().await;
}

async fn several_may_start_at_once(settings: config::Store) {
    let (a, b, c) = tokio::join!(
        Running::open(&settings),
        Running::open(&settings),
        Running::open(&settings)
    );
    for (number, running) in (1_i64..).zip([&a, &b, &c]) {
        running
            .until(|| running.store.report().state == State::Up)
            .await;
        running.write([record(&slow_query(at(number)))]).await;
    }
    assert_eq!(a.found(SlowQueryFilter::default()).await.len(), 3);
    for running in [a, b, c] {
        assert_eq!(running.store.report().failures, 0);
        running.close().await;
    }
    assert_eq!(
        number(&settings, "SELECT COUNT(*) FROM hostprobe_migrations").await,
        migrations::newest()
    );
}

async fn a_newer_store_is_refused(settings: config::Store) {
    Running::open(&settings).await.close().await;
    execute(
        &settings,
        "INSERT INTO hostprobe_migrations VALUES (999, 0)",
    )
    .await;
    let error = Store::open(&settings, CancellationToken::new())
        .await
        .unwrap_err();
    let text = error.to_string();
    let known = format!("knows versions up to {}:", migrations::newest());
    assert!(
        text.contains("schema version 999") && text.contains(&known),
        "{text}"
    );
    execute(&settings, "DELETE FROM hostprobe_migrations").await;
    execute(
        &settings,
        "ALTER TABLE hostprobe_migrations RENAME TO accounts",
    )
    .await;
    let error = Store::open(&settings, CancellationToken::new())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("holds other tables"), "{error}");
}

fn stats(from_ms: i64, calls: u64) -> QueryStats {
    QueryStats {
        from_ms,
        to_ms: from_ms + 60_000,
        host: nix::unistd::gethostname()
            .unwrap()
            .to_string_lossy()
            .into_owned(),
        service: "shop".into(),
        side: Side::Server,
        database: None,
        fingerprint: 5,
        operation: "SELECT".into(),
        sql: "SELECT ?".into(),
        calls,
        errors: 1,
        rows: 10,
        busy_ns: calls * 1_000,
        buckets: buckets::encode(&buckets::Counts::from([(3, calls), (900, 1)])),
    }
}

async fn sums_add_up_and_minutes_become_hours(settings: config::Store) {
    let running = Running::open(&settings).await;
    let now = now_ms();
    let hour = now - now.rem_euclid(3_600_000) - 30 * 3_600_000;
    // Two hours of minutes long ago, one minute now.
    let minutes = (0..120).map(|minute| stats(hour + minute * 60_000, 2));
    let mut minutes: Vec<QueryStats> = minutes.collect();
    minutes.push(stats(now, 7));
    minutes.push(QueryStats {
        service: "desk".into(),
        ..stats(now, 1)
    });
    running.write([Record::QueryStats(minutes)]).await;
    let sums = |running: &Running| {
        let store = running.store.clone();
        async move { store.query_stats(hour, now + 1).await.unwrap() }
    };
    let before = sums(&running).await;
    assert_eq!(before.len(), 2);
    let sum = &before[1];
    assert_eq!((sum.calls, sum.errors, sum.rows), (247, 121, 1_210));
    assert_eq!((sum.busy_ns, &*sum.sql), (247_000, "SELECT ?"));
    let counts = buckets::decode(&sum.buckets).unwrap();
    assert_eq!((counts[&3], counts[&900]), (247, 121));
    running.close().await;
    // A round begins with each opening.
    let running = Running::open(&settings).await;
    let rows = "SELECT COUNT(*) FROM query_stats";
    eventually(&settings, rows, 4).await;
    assert_eq!(sums(&running).await, before);
    // What comes late belongs to its hour.
    running
        .write([Record::QueryStats(vec![stats(hour + 30_000, 100)])])
        .await;
    running.close().await;
    let running = Running::open(&settings).await;
    eventually(&settings, rows, 4).await;
    let late = sums(&running).await;
    assert_eq!(late[1].calls, 347);
    running.close().await;
}

async fn eventually(settings: &config::Store, sql: &str, expected: i64) {
    let mut last = None;
    for _ in 0..1_000 {
        let found = number(settings, sql).await;
        if found == expected {
            return;
        }
        last = Some(found);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{sql}: {last:?}, not {expected}");
}

async fn old_records_go_and_their_texts(settings: config::Store) {
    let settings = config::Store {
        retention_days: 2,
        ..settings
    };
    let running = Running::open(&settings).await;
    let (now, host) = (now_ms(), running.store.host().to_string());
    let query = |age_days: i64, fingerprint| SlowQuery {
        fingerprint,
        host: host.clone(),
        ..slow_query(now - age_days * DAY_MS)
    };
    // More than one step deletes.
    running
        .write((0..2_100).map(|_| record(&query(3, 1))))
        .await;
    running.write([record(&query(1, 2))]).await;
    let theirs = SlowQuery {
        host: "another".into(),
        ..query(3, 3)
    };
    running.write([record(&theirs)]).await;
    running.close().await;
    execute(&settings, "UPDATE statements SET seen_ms = 0").await;
    let running = Running::open(&settings).await;
    // Each host deletes its own; but in a file, all is this host's.
    let (_, dialect) = look(&settings).await;
    let left = match dialect {
        Dialect::Sqlite => 1,
        Dialect::Postgres => 2,
    };
    eventually(&settings, "SELECT COUNT(*) FROM slow_queries", left).await;
    eventually(&settings, "SELECT COUNT(*) FROM statements", left).await;
    let found = running.found(SlowQueryFilter::default()).await;
    assert_eq!(
        (found[0].fingerprint, &*found[0].sql),
        (2, "SELECT pg_sleep(?)")
    );
    running.close().await;
}

async fn a_store_that_is_too_large_loses_the_oldest(settings: config::Store) {
    let running = Running::open(&settings).await;
    let queries: Vec<SlowQuery> = (0..6_000)
        .map(|n| SlowQuery {
            text: Some("x".repeat(600)),
            ..slow_query(now_ms() - DAY_MS + n)
        })
        .collect();
    running.write(queries.iter().map(record)).await;
    running.close().await;
    let place = Place::configured(&settings).unwrap().unwrap();
    let bytes = |place: &Place| match place {
        Place::Sqlite(path) => place::file_bytes(path).unwrap(),
        Place::Postgres { .. } | Place::Memory => 0,
    };
    let large = bytes(&place);
    let settings = config::Store {
        max_bytes: 2 << 20,
        ..settings
    };
    let running = Running::open(&settings).await;
    let mut rows = 6_000;
    for _ in 0..1_000 {
        let now = number(&settings, "SELECT COUNT(*) FROM slow_queries").await;
        let settled = now == rows && now < 6_000;
        rows = now;
        let report = running.store.report();
        if settled && (large == 0 || report.size_bytes.unwrap_or(u64::MAX) <= 2 << 20) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((500..3_000).contains(&rows), "{rows} rows are left");
    let found = running.found(SlowQueryFilter::default()).await;
    assert_eq!(found[0], *queries.last().unwrap(), "the newest stays");
    if large > 0 {
        let small = bytes(&place);
        assert!(large > 4 << 20 && small <= 2 << 20, "{large} -> {small}");
    }
    running.close().await;
}
