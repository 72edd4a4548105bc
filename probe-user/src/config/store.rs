//! Section `[store]`: where slow queries and the like are kept.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::{DatabaseUrl, values::as_it_is_shown};

/// Section `[store]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Where it is; unset: a file in the state directory, see
    /// [`default_file`](crate::store::default_file).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<StoreUrl>,
    /// A file whose first line is the password for Postgres; wins over the one in `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Days after which records are deleted.
    pub retention_days: u32,
    /// Bytes of the store beyond which the oldest records are deleted.
    pub max_bytes: u64,
    /// Records that may wait to be written.
    pub queue: u32,
    /// Longest time from a record to its transaction, in milliseconds.
    pub flush_ms: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: None,
            password_file: None,
            retention_days: 30,
            max_bytes: 1 << 30,
            queue: 10_000,
            flush_ms: 500,
        }
    }
}

/// Where a store is. It may hold a password, so neither `Debug`, `Display` nor the printed
/// configuration show that.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// Nothing is kept.
    None,
    /// An SQLite file, by its absolute path.
    Sqlite(PathBuf),
    /// A Postgres database, by its address.
    Postgres(DatabaseUrl),
}

impl FromStr for StoreUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::None);
        }
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = Path::new(path.strip_prefix("//").unwrap_or(path));
            let names_a_file = path.file_name().is_some() && !text.ends_with('/');
            return match path.is_absolute() && names_a_file {
                true => Ok(Self::Sqlite(path.to_owned())),
                false => Err("the path of an SQLite file must be absolute, as in sqlite:///path"),
            };
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return text.parse().map(Self::Postgres);
        }
        Err("it is neither an SQLite file nor a Postgres database")
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

as_it_is_shown!(StoreUrl);

#[cfg(test)]
mod tests {
    use super::*;

    /// An operator pastes what `hostprobe config` and the log print into tickets.
    #[test]
    fn a_password_is_not_shown() {
        let url: StoreUrl = "postgresql://a:secret@db:5433/p".parse().unwrap();
        assert_eq!(url.to_string(), "postgresql://a:***@db:5433/p");
        assert_eq!(format!("{url:?}"), r#""postgresql://a:***@db:5433/p""#);
    }

    #[test]
    fn a_file_needs_an_absolute_path() {
        let file = |text: &str| text.parse::<StoreUrl>();
        let path = StoreUrl::Sqlite("/var/lib/x.db".into());
        assert_eq!(file("sqlite:///var/lib/x.db"), Ok(path.clone()));
        assert_eq!(file("sqlite:/var/lib/x.db"), Ok(path));
        for wrong in [
            "sqlite://x.db",
            "sqlite::memory:",
            "sqlite:///",
            "sqlite:///var/lib/",
            "/var/lib/x.db",
            "mysql://a@b/c",
            "",
        ] {
            assert!(file(wrong).is_err(), "{wrong}");
        }
    }
}
