//! Section `[[database]]`: Postgres servers that are asked, besides being watched.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use url::Url;

use super::values::as_it_is_shown;

/// Parameters of an address that are understood, each as it is written there.
pub(super) const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// One `[[database]]`: where a Postgres server can be asked what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// Value of the `database` label.
    pub name: String,
    /// Where it is, and as whom to log in.
    pub url: DatabaseUrl,
    /// A file whose first line is the password; wins over the one in `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The service whose statements run there; unset: all that the names fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The admin console of the PgBouncer before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgbouncer_url: Option<DatabaseUrl>,
    /// Seconds between two looks.
    pub interval_s: u32,
    /// Whether indexes are looked for.
    pub advice: bool,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: DatabaseUrl::default(),
            password_file: None,
            service: None,
            pgbouncer_url: None,
            interval_s: 15,
            advice: true,
        }
    }
}

/// The address of a database. It may hold a password, so neither `Debug`, `Display` nor the printed
/// configuration show that.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// What to connect with: the address, then `PGPASSFILE`, `~/.pgpass` and the `PG...` variables of
    /// the environment for what it leaves out.
    ///
    /// # Errors
    /// A parameter whose value can't be used. The message holds no password.
    pub fn options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        let options = PgConnectOptions::from_str(&self.0)?;
        // The library looks a bracketed address up as if it were a name.
        let host = options.get_host().to_owned();
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        Ok(match bare {
            Some(address) => options.host(address),
            None => options,
        })
    }

    /// The address as it was given, password and all.
    pub(crate) fn with_its_password(&self) -> &str {
        &self.0
    }

    /// Whether one was given at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names of parameters that would be ignored.
    pub(super) fn unknown_parameters(&self) -> Vec<String> {
        let Ok(url) = Url::parse(&self.0) else {
            return Vec::new();
        };
        url.query_pairs()
            .map(|(name, _)| name.into_owned())
            .filter(|name| !PARAMETERS.contains(&name.as_str()) && !name.starts_with("options["))
            .collect()
    }
}

impl FromStr for DatabaseUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => {
                Ok(Self(text.to_owned()))
            }
            _ => Err("it is no address of a Postgres database"),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(mut url) = Url::parse(&self.0) else {
            return Ok(());
        };
        if url.password().is_some() {
            // Fails only for an address that can't have a password.
            let _ = url.set_password(Some("***"));
        }
        if url.query_pairs().any(|(name, _)| name == "password") {
            let shown: Vec<(String, String)> = url
                .query_pairs()
                .map(|(name, value)| match &*name {
                    "password" => (name.into_owned(), "***".to_owned()),
                    _ => (name.into_owned(), value.into_owned()),
                })
                .collect();
            url.query_pairs_mut().clear().extend_pairs(shown);
        }
        f.write_str(url.as_str())
    }
}

as_it_is_shown!(DatabaseUrl);

#[cfg(test)]
mod tests {
    use super::*;

    /// An operator pastes what `hostprobe config` and the log print into tickets.
    #[test]
    fn a_password_is_not_shown_wherever_it_stands() {
        for (given, shown) in [
            (
                "postgres://a:secret@db:5433/shop?sslmode=require",
                "postgres://a:***@db:5433/shop?sslmode=require",
            ),
            (
                "postgres://db/shop?user=a&password=secret",
                "postgres://db/shop?user=a&password=***",
            ),
            (
                "postgres:///shop?host=/run/postgresql",
                "postgres:///shop?host=/run/postgresql",
            ),
            ("postgres://a:s%2Fecret@[::1]/x", "postgres://a:***@[::1]/x"),
        ] {
            let url: DatabaseUrl = given.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown:?}"));
        }
    }

    #[test]
    fn an_address_in_brackets_is_an_address_and_no_name() {
        let url: DatabaseUrl = "postgres://a@[::1]:5/x".parse().unwrap();
        assert_eq!(url.options().unwrap().get_host(), "::1");
    }

    #[test]
    fn only_addresses_of_postgres_are_taken() {
        for text in ["", "db", "mysql://a@b/c", "sqlite::memory:"] {
            assert!(text.parse::<DatabaseUrl>().is_err(), "{text}");
        }
    }
}
