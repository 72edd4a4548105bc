-- What browsers said.

-- One value of one page life; a later value replaces it.
CREATE TABLE web_vitals (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    host TEXT NOT NULL,
    app TEXT NOT NULL,
    release TEXT NOT NULL,
    page TEXT NOT NULL,
    device TEXT NOT NULL,
    connection TEXT NOT NULL,
    navigation TEXT NOT NULL,
    -- Microseconds, or millionths.
    value_micro BIGINT NOT NULL,
    rating TEXT NOT NULL,
    target TEXT,
    url TEXT,
    load_state TEXT,
    -- Page loads that it stands for, in thousandths.
    weight_milli BIGINT NOT NULL,
    PRIMARY KEY (id, name)
);
CREATE INDEX web_vitals_by_time ON web_vitals (at_ms);
CREATE INDEX web_vitals_by_page ON web_vitals (page, at_ms);
CREATE INDEX web_vitals_by_host ON web_vitals (host, at_ms);

CREATE TABLE browser_errors (
    id BIGINT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    host TEXT NOT NULL,
    app TEXT NOT NULL,
    release TEXT NOT NULL,
    page TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    times BIGINT NOT NULL
);
CREATE INDEX browser_errors_by_time ON browser_errors (at_ms);
CREATE INDEX browser_errors_by_group ON browser_errors (app, fingerprint, at_ms);
CREATE INDEX browser_errors_by_host ON browser_errors (host, at_ms);

-- What an error looks like, once for each release, because each has other lines and columns.
CREATE TABLE browser_error_samples (
    app TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    release TEXT NOT NULL,
    kind TEXT NOT NULL,
    error_type TEXT NOT NULL,
    message TEXT NOT NULL,
    stack TEXT,
    source TEXT,
    line_number BIGINT,
    column_number BIGINT,
    -- When it was seen first; kept as long as the error is.
    first_ms BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL,
    PRIMARY KEY (app, fingerprint, release)
);

-- Views, actions, calls and resources of a page in a window of time.
CREATE TABLE browser_sums (
    from_ms BIGINT NOT NULL,
    to_ms BIGINT NOT NULL,
    host TEXT NOT NULL,
    app TEXT NOT NULL,
    page TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    detail TEXT NOT NULL,
    times BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    opaque BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    PRIMARY KEY (from_ms, to_ms, host, app, page, kind, name, detail)
);
CREATE INDEX browser_sums_by_host ON browser_sums (host, from_ms);
