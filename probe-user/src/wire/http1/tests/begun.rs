//! Who works for a request must know it while it is in flight, not only when it is over.

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// `+1` for the beginning of request 1, `-1` for its end, in order.
fn life(events: &[Event]) -> Vec<i64> {
    let number = |serial: u64| i64::try_from(serial).unwrap();
    events
        .iter()
        .filter_map(|event| match event {
            Event::Begun(begun) => Some(number(begun.serial)),
            Event::Exchange(exchange) => Some(-number(exchange.serial)),
            _ => None,
        })
        .collect()
}

/// Each request begins once, in order, and ends once, afterwards and in order; all have ended.
pub(super) fn begins_and_ends_once(events: &[Event]) -> Result<(), String> {
    let (mut begun, mut ended) = (0, 0);
    for step in life(events) {
        let expected = if step > 0 { begun + 1 } else { ended + 1 };
        if step.abs() != expected || (step < 0 && ended == begun) {
            return Err(format!("{step} after {begun} beginnings and {ended} ends"));
        }
        if step > 0 {
            begun += 1;
        } else {
            ended += 1;
        }
    }
    if begun == ended {
        Ok(())
    } else {
        Err(format!("{begun} beginnings, {ended} ends"))
    }
}

#[test]
fn a_request_begins_when_its_head_is_complete() {
    let mut script = Script::server();
    script.ask("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n");
    assert!(life(&script.out.events).is_empty());
    script.ask("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\nbo");
    assert_eq!(life(&script.out.events), [1]);
    let Some(Event::Begun(begun)) = script.out.events.first().cloned() else {
        panic!("{:?}", script.out.events);
    };
    assert_eq!(begun.method, Method::Post);
    assert!(begun.trace.is_some());
    // The rest of the content and the answer do not begin it again.
    script.ask("dy").answer(OK);
    assert_eq!(life(&script.out.events), [1, -1]);
    assert_eq!(script.only().started_ns, begun.started_ns);
}

#[test]
fn pipelined_requests_are_in_flight_together() {
    let mut script = Script::server();
    script.ask(get("/a") + &get("/b") + &get("/c"));
    assert_eq!(life(&script.out.events), [1, 2, 3]);
    script.answer(OK).answer(OK.to_owned() + OK);
    assert_eq!(life(&script.out.events), [1, 2, 3, -1, -2, -3]);
}

#[test]
fn a_request_on_the_same_connection_begins_after_the_one_before_ended() {
    let mut script = Script::server();
    // The answer's end is hidden: only the next request proves that it is over.
    script.ask(get("/a")).lost(ANSWER).ask(get("/b")).answer(OK);
    assert_eq!(life(&script.out.events), [1, -1, 2, -2]);
}

#[test]
fn what_is_in_flight_ends_with_the_connection() {
    let mut script = Script::server();
    script.ask(get("/a")).close();
    assert_eq!(life(&script.out.events), [1, -1]);
    assert!(script.only().aborted);
}

/// A connection whose answers can't be paired any more tells each request at once.
#[test]
fn an_unpaired_connection_still_tells_both() {
    let mut script = Script::server();
    script
        .ask(get("/a") + &get("/b"))
        .answer(OK)
        .lost(ASK)
        .ask(get("/c"));
    assert_eq!(script.state(), State::Unpaired);
    assert_eq!(life(&script.out.events), [1, 2, -1, -2, 3, -3]);
    script.close();
    assert_eq!(begins_and_ends_once(&script.out.events), Ok(()));
}

#[test]
fn an_upgrade_ends_the_request_that_asked_for_it() {
    let mut script = Script::server();
    script
        .ask("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .answer(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
    assert_eq!(life(&script.out.events), [1, -1]);
}
