//! Requests and statements in the overview.

use serde_json::json;

use super::*;
use crate::traffic::{
    BOUNDS_NS, Counts, HttpClientKey, HttpSeries, HttpServerKey, PostgresSeries, Report,
    ServiceReport, StatementKey, StatementOutcome, Timing,
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
        postgres_server: [
            statement(StatementOutcome::Ok),
            statement(StatementOutcome::Error(*b"23505")),
            statement(StatementOutcome::Unknown),
        ]
        .into(),
        postgres_client: [statement(StatementOutcome::Ok)].into(),
        ..ServiceReport::default()
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
            epoch_offset_ns: 0,
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
}

#[tokio::test]
async fn traffic_of_a_service_that_is_gone_is_not_lost() {
    let overview = overview(|source| source.fixture.services.truncate(1)).await;
    let unknown = &overview["services"][1];
    assert_eq!(unknown["name"], "unknown");
    assert_eq!(unknown["http"]["requests"][1]["calls"], 2);
}
