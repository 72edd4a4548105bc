//! Inserting many rows with few statements, and the values of their columns.

use sqlx::{AnyConnection, Arguments as _, any::AnyArguments};

use super::{StoreError, connections::trusted, error::Doing as _};

/// Rows of one statement. Few different numbers, because each is a statement to prepare.
const CHUNKS: [usize; 3] = [64, 8, 1];

/// Into which table, and what happens to a row that is there already.
pub(crate) struct Insert {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static [&'static str],
    /// From `ON CONFLICT` on. A batch that is written a second time must change nothing.
    pub(crate) on_conflict: &'static str,
}

impl Insert {
    /// Inserts all rows; `fill` adds a row's values in the order of the columns.
    ///
    /// # Errors
    /// As the database says.
    pub(crate) async fn run<R>(
        &self,
        connection: &mut AnyConnection,
        mut rows: &[R],
        mut fill: impl FnMut(&mut Values, &R),
    ) -> Result<(), StoreError> {
        const DOING: &str = "cannot write";
        for size in CHUNKS {
            while let Some((chunk, rest)) = rows.split_at_checked(size) {
                rows = rest;
                let mut values = Values(AnyArguments::default(), None);
                for row in chunk {
                    fill(&mut values, row);
                }
                let Values(arguments, failed) = values;
                if let Some(error) = failed {
                    return Err(sqlx::Error::Encode(error)).doing(DOING);
                }
                sqlx::query_with(trusted(self.sql(size)), arguments)
                    .execute(&mut *connection)
                    .await
                    .doing(DOING)?;
                if rows.is_empty() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn sql(&self, rows: usize) -> String {
        let width = self.columns.len();
        let row = |row: usize| {
            let places: Vec<String> = (1..=width)
                .map(|column| format!("${}", row * width + column))
                .collect();
            format!("({})", places.join(", "))
        };
        let rows: Vec<String> = (0..rows).map(row).collect();
        format!(
            "INSERT INTO {} ({}) VALUES {} {}",
            self.table,
            self.columns.join(", "),
            rows.join(", "),
            self.on_conflict
        )
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Values of a statement, in the order of its places.
#[derive(Default)]
pub(crate) struct Values(AnyArguments, Option<Failure>);

impl Values {
    /// Text. Postgres can't keep the character 0, so neither does SQLite.
    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        let value = value.replace('\0', "\u{fffd}");
        let added = self.0.add(value);
        self.note(added)
    }

    /// Text or NULL.
    pub(crate) fn optional_text(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(value),
            None => {
                let added = self.0.add(None::<String>);
                self.note(added)
            }
        }
    }

    /// A number with a sign, such as a time.
    pub(crate) fn signed(&mut self, value: i64) -> &mut Self {
        let added = self.0.add(value);
        self.note(added)
    }

    /// A count; one that SQL has no room for becomes the largest.
    pub(crate) fn count(&mut self, value: u64) -> &mut Self {
        self.signed(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// A count or NULL.
    pub(crate) fn optional_count(&mut self, value: Option<u64>) -> &mut Self {
        match value {
            Some(value) => self.count(value),
            None => {
                let added = self.0.add(None::<i64>);
                self.note(added)
            }
        }
    }

    /// Bytes.
    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        let added = self.0.add(value.to_vec());
        self.note(added)
    }

    /// A fingerprint, as it is written everywhere.
    pub(crate) fn fingerprint(&mut self, value: u64) -> &mut Self {
        self.text(&format!("{value:016x}"))
    }

    /// The values, for a statement.
    ///
    /// # Errors
    /// A value that could not be taken.
    pub(crate) fn finish(self) -> Result<AnyArguments, StoreError> {
        match self.1 {
            Some(error) => Err(sqlx::Error::Encode(error)).doing("cannot ask"),
            None => Ok(self.0),
        }
    }

    fn note(&mut self, added: Result<(), Failure>) -> &mut Self {
        if let Err(error) = added {
            self.1.get_or_insert(error);
        }
        self
    }
}

/// A number of the database, which has a sign, as a count.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

/// A fingerprint as it was stored.
pub(crate) fn parse_fingerprint(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_place() {
        let insert = Insert {
            table: "t",
            columns: &["a", "b"],
            on_conflict: "ON CONFLICT DO NOTHING",
        };
        assert_eq!(
            insert.sql(2),
            "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING"
        );
    }
}
