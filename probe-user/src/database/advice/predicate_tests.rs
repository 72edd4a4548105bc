use proptest::prelude::*;

use super::*;

fn column(name: &str, comparison: Comparison) -> Predicate {
    Predicate {
        term: Term::Column {
            name: name.to_owned(),
            cast: None,
        },
        comparison,
    }
}

#[test]
fn conditions_are_read_as_postgres_writes_them() {
    use Comparison::{Equal, IsFalse, IsNotNull, IsNull, IsTrue, Joined, Range};
    for (text, expected) in [
        ("(o.customer_id = $1)", vec![column("customer_id", Equal)]),
        ("($1 = o.customer_id)", vec![column("customer_id", Equal)]),
        (
            "(o.customer_id = c.id)",
            vec![column("customer_id", Joined)],
        ),
        (
            "(c.id = o.customer_id)",
            vec![column("customer_id", Joined)],
        ),
        (
            "((o.deleted_at IS NULL) AND (o.a >= $1) AND (o.a < ($2 + '1 day'::interval)))",
            vec![
                column("deleted_at", IsNull),
                column("a", Range),
                column("a", Range),
            ],
        ),
        ("(o.a IS NOT NULL)", vec![column("a", IsNotNull)]),
        ("o.paid", vec![column("paid", IsTrue)]),
        ("(NOT o.paid)", vec![column("paid", IsFalse)]),
        (
            "(o.id = ANY (ARRAY[$1, $2, $3]))",
            vec![column("id", Equal)],
        ),
        ("(o.id = ANY ($1))", vec![column("id", Equal)]),
        (
            "(o.\"Customer Id\" = $1)",
            vec![column("Customer Id", Equal)],
        ),
        // Nothing that an index on this table could serve, or nothing that is known.
        ("((o.a = $1) OR (o.b = $2))", vec![]),
        ("((o.name)::text ~~ $1)", vec![]),
        ("(o.a <> $1)", vec![]),
        ("($1 = ANY (o.tags))", vec![]),
        ("(o.a = o.b)", vec![]),
        ("(c.a = $1)", vec![]),
        ("(date_trunc($1, o.created_at) = $2)", vec![]),
        ("(NOT (hashed SubPlan 1))", vec![]),
        ("(SubPlan 1)", vec![]),
        ("(ROW(o.a, o.b) = ROW($1, $2))", vec![]),
        ("", vec![]),
    ] {
        assert_eq!(predicates(text, "o"), expected, "{text}");
    }
}

#[test]
fn expressions_lose_the_alias_and_nothing_else() {
    let expression = |text: &str| match &predicates(text, "u")[0].term {
        Term::Expression { text, .. } => text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(expression("(lower(u.email) = $1)"), "lower(email)");
    assert_eq!(
        expression("(lower((u.\"Mail\")::text) = $1)"),
        "lower((\"Mail\")::text)"
    );
    assert_eq!(expression("((u.a + u.b) > $1)"), "a + b");
    assert_eq!(
        expression("(pg_catalog.upper(u.a) = $1)"),
        "pg_catalog.upper(a)"
    );
    assert_eq!(
        expression("((u.data ->> 'kind'::text) = $1)"),
        "data ->> 'kind'::text"
    );
    assert_eq!(
        predicates("((u.name)::text = $1)", "u")[0].term,
        Term::Column {
            name: "name".into(),
            cast: Some("text".into())
        }
    );
}

#[test]
fn sort_keys_are_columns_or_none() {
    let keys = |keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        sort_keys(&keys, "o")
    };
    let key = |column: &str, descending| SortKey {
        column: column.into(),
        descending,
    };
    assert_eq!(
        keys(&["o.created_at DESC", "o.id"]),
        Some(vec![key("created_at", true), key("id", false)])
    );
    assert_eq!(keys(&["o.a DESC NULLS LAST"]), None);
    assert_eq!(keys(&["c.a"]), None);
    assert_eq!(keys(&["(lower(o.a))"]), None);
}

proptest! {
    #[test]
    fn no_condition_makes_it_panic(text in ".{0,120}", alias in "[a-z]{0,3}") {
        predicates(&text, &alias);
        sort_keys(&[text], &alias);
    }

    #[test]
    fn no_mixture_makes_it_panic(words in proptest::collection::vec(
        prop::sample::select(vec![
            "(", ")", "o.a", "o", ".", "AND", "OR", "NOT", "IS", "NULL", "=", "<", "$1", "::",
            "text", "ANY", "c.b", "\"", "'x'", "ARRAY[", "]", "lower(",
        ]), 0..20,
    )) {
        predicates(&words.join(" "), "o");
    }
}
