//! From records of a client's calls to calls of models. What a user would lose: tokens, the route, or the
//! knowledge that something is missing.

use probe_common::payload::{PayloadHeader, PayloadKind, Role, StreamClass};

use super::*;
use crate::traffic::{Limits, Report, Traffic};

const MS: u64 = 1_000_000;
const HOST: &str = "generativelanguage.googleapis.com";

/// A traced service with its connections, and the clock of its one thread.
struct Talk {
    traffic: Traffic,
    now_ns: u64,
    thread: u32,
    /// Sequence numbers by connection, of what was sent and received.
    sequences: FxHashMap<u64, [u32; 2]>,
}

/// A connection of which the service is this end.
#[derive(Clone, Copy)]
struct Connection {
    stream: u64,
    role: Role,
    tls: u8,
}

const TO_MODELS: Connection = Connection {
    stream: 1,
    role: Role::Client,
    tls: 1,
};
const FROM_USERS: Connection = Connection {
    stream: 2,
    role: Role::Server,
    tls: 0,
};

impl Talk {
    fn new(readers: usize) -> Self {
        let models = ModelSettings {
            hosts: vec![HOST.to_owned()],
            feature_header: "x-hostprobe-feature".to_owned(),
            readers,
        };
        let limits = Limits {
            models: Some(models),
            ..Limits::default()
        };
        Self {
            traffic: Traffic::new(limits),
            now_ns: MS,
            thread: 70,
            sequences: FxHashMap::default(),
        }
    }

    fn record(&mut self, on: Connection, kind: PayloadKind, bytes: &[u8], looks: u8) {
        self.now_ns += MS;
        let sequences = self.sequences.entry(on.stream).or_default();
        let sequence = &mut sequences[usize::from(kind == PayloadKind::Sent)];
        let header = PayloadHeader {
            stream: on.stream,
            started_ns: self.now_ns,
            ended_ns: self.now_ns,
            bytes: bytes.len() as u64,
            tgid: 70,
            tid: self.thread,
            sequence: *sequence,
            service: 1,
            head_bytes: bytes.len().try_into().unwrap(),
            kind: kind as u8,
            class: StreamClass::Http1 as u8,
            role: on.role as u8,
            transport: 1,
            tls: on.tls,
            looks,
            ..PayloadHeader::default()
        };
        *sequence += 1;
        self.traffic.record(&crate::kernel::payload::PayloadRecord {
            header,
            head: bytes,
            tail: &[],
        });
    }

    fn send(&mut self, on: Connection, text: &str) {
        self.record(on, PayloadKind::Sent, text.as_bytes(), 0);
    }

    fn receive(&mut self, on: Connection, text: &str) {
        self.record(on, PayloadKind::Received, text.as_bytes(), 0);
    }

    /// A record that does not arrive.
    fn lose_received(&mut self, on: Connection) {
        self.sequences.entry(on.stream).or_default()[0] += 1;
    }

    fn lose_sent(&mut self, on: Connection) {
        self.sequences.entry(on.stream).or_default()[1] += 1;
    }

    fn ask(&mut self, more: &str) {
        self.send(
            TO_MODELS,
            &request("/v1beta/models/gemini-2.5-flash:generateContent", more),
        );
    }

    fn calls(&mut self) -> Vec<ModelCall> {
        self.traffic.take_model_calls()
    }

    fn only(&mut self) -> ModelCall {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "{calls:#?}");
        calls.remove(0)
    }

    fn report(&mut self) -> Report {
        self.traffic.report(self.now_ns)
    }

    fn problem(&mut self, problem: CallProblem) -> u64 {
        self.report().call_problems[problem as usize]
    }
}

fn request(path: &str, more: &str) -> String {
    format!(
        "POST {path}?key=secret HTTP/1.1\r\nHost: {HOST}\r\n{more}Content-Length: 2\r\n\r\n{{}}"
    )
}

fn answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn usage(prompt: u64, output: u64) -> String {
    let total = prompt + output;
    format!(
        "{{\"responseId\":\"r\",\"usageMetadata\":{{\"promptTokenCount\":{prompt},\"candidatesTokenCount\":{output},\"totalTokenCount\":{total}}}}}"
    )
}

#[test]
fn a_call_has_its_model_tokens_feature_and_the_route_it_was_made_for() {
    let mut talk = Talk::new(8);
    talk.receive(FROM_USERS, "GET /summary HTTP/1.1\r\nHost: shop\r\n\r\n");
    talk.ask("X-Hostprobe-Feature: search\r\n");
    talk.receive(TO_MODELS, &answer(200, &usage(7, 5)));
    assert!(talk.calls().is_empty(), "its route is not known yet");
    talk.send(FROM_USERS, &answer(200, "ok"));
    let call = talk.only();
    assert_eq!(call.model.as_deref(), Some("gemini-2.5-flash"));
    assert_eq!(call.operation, Operation::GenerateContent);
    assert_eq!(call.feature.as_deref(), Some("search"));
    assert_eq!(call.outcome, Outcome::Ok);
    assert_eq!(call.response_id.as_deref(), Some("r"));
    let used = call.usage.unwrap();
    assert_eq!((used.prompt, used.output), (7, 5));
    let route = call.route.unwrap();
    assert_eq!((route.method, &*route.route), ("GET", "/summary"));
    assert_eq!(call.finished_ns - call.started_ns, MS);
    assert_eq!(talk.traffic.take_refused(), [0_u64; 0]);
}

/// A route that is only likely would be blamed for the cost of another.
#[test]
fn a_call_of_another_thread_or_of_no_request_has_no_route() {
    let mut talk = Talk::new(8);
    talk.ask("");
    talk.receive(TO_MODELS, &answer(200, &usage(1, 1)));
    assert_eq!(talk.only().route, None);
    talk.receive(FROM_USERS, "GET /summary HTTP/1.1\r\nHost: shop\r\n\r\n");
    talk.thread = 71;
    talk.ask("");
    talk.receive(TO_MODELS, &answer(200, &usage(1, 1)));
    let call = talk.only();
    assert_eq!((call.route, call.feature), (None, None));
}

/// The program's own word counts more than what its threads do.
#[test]
fn a_trace_tells_the_route_across_threads() {
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let mut talk = Talk::new(8);
    talk.receive(
        FROM_USERS,
        &format!("GET /summary HTTP/1.1\r\nHost: s\r\n{trace}\r\n"),
    );
    talk.thread = 71;
    talk.ask(trace);
    talk.receive(TO_MODELS, &answer(200, &usage(1, 1)));
    talk.thread = 70;
    talk.send(FROM_USERS, &answer(200, "ok"));
    assert_eq!(&*talk.only().route.unwrap().route, "/summary");
}

#[test]
fn a_stream_in_chunks_has_its_last_usage_and_the_time_to_its_first_piece() {
    let mut talk = Talk::new(8);
    let path = "/v1/models/gemini-3-pro:streamGenerateContent";
    talk.send(TO_MODELS, &request(path, ""));
    talk.receive(
        TO_MODELS,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for output in [1, 2, 3] {
        let event = format!("data: {}\r\n\r\n", usage(4, output));
        // In the midst of a chunk, too.
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        let (one, two) = chunk.split_at(20);
        talk.receive(TO_MODELS, one);
        talk.receive(TO_MODELS, two);
    }
    talk.receive(TO_MODELS, "0\r\n\r\n");
    let call = talk.only();
    assert_eq!(call.operation, Operation::Stream);
    assert_eq!(call.outcome, Outcome::Ok);
    let used = call.usage.unwrap();
    assert_eq!((used.prompt, used.output), (4, 3));
    assert_eq!(call.first_chunk_ns.unwrap() - call.started_ns, 2 * MS);
    assert_eq!(call.finished_ns - call.started_ns, 8 * MS);
}

#[test]
fn errors_have_their_status_and_the_name_that_the_api_gives_them() {
    let mut talk = Talk::new(8);
    let quota = "{\"error\":{\"code\":429,\"status\":\"RESOURCE_EXHAUSTED\",\"message\":\"m\"}}";
    for (status, body, code) in [
        (
            429,
            quota,
            Some(crate::gemini::ErrorCode::ResourceExhausted),
        ),
        (502, "<html>", None),
    ] {
        talk.ask("");
        talk.receive(TO_MODELS, &answer(status, body));
        assert_eq!(talk.only().outcome, Outcome::Error { status, code });
    }
    assert_eq!(talk.report().call_problems, CallProblems::default());
}

/// A number that is wrong is worse than none.
#[test]
fn what_was_lost_makes_a_call_incomplete_and_is_counted() {
    let mut talk = Talk::new(8);
    let body = usage(900, 800);
    let (one, rest) = body.split_at(30);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{one}",
        body.len()
    );
    talk.ask("");
    talk.receive(TO_MODELS, &head);
    talk.lose_received(TO_MODELS);
    talk.receive(TO_MODELS, &rest[20..]);
    // The next call proves that this one is over.
    talk.ask("");
    let call = talk.only();
    assert_eq!((call.outcome, call.usage), (Outcome::Incomplete, None));
    assert_eq!(talk.problem(CallProblem::BytesMissing), 1);
    // And is itself whole.
    talk.receive(TO_MODELS, &answer(200, &usage(2, 1)));
    assert_eq!(talk.only().usage.map(|used| used.prompt), Some(2));
}

#[test]
fn an_answer_that_breaks_off_and_one_whose_process_ends_are_incomplete() {
    let mut talk = Talk::new(8);
    talk.ask("");
    talk.receive(TO_MODELS, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{");
    talk.record(TO_MODELS, PayloadKind::Closed, b"", 0);
    assert_eq!(talk.only().outcome, Outcome::Incomplete);
    assert_eq!(talk.problem(CallProblem::BrokenOff), 1);
    let again = Connection {
        stream: 3,
        ..TO_MODELS
    };
    talk.send(again, &request("/v1beta/interactions", ""));
    let now_ns = talk.now_ns;
    talk.traffic.exited(&[70].into(), now_ns);
    let call = talk.only();
    assert_eq!((call.model, call.outcome), (None, Outcome::Incomplete));
    assert_eq!(talk.problem(CallProblem::EndNotSeen), 1);
    // And one that is under way when the probe ends.
    talk.send(again, &request("/v1beta/interactions", ""));
    talk.traffic.finish();
    assert_eq!(talk.calls().len(), 1);
    assert_eq!(talk.problem(CallProblem::EndNotSeen), 2);
}

/// Who starts the probe while a long answer comes must learn that this one was not counted.
#[test]
fn an_answer_that_had_begun_before_is_counted_once_its_connection_is_known() {
    let mut talk = Talk::new(8);
    let asked = request("/v1beta/models/m:generateContent", "");
    talk.record(TO_MODELS, PayloadKind::Sent, asked.as_bytes(), 3);
    assert_eq!(talk.problem(CallProblem::RequestNotSeen), 1);
    talk.receive(TO_MODELS, &answer(200, &usage(1, 1)));
    let other = Connection {
        stream: 4,
        ..TO_MODELS
    };
    talk.receive(other, &answer(200, &usage(1, 1)));
    assert_eq!(talk.problem(CallProblem::RequestNotSeen), 1);
    talk.send(other, &asked);
    assert_eq!(talk.problem(CallProblem::RequestNotSeen), 2);
    talk.receive(other, &answer(200, &usage(1, 1)));
    assert_eq!(talk.calls().len(), 2);
}

/// With a small `kernel.payload_head_bytes` nothing can be recognised, which has to show.
#[test]
fn a_request_whose_host_was_not_copied_is_counted() {
    let mut talk = Talk::new(8);
    talk.send(
        TO_MODELS,
        "POST /v1beta/models/m:generateContent HTTP/1.1\r\nHo",
    );
    talk.lose_sent(TO_MODELS);
    talk.send(TO_MODELS, "more");
    assert_eq!(talk.problem(CallProblem::RequestNotSeen), 1);
    assert!(talk.calls().is_empty());
}

#[test]
fn memory_is_bounded_by_the_number_of_answers_that_are_read() {
    let mut talk = Talk::new(1);
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{";
    for stream in [10, 11] {
        let on = Connection {
            stream,
            ..TO_MODELS
        };
        talk.send(on, &request("/v1beta/models/m:generateContent", ""));
        talk.receive(on, begun);
    }
    assert_eq!(talk.problem(CallProblem::TooManyAtOnce), 1);
    talk.traffic.finish();
    assert_eq!(talk.calls().len(), 2);
    // The room is there again.
    talk.ask("");
    talk.receive(TO_MODELS, &answer(200, &usage(1, 1)));
    assert_eq!(talk.only().outcome, Outcome::Ok);
}

/// Somebody else's models have paths that look alike: their connections must cost no more than others.
#[test]
fn a_connection_to_another_host_is_given_back_to_the_kernel_side_once() {
    let mut talk = Talk::new(8);
    let asked = "POST /models/llama:chat HTTP/1.1\r\nHost: llm.example.org\r\n\r\n";
    talk.send(TO_MODELS, asked);
    talk.receive(TO_MODELS, &answer(200, "{}"));
    assert_eq!(talk.traffic.take_refused(), [TO_MODELS.stream]);
    assert!(talk.calls().is_empty());
    // A connection that was never taken for one is left alone.
    let other = Connection {
        stream: 5,
        ..TO_MODELS
    };
    talk.send(
        other,
        "POST /orders HTTP/1.1\r\nHost: shop.example.org\r\n\r\n",
    );
    assert!(talk.traffic.take_refused().is_empty());
}

/// Without TLS it is a proxy or a test, and whoever talks to the API itself is seen there.
#[test]
fn calls_in_the_clear_and_of_servers_are_none() {
    let mut talk = Talk::new(8);
    let clear = Connection {
        tls: 0,
        ..TO_MODELS
    };
    talk.send(clear, &request("/v1beta/models/m:generateContent", ""));
    talk.receive(clear, &answer(200, &usage(1, 1)));
    let server = Connection {
        tls: 1,
        ..FROM_USERS
    };
    talk.receive(server, &request("/v1beta/models/m:generateContent", ""));
    talk.send(server, &answer(200, &usage(1, 1)));
    assert!(talk.calls().is_empty());
}

#[test]
fn a_service_whose_id_is_given_to_another_leaves_nothing_behind() {
    let mut talk = Talk::new(8);
    talk.ask("");
    talk.traffic.forget(&[1]);
    assert!(talk.calls().is_empty());
    assert_eq!(talk.problem(CallProblem::Dropped), 1);
}

/// Python's asyncio encrypts in memory: a connection that breaks off shows no end, and the call would be told
/// only when the program ends.
#[test]
fn a_call_that_breaks_off_without_a_sign_is_told_with_its_route_once_its_request_is_over() {
    let mut talk = Talk::new(8);
    talk.receive(FROM_USERS, "GET /summary HTTP/1.1\r\nHost: shop\r\n\r\n");
    talk.ask("");
    talk.receive(TO_MODELS, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{");
    talk.send(FROM_USERS, &answer(200, "ok"));
    let at_ns = talk.now_ns;
    talk.traffic.pass_time(at_ns + 2_000 * MS);
    assert!(talk.calls().is_empty(), "it may go on");
    talk.traffic.pass_time(at_ns + 8_000 * MS);
    let call = talk.only();
    assert_eq!(call.outcome, Outcome::Incomplete);
    assert_eq!(&*call.route.unwrap().route, "/summary");
    assert_eq!(talk.problem(CallProblem::EndNotSeen), 1);
}

/// What a program goes on with behind its request is told when it is over, for that request.
#[test]
fn a_call_that_outlives_its_request_is_told_whole() {
    let mut talk = Talk::new(8);
    talk.receive(FROM_USERS, "GET /summary HTTP/1.1\r\nHost: shop\r\n\r\n");
    talk.ask("");
    talk.send(FROM_USERS, &answer(200, "ok"));
    talk.receive(TO_MODELS, &answer(200, &usage(7, 5)));
    let call = talk.only();
    assert_eq!(call.outcome, Outcome::Ok);
    assert_eq!(call.usage.map(|used| used.output), Some(5));
    assert_eq!(&*call.route.unwrap().route, "/summary");
}
