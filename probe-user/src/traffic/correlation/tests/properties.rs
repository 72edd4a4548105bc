//! Whatever a process does, no statement is lost or counted twice.

use proptest::prelude::*;

use super::*;

fn client_calls(report: &Report) -> u64 {
    let services = report.services.values();
    services
        .flat_map(|service| service.postgres_client.values())
        .map(|series| series.calls)
        .sum()
}

fn told(report: &Report) -> u64 {
    let services = report.services.values();
    services
        .map(|service| {
            let routes = service.db.routes.values();
            let unattributed = service.db.unattributed.values();
            routes
                .chain(unattributed)
                .map(|tally| tally.statements)
                .sum::<u64>()
        })
        .sum()
}

/// Anything that a process may do.
#[derive(Debug, Clone)]
enum Step {
    Ask(u64, u32, Option<u8>),
    Answer(u64, u32),
    Query(u64, u32, Option<u8>),
    Rows(u64, u32),
    Lose(u64, bool),
    Close(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let request = 1_u64..5;
    let sql = SQL..SQL + 3;
    let tid = 11_u32..14;
    let trace = prop::option::of(0_u8..3);
    prop_oneof![
        4 => (request.clone(), tid.clone(), trace.clone()).prop_map(|(s, t, x)| Step::Ask(s, t, x)),
        4 => (request.clone(), tid.clone()).prop_map(|(s, t)| Step::Answer(s, t)),
        5 => (sql.clone(), tid.clone(), trace).prop_map(|(s, t, x)| Step::Query(s, t, x)),
        5 => (sql.clone(), tid).prop_map(|(s, t)| Step::Rows(s, t)),
        1 => (prop_oneof![request.clone(), sql.clone()], any::<bool>())
            .prop_map(|(s, sent)| Step::Lose(s, sent)),
        1 => prop_oneof![request, sql].prop_map(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever happens, each statement of the clients is counted once, and nothing is left.
    #[test]
    fn attributed_and_unattributed_are_all_that_was_sent(
        steps in prop::collection::vec(step(), 1..120),
        streams in 2_usize..10,
    ) {
        let mut scene = Scene::with(Limits { streams, ..Limits::default() });
        for step in steps {
            match step {
                Step::Ask(stream, tid, trace) => {
                    let fields = trace.map(traced_field).unwrap_or_default();
                    scene.ask(stream, tid, &format!("/r{stream}"), &fields);
                }
                Step::Answer(stream, tid) => {
                    scene.answer(stream, tid);
                }
                Step::Query(stream, tid, trace) => {
                    let sql = "SELECT 1 FROM a";
                    let sql = trace.map_or(sql.to_owned(), |trace| commented(sql, trace));
                    scene.query(stream, tid, &sql);
                }
                Step::Rows(stream, tid) => {
                    scene.rows(stream, tid);
                }
                Step::Lose(stream, sent) => {
                    scene.lose(stream, sent);
                }
                Step::Close(stream) => {
                    scene.close(stream);
                }
            }
            prop_assert!(told(&scene.report()) <= client_calls(&scene.report()));
        }
        for stream in (1..5).chain(SQL..SQL + 3) {
            scene.close(stream);
        }
        prop_assert_eq!(told(&scene.report()), client_calls(&scene.report()));
        prop_assert!(scene.is_empty());
    }
}
