//! What the server lets us see, and what is missing for the rest.

use serde::Serialize;
use sqlx::{PgConnection, Row as _};

use super::{activity::count, connect::statement};

const FACTS: &str = "
    SELECT current_setting('server_version') AS version,
           current_setting('server_version_num')::int4 AS version_number,
           current_user::text AS username, current_database()::text AS datname,
           pg_catalog.pg_is_in_recovery() AS is_standby,
           pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS sees_others,
           pg_catalog.pg_size_bytes(current_setting('track_activity_query_size')) AS query_bytes,
           current_setting('standard_conforming_strings') = 'off' AS backslash_escapes,
           current_setting('track_activities') = 'on' AS tracks_activities";

const EXTENSIONS: &str = "
    SELECT name::text, installed_version::text FROM pg_catalog.pg_available_extensions
    WHERE name IN ('hypopg', 'pg_stat_statements') ORDER BY 1";

/// Tables whose statements can't be explained: EXPLAIN asks for the right to read.
const UNREADABLE: &str = "
    SELECT count(*), count(*) FILTER (
               WHERE NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE')
                          AND pg_catalog.has_table_privilege(c.oid, 'SELECT')))
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%'
      AND n.nspname <> 'information_schema'";

/// Where predefined roles for reading all data begin.
const HAS_READ_ALL_DATA: i32 = 140_000;

/// Something that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// A word for it, as the label `part` has it.
    pub part: &'static str,
    /// Why.
    pub why: String,
    /// What is not known without it.
    pub cost: String,
    /// What to do.
    pub remedy: String,
}

/// An extension that matters to us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// The version that is installed in the database that we are connected to.
    pub installed: Option<String>,
}

/// What hardly changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) version: String,
    pub(super) version_number: i32,
    pub(super) user: String,
    pub(super) datname: String,
    pub(super) is_standby: bool,
    pub(super) sees_others: bool,
    pub(super) query_bytes: u64,
    pub(super) backslash_escapes: bool,
    pub(super) tracks_activities: bool,
}

pub(super) async fn facts(connection: &mut PgConnection) -> Result<Facts, sqlx::Error> {
    let row = statement(FACTS).fetch_one(connection).await?;
    let version: String = row.try_get("version")?;
    Ok(Facts {
        // Debian adds its own: `15.13 (Debian 15.13-0+deb12u1)`.
        version: version.split(' ').next().unwrap_or_default().to_owned(),
        version_number: row.try_get("version_number")?,
        user: row.try_get("username")?,
        datname: row.try_get("datname")?,
        is_standby: row.try_get("is_standby")?,
        sees_others: row.try_get("sees_others")?,
        query_bytes: count(row.try_get("query_bytes")?),
        backslash_escapes: row.try_get("backslash_escapes")?,
        tracks_activities: row.try_get("tracks_activities")?,
    })
}

pub(super) async fn extensions(
    connection: &mut PgConnection,
) -> Result<Vec<Extension>, sqlx::Error> {
    let rows: Vec<(String, Option<String>)> = sqlx::query_as(EXTENSIONS)
        .persistent(false)
        .fetch_all(connection)
        .await?;
    let extension = |(name, installed)| Extension { name, installed };
    Ok(rows.into_iter().map(extension).collect())
}

/// Tables of the database, and how many of them we may not read.
pub(super) async fn unreadable(connection: &mut PgConnection) -> Result<(u64, u64), sqlx::Error> {
    let (all, unreadable) = sqlx::query_as(UNREADABLE)
        .persistent(false)
        .fetch_one(connection)
        .await?;
    Ok((count(all), count(unreadable)))
}

/// What the facts say is missing.
pub(super) fn missing(
    facts: &Facts,
    extensions: &[Extension],
    (tables, unreadable): (u64, u64),
    wants_advice: bool,
) -> Vec<Missing> {
    let mut missing = Vec::new();
    let user = quoted(&facts.user);
    if !facts.sees_others {
        missing.push(Missing {
            part: "other_sessions",
            why: format!("{user} is no member of pg_monitor"),
            cost: "states, waits, statements and locks of other users' sessions, and how far \
                   followers are behind"
                .to_owned(),
            remedy: format!("GRANT pg_monitor TO {user};"),
        });
    }
    if !facts.tracks_activities {
        missing.push(Missing {
            part: "activities",
            why: "track_activities is off".to_owned(),
            cost: "states, waits and statements of all sessions".to_owned(),
            remedy: "ALTER SYSTEM SET track_activities = on; SELECT pg_reload_conf();".to_owned(),
        });
    }
    if !wants_advice {
        return missing;
    }
    if unreadable > 0 {
        let grant = if facts.version_number >= HAS_READ_ALL_DATA {
            format!("GRANT pg_read_all_data TO {user};")
        } else {
            format!(
                "GRANT USAGE ON SCHEMA ... TO {user}; GRANT SELECT ON ALL TABLES IN SCHEMA ... TO {user};"
            )
        };
        missing.push(Missing {
            part: "tables",
            why: format!(
                "{user} may not read {unreadable} of {tables} tables, which EXPLAIN asks for"
            ),
            cost: "advice on indexes for statements on these tables".to_owned(),
            remedy: grant,
        });
    }
    let hypopg = extensions
        .iter()
        .find(|extension| extension.name == "hypopg");
    if hypopg.is_none_or(|extension| extension.installed.is_none()) {
        let remedy = match hypopg {
            Some(_) => "CREATE EXTENSION hypopg;".to_owned(),
            None => format!(
                "install it on the server (Debian: postgresql-{}-hypopg), then CREATE EXTENSION hypopg;",
                facts.version_number / 10_000
            ),
        };
        missing.push(Missing {
            part: "hypopg",
            why: format!("the extension is not installed in {}", facts.datname),
            cost: "the planner's cost with an index that is not there: advice is a guess then"
                .to_owned(),
            remedy,
        });
    }
    missing
}

/// A name as SQL takes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins_plain = name.chars().next().is_some_and(|c| !c.is_ascii_digit());
    if begins_plain && name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an operator copies into psql must do what it says.
    #[test]
    fn remedies_fit_the_version_and_name_the_user() {
        let facts = |version_number| Facts {
            version_number,
            user: "Probe".to_owned(),
            datname: "shop".to_owned(),
            tracks_activities: true,
            ..Facts::default()
        };
        let remedies = |version, extensions: &[Extension]| {
            let missing = missing(&facts(version), extensions, (5, 2), true);
            let remedies = missing.into_iter().map(|missing| missing.remedy);
            remedies.collect::<Vec<_>>().join("\n")
        };
        let there = [Extension {
            name: "hypopg".to_owned(),
            installed: None,
        }];
        assert_eq!(
            remedies(150_013, &there),
            "GRANT pg_monitor TO \"Probe\";\nGRANT pg_read_all_data TO \"Probe\";\n\
             CREATE EXTENSION hypopg;"
        );
        let old = remedies(130_000, &[]);
        assert!(old.contains("GRANT SELECT ON ALL TABLES") && old.contains("postgresql-13-hypopg"));
    }
}
