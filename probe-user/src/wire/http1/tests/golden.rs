//! What real servers logged is what is decoded from their calls: `fixtures/http1/README.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::wire::http1::{ContentClass, End, Upgrade};

/// Decodes a recording with at most `head` and `tail` bytes of each call.
fn decode(name: &str, head: usize, tail: usize) -> Output {
    let mut connections: BTreeMap<usize, Connection> = BTreeMap::new();
    let mut out = Output::default();
    for line in read(name, "cap").lines() {
        let mut words = line.splitn(6, ' ');
        let kind = words.next().unwrap();
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let id = usize::try_from(number()).unwrap();
        let connection = connections
            .entry(id)
            .or_insert_with(|| Connection::new(Side::Server, Limits::default()));
        let direction = match kind {
            ">" => ASK,
            "<" => ANSWER,
            "close" => {
                connection.close(number(), &mut out);
                continue;
            }
            _ => panic!("unknown line in {name}.cap: {line}"),
        };
        let (start_ns, end_ns, len) = (number(), number(), number());
        let (first, last) = words.next().unwrap().split_once("\" \"").unwrap();
        let first = unescape(first.strip_prefix('"').unwrap());
        let last = unescape(last.strip_suffix('"').unwrap());
        let first = &first[..first.len().min(head)];
        // Where the recording has all bytes, a shorter head makes a gap as well.
        let last = &last[last.len() - last.len().min(tail)..];
        let segment = Segment {
            start_ns,
            end_ns,
            len,
            head: first,
            tail: last,
        };
        connection.feed(direction, &segment, &mut out);
    }
    assert!(
        connections
            .values()
            .all(|connection| connection.in_flight() == 0)
    );
    out
}

fn read(name: &str, kind: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/http1");
    fs::read_to_string(folder.join(format!("{name}.{kind}"))).unwrap()
}

/// The inverse of `escape_ascii`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut characters = text.bytes();
    while let Some(byte) = characters.next() {
        bytes.push(
            match (
                byte,
                if byte == b'\\' {
                    characters.next()
                } else {
                    None
                },
            ) {
                (b'\\', Some(b'n')) => b'\n',
                (b'\\', Some(b'r')) => b'\r',
                (b'\\', Some(b't')) => b'\t',
                (b'\\', Some(b'x')) => {
                    let digits = [characters.next().unwrap(), characters.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                (b'\\', Some(other)) => other,
                (plain, _) => plain,
            },
        );
    }
    bytes
}

fn exchanges(out: &Output) -> Vec<&Exchange> {
    out.events.iter().filter_map(exchange).collect()
}

/// The same requests with the same status, and as many bytes where both sides know.
fn compare(name: &str, out: &Output) {
    let log = read(name, "log");
    let logged: Vec<Vec<&str>> = log.lines().map(|line| line.split(' ').collect()).collect();
    let mut expected: Vec<String> = logged
        .iter()
        .map(|words| {
            format!(
                "{} {} {}",
                words[0],
                words[1].split('?').next().unwrap(),
                words[2]
            )
        })
        .collect();
    let mut found: Vec<String> = Vec::new();
    for exchange in exchanges(out) {
        let path = exchange.path.as_deref().unwrap_or("?");
        let status = exchange
            .status
            .map_or("-".to_owned(), |status| status.to_string());
        found.push(format!("{} {path} {status}", exchange.method.as_str()));
        let sizes = logged.iter().filter(|words| {
            words[0] == exchange.method.as_str()
                && words[1].split('?').next() == Some(path)
                && words[2] == status
        });
        let sizes: Vec<&str> = sizes.map(|words| words[3]).collect();
        if let Some(bytes) = exchange.response_bytes {
            let known = sizes.contains(&"-") || sizes.contains(&bytes.to_string().as_str());
            assert!(
                known,
                "{name}: {bytes} bytes, logged {sizes:?}: {exchange:?}"
            );
        }
    }
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{name}");
}

const SERVERS: [&str; 5] = [
    "uvicorn-h11",
    "uvicorn-httptools",
    "http-server",
    "node",
    "nginx",
];

#[test]
fn what_servers_logged_is_what_is_seen() {
    for name in SERVERS {
        let out = decode(name, 512, 64);
        compare(name, &out);
        for exchange in exchanges(&out) {
            assert_eq!(exchange.end, End::Exact, "{name}: {exchange:?}");
            assert!(
                exchange.aborted == exchange.status.is_none(),
                "{name}: {exchange:?}"
            );
            let first = exchange.first_byte_ns.unwrap_or(exchange.finished_ns);
            assert!(exchange.started_ns <= first && first <= exchange.finished_ns);
        }
        assert_eq!(out.stats.malformed_heads, 0, "{name}");
        assert_eq!(out.stats.responses_without_request, 0, "{name}");
        assert_eq!(out.stats.unpaired_connections, 0, "{name}");
    }
}

/// Most heads are cut; statuses, routes and counts are not.
#[test]
fn two_hundred_bytes_of_each_call_are_enough() {
    for name in SERVERS {
        let out = decode(name, 200, 16);
        assert!(out.stats.heads_cut > 0, "{name}");
        // nginx writes the answers to pipelined requests at once: two of them begin in the gap.
        let hidden = usize::from(name == "nginx") * 2;
        let unknown = |exchange: &&&Exchange| exchange.status.is_none() && !exchange.aborted;
        assert_eq!(
            exchanges(&out).iter().filter(unknown).count(),
            hidden,
            "{name}"
        );
        if hidden == 0 {
            compare(name, &out);
        }
    }
}

#[test]
fn upgrades_and_streams_are_told_apart() {
    for name in ["uvicorn-h11", "uvicorn-httptools", "node"] {
        let out = decode(name, 512, 64);
        assert!(
            out.events.contains(&Event::Opaque(Upgrade::WebSocket)),
            "{name}"
        );
        assert_eq!(out.stats.upgrades, 1, "{name}");
    }
    for name in ["uvicorn-h11", "uvicorn-httptools"] {
        let out = decode(name, 512, 64);
        let events = exchanges(&out);
        let stream = events
            .iter()
            .find(|exchange| exchange.path.as_deref() == Some("/events"));
        assert_eq!(stream.unwrap().content, ContentClass::EventStream, "{name}");
    }
    assert_eq!(
        decode("node", 512, 64).stats.interim_responses,
        3,
        "Expect twice, early hints once"
    );
}
