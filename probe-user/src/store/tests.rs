//! On an SQLite file. The same on Postgres, and with faults, in the end-to-end tests.

use std::path::Path;

use super::*;
use crate::config::StoreUrl;

fn settings(path: &Path) -> config::Store {
    config::Store {
        url: Some(StoreUrl::Sqlite(path.to_owned())),
        flush_ms: 10,
        ..config::Store::default()
    }
}

struct Running {
    store: Store,
    stop: CancellationToken,
}

impl Running {
    async fn open(path: &Path) -> Self {
        let stop = CancellationToken::new();
        let store = Store::open(&settings(path), stop.clone()).await.unwrap();
        Self { store, stop }
    }

    async fn close(self) {
        self.stop.cancel();
        self.store.ended().await;
    }
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
        application_name: Some("web\0".into()),
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

async fn written(store: &Store, rows: u64) {
    let all = || {
        store
            .report()
            .kinds
            .iter()
            .map(|kind| kind.written)
            .sum::<u64>()
    };
    for _ in 0..1_000 {
        if all() >= rows {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", store.report());
}

#[tokio::test]
async fn what_was_kept_is_found_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/x y%20?.db");
    let running = Running::open(&path).await;
    let query = slow_query(1_700_000_000_000);
    running
        .store
        .keep(Record::SlowQuery(Box::new(query.clone())));
    // Stopping writes what waits.
    running.close().await;
    assert!(path.exists());
    let running = Running::open(&path).await;
    let page = running
        .store
        .slow_queries(&SlowQueryFilter::default())
        .await;
    let page = page.unwrap();
    let expected = SlowQuery {
        application_name: Some("web\u{fffd}".into()),
        ..query
    };
    assert_eq!((page.items, page.next), (vec![expected], None));
    running.close().await;
}
