//! A store that is not there, breaks, or refuses: what waits is written later or counted, and nothing
//! else happens.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

/// The daemon starts without its store, holds what the queue has room for, counts the rest, and
/// writes what it held once the store can be made.
#[tokio::test]
async fn a_store_that_cannot_be_made_yet_gets_what_waited() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("state");
    fs::write(&in_the_way, "").unwrap();
    let settings = config::Store {
        queue: 20,
        ..on_sqlite(&in_the_way.join("x.db"))
    };
    let running = Running::open(&settings).await;
    let State::Down(why) = running.store.report().state else {
        panic!("{:?}", running.store.report());
    };
    assert!(why.contains("cannot make the directory"), "{why}");
    let asked = running
        .store
        .slow_queries(&SlowQueryFilter::default())
        .await;
    assert!(
        asked
            .unwrap_err()
            .to_string()
            .contains("cannot make the directory")
    );
    for n in 0..25 {
        running.store.keep(record(&slow_query(at(n))));
    }
    assert_eq!(running.dropped(Dropped::QueueFull), 5);
    assert_eq!(running.store.report().queue_records, 20);
    fs::remove_file(&in_the_way).unwrap();
    running.until(|| running.written() == 20).await;
    assert_eq!(running.store.report().state, State::Up);
    assert_eq!(running.store.report().queue_records, 0);
    assert_eq!(running.found(SlowQueryFilter::default()).await.len(), 20);
    running.close().await;
}

/// Who tidies up the directory under a running daemon gets a new store, not a daemon that writes
/// into a file that nobody can open any more.
#[tokio::test]
async fn a_file_that_was_deleted_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("state");
    let settings = on_sqlite(&directory.join("x.db"));
    let running = Running::open(&settings).await;
    running.write([record(&slow_query(at(1)))]).await;
    fs::remove_dir_all(&directory).unwrap();
    running.write([record(&slow_query(at(2)))]).await;
    assert_eq!(running.found(SlowQueryFilter::default()).await.len(), 1);
    let mode = fs::metadata(directory.join("x.db"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    running.close().await;
}

/// Its other files hold statements as well.
#[tokio::test]
async fn all_files_are_for_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::open(&on_sqlite(&folder.path().join("x.db"))).await;
    running.write([record(&slow_query(at(1)))]).await;
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert_eq!(files.len(), 3, "the file, its log and its index: {files:?}");
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file:?}");
    }
    running.close().await;
}

/// One record that the database refuses must not keep all others from being written.
#[tokio::test]
async fn what_the_database_refuses_is_dropped_alone() {
    let cluster = Cluster::start();
    let settings = settings(&cluster.database("refuses"));
    Running::open(&settings).await.close().await;
    execute(
        &settings,
        "ALTER TABLE slow_queries ADD CHECK (service <> 'bad')",
    )
    .await;
    let running = Running::open(&settings).await;
    let bad = SlowQuery {
        service: "bad".into(),
        ..slow_query(at(2))
    };
    for query in [slow_query(at(1)), bad, slow_query(at(3))] {
        running.store.keep(record(&query));
    }
    running
        .until(|| running.written() == 2 && running.dropped(Dropped::Refused) == 1)
        .await;
    assert_eq!(running.store.report().state, State::Up);
    running.close().await;
}

/// Memory stays bounded also when each record is large.
#[tokio::test]
async fn waiting_records_have_bytes_as_well_as_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let running = Running::open(&on_sqlite(&file.join("x.db"))).await;
    let large = SlowQuery {
        text: Some("x".repeat(1 << 20)),
        ..slow_query(at(1))
    };
    for _ in 0..70 {
        running.store.keep(record(&large));
    }
    let dropped = running.dropped(Dropped::QueueFull);
    assert!((6..9).contains(&dropped), "{dropped}");
    running.close().await;
}

#[tokio::test]
async fn without_a_store_nothing_is_counted() {
    let running = Running::open(&settings("none")).await;
    running.store.keep(record(&slow_query(at(1))));
    assert_eq!(running.store.report(), StoreReport::off());
    let asked = running.store.query_stats(0, 1).await;
    assert!(matches!(asked, Err(StoreError::Off)));
    running.close().await;
}
