-- One text for SQLite and Postgres; {bytes} is BLOB there and BYTEA here.

-- Who writes here. A probe says so each time it opens the store, which shows that it can write.
CREATE TABLE hosts (
    host TEXT NOT NULL PRIMARY KEY,
    version TEXT NOT NULL,
    seen_ms BIGINT NOT NULL
);

-- Each text once, however often it is slow.
CREATE TABLE statements (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    operation TEXT NOT NULL,
    sql TEXT NOT NULL,
    seen_ms BIGINT NOT NULL
);

CREATE TABLE slow_queries (
    id BIGINT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    host TEXT NOT NULL,
    service TEXT NOT NULL,
    side TEXT NOT NULL,
    database_name TEXT,
    user_name TEXT,
    application_name TEXT,
    client TEXT,
    fingerprint TEXT NOT NULL,
    statement_text TEXT,
    duration_ns BIGINT NOT NULL,
    ttfb_ns BIGINT,
    row_count BIGINT,
    sqlstate TEXT,
    method TEXT,
    route TEXT,
    trace_id TEXT,
    shared_latency BIGINT NOT NULL
);
-- The order of pages; the others are what is asked for most.
CREATE INDEX slow_queries_by_time ON slow_queries (at_ms, id);
CREATE INDEX slow_queries_by_service ON slow_queries (service, at_ms, id);
CREATE INDEX slow_queries_by_fingerprint ON slow_queries (fingerprint, at_ms, id);
-- Each host deletes its own.
CREATE INDEX slow_queries_by_host ON slow_queries (host, at_ms);

-- A database that is not known is '', because NULLs are never equal.
CREATE TABLE query_stats (
    from_ms BIGINT NOT NULL,
    to_ms BIGINT NOT NULL,
    host TEXT NOT NULL,
    service TEXT NOT NULL,
    side TEXT NOT NULL,
    database_name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    calls BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    busy_ns BIGINT NOT NULL,
    buckets {bytes} NOT NULL,
    -- 1 once its window was summed up to an hour.
    hourly BIGINT NOT NULL,
    PRIMARY KEY (from_ms, to_ms, host, service, side, database_name, fingerprint)
);
CREATE INDEX query_stats_by_host ON query_stats (host, hourly, from_ms);
CREATE INDEX query_stats_by_fingerprint ON query_stats (fingerprint);
