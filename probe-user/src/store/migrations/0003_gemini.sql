-- Usage of the Gemini API. Prompts, answers and keys are nowhere in here.

CREATE TABLE gemini_calls (
    id BIGINT NOT NULL PRIMARY KEY,
    -- When it began, in Unix milliseconds.
    at_ms BIGINT NOT NULL,
    host TEXT NOT NULL,
    service TEXT NOT NULL,
    feature TEXT NOT NULL,
    route TEXT,
    model TEXT NOT NULL,
    operation TEXT NOT NULL,
    -- endpoint, gateway or wire: the one that is believed most of those in sources (1, 2, 4).
    source TEXT NOT NULL,
    sources BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    status BIGINT NOT NULL,
    error_code TEXT,
    duration_ns BIGINT NOT NULL,
    first_chunk_ns BIGINT,
    -- NULL where the tokens are not known.
    usage_format TEXT,
    prompt_tokens BIGINT,
    cached_tokens BIGINT,
    output_tokens BIGINT,
    thoughts_tokens BIGINT,
    tool_use_tokens BIGINT,
    total_tokens BIGINT,
    audio_prompt_tokens BIGINT,
    audio_cached_tokens BIGINT,
    audio_output_tokens BIGINT,
    batch BIGINT,
    mismatch TEXT,
    -- known, unknown_model, no_usage or free; the price is that of the time of the call.
    cost TEXT NOT NULL,
    cost_nano_usd BIGINT,
    price TEXT,
    response_id TEXT,
    idempotency_key TEXT UNIQUE,
    content_hash BIGINT NOT NULL,
    -- What limits count it as, and in the windows of which time.
    counted_ms BIGINT NOT NULL,
    counted_calls BIGINT NOT NULL,
    counted_tokens BIGINT NOT NULL,
    counted_nano_usd BIGINT NOT NULL
);
CREATE INDEX gemini_calls_by_time ON gemini_calls (at_ms);
CREATE INDEX gemini_calls_by_host ON gemini_calls (host, at_ms);
CREATE INDEX gemini_calls_by_response ON gemini_calls (response_id);
CREATE INDEX gemini_calls_by_counted ON gemini_calls (counted_ms);

-- What was promised to a call that is not over yet.
CREATE TABLE gemini_reservations (
    id BIGINT NOT NULL PRIMARY KEY,
    made_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    -- 0 open, 1 settled, 2 expired, 3 released.
    state BIGINT NOT NULL,
    host TEXT NOT NULL,
    service TEXT NOT NULL,
    feature TEXT NOT NULL,
    model TEXT NOT NULL,
    tokens BIGINT NOT NULL,
    nano_usd BIGINT NOT NULL,
    idempotency_key TEXT UNIQUE,
    call_id BIGINT
);
CREATE INDEX gemini_reservations_by_end ON gemini_reservations (state, expires_ms);

-- What an open reservation holds of each limit.
CREATE TABLE gemini_holds (
    reservation_id BIGINT NOT NULL,
    limit_key TEXT NOT NULL,
    window_ms BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    PRIMARY KEY (reservation_id, limit_key)
);
CREATE INDEX gemini_holds_by_limit ON gemini_holds (limit_key, window_ms);

-- Use of each limit in each of its windows: the sum of the calls, and that of the holds.
CREATE TABLE gemini_use (
    limit_key TEXT NOT NULL,
    window_ms BIGINT NOT NULL,
    ends_ms BIGINT NOT NULL,
    used BIGINT NOT NULL,
    held BIGINT NOT NULL,
    PRIMARY KEY (limit_key, window_ms)
);
CREATE INDEX gemini_use_by_end ON gemini_use (ends_ms);
