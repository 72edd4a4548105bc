//! RFC 9112 and RFC 9110, section by section.

use super::*;
use crate::wire::classify::Protocol;
use crate::wire::http1::{ContentClass, End, Upgrade, Version};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_plain_exchange_says_all_there_is() {
    let mut script = Script::server();
    script
        .ask(
            "POST /users/7?token=secret HTTP/1.1\r\nHost: example.org:8080\r\nContent-Length: 3\r\n\
             traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
             X-Forwarded-For: 203.0.113.7, 10.0.0.1\r\n\r\nabc",
        )
        .answer(
            "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        );
    let exchange = script.only();
    assert_eq!(
        (exchange.method, exchange.version),
        (Method::Post, Version::Http11)
    );
    assert_eq!(exchange.path.as_deref(), Some("/users/7"));
    assert_eq!(exchange.host.as_deref(), Some("example.org:8080"));
    assert_eq!(exchange.status, Some(201));
    assert_eq!(
        (exchange.request_bytes, exchange.response_bytes),
        (Some(3), Some(2))
    );
    assert_eq!(exchange.content, ContentClass::Json);
    assert_eq!(exchange.end, End::Exact);
    assert_eq!(
        exchange.trace.unwrap().trace_id_hex(),
        "4bf92f3577b34da6a3ce929d0e0e4736"
    );
    assert_eq!(
        exchange.forwarded_for.unwrap().ip().to_string(),
        "203.0.113.7"
    );
    assert!(!exchange.aborted && exchange.upgrade.is_none());
    // Personal data and secrets do not show up in a log by accident.
    let shown = format!("{exchange:?}");
    assert!(
        !shown.contains("203.0.113.7") && !shown.contains("secret"),
        "{shown}"
    );
    assert_eq!(script.connection.in_flight(), 0);
}

/// RFC 9112, section 2.2: empty lines before a request, bare LF.
#[test]
fn section_2_2_line_tolerance() {
    let mut script = Script::server();
    script
        .ask("\r\n\r\nGET /a HTTP/1.1\nHost: h\n\n")
        .answer("HTTP/1.1 204 No Content\n\n");
    script.ask(GET).answer(OK);
    assert_eq!(script.results(), [("/a", Some(204)), ("/a", Some(200))]);
    assert_eq!(script.stats().malformed_heads, 0);
}

/// RFC 9112, section 3.2: origin, absolute, authority and asterisk form.
#[test]
fn section_3_2_target_forms() {
    for (line, path, host) in [
        ("GET /a/b?c=d HTTP/1.1", "/a/b", "h"),
        (
            "GET http://other.example/a?c HTTP/1.1",
            "/a",
            "other.example",
        ),
        (
            "GET http://user:pass@other.example HTTP/1.1",
            "/",
            "other.example",
        ),
        (
            "GET https://other.example:8443?x HTTP/1.1",
            "/",
            "other.example:8443",
        ),
        ("OPTIONS * HTTP/1.1", "*", "h"),
        (
            "OPTIONS http://other.example:8001 HTTP/1.1",
            "*",
            "other.example:8001",
        ),
        ("GET /a#fragment HTTP/1.1", "/a", "h"),
        ("FROBNICATE /a HTTP/1.0", "/a", "h"),
    ] {
        let mut script = Script::server();
        script.ask(format!("{line}\r\nHost: h\r\n\r\n")).answer(OK);
        let exchange = script.only();
        assert_eq!(exchange.path.as_deref(), Some(path), "{line}");
        assert_eq!(exchange.host.as_deref(), Some(host), "{line}");
    }
}

/// RFC 9112, section 5.2: folded field values, which some servers still send.
#[test]
fn section_5_2_obsolete_folding() {
    let mut script = Script::server();
    script
        .ask("GET /a HTTP/1.1\r\nX-Long: one\r\n two\r\nHost: h\r\n\r\n")
        .answer("HTTP/1.1 200 OK\r\nX-Long: one\r\n\ttwo\r\nContent-Length: 2\r\n\r\nhi");
    script.ask(GET).answer(OK);
    assert_eq!(script.results(), [("/a", Some(200)), ("/a", Some(200))]);
    assert_eq!(script.exchanges()[0].host.as_deref(), Some("h"));
}

/// RFC 9112, section 6.3, item 1: no content whatever the fields say.
#[test]
fn section_6_3_responses_without_content() {
    let mut script = Script::server();
    script
        .ask("HEAD /head HTTP/1.1\r\n\r\n")
        .answer("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        .ask(GET)
        .answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n")
        .ask(GET)
        .answer("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n")
        .ask(GET)
        .answer(OK);
    let results = [
        ("/head", Some(200)),
        ("/a", Some(304)),
        ("/a", Some(204)),
        ("/a", Some(200)),
    ];
    assert_eq!(script.results(), results);
}

/// RFC 9112, sections 6.3, items 3 and 4, and 7: chunked both ways; it overrules a length.
#[test]
fn section_7_chunked_both_ways() {
    let mut script = Script::server();
    script
        .ask("POST /up HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n")
        .ask("5\r\nhello\r\n")
        .ask("0\r\n\r\n")
        .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nabcd\r\n")
        .answer("0\r\nTrailer: t\r\n\r\n")
        .ask(GET)
        .answer(OK);
    let exchanges = script.exchanges();
    assert_eq!(script.results(), [("/up", Some(200)), ("/a", Some(200))]);
    assert_eq!(
        (exchanges[0].request_bytes, exchanges[0].response_bytes),
        (Some(5), Some(4))
    );
}

/// RFC 9112, section 6.3, items 4 and 5: contradictory lengths make the framing unknown, equal
/// ones do not.
#[test]
fn section_6_3_contradictory_lengths() {
    let mut script = Script::server();
    script
        .ask(GET)
        .answer("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nhi");
    script
        .ask(GET)
        .answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi");
    script.ask(GET).answer(OK);
    let ends: Vec<_> = script
        .exchanges()
        .iter()
        .map(|exchange| exchange.end)
        .collect();
    assert_eq!(ends, [End::Exact, End::Inferred, End::Exact]);
    assert_eq!(script.results(), [("/a", Some(200)); 3]);

    let mut script = Script::server();
    script.ask("POST /a HTTP/1.1\r\nContent-Length: x\r\n\r\nGET /fake HTTP/1.1\r\n\r\n");
    script
        .answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        .close();
    assert_eq!(script.results(), [("/a", Some(400))]);
}

/// RFC 9112, section 6.3, item 8, and HTTP/1.0: content up to the connection's end.
#[test]
fn section_6_3_content_until_close() {
    let mut script = Script::server();
    script
        .ask("GET /old HTTP/1.0\r\n\r\n")
        .answer("HTTP/1.0 200 OK\r\n\r\nsome")
        .answer("HTTP/1.1 500 not a response but content\r\n\r\n")
        .close();
    let exchange = script.only();
    assert_eq!(
        (exchange.status, exchange.version),
        (Some(200), Version::Http10)
    );
    assert_eq!(exchange.response_bytes, Some(4 + 43));
    assert!(!exchange.aborted);
    assert_eq!(exchange.end, End::Exact);
}

/// RFC 9112, section 9.3.2: pipelined responses are paired in order.
#[test]
fn section_9_3_2_pipelining() {
    let mut script = Script::server();
    script.ask(
        "GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiHEAD /3 HTTP/1.1\r\n\r\nGET /4 HT",
    );
    assert_eq!(script.connection.in_flight(), 3);
    script.ask("TP/1.1\r\n\r\n");
    assert_eq!(script.connection.in_flight(), 4);
    script.answer(
        "HTTP/1.1 201 \r\nContent-Length: 1\r\n\r\nxHTTP/1.1 202 \r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\
         HTTP/1.1 203 \r\nContent-Length: 9\r\n\r\nHTTP/1.1 20",
    );
    script.answer("6 \r\nContent-Length: 0\r\n\r\n");
    let results = [
        ("/1", Some(201)),
        ("/2", Some(202)),
        ("/3", Some(203)),
        ("/4", Some(206)),
    ];
    assert_eq!(script.results(), results);
    assert_eq!(script.connection.in_flight(), 0);
}

/// RFC 9110, section 15.2: interim responses are not the answer.
#[test]
fn section_15_2_interim_responses() {
    let mut script = Script::server();
    script
        .ask("PUT /up HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .answer("HTTP/1.1 100 Continue\r\n\r\n")
        .ask("hi")
        .answer("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let exchange = script.only();
    assert_eq!(exchange.status, Some(200));
    assert_eq!(exchange.request_bytes, Some(2));
    assert_eq!(script.stats().interim_responses, 2);
}

/// RFC 9110, section 10.1.1: refused in advance, the content may not come.
#[test]
fn section_10_1_1_refused_expectation() {
    let put = "PUT /up HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n";
    let refusal = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    let mut script = Script::server();
    script.ask(put).answer(refusal).ask(GET).answer(OK);
    assert_eq!(script.results(), [("/up", Some(417)), ("/a", Some(200))]);
    assert_eq!(script.exchanges()[0].request_bytes, None);

    let mut script = Script::server();
    script
        .ask(put)
        .answer(refusal)
        .ask("01234567890123456789")
        .ask(GET)
        .answer(OK);
    assert_eq!(script.results(), [("/up", Some(417)), ("/a", Some(200))]);
}

/// RFC 9112, section 9.3 and RFC 9110, section 10.1.1: the answer may come before the question is complete.
#[test]
fn early_responses() {
    let mut script = Script::server();
    script
        .ask("POST /up HTTP/1.1\r\nContent-Length: 10\r\n\r\n01234")
        .answer("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        .ask("56789")
        .ask(GET)
        .answer(OK);
    assert_eq!(script.results(), [("/up", Some(413)), ("/a", Some(200))]);
    assert_eq!(script.exchanges()[0].request_complete_ns, None);

    // A head that is too large for the server is answered before it ends.
    let mut script = Script::server();
    script.ask("GET /a HTTP/1.1\r\nCookie: aaaa").answer(
        "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    script.close();
    assert_eq!(script.results(), [("/a", Some(431))]);
}

/// RFC 9110, section 7.8, and RFC 6455: 101 ends HTTP.
#[test]
fn section_7_8_upgrade() {
    let ask = "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut script = Script::server();
    script
        .ask(ask)
        .answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n\x01\x02")
        .ask("GET /not/a/request HTTP/1.1\r\n\r\n")
        .answer(OK)
        .close();
    assert_eq!(script.only().upgrade, Some(Upgrade::WebSocket));
    assert_eq!(script.only().status, Some(101));
    assert_eq!(
        script.out.events.last(),
        Some(&Event::Opaque(Upgrade::WebSocket))
    );
    assert_eq!(script.stats().upgrades, 1);

    // A server may ignore the wish.
    let mut script = Script::server();
    script.ask(ask).answer(OK).ask(GET).answer(OK);
    assert_eq!(script.results(), [("/ws", Some(200)), ("/a", Some(200))]);
    assert_eq!(script.state(), State::Decoding);
}

/// RFC 9110, section 9.3.6: a successful CONNECT is a tunnel, a refused one is not.
#[test]
fn section_9_3_6_connect() {
    let ask = "CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\n\r\n";
    let mut script = Script::server();
    script
        .ask(ask)
        .answer("HTTP/1.1 200 Connection established\r\n\r\n")
        .ask(GET);
    assert_eq!(script.only().upgrade, Some(Upgrade::Tunnel));
    assert_eq!(script.only().host.as_deref(), Some("db.example:5432"));
    assert_eq!(script.only().path.as_deref(), Some(""));
    assert_eq!(script.state(), State::Opaque);

    let mut script = Script::server();
    script
        .ask(ask)
        .answer("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    script.ask(GET).answer(OK);
    assert_eq!(script.results(), [("", Some(407)), ("/a", Some(200))]);
}

/// RFC 9113, section 3.4: HTTP/2 is told once and left alone.
#[test]
fn http2_is_not_http1() {
    let mut script = Script::server();
    script
        .ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .answer("\0\0\0\x04\0\0\0\0\0");
    script.ask(GET).answer(OK).close();
    assert_eq!(script.out.events, [Event::NotHttp1(Protocol::Http2Preface)]);
    assert_eq!(
        (script.state(), script.stats().not_http1),
        (State::Closed, 1)
    );
}

/// RFC 9112, section 9.5: what closes early was aborted.
#[test]
fn section_9_5_disconnects() {
    // The client left before the answer.
    let mut script = Script::server();
    script.ask(GET).close();
    assert!(script.only().aborted);
    assert_eq!(
        (script.only().status, script.only().finished_ns),
        (None, script.now_ns)
    );
    // While it was sent.
    let mut script = Script::server();
    script
        .ask(GET)
        .answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi")
        .close();
    assert!(script.only().aborted);
    assert_eq!(script.only().status, Some(200));
    // Before the question was complete.
    let mut script = Script::server();
    script
        .ask("POST /up HTTP/1.1\r\nContent-Length: 9\r\n\r\nhi")
        .close();
    assert!(script.only().aborted);
    assert_eq!(script.only().request_bytes, None);
    // In the middle of a head there is no request yet.
    let mut script = Script::server();
    script.ask("GET /a HTTP/1.1\r\nHo").close();
    assert_eq!(
        (
            script.exchanges().len(),
            script.stats().request_heads_unfinished
        ),
        (0, 1)
    );
    // An idle connection is none of these.
    let mut script = Script::server();
    script.ask(GET).answer(OK).close();
    assert!(!script.only().aborted);
}

#[test]
fn what_the_server_refuses_as_malformed_still_counts() {
    let mut script = Script::server();
    script.ask("GET /a HTTP/1.1\r\nBad\x01Name\x02: x\r\n\0\r\n\r\n");
    script
        .answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        .close();
    assert_eq!(script.results(), [("/a", Some(400))]);
}

/// W3C Trace Context, section 3.2: of several `traceparent` fields none is valid.
#[test]
fn contradictory_trace_contexts_are_none() {
    let field = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    for (count, known) in [(1, true), (2, false)] {
        let mut script = Script::server();
        script
            .ask(format!("GET /a HTTP/1.1\r\n{}\r\n", field.repeat(count)))
            .answer(OK);
        assert_eq!(script.only().trace.is_some(), known);
    }
}

#[test]
fn an_open_connection_is_picked_up_at_a_request() {
    let mut script = Script::server();
    script
        .ask("the end of some upload")
        .answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlost")
        .ask(GET)
        .answer(OK);
    assert_eq!(script.results(), [("/a", Some(200))]);
    assert_eq!(script.stats().responses_without_request, 1);
    assert_eq!(script.stats().synchronised, 2);
}

#[test]
fn limits_hold_and_are_counted() {
    let limits = Limits {
        head_bytes: 512,
        pipeline_depth: 4,
        target_bytes: 64,
        host_bytes: 8,
    };
    let mut script = Script::server();
    script.connection = Connection::new(Side::Server, limits);
    script
        .ask(format!(
            "GET /{} HTTP/1.1\r\nHost: a.long.host\r\n\r\n",
            "x".repeat(100)
        ))
        .answer(OK);
    assert_eq!(script.results(), [("?", Some(200))]);
    assert_eq!(
        (script.only().host.as_deref(), script.stats().targets_cut),
        (None, 1)
    );
    // A long head is cut, and the next request found again.
    script
        .ask(format!(
            "GET /long HTTP/1.1\r\nCookie: {}\r\n\r\n",
            "x".repeat(1000)
        ))
        .answer(OK);
    script.ask(GET).answer(OK);
    assert_eq!(
        script.results()[1..],
        [("/long", Some(200)), ("/a", Some(200))]
    );
    assert_eq!(script.stats().heads_cut, 1);
    // A client that never reads its answers.
    script.ask(GET.repeat(100));
    assert_eq!(script.stats().pipelines_too_deep, 1);
    assert_eq!(script.exchanges().len(), 103);
    assert_eq!(script.state(), State::Unpaired);
    assert!(
        script.connection.heap_bytes() <= 2048,
        "{}",
        script.connection.heap_bytes()
    );
}
