//! Content that somebody wants: what is told is what was sent, or that some of it is missing.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::wire::http1::{Asked, Content, Interest, Wish};

#[derive(Debug)]
struct Models;

impl Interest for Models {
    fn wish(&self, request: &Asked<'_>) -> Wish {
        match (request.host, request.path) {
            (Some("models"), Some("/ask")) => Wish::Content,
            (Some("models"), _) => Wish::Nothing,
            _ => Wish::Foreign,
        }
    }

    fn field(&self) -> &str {
        "x-for"
    }
}

const ASKED: &str = "POST /ask?key=secret HTTP/1.1\r\nHost: models\r\nX-For: chat\r\n\r\n";

fn script() -> Script {
    let mut script = Script::new(Side::Client);
    script.connection.set_interest(Arc::new(Models));
    script
}

/// The content of one request, and whether all of it was there.
fn content(script: &Script, serial: u64) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let mut whole = true;
    for event in &script.out.events {
        match event {
            Event::Content(of, Content::Bytes(more)) if *of == serial => bytes.extend(more),
            Event::Content(of, Content::Missing) if *of == serial => whole = false,
            _ => {}
        }
    }
    (bytes, whole)
}

fn chunked(text: &[u8], size: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in text.chunks(size) {
        body.extend(format!("{:x};x=y\r\n", chunk.len()).bytes());
        body.extend(chunk);
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\nTrailer: t\r\n\r\n");
    body
}

#[test]
fn a_wanted_request_is_told_without_its_query() {
    let mut script = script();
    script.ask(ASKED);
    let wanted = script.out.events.iter().find_map(|event| match event {
        Event::Wanted(wanted) => Some(wanted),
        _ => None,
    });
    let wanted = wanted.unwrap();
    assert_eq!(wanted.path.as_deref(), Some("/ask"));
    assert_eq!(wanted.host.as_deref(), Some("models"));
    assert_eq!(wanted.field.as_deref(), Some("chat"));
    assert!(!format!("{wanted:?}").contains("secret"));
}

#[test]
fn only_wanted_responses_have_content_and_foreign_hosts_are_told() {
    let mut script = script();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    script
        .ask("GET /other HTTP/1.1\r\nHost: models\r\n\r\n")
        .answer(answer);
    script
        .ask("POST /ask HTTP/1.1\r\nHost: elsewhere\r\n\r\n")
        .answer(answer);
    script.ask(ASKED).answer(answer);
    assert_eq!(content(&script, 1).0, b"");
    assert_eq!(content(&script, 2).0, b"");
    assert_eq!(content(&script, 3), (b"abc".to_vec(), true));
    let foreign = script.out.events.iter().filter(|it| **it == Event::Foreign);
    assert_eq!(foreign.count(), 1);
}

/// Of a program with several threads, the answer may be reported before the request.
#[test]
fn the_content_of_an_answer_that_was_reported_early_is_told() {
    let mut script = script();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n";
    script.ask(ASKED).answer("HTTP/1.1 204 No\r\n\r\n");
    let (asked_ns, answered_ns) = (script.now_ns, script.now_ns + 100);
    script.now_ns = answered_ns;
    script.answer(format!("{head}Content-Length: 2\r\n\r\n{{}}"));
    script.now_ns = asked_ns;
    script.ask(ASKED);
    assert_eq!(content(&script, 2), (b"{}".to_vec(), true));
    let begins = Content::Begins {
        kind: "application/json".into(),
        encoding: "gzip".into(),
    };
    assert!(script.out.events.contains(&Event::Content(2, begins)));
}

#[test]
fn what_is_lost_is_told_whatever_framing_says() {
    for head in [
        "Content-Length: 300",
        "Transfer-Encoding: chunked",
        "Connection: close",
    ] {
        let mut script = script();
        script.ask(ASKED);
        script.answer(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"));
        script.lost(ANSWER);
        assert!(!content(&script, 1).1, "{head}");
    }
}

proptest! {
    /// However an answer is cut into calls, its content is the same; where the middle of a call is not
    /// at hand, that is told, and what is told is in the order of the original.
    #[test]
    fn content_is_what_was_sent(
        text in prop::collection::vec(any::<u8>(), 1..600),
        size in 1_usize..200,
        call in 1_usize..300,
        framing in 0..3,
        kept in prop_oneof![Just(usize::MAX), 0_usize..40],
    ) {
        let (head, body) = match framing {
            0 => (format!("Content-Length: {}", text.len()), text.clone()),
            1 => ("Transfer-Encoding: chunked".to_owned(), chunked(&text, size)),
            _ => ("Connection: close".to_owned(), text.clone()),
        };
        let mut script = script();
        script.ask(ASKED).answer(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"));
        let mut cut = false;
        for part in body.chunks(call) {
            cut |= part.len() > kept.saturating_mul(2);
            script.cut(ANSWER, part, kept, kept);
        }
        script.close();
        let (told, whole) = content(&script, 1);
        if cut {
            prop_assert!(!whole || told == text);
            let mut rest = text.iter();
            prop_assert!(told.iter().all(|byte| rest.any(|other| other == byte)));
        } else {
            prop_assert!(whole);
            prop_assert_eq!(told, text);
        }
        prop_assert_eq!(script.only().status, Some(200));
    }
}
