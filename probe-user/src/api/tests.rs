//! Each endpoint as a client sees it, over a made-up source.

use std::{io::Read as _, time::UNIX_EPOCH};

use axum::{
    body::Body,
    http::{HeaderMap, Method, Request, Response},
};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::*;
use crate::{
    database::{AskedDatabase, advice::report::AdviceReport},
    kernel::snapshot::ProbeState,
    metrics::fixture::Fixture,
    queries::History,
    store::{Recent, Side, SlowQuery, Store},
    vitals::{Vitals, budgets::Budgets},
};

mod advice;
mod beacons;
mod browsers;
mod database;
mod queries;
mod traffic;
mod verdict;

/// What takes POST.
const POSTS: [&str; 8] = [
    "/api/metrics",
    "/api/browser/errors",
    "/api/browser/actions",
    "/api/gemini/usage",
    "/api/gemini/reserve",
    "/api/gemini/commit",
    "/api/gemini/release",
    "/api/faro",
];

/// What needs a ledger, which is tested with one.
const OF_THE_LEDGER: [&str; 2] = ["/api/gemini/limits", "/api/gemini/report"];

const PATHS: [&str; 33] = [
    "/",
    "/page/app.js",
    "/page/elements.js",
    "/page/numbers.js",
    "/page/database.js",
    "/page/traffic.js",
    "/page/findings.js",
    "/page/host.js",
    "/page/verdict.js",
    "/page/slow.js",
    "/page/advice.js",
    "/page/activity.js",
    "/page/patterns.js",
    "/page/app.css",
    "/vitals.js",
    "/metrics",
    "/healthz",
    "/readyz",
    "/api/overview",
    "/api/host",
    "/api/n-plus-one",
    "/api/verdict",
    "/api/advice",
    "/api/database",
    "/api/queries",
    "/api/slow-queries",
    "/api/vitals",
    "/api/browser/errors",
    "/api/budgets",
    "/api/services",
    "/api/probes",
    "/api/status",
    "/api/openapi.json",
];

pub(super) fn status() -> Status {
    let fixture = Fixture::of_size(0, 0);
    Status {
        build: fixture.build,
        kernel: "6.1.0".to_owned(),
        started_at: UNIX_EPOCH + Duration::from_secs(1_790_000_000),
        uptime: Duration::from_secs(60),
        summary: "2 services, 6 processes".to_owned(),
        targets_scanned: true,
        probes: fixture.snapshot.probes,
    }
}

struct MadeUp {
    fixture: Fixture,
    status: Status,
    broken: bool,
    vitals: Option<Vitals>,
}

impl MadeUp {
    fn router(change: impl FnOnce(&mut Self)) -> Router {
        let mut source = Self {
            fixture: Fixture::of_size(2, 3),
            status: status(),
            broken: false,
            vitals: Vitals::new(&crate::config::Vitals::default(), Store::off()).ok(),
        };
        change(&mut source);
        router(Arc::new(source))
    }
}

impl Source for MadeUp {
    fn collect(&self) -> Result<Collected, CollectError> {
        if self.broken {
            return Err(CollectError::kernel(std::io::Error::other(
                "the map is gone",
            )));
        }
        Ok(Collected {
            snapshot: self.fixture.snapshot.clone(),
            traffic: self.fixture.traffic.clone(),
            host: Some(Arc::clone(&self.fixture.host)),
            services: self.fixture.services.clone(),
        })
    }
    fn advice(&self) -> Arc<AdviceReport> {
        Arc::new(advice::report())
    }

    fn status(&self) -> Status {
        self.status.clone()
    }
    fn verdicts(&self) -> Arc<crate::verdict::Report> {
        Arc::new(verdict::fixture())
    }
    fn recent(&self) -> Arc<Recent> {
        let recent = Recent::default();
        for n in 0..3 {
            recent.push(&slow_query(n));
        }
        Arc::new(recent)
    }
    fn vitals(&self) -> Option<Vitals> {
        self.vitals.clone()
    }
    fn databases(&self) -> Vec<AskedDatabase> {
        self.fixture.databases.clone()
    }
    fn history(&self) -> Arc<History> {
        queries::history()
    }
    fn store(&self) -> Store {
        browsers::store()
    }
    fn budgets(&self) -> Option<Arc<Budgets>> {
        Some(browsers::budgets())
    }
}

fn slow_query(n: u32) -> SlowQuery {
    let text = |text: &str| Some(text.to_owned());
    SlowQuery {
        id: 9_007_199_254_740_993 + i64::from(n),
        at_ms: 1_790_000_000_000 + i64::from(n),
        host: "h".into(),
        service: "service01".into(),
        side: Side::Client,
        database: text("shop"),
        user: text("web"),
        application_name: None,
        client: None,
        fingerprint: u64::from(n),
        operation: "SELECT".into(),
        sql: "select ?".into(),
        text: None,
        duration_ns: 120_000_000,
        ttfb_ns: Some(119_000_000),
        rows: Some(1),
        sqlstate: (n == 1).then(|| "57014".into()),
        method: text("GET"),
        route: text("/items/{id}"),
        trace_id: None,
        shared_latency: false,
    }
}

/// The ids are beyond what JavaScript's numbers hold, and pages must not miss or repeat one.
#[tokio::test]
async fn slow_queries_come_from_memory_when_there_is_no_store_and_say_so() {
    let page = get_json("/api/slow-queries?limit=2").await;
    assert_eq!(page["source"], "memory");
    assert!(
        page["source_reason"]
            .as_str()
            .unwrap()
            .contains("store.url")
    );
    let ids = |page: &Value| -> Vec<String> {
        let queries = page["slow_queries"].as_array().unwrap().iter();
        queries
            .map(|query| query["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&page), ["9007199254740995", "9007199254740994"]);
    let first = &page["slow_queries"][0];
    assert_eq!(first["at"], "2026-09-21T14:13:20.002Z");
    assert_eq!(first["duration_seconds"], 0.12);
    let next = page["next"].as_str().unwrap();
    let page = get_json(&format!("/api/slow-queries?cursor={next}")).await;
    assert_eq!(ids(&page), ["9007199254740993"]);
    assert_eq!(
        (&page["next"], &page["slow_queries"][0]["fingerprint"]),
        (&Value::Null, &Value::Null)
    );
    let page = get_json("/api/slow-queries?errors=only&service=service01").await;
    assert_eq!(ids(&page), ["9007199254740994"]);
    let answer = ask(
        MadeUp::router(|_| ()),
        Method::GET,
        "/api/slow-queries?side=both",
        &[],
    )
    .await;
    assert!(assert_problem(&answer, StatusCode::BAD_REQUEST).contains("`side`"));
}

pub(super) async fn send(
    router: Router,
    request: Request<Body>,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let response: Response<_> = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    (parts.status, parts.headers, body)
}

async fn ask(
    router: Router,
    method: Method,
    path: &str,
    headers: &[(HeaderName, &str)],
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    send(router, request.body(Body::empty()).unwrap()).await
}

async fn get_json(path: &str) -> Value {
    let (status, headers, body) = ask(MadeUp::router(|_| ()), Method::GET, path, &[]).await;
    assert_eq!(status, StatusCode::OK, "{path}");
    assert_eq!(headers[header::CONTENT_TYPE], "application/json", "{path}");
    serde_json::from_slice(&body).unwrap()
}

pub(super) fn assert_problem(
    answer: &(StatusCode, HeaderMap, Vec<u8>),
    status: StatusCode,
) -> String {
    let (actual, headers, body) = answer;
    assert_eq!(*actual, status);
    assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
    let problem: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(problem["status"], status.as_u16());
    assert_eq!(problem["type"], "about:blank");
    assert_eq!(problem["title"], status.canonical_reason().unwrap());
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_endpoint_answers_get_and_head_with_security_headers() {
    for path in PATHS {
        for method in [Method::GET, Method::HEAD] {
            let (status, headers, body) =
                ask(MadeUp::router(|_| ()), method.clone(), path, &[]).await;
            assert_eq!(status, StatusCode::OK, "{method} {path}");
            assert_eq!(body.is_empty(), method == Method::HEAD, "{method} {path}");
            let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self';"),
                "{path}"
            );
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        }
    }
}

#[tokio::test]
async fn metrics_come_in_the_format_that_the_client_prefers() {
    let plain = ask(MadeUp::router(|_| ()), Method::GET, "/metrics", &[]).await;
    assert_eq!(
        plain.1[header::CONTENT_TYPE],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = String::from_utf8(plain.2).unwrap();
    assert!(
        text.contains("hostprobe_syscalls_total{service=\"service01\",syscall=\""),
        "{text}"
    );
    let accept = [(
        header::ACCEPT,
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    )];
    let open = ask(MadeUp::router(|_| ()), Method::GET, "/metrics", &accept).await;
    assert_eq!(
        open.1[header::CONTENT_TYPE],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(open.2.ends_with(b"# EOF\n"));
    assert!(
        open.1
            .get_all(header::VARY)
            .iter()
            .any(|vary| vary == "accept")
    );
}

#[tokio::test]
async fn metrics_are_compressed_for_clients_that_can() {
    for (accepted, compressed) in [("gzip", true), ("identity", false), ("gzip;q=0", false)] {
        let headers = [(header::ACCEPT_ENCODING, accepted)];
        let (_, headers, body) =
            ask(MadeUp::router(|_| ()), Method::GET, "/metrics", &headers).await;
        let encoding = headers.get(header::CONTENT_ENCODING);
        assert_eq!(
            encoding.is_some_and(|encoding| encoding == "gzip"),
            compressed,
            "{accepted}"
        );
        let mut text = String::new();
        if compressed {
            flate2::read::GzDecoder::new(&*body)
                .read_to_string(&mut text)
                .unwrap();
        } else {
            text = String::from_utf8(body).unwrap();
        }
        assert!(
            text.contains("hostprobe_probe_up{probe=\"syscalls\"} 1"),
            "{accepted}"
        );
    }
}

#[tokio::test]
async fn a_reading_that_fails_is_a_problem_and_not_an_empty_page() {
    for path in [
        "/metrics",
        "/api/overview",
        "/api/n-plus-one",
        "/api/services",
        "/api/probes",
        "/api/status",
    ] {
        let broken = MadeUp::router(|source| source.broken = true);
        let answer = ask(broken, Method::GET, path, &[]).await;
        let detail = assert_problem(&answer, StatusCode::SERVICE_UNAVAILABLE);
        assert!(detail.contains("the map is gone"), "{path}: {detail}");
    }
}

#[tokio::test]
async fn health_and_readiness_are_two_things() {
    let unready = || {
        MadeUp::router(|source| {
            source.status.targets_scanned = false;
            source.broken = true;
        })
    };
    let alive = ask(unready(), Method::GET, "/healthz", &[]).await;
    assert_eq!((alive.0, &*alive.2), (StatusCode::OK, &b"ok\n"[..]));
    let answer = ask(unready(), Method::GET, "/readyz", &[]).await;
    assert!(assert_problem(&answer, StatusCode::SERVICE_UNAVAILABLE).contains("scanned"));
    let blind = MadeUp::router(|source| {
        source
            .status
            .probes
            .retain(|probe| probe.state != ProbeState::Active);
    });
    let answer = ask(blind, Method::GET, "/readyz", &[]).await;
    assert!(
        assert_problem(&answer, StatusCode::SERVICE_UNAVAILABLE).contains("no probe is active")
    );
}

#[tokio::test]
async fn wrong_paths_methods_and_bodies_are_problems() {
    let answer = ask(MadeUp::router(|_| ()), Method::GET, "/nowhere", &[]).await;
    assert!(assert_problem(&answer, StatusCode::NOT_FOUND).contains("/nowhere"));
    assert!(answer.1.contains_key(header::CONTENT_SECURITY_POLICY));
    let answer = ask(MadeUp::router(|_| ()), Method::POST, "/metrics", &[]).await;
    assert!(assert_problem(&answer, StatusCode::METHOD_NOT_ALLOWED).contains("POST"));
    assert_eq!(answer.1[header::ALLOW], "GET,HEAD");
    let length = (MAX_BODY + 1).to_string();
    let large = Request::get("/metrics").header(header::CONTENT_LENGTH, &length);
    let large = large.body(Body::from(vec![0; MAX_BODY + 1])).unwrap();
    let answer = send(MadeUp::router(|_| ()), large).await;
    assert_problem(&answer, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn the_page_has_nothing_inline_and_nothing_from_elsewhere() {
    let (_, _, body) = ask(MadeUp::router(|_| ()), Method::GET, "/", &[]).await;
    let page = String::from_utf8(body).unwrap();
    for forbidden in [
        "<style", " style=", "onclick", "http://", "https://", "<script>",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[tokio::test]
async fn the_document_describes_every_path_and_no_other() {
    let document = get_json("/api/openapi.json").await;
    let mut documented: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    let mut expected = [&PATHS[..], &POSTS, &OF_THE_LEDGER].concat();
    documented.sort();
    expected.sort_unstable();
    expected.dedup();
    for path in POSTS {
        assert!(document["paths"][path]["post"].is_object(), "{path}");
    }
    assert_eq!(documented, expected);
    for path in PATHS.into_iter().filter(|path| path.starts_with("/api/")) {
        let content = &document["paths"][path]["get"]["responses"]["200"]["content"];
        let schema = &content["application/json"]["schema"];
        check(&document, schema, &get_json(path).await, path);
    }
}

/// Checks a value against the parts of JSON Schema that the document uses.
pub(super) fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').unwrap();
        return check(document, document.pointer(pointer).unwrap(), value, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let is_null = |choice: &&Value| choice["type"] == "null";
        let chosen = choices
            .iter()
            .find(|choice| is_null(choice) == value.is_null());
        return check(document, chosen.unwrap(), value, at);
    }
    let actual = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    assert!(
        allowed.iter().any(|kind| kind == actual),
        "{at}: {value} is not {allowed:?}"
    );
    for item in value.as_array().into_iter().flatten() {
        check(document, &schema["items"], item, &format!("{at}[]"));
    }
    let Some(members) = value.as_object() else {
        return;
    };
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(
            members.contains_key(required.as_str().unwrap()),
            "{at} lacks {required}"
        );
    }
    for (name, member) in members {
        let at = format!("{at}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Object(_)) => {
                check(document, &schema["additionalProperties"], member, &at);
            }
            (Value::Null, Value::Bool(false)) => panic!("{at} is not documented"),
            (Value::Null, _) => {}
            (property, _) => check(document, property, member, &at),
        }
    }
}

#[tokio::test]
async fn the_overview_keeps_the_kernel_s_resolution_and_every_count() {
    let router = MadeUp::router(|source| source.fixture.services.truncate(1));
    let (_, _, body) = ask(router, Method::GET, "/api/overview", &[]).await;
    let overview: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(overview["bounds_seconds"].as_array().unwrap().len(), 31);
    let names: Vec<_> = overview["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|service| service["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["service01", "unknown"],
        "no count is lost with its service"
    );
    let first = &overview["services"][0];
    assert_eq!(first["syscalls"][0]["duration"]["count"], 3);
    assert_eq!(first["syscalls"][0]["errors"]["EAGAIN"], 2);
    assert_eq!(first["tcp"]["connect_errors"]["abandoned"], 4);
    assert_eq!(first["tcp"]["open"], 8);
    assert_eq!(first["exits"][1]["signal"], "SIGKILL");
}

#[tokio::test]
async fn services_of_one_name_are_one_in_the_overview() {
    let router = MadeUp::router(|source| {
        for service in &mut source.fixture.services {
            service.name = "web".to_owned();
        }
    });
    let (_, _, body) = ask(router, Method::GET, "/api/overview", &[]).await;
    let overview: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(overview["services"].as_array().unwrap().len(), 1);
    assert_eq!(overview["services"][0]["processes"], 6);
    assert_eq!(overview["services"][0]["tcp"]["accepts"], 14);
    assert_eq!(
        overview["services"][0]["syscalls"][0]["duration"]["count"],
        6
    );
}

#[tokio::test]
async fn the_server_answers_and_stops_within_its_grace() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let source = Arc::new(MadeUp {
        fixture: Fixture::of_size(1, 1),
        status: status(),
        broken: false,
        vitals: None,
    });
    let server = tokio::spawn(serve(listener, source, shutdown.clone()));
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // A client that has sent half a request must not keep the daemon alive.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /healthz HT").await.unwrap();
    shutdown.cancel();
    tokio::time::timeout(GRACE_OF_THE_DAEMON, server)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// The whole daemon has two seconds to stop.
const GRACE_OF_THE_DAEMON: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn a_request_with_too_many_headers_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let source = Arc::new(MadeUp {
        fixture: Fixture::of_size(1, 1),
        status: status(),
        broken: false,
        vitals: None,
    });
    let server = tokio::spawn(serve(listener, source, shutdown.clone()));
    let mut client = TcpStream::connect(address).await.unwrap();
    let headers = "x: y\r\n".repeat(65);
    client
        .write_all(format!("GET / HTTP/1.1\r\n{headers}\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
    shutdown.cancel();
    server.await.unwrap();
}
