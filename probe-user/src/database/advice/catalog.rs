//! Tables, columns and indexes as the server's catalogue and statistics have them.

use std::collections::HashMap;

use sqlx::{PgConnection, Row as _, postgres::PgRow};

/// Most tables and indexes that are read; a database with more is looked at in part.
const MAX_RELATIONS: i64 = 20_000;

/// The server and the database.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Server {
    /// Name of the database.
    pub database: String,
    /// Version, such as 150018.
    pub version: i32,
    /// Seconds that the statistics have been collected for, at least.
    pub statistics_age_s: f64,
    /// Where HypoPG's functions are, quoted; `None` when it is not created in this database.
    pub hypopg_schema: Option<String>,
    /// Whether the server has HypoPG's files.
    pub hypopg_available: bool,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// Its number in the catalogue.
    pub oid: i64,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Schema and name, quoted where needed.
    pub quoted: String,
    /// Whether it is partitioned, or a partition.
    pub partitioned: bool,
    /// Rows by the planner's statistics; negative when there are none.
    pub rows: f64,
    /// Its size without indexes.
    pub bytes: i64,
    /// Rows by the statistics of activity.
    pub live_rows: i64,
    /// Rows that changed since the planner's statistics were made.
    pub changed_since_analyze: i64,
    /// Rows inserted, since the statistics began.
    pub inserted: i64,
    /// Rows updated.
    pub updated: i64,
    /// Of these, without work on indexes.
    pub hot_updated: i64,
    /// Rows deleted.
    pub deleted: i64,
}

impl Table {
    /// Its rows as far as anything tells.
    pub fn known_rows(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "an estimate anyway")]
        let live = self.live_rows.max(0) as f64;
        if self.rows < 0.0 { live } else { self.rows }
    }

    /// Why the planner's picture of it is wrong, if it is.
    pub fn stale(&self) -> Option<String> {
        #[expect(clippy::cast_precision_loss, reason = "an estimate anyway")]
        let changed = self.changed_since_analyze.max(0) as f64;
        if self.rows < 0.0 {
            Some("it was never analysed, so the planner knows nothing about it".to_owned())
        } else if changed > 0.5 * self.known_rows().max(1_000.0) {
            Some(format!(
                "{changed:.0} rows have changed since it was analysed; the planner takes it for {:.0} rows",
                self.rows
            ))
        } else {
            None
        }
    }
}

/// A column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column {
    /// Its name, quoted where needed.
    pub quoted: String,
    /// Its type, as SQL writes it.
    pub kind: String,
    /// Distinct values; negative: a share of the rows. `None` when not known.
    pub distinct: Option<f64>,
}

/// An index.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Schema and name, quoted where needed.
    pub quoted: String,
    /// Number of its table in the catalogue.
    pub table: i64,
    /// `btree`, `gin`, ...
    pub method: String,
    /// Its keys: columns, quoted where needed, or expressions.
    pub keys: Vec<String>,
    /// Operator class, collation and order of each key.
    pub key_options: Vec<String>,
    /// Columns that are stored with it.
    pub included: Vec<String>,
    /// The condition of a partial index.
    pub predicate: Option<String>,
    /// Whether it keeps rows unique.
    pub unique: bool,
    /// Whether it is part of a constraint: primary key, unique, exclusion, or a foreign key's target.
    pub constraint: bool,
    /// Whether replication identifies rows by it.
    pub replica_identity: bool,
    /// Whether queries may use it.
    pub valid: bool,
    /// Whether it belongs to the index of a partitioned table.
    pub of_partition: bool,
    /// Its size.
    pub bytes: i64,
    /// How often it was used, since the statistics began.
    pub scans: i64,
}

/// All of one database.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    /// The server.
    pub server: Server,
    /// Tables of users.
    pub tables: Vec<Table>,
    /// Their indexes.
    pub indexes: Vec<Index>,
}

impl Catalog {
    /// Reads it.
    ///
    /// # Errors
    /// What the server said.
    pub async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        Ok(Self {
            server: server(connection).await?,
            tables: tables(connection).await?,
            indexes: indexes(connection).await?,
        })
    }

    /// A table by schema and name.
    pub fn table(&self, schema: &str, name: &str) -> Option<&Table> {
        self.tables
            .iter()
            .find(|table| table.schema == schema && table.name == name)
    }

    /// A table's indexes.
    pub fn indexes_of(&self, table: &Table) -> Vec<&Index> {
        self.indexes
            .iter()
            .filter(|index| index.table == table.oid)
            .collect()
    }
}

async fn server(connection: &mut PgConnection) -> Result<Server, sqlx::Error> {
    let row = sqlx::query(
        "SELECT current_database()::text AS database,
                current_setting('server_version_num')::int4 AS version,
                extract(epoch FROM now() - coalesce(
                    (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),
                    pg_postmaster_start_time()))::float8 AS statistics_age_s,
                (SELECT quote_ident(n.nspname) FROM pg_extension e
                 JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'hypopg')::text
                    AS hypopg_schema,
                EXISTS (SELECT FROM pg_available_extensions WHERE name = 'hypopg')
                    AS hypopg_available",
    )
    .persistent(false)
    .fetch_one(connection)
    .await?;
    Ok(Server {
        database: row.try_get("database")?,
        version: row.try_get("version")?,
        statistics_age_s: row.try_get("statistics_age_s")?,
        hypopg_schema: row.try_get("hypopg_schema")?,
        hypopg_available: row.try_get("hypopg_available")?,
    })
}

async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT c.oid::int8 AS oid, n.nspname::text AS schema, c.relname::text AS name,
                format('%I.%I', n.nspname, c.relname) AS quoted,
                c.relkind = 'p' OR c.relispartition AS partitioned,
                c.reltuples::float8 AS rows, pg_relation_size(c.oid)::int8 AS bytes,
                coalesce(s.n_live_tup, 0)::int8 AS live_rows,
                coalesce(s.n_mod_since_analyze, 0)::int8 AS changed,
                coalesce(s.n_tup_ins, 0)::int8 AS inserted,
                coalesce(s.n_tup_upd, 0)::int8 AS updated,
                coalesce(s.n_tup_hot_upd, 0)::int8 AS hot_updated,
                coalesce(s.n_tup_del, 0)::int8 AS deleted
         FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
         WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't'
           AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
         ORDER BY c.relpages DESC, c.oid LIMIT $1",
    )
    .persistent(false)
    .bind(MAX_RELATIONS)
    .fetch_all(connection)
    .await?;
    let table = |row: &PgRow| {
        Ok(Table {
            oid: row.try_get("oid")?,
            schema: row.try_get("schema")?,
            name: row.try_get("name")?,
            quoted: row.try_get("quoted")?,
            partitioned: row.try_get("partitioned")?,
            rows: row.try_get("rows")?,
            // `None` when it was dropped meanwhile.
            bytes: row.try_get::<Option<i64>, _>("bytes")?.unwrap_or(0),
            live_rows: row.try_get("live_rows")?,
            changed_since_analyze: row.try_get("changed")?,
            inserted: row.try_get("inserted")?,
            updated: row.try_get("updated")?,
            hot_updated: row.try_get("hot_updated")?,
            deleted: row.try_get("deleted")?,
        })
    };
    rows.iter().map(table).collect()
}

async fn indexes(connection: &mut PgConnection) -> Result<Vec<Index>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT c.relname::text AS name, format('%I.%I', n.nspname, c.relname) AS quoted,
                i.indrelid::int8 AS table_oid, a.amname::text AS method,
                ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, false)
                      FROM generate_series(1, i.indnkeyatts) k ORDER BY k) AS keys,
                ARRAY(SELECT concat_ws('/', i.indclass[k], i.indcollation[k], i.indoption[k])
                      FROM generate_series(0, i.indnkeyatts - 1) k ORDER BY k) AS key_options,
                ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, false)
                      FROM generate_series(i.indnkeyatts + 1, i.indnatts) k ORDER BY k) AS included,
                pg_get_expr(i.indpred, i.indrelid) AS predicate,
                i.indisunique AS is_unique,
                i.indisprimary OR i.indisexclusion
                    OR EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
                    AS is_constraint,
                i.indisreplident AS replica_identity,
                i.indisvalid AND i.indisready AND i.indislive AS valid,
                c.relispartition OR c.relkind = 'I' AS of_partition,
                pg_relation_size(c.oid)::int8 AS bytes,
                coalesce(s.idx_scan, 0)::int8 AS scans
         FROM pg_index i
         JOIN pg_class c ON c.oid = i.indexrelid
         JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_am a ON a.oid = c.relam
         LEFT JOIN pg_stat_user_indexes s ON s.indexrelid = i.indexrelid
         WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
           AND c.relpersistence <> 't'
         ORDER BY n.nspname, c.relname LIMIT $1",
    )
    .persistent(false)
    .bind(MAX_RELATIONS)
    .fetch_all(connection)
    .await?;
    let index = |row: &PgRow| {
        Ok(Index {
            name: row.try_get("name")?,
            quoted: row.try_get("quoted")?,
            table: row.try_get("table_oid")?,
            method: row.try_get("method")?,
            keys: row.try_get("keys")?,
            key_options: row.try_get("key_options")?,
            included: row.try_get("included")?,
            predicate: row.try_get("predicate")?,
            unique: row.try_get("is_unique")?,
            constraint: row.try_get("is_constraint")?,
            replica_identity: row.try_get("replica_identity")?,
            valid: row.try_get("valid")?,
            of_partition: row.try_get("of_partition")?,
            bytes: row.try_get::<Option<i64>, _>("bytes")?.unwrap_or(0),
            scans: row.try_get("scans")?,
        })
    };
    rows.iter().map(index).collect()
}

/// The columns of a table by their names.
///
/// # Errors
/// What the server said.
pub async fn columns(
    connection: &mut PgConnection,
    table: &Table,
) -> Result<HashMap<String, Column>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT a.attname::text AS name, quote_ident(a.attname) AS quoted,
                format_type(a.atttypid, a.atttypmod) AS kind, s.n_distinct::float8 AS n_distinct
         FROM pg_attribute a
         LEFT JOIN pg_stats s ON s.schemaname = $2 AND s.tablename = $3
              AND s.attname = a.attname AND NOT s.inherited
         WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped",
    )
    .persistent(false)
    .bind(table.oid)
    .bind(&table.schema)
    .bind(&table.name)
    .fetch_all(connection)
    .await?;
    let column = |row: &PgRow| {
        let column = Column {
            quoted: row.try_get("quoted")?,
            kind: row.try_get("kind")?,
            distinct: row.try_get("n_distinct")?,
        };
        Ok((row.try_get("name")?, column))
    };
    rows.iter().map(column).collect()
}
