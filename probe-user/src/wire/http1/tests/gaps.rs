//! Bytes that are not at hand: what is known is reported, what is not is unknown, and the
//! connection is found again.

use super::*;
use crate::wire::http1::End;

const GET: &str = "GET /b HTTP/1.1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

fn ends(script: &Script) -> Vec<End> {
    script
        .exchanges()
        .iter()
        .map(|exchange| exchange.end)
        .collect()
}

#[test]
fn content_is_skipped_by_its_length() {
    let body = "x".repeat(100_000);
    let mut script = Script::server();
    script
        .cut(
            ASK,
            format!("POST /a HTTP/1.1\r\nContent-Length: 100000\r\n\r\n{body}"),
            64,
            16,
        )
        .cut(
            ANSWER,
            format!("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n{body}"),
            64,
            16,
        )
        .cut(ANSWER, &body, 16, 16)
        .ask(GET)
        .answer(OK);
    assert_eq!(script.results(), [("/a", Some(200)), ("/b", Some(200))]);
    assert_eq!(ends(&script), [End::Exact, End::Exact]);
    assert_eq!(script.exchanges()[0].response_bytes, Some(200_000));
    assert_eq!(script.stats().desynchronised, 0);
}

#[test]
fn chunk_sizes_are_followed() {
    let mut script = Script::server();
    script
        .ask(GET)
        .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .cut(
            ANSWER,
            format!("186a0\r\n{}\r\n", "x".repeat(100_000)),
            64,
            16,
        )
        .cut(
            ANSWER,
            format!("3e8\r\n{}\r\n0\r\n\r\n", "x".repeat(1000)),
            64,
            16,
        );
    assert_eq!(ends(&script), [End::Exact]);
    assert_eq!(script.only().response_bytes, Some(101_000));
}

#[test]
fn several_chunks_in_a_gap_end_at_the_terminator() {
    let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut script = Script::new(Side::Client);
    script
        .ask(GET)
        .cut(ANSWER, format!("{head}{}", chunk.repeat(10)), 64, 16);
    // Over, as far as anyone can tell; until then it is not certain that it still runs.
    assert_eq!(script.connection.in_flight(), 0);
    script.answer("0\r\n\r\n");
    assert_eq!(
        (script.only().status, script.only().end),
        (Some(200), End::Inferred)
    );
    assert_eq!(
        (script.only().finished_ns, script.only().response_bytes),
        (1210, None)
    );
    script.ask(GET).answer(OK);
    assert_eq!(script.results(), [("/b", Some(200)); 2]);
    assert_eq!(ends(&script), [End::Inferred, End::Exact]);
}

#[test]
fn a_request_head_that_is_cut_says_method_and_path() {
    let cookie = "c".repeat(500);
    let request =
        format!("GET /a?q=1 HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\nX-Real-IP: 1.2.3.4\r\n\r\n");
    let mut script = Script::server();
    for _ in 0..3 {
        script.cut(ASK, &request, 128, 32).answer(OK);
    }
    assert_eq!(script.results(), [("/a", Some(200)); 3]);
    assert_eq!(ends(&script), [End::Exact; 3]);
    let first = script.exchanges()[0];
    assert_eq!(first.host.as_deref(), Some("h"));
    // What is in the gap is unknown, also what could be read behind it.
    assert_eq!(
        (first.request_bytes, first.request_complete_ns),
        (None, None)
    );
    assert_eq!(first.forwarded_for, None);
    assert_eq!(script.stats().heads_cut, 3);
}

#[test]
fn a_target_that_is_cut_is_known_up_to_its_query() {
    let mut script = Script::server();
    let query = "q".repeat(500);
    script.ask(GET).answer(OK);
    script
        .cut(ASK, format!("GET /search?{query} HTTP/1.1\r\n\r\n"), 64, 0)
        .answer(OK);
    // Where the place was lost, only a whole line brings it back.
    script
        .cut(ASK, format!("GET /search/{query} HTTP/1.1\r\n\r\n"), 64, 0)
        .answer(OK);
    script.ask(GET).answer(OK);
    assert_eq!(
        script.results(),
        [("/b", Some(200)), ("/search", Some(200)), ("/b", Some(200))]
    );
    assert_eq!(script.stats().responses_without_request, 1);
}

#[test]
fn content_that_looks_like_a_request_is_none() {
    let mut script = Script::server();
    // The head is cut, so that the content's length is not known.
    let head = format!(
        "POST /up HTTP/1.1\r\nCookie: {}\r\nContent-Length: 60\r\n\r\n",
        "c".repeat(500)
    );
    script
        .cut(ASK, head, 64, 0)
        .ask("GET /fake HTTP/1.1\r\n\r\n")
        .ask("GET /fake HTTP/1.1\r\n\r\n");
    script.answer(OK).ask(GET).answer(OK);
    assert_eq!(script.results(), [("/up", Some(200)), ("/b", Some(200))]);
    assert_eq!(script.stats().segments_skipped, 2);
}

#[test]
fn a_response_head_that_is_cut_says_status_and_perhaps_its_end() {
    let long = format!("Set-Cookie: {}\r\n", "c".repeat(500));
    let sized = format!("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n{long}\r\nhi");
    let mut script = Script::server();
    script.ask(GET).cut(ANSWER, &sized, 64, 16);
    assert_eq!(
        (script.only().status, script.only().end),
        (Some(201), End::Exact)
    );
    assert_eq!(script.only().response_bytes, Some(2));
    // The length is in the gap: the next request says that it is over.
    let unsized_head = format!("HTTP/1.1 202 Accepted\r\n{long}Content-Length: 2\r\n\r\nhi");
    script.ask(GET).cut(ANSWER, &unsized_head, 64, 16);
    assert_eq!(
        (script.exchanges().len(), script.connection.in_flight()),
        (1, 0)
    );
    script.ask(GET).answer(OK);
    assert_eq!(
        script.results(),
        [("/b", Some(201)), ("/b", Some(202)), ("/b", Some(200))]
    );
    assert_eq!(ends(&script), [End::Exact, End::Inferred, End::Exact]);
    // Or the connection's end.
    script.ask(GET).cut(ANSWER, &unsized_head, 64, 16).close();
    assert_eq!(script.results()[3], ("/b", Some(202)));
    assert!(!script.exchanges()[3].aborted);
}

#[test]
fn a_lost_response_is_unknown_and_the_next_one_is_not_taken_for_it() {
    let mut script = Script::server();
    script.ask("GET /a HTTP/1.1\r\n\r\n").lost(ANSWER);
    // Content of the lost response that looks like another one.
    script.answer("HTTP/1.1 500 Not A Response\r\n\r\n");
    script.ask(GET).answer(OK);
    assert_eq!(script.results(), [("/a", None), ("/b", Some(200))]);
    assert_eq!(ends(&script), [End::Unknown, End::Exact]);
    assert_eq!(script.stats().status_unknown, 1);
}

#[test]
fn lost_content_keeps_the_status() {
    let mut script = Script::server();
    script
        .ask("GET /a HTTP/1.1\r\n\r\n")
        .answer("HTTP/1.1 206 \r\nContent-Length: 9\r\n\r\nabc");
    script.lost(ANSWER).ask(GET).answer(OK);
    assert_eq!(script.results(), [("/a", Some(206)), ("/b", Some(200))]);
    assert_eq!(ends(&script), [End::Inferred, End::Exact]);
    // Content up to the close has no other end, whatever is lost of it.
    script
        .ask(GET)
        .answer("HTTP/1.1 200 OK\r\n\r\nabc")
        .lost(ANSWER)
        .answer("def")
        .close();
    let last = *script.exchanges().last().unwrap();
    assert_eq!(
        (last.status, last.end, last.response_bytes),
        (Some(200), End::Exact, None)
    );
}

#[test]
fn a_lost_request_leaves_its_response_alone() {
    let mut script = Script::server();
    script.ask(GET).answer(OK).lost(ASK);
    script.answer("HTTP/1.1 500 Of The Lost One\r\nContent-Length: 0\r\n\r\n");
    script.ask(GET).answer(OK);
    assert_eq!(script.results(), [("/b", Some(200)); 2]);
    assert_eq!(script.stats().responses_without_request, 1);
    // Of a request whose content was lost, all else is known.
    script
        .ask("POST /c HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
        .lost(ASK)
        .answer(OK);
    script.ask(GET).answer(OK);
    assert_eq!(
        script.results()[2..],
        [("/c", Some(200)), ("/b", Some(200))]
    );
}

#[test]
fn a_pipelining_client_is_not_paired_after_a_loss() {
    let mut script = Script::server();
    script.ask("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n");
    script
        .answer("HTTP/1.1 201 \r\nContent-Length: 0\r\n\r\n")
        .lost(ANSWER);
    script.answer("HTTP/1.1 203 \r\nContent-Length: 0\r\n\r\n");
    script
        .ask("GET /4 HTTP/1.1\r\n\r\n")
        .answer("HTTP/1.1 204 \r\n\r\n")
        .close();
    assert_eq!(
        script.results(),
        [("/1", Some(201)), ("/2", None), ("/3", None), ("/4", None)]
    );
    assert_eq!(script.stats().unpaired_connections, 1);
}

#[test]
fn a_request_hidden_behind_another_is_not_forgotten() {
    let mut script = Script::server();
    let content = "x".repeat(200);
    let hidden = "GET /hidden HTTP/1.1\r\n\r\n".repeat(20);
    let post = format!("POST /a HTTP/1.1\r\nContent-Length: 200\r\n\r\n{content}{hidden}");
    script
        .cut(ASK, post, 64, 16)
        .ask(GET)
        .answer("HTTP/1.1 404 Of A\r\nContent-Length: 0\r\n\r\n");
    script
        .answer("HTTP/1.1 405 Of The Hidden One\r\nContent-Length: 0\r\n\r\n")
        .close();
    assert_eq!(script.results(), [("/a", None), ("/b", None)]);
    assert_eq!(script.stats().unpaired_connections, 1);
}

#[test]
fn what_a_response_hides_makes_the_next_ones_doubtful() {
    let hiding = format!(
        "{}HTTP/1.1 500 Hidden\r\nContent-Length: 9\r\n\r\n",
        "x".repeat(100)
    );
    let mut script = Script::server();
    script
        .ask(GET)
        .answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    script
        .ask("GET /c HTTP/1.1\r\n\r\n")
        .cut(ANSWER, hiding, 8, 8);
    // Content of the hidden response.
    script.answer("HTTP/1.1 599 \r\n\r\n").close();
    assert_eq!(script.results(), [("/b", Some(200)), ("/c", None)]);
}

#[test]
fn an_answer_that_begins_within_other_bytes_is_not_replaced_by_a_later_one() {
    let mut script = Script::server();
    script.ask(GET).ask("GET /c HTTP/1.1\r\n\r\n");
    // The first of the two answers follows the end of one whose request was not seen.
    script.answer("rest of it HTTP/1.1 201 \r\nContent-Length: 0\r\n\r\n");
    script
        .answer("HTTP/1.1 202 \r\nContent-Length: 0\r\n\r\n")
        .close();
    assert_eq!(script.results(), [("/b", None), ("/c", None)]);
}

#[test]
fn a_terminator_ends_nothing_while_others_wait() {
    let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
    let mut script = Script::server();
    script.ask(GET.repeat(2));
    let head = "HTTP/1.1 201 \r\nTransfer-Encoding: chunked\r\n\r\n";
    script
        .cut(ANSWER, format!("{head}{}", chunk.repeat(9)), 64, 16)
        .answer("0\r\n\r\n");
    assert!(script.exchanges().is_empty());
    script.close();
    assert_eq!(script.results(), [("/b", Some(201)), ("/b", None)]);
}

#[test]
fn a_cut_head_ends_only_at_an_empty_line() {
    let long = format!("Set-Cookie: {}\r\n", "c".repeat(500));
    let head = format!("HTTP/1.1 201 Created\r\nContent-Length: 20\r\n{long}\r\n0123456789");
    let mut script = Script::server();
    script.ask(GET).cut(ANSWER, head, 64, 26);
    assert!(script.exchanges().is_empty());
    script.answer("0123456789").ask(GET).answer(OK);
    assert_eq!(script.results(), [("/b", Some(201)), ("/b", Some(200))]);
}

#[test]
fn a_client_that_pipelined_may_do_so_again() {
    let mut script = Script::server();
    script.ask(GET.repeat(2)).answer(OK.repeat(2));
    script.ask("GET /3 HTTP/1.1\r\n\r\n").lost(ANSWER);
    // Whose answer this is cannot be known: both may have been waiting.
    script
        .ask("GET /4 HTTP/1.1\r\n\r\n")
        .answer("HTTP/1.1 203 \r\nContent-Length: 0\r\n\r\n");
    script.close();
    assert_eq!(script.results()[2..], [("/3", None), ("/4", None)]);
}

#[test]
fn a_terminator_is_only_looked_for_in_chunked_content() {
    let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut script = Script::server();
    script.ask(GET).cut(
        ANSWER,
        format!("{head}{}0\r\n\r\n", chunk.repeat(9)),
        64,
        16,
    );
    assert_eq!(script.exchanges().len(), 1);
    script
        .ask(GET)
        .answer("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        .lost(ANSWER);
    script.answer("\r\n0\r\n\r\n");
    assert_eq!(script.exchanges().len(), 1);
}
