//! However a conversation is cut into calls, the exchanges are the same; whatever is missing, no
//! request has the status of another.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::wire::http1::End;

/// Content that looks like messages, in case a decoder looks there.
const DECOY_RESPONSE: &str = "HTTP/1.1 599 Decoy\r\nContent-Length: 3\r\n\r\nabc";
const DECOY_REQUEST: &str = "GET /decoy HTTP/1.1\r\nHost: decoy\r\n\r\n";

#[derive(Clone, Copy, Debug)]
enum Content {
    Absent,
    Length(usize),
    Chunked(usize, usize),
}

#[derive(Clone, Debug)]
struct Talk {
    head_method: bool,
    request: Content,
    response: Content,
    interim: bool,
    bare_lf: bool,
    long_head: usize,
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        Just(Content::Absent),
        (1_usize..400).prop_map(Content::Length),
        (1_usize..6, 1_usize..90).prop_map(|(chunks, size)| Content::Chunked(chunks, size)),
    ]
}

fn talk() -> impl Strategy<Value = Talk> {
    let flags = (prop::bool::weighted(0.1), any::<bool>(), any::<bool>());
    (
        flags,
        content(),
        content(),
        prop_oneof![Just(0), 0_usize..400],
    )
        .prop_map(
            |((head_method, interim, bare_lf), request, response, long_head)| Talk {
                head_method,
                request: if head_method {
                    Content::Absent
                } else {
                    request
                },
                response,
                interim,
                bare_lf,
                long_head,
            },
        )
}

/// The status that belongs to a request, and to no other of the conversation.
fn status(number: usize) -> u16 {
    400 + u16::try_from(number).unwrap()
}

/// Fields and content; what is between them, and the line's ends, as `newline`.
fn message(
    line: &str,
    content: Content,
    with_content: bool,
    filler: &str,
    newline: &str,
) -> Vec<u8> {
    let (field, body) = match content {
        Content::Absent => ("Content-Length: 0".to_owned(), String::new()),
        Content::Length(length) => (
            format!("Content-Length: {length}"),
            filler.chars().cycle().take(length).collect(),
        ),
        Content::Chunked(chunks, size) => {
            let data: String = filler.chars().cycle().take(size).collect();
            let chunk = format!("{size:x}\r\n{data}\r\n");
            (
                "Transfer-Encoding: chunked".to_owned(),
                format!("{}0\r\n\r\n", chunk.repeat(chunks)),
            )
        }
    };
    let body = if with_content { body } else { String::new() };
    format!("{line}{newline}{field}{newline}{newline}{body}").into_bytes()
}

fn request(number: usize, talk: &Talk, filler: &str) -> Vec<u8> {
    let newline = if talk.bare_lf { "\n" } else { "\r\n" };
    let method = if talk.head_method { "HEAD" } else { "POST" };
    let cookie = format!("Cookie: {}", "c".repeat(talk.long_head));
    let line = format!("{method} /r{number}?q HTTP/1.1{newline}{cookie}");
    message(&line, talk.request, true, filler, newline)
}

fn response(number: usize, talk: &Talk, filler: &str) -> Vec<u8> {
    let newline = if talk.bare_lf { "\n" } else { "\r\n" };
    let cookie = format!("Set-Cookie: {}", "c".repeat(talk.long_head));
    let line = format!("HTTP/1.1 {} Reason{newline}{cookie}", status(number));
    let mut bytes = Vec::new();
    if talk.interim {
        bytes.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    }
    bytes.extend(message(
        &line,
        talk.response,
        !talk.head_method,
        filler,
        newline,
    ));
    bytes
}

fn size(content: Content) -> u64 {
    match content {
        Content::Absent => 0,
        Content::Length(length) => length as u64,
        Content::Chunked(chunks, size) => (chunks * size) as u64,
    }
}

/// `bytes` in pieces that end at `cuts`.
fn pieces_at(bytes: &[u8], cuts: &[Index]) -> Vec<Vec<u8>> {
    let mut ends: Vec<usize> = cuts
        .iter()
        .map(|cut| cut.index(bytes.len().max(1)))
        .collect();
    ends.extend([0, bytes.len()]);
    ends.sort_unstable();
    ends.dedup();
    ends.windows(2)
        .map(|pair| bytes[pair[0]..pair[1]].to_vec())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Every byte at hand: exactly the conversation, wherever the calls end.
    #[test]
    fn cuts_change_nothing(
        talks in prop::collection::vec(talk(), 1..6),
        cuts in prop::collection::vec(any::<Index>(), 0..40),
        pipelined: bool,
        client: bool,
    ) {
        let mut script = Script::new(if client { Side::Client } else { Side::Server });
        let all = |turn: fn(usize, &Talk, &str) -> Vec<u8>, decoy: &str| -> Vec<Vec<u8>> {
            talks.iter().enumerate().map(|(number, talk)| turn(number, talk, decoy)).collect()
        };
        let (asked, answered) = (all(request, DECOY_REQUEST), all(response, DECOY_RESPONSE));
        let turns: Vec<(Direction, Vec<u8>)> = if pipelined {
            vec![(ASK, asked.concat()), (ANSWER, answered.concat())]
        } else {
            let pairs = asked.into_iter().zip(answered);
            pairs.flat_map(|(ask, answer)| [(ASK, ask), (ANSWER, answer)]).collect()
        };
        for (direction, bytes) in turns {
            for piece in pieces_at(&bytes, &cuts) {
                script.call(direction, piece);
            }
        }
        prop_assert_eq!(script.connection.in_flight(), 0);
        prop_assert_eq!(begun::begins_and_ends_once(&script.out.events), Ok(()));
        let exchanges = script.exchanges();
        prop_assert_eq!(exchanges.len(), talks.len());
        for (number, (exchange, talk)) in exchanges.iter().zip(&talks).enumerate() {
            let path = format!("/r{number}");
            prop_assert_eq!(exchange.path.as_deref(), Some(path.as_str()));
            prop_assert_eq!(exchange.status, Some(status(number)));
            prop_assert_eq!(exchange.end, End::Exact);
            prop_assert_eq!(exchange.request_bytes, Some(size(talk.request)));
            let content = if talk.head_method { 0 } else { size(talk.response) };
            prop_assert_eq!(exchange.response_bytes, Some(content));
            prop_assert!(exchange.request_complete_ns.is_some());
        }
        prop_assert_eq!(script.stats().desynchronised, 0);
        prop_assert_eq!(script.stats().malformed_heads, 0);
    }

    /// Gaps of known length, heads and tails as short as a status line: every request is there,
    /// none has the status of another, and content is never taken for a message.
    #[test]
    fn gaps_never_lie(
        talks in prop::collection::vec(talk(), 1..8),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
        head in 48_usize..200,
        tail in 0_usize..100,
        client: bool,
    ) {
        let mut script = Script::new(if client { Side::Client } else { Side::Server });
        for (number, talk) in talks.iter().enumerate() {
            for piece in pieces_at(&request(number, talk, DECOY_REQUEST), &cuts) {
                script.cut(ASK, piece, head, tail);
            }
            for piece in pieces_at(&response(number, talk, DECOY_RESPONSE), &cuts) {
                script.cut(ANSWER, piece, head, tail);
            }
        }
        script.close();
        prop_assert_eq!(begun::begins_and_ends_once(&script.out.events), Ok(()));
        let exchanges = script.exchanges();
        prop_assert_eq!(exchanges.len(), talks.len(), "{:#?}", exchanges);
        for (number, exchange) in exchanges.iter().enumerate() {
            let path = format!("/r{number}");
            prop_assert_eq!(exchange.path.as_deref(), Some(path.as_str()));
            let known = exchange.status;
            prop_assert!(known.is_none() || known == Some(status(number)), "{:?}", exchange);
            prop_assert!(!exchange.aborted);
        }
    }

    /// Pipelining in rounds, with gaps: what has a status has its own.
    #[test]
    fn pipelined_gaps_never_lie(
        rounds in prop::collection::vec(prop::collection::vec(talk(), 1..4), 1..4),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
        head in 48_usize..300,
        tail in 0_usize..100,
        client: bool,
    ) {
        let mut script = Script::new(if client { Side::Client } else { Side::Server });
        let mut first = 0;
        for talks in &rounds {
            // A decoy in a request whose head is hidden cannot be told from a request.
            let numbered = || talks.iter().enumerate().map(|(at, talk)| (first + at, talk));
            let asked = numbered().flat_map(|(number, talk)| request(number, talk, "content, "));
            for piece in pieces_at(&asked.collect::<Vec<_>>(), &cuts) {
                script.cut(ASK, piece, head, tail);
            }
            let answered = numbered().flat_map(|(number, talk)| response(number, talk, "content, "));
            for piece in pieces_at(&answered.collect::<Vec<_>>(), &cuts) {
                script.cut(ANSWER, piece, head, tail);
            }
            first += talks.len();
        }
        script.close();
        prop_assert_eq!(begun::begins_and_ends_once(&script.out.events), Ok(()));
        for exchange in script.exchanges() {
            let Some(path) = &exchange.path else { continue };
            let number: usize = path.strip_prefix("/r").unwrap().parse().unwrap();
            let known = exchange.status;
            prop_assert!(known.is_none() || known == Some(status(number)), "{:?}", exchange);
        }
    }

    /// Whole calls that nobody saw, in both directions, besides gaps: what has a status has its
    /// own, and no request is counted twice.
    #[test]
    fn losses_never_lie(
        talks in prop::collection::vec(talk(), 1..8),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
        lost in prop::collection::vec(prop::bool::weighted(0.15), 1..60),
        head in 48_usize..300,
        tail in 0_usize..100,
        client: bool,
    ) {
        let mut script = Script::new(if client { Side::Client } else { Side::Server });
        let mut lost = lost.iter().cycle();
        for (number, talk) in talks.iter().enumerate() {
            // A decoy in a request whose head is lost cannot be told from a request.
            let turns = [
                (ASK, request(number, talk, "content of the request, ")),
                (ANSWER, response(number, talk, DECOY_RESPONSE)),
            ];
            for (direction, bytes) in turns {
                for piece in pieces_at(&bytes, &cuts) {
                    if *lost.next().unwrap() {
                        script.lost(direction);
                        script.now_ns += 100;
                    } else {
                        script.cut(direction, piece, head, tail);
                    }
                }
            }
        }
        script.close();
        prop_assert_eq!(begun::begins_and_ends_once(&script.out.events), Ok(()));
        let mut seen = std::collections::BTreeSet::new();
        for exchange in script.exchanges() {
            let Some(path) = &exchange.path else { continue };
            let number: usize = path.strip_prefix("/r").unwrap().parse().unwrap();
            prop_assert!(seen.insert(number), "{} twice", path);
            let known = exchange.status;
            prop_assert!(known.is_none() || known == Some(status(number)), "{:?}", exchange);
        }
        prop_assert!(script.exchanges().len() <= talks.len());
    }

    /// Bytes of any kind: no panic, bounded memory, sane times.
    #[test]
    fn any_bytes_are_survived(
        calls in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(fragment(), 0..6), 0_u64..3000, 0_usize..900),
            0..80,
        ),
    ) {
        let limits = Limits { head_bytes: 1024, pipeline_depth: 8, ..Limits::default() };
        let mut script = Script::server();
        script.connection = Connection::new(Side::Client, limits);
        for (to_server, fragments, gap, tail) in calls {
            let bytes = fragments.concat();
            let direction = if to_server { ASK } else { ANSWER };
            let head = bytes.len().saturating_sub(tail);
            let segment = Segment {
                start_ns: script.now_ns,
                end_ns: script.now_ns + 10,
                len: bytes.len() as u64 + gap,
                head: &bytes[..head],
                tail: &bytes[head..],
            };
            script.now_ns += 50;
            script.connection.feed(direction, &segment, &mut script.out);
            if gap == 7 {
                script.lost(direction);
            }
            prop_assert!(script.connection.heap_bytes() <= 3 * 2 * 1024 + 8 * 1024);
            prop_assert!(script.connection.in_flight() <= 8);
        }
        script.close();
        prop_assert_eq!(begun::begins_and_ends_once(&script.out.events), Ok(()));
        for exchange in script.exchanges() {
            prop_assert!(exchange.finished_ns >= exchange.started_ns);
            prop_assert!(exchange.status.is_none_or(|status| (100..1000).contains(&status)));
            prop_assert!(exchange.path.as_ref().is_none_or(|path| path.len() <= 3 * 2048));
        }
        let requests = script.stats().requests;
        prop_assert_eq!(script.exchanges().len() as u64, requests);
    }
}

/// Parts of messages, and noise.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known: &[&str] = &[
        "GET /a HTTP/1.1\r\n",
        "POST /b?c HTTP/1.0\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 18446744073709551615\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "Upgrade: websocket\r\n",
        "X-Forwarded-For: 1.2.3.4\r\n",
        "\r\n",
        "\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "ffffffffffffffff\r\n",
        "hello",
        "PRI * HTTP/2.0\r\n\r\n",
    ];
    prop_oneof![
        4 => prop::sample::select(known).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..600),
        1 => Just(vec![b'x'; 2000]),
    ]
}
