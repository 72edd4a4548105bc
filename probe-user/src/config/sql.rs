//! Section `[sql]`: statements, and which of them are slow.

use serde::{Deserialize, Serialize};

/// Section `[sql]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sql {
    /// Statements of each service, by what they look like, that have series of their own.
    pub top_fingerprints: u32,
    /// Milliseconds from which on a statement is slow; 0 takes every statement, -1 none, as
    /// Postgres' own `log_min_duration_statement` does. A service's own goes before it.
    pub slow_ms: i32,
    /// Whether slow statements are kept as they were sent too, with the values in their text.
    pub capture_literals: bool,
    /// What is different for single databases.
    #[serde(rename = "database", skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<SqlDatabase>,
}

/// One `[[sql.database]]`: what is different for the statements in one database. It goes before
/// what a service sets, because one service may ask several databases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqlDatabase {
    /// The database as clients name it.
    pub name: String,
    /// As [`Sql::slow_ms`].
    pub slow_ms: i32,
}

/// The longest time that may be called slow: a day.
pub(super) const MAX_SLOW_MS: i32 = 86_400_000;

impl Default for Sql {
    fn default() -> Self {
        Self {
            top_fingerprints: 100,
            slow_ms: 100,
            capture_literals: false,
            databases: Vec::new(),
        }
    }
}

/// A value of `slow_ms` in nanoseconds; `None` where no statement is slow.
pub fn slow_ns(slow_ms: i32) -> Option<u64> {
    let ms = u64::try_from(slow_ms).ok()?;
    Some(ms.saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_special_values_are_those_of_postgres() {
        assert_eq!(slow_ns(-1), None);
        assert_eq!(slow_ns(0), Some(0));
        assert_eq!(slow_ns(100), Some(100_000_000));
    }
}
