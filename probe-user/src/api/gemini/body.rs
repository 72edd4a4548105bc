//! What is sent. Every mistake names the member, its value and what is allowed.

use std::fmt;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{
    api::Problem,
    gemini::{
        Call, Cost, ErrorCode, Estimate, Gemini, MAX_TOKENS, Operation, Outcome, ReservationId,
        Reserved, Source, UNKNOWN_FEATURE, Usage, UsageError,
    },
};

/// The most calls of a batch.
const MAX_CALLS: usize = 1_000;
/// The longest name of a model, a feature, a service or a route, in bytes.
const MAX_NAME: usize = 128;
/// The longest call, in milliseconds.
const MAX_DURATION_MS: f64 = 86_400_000.0;
/// How late a call may be reported, and how far the clock of who reports it may be ahead.
const MAX_AGE_MS: i64 = 31 * 86_400_000;
const MAX_AHEAD_MS: i64 = 60_000;
/// The longest value that is shown in a message, in characters.
const SHOWN: usize = 60;

/// What a key may be.
pub(super) const KEY: &str = "allowed are 1 to 128 printable ASCII characters";
const NAME: &str = "allowed are 1 to 128 bytes without control characters";

/// Members of a report of a call.
const REPORT: &[&str] = &[
    "model",
    "feature",
    "service",
    "route",
    "operation",
    "duration_ms",
    "first_chunk_ms",
    "status",
    "error_code",
    "at",
    "response_id",
    "idempotency_key",
    "usage",
    "usageMetadata",
    "usage_metadata",
];
/// Plain counts that may stand beside them, instead of in `usage`.
const COUNTS: &[&str] = &[
    "prompt_tokens",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "thoughts_tokens",
    "thought_tokens",
    "tool_use_tokens",
    "total_tokens",
    "audio_prompt_tokens",
    "audio_input_tokens",
    "audio_cached_tokens",
    "audio_output_tokens",
    "batch",
];

/// A member that can't be used.
#[derive(Debug, PartialEq)]
pub(super) struct Wrong {
    /// Such as `calls[3].usage.promptTokenCount`; empty for the whole.
    field: String,
    message: String,
}

impl Wrong {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }

    /// As it is answered; it is counted as well.
    pub(super) fn turned_away(self, gemini: &Gemini) -> Problem {
        gemini.turned_away("bad_request");
        let problem = Problem::new(StatusCode::BAD_REQUEST, self.to_string());
        problem.with("field", self.field)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "`{}`: {}", self.field, self.message)
        }
    }
}

/// One call or a batch of them, as an array or as `{"calls": [...]}`; whether it is one. The header's
/// key is that of the one call; in a batch, each call has its place behind it.
pub(super) fn calls(
    body: &Value,
    key: Option<&str>,
    gemini: &Gemini,
) -> Result<(Vec<Call>, bool), Wrong> {
    let (list, at) = match body {
        Value::Array(list) => (list, ""),
        Value::Object(object) if object.contains_key("calls") => {
            Members::new(object, String::new()).only(&["calls"], &[])?;
            match object.get("calls") {
                Some(Value::Array(list)) => (list, "calls"),
                _ => return Err(Wrong::new("calls", "allowed is an array of calls")),
            }
        }
        Value::Object(object) => {
            let members = Members::new(object, String::new());
            return Ok((
                vec![report(&members, key.map(str::to_owned), gemini)?],
                true,
            ));
        }
        _ => {
            let message = "the body is neither a call, which is an object, nor an array of calls";
            return Err(Wrong::new("", message));
        }
    };
    if list.is_empty() || list.len() > MAX_CALLS {
        let message = format!("{} calls; allowed are 1 to {MAX_CALLS}", list.len());
        return Err(Wrong::new(at, message));
    }
    let calls: Result<Vec<Call>, Wrong> = list
        .iter()
        .enumerate()
        .map(|(index, one)| {
            let at = format!("{at}[{index}]");
            let Value::Object(object) = one else {
                return Err(Wrong::new(at, "allowed is a call, which is an object"));
            };
            let key = key.map(|key| format!("{key}#{index}"));
            report(&Members::new(object, format!("{at}.")), key, gemini)
        })
        .collect();
    Ok((calls?, false))
}

fn report(members: &Members<'_>, key: Option<String>, gemini: &Gemini) -> Result<Call, Wrong> {
    members.only(REPORT, COUNTS)?;
    let model = members.name("model")?;
    let model = model.ok_or_else(|| members.missing("model", "the model that was called"))?;
    call(members, model, key, gemini)
}

/// The members that a report and a commit share.
fn call(
    members: &Members<'_>,
    model: String,
    key: Option<String>,
    gemini: &Gemini,
) -> Result<Call, Wrong> {
    let now_ms = gemini.now_ms();
    let operation = members.operation()?;
    let outcome = members.outcome()?;
    let usage = members.usage()?;
    let free = operation == Operation::CountTokens || outcome != Outcome::Ok;
    if usage.is_none() && !free {
        return Err(members.missing(
            "usage",
            "the tokens of the call, as the API's usageMetadata or usage or as plain counts; only \
             what did not end well may be without",
        ));
    }
    let duration_ms = members.duration("duration_ms")?;
    let at_ms = match members.at(now_ms)? {
        Some(at_ms) => at_ms,
        // It is over now.
        None => now_ms.saturating_sub(whole(duration_ms.unwrap_or(0.0))),
    };
    let feature = members.name("feature")?;
    let mut call = Call {
        id: Call::new_id(at_ms),
        key: members.key()?.or(key),
        response_id: members.text("response_id", MAX_NAME, NAME)?,
        at_ms,
        host: gemini.host().to_string(),
        service: members.name("service")?.unwrap_or_default(),
        feature: feature.unwrap_or_else(|| UNKNOWN_FEATURE.to_owned()),
        route: members.name("route")?,
        model,
        operation,
        source: Source::Endpoint,
        outcome,
        duration_ns: nanoseconds(duration_ms.unwrap_or(0.0)),
        first_chunk_ns: members.duration("first_chunk_ms")?.map(nanoseconds),
        usage,
        cost: Cost::Free,
    };
    call.cost = gemini.prices().cost_of(&call);
    Ok(call)
}

/// What a call is expected to take.
pub(super) fn estimate(body: &Value, key: Option<&str>) -> Result<Estimate, Wrong> {
    let members = object(body)?;
    members.only(
        &["model", "feature", "service", "tokens", "idempotency_key"],
        &[],
    )?;
    let model = members.name("model")?;
    let tokens = match members.get("tokens") {
        None => {
            let what = "the most tokens that the call will take, of all kinds together";
            return Err(members.missing("tokens", what));
        }
        Some(value) => {
            let tokens = value.as_u64().filter(|tokens| *tokens <= MAX_TOKENS);
            let allowed = format!("allowed is a whole number from 0 to {MAX_TOKENS}");
            tokens.ok_or_else(|| members.wrong("tokens", &allowed))?
        }
    };
    Ok(Estimate {
        model: model.ok_or_else(|| members.missing("model", "the model that will be called"))?,
        feature: members.name("feature")?.unwrap_or_default(),
        service: members.name("service")?.unwrap_or_default(),
        tokens,
        key: members.key()?.or_else(|| key.map(str::to_owned)),
    })
}

/// Which reservation is settled.
pub(super) fn reservation(body: &Value) -> Result<ReservationId, Wrong> {
    object(body)?.reservation()
}

/// The same, with nothing beside it.
pub(super) fn only_reservation(body: &Value) -> Result<ReservationId, Wrong> {
    let members = object(body)?;
    members.only(&["reservation"], &[])?;
    members.reservation()
}

/// The call that a reservation was for. What it does not say is as it was reserved.
pub(super) fn settled(
    body: &Value,
    key: Option<&str>,
    gemini: &Gemini,
    reserved: Option<&Reserved>,
) -> Result<Call, Wrong> {
    let members = object(body)?;
    let mut known = vec!["reservation"];
    known.extend(REPORT);
    members.only(&known, COUNTS)?;
    let model = match (members.name("model")?, reserved) {
        (Some(model), _) => model,
        (None, Some(reserved)) => reserved.model.clone(),
        (None, None) => {
            let what = "the model that was called: the store does not know this reservation";
            return Err(members.missing("model", what));
        }
    };
    let mut call = call(&members, model, key.map(str::to_owned), gemini)?;
    if let Some(reserved) = reserved {
        if members.get("feature").is_none() {
            call.feature.clone_from(&reserved.feature);
        }
        if members.get("service").is_none() {
            call.service.clone_from(&reserved.service);
        }
        if members.get("duration_ms").is_none() && members.get("at").is_none() {
            call.at_ms = reserved.made_ms.min(call.at_ms);
            let ms = gemini.now_ms().saturating_sub(call.at_ms);
            call.duration_ns = u64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000);
        }
    }
    Ok(call)
}

fn object(body: &Value) -> Result<Members<'_>, Wrong> {
    match body {
        Value::Object(object) => Ok(Members::new(object, String::new())),
        _ => Err(Wrong::new("", "the body is no object")),
    }
}

/// Whether it can be a key.
pub(super) fn is_key(text: &str) -> bool {
    let printable = |byte: u8| (b' '..=b'~').contains(&byte);
    !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(printable)
}

/// Members of an object, and what stands before their names in messages.
struct Members<'a> {
    object: &'a Map<String, Value>,
    before: String,
}

impl<'a> Members<'a> {
    fn new(object: &'a Map<String, Value>, before: String) -> Self {
        Self { object, before }
    }

    /// `null` is the same as nothing.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn field(&self, name: &str) -> String {
        format!("{}{name}", self.before)
    }

    fn missing(&self, name: &str, what: &str) -> Wrong {
        Wrong::new(self.field(name), format!("is missing; needed is {what}"))
    }

    fn wrong(&self, name: &str, allowed: &str) -> Wrong {
        let value = self.get(name).map_or_else(String::new, shown);
        Wrong::new(self.field(name), format!("is {value}; {allowed}"))
    }

    /// Refuses what nobody would read: a slip of the pen would be a call without its tokens.
    fn only(&self, known: &[&str], more: &[&str]) -> Result<(), Wrong> {
        let mut names = self.object.keys();
        let is_known = |name: &&String| known.contains(&&***name) || more.contains(&&***name);
        match names.find(|name| !is_known(name)) {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(SHOWN).collect();
                let message = format!("there is no such member; allowed are {}", known.join(", "));
                Err(Wrong::new(self.field(&name), message))
            }
        }
    }

    fn text(&self, name: &str, most: usize, allowed: &str) -> Result<Option<String>, Wrong> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = value.as_str().filter(|text| {
            !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control)
        });
        let text = text.ok_or_else(|| self.wrong(name, allowed))?;
        Ok(Some(text.to_owned()))
    }

    fn name(&self, name: &str) -> Result<Option<String>, Wrong> {
        self.text(name, MAX_NAME, NAME)
    }

    fn key(&self) -> Result<Option<String>, Wrong> {
        const FIELD: &str = "idempotency_key";
        let Some(value) = self.get(FIELD) else {
            return Ok(None);
        };
        let key = value.as_str().filter(|key| is_key(key));
        let key = key.ok_or_else(|| self.wrong(FIELD, KEY))?;
        Ok(Some(key.to_owned()))
    }

    fn duration(&self, name: &str) -> Result<Option<f64>, Wrong> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let ms = value
            .as_f64()
            .filter(|ms| (0.0..=MAX_DURATION_MS).contains(ms));
        let allowed = "allowed is a number of milliseconds from 0 to 86400000";
        ms.ok_or_else(|| self.wrong(name, allowed)).map(Some)
    }

    /// When it began.
    fn at(&self, now_ms: i64) -> Result<Option<i64>, Wrong> {
        let Some(value) = self.get("at") else {
            return Ok(None);
        };
        let at = value
            .as_str()
            .and_then(|text| text.parse::<Timestamp>().ok());
        let at_ms = at.map(Timestamp::as_millisecond);
        let known = now_ms.saturating_sub(MAX_AGE_MS)..=now_ms.saturating_add(MAX_AHEAD_MS);
        let at_ms = at_ms.filter(|at_ms| known.contains(at_ms));
        let allowed = "allowed is when the call began, such as 2026-01-31T12:00:00Z, in the last 31 \
                       days";
        at_ms.ok_or_else(|| self.wrong("at", allowed)).map(Some)
    }

    fn operation(&self) -> Result<Operation, Wrong> {
        match self.get("operation") {
            None => Ok(Operation::GenerateContent),
            Some(value) => {
                let text = value.as_str().unwrap_or_default();
                text.parse()
                    .map_err(|allowed| self.wrong("operation", allowed))
            }
        }
    }

    fn outcome(&self) -> Result<Outcome, Wrong> {
        const ALLOWED: &str =
            "allowed is a status of HTTP from 100 to 599, or \"ok\", \"error\", \"incomplete\"";
        let code = self.text("error_code", MAX_NAME, NAME)?;
        let code = code.as_deref().map(ErrorCode::from_name);
        let status = match self.get("status") {
            None => None,
            Some(Value::String(word)) => match word.as_str() {
                "ok" => Some(200),
                // The status that says least.
                "error" => Some(500),
                "incomplete" => return Ok(Outcome::Incomplete),
                _ => return Err(self.wrong("status", ALLOWED)),
            },
            Some(value) => {
                let status = value.as_u64().and_then(|status| u16::try_from(status).ok());
                let status = status.filter(|status| (100..600).contains(status));
                Some(status.ok_or_else(|| self.wrong("status", ALLOWED))?)
            }
        };
        Ok(match (status, code) {
            (None | Some(..400), None) => Outcome::Ok,
            (status, code) => Outcome::Error {
                status: status.unwrap_or(500),
                code,
            },
        })
    }

    fn usage(&self) -> Result<Option<Usage>, Wrong> {
        let mut given: Option<(&str, Value)> = None;
        let objects = ["usage", "usageMetadata", "usage_metadata"];
        let found = objects
            .into_iter()
            .filter_map(|name| Some((name, self.get(name)?.clone())));
        let plain: Map<String, Value> = self
            .object
            .iter()
            .filter(|(name, value)| COUNTS.contains(&name.as_str()) && !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let plain = (!plain.is_empty()).then_some(("", Value::Object(plain)));
        for (name, value) in found.chain(plain) {
            if let Some((first, _)) = given {
                let name = if name.is_empty() {
                    "plain counts"
                } else {
                    name
                };
                let message = format!("{name} are given as well, which would be counted twice");
                return Err(Wrong::new(self.field(first), message));
            }
            given = Some((name, value));
        }
        let Some((name, value)) = given else {
            return Ok(None);
        };
        Usage::from_json(&value).map(Some).map_err(|error| {
            let at = self.field(name);
            match &error {
                UsageError::Field {
                    field,
                    value,
                    allowed,
                } => {
                    let dot = if name.is_empty() { "" } else { "." };
                    let message = format!("is {value}; allowed is {allowed}");
                    Wrong::new(format!("{at}{dot}{field}"), message)
                }
                _ => Wrong::new(at, error.to_string()),
            }
        })
    }

    fn reservation(&self) -> Result<ReservationId, Wrong> {
        const FIELD: &str = "reservation";
        let Some(value) = self.get(FIELD) else {
            return Err(self.missing(FIELD, "what `reserve` answered"));
        };
        let text = value.as_str().unwrap_or_default();
        text.parse().map_err(|allowed| self.wrong(FIELD, allowed))
    }
}

/// A value, cut; of lists and objects only what they are, because they may be large.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => {
            let text = other.to_string();
            match text.char_indices().nth(SHOWN) {
                Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
                None => text,
            }
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the range of durations is checked"
)]
fn whole(ms: f64) -> i64 {
    ms.round() as i64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range of durations is checked"
)]
fn nanoseconds(ms: f64) -> u64 {
    (ms * 1e6).round() as u64
}
