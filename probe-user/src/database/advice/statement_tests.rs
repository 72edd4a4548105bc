use proptest::prelude::*;

use super::*;

fn planned(text: &str) -> String {
    plannable(text, Some(20)).unwrap().text
}

#[test]
fn values_become_parameters_without_gaps() {
    for (normalised, expected) in [
        (
            "select a from t where b = ? and c > ?",
            "select a from t where b = $1 and c > $2",
        ),
        (
            "select a from t where b = $7 and c = $7",
            "select a from t where b = $1 and c = $1",
        ),
        (
            "select a from t where b in (?) and c = $4",
            "select a from t where b in ( $1 , $2 , $3 ) and c = $4",
        ),
        (
            "select a from t where b = any($1)",
            "select a from t where b = any ( $1 )",
        ),
        (
            "select a from t limit ? offset ?",
            "select a from t limit 20 offset 0",
        ),
        ("select a from t limit $1", "select a from t limit 20"),
        (
            "select a from t where d > now() - interval ?",
            "select a from t where d > now ( ) - $1 :: interval",
        ),
        (
            "select a from t where j ? ?",
            "select a from t where j ? $1",
        ),
        (
            "select count(*) from t group by ?, b",
            "select count ( * ) from t group by 1 , b",
        ),
        (
            "select a from t where b = ?::uuid",
            "select a from t where b = $1 :: uuid",
        ),
        (
            "select a from t where b between ? and ?",
            "select a from t where b between $1 and $2",
        ),
        (
            "select \"Id\" from \"T\" where \"Id\" = ?",
            "select \"Id\" from \"T\" where \"Id\" = $1",
        ),
    ] {
        assert_eq!(planned(normalised), expected, "{normalised}");
    }
}

/// The role that plans may read and nothing else.
#[test]
fn of_a_change_only_the_search_is_left() {
    for (normalised, expected) in [
        (
            "update t set a = $1, b = ? where c = $2",
            "select t . ctid from t where c = $1",
        ),
        (
            "update t x set a = u.a from u where u.id = x.id and x.c = ?",
            "select x . ctid from t x , u where u . id = x . id and x . c = $1",
        ),
        (
            "delete from t where c < ? returning id",
            "select t . ctid from t where c < $1",
        ),
        (
            "delete from t using u where u.id = t.u and u.n = ?",
            "select t . ctid from t , u where u . id = t . u and u . n = $1",
        ),
        (
            "insert into t(a) select a from u where b = ?",
            "select a from u where b = $1",
        ),
        (
            "select id from t where s = ? order by id limit ? for update skip locked",
            "select id from t where s = $1 order by id limit 20",
        ),
        (
            "select id from t where s = ? for no key update of t nowait",
            "select id from t where s = $1",
        ),
    ] {
        assert_eq!(planned(normalised).to_lowercase(), expected, "{normalised}");
    }
    let queue = "update t set s = ? where id = (select id from t where s = ? limit ? for update skip locked)";
    let text = planned(queue).to_lowercase();
    assert!(
        !text.contains("update") && text.contains("limit 10"),
        "{text}"
    );
    let with = planned(
        "with x as (select id from t where a = ?) update u set b = ? from x where u.id = x.id",
    );
    assert!(with.to_lowercase().starts_with("with x as"), "{with}");
    assert!(!with.to_lowercase().contains("update"), "{with}");
}

/// Text from the wire must never become a command, nor two.
#[test]
fn what_is_no_single_search_is_refused() {
    for text in [
        "select 1; drop table t",
        "drop table t",
        "select 1 where a = 'x'",
        "select 1 -- x",
        "select a into b from t",
        "with x as (delete from t returning *) select * from x",
        "explain analyze delete from t",
        "copy t to program ?",
        "set role postgres",
        "call p(?)",
        "do ?",
        "execute x",
        "prepare x as delete from t",
        "vacuum t",
        "insert into t values (?)",
        "delete from t",
        "select pg_sleep(\0)",
        "select \"unterminated",
        "select a from t wh…",
        "",
    ] {
        assert!(plannable(text, None).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_refused_or_becomes_one_query(text in ".{0,200}") {
        if let Ok(plannable) = plannable(&text, None) {
            is_one_query(&plannable.text);
        }
    }

    #[test]
    fn any_words_are_refused_or_become_one_query(words in proptest::collection::vec(
        prop::sample::select(vec![
            "select", "update", "delete", "insert into", "with x as (", ")", "(", "from", "t",
            "where", "a", "=", "?", "$3", ";", "'", "\"", "set", "for update", "limit", "in",
            "returning", "drop table", ",", "*", "--", "/*", "group by", "u", "and", "into",
        ]), 0..24,
    )) {
        if let Ok(plannable) = plannable(&words.join(" "), Some(3)) {
            is_one_query(&plannable.text);
        }
    }
}

fn is_one_query(text: &str) {
    assert!(!text.contains(';') && !text.contains('\''), "{text}");
    let first = text.trim_start_matches(['(', ' ']).to_lowercase();
    assert!(
        ["select", "with", "values", "table"]
            .iter()
            .any(|word| first.starts_with(word)),
        "{text}"
    );
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, text).unwrap();
    assert!(
        matches!(statements.as_slice(), [Statement::Query(_)]),
        "{text}"
    );
}
