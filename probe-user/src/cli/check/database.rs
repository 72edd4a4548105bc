//! The part of `hostprobe check` about configured databases: whether they can be asked, and what is
//! missing for the whole.

use std::fmt::Write as _;

use crate::{
    config,
    database::{self, AskedDatabase, Link, Server},
};

/// Asks each database once, all at the same time.
pub(super) fn ask(databases: &[config::Database]) -> Vec<AskedDatabase> {
    if databases.is_empty() {
        return Vec::new();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return Vec::new();
    };
    runtime.block_on(async {
        let mut asked: Vec<_> = databases
            .iter()
            .cloned()
            .map(|database| tokio::spawn(async move { database::inspect(&database).await }))
            .collect();
        let mut reports = Vec::new();
        for one in asked.drain(..) {
            reports.extend(one.await.ok());
        }
        reports
    })
}

/// The section in plain words.
pub(super) fn text(out: &mut String, databases: &[AskedDatabase]) -> std::fmt::Result {
    if databases.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nDatabases")?;
    for database in databases {
        let name = &database.name;
        line(out, name, &database.server, describe)?;
        if let Some(look) = database.server.current() {
            for missing in &look.found.missing {
                writeln!(
                    out,
                    "  {:<27} not known: {}, because {}; {}",
                    "", missing.cost, missing.why, missing.remedy
                )?;
            }
        }
        if let Some(console) = &database.pooler {
            line(out, &format!("{name} PgBouncer"), console, |pooler| {
                let pools = pooler.pools.len();
                format!("PgBouncer {}, {pools} pools", pooler.version)
            })?;
        }
    }
    Ok(())
}

fn line<T>(
    out: &mut String,
    name: &str,
    link: &Link<T>,
    describe: impl Fn(&T) -> String,
) -> std::fmt::Result {
    match (&link.error, link.current()) {
        (Some(error), _) => writeln!(out, "  {name:<18} PROBLEM  {error}"),
        (None, Some(look)) => writeln!(out, "  {name:<18} ok       {}", describe(&look.found)),
        (None, None) => writeln!(out, "  {name:<18} PROBLEM  it was not asked"),
    }
}

fn describe(server: &Server) -> String {
    let role = if server.is_standby {
        "standby"
    } else {
        "primary"
    };
    let limits = server.limits.map(|limits| limits.verdict());
    format!(
        "Postgres {}, {role}, as {} in {}; {}",
        server.version,
        server.user,
        server.datname,
        limits.unwrap_or_else(|| "connections are not known".to_owned())
    )
}
