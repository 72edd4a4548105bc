//! One call of a model, and what is said about it.

use std::{fmt, str::FromStr, sync::Arc};

use super::Usage;
use crate::store::SlowQuery;

/// Number of a call, greater than those of earlier times. Beyond 2^53, so JSON needs it as text.
pub type CallId = i64;

/// What feature a call belongs to when nobody says.
pub const UNKNOWN_FEATURE: &str = "unknown";

/// One call. Prompts and answers are no part of it, nor is the key it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Made by [`Call::new_id`].
    pub id: CallId,
    /// By which who reports it knows it again: two reports with one key are one call.
    pub key: Option<String>,
    /// `responseId` of the answer.
    pub response_id: Option<String>,
    /// When it began, in Unix milliseconds.
    pub at_ms: i64,
    /// The host that saw it.
    pub host: String,
    /// The service that made it; empty when not known.
    pub service: String,
    /// What it was for; [`UNKNOWN_FEATURE`] when nobody says.
    pub feature: String,
    /// Route of the HTTP request that it was made for.
    pub route: Option<String>,
    /// The model that was asked for, without `models/` before it.
    pub model: String,
    /// What was asked of it.
    pub operation: Operation,
    /// Who saw it.
    pub source: Source,
    /// How it ended.
    pub outcome: Outcome,
    /// From the request to the end of the answer, in nanoseconds.
    pub duration_ns: u64,
    /// To the first piece of the answer's content, in nanoseconds.
    pub first_chunk_ns: Option<u64>,
    /// Its tokens, when the answer told them.
    pub usage: Option<Usage>,
    /// What it cost, by the prices of its time.
    pub cost: Cost,
}

impl Call {
    /// A number for a call of this time in Unix milliseconds.
    pub fn new_id(at_ms: i64) -> CallId {
        SlowQuery::new_id(at_ms)
    }
}

/// Enums that are stored, and shown in metrics, by their names.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As it is stored and called in metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = &'static str;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(concat!("allowed are", $(" ", $text,)*)),
                }
            }
        }
    };
}

named! {
    /// Who saw a call.
    Source {
        /// Somebody reported it to `POST /api/gemini/usage` or `commit`.
        Endpoint = "endpoint",
        /// It went through the gateway.
        Gateway = "gateway",
        /// It was read from a traced process's connection.
        Wire = "wire",
    }
}

named! {
    /// What was asked of a model. The names are those of OpenTelemetry where it has one.
    Operation {
        /// `:generateContent`.
        GenerateContent = "generate_content",
        /// `:streamGenerateContent`.
        Stream = "stream_generate_content",
        /// `:countTokens`, which costs nothing.
        CountTokens = "count_tokens",
        /// `:embedContent` and `:batchEmbedContents`.
        Embed = "embeddings",
        /// The Interactions API.
        Interactions = "interactions",
        /// Anything else.
        Other = "other",
    }
}

impl Operation {
    /// From what stands behind the colon in a request's path, such as `generateContent`.
    pub fn from_method(method: &str) -> Self {
        match method {
            "generateContent" => Self::GenerateContent,
            "streamGenerateContent" => Self::Stream,
            "countTokens" => Self::CountTokens,
            "embedContent" | "batchEmbedContents" => Self::Embed,
            _ => Self::Other,
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With an answer.
    Ok,
    /// With an error of the API, or of what is before it.
    Error {
        /// Status of HTTP. An error in the middle of a stream has the one that its body names.
        status: u16,
        /// What the body calls it.
        code: Option<ErrorCode>,
    },
    /// The answer broke off, or the end was not seen.
    Incomplete,
}

impl Outcome {
    /// As it is stored and called in metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error { .. } => "error",
            Self::Incomplete => "incomplete",
        }
    }

    /// Whether the API said that too much was asked of it.
    pub fn is_throttled(&self) -> bool {
        matches!(
            self,
            Self::Error { status: 429, .. }
                | Self::Error {
                    code: Some(ErrorCode::ResourceExhausted),
                    ..
                }
        )
    }
}

named! {
    /// Names of errors of Google's APIs (`google.rpc.Code`).
    ErrorCode {
        /// Cancelled by the caller.
        Cancelled = "CANCELLED",
        /// Not known.
        Unknown = "UNKNOWN",
        /// The request is wrong.
        InvalidArgument = "INVALID_ARGUMENT",
        /// It took too long.
        DeadlineExceeded = "DEADLINE_EXCEEDED",
        /// No such model.
        NotFound = "NOT_FOUND",
        /// It is there already.
        AlreadyExists = "ALREADY_EXISTS",
        /// The key may not do this.
        PermissionDenied = "PERMISSION_DENIED",
        /// A quota is used up.
        ResourceExhausted = "RESOURCE_EXHAUSTED",
        /// Something has to be done before, such as billing.
        FailedPrecondition = "FAILED_PRECONDITION",
        /// Given up half way.
        Aborted = "ABORTED",
        /// Beyond what there is.
        OutOfRange = "OUT_OF_RANGE",
        /// Not there.
        Unimplemented = "UNIMPLEMENTED",
        /// An error of the server.
        Internal = "INTERNAL",
        /// The server is overloaded.
        Unavailable = "UNAVAILABLE",
        /// Data is lost.
        DataLoss = "DATA_LOSS",
        /// No key, or a wrong one.
        Unauthenticated = "UNAUTHENTICATED",
        /// Any other name.
        Other = "OTHER",
    }
}

impl ErrorCode {
    /// From the name in an error's body.
    pub fn from_name(name: &str) -> Self {
        name.parse().unwrap_or(Self::Other)
    }
}

/// What a call cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cost {
    /// By a price that is known.
    Known {
        /// In billionths of a US dollar; at most `i64::MAX`.
        nano_usd: u64,
        /// Which price.
        price: PriceVersion,
    },
    /// No price is known for its model, so what it cost is not known either.
    UnknownModel,
    /// The answer told no tokens though it has cost something.
    NoUsage,
    /// It costs nothing: an error, or `countTokens`.
    Free,
}

impl Cost {
    /// In billionths of a US dollar; `None` when it is not known.
    pub const fn nano_usd(&self) -> Option<u64> {
        match self {
            Self::Known { nano_usd, .. } => Some(*nano_usd),
            Self::Free => Some(0),
            Self::UnknownModel | Self::NoUsage => None,
        }
    }

    /// As it is stored and called in metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Known { .. } => "known",
            Self::UnknownModel => "unknown_model",
            Self::NoUsage => "no_usage",
            Self::Free => "free",
        }
    }
}

/// Which price was applied: the table's version, the model's name in it, and since when the row
/// counts, as in `2026-11-24/gemini-2.5-pro@2026-12-01>200000`; the last part is there when the
/// prompt was over the threshold of a tier, and `+batch` for batch mode.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PriceVersion(Arc<str>);

impl PriceVersion {
    /// As it was stored.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text to store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PriceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for one in Operation::ALL {
            assert_eq!(one.as_str().parse(), Ok(*one));
        }
        for one in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_name(one.as_str()), *one);
        }
        assert_eq!(ErrorCode::from_name("LIMIT_BREACHED"), ErrorCode::Other);
        assert!("proxy".parse::<Source>().is_err());
    }

    #[test]
    fn a_quota_of_the_api_is_told_from_other_errors() {
        let error = |status, code| Outcome::Error { status, code };
        assert!(error(429, None).is_throttled());
        // A stream that began well.
        assert!(error(200, Some(ErrorCode::ResourceExhausted)).is_throttled());
        assert!(!error(503, Some(ErrorCode::Unavailable)).is_throttled());
        assert!(!Outcome::Ok.is_throttled());
    }

    #[test]
    fn what_is_not_known_is_not_nothing() {
        assert_eq!(Cost::UnknownModel.nano_usd(), None);
        assert_eq!(Cost::NoUsage.nano_usd(), None);
        assert_eq!(Cost::Free.nano_usd(), Some(0));
    }
}
