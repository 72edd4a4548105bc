//! Values that are more than a number or a string.

use std::fmt;
use std::path::PathBuf;

use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Debug, serialisation and reading of a type by its `Display` and `FromStr`: what hides a password
/// there hides it everywhere.
macro_rules! as_it_is_shown {
    ($type:ty) => {
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", self.to_string())
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use as_it_is_shown;

/// A regular expression, compiled when the configuration is loaded.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `text`.
    ///
    /// # Errors
    /// The syntax error, or that the compiled form is too large.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        Regex::new(text).map(Self)
    }

    /// Whether it is found anywhere in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The library draws a picture over several lines; its last line says what is wrong.
        Self::new(&text).map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            de::Error::custom(reason.trim_start_matches("error: "))
        })
    }
}

/// A user: by number, or by its name in `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum UserSpec {
    /// User id.
    Uid(u32),
    /// User name.
    Name(String),
}

impl fmt::Display for UserSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "{uid}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A network namespace: that of a process, or a file such as `ip netns add` makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NetnsSpec {
    /// The namespace that this process is in.
    OfPid(u32),
    /// A file that stands for the namespace, such as `/run/netns/blue`.
    Path(PathBuf),
}

impl fmt::Display for NetnsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfPid(pid) => write!(f, "that of process {pid}"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}
