//! Indexes that exist and are not worth their cost: broken, double, or never used.

use super::{
    catalog::{Catalog, Index, Table},
    report::{Advice, IndexFacts, Kind, TableFacts},
};

/// Smallest index that is worth a word because nobody uses it, in bytes.
const MIN_UNUSED_BYTES: i64 = 1 << 20;

const CAUTION_LOCK: &str = "DROP INDEX CONCURRENTLY waits for transactions that use the table, and can't run inside a transaction";
const CAUTION_REPLICAS: &str =
    "Each replica counts its own use of indexes: look at pg_stat_user_indexes there, too";

/// Looks at all indexes of tables for which `is_large` holds. Unused ones are told of once the
/// statistics are `unused_after_s` old.
pub fn housekeeping(
    catalog: &Catalog,
    is_large: impl Fn(&Table) -> bool,
    unused_after_s: f64,
) -> Vec<Advice> {
    let mut advice = Vec::new();
    for table in &catalog.tables {
        let indexes = catalog.indexes_of(table);
        for index in &indexes {
            let found = if index.of_partition {
                None
            } else if !index.valid {
                Some(invalid(table, index))
            } else if !is_large(table) || !may_go(index) {
                None
            } else {
                double(table, index, &indexes).or_else(|| {
                    unused(
                        table,
                        index,
                        catalog.server.statistics_age_s,
                        unused_after_s,
                    )
                })
            };
            advice.extend(found);
        }
    }
    advice
}

/// Whether nothing but queries depends on it.
fn may_go(index: &Index) -> bool {
    !index.unique && !index.constraint && !index.replica_identity
}

fn invalid(table: &Table, index: &Index) -> Advice {
    let summary = format!(
        "{} can't be used by queries, but is kept up to date by every write: its creation failed",
        index.quoted
    );
    let cautions = vec![
        "While CREATE INDEX CONCURRENTLY is at work its index looks like this: see pg_stat_progress_create_index first".to_owned(),
        "If the index is wanted, REINDEX INDEX CONCURRENTLY makes it anew".to_owned(),
    ];
    drop_index(Kind::InvalidIndex, table, index, summary, cautions)
}

fn double(table: &Table, index: &Index, all: &[&Index]) -> Option<Advice> {
    let others = || {
        all.iter()
            .filter(|other| other.quoted != index.quoted && other.valid)
    };
    if let Some(other) = others().find(|other| is_same(index, other) && stays(other, index)) {
        let summary = format!("{} is the same as {}", index.quoted, other.quoted);
        let cautions = vec![CAUTION_LOCK.to_owned()];
        return Some(drop_index(
            Kind::DuplicateIndex,
            table,
            index,
            summary,
            cautions,
        ));
    }
    let other = others().find(|other| is_start_of(index, other))?;
    let summary = format!(
        "{} is the start of {}, which serves the same queries",
        index.quoted, other.quoted
    );
    let cautions = vec![
        "The longer index is larger, so a query that only needs the shorter one reads somewhat more".to_owned(),
        CAUTION_LOCK.to_owned(),
    ];
    Some(drop_index(
        Kind::RedundantIndex,
        table,
        index,
        summary,
        cautions,
    ))
}

fn same_kind(one: &Index, other: &Index) -> bool {
    one.method == other.method && one.predicate == other.predicate
}

fn is_same(one: &Index, other: &Index) -> bool {
    same_kind(one, other)
        && one.keys == other.keys
        && one.key_options == other.key_options
        && one.included == other.included
}

/// Of two that are the same, one stays: what a constraint needs, else the first by name.
fn stays(one: &Index, other: &Index) -> bool {
    !may_go(one) || one.quoted < other.quoted
}

fn is_start_of(one: &Index, other: &Index) -> bool {
    same_kind(one, other)
        && one.method == "btree"
        && one.keys.len() < other.keys.len()
        && other.keys.starts_with(&one.keys)
        && other.key_options.starts_with(&one.key_options)
        && one
            .included
            .iter()
            .all(|column| other.included.contains(column) || other.keys.contains(column))
}

fn unused(table: &Table, index: &Index, age_s: f64, after_s: f64) -> Option<Advice> {
    if index.scans > 0 || index.bytes < MIN_UNUSED_BYTES || age_s < after_s {
        return None;
    }
    let summary = format!(
        "{} was not used by any query since the statistics began, at least {} ago",
        index.quoted,
        in_words(age_s)
    );
    let cautions = vec![
        "It may be younger than the statistics, or be needed by something that runs seldom, such as a report at the end of a month".to_owned(),
        CAUTION_REPLICAS.to_owned(),
        "An index on the columns of a foreign key also serves deletes in the table that it refers to".to_owned(),
        CAUTION_LOCK.to_owned(),
    ];
    Some(drop_index(
        Kind::UnusedIndex,
        table,
        index,
        summary,
        cautions,
    ))
}

fn in_words(seconds: f64) -> String {
    let (number, unit) = match seconds {
        s if s >= 172_800.0 => (s / 86_400.0, "days"),
        s if s >= 7_200.0 => (s / 3_600.0, "hours"),
        s if s >= 120.0 => (s / 60.0, "minutes"),
        s => (s, "seconds"),
    };
    format!("{:.0} {unit}", number.floor())
}

fn drop_index(
    kind: Kind,
    table: &Table,
    index: &Index,
    summary: String,
    cautions: Vec<String>,
) -> Advice {
    let mut definition = format!(
        "{} USING {} ({})",
        table.quoted,
        index.method,
        index.keys.join(", ")
    );
    if !index.included.is_empty() {
        definition.push_str(&format!(" INCLUDE ({})", index.included.join(", ")));
    }
    if let Some(predicate) = &index.predicate {
        definition.push_str(&format!(" WHERE {predicate}"));
    }
    Advice {
        kind,
        summary,
        statement: format!("DROP INDEX CONCURRENTLY {};", index.quoted),
        cautions,
        table: table_facts(table),
        index: Some(IndexFacts {
            name: index.quoted.clone(),
            definition,
            bytes: Some(index.bytes),
        }),
        gain: None,
        write_cost: None,
        statements: Vec::new(),
    }
}

/// What a piece of advice tells of a table.
pub(super) fn table_facts(table: &Table) -> TableFacts {
    TableFacts {
        name: table.quoted.clone(),
        rows: table.known_rows(),
        bytes: table.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::advice::catalog::Server;

    fn index(name: &str, keys: &[&str]) -> Index {
        Index {
            name: name.into(),
            quoted: format!("public.{name}"),
            table: 1,
            method: "btree".into(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            key_options: keys.iter().map(|_| "1/0/0".to_owned()).collect(),
            valid: true,
            bytes: 8 << 20,
            scans: 1,
            ..Index::default()
        }
    }

    fn found(indexes: Vec<Index>, age_s: f64) -> Vec<(Kind, String)> {
        let table = Table {
            oid: 1,
            quoted: "public.t".into(),
            rows: 1e6,
            ..Table::default()
        };
        let catalog = Catalog {
            server: Server {
                statistics_age_s: age_s,
                ..Server::default()
            },
            tables: vec![table],
            indexes,
        };
        let advice = housekeeping(&catalog, |_| true, 86_400.0);
        advice
            .into_iter()
            .map(|one| (one.kind, one.statement))
            .collect()
    }

    fn drop_of(kind: Kind, name: &str) -> (Kind, String) {
        (kind, format!("DROP INDEX CONCURRENTLY public.{name};"))
    }

    /// Advice to drop what a constraint needs, or both of two that are the same, does harm.
    #[test]
    fn of_double_indexes_the_one_that_nothing_needs_goes() {
        let key = Index {
            unique: true,
            constraint: true,
            ..index("z_pkey", &["id"])
        };
        assert_eq!(
            found(
                vec![
                    index("a", &["x"]),
                    index("b", &["x"]),
                    key,
                    index("c", &["id"])
                ],
                0.0
            ),
            [
                drop_of(Kind::DuplicateIndex, "b"),
                drop_of(Kind::DuplicateIndex, "c")
            ]
        );
        let wide = index("wide", &["x", "y"]);
        assert_eq!(
            found(
                vec![
                    index("narrow", &["x"]),
                    wide.clone(),
                    index("other", &["y"])
                ],
                0.0
            ),
            [drop_of(Kind::RedundantIndex, "narrow")]
        );
        for kept in [
            Index {
                unique: true,
                ..index("n", &["x"])
            },
            Index {
                predicate: Some("(y IS NULL)".into()),
                ..index("n", &["x"])
            },
            Index {
                key_options: vec!["1/0/3".into()],
                ..index("n", &["x"])
            },
            Index {
                method: "hash".into(),
                ..index("n", &["x"])
            },
            Index {
                included: vec!["w".into()],
                ..index("n", &["x"])
            },
        ] {
            assert_eq!(found(vec![kept, wide.clone()], 0.0), []);
        }
    }

    #[test]
    fn unused_indexes_are_told_of_once_the_statistics_are_old_enough() {
        let unused = Index {
            scans: 0,
            ..index("u", &["x"])
        };
        assert_eq!(found(vec![unused.clone()], 3_600.0), []);
        assert_eq!(
            found(vec![unused.clone()], 90_000.0),
            [drop_of(Kind::UnusedIndex, "u")]
        );
        for kept in [
            Index {
                unique: true,
                ..unused.clone()
            },
            Index {
                constraint: true,
                ..unused.clone()
            },
            Index {
                replica_identity: true,
                ..unused.clone()
            },
            Index {
                bytes: 8_192,
                ..unused.clone()
            },
            Index {
                scans: 1,
                ..unused.clone()
            },
        ] {
            assert_eq!(found(vec![kept], 90_000.0), []);
        }
        let broken = Index {
            valid: false,
            ..index("u", &["x"])
        };
        assert_eq!(found(vec![broken], 0.0), [drop_of(Kind::InvalidIndex, "u")]);
    }
}
