//! Statements that are worth comparing: those that read or change tables of the application.

use crate::sql::{Operation, SqlInfo};

/// Whether a loop around this statement would be a mistake of the application. Transaction control,
/// pings and what drivers ask the catalogues are not.
pub(super) fn is_relevant(sql: &SqlInfo) -> bool {
    match sql.operation {
        Operation::Select => reads_a_table(&sql.text),
        Operation::Insert | Operation::Update | Operation::Delete | Operation::Merge => true,
        _ => false,
    }
}

/// Whether a query reads anything but the catalogues; a ping reads nothing. The text is normalised:
/// one blank between words, keywords in lower case.
fn reads_a_table(text: &str) -> bool {
    let mut reads = false;
    let mut source_next = false;
    for word in text.split(' ') {
        if source_next {
            let name = word.trim_start_matches('(');
            if is_catalogue(name) {
                return false;
            }
            reads = true;
        }
        source_next = matches!(word, "from" | "join" | "table");
    }
    reads
}

fn is_catalogue(name: &str) -> bool {
    name.starts_with("pg_") || name.starts_with("information_schema")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::SqlCache;

    fn relevant(text: &str) -> bool {
        let parsed = SqlCache::new(1, 1_000).parse(text.as_bytes(), false, false);
        is_relevant(&parsed.parts[0].info)
    }

    /// A pool that pings its connections and an ORM that asks for columns would each be reported.
    #[test]
    fn what_drivers_ask_by_themselves_is_left_out() {
        for text in [
            "SELECT 1",
            "select version()",
            "SELECT pg_catalog.set_config('search_path', '', false)",
            "SELECT oid FROM pg_type WHERE typname = 'hstore'",
            "SELECT t.oid FROM pg_catalog.pg_type t JOIN pg_namespace ns ON ns.oid = t.typnamespace",
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
            "BEGIN",
            "COMMIT",
            "SHOW transaction_read_only",
            "SET client_encoding TO 'UTF8'",
            "COPY items TO STDOUT",
        ] {
            assert!(!relevant(text), "{text}");
        }
    }

    #[test]
    fn what_the_application_asks_is_compared() {
        for text in [
            "SELECT name FROM items WHERE id = 7",
            "SELECT a.x FROM a JOIN b ON a.id = b.id WHERE b.id = $1",
            "select * from (select id from orders where id = 3) o",
            "INSERT INTO events VALUES (1, 2)",
            "UPDATE items SET seen = now() WHERE id = 4",
            "DELETE FROM items WHERE id = 4",
            "WITH o AS (SELECT * FROM orders WHERE id = 1) SELECT * FROM o",
        ] {
            assert!(relevant(text), "{text}");
        }
    }
}
