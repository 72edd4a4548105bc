//! What a person and a script find at `/api/database`.

use std::sync::Arc;

use super::*;
use crate::database::{ConnectError, Link, Step};

#[tokio::test]
async fn a_database_says_how_close_it_is_to_trouble_in_words() {
    let answer = get_json("/api/database").await;
    let database = &answer["databases"][0];
    assert_eq!(database["up"], true);
    assert_eq!(database["looked_at"], "2026-09-21T14:13:20.000Z");
    let server = &database["server"];
    assert_eq!(server["connections"]["headroom"], "tight");
    assert_eq!(server["connections"]["available"], 15);
    assert_eq!(
        server["locks"]["chains"][0]["sentence"],
        "pid 7 (web as app, idle in transaction for 12 s, last: update orders set paid = ? where \
         id = ?) has blocked 1 session for 4 s"
    );
    assert_eq!(server["sessions"]["by_state"]["idle"], 6);
    assert_eq!(server["sessions"]["waits"]["Lock: transactionid"], 2);
    assert_eq!(
        server["tables"][0]["vacuumed_at"],
        "2026-09-10T00:26:40.000Z"
    );
}

/// The document must hold for the answer that is read when something is wrong, too.
#[tokio::test]
async fn a_database_that_never_answered_says_why_and_fits_the_document() {
    let document = get_json("/api/openapi.json").await;
    let router = MadeUp::router(|source| {
        for database in &mut source.fixture.databases {
            database.server = Arc::new(Link {
                place: "postgres://db/shop".to_owned(),
                error: Some(ConnectError {
                    step: Step::Dns,
                    place: "db:5432".to_owned(),
                    what: "no such host".to_owned(),
                    hint: "check the name".to_owned(),
                }),
                ..Link::default()
            });
            database.pooler = None;
        }
    });
    let (_, _, body) = ask(router, Method::GET, "/api/database", &[]).await;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let schema = serde_json::json!({ "$ref": "#/components/schemas/AskedDatabases" });
    check(&document, &schema, &answer, "/api/database");
    let database = &answer["databases"][0];
    assert_eq!(database["problem"]["step"], "dns");
    assert!(database["server"].is_null() && database["looked_at"].is_null());
}
