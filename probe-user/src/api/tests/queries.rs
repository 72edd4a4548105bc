//! `/api/queries`: a user looks here for the statement to begin with.

use serde_json::json;

use super::*;
use crate::{
    queries::{Key, Statements, Sums, Window},
    store::Side,
    traffic::Totals,
};

const MINUTE_MS: i64 = 60_000;

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_millis().try_into().unwrap()
}

/// Began half an hour ago; in the hour before, one statement ran once in ten minutes.
pub(super) fn history() -> Arc<History> {
    let history = History::default();
    let began_ms = now_ms() - 30 * MINUTE_MS;
    history.begin(began_ms, MINUTE_MS);
    let key = Key {
        service: "service01".into(),
        side: Side::Client,
        fingerprint: Some(0xfeed),
    };
    let sums = Sums {
        totals: Totals {
            calls: 1,
            errors: 0,
            rows: 1,
            busy_ns: 95_000,
        },
        ..Sums::default()
    };
    history.remember(vec![Window {
        from_ms: began_ms - 10 * MINUTE_MS,
        to_ms: began_ms,
        observed_ms: 10 * MINUTE_MS,
        statements: Statements::from([(key, sums)]),
    }]);
    history.into()
}

async fn answer(parameters: &str) -> (StatusCode, Value) {
    let path = format!("/api/queries{parameters}");
    let (status, _, body) = ask(MadeUp::router(|_| ()), Method::GET, &path, &[]).await;
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_statement_comes_with_everything_that_stands_out() {
    let (_, answer) = answer("?window=30m&side=client&service=service01").await;
    assert_eq!(answer["matching"], 1, "{answer:#}");
    let statement = &answer["queries"][0];
    let expected = json!({
        "service": "service01", "side": "client", "database": "shop",
        "fingerprint": "000000000000feed", "operation": "SELECT",
        "sql": "select * from items where id = $1",
        "calls": 2, "errors": 1, "rows": 7, "rows_per_call": 3.5,
        "total_seconds": 0.00038, "mean_seconds": 0.00019,
        // 0.38 of the 0.76 ms of all statements.
        "share": 0.5,
        "routes": [{"method": "GET", "route": "/items/{id}", "calls": 2}],
        "full_scan": null,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&statement[name], value, "{name}");
    }
    let p95 = statement["p95_seconds"].as_f64().unwrap();
    assert!((p95 / 0.0003 - 1.0).abs() <= 1.0 / 32.0, "{p95}");
    // Two in half an hour, after one in ten minutes: fewer, but each twice as long.
    let trend = &statement["trend"];
    let about = |name: &str, value: f64| {
        let found = trend[name].as_f64().unwrap();
        assert!((found - value).abs() < 0.01, "{name}: {found}");
    };
    about("calls_per_hour", 6.0);
    about("calls_change", 4.0 / 6.0 - 1.0);
    about("mean_change", 1.0);
    about("total_change", 2.0 * 4.0 / 6.0 - 1.0);
    assert_eq!(answer["trend"]["missing"], Value::Null);
    assert_eq!(answer["rest"][0]["calls"], 2);
    let share = answer["rest"][0]["share"].as_f64().unwrap();
    assert!((share - 0.5).abs() < 1e-9, "{share}");
}

/// Absent is not the same as none: no trend without an hour to compare with.
#[tokio::test]
async fn an_hour_that_was_not_observed_makes_no_trend() {
    // The window reaches to the begin of all that is known.
    let (_, answer) = answer("?window=1h").await;
    assert_eq!(answer["queries"][0]["trend"], Value::Null);
    let why = answer["trend"]["missing"].as_str().unwrap();
    assert_eq!(
        why,
        "of the hour before, only 0 s were observed; 600 s are needed"
    );
}

#[tokio::test]
async fn all_statements_since_the_start_can_be_asked_for() {
    let (_, answer) = answer("?window=start&limit=1&sort=rows").await;
    assert_eq!(answer["from"], "2026-09-21T14:13:20.000Z");
    assert_eq!(answer["matching"], 4);
    assert_eq!(answer["queries"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn filters_leave_out_what_does_not_fit() {
    for (filter, matching) in [
        ("?side=server", 2),
        ("?service=service02", 2),
        ("?service=nobody", 0),
        ("?database=shop", 4),
        ("?database=other", 0),
        ("?fingerprint=000000000000feed", 4),
        ("?fingerprint=0000000000000001", 0),
    ] {
        assert_eq!(answer(filter).await.1["matching"], matching, "{filter}");
    }
}

#[tokio::test]
async fn a_wrong_parameter_is_named_with_what_is_allowed() {
    for (parameters, named, allowed) in [
        ("?sort=cost", "`sort` = \"cost\"", "mean"),
        ("?side=both", "`side` = \"both\"", "client"),
        ("?window=2h", "`window` = \"2h\"", "one hour"),
        ("?window=-5m", "`window`", "5m"),
        ("?window=0s", "`window`", "5m"),
        ("?limit=0", "`limit` = \"0\"", "1000"),
        ("?limit=1001", "`limit`", "1000"),
        ("?fingerprint=12", "`fingerprint`", "16 hexadecimal"),
        ("?order=x", "`order`", "sort, service"),
    ] {
        let (status, problem) = answer(parameters).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{parameters}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains(named) && detail.contains(allowed),
            "{detail}"
        );
    }
}
