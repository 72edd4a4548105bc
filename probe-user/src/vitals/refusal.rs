//! Why a beacon is not taken.

use std::time::Duration;

/// Why a beacon is not taken. Its text says to whom, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A page of this origin may not send.
    #[error(
        "pages of origin `{0}` may not send to this probe; vitals.allowed_origins in its \
         configuration lists those that may"
    )]
    Origin(String),
    /// This client sends too much.
    #[error("this client sends too many beacons (vitals.client_rate); come again in {} s", .0.as_secs())]
    ClientRate(Duration),
    /// All clients together send too much.
    #[error("too many beacons arrive (vitals.rate); come again in {} s", .0.as_secs())]
    TotalRate(Duration),
    /// Too many bodies are being read.
    #[error("too many beacons are being received at this moment; come again in a second")]
    Busy,
    /// Too many bytes.
    #[error("a beacon has at most {0} bytes, also after decompression (vitals.max_body)")]
    TooLarge(usize),
    /// A compression that is not known.
    #[error("content-encoding `{0}` is not known; allowed are gzip and none")]
    Encoding(String),
    /// The body did not come in time.
    #[error("the body took longer than {} s", .0.as_secs())]
    Slow(Duration),
    /// The body ended early, or could not be decompressed.
    #[error("the body could not be read: {0}")]
    Broken(String),
    /// Arrays and objects within one another.
    #[error("arrays and objects are nested deeper than {0}")]
    TooDeep(usize),
    /// No JSON.
    #[error("the body is no JSON: {0}")]
    Malformed(String),
    /// A member that is not what it has to be.
    #[error("`{field}`: {what}")]
    Invalid {
        /// The path of the member, such as `vitals[0].value`.
        field: String,
        /// What is wrong and what is allowed.
        what: String,
    },
    /// More members than are taken.
    #[error("`{field}` has more than {most} members")]
    TooMany {
        /// The path of the member.
        field: &'static str,
        /// How many are taken.
        most: usize,
    },
    /// Nothing to count.
    #[error(
        "there is nothing in it: allowed are an object of the web-vitals library, an array of \
         such, or a batch of vitals.js"
    )]
    Empty,
}

impl Refusal {
    /// All values of the label `reason`, in the order of [`Refusal::number`].
    pub const REASONS: [&'static str; 13] = [
        "origin",
        "client_rate",
        "total_rate",
        "busy",
        "too_large",
        "encoding",
        "slow",
        "broken",
        "too_deep",
        "malformed",
        "invalid",
        "too_many",
        "empty",
    ];

    /// Place in [`Refusal::REASONS`].
    pub const fn number(&self) -> usize {
        match self {
            Self::Origin(_) => 0,
            Self::ClientRate(_) => 1,
            Self::TotalRate(_) => 2,
            Self::Busy => 3,
            Self::TooLarge(_) => 4,
            Self::Encoding(_) => 5,
            Self::Slow(_) => 6,
            Self::Broken(_) => 7,
            Self::TooDeep(_) => 8,
            Self::Malformed(_) => 9,
            Self::Invalid { .. } => 10,
            Self::TooMany { .. } => 11,
            Self::Empty => 12,
        }
    }

    /// Value of the label `reason`.
    pub fn reason(&self) -> &'static str {
        Self::REASONS.get(self.number()).copied().unwrap_or("other")
    }

    /// The HTTP status that says so.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Origin(_) => 403,
            Self::ClientRate(_) | Self::TotalRate(_) => 429,
            Self::Busy => 503,
            Self::TooLarge(_) => 413,
            Self::Encoding(_) => 415,
            Self::Slow(_) => 408,
            Self::Broken(_)
            | Self::TooDeep(_)
            | Self::Malformed(_)
            | Self::Invalid { .. }
            | Self::TooMany { .. }
            | Self::Empty => 400,
        }
    }

    /// When to come again, where that helps.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ClientRate(after) | Self::TotalRate(after) => Some(*after),
            Self::Busy => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// A member that is not what it has to be.
    pub fn invalid(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            what: what.into(),
        }
    }
}
