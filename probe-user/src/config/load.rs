//! Reading: file, then environment, then flags; every mistake is reported with its place.
//!
//! The sources are merged as untyped TOML first, with the origin of each value kept beside it, so
//! that a message can name the line, the variable or the flag that the value came from.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use toml::{Table, Value};

use super::paths::{Step, dotted, drop_unknown, note_lines, remove, steps, value_at};
use super::{Config, check, keys};

/// Read when it exists and no other file is named.
pub const DEFAULT_FILE: &str = "/etc/hostprobe/hostprobe.toml";

/// Prefix of the environment variables that set a key.
const PREFIX: &str = "HOSTPROBE_";
/// The variable that names the file.
const FILE_VARIABLE: &str = "HOSTPROBE_CONFIG";
/// What begins like a setting and is none: the file, and what building and testing the probe itself uses.
const NO_SETTINGS: [&str; 5] = [
    FILE_VARIABLE,
    "HOSTPROBE_BIN",
    "HOSTPROBE_BLESS",
    "HOSTPROBE_BPF_OBJECT",
    "HOSTPROBE_REPO",
];
/// Longest value that is shown in a message, in characters.
const SHOWN: usize = 80;

/// Where the configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file that a flag named; else `HOSTPROBE_CONFIG`, else [`DEFAULT_FILE`] if it exists.
    pub file: Option<PathBuf>,
    /// All environment variables; those that don't begin with `HOSTPROBE_` are ignored, and so are those that
    /// building and testing the probe itself uses, such as `HOSTPROBE_BIN`.
    pub environment: Vec<(String, String)>,
    /// What flags set, in their order.
    pub settings: Vec<Setting>,
}

/// A key that a flag sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The flag as it is named in messages, such as `--listen`.
    pub flag: String,
    /// Dotted path of the key, such as `log.level`.
    pub key: String,
    /// TOML, or the text itself where it isn't.
    pub value: String,
}

impl Setting {
    /// Splits the argument of `--set KEY=VALUE`; `None` without an equals sign.
    pub fn parse(argument: &str) -> Option<Self> {
        let (key, value) = argument.split_once('=')?;
        Some(Self::new("--set", key.trim(), value.trim()))
    }

    /// What a flag of its own sets, such as `--listen`.
    pub fn new(flag: &str, key: &str, value: &str) -> Self {
        Self {
            flag: flag.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }
}

impl Sources {
    /// The sources of this process: its environment, and what its command line gave.
    pub fn of_this_process(file: Option<PathBuf>, settings: Vec<Setting>) -> Self {
        let environment = std::env::vars_os()
            .map(|(name, value)| {
                let text = |part: std::ffi::OsString| part.to_string_lossy().into_owned();
                (text(name), text(value))
            })
            .collect();
        Self {
            file,
            environment,
            settings,
        }
    }

    /// The file that is read, if any.
    pub fn effective_file(&self) -> Option<PathBuf> {
        if self.file.is_some() {
            return self.file.clone();
        }
        let from_environment = self
            .environment
            .iter()
            .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())
            .map(|(_, value)| PathBuf::from(value));
        let default = Path::new(DEFAULT_FILE);
        from_environment.or_else(|| default.exists().then(|| default.to_owned()))
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration {}: {source}; name another with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something in it is wrong; one line each.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the value was given, if it was given at all.
    pub origin: Option<Origin>,
    /// The key, such as `service[0].ports`; empty for a mistake in the file's syntax.
    pub key: String,
    /// The value that was given, as TOML.
    pub value: Option<String>,
    /// What is wrong or allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}`", self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the file.
    File {
        /// Its path.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// By the environment variable of this name.
    Environment(String),
    /// By this flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}: line {line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

pub(super) fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let mut draft = Draft::default();
    if let Some(path) = sources.effective_file() {
        match std::fs::read_to_string(&path) {
            Ok(text) => draft.add_file(&path, &text)?,
            Err(source) => return Err(ConfigError::Read { path, source }),
        }
    }
    for (name, value) in &sources.environment {
        if NO_SETTINGS.contains(&name.as_str()) {
            continue;
        }
        if let Some(key) = name.strip_prefix(PREFIX) {
            let key = key.to_ascii_lowercase().replace("__", ".");
            draft.overlay(&key, value, Origin::Environment(name.clone()));
        }
    }
    for setting in &sources.settings {
        let origin = Origin::Flag(setting.flag.clone());
        draft.overlay(&setting.key, &setting.value, origin);
    }
    draft.finish()
}

/// The sources merged so far.
#[derive(Default)]
struct Draft {
    values: Table,
    /// Where each key and each element of a list was given.
    origins: BTreeMap<String, Origin>,
    /// Overlaid values as text, in case the key wants a string that happens to look like TOML.
    texts: HashMap<String, String>,
    problems: Vec<Problem>,
}

impl Draft {
    fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let line_of = |offset: usize| {
            let before = text.get(..offset).unwrap_or(text);
            before.matches('\n').count() + 1
        };
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let problem = |error: &toml::de::Error| Problem {
                origin: Some(Origin::File {
                    path: path.to_owned(),
                    line: line_of(error.span().map_or(0, |span| span.start)),
                }),
                key: String::new(),
                value: None,
                message: format!("not TOML: {}", error.message().replace('\n', "; ")),
            };
            return Err(ConfigError::Invalid(errors.iter().map(problem).collect()));
        }
        note_lines("", document.get_ref(), &mut |key, offset| {
            let line = line_of(offset);
            let path = path.to_owned();
            self.origins.insert(key, Origin::File { path, line });
        });
        // The same text was parsed a moment ago, so this can't fail; an empty table is a safe
        // answer all the same.
        self.values = text.parse().unwrap_or_default();
        let mut unknown = Vec::new();
        drop_unknown("", &mut self.values, &mut unknown);
        for key in unknown {
            self.unknown_key(&key, self.origin(&key));
        }
        Ok(())
    }

    fn overlay(&mut self, key: &str, text: &str, origin: Origin) {
        match keys::find(key) {
            Some(found) if found.path == key && !found.is_section() => {}
            Some(found) if found.path == key => {
                let message = "a whole section can't be set here; set its keys";
                self.problem(key, None, message.to_owned(), Some(origin));
                return;
            }
            _ => return self.unknown_key(key, Some(origin)),
        }
        let (sections, last) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = &mut self.values;
        for section in sections.split('.').filter(|section| !section.is_empty()) {
            let entry = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            match entry {
                Value::Table(inner) => table = inner,
                // The file gave something else here; that is reported in its own right.
                _ => return,
            }
        }
        table.insert(last.to_owned(), parse_value(text));
        self.origins
            .retain(|path, _| !path.starts_with(&format!("{key}[")) && path != key);
        self.origins.insert(key.to_owned(), origin);
        self.texts.insert(key.to_owned(), text.to_owned());
    }

    fn finish(mut self) -> Result<Config, ConfigError> {
        // Each round removes the value that was refused, so that the next mistake shows as well.
        let config = loop {
            let value = Value::Table(self.values.clone());
            match serde_path_to_error::deserialize::<_, Config>(value) {
                Ok(config) => break Some(config),
                Err(error) => {
                    let steps = steps(error.path());
                    if !self.refuse(&error.path().to_string(), &steps, error.inner().message()) {
                        break None;
                    }
                }
            }
        };
        if let Some(config) = &config {
            for finding in check::check(config) {
                if self.is_consequence(&finding.key) {
                    continue;
                }
                let value = self.shown(&finding.key);
                let origin = self.origin(&finding.key);
                self.problem(&finding.key, value, finding.message, origin);
            }
        }
        match config {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => Err(ConfigError::Invalid(self.problems)),
        }
    }

    /// Whether a value is missing only because a wrong one beside it was taken out.
    fn is_consequence(&mut self, key: &str) -> bool {
        let table = match key.rsplit_once('.') {
            Some((table, _)) => table,
            None => key,
        };
        let given = key != table && value_at(&mut self.values, &dotted(key)).is_some();
        let prefix = format!("{table}.");
        !given
            && self
                .problems
                .iter()
                .any(|problem| problem.key.starts_with(&prefix))
    }

    /// Notes that the value at `path` can't be used and takes it out; `false` when that is
    /// impossible.
    fn refuse(&mut self, path: &str, steps: &[Step], detail: &str) -> bool {
        let plain = path.split('[').next().unwrap_or(path);
        if let Some(text) = self.texts.remove(plain)
            && let Some(value) = value_at(&mut self.values, &dotted(plain))
            && !value.is_str()
        {
            *value = Value::String(text);
            return true;
        }
        let allowed = match keys::find(path) {
            Some(key) if key.is_regex() => format!("{} ({detail})", key.allowed),
            Some(key) => key.allowed.to_owned(),
            None => detail.to_owned(),
        };
        let value = self.shown(path);
        let origin = self.origin(path);
        self.problem(path, value, allowed, origin);
        remove(&mut self.values, steps)
    }

    fn unknown_key(&mut self, key: &str, origin: Option<Origin>) {
        let message = match keys::nearest(key) {
            Some(known) => format!("there is no such key; did you mean `{known}`?"),
            None => "there is no such key; `hostprobe config` prints those that exist".to_owned(),
        };
        self.problem(key, None, message, origin);
    }

    fn problem(&mut self, key: &str, value: Option<String>, message: String, at: Option<Origin>) {
        self.problems.push(Problem {
            origin: at,
            key: key.to_owned(),
            value,
            message,
        });
    }

    /// The origin of a key, or of what it is part of.
    fn origin(&self, key: &str) -> Option<Origin> {
        let mut path = key;
        loop {
            if let Some(origin) = self.origins.get(path) {
                return Some(origin.clone());
            }
            let cut = path.rfind(['.', '['])?;
            path = path.get(..cut)?;
        }
    }

    fn shown(&mut self, key: &str) -> Option<String> {
        if keys::find(key).is_some_and(keys::Key::is_secret) {
            return None;
        }
        let value = value_at(&mut self.values, &dotted(key))?;
        if value.is_table() {
            return None;
        }
        let text = value.to_string().replace('\n', " ");
        if text.chars().count() <= SHOWN {
            return Some(text);
        }
        let start: String = text.chars().take(SHOWN).collect();
        Some(format!("{start}..."))
    }
}

/// TOML where it is, else the text itself: `debug` needs no quotes in an environment variable.
fn parse_value(text: &str) -> Value {
    let parsed: Option<Table> = format!("value = {text}").parse().ok();
    match parsed {
        // More than one key means that the text went on with a line of its own.
        Some(mut table) if table.len() == 1 => table
            .remove("value")
            .unwrap_or_else(|| Value::String(text.to_owned())),
        _ => Value::String(text.to_owned()),
    }
}
