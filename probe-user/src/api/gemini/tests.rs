//! The endpoints as a program sees them, over a ledger in memory.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
};

use axum::{body::Body, http::HeaderValue};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    api::{
        CollectError, Collected, Source, Status, Tokens, router,
        tests::{assert_problem, check, send, status},
    },
    config::{self, GeminiLimit, Per},
    store::Store,
};

/// A clock that stands unless it is turned: 10 November 2026, 12:00 UTC.
const NOON: i64 = 1_794_312_000_000;

struct Daemon {
    gemini: Option<Gemini>,
    tokens: Arc<Tokens>,
}

impl Source for Daemon {
    fn collect(&self) -> Result<Collected, CollectError> {
        Ok(Collected::default())
    }
    fn status(&self) -> Status {
        status()
    }
    fn gemini(&self) -> Option<Gemini> {
        self.gemini.clone()
    }
    fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.tokens)
    }
}

/// A client of a daemon.
struct Client {
    router: Router,
    gemini: Gemini,
    now: Arc<Mutex<i64>>,
}

type Answer = (StatusCode, HeaderMap, Vec<u8>);

impl Client {
    async fn new(limits: &[GeminiLimit]) -> Self {
        let config = config::Gemini {
            limits: limits.to_vec(),
            ..config::Gemini::default()
        };
        let now = Arc::new(Mutex::new(NOON));
        let clock = Arc::clone(&now);
        let gemini = Gemini::open_with(
            &config,
            Store::off(),
            CancellationToken::new(),
            Arc::new(move || *clock.lock().unwrap()),
        );
        let gemini = gemini.await.unwrap();
        let source = Daemon {
            gemini: Some(gemini.clone()),
            tokens: Arc::default(),
        };
        Self {
            router: router(Arc::new(source)),
            gemini,
            now,
        }
    }

    async fn raw(&self, path: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_str(value).unwrap());
        }
        let mut request = request.body(Body::from(body)).unwrap();
        let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
        request.extensions_mut().insert(ConnectInfo(peer));
        send(self.router.clone(), request).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let path = format!("/api/gemini/{path}");
        self.raw(&path, body.to_string().into_bytes(), &[]).await
    }

    /// The answer of a request that succeeds, which is as the document says.
    async fn ok(&self, path: &str, body: Value) -> Value {
        let (status, _, answer) = self.post(path, &body).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(status, StatusCode::OK, "{body}: {text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        let document: Value = serde_json::from_str(include_str!("../openapi.json")).unwrap();
        let pointer = format!(
            "/paths/~1api~1gemini~1{path}/post/responses/200/content/application~1json/schema"
        );
        let schema = document.pointer(&pointer).unwrap();
        let schema = match schema["oneOf"].as_array() {
            Some(choices) => &choices[usize::from(answer.get("calls").is_some())],
            None => schema,
        };
        check(&document, schema, &answer, path);
        answer
    }

    /// The detail of a refusal.
    async fn refused(&self, path: &str, body: &Value, status: StatusCode) -> String {
        assert_problem(&self.post(path, body).await, status)
    }

    /// Tokens and calls of all that was recorded.
    fn recorded(&self) -> (u64, u64) {
        let numbers = self.gemini.numbers();
        let sums = numbers.pairs.values();
        sums.fold((0, 0), |(calls, tokens), sums| {
            let all = sums.ok + sums.errors + sums.incomplete;
            let used = sums.tokens.all_input() + sums.tokens.all_output();
            (calls + all, tokens + used)
        })
    }

    async fn used(&self) -> Vec<(u64, u64)> {
        let limits = self.gemini.limits().await.unwrap();
        limits
            .iter()
            .map(|state| (state.used, state.held))
            .collect()
    }
}

fn call() -> Value {
    json!({
        "model": "gemini-2.5-flash",
        "feature": "search",
        "duration_ms": 1500.5,
        "status": 200,
        "usage": {"promptTokenCount": 100, "candidatesTokenCount": 20, "thoughtsTokenCount": 30,
                  "totalTokenCount": 150},
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut call = call();
    call[name] = value;
    call
}

fn without(name: &str) -> Value {
    let mut call = call();
    call.as_object_mut().unwrap().remove(name);
    call
}

fn limit(tokens: Option<u64>, calls: Option<u64>) -> GeminiLimit {
    GeminiLimit {
        tokens,
        calls,
        ..GeminiLimit::default()
    }
}

/// Programs have what the SDK gave them, in its own words.
#[tokio::test]
async fn tokens_are_taken_in_every_form() {
    let client = Client::new(&[]).await;
    let forms = [
        (
            "usage",
            json!({"promptTokenCount": 100, "candidatesTokenCount": 50}),
        ),
        (
            "usageMetadata",
            json!({"promptTokenCount": 100, "candidatesTokenCount": 50}),
        ),
        (
            "usage_metadata",
            json!({"prompt_token_count": 100, "candidates_token_count": 50}),
        ),
        (
            "usage",
            json!({"total_input_tokens": 100, "total_output_tokens": 50}),
        ),
        ("usage", json!({"prompt_tokens": 100, "output_tokens": 50})),
    ];
    for (name, usage) in &forms {
        let mut body = without("usage");
        body[*name] = usage.clone();
        let answer = client.ok("usage", body).await;
        assert_eq!(answer["state"], "recorded");
        assert!(answer["cost_usd"].as_f64().unwrap() > 0.0, "{answer}");
    }
    let mut plain = without("usage");
    plain["prompt_tokens"] = json!(100);
    plain["output_tokens"] = json!(50);
    client.ok("usage", plain).await;
    assert_eq!(client.recorded(), (6, 6 * 150));
}

#[tokio::test]
async fn what_did_not_end_well_needs_no_tokens_and_an_unknown_price_is_not_nothing() {
    let client = Client::new(&[]).await;
    for (name, value) in [
        ("status", json!(503)),
        ("status", json!("error")),
        ("status", json!("incomplete")),
        ("error_code", json!("RESOURCE_EXHAUSTED")),
        ("operation", json!("count_tokens")),
    ] {
        let mut body = without("usage");
        body[name] = value;
        client.ok("usage", body).await;
    }
    let numbers = client.gemini.numbers();
    assert_eq!(numbers.errors.values().sum::<u64>(), 3);
    assert_eq!(numbers.throttled.values().sum::<u64>(), 1);
    let unknown = client
        .ok("usage", with("model", json!("gemini-99-ultra")))
        .await;
    assert_eq!(
        (&unknown["cost"], &unknown["cost_usd"]),
        (&json!("unknown_model"), &Value::Null)
    );
}

/// A mistake must be found by the one who made it, not by the one who pays.
#[tokio::test]
async fn bad_bodies_name_the_member_and_record_nothing() {
    let client = Client::new(&[]).await;
    let long = "x".repeat(129);
    let cases = [
        (without("model"), "`model`: is missing"),
        (with("model", json!("")), "`model`: is \"\""),
        (with("model", json!(7)), "`model`: is 7"),
        (with("model", json!(long)), "`model`: is \"xxx"),
        (with("feature", json!("a\nb")), "`feature`"),
        (
            with("duration_ms", json!("fast")),
            "`duration_ms`: is \"fast\"",
        ),
        (with("duration_ms", json!(-1)), "from 0 to 86400000"),
        (with("status", json!(99)), "`status`: is 99"),
        (with("status", json!("good")), "\"incomplete\""),
        (with("operation", json!("chat")), "`operation`: is \"chat\""),
        (with("at", json!("yesterday")), "`at`: is \"yesterday\""),
        (
            with("at", json!("2026-01-01T00:00:00Z")),
            "in the last 31 days",
        ),
        (with("idempotency_key", json!("")), "`idempotency_key`"),
        (with("usag", json!({})), "`usag`: there is no such member"),
        (without("usage"), "`usage`: is missing"),
        (with("usage", json!([])), "`usage`: is a list"),
        (with("usage", json!({})), "`usage`: has no token count"),
        (
            with("usage", json!({"promptTokenCount": -5})),
            "`usage.promptTokenCount`: is -5",
        ),
        (
            with("usageMetadata", json!({"promptTokenCount": 1})),
            "counted twice",
        ),
        (with("total_tokens", json!(1)), "counted twice"),
        (json!([]), "0 calls"),
        (json!(vec![call(); 1_001]), "1001 calls"),
        (json!([call(), 5]), "`[1]`: allowed is a call"),
        (
            json!([call(), with("usage", json!({"promptTokenCount": 1.5}))]),
            "`[1].usage.promptTokenCount`: is 1.5",
        ),
        (
            json!({"calls": [call(), without("model")]}),
            "`calls[1].model`: is missing",
        ),
        (json!({"calls": 1}), "`calls`"),
        (json!("call"), "neither a call"),
    ];
    let count = cases.len() as u64;
    for (body, part) in cases {
        let detail = client
            .refused("usage", &body, StatusCode::BAD_REQUEST)
            .await;
        assert!(detail.contains(part), "{part} is not in {detail}");
    }
    for broken in [&b"{"[..], b"", b"\xff", b"{\"model\": \"a\"} {}"] {
        let answer = client.raw("/api/gemini/usage", broken.to_vec(), &[]).await;
        let detail = assert_problem(&answer, StatusCode::BAD_REQUEST);
        assert!(detail.contains("not JSON"), "{detail}");
    }
    let (_, _, body) = client.post("usage", &without("model")).await;
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["field"], "model");
    assert_eq!(client.recorded(), (0, 0));
    assert_eq!(client.gemini.numbers().dropped["bad_request"], count + 5);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let client = Client::new(&[]).await;
    let large = vec![b' '; MAX_BODY + 1];
    let length = large.len().to_string();
    for headers in [&[("content-length", &*length)][..], &[]] {
        let answer = client
            .raw("/api/gemini/usage", large.clone(), headers)
            .await;
        let detail = assert_problem(&answer, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(detail.contains("1048576"), "{detail}");
    }
    // More than other endpoints take.
    let batch = json!(vec![call(); 1_000]);
    assert!(batch.to_string().len() > 64 * 1024);
    let answer = client.ok("usage", batch).await;
    assert_eq!(answer["calls"].as_array().unwrap().len(), 1_000);
    assert_eq!(client.recorded(), (1_000, 150_000));
}

#[tokio::test]
async fn what_is_sent_again_under_its_key_is_counted_once() {
    let client = Client::new(&[]).await;
    let body = || call().to_string().into_bytes();
    let key = [("idempotency-key", "\"7f-1\"")];
    for state in ["recorded", "duplicate"] {
        let (_, _, answer) = client.raw("/api/gemini/usage", body(), &key).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["state"], state);
    }
    let again = client
        .ok("usage", with("idempotency_key", json!("7f-1")))
        .await;
    assert_eq!(again["state"], "duplicate");
    let mut other = with("idempotency_key", json!("7f-1"));
    other["usage"]["promptTokenCount"] = json!(101);
    let detail = client
        .refused("usage", &other, StatusCode::UNPROCESSABLE_ENTITY)
        .await;
    assert!(detail.contains("7f-1"), "{detail}");
    let batch = json!([call(), call()]).to_string().into_bytes();
    for _ in 0..2 {
        let key = [("idempotency-key", "batch")];
        let (status, ..) = client.raw("/api/gemini/usage", batch.clone(), &key).await;
        assert_eq!(status, StatusCode::OK);
    }
    assert_eq!(client.recorded(), (3, 450));
    let bad = [("idempotency-key", "")];
    let answer = client.raw("/api/gemini/usage", body(), &bad).await;
    assert!(assert_problem(&answer, StatusCode::BAD_REQUEST).contains("Idempotency-Key"));
}

#[tokio::test]
async fn who_asks_before_calling_is_told_what_is_left_and_when_to_come_again() {
    let month = GeminiLimit {
        name: Some("budget".into()),
        per: Per::Month,
        usd: Some(10.0),
        ..GeminiLimit::default()
    };
    let client = Client::new(&[limit(Some(1_000), Some(3)), month]).await;
    let ask =
        |tokens: u64| json!({"model": "gemini-2.5-flash", "feature": "search", "tokens": tokens});
    let first = client.ok("reserve", ask(400)).await;
    assert_eq!(first["expires_at"], "2026-11-10T12:05:00.000Z");
    assert_eq!(
        (&first["remaining"]["tokens"], &first["remaining"]["calls"]),
        (&json!(600), &json!(2))
    );
    assert!(first["remaining"]["usd"].as_f64().unwrap() < 10.0);
    let (status, headers, body) = client.post("reserve", &ask(601)).await;
    assert_problem(
        &(status, headers.clone(), body.clone()),
        StatusCode::TOO_MANY_REQUESTS,
    );
    assert_eq!(headers[header::RETRY_AFTER], "43200");
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["requested"], 601);
    assert_eq!(problem["resets_at"], "2026-11-11T00:00:00.000Z");
    assert_eq!(problem["limit"]["unit"], "tokens");
    assert_eq!(
        (&problem["limit"]["used"], &problem["limit"]["reserved"]),
        (&json!(0), &json!(400))
    );
    // What it took replaces what it might have taken.
    let reservation = first["reservation"].clone();
    let commit = json!({"reservation": reservation, "usage": {"promptTokenCount": 90, "candidatesTokenCount": 10}});
    let done = client.ok("commit", commit.clone()).await;
    assert_eq!(done["state"], "recorded");
    assert_eq!(
        client.ok("commit", commit).await["state"],
        "already_settled"
    );
    let numbers = client.gemini.numbers();
    let pair = numbers.pairs.keys().next().unwrap();
    assert_eq!(
        (&*pair.model, &*pair.feature),
        ("gemini-2.5-flash", "search")
    );
    assert_eq!(numbers.refusals["day"], 1);
    let second = client.ok("reserve", ask(900)).await;
    assert_eq!(second["remaining"]["tokens"], 0);
    // A call that was not made.
    let body = json!({"reservation": second["reservation"]});
    let (status, ..) = client.post("release", &body).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    client.ok("reserve", ask(900)).await;
    // A day later.
    *client.now.lock().unwrap() += 86_400_000;
    client.ok("reserve", ask(1_000)).await;
    let detail = client
        .refused("reserve", &ask(1_001), StatusCode::TOO_MANY_REQUESTS)
        .await;
    assert!(detail.contains("more than it ever allows"), "{detail}");
}

#[tokio::test]
async fn bad_questions_name_the_member() {
    let client = Client::new(&[limit(Some(10), None)]).await;
    for (path, body, part) in [
        ("reserve", json!({"tokens": 5}), "`model`: is missing"),
        ("reserve", json!({"model": "a"}), "`tokens`: is missing"),
        (
            "reserve",
            json!({"model": "a", "tokens": -1}),
            "`tokens`: is -1",
        ),
        (
            "reserve",
            json!({"model": "a", "tokens": 1e10}),
            "1000000000",
        ),
        ("reserve", json!({"model": "a", "token": 1}), "`token`"),
        ("reserve", json!([]), "no object"),
        (
            "commit",
            json!({"usage": {"prompt_tokens": 1}}),
            "`reservation`: is missing",
        ),
        (
            "commit",
            json!({"reservation": "x"}),
            "`reservation`: is \"x\"",
        ),
        ("release", json!({"reservation": 5}), "`reservation`: is 5"),
        (
            "release",
            json!({"reservation": "r0000000000000001", "a": 1}),
            "`a`",
        ),
    ] {
        let detail = client.refused(path, &body, StatusCode::BAD_REQUEST).await;
        assert!(detail.contains(part), "{part} is not in {detail}");
    }
    let unknown =
        json!({"reservation": "r0000000000000001", "model": "a", "usage": {"prompt_tokens": 1}});
    let detail = client
        .refused("commit", &unknown, StatusCode::NOT_FOUND)
        .await;
    assert!(detail.contains("r0000000000000001"), "{detail}");
    let asked = client
        .ok("reserve", json!({"model": "a", "tokens": 5}))
        .await;
    let bare = json!({"reservation": asked["reservation"]});
    let detail = client
        .refused("commit", &bare, StatusCode::BAD_REQUEST)
        .await;
    assert!(detail.contains("`usage`: is missing"), "{detail}");
    // Refused, so it is open yet.
    assert_eq!(client.used().await, [(0, 5)]);
    let cut = json!({"reservation": asked["reservation"], "status": "incomplete"});
    client.ok("commit", cut).await;
    assert_eq!(client.used().await, [(5, 0)]);
}

#[tokio::test]
async fn writing_from_elsewhere_is_refused_before_the_body_is_read() {
    let client = Client::new(&[]).await;
    for path in ["usage", "reserve", "commit", "release"] {
        let path = format!("/api/gemini/{path}");
        let headers = [("origin", "http://localhost")];
        let answer = client.raw(&path, b"{".to_vec(), &headers).await;
        let detail = assert_problem(&answer, StatusCode::UNAUTHORIZED);
        assert!(detail.contains("api.token_files"), "{detail}");
        assert_eq!(answer.1[header::WWW_AUTHENTICATE], "Bearer");
        // Without an address there is no telling.
        let request = Request::post(&path).body(Body::from("{}")).unwrap();
        let answer = send(client.router.clone(), request).await;
        assert_problem(&answer, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(client.gemini.numbers().dropped["unauthorized"], 8);
}

#[tokio::test]
async fn without_a_ledger_there_is_nothing_to_write_to() {
    let source = Daemon {
        gemini: None,
        tokens: Arc::default(),
    };
    let request = Request::post("/api/gemini/usage")
        .body(Body::from("{}"))
        .unwrap();
    let answer = send(router(Arc::new(source)), request).await;
    assert_problem(&answer, StatusCode::NOT_FOUND);
}
