//! Requests and statements in the overview.

use serde_json::json;

use super::*;
use crate::{
    sql::{Operation, SqlInfo},
    traffic::{
        BOUNDS_NS, ConnectionReport, ConnectionState, Counts, DatabaseReport, DbReport, DbTally,
        Fingerprint, FingerprintReport, HttpClientKey, HttpSeries, HttpServerKey, PostgresSeries,
        Report, RouteKey, ServiceReport, StatementKey, StatementOutcome, Timing, Totals,
        Unattributed,
    },
};

fn timing(observations: &[u64]) -> Timing {
    let mut timing = Timing::default();
    for ns in observations {
        timing.observe(*ns);
    }
    timing
}

fn statement(outcome: StatementOutcome) -> (StatementKey, PostgresSeries) {
    let key = StatementKey {
        database: "shop".into(),
        operation: "INSERT",
        outcome,
    };
    let series = PostgresSeries {
        calls: 3,
        duration: timing(&[70_000, 80_000]),
        rows: 6,
        ..PostgresSeries::default()
    };
    (key, series)
}

fn request(status: u16, aborted: u64) -> (HttpServerKey, HttpSeries) {
    let key = HttpServerKey {
        method: "GET",
        route: "/api/orders/{id}".into(),
        status,
    };
    let series = HttpSeries {
        duration: timing(&[1_000_000, 2_000_000]),
        aborted,
        ..HttpSeries::default()
    };
    (key, series)
}

fn route() -> RouteKey {
    RouteKey {
        method: "GET",
        route: "/api/orders/{id}".into(),
    }
}

fn service() -> ServiceReport {
    let client = HttpClientKey {
        method: "POST",
        server: "payments.example".into(),
        status: 502,
    };
    ServiceReport {
        http_server: [request(0, 1), request(200, 0)].into(),
        http_client: [(client, request(502, 0).1)].into(),
        http_active: 2,
        tls_connections: 3,
        tls_decoded: 2,
        tls_not_decoded: 0,
        model_calls: std::collections::BTreeMap::new(),
        postgres_server: [
            statement(StatementOutcome::Ok),
            statement(StatementOutcome::Error(*b"23505")),
            statement(StatementOutcome::Unknown),
        ]
        .into(),
        postgres_client: [statement(StatementOutcome::Ok)].into(),
        active_users: 7,
        database_server: database(3),
        database_client: database(3),
        db: DbReport {
            routes: [(
                route(),
                DbTally {
                    statements: 5,
                    ns: 1_500_000,
                },
            )]
            .into(),
            unattributed: [(
                Unattributed::NoRequest,
                DbTally {
                    statements: 2,
                    ns: 500_000,
                },
            )]
            .into(),
            ..DbReport::default()
        },
    }
}

/// The overview of two services with every kind of series.
async fn overview(change: impl FnOnce(&mut MadeUp)) -> Value {
    let router = MadeUp::router(|source| {
        source.fixture.traffic = Report {
            services: [(1, service().into()), (2, service().into())].into(),
            counts: Counts {
                records: 40,
                records_lost: 1,
                streams_evicted: 2,
                not_decoded: 3,
                streams: 4,
                desynchronised: 5,
                uncertain: 6,
            },
            ..source.fixture.traffic.clone()
        };
        change(source);
    });
    let (_, _, body) = ask(router, Method::GET, "/api/overview", &[]).await;
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn requests_come_with_status_buckets_and_what_was_aborted() {
    let overview = overview(|_| ()).await;
    let bounds = overview["latency_bounds_seconds"].as_array().unwrap();
    assert_eq!(bounds.len(), BOUNDS_NS.len());
    assert_eq!(bounds[4], 0.001);
    let first = &overview["services"][0];
    assert_eq!(first["http"]["active"], 2);
    assert_eq!(
        first["http"]["requests"],
        json!([
            {
                "method": "GET", "route": "/api/orders/{id}", "status": null, "calls": 2,
                "aborted": 1, "sum_seconds": 0.003, "counts": [0, 0, 0, 0, 1, 1],
            },
            {
                "method": "GET", "route": "/api/orders/{id}", "status": 200, "calls": 2,
                "aborted": 0, "sum_seconds": 0.003, "counts": [0, 0, 0, 0, 1, 1],
            },
        ])
    );
    assert_eq!(first["http_client"][0]["server"], "payments.example");
    assert_eq!(first["http_client"][0]["status"], 502);
}

#[tokio::test]
async fn statements_tell_failures_from_answers_that_were_not_seen() {
    let overview = overview(|_| ()).await;
    let statements = overview["services"][0]["postgres"].as_array().unwrap();
    let ends: Vec<_> = statements
        .iter()
        .map(|series| (series["outcome"].as_str(), series["sqlstate"].as_str()))
        .collect();
    let expected = [
        (Some("ok"), None),
        (Some("error"), Some("23505")),
        (Some("unknown"), None),
    ];
    assert_eq!(ends, expected);
    assert_eq!(statements[0]["calls"], 3, "also those without a time");
    assert_eq!(statements[0]["counts"], json!([0, 2]));
    assert_eq!(statements[0]["rows"], 6);
    let sent = &overview["services"][0]["db_client"][0];
    assert_eq!(sent["database"], "shop");
}

/// The same for both sides: `calls` statements of one fingerprint, and some connections.
fn database(calls: u64) -> DatabaseReport {
    let fingerprint = |fingerprint, text: &str, busy_ns| {
        let sql = SqlInfo {
            text: text.into(),
            fingerprint,
            operation: Operation::Insert,
            complete: true,
        };
        let totals = Totals {
            calls,
            errors: 1,
            rows: 6,
            busy_ns,
        };
        Fingerprint::with(sql.into(), "shop".into(), totals, timing(&[70_000, 80_000]))
    };
    let reasons = |reason: &str| [(reason.into(), 2)].into();
    DatabaseReport {
        fingerprints: FingerprintReport {
            top: vec![
                fingerprint(2, "insert into a", 150_000),
                fingerprint(1, &"x".repeat(3_000), 900_000),
            ],
            other: Totals {
                calls: 5,
                ..Totals::default()
            },
            unknown: Totals::default(),
        },
        transactions: [(("a".into(), true), 4), (("b".into(), true), 5)].into(),
        connections: ConnectionReport {
            states: [(ConnectionState::Idle, 3)].into(),
            connect: timing(&[9_000_000]),
            refused: reasons("invalid_password"),
            server_errors: reasons("admin_shutdown"),
            cancels: 1,
            ..ConnectionReport::default()
        },
        ..DatabaseReport::default()
    }
}

#[tokio::test]
async fn statements_come_by_the_time_that_they_take_and_the_rest_last() {
    let overview = overview(|_| ()).await;
    let server = &overview["services"][0]["database"]["server"];
    let statements = server["statements"].as_array().unwrap();
    let names: Vec<_> = statements
        .iter()
        .map(|series| series["fingerprint"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["0000000000000001", "0000000000000002", "other"]);
    let long = statements[0]["text"].as_str().unwrap();
    assert_eq!(long.chars().count(), 2_001);
    assert_eq!(
        statements[1],
        json!({
            "fingerprint": "0000000000000002", "operation": "INSERT", "text": "insert into a",
            "calls": 3, "errors": 1, "rows": 6, "sum_seconds": 0.00015, "counts": [0, 2],
        })
    );
    assert_eq!(statements[2]["text"], Value::Null);
}

#[tokio::test]
async fn connections_come_by_state_once_there_are_any() {
    let overview = overview(|_| ()).await;
    let client = &overview["services"][0]["database"]["client"];
    assert_eq!(client["connections"]["idle"], 3);
    assert_eq!(client["connections"]["active"], 0);
    assert_eq!(client["connection_errors"], json!({"invalid_password": 2}));
    assert_eq!(client["session_errors"], json!({"admin_shutdown": 2}));
    assert_eq!(
        (&client["committed"], &client["rolled_back"]),
        (&json!(9), &json!(0))
    );
    let quiet = self::overview(|source| source.fixture.traffic = Report::default()).await;
    let server = &quiet["services"][0]["database"]["server"];
    assert_eq!(server["connections"], json!({}));
}

#[tokio::test]
async fn every_decoded_number_is_documented() {
    let document = get_json("/api/openapi.json").await;
    let schema = &document["components"]["schemas"]["Overview"];
    let overview = overview(|_| ()).await;
    check(&document, schema, &overview, "/api/overview");
    assert_eq!(
        overview["streams"],
        json!({
            "open": 4, "records": 40, "records_lost": 1, "evicted": 2, "not_decoded": 3,
            "desynchronised": 5, "uncertain": 6,
        })
    );
}

#[tokio::test]
async fn traffic_of_one_name_is_added_up() {
    let overview = overview(|source| {
        for service in &mut source.fixture.services {
            service.name = "web".to_owned();
        }
    })
    .await;
    let web = &overview["services"][0];
    assert_eq!(web["http"]["active"], 4);
    assert_eq!(web["http"]["requests"].as_array().unwrap().len(), 2);
    assert_eq!(web["http"]["requests"][0]["aborted"], 2);
    assert_eq!(web["http"]["requests"][1]["counts"][5], 2);
    assert_eq!(web["http_client"][0]["calls"], 4);
    assert_eq!(web["postgres"][1]["calls"], 6);
    assert_eq!(web["db_client"][0]["rows"], 12);
    assert_eq!(web["http"]["users"], 14);
    let server = &web["database"]["server"];
    assert_eq!(server["connections"]["idle"], 6);
    assert_eq!(server["committed"], 18);
    assert_eq!(server["connection_errors"]["invalid_password"], 4);
    assert_eq!(server["statements"].as_array().unwrap().len(), 3);
    assert_eq!(server["statements"][1]["calls"], 6);
    assert_eq!(server["statements"][1]["counts"][1], 4);
    assert_eq!(server["connect"]["count"], 2);
    assert_eq!(
        web["db"],
        json!({
            "routes": [
                { "method": "GET", "route": "/api/orders/{id}", "statements": 10, "seconds": 0.003 },
            ],
            "unattributed": [{ "reason": "no_request", "statements": 4, "seconds": 0.001 }],
        })
    );
}

/// An operator who reads the finding must know what to change, and where.
#[tokio::test]
async fn a_loop_around_a_query_comes_with_its_route_and_its_cost() {
    let found = json!([{
        "service": "service01",
        "pattern": "n_plus_one",
        "method": "GET",
        "route": "/items/{id}",
        "fingerprint": "0000000000c0ffee",
        "sql": "select name from items where id = ?",
        "operation": "SELECT",
        "count": 52,
        "typical_count": 52.0,
        "elapsed_seconds": 0.04,
        "wasted_seconds": 0.03,
        "total_wasted_seconds": 0.12,
        "advice": "Ask for all rows at once, with a join or WHERE … IN (…) / = ANY($1); in an ORM, \
                   load the relation eagerly (SQLAlchemy: selectinload or joinedload; Django: \
                   prefetch_related or select_related; Rails: includes).",
        "confidence": "high",
        "times": 4,
        "seconds_ago": 3.0,
    }]);
    assert_eq!(get_json("/api/n-plus-one").await["findings"], found);
    assert_eq!(overview(|_| ()).await["findings"], found);
}

#[tokio::test]
async fn traffic_of_a_service_that_is_gone_is_not_lost() {
    let overview = overview(|source| source.fixture.services.truncate(1)).await;
    let unknown = &overview["services"][1];
    assert_eq!(unknown["name"], "unknown");
    assert_eq!(unknown["http"]["requests"][1]["calls"], 2);
}
