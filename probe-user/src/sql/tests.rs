use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Part {
    let parsed = SqlCache::default().parse(text.as_bytes(), false, false);
    assert_eq!(parsed.parts.len(), 1, "{text}");
    parsed.parts[0].clone()
}

fn text(raw: &str) -> String {
    one(raw).info.text.to_string()
}

fn operation(raw: &str) -> Operation {
    one(raw).info.operation
}

/// A literal in a label is a leak, and a series per value.
#[test]
fn literals_become_question_marks() {
    for (raw, expected) in [
        (
            "SELECT * FROM Users WHERE id = 42",
            "select * from users where id = ?",
        ),
        (
            "select a,b from t where x=-1.5e3 and y>-2",
            "select a, b from t where x = ? and y > ?",
        ),
        (
            "select a-1, -1, (-1), f(-1) from t",
            "select a - ?, ?, (?), f(?) from t",
        ),
        (
            "select 'x''y' || E'\\'' || $$secret$$ || U&'s' || B'1'",
            "select ? || ? || ? || ? || ?",
        ),
        (
            "select \"User\".\"Id\" from \"User\"",
            "select \"User\".\"Id\" from \"User\"",
        ),
        (
            "select count( * ), t.* from t",
            "select count(*), t.* from t",
        ),
        (
            "insert into t (a,b) values (1,'x')",
            "insert into t(a, b) values (?, ?)",
        ),
        (
            "select '2020-01-01'::date, x::text",
            "select ?::date, x::text",
        ),
        (
            "update t set a = null, b=true where c is null",
            "update t set a = ?, b = ? where c is null",
        ),
        ("select 1 -- secret 'x\n + /* other */ 2", "select ? + ?"),
        (
            "select * from t where a = $1 and b = $2",
            "select * from t where a = $1 and b = $2",
        ),
        (
            "select x[1], array[1,2,3], '{a}'::text[]",
            "select x[?], array[?], ?::text[]",
        ),
        ("alter user u password 'secret'", "alter user u password ?"),
        (
            "select * from t limit 10 offset 20",
            "select * from t limit ? offset ?",
        ),
        ("select 'unterminated secret", "select ?"),
        ("select \"unterminated secret", "select ?"),
    ] {
        assert_eq!(text(raw), expected);
    }
}

/// One statement must be one fingerprint, however it was written down and however long its lists.
#[test]
fn what_is_the_same_has_one_fingerprint() {
    for same in [
        &[
            "select a from t where b=1",
            "SELECT  a\nFROM t /* c */ WHERE b = 'x'",
            "select a from t where b=$1",
        ][..],
        &[
            "select a from t where b in (1)",
            "select a from t where b in (1, 2,3)",
            "select a from t where b IN ($1,$2)",
        ],
        &[
            "select a from t where (b,c) in ((1,2),(3,4))",
            "select a from t where (b,c) in ((1,2))",
        ],
        &[
            "select a from t where b in ($1::uuid, $2::uuid) and c = $3",
            "select a from t where b in ($1::uuid) and c=$2",
        ],
        &[
            "insert into t values (1,2),(3,null),(5,6) returning a",
            "insert into t values ($1,$2) returning a",
        ],
        &[
            "select * from (values (1,'a'),(2,'b')) v(x,y)",
            "select * from (values (1,'a')) v(x,y)",
        ],
        &["select a = any(array[1,2,3])", "select a = any(array[1])"],
        &["select array[[1,2],[3,4]]", "select array[[1]]"],
        &["savepoint sa_savepoint_1", "savepoint sa_savepoint_22"],
        &[
            "DECLARE \"_django_curs_1_2\" NO SCROLL CURSOR FOR SELECT 1",
            "declare c_9 no scroll cursor for select 2",
        ],
        &["fetch 100 from c_1", "fetch 5 from c_2"],
        &["deallocate \"_pg3_0\"", "deallocate _pg3_17"],
    ] {
        let first = one(same[0]).info;
        for other in same {
            let other = one(other).info;
            assert_eq!(
                other.fingerprint, first.fingerprint,
                "{} / {}",
                other.text, first.text
            );
        }
    }
}

/// Different statements under one fingerprint would hide the slow one.
#[test]
fn what_differs_has_another_fingerprint() {
    for [a, b] in [
        ["select a from t", "select b from t"],
        ["select f(1,2)", "select f(1)"],
        [
            "select a from t where b in (select a, a from u)",
            "select a from t where b in (select a from u)",
        ],
        ["insert into t values (1,2)", "insert into t values (1,2,3)"],
        ["select \"A\"", "select \"a\""],
        [
            "select a from t where b is null",
            "select a from t where b is not null",
        ],
        ["savepoint a", "savepoint b"],
        ["select a - 1", "select a, -1"],
    ] {
        assert_ne!(
            one(a).info.fingerprint,
            one(b).info.fingerprint,
            "{a} / {b}"
        );
    }
}

/// OBI labels `WITH ... DELETE` a SELECT; an operator who looks for writes would not find it.
#[test]
fn the_operation_is_what_the_statement_does() {
    for (raw, expected) in [
        (
            "with d as (select 1) delete from t using d",
            Operation::Delete,
        ),
        (
            "with recursive a(x) as (select 1), b as (delete from t returning 1) select * from a",
            Operation::Select,
        ),
        (
            "with update as (select 1) insert into t select * from update",
            Operation::Insert,
        ),
        (
            "with a as materialized (select 1) merge into t using a on true when matched then delete",
            Operation::Merge,
        ),
        ("with a as (select 1) (select 2)", Operation::Select),
        ("((select 1) union (select 2))", Operation::Select),
        (
            "/* c */ explain (analyze, buffers) update t set a = 1",
            Operation::Update,
        ),
        (
            "explain analyze verbose with a as (select 1) delete from t",
            Operation::Delete,
        ),
        ("values (1)", Operation::Select),
        ("start transaction read only", Operation::Begin),
        ("end", Operation::Commit),
        ("abort", Operation::Rollback),
        (
            "rollback work to savepoint a",
            Operation::RollbackToSavepoint,
        ),
        ("rollback and chain", Operation::Rollback),
        ("prepare transaction 'x'", Operation::PrepareTransaction),
        ("prepare x as select 1", Operation::Prepare),
        ("frobnicate", Operation::Other),
        ("'x'", Operation::Other),
    ] {
        assert_eq!(operation(raw), expected, "{raw}");
    }
}

/// Each statement of a text is counted once, as the server does.
#[test]
fn texts_are_split_as_the_server_splits_them() {
    let texts = |raw: &str| -> Vec<String> {
        let parsed = SqlCache::default().parse(raw.as_bytes(), false, false);
        parsed
            .parts
            .iter()
            .map(|part| part.info.text.to_string())
            .collect()
    };
    assert_eq!(
        texts("select ';'; ;; begin /* ; */; -- ;\n"),
        ["select ?", "begin"]
    );
    assert!(texts(" ; -- x").is_empty());
    assert_eq!(
        texts("create function f() returns int begin atomic select 1; select case when true then 2 end; end; select 3").len(),
        2
    );
    assert_eq!(
        texts("create rule r as on insert to t do (select 1; select 2); select 3").len(),
        2
    );
    assert_eq!(texts("do $$ begin; end $$; select 1").len(), 2);
}

/// A cut text must not pass for the whole statement, nor show half a literal.
#[test]
fn cut_texts_say_so() {
    let mut cache = SqlCache::default();
    for (raw, expected) in [
        (
            "select a from t where b = 'sec",
            "select a from t where b = ?…",
        ),
        ("select a from tab", "select a from…"),
        ("select a, 12", "select a,…"),
    ] {
        let parsed = cache.parse(raw.as_bytes(), true, false);
        assert!(parsed.cut);
        assert_eq!(&*parsed.parts[0].info.text, expected);
        assert!(!parsed.parts[0].info.complete);
    }
    assert_eq!(
        cache.parse(b"select 1; select 2", true, false).parts.len(),
        2
    );
}

/// Sessions with the old string rules must not leak what stands behind a backslash.
#[test]
fn backslashes_escape_where_the_session_says_so() {
    let parsed = SqlCache::default().parse(br"select 'a\' secret'", false, true);
    assert_eq!(&*parsed.parts[0].info.text, "select ?");
}

/// What the statement says about the session's names is what later messages refer to.
#[test]
fn effects_name_what_they_change() {
    let effect = |raw: &str| one(raw).effect;
    assert_eq!(
        effect("DEALLOCATE PREPARE Foo"),
        Effect::Deallocate(name_id(b"foo"))
    );
    assert_eq!(
        effect("deallocate \"F\"\"oo\""),
        Effect::Deallocate(name_id(b"F\"oo"))
    );
    assert_eq!(effect("deallocate all"), Effect::DeallocateAll);
    assert_eq!(effect("discard all"), Effect::DeallocateAll);
    assert_eq!(effect("discard plans"), Effect::None);
    assert_eq!(effect("savepoint s1"), Effect::Savepoint(name_id(b"s1")));
    assert_eq!(
        effect("release savepoint s1"),
        Effect::Release(name_id(b"s1"))
    );
    assert_eq!(effect("rollback to s1"), Effect::RollbackTo(name_id(b"s1")));
    assert_eq!(
        effect("rollback transaction to savepoint s1"),
        Effect::RollbackTo(name_id(b"s1"))
    );
    let Effect::Prepare(name, Some(inner)) = effect("prepare p (int) as select $1 + 1") else {
        panic!("no prepare");
    };
    assert_eq!(
        (name, &*inner.parts[0].info.text),
        (name_id(b"p"), "select $1 + ?")
    );
}

/// N+1 detection needs to know that the parameters differ.
#[test]
fn literals_are_told_apart() {
    let literals = |raw: &str| one(raw).literals;
    assert_eq!(literals("select 1, 'a'"), literals("select  1,'a'"));
    assert_ne!(literals("select 1"), literals("select 2"));
    assert_ne!(literals("select -1"), literals("select 1"));
    assert_ne!(literals("select 1, 2"), literals("select 2, 1"));
}

/// A flood of distinct statements must not grow the probe.
#[test]
fn the_cache_is_bounded() {
    let mut cache = SqlCache::new(10, 1000);
    for number in 0..100 {
        cache.parse(
            format!("select a{number} from t where x = '{number}'").as_bytes(),
            false,
            false,
        );
    }
    assert!(cache.len() <= 10);
    assert!(cache.bytes() <= 2000);
}

proptest! {
    /// No text that a client can send may stop the probe, or get a literal into its output.
    #[test]
    fn any_bytes_are_read(raw in prop::collection::vec(any::<u8>(), 0..200), cut: bool, escapes: bool) {
        SqlCache::default().parse(&raw, cut, escapes);
    }

    /// Text that looks like SQL reaches further than random bytes do.
    #[test]
    fn any_tokens_are_read_twice_alike(words in prop::collection::vec(prop::sample::select(vec![
        "select", "in", "(", ")", "[", "]", "values", ",", "array", "'x'", "1", "$1", "-", "::", ";",
        "begin", "case", "end", "create", "function", "\"a1\"", "savepoint", "null", "--x\n", "/*", "*/",
        "'", "$$", ".", "with", "as", "prepare", "for",
    ]), 0..40)) {
        let raw = words.join(" ");
        let parsed = SqlCache::default().parse(raw.as_bytes(), false, false);
        for part in &parsed.parts {
            prop_assert!(part.info.text.len() <= raw.len() + raw.len() / 2 + 4);
        }
    }

    /// The secret is in no output, wherever it stands as a literal.
    #[test]
    fn no_literal_survives(before in "[a-z =(,]{0,20}", secret in "[0-9]{6}", after in "[a-z =),]{0,20}") {
        for quoted in [format!("'{secret}'"), format!("E'\\'{secret}'"), format!("$x${secret}$x$"), format!(" {secret} ")] {
            let raw = format!("select {before} {quoted} {after}");
            let parsed = SqlCache::default().parse(raw.as_bytes(), false, false);
            prop_assert!(parsed.parts.iter().all(|part| !part.info.text.contains(&secret)));
        }
    }
}

/// Whoever asks for the text as it was sent gets that statement's, bounded, and nobody else gets any.
#[test]
fn texts_are_captured_only_on_demand_and_bounded() {
    let raw = "SELECT 'a;b' ; -- c\n INSERT INTO t VALUES ('x')";
    let parsed = SqlCache::default().parse(raw.as_bytes(), false, false);
    assert!(parsed.parts.iter().all(|part| part.text.is_none()));
    let mut cache = SqlCache::new(10, 100_000).capturing(true);
    let parsed = cache.parse(raw.as_bytes(), false, false);
    let texts: Vec<_> = parsed
        .parts
        .iter()
        .map(|part| part.text.as_deref())
        .collect();
    let expected = [
        Some("SELECT 'a;b'"),
        Some("-- c\n INSERT INTO t VALUES ('x')"),
    ];
    assert_eq!(texts, expected);
    // Cut within a character of two bytes.
    let long = format!("SELECT '{}", "é".repeat(MAX_CAPTURED));
    let parsed = cache.parse(long.as_bytes(), true, false);
    let text = parsed.parts[0].text.as_deref().unwrap();
    assert!(
        text.len() <= MAX_CAPTURED + 3 && text.ends_with("é…"),
        "{}",
        text.len()
    );
    for n in 0..100 {
        cache.parse(
            format!("SELECT '{n}{}'", "x".repeat(5_000)).as_bytes(),
            false,
            false,
        );
    }
    assert!(cache.bytes() <= 2 * 100_000, "{}", cache.bytes());
}
