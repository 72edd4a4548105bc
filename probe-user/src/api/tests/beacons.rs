//! What browsers get and what becomes of what they send.

use std::io::Write as _;

use super::*;

/// A router over an intake that is looked at afterwards.
fn with_vitals(change: impl FnOnce(&mut crate::config::Vitals)) -> (Router, Vitals) {
    let mut settings = crate::config::Vitals::default();
    change(&mut settings);
    let vitals = Vitals::new(&settings, Store::off()).unwrap();
    let kept = vitals.clone();
    (
        MadeUp::router(move |source| source.vitals = Some(kept)),
        vitals,
    )
}

const SHOP: &str = "https://shop.example";

fn allowing_the_shop(settings: &mut crate::config::Vitals) {
    settings.allowed_origins = vec![SHOP.parse().unwrap()];
}

async fn post(
    router: &Router,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(router.clone(), request.body(body.into()).unwrap()).await
}

fn refused(vitals: &Vitals) -> Vec<(&'static str, u64)> {
    let refused = vitals.numbers().refused.into_iter();
    refused.filter(|(_, count)| *count > 0).collect()
}

const LCP: &str = r#"{"name":"LCP","value":1200,"id":"v6-1","page":"/a"}"#;

#[tokio::test]
async fn what_people_post_by_hand_is_taken_under_any_content_type() {
    let (router, vitals) = with_vitals(|_| ());
    for kind in [
        None,
        Some("application/json"),
        Some("text/plain;charset=UTF-8"),
        Some("x/y"),
    ] {
        let headers: Vec<_> = kind
            .map(|kind| ("content-type", kind))
            .into_iter()
            .collect();
        let (status, headers, body) = post(&router, "/api/metrics", &headers, LCP).await;
        assert_eq!(
            (status, body.len()),
            (StatusCode::NO_CONTENT, 0),
            "{kind:?}"
        );
        assert_eq!(headers["cross-origin-resource-policy"], "cross-origin");
    }
    let error = r#"[{"message":"x is not defined"}]"#;
    assert_eq!(
        post(&router, "/api/browser/errors", &[], error).await.0,
        204
    );
    let action = r#"{"page":"/a","actions":[{"name":"buy"}]}"#;
    assert_eq!(
        post(&router, "/api/browser/actions", &[], action).await.0,
        204
    );
    let numbers = vitals.numbers();
    assert_eq!(numbers.accepted["metrics"], 4);
    assert_eq!(
        (numbers.accepted["errors"], numbers.accepted["actions"]),
        (1, 1)
    );
    assert_eq!(refused(&vitals), []);
}

#[tokio::test]
async fn the_request_says_what_a_hand_written_post_leaves_out() {
    let (router, vitals) = with_vitals(|_| ());
    let plain = r#"{"name":"CLS","value":0.02}"#;
    let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148";
    let headers = [
        ("referer", "https://shop.example/cart?secret=1"),
        ("user-agent", phone),
    ];
    assert_eq!(post(&router, "/api/metrics", &headers, plain).await.0, 204);
    let pages = vitals.numbers().pages;
    let (page, numbers) = pages.iter().next().unwrap();
    assert_eq!(&**page, "/cart");
    let devices: Vec<_> = numbers
        .devices
        .keys()
        .map(|device| device.as_str())
        .collect();
    assert_eq!(devices, ["mobile"]);
}

/// The browser asks before it sends JSON as such; `sendBeacon` says that it has credentials.
#[tokio::test]
async fn pages_of_allowed_origins_may_send_from_elsewhere_and_others_are_told_why_not() {
    let (router, vitals) = with_vitals(allowing_the_shop);
    for (origin, allowed) in [(SHOP, true), ("https://evil.example", false)] {
        let headers = [
            (header::ORIGIN, origin),
            (header::ACCESS_CONTROL_REQUEST_METHOD, "POST"),
            (header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type"),
        ];
        let answer = ask(router.clone(), Method::OPTIONS, "/api/metrics", &headers).await;
        if allowed {
            assert_eq!(answer.0, StatusCode::NO_CONTENT);
            assert_eq!(answer.1[header::ACCESS_CONTROL_ALLOW_METHODS], "POST");
            let names = answer.1[header::ACCESS_CONTROL_ALLOW_HEADERS]
                .to_str()
                .unwrap();
            assert!(names.contains("content-type"));
        } else {
            let detail = assert_problem(&answer, StatusCode::FORBIDDEN);
            assert!(detail.contains("evil.example") && detail.contains("vitals.allowed_origins"));
        }
        let headers = [("origin", origin), ("sec-fetch-site", "cross-site")];
        let sent = post(&router, "/api/metrics", &headers, LCP).await;
        assert_eq!(sent.0.as_u16(), if allowed { 204 } else { 403 });
        for headers in [&answer.1, &sent.1] {
            let named = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(named.map(|named| named == SHOP), allowed.then_some(true));
            let credentials = headers.get(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
            assert_eq!(credentials.is_some(), allowed);
        }
    }
    assert_eq!(refused(&vitals), [("origin", 2)]);
}

#[tokio::test]
async fn what_is_too_large_also_when_unpacked_is_refused_and_counted() {
    let (router, vitals) = with_vitals(|settings| settings.max_body = 2_000);
    let zip = |body: &str| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(body.as_bytes()).unwrap();
        gzip.finish().unwrap()
    };
    let gzip = [("content-encoding", "gzip")];
    assert_eq!(post(&router, "/api/metrics", &gzip, zip(LCP)).await.0, 204);
    let large = format!("{}{}", " ".repeat(2_000), LCP);
    let answer = post(&router, "/api/metrics", &[], large.clone()).await;
    assert!(assert_problem(&answer, StatusCode::PAYLOAD_TOO_LARGE).contains("2000"));
    let answer = post(&router, "/api/metrics", &gzip, zip(&large)).await;
    assert!(assert_problem(&answer, StatusCode::PAYLOAD_TOO_LARGE).contains("decompression"));
    let declared = [("content-length", "5000000000")];
    let answer = post(&router, "/api/metrics", &declared, LCP).await;
    assert_problem(&answer, StatusCode::PAYLOAD_TOO_LARGE);
    let answer = post(&router, "/api/metrics", &gzip, LCP).await;
    assert!(assert_problem(&answer, StatusCode::BAD_REQUEST).contains("gzip"));
    let answer = post(&router, "/api/metrics", &[("content-encoding", "br")], LCP).await;
    assert!(assert_problem(&answer, StatusCode::UNSUPPORTED_MEDIA_TYPE).contains("`br`"));
    assert_eq!(
        refused(&vitals),
        [("too_large", 3), ("encoding", 1), ("broken", 1)]
    );
}

#[tokio::test]
async fn a_client_that_sends_too_much_is_told_when_to_come_again() {
    let (router, vitals) = with_vitals(|settings| {
        (settings.client_rate, settings.client_burst) = (1, 3);
    });
    let mut taken = 0;
    for n in 0..20 {
        let answer = post(&router, "/api/metrics", &[], LCP).await;
        if answer.0 == StatusCode::NO_CONTENT {
            taken += 1;
            continue;
        }
        let detail = assert_problem(&answer, StatusCode::TOO_MANY_REQUESTS);
        assert!(detail.contains("vitals.client_rate"), "{n}: {detail}");
        assert!(
            answer.1[header::RETRY_AFTER]
                .to_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
                >= 1
        );
    }
    // A client behind the proxy is another one.
    let other = [("x-forwarded-for", "198.51.100.7")];
    assert_eq!(post(&router, "/api/metrics", &other, LCP).await.0, 204);
    assert_eq!(refused(&vitals), [("client_rate", 20 - taken)]);
    assert_eq!(vitals.numbers().clients, 2);
}

#[tokio::test]
async fn a_mistake_is_a_problem_that_names_the_member() {
    let (router, vitals) = with_vitals(|_| ());
    let answer = post(
        &router,
        "/api/metrics",
        &[],
        r#"{"name":"LCP","value":null}"#,
    )
    .await;
    assert!(assert_problem(&answer, StatusCode::BAD_REQUEST).contains("`value`"));
    let answer = post(&router, "/api/metrics", &[], "[".repeat(60_000)).await;
    assert!(assert_problem(&answer, StatusCode::BAD_REQUEST).contains("deeper"));
    assert_eq!(refused(&vitals), [("too_deep", 1), ("invalid", 1)]);
    let answer = ask(router.clone(), Method::GET, "/api/metrics", &[]).await;
    assert!(assert_problem(&answer, StatusCode::METHOD_NOT_ALLOWED).contains("GET"));
    let (_, _, text) = ask(router, Method::GET, "/metrics", &[]).await;
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("hostprobe_beacons_refused_total{reason=\"too_deep\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn the_script_is_cached_compressed_and_loadable_by_other_sites() {
    let (router, vitals) = with_vitals(|settings| settings.sample_rate = 0.25);
    let get = |headers: Vec<(HeaderName, String)>| {
        let router = router.clone();
        async move {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str()))
                .collect();
            ask(router, Method::GET, "/vitals.js", &headers).await
        }
    };
    let (status, headers, plain) = get(vec![]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(plain, vitals.script().as_bytes());
    assert!(vitals.script().contains(r#""sample":0.25"#));
    assert_eq!(headers["cross-origin-resource-policy"], "cross-origin");
    assert_eq!(
        headers[header::CONTENT_TYPE],
        "text/javascript; charset=utf-8"
    );
    assert!(
        headers[header::CACHE_CONTROL]
            .to_str()
            .unwrap()
            .contains("max-age=")
    );
    let (_, headers, zipped) = get(vec![(header::ACCEPT_ENCODING, "br, gzip".into())]).await;
    assert_eq!(headers[header::CONTENT_ENCODING], "gzip");
    assert!(zipped.len() < 12_000);
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&*zipped)
        .read_to_end(&mut text)
        .unwrap();
    assert_eq!(text, plain);
    let etag = headers[header::ETAG].to_str().unwrap().to_owned();
    let known = format!("\"other\", {etag}");
    let (status, _, body) = get(vec![(header::IF_NONE_MATCH, known)]).await;
    assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(
        get(vec![(header::IF_NONE_MATCH, "\"other\"".into())])
            .await
            .0,
        200
    );
}

/// The administrator's endpoints stay private when browsers have an address of their own.
#[tokio::test]
async fn browsers_own_address_has_nothing_else() {
    let (_, vitals) = with_vitals(|_| ());
    let mut source = MadeUp {
        fixture: Fixture::of_size(1, 1),
        status: status(),
        broken: false,
        vitals: Some(vitals.clone()),
    };
    let router = beacon_router(Arc::new(source));
    for path in PATHS {
        let (status, headers, _) = ask(router.clone(), Method::GET, path, &[]).await;
        let expected = match path {
            "/vitals.js" => 200,
            // It takes errors, and tells nobody those of others.
            path if POSTS.contains(&path) => 405,
            _ => 404,
        };
        assert_eq!(status.as_u16(), expected, "{path}");
        assert!(headers.contains_key(header::CONTENT_SECURITY_POLICY));
    }
    assert_eq!(post(&router, "/api/metrics", &[], LCP).await.0, 204);
    source = MadeUp {
        fixture: Fixture::of_size(1, 1),
        status: status(),
        broken: false,
        vitals: None,
    };
    let router = super::router(Arc::new(source));
    let of_browsers = POSTS.iter().filter(|path| !path.starts_with("/api/gemini"));
    for path in of_browsers {
        let answer = post(&router, path, &[], LCP).await;
        assert!(assert_problem(&answer, StatusCode::NOT_FOUND).contains("vitals.enabled"));
    }
}
