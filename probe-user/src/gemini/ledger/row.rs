//! A call as a row of the store.

use sqlx::{AnyConnection, Row as _, any::AnyRow};
use twox_hash::XxHash3_64;

use crate::{
    gemini::{Amounts, Audio, Call, Cost, Format, Operation, Outcome, PriceVersion, Source, Usage},
    store::{Doing as _, StoreError, Values, trusted, unsigned},
};

/// Columns in the order in which [`Row::fill`] writes and [`read`] reads them; the first is the key.
const COLUMNS: &[&str] = &[
    "id",
    "at_ms",
    "host",
    "service",
    "feature",
    "route",
    "model",
    "operation",
    "source",
    "sources",
    "outcome",
    "status",
    "error_code",
    "duration_ns",
    "first_chunk_ns",
    "usage_format",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "thoughts_tokens",
    "tool_use_tokens",
    "total_tokens",
    "audio_prompt_tokens",
    "audio_cached_tokens",
    "audio_output_tokens",
    "batch",
    "mismatch",
    "cost",
    "cost_nano_usd",
    "price",
    "response_id",
    "idempotency_key",
    "content_hash",
    "counted_ms",
    "counted_calls",
    "counted_tokens",
    "counted_nano_usd",
];

const DOING: &str = "cannot write a call";

/// A call, and how it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) call: Call,
    /// All who saw it, as bits.
    pub(super) sources: i64,
    /// Of what was reported first, by which a key that is used twice is found.
    pub(super) content_hash: i64,
    /// In the windows of which time limits count it.
    pub(super) counted_ms: i64,
    /// As what.
    pub(super) counted: Amounts,
}

/// The bit of one who saw a call.
pub(super) const fn bit(source: Source) -> i64 {
    match source {
        Source::Endpoint => 1,
        Source::Gateway => 2,
        Source::Wire => 4,
    }
}

/// Of what a report says, without the times, which differ when it is sent again.
pub(super) fn content_hash(call: &Call) -> i64 {
    let text = format!(
        "{}\n{}\n{}\n{}\n{:?}\n{:?}\n{:?}",
        call.model,
        call.feature,
        call.service,
        call.operation,
        call.outcome,
        call.response_id,
        call.usage
    );
    XxHash3_64::oneshot(text.as_bytes()).cast_signed()
}

impl Row {
    /// Writes it unless its key is there; whether it did.
    ///
    /// # Errors
    /// As the database says.
    pub(super) async fn insert(&self, connection: &mut AnyConnection) -> Result<bool, StoreError> {
        let places: Vec<String> = (1..=COLUMNS.len()).map(|n| format!("${n}")).collect();
        let sql = format!(
            "INSERT INTO gemini_calls ({}) VALUES ({}) ON CONFLICT DO NOTHING",
            COLUMNS.join(", "),
            places.join(", ")
        );
        let done = sqlx::query_with(trusted(sql), self.values().finish()?)
            .execute(connection)
            .await
            .doing(DOING)?;
        Ok(done.rows_affected() == 1)
    }

    /// Writes over the row of the same id.
    ///
    /// # Errors
    /// As the database says.
    pub(super) async fn update(&self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        let columns = COLUMNS.iter().zip(1..).skip(1);
        let columns: Vec<String> = columns.map(|(name, n)| format!("{name} = ${n}")).collect();
        let sql = format!(
            "UPDATE gemini_calls SET {} WHERE id = $1",
            columns.join(", ")
        );
        sqlx::query_with(trusted(sql), self.values().finish()?)
            .execute(connection)
            .await
            .doing(DOING)
            .map(drop)
    }

    fn values(&self) -> Values {
        let call = &self.call;
        let (status, code) = match call.outcome {
            Outcome::Ok => (200, None),
            Outcome::Error { status, code } => (status, code),
            Outcome::Incomplete => (0, None),
        };
        let price = match &call.cost {
            Cost::Known { price, .. } => Some(price.as_str()),
            _ => None,
        };
        let mut values = Values::default();
        values
            .signed(call.id)
            .signed(call.at_ms)
            .text(&call.host)
            .text(&call.service)
            .text(&call.feature)
            .optional_text(call.route.as_deref())
            .text(&call.model)
            .text(call.operation.as_str())
            .text(call.source.as_str())
            .signed(self.sources)
            .text(call.outcome.as_str())
            .count(status.into())
            .optional_text(code.map(|code| code.as_str()))
            .count(call.duration_ns)
            .optional_count(call.first_chunk_ns);
        fill_usage(&mut values, call.usage.as_ref());
        values
            .text(call.cost.as_str())
            .optional_count(call.cost.nano_usd())
            .optional_text(price)
            .optional_text(call.response_id.as_deref())
            .optional_text(call.key.as_deref())
            .signed(self.content_hash)
            .signed(self.counted_ms)
            .count(self.counted.calls)
            .count(self.counted.tokens)
            .count(self.counted.nano_usd);
        values
    }
}

fn fill_usage(values: &mut Values, usage: Option<&Usage>) {
    let count = |of: fn(&Usage) -> u64| usage.map(of);
    values
        .optional_text(usage.map(|usage| format_name(usage.format)))
        .optional_count(count(|usage| usage.prompt))
        .optional_count(count(|usage| usage.cached))
        .optional_count(count(|usage| usage.output))
        .optional_count(count(|usage| usage.thoughts))
        .optional_count(count(|usage| usage.tool_use))
        .optional_count(usage.and_then(|usage| usage.total))
        .optional_count(count(|usage| usage.audio.prompt))
        .optional_count(count(|usage| usage.audio.cached))
        .optional_count(count(|usage| usage.audio.output))
        .optional_count(count(|usage| usage.batch.into()))
        .optional_text(
            usage
                .and_then(|usage| usage.mismatch)
                .map(|one| one.as_str()),
        );
}

const FORMATS: [(Format, &str); 3] = [
    (Format::UsageMetadata, "usage_metadata"),
    (Format::Interactions, "interactions"),
    (Format::Plain, "plain"),
];

fn format_name(format: Format) -> &'static str {
    let found = FORMATS.iter().find(|(one, _)| *one == format);
    found.map_or("plain", |(_, name)| name)
}

/// Rows that fulfil a condition, with the values of its places.
///
/// # Errors
/// As the database says.
pub(super) async fn find(
    connection: &mut AnyConnection,
    condition: &str,
    values: Values,
) -> Result<Vec<Row>, StoreError> {
    const DOING: &str = "cannot read calls";
    let sql = format!(
        "SELECT {} FROM gemini_calls WHERE {condition}",
        COLUMNS.join(", ")
    );
    let rows = sqlx::query_with(trusted(sql), values.finish()?)
        .fetch_all(connection)
        .await
        .doing(DOING)?;
    let read: Result<Vec<Row>, sqlx::Error> = rows.iter().map(read).collect();
    read.doing(DOING)
}

fn read(row: &AnyRow) -> Result<Row, sqlx::Error> {
    let optional = |name: &str| row.try_get::<Option<String>, _>(name);
    let text = |name: &str| row.try_get::<String, _>(name);
    let signed = |name: &str| row.try_get::<i64, _>(name);
    let count = |name: &str| signed(name).map(unsigned);
    let optional_count = |name: &str| {
        let value = row.try_get::<Option<i64>, _>(name);
        value.map(|value| value.map(unsigned))
    };
    let outcome = match text("outcome")?.as_str() {
        "ok" => Outcome::Ok,
        "error" => Outcome::Error {
            status: u16::try_from(signed("status")?).unwrap_or(0),
            code: optional("error_code")?.and_then(|code| code.parse().ok()),
        },
        _ => Outcome::Incomplete,
    };
    let cost = match text("cost")?.as_str() {
        "known" => Cost::Known {
            nano_usd: optional_count("cost_nano_usd")?.unwrap_or(0),
            price: PriceVersion::new(&optional("price")?.unwrap_or_default()),
        },
        "unknown_model" => Cost::UnknownModel,
        "no_usage" => Cost::NoUsage,
        _ => Cost::Free,
    };
    Ok(Row {
        call: Call {
            id: signed("id")?,
            key: optional("idempotency_key")?,
            response_id: optional("response_id")?,
            at_ms: signed("at_ms")?,
            host: text("host")?,
            service: text("service")?,
            feature: text("feature")?,
            route: optional("route")?,
            model: text("model")?,
            operation: text("operation")?.parse().unwrap_or(Operation::Other),
            source: text("source")?.parse().unwrap_or(Source::Endpoint),
            outcome,
            duration_ns: count("duration_ns")?,
            first_chunk_ns: optional_count("first_chunk_ns")?,
            usage: read_usage(row)?,
            cost,
        },
        sources: signed("sources")?,
        content_hash: signed("content_hash")?,
        counted_ms: signed("counted_ms")?,
        counted: Amounts {
            calls: count("counted_calls")?,
            tokens: count("counted_tokens")?,
            nano_usd: count("counted_nano_usd")?,
        },
    })
}

fn read_usage(row: &AnyRow) -> Result<Option<Usage>, sqlx::Error> {
    let Some(format) = row.try_get::<Option<String>, _>("usage_format")? else {
        return Ok(None);
    };
    let optional = |name: &str| {
        let value = row.try_get::<Option<i64>, _>(name);
        value.map(|value| value.map(unsigned))
    };
    let count = |name: &str| optional(name).map(Option::unwrap_or_default);
    let format = FORMATS.iter().find(|(_, name)| *name == format);
    let mismatch = row.try_get::<Option<String>, _>("mismatch")?;
    Ok(Some(Usage {
        prompt: count("prompt_tokens")?,
        cached: count("cached_tokens")?,
        output: count("output_tokens")?,
        thoughts: count("thoughts_tokens")?,
        tool_use: count("tool_use_tokens")?,
        total: optional("total_tokens")?,
        audio: Audio {
            prompt: count("audio_prompt_tokens")?,
            cached: count("audio_cached_tokens")?,
            output: count("audio_output_tokens")?,
        },
        batch: count("batch")? != 0,
        format: format.map_or(Format::Plain, |(format, _)| *format),
        mismatch: mismatch.and_then(|text| text.parse().ok()),
    }))
}
