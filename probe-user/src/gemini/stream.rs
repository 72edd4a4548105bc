//! Reads the answers of the API as they come, plain or streamed, compressed or not, for what is said
//! about a call: tokens, model, id, error. Nothing else is held: neither prompts nor answers are ever
//! in the memory of a [`ResponseReader`], except for the piece at hand. Pure.
//!
//! Forms: one JSON object; a JSON array of them (`:streamGenerateContent` without `alt=sse`, and some
//! errors); server-sent events; each of them of `generateContent` and of the Interactions API.

mod body;
mod events;
pub(in crate::gemini) mod scan;
#[cfg(test)]
mod tests;

use body::{Body, BodyError, Sink};
use events::{Lines, Piece};
use scan::{Found, Member, Scanner, Shape};
use serde_json::Value;

use super::{ErrorCode, Usage, UsageError};

/// Longest model name and id that are kept; longer ones are no such thing.
const MAX_NAME: usize = 256;

/// What an answer says about its call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Tokens: the last that were told, since streams tell the sum so far again and again. A usage
    /// without any token does not replace one with tokens.
    pub usage: Option<Usage>,
    /// The model that answered, as the answer calls it.
    pub model_version: Option<String>,
    /// The answer's id.
    pub response_id: Option<String>,
    /// The first error in it. A stream may begin with status 200 and end with one.
    pub error: Option<ApiError>,
    /// Whether it was read from its beginning to an end that is one in its form. That an HTTP body
    /// was cut between two events is not visible here; who reads the connection knows.
    pub complete: bool,
    /// What could not be read, each kind once.
    pub problems: Vec<Problem>,
}

/// An error as the API tells it. Its message is not kept: it may quote the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiError {
    /// Status of HTTP.
    pub code: Option<u16>,
    /// Its name.
    pub status: Option<ErrorCode>,
}

/// Why something of an answer could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Bytes of it were not seen.
    #[error("bytes of the answer were not seen")]
    Gap,
    /// Its `Content-Encoding` is not known.
    #[error("its Content-Encoding is not one of gzip, deflate, br and zstd")]
    Encoding,
    /// It can't be decompressed.
    #[error("it can't be decompressed, or broke off")]
    Compression,
    /// It is no JSON.
    #[error("it is not JSON, or broke off")]
    Json,
    /// It is larger than is looked at, or its usage is.
    #[error("it is larger than is looked at")]
    TooLarge,
    /// Its usage can't be understood.
    #[error("its usage can't be understood: {0}")]
    Usage(UsageError),
}

/// Reads one answer's body.
pub struct ResponseReader {
    body: Body<Reading>,
    gap: bool,
}

impl ResponseReader {
    /// For an answer with these values of `Content-Type` and `Content-Encoding`, each empty when
    /// there is none. The form is told by the body itself where the type does not say.
    pub fn new(content_type: &str, content_encoding: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let reading = Reading {
            form: if kind.eq_ignore_ascii_case("text/event-stream") {
                Form::Events
            } else {
                Form::Unknown
            },
            ..Reading::default()
        };
        Self {
            body: Body::new(content_encoding, reading),
            gap: false,
        }
    }

    /// The next bytes of the body, without the chunks of HTTP.
    pub fn push(&mut self, bytes: &[u8]) {
        self.body.push(bytes);
    }

    /// Bytes are missing here. What comes behind is read where that is certain: from the next event
    /// of a stream that is not compressed. The answer is not complete in any case.
    pub fn gap(&mut self) {
        self.gap = true;
        if self.body.is_plain() {
            self.body.sink().lost();
        } else {
            self.body.give_up();
        }
    }

    /// The end of the body.
    pub fn finish(self) -> Summary {
        let (mut reading, failed) = self.body.finish();
        reading.end();
        let mut summary = reading.summary;
        let problem = failed.map(|error| match error {
            BodyError::Coding => Problem::Encoding,
            BodyError::Corrupt => Problem::Compression,
            BodyError::TooLarge => Problem::TooLarge,
        });
        if self.gap || problem.is_some() {
            // What broke off did so because of that.
            summary.problems.retain(|problem| *problem != Problem::Json);
        }
        if self.gap {
            note(&mut summary.problems, Problem::Gap);
        } else if let Some(problem) = problem {
            note(&mut summary.problems, problem);
        }
        summary.complete = reading.complete && failed.is_none() && !self.gap;
        summary
    }
}

impl std::fmt::Debug for ResponseReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Parts of the answer may be in the decoders.
        f.debug_struct("ResponseReader")
            .field("gap", &self.gap)
            .finish_non_exhaustive()
    }
}

fn note(problems: &mut Vec<Problem>, problem: Problem) {
    let kind = std::mem::discriminant(&problem);
    if problems
        .iter()
        .all(|noted| std::mem::discriminant(noted) != kind)
    {
        problems.push(problem);
    }
}

/// The members of an answer that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    /// A whole answer, a chunk of one, or an event.
    Answer,
    /// `interaction` of an event.
    Interaction,
    /// `metadata` of an event.
    Metadata,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Usage,
    Model,
    Id,
    /// `status` of an interaction.
    State,
    ErrorCode,
    ErrorStatus,
}

impl Shape for Node {
    type Want = Want;
    const DOCUMENT: Self = Self::Answer;

    fn member(self, name: &[u8]) -> Member<Self, Want> {
        match (self, name) {
            (Self::Answer, b"usageMetadata" | b"usage") | (Self::Interaction, b"usage") => {
                Member::Take(Want::Usage)
            }
            (Self::Metadata, b"total_usage") => Member::Take(Want::Usage),
            (Self::Answer, b"modelVersion" | b"model") | (Self::Interaction, b"model") => {
                Member::Take(Want::Model)
            }
            (Self::Answer, b"responseId" | b"id") | (Self::Interaction, b"id") => {
                Member::Take(Want::Id)
            }
            (Self::Answer | Self::Interaction, b"status") => Member::Take(Want::State),
            (Self::Answer, b"interaction") => Member::Enter(Self::Interaction),
            (Self::Answer, b"metadata") => Member::Enter(Self::Metadata),
            (Self::Answer | Self::Interaction, b"error") => Member::Enter(Self::Error),
            (Self::Error, b"code") => Member::Take(Want::ErrorCode),
            (Self::Error, b"status") => Member::Take(Want::ErrorStatus),
            _ => Member::Skip,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    /// Neither the type nor a first byte has said.
    #[default]
    Unknown,
    Json,
    Events,
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Reading {
    form: Form,
    lines: Lines,
    /// The document or the current event's data.
    scanner: Scanner<Node>,
    /// Bare JSON in the midst of events.
    bare: Scanner<Node>,
    summary: Summary,
    /// Errors so far; the first one counts.
    errors: u32,
    /// Events that were whole.
    events: u64,
    /// The beginning of the current event's data.
    begin: Begin,
    /// Nothing more can be read.
    lost: bool,
    complete: bool,
}

impl Sink for Reading {
    fn take(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.form == Form::Unknown {
            bytes = self.recognise(bytes);
        }
        match self.form {
            Form::Unknown => {}
            Form::Json if self.lost => {}
            Form::Json => {
                let (summary, errors) = (&mut self.summary, &mut self.errors);
                self.scanner
                    .push(bytes, &mut |found| take(summary, errors, found));
            }
            Form::Events => self.events(bytes),
        }
    }
}

impl Reading {
    /// JSON begins with a bracket; a stream of events with the name of a field.
    fn recognise<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        // A byte order mark is no more than white space here.
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xbb | 0xbf);
        let begin = bytes.iter().position(|byte| !blank(byte));
        let rest = begin.and_then(|begin| bytes.get(begin..)).unwrap_or(&[]);
        match rest.first() {
            None => {}
            Some(b'd' | b'e' | b'i' | b'r' | b':') => self.form = Form::Events,
            Some(_) => self.form = Form::Json,
        }
        rest
    }

    fn events(&mut self, bytes: &[u8]) {
        let Self {
            lines,
            scanner,
            bare,
            summary,
            errors,
            events,
            begin,
            ..
        } = self;
        lines.push(bytes, &mut |piece| match piece {
            Piece::Data(data) => {
                begin.push(data);
                scanner.push(data, &mut |found| take(summary, errors, found));
            }
            Piece::Bare(text) => bare.push(text, &mut |found| take(summary, errors, found)),
            Piece::End => end_event(scanner, begin, summary, events),
        });
    }

    fn lost(&mut self) {
        self.lost = true;
        if self.form == Form::Events {
            self.lines.lost();
            self.scanner.reset();
            self.bare.reset();
            self.begin = Begin::default();
        }
    }

    fn end(&mut self) {
        self.complete = match self.form {
            Form::Unknown => false,
            Form::Json => {
                let complete = self.scanner.is_complete();
                if !complete {
                    note(&mut self.summary.problems, Problem::Json);
                }
                complete
            }
            Form::Events => {
                // The blank line behind the last event may be missing, but nothing else.
                if self.lines.is_within() {
                    if self.scanner.is_complete() {
                        self.events += 1;
                    } else {
                        note(&mut self.summary.problems, Problem::Json);
                    }
                }
                if !self.bare.is_empty() && !self.bare.is_complete() {
                    note(&mut self.summary.problems, Problem::Json);
                }
                let some = self.events > 0 || self.bare.is_complete();
                some && !self.summary.problems.contains(&Problem::Json)
            }
        };
    }
}

fn end_event(
    scanner: &mut Scanner<Node>,
    begin: &mut Begin,
    summary: &mut Summary,
    events: &mut u64,
) {
    if scanner.is_complete() {
        *events += 1;
    } else if !scanner.is_empty() && !begin.is_farewell() {
        note(&mut summary.problems, Problem::Json);
    }
    scanner.reset();
    *begin = Begin::default();
}

/// As much of an event's data as tells whether it is the farewell of some streams, which is no JSON.
#[derive(Debug, Default)]
struct Begin(Vec<u8>);

impl Begin {
    const FAREWELL: &[u8] = b"[DONE]";

    fn push(&mut self, data: &[u8]) {
        let room = (Self::FAREWELL.len() + 1).saturating_sub(self.0.len());
        self.0.extend_from_slice(data.get(..room).unwrap_or(data));
    }

    fn is_farewell(&self) -> bool {
        self.0 == Self::FAREWELL
    }
}

fn take(summary: &mut Summary, errors: &mut u32, found: Found<'_, Node, Want>) {
    let (want, text) = match found {
        Found::Entered(Node::Error) => {
            *errors += 1;
            summary.error.get_or_insert_default();
            return;
        }
        Found::Entered(_) => return,
        // A long name is none; a usage that is too large would be missed.
        Found::TooLarge(Want::Usage) => return note(&mut summary.problems, Problem::TooLarge),
        Found::TooLarge(_) => return,
        Found::Value(want, text) => (want, text),
    };
    let Ok(value) = serde_json::from_slice::<Value>(text) else {
        return note(&mut summary.problems, Problem::Json);
    };
    match want {
        Want::Usage => usage(summary, &value),
        Want::Model => name(&mut summary.model_version, value),
        Want::Id => name(&mut summary.response_id, value),
        Want::State => {
            // An interaction that failed is answered with 200.
            if value.as_str() == Some("failed") {
                summary.error.get_or_insert_default();
            }
        }
        Want::ErrorCode if *errors == 1 => {
            if let Some(error) = &mut summary.error {
                match value {
                    // The Interactions API has a name or a URI here.
                    Value::String(name) => {
                        error.status.get_or_insert(ErrorCode::from_name(&name));
                    }
                    other => error.code = other.as_u64().and_then(|code| code.try_into().ok()),
                }
            }
        }
        Want::ErrorStatus if *errors == 1 => {
            if let (Some(error), Some(name)) = (&mut summary.error, value.as_str()) {
                error.status = Some(ErrorCode::from_name(name));
            }
        }
        Want::ErrorCode | Want::ErrorStatus => {}
    }
}

fn usage(summary: &mut Summary, value: &Value) {
    if value.is_null() {
        return;
    }
    match Usage::from_json(value) {
        Ok(usage) => {
            let replaces = !usage.is_empty() || summary.usage.is_none();
            if replaces {
                summary.usage = Some(usage);
            }
        }
        // The first chunks of a stream may have no more than its traffic type.
        Err(UsageError::NoCounts) => {}
        Err(error) => note(&mut summary.problems, Problem::Usage(error)),
    }
}

fn name(place: &mut Option<String>, value: Value) {
    if let Value::String(name) = value
        && !name.is_empty()
        && name.len() <= MAX_NAME
    {
        *place = Some(name);
    }
}
