//! Which of a call's two times counts, for either end, and in which order calls may be reported.

use super::*;
use crate::wire::http1::End;

const GET: &str = "GET /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n";
const ANSWER_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";

fn times(side: Side) -> (u64, Option<u64>, Option<u64>, u64) {
    let mut script = Script::new(side);
    // Calls at 1000, 1100, 1200 and 1300 ns, 10 ns each.
    script.ask(GET).ask("hi").answer(ANSWER_HEAD).answer("hi");
    let exchange = script.only();
    let (complete, first) = (exchange.request_complete_ns, exchange.first_byte_ns);
    (exchange.started_ns, complete, first, exchange.finished_ns)
}

#[test]
fn a_server_is_not_charged_for_waiting_in_read() {
    assert_eq!(times(Side::Server), (1010, Some(1110), Some(1200), 1310));
}

#[test]
fn a_client_waits_from_its_write_to_its_read() {
    assert_eq!(times(Side::Client), (1000, Some(1110), Some(1210), 1310));
}

#[test]
fn in_flight_is_what_waits_or_runs() {
    let mut script = Script::server();
    assert_eq!(script.ask(GET).connection.in_flight(), 1);
    assert_eq!(
        script.ask("hi").answer(ANSWER_HEAD).connection.in_flight(),
        1
    );
    assert_eq!(script.answer("hi").connection.in_flight(), 0);
}

/// Two threads of a client: the read of the answer is reported before the write of the question.
#[test]
fn an_answer_may_be_reported_before_its_question() {
    let call = |start_ns, end_ns, bytes: &'static str| Segment {
        start_ns,
        end_ns,
        len: bytes.len() as u64,
        head: bytes.as_bytes(),
        tail: &[],
    };
    let ask = "GET /a HTTP/1.1\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let mut connection = Connection::new(Side::Client, Limits::default());
    let mut out = Output::default();
    let ended = |out: &Output| out.events.iter().filter_map(exchange).count();
    connection.feed(ASK, &call(100, 110, ask), &mut out);
    connection.feed(ANSWER, &call(90, 150, answer), &mut out);
    // The write begins at 200 and is preempted until 400; the read has returned at 300.
    connection.feed(ANSWER, &call(160, 300, answer), &mut out);
    assert_eq!(ended(&out), 1);
    connection.feed(ASK, &call(200, 400, ask), &mut out);
    assert_eq!(ended(&out), 2);
    let Some(Event::Exchange(second)) = out.events.last() else {
        panic!("{out:?}")
    };
    assert_eq!(
        (second.status, second.started_ns, second.finished_ns),
        (Some(200), 200, 300)
    );
    assert_eq!(second.end, End::Exact);
    // An answer without a question, and then another question, are not a pair.
    connection.feed(ANSWER, &call(410, 500, answer), &mut out);
    connection.feed(ASK, &call(600, 610, ask), &mut out);
    assert_eq!((ended(&out), connection.in_flight()), (2, 1));
    assert_eq!(out.stats.responses_without_request, 1);
    connection.feed(ANSWER, &call(620, 630, answer), &mut out);
    assert_eq!(ended(&out), 3);
}
