use super::*;
use crate::database::advice::report::{
    Advice, AdviceReport, DatabaseAdvice, Evidence, Gain, HypoPg, IndexFacts, Kind, LookedAt,
    State, TableFacts, WriteCost,
};

/// What a round over a shop found.
pub(super) fn report() -> AdviceReport {
    let gain = Some(Gain::new(5_000.0, 10.0));
    let missing = Advice {
        kind: Kind::MissingIndex,
        summary: "An index saves 99 %".into(),
        statement: "CREATE INDEX CONCURRENTLY a ON t (b);".into(),
        cautions: vec!["It takes time".into()],
        table: TableFacts {
            name: "t".into(),
            rows: 50_000.5,
            bytes: 1 << 20,
        },
        index: Some(IndexFacts {
            name: "a".into(),
            definition: "t (b)".into(),
            bytes: Some(8),
        }),
        gain,
        write_cost: Some(WriteCost {
            counted_seconds: 1.5,
            entries_per_second: 0.5,
            heap_only_share: 0.25,
            ..WriteCost::default()
        }),
        statements: vec![Evidence {
            services: vec!["web".into()],
            routes: vec!["GET /orders/{id}".into()],
            total_seconds: 1.25,
            gain,
            plan_after: Some("Index Scan".into()),
            ..Evidence::default()
        }],
    };
    let unused = Advice {
        kind: Kind::UnusedIndex,
        index: None,
        gain: None,
        write_cost: None,
        statements: vec![],
        ..missing.clone()
    };
    AdviceReport {
        databases: vec![
            DatabaseAdvice {
                name: "shop".into(),
                database: "shop".into(),
                state: State::Done,
                finished_at: Some(UNIX_EPOCH + Duration::from_millis(1_790_000_000_250)),
                round_seconds: 0.5,
                rounds: 1,
                hypopg: HypoPg {
                    usable: true,
                    reason: None,
                },
                looked_at: vec![LookedAt {
                    fingerprint: "0123456789abcdef".into(),
                    sql: "select ?".into(),
                    planned: true,
                    cost: Some(8.5),
                    outcome: "no index was found".into(),
                }],
                advice: vec![missing, unused],
                failures: 0,
            },
            DatabaseAdvice {
                name: "other".into(),
                state: State::Failed("no such host".into()),
                failures: 3,
                ..DatabaseAdvice::default()
            },
        ],
    }
}

async fn ask_for(query: &str) -> (StatusCode, Value) {
    let path = format!("/api/advice{query}");
    let (status, _, body) = ask(MadeUp::router(|_| ()), Method::GET, &path, &[]).await;
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn advice_is_filtered_by_database_and_kind() {
    let (_, all) = ask_for("").await;
    assert_eq!(all["databases"].as_array().unwrap().len(), 2);
    assert_eq!(all["advice"].as_array().unwrap().len(), 2);
    assert_eq!(
        all["databases"][0]["finished_at"],
        "2026-09-21T14:13:20.250Z"
    );
    assert_eq!(all["databases"][1]["reason"], "no such host");
    let (_, other) = ask_for("?database=other").await;
    assert_eq!(other["databases"].as_array().unwrap().len(), 1);
    assert!(other["advice"].as_array().unwrap().is_empty());
    let (_, unused) = ask_for("?kind=unused_index&database=shop").await;
    assert_eq!(unused["advice"][0]["kind"], "unused_index");
    assert_eq!(unused["advice"].as_array().unwrap().len(), 1);
}

/// Whoever mistypes a name must not take an empty list for good news.
#[tokio::test]
async fn what_is_not_known_is_refused_with_what_is_allowed() {
    for (query, parts) in [
        ("?database=shpo", ["shpo", "shop, other"]),
        ("?kind=missing", ["missing", "missing_index"]),
        ("?knid=unused_index", ["knid", "database, kind"]),
    ] {
        let (status, problem) = ask_for(query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let detail = problem["detail"].as_str().unwrap();
        assert!(parts.iter().all(|part| detail.contains(part)), "{detail}");
    }
}
