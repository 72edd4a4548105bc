//! A server that speaks the shapes of the Gemini API over TLS, and programs that use Google's SDK.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    probe::free_address,
    process::Process,
    site::repository,
    tls::Certificate,
    waiting::{self, PATIENCE},
    web::environment,
};

/// The key that the programs call with.
pub const KEY: &str = "AIza-a-key-of-the-tests";

/// The Python interpreter that has google-genai, and FastAPI to use it in.
///
/// # Errors
/// As [`environment`].
pub fn python() -> Result<PathBuf> {
    environment("gemini-venv", "gemini-requirements.txt")
}

/// The server. What it answers is told by the prompt: see `tests/apps/gemini/upstream.py`.
#[derive(Debug)]
pub struct Upstream {
    process: Process,
    address: SocketAddr,
    /// Its certificate's authority.
    authority: Option<PathBuf>,
    _directory: TempDir,
}

/// A call as the server saw it.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    /// `GET` or `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// What stands behind the colon of the path, `interactions`, or `get`.
    pub operation: String,
    /// The model.
    #[serde(default)]
    pub model: String,
    /// Bytes of the request's body.
    #[serde(default)]
    pub bytes: u64,
    /// The key that it came with, in the header or the query.
    #[serde(default)]
    pub key: Option<String>,
    /// Headers, their names in lower case.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The beginning of the prompt.
    #[serde(default)]
    pub prompt: String,
    /// Status of the answer.
    pub status: u16,
    /// How it ended: `whole`, `cut`, `error`, `garbage`, `client gone`.
    #[serde(default)]
    pub end: String,
    /// Tokens that a whole answer told.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// The same of its output.
    #[serde(default)]
    pub output_tokens: u64,
    /// The answer's id.
    #[serde(default)]
    pub response_id: Option<String>,
}

impl Upstream {
    /// Starts it over TLS, with a certificate for `localhost` and `127.0.0.1`.
    ///
    /// # Errors
    /// As [`python`], or openssl is not installed.
    pub fn start() -> Result<Self> {
        let directory = TempDir::with_prefix("hostprobe-gemini-")?;
        let signed = Certificate::signed(directory.path())?;
        Self::start_at(free_address()?, directory, Some(signed))
    }

    /// Starts it without TLS.
    ///
    /// # Errors
    /// As [`python`].
    pub fn start_without_tls() -> Result<Self> {
        Self::start_at(free_address()?, TempDir::new()?, None)
    }

    fn start_at(
        address: SocketAddr,
        directory: TempDir,
        signed: Option<(Certificate, PathBuf)>,
    ) -> Result<Self> {
        let mut command = Command::new(python()?);
        command
            .arg(repository().join("tests/apps/gemini/upstream.py"))
            .args(["--port", &address.port().to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some((certificate, _)) = &signed {
            command
                .arg("--certificate")
                .arg(&certificate.certificate)
                .arg("--key")
                .arg(&certificate.key);
        }
        let mut process = Process::spawn("the fake upstream", command)?;
        waiting::until("the fake upstream listens", PATIENCE, || {
            let output = process.output()?;
            if let Some(status) = process.ended()? {
                bail!("the fake upstream ended with {status}:\n{output}");
            }
            Ok(output.lines().any(|line| line == "ready").then_some(()))
        })?;
        Ok(Self {
            process,
            address,
            authority: signed.map(|(_, authority)| authority),
            _directory: directory,
        })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        let scheme = self.authority.as_ref().map_or("http", |_| "https");
        format!("{scheme}://localhost:{}", self.address.port())
    }

    /// The certificate, PEM, of the authority that its clients have to trust.
    ///
    /// # Panics
    /// It was started without TLS.
    pub fn authority(&self) -> &Path {
        self.authority.as_deref().expect("it was started with TLS")
    }

    /// The calls that are over, in the order of their ends.
    ///
    /// # Errors
    /// It wrote something else.
    pub fn calls(&self) -> Result<Vec<Seen>> {
        let output = self.process.output()?;
        // The last line may be half written.
        let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .filter_map(|line| line.strip_prefix("call "))
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        self.process.output().unwrap_or_default()
    }
}

/// A program that calls models with the SDK: see `tests/apps/gemini/calls.py`.
///
/// # Errors
/// As [`python`].
pub fn calls_command(base_url: &str) -> Result<Command> {
    let mut command = Command::new(python()?);
    command
        .arg(repository().join("tests/apps/gemini/calls.py"))
        .env("GOOGLE_GEMINI_BASE_URL", base_url)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// Runs that program with these lines to its end; what it tells, a value for each call.
///
/// # Errors
/// As [`python`], or it ended badly.
pub fn calls(base_url: &str, lines: &[Value]) -> Result<Vec<Value>> {
    let mut input = tempfile::tempfile()?;
    for line in lines {
        writeln!(input, "{line}")?;
    }
    std::io::Seek::rewind(&mut input)?;
    let command = calls_command(base_url)?;
    let mut process = Process::spawn_with_input("the SDK's program", command, input.into())?;
    let output = process.wait_success()?;
    output
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| output.clone()))
        .collect()
}
