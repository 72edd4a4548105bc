use super::*;
use crate::database::advice::{plan::Relation, predicate};

fn table() -> Table {
    Table {
        oid: 1,
        schema: "public".into(),
        name: "orders".into(),
        quoted: "public.orders".into(),
        rows: 100_000.0,
        ..Table::default()
    }
}

fn columns() -> HashMap<String, Column> {
    [
        ("id", "bigint", -1.0),
        ("customer_id", "integer", 5_000.0),
        ("status", "character varying(20)", 3.0),
        ("created_at", "timestamp with time zone", -0.9),
        ("deleted_at", "timestamp with time zone", 10.0),
        ("paid", "boolean", 2.0),
    ]
    .into_iter()
    .map(|(name, kind, distinct)| {
        let column = Column {
            quoted: name.into(),
            kind: kind.into(),
            distinct: Some(distinct),
        };
        (name.to_owned(), column)
    })
    .collect()
}

fn scan(filter: &str, order: &[&str]) -> Scan {
    let keys: Vec<String> = order.iter().map(|key| (*key).to_owned()).collect();
    Scan {
        relation: Relation {
            schema: "public".into(),
            name: "orders".into(),
            alias: "o".into(),
        },
        whole_table: true,
        cost: 5_000.0,
        rows: 100.0,
        predicates: predicate::predicates(filter, "o"),
        first_by: predicate::sort_keys(&keys, "o").unwrap(),
        ordered_by: None,
    }
}

fn found(filter: &str, order: &[&str], indexes: &[Index]) -> (Vec<String>, Vec<String>) {
    let indexes: Vec<&Index> = indexes.iter().collect();
    let ideas = ideas(&scan(filter, order), &table(), &columns(), &indexes);
    let shown = ideas.candidates.iter().map(|candidate| {
        candidate
            .to_string()
            .trim_start_matches("public.orders ")
            .to_owned()
    });
    (shown.collect(), ideas.notes)
}

fn index(keys: &[&str]) -> Index {
    Index {
        name: "there".into(),
        table: 1,
        method: "btree".into(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        key_options: keys.iter().map(|_| "1/0/0".to_owned()).collect(),
        valid: true,
        ..Index::default()
    }
}

#[test]
fn equality_comes_first_then_range_or_order() {
    let (ideas, _) = found("((o.customer_id = $1) AND (o.created_at > $2))", &[], &[]);
    assert_eq!(
        ideas,
        ["(customer_id)", "(created_at)", "(customer_id, created_at)"]
    );
    let (ideas, _) = found(
        "(o.customer_id = $1)",
        &["o.created_at DESC", "o.id DESC"],
        &[],
    );
    assert_eq!(
        ideas,
        [
            "(customer_id)",
            "(created_at, id)",
            "(customer_id, created_at, id)"
        ],
        "an index is read backwards as well"
    );
    let (ideas, _) = found("", &["o.created_at DESC", "o.id"], &[]);
    assert_eq!(ideas, ["(created_at, id DESC)"]);
    let (ideas, _) = found(
        "(((o.status)::text = $1) AND (o.customer_id = $2))",
        &[],
        &[],
    );
    assert_eq!(
        ideas[..3],
        ["(customer_id)", "(status)", "(customer_id, status)"]
    );
}

#[test]
fn conditions_without_values_make_partial_indexes() {
    let (ideas, _) = found(
        "((o.customer_id = $1) AND (o.deleted_at IS NULL))",
        &[],
        &[],
    );
    assert_eq!(
        ideas,
        [
            "(customer_id)",
            "(deleted_at)",
            "(customer_id) WHERE deleted_at IS NULL"
        ]
    );
    let (ideas, _) = found("(NOT o.paid)", &["o.id"], &[]);
    assert_eq!(ideas, ["(id)", "(id) WHERE NOT paid"]);
}

#[test]
fn expressions_are_repeated_as_they_are() {
    let (ideas, _) = found("(lower((o.status)::text) = $1)", &[], &[]);
    assert_eq!(ideas, ["((lower((status)::text)))"]);
    let (ideas, _) = found(
        "(lower((o.status)::text) = $1)",
        &[],
        &[index(&["lower((status)::text)"])],
    );
    assert!(ideas.is_empty(), "{ideas:?}");
}

/// Advice to make what exists costs whoever follows it disk and writes, and all trust.
#[test]
fn what_exists_is_not_proposed_again() {
    let filter = "(o.customer_id = $1)";
    for there in [
        index(&["customer_id"]),
        index(&["customer_id", "created_at"]),
        Index {
            method: "hash".into(),
            ..index(&["customer_id"])
        },
    ] {
        let (ideas, notes) = found(filter, &[], &[there]);
        assert!(
            ideas.is_empty() && notes[0].contains("there"),
            "{ideas:?} {notes:?}"
        );
    }
    for other in [
        index(&["created_at", "customer_id"]),
        Index {
            valid: false,
            ..index(&["customer_id"])
        },
        Index {
            method: "gin".into(),
            ..index(&["customer_id"])
        },
        Index {
            predicate: Some("(total > 5)".into()),
            ..index(&["customer_id"])
        },
    ] {
        assert_eq!(found(filter, &[], &[other]).0, ["(customer_id)"]);
    }
    let partial = Index {
        predicate: Some("((status)::text = 'open'::text)".into()),
        ..index(&["customer_id"])
    };
    let (ideas, notes) = found(
        "(((o.status)::text = $1) AND (o.customer_id = $2))",
        &[],
        &[partial],
    );
    assert!(!ideas.contains(&"(customer_id)".to_owned()), "{ideas:?}");
    assert!(notes[0].contains("partial index there"), "{notes:?}");
}

#[test]
fn a_converted_column_is_told_of() {
    let (ideas, notes) = found("((o.id)::text = $1)", &[], &[index(&["id"])]);
    assert_eq!(ideas, ["(((id)::text))"]);
    assert!(
        notes[0].contains("id is bigint and is converted to text"),
        "{notes:?}"
    );
}

#[test]
fn names_say_what_the_index_is_on() {
    let candidate = |keys: &[&str], predicate: Option<&str>| Candidate {
        table: "public.\"Order Items\"".into(),
        table_name: "Order Items".into(),
        keys: keys
            .iter()
            .map(|key| Key {
                text: (*key).to_owned(),
                expression: false,
                descending: false,
            })
            .collect(),
        predicate: predicate.map(str::to_owned),
        starts_with_range: false,
    };
    let one = candidate(&["\"Customer Id\"", "created_at"], None);
    assert_eq!(
        one.name(|_| false),
        "order_items_customer_id_created_at_idx"
    );
    assert_eq!(
        one.name(|name| !name.ends_with("idx2")),
        "order_items_customer_id_created_at_idx2"
    );
    assert_eq!(
        one.create(true, "n"),
        "CREATE INDEX CONCURRENTLY n ON public.\"Order Items\" (\"Customer Id\", created_at)"
    );
    let long = "x".repeat(80);
    assert!(candidate(&[&long], None).name(|_| false).len() <= 63);
    assert!(candidate(&["a"], None).is_prefix_of(&candidate(&["a", "b"], None)));
    assert!(!candidate(&["a"], Some("b")).is_prefix_of(&candidate(&["a", "b"], None)));
}
