//! HTTP/1: any calls of both directions, cut, gapped and lost, are decoded within bounds.
//!
//! The input is a sequence of calls, `KIND LENGTH bytes`: bit 0 of `KIND` is the direction, bit 1
//! a loss before the call, bit 2 a gap behind the first half of the bytes, bits 3 to 7 the gap's
//! length in units of 16. The first byte of all chooses the side.
//!
//! `cargo +nightly fuzz run http1 NEW fuzz/corpus/http1 -- -max_len=4096`, where NEW is an empty
//! directory: it takes what is found, so that the committed corpus stays small.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe_user::wire::{
    classify::{ENOUGH, Protocol, looks_like},
    http1::{Connection, Event, Limits, Output},
    stream::{Direction, Segment, Side},
};

fuzz_target!(|data: &[u8]| {
    let Some((choice, mut rest)) = data.split_first() else {
        return;
    };
    let limits = Limits {
        head_bytes: 512,
        pipeline_depth: 4,
        target_bytes: 64,
        host_bytes: 32,
    };
    let side = if choice & 1 == 0 {
        Side::Server
    } else {
        Side::Client
    };
    let mut connection = Connection::new(side, limits);
    let mut out = Output::default();
    let mut now_ns = 1000;
    while let [kind, length, behind @ ..] = rest {
        let (bytes, left) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = left;
        assert!(bytes.len() < ENOUGH || looks_like(bytes) != Protocol::NeedMore);
        let direction = if kind & 1 == 0 {
            Direction::ToServer
        } else {
            Direction::ToClient
        };
        if kind & 2 != 0 {
            connection.lost(direction, &mut out);
        }
        let (head, tail) = bytes.split_at(bytes.len() >> (kind >> 2 & 1));
        let gap = if kind & 4 == 0 {
            0
        } else {
            u64::from(kind >> 3) * 16
        };
        let len = bytes.len() as u64 + gap;
        let segment = Segment {
            start_ns: now_ns,
            end_ns: now_ns + 10,
            len,
            head,
            tail,
        };
        connection.feed(direction, &segment, &mut out);
        now_ns += 20;
        assert!(connection.in_flight() <= limits.pipeline_depth);
        assert!(
            connection.heap_bytes() <= 16 * 1024,
            "{} bytes",
            connection.heap_bytes()
        );
    }
    connection.close(now_ns, &mut out);
    let (mut begun, mut exchanges) = (0, 0);
    for event in &out.events {
        let exchange = match event {
            Event::Begun(request) => {
                begun += 1;
                assert_eq!(request.serial, begun);
                continue;
            }
            Event::Exchange(exchange) => exchange,
            _ => continue,
        };
        exchanges += 1;
        // Each ends once, in order, after it began.
        assert!(exchange.serial == exchanges && exchanges <= begun);
        assert!(exchange.started_ns <= exchange.finished_ns && exchange.finished_ns <= now_ns);
        assert!(
            exchange
                .status
                .is_none_or(|status| (100..1000).contains(&status))
        );
        let path = exchange.path.as_deref().unwrap_or_default();
        assert!(!path.contains(['?', '#']) && path.len() <= 3 * limits.target_bytes);
        let _ = format!("{exchange:?}");
    }
    // Each request is reported once.
    assert_eq!(exchanges, out.stats.requests);
});
