//! What a user would lose if these failed: the page that a slow statement was for, or the statement
//! itself.

use super::*;
use crate::{
    traffic::{SlowStatement, Thresholds},
    wire::stream::Side,
};

/// Each statement takes 1 ms and a bit.
fn scene() -> Scene {
    with(Limits::default())
}

fn with(limits: Limits) -> Scene {
    let mut scene = Scene::with(limits);
    scene.traffic.set_slow(Thresholds {
        all: Some(MS),
        ..Thresholds::default()
    });
    scene
}

fn places(slow: &[SlowStatement]) -> Vec<Option<String>> {
    let routes = slow.iter().map(|slow| slow.route.as_ref());
    let routes = routes.map(|key| key.map(|key| format!("{} {}", key.method, key.route)));
    routes.collect()
}

fn counted(scene: &mut Scene) -> u64 {
    let report = scene.report();
    report.services[&WEB].database_client.slow.values().sum()
}

#[test]
fn a_slow_statement_waits_for_the_route_of_its_request_and_is_counted_at_once() {
    let mut scene = scene();
    scene
        .ask(1, 11, "/orders/7", &traced_field(4))
        .run(SQL, 11, "SELECT 1 FROM a");
    assert_eq!(counted(&mut scene), 1);
    assert!(scene.traffic.take_slow().is_empty());
    scene.answer(1, 11);
    let slow = scene.traffic.take_slow();
    assert_eq!(places(&slow), [Some("GET /orders/{id}".to_owned())]);
    let slow = &slow[0];
    assert_eq!((slow.side, slow.duration_ns), (Side::Client, MS + 10));
    assert_eq!((slow.rows, slow.trace_id), (Some(1), Some(5)));
    assert_eq!(slow.text, None);
    assert!(scene.traffic.take_slow().is_empty());
}

#[test]
fn what_is_faster_is_not_slow() {
    let mut scene = scene();
    scene.traffic.set_slow(Thresholds {
        all: Some(MS + 11),
        ..Thresholds::default()
    });
    scene.run(SQL, 11, "SELECT 1");
    assert!(scene.traffic.take_slow().is_empty());
    assert_eq!(counted(&mut scene), 0);
}

#[test]
fn a_slow_statement_of_no_certain_request_goes_without_a_route() {
    let mut scene = scene();
    // No request; a request whose client hangs up; one that is forgotten with its service.
    scene.run(SQL, 11, "SELECT 1");
    assert_eq!(places(&scene.traffic.take_slow()), [None]);
    scene
        .ask(1, 11, "/a", "")
        .ask(2, 11, "/b", "")
        .run(SQL, 11, "SELECT 1")
        .answer(2, 11)
        .answer(1, 11);
    assert_eq!(places(&scene.traffic.take_slow()), [None]);
    scene.ask(3, 12, "/c", "").run(SQL, 12, "SELECT 1");
    assert!(scene.traffic.take_slow().is_empty());
    scene.traffic.finish();
    assert_eq!(places(&scene.traffic.take_slow()), [None]);
}

/// A page that streams for an hour must not keep its slow statement from whoever waits for it.
#[test]
fn a_slow_statement_does_not_wait_for_its_request_for_ever() {
    let mut scene = scene();
    scene.ask(1, 11, "/stream", "").run(SQL, 11, "SELECT 1");
    let now_ns = scene.now_ns;
    scene.traffic.pass_time(now_ns + 59_000 * MS);
    assert!(scene.traffic.take_slow().is_empty());
    scene.traffic.pass_time(now_ns + 62_000 * MS);
    assert_eq!(places(&scene.traffic.take_slow()), [None]);
    scene.answer(1, 11);
    assert!(scene.traffic.take_slow().is_empty());
}

/// With a threshold of 0 on a busy host: memory is bounded, and nothing is lost silently.
#[test]
fn more_than_can_wait_are_counted_and_their_number_is_bounded() {
    let mut scene = scene();
    scene.ask(1, 11, "/a", "");
    for _ in 0..6_000 {
        scene.run(SQL, 11, "SELECT 1");
    }
    scene.answer(1, 11);
    let slow = scene.traffic.take_slow();
    let dropped = scene.report().slow_dropped;
    assert_eq!(slow.len() as u64 + dropped, 6_000);
    assert!(
        slow.len() <= 4_096 && dropped > 0,
        "{} {dropped}",
        slow.len()
    );
    assert_eq!(counted(&mut scene), 6_000);
}

#[test]
fn the_text_is_there_only_when_it_is_captured() {
    let sql = "SELECT 'secret' FROM a; SELECT 2 /* b */";
    for captures in [false, true] {
        let mut scene = with(Limits {
            capture_literals: captures,
            ..Limits::default()
        });
        let answers = [rows(1), rows(1)].concat();
        scene.query(SQL, 11, sql);
        scene.call(SQL, 11, PayloadKind::Received, &answers[..14]);
        scene.call(SQL, 11, PayloadKind::Received, &rows(1));
        let slow = scene.traffic.take_slow();
        let texts: Vec<_> = slow.iter().map(|slow| slow.text.as_deref()).collect();
        if captures {
            let expected = [Some("SELECT 'secret' FROM a"), Some("SELECT 2 /* b */")];
            assert_eq!(texts, expected);
        } else {
            assert_eq!(texts, [None, None]);
            assert!(!format!("{slow:?}").contains("secret"));
        }
    }
}
