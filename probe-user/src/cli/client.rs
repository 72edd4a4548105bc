//! Asks the running daemon over HTTP, for the commands that only show what it knows.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use reqwest::{StatusCode, Url};
use serde_json::Value;

use crate::config::{Config, ConfigError, Sources};

/// Longest wait for an answer: longer than the daemon takes to give up by itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// Which daemon is asked.
#[derive(Debug, Clone, Args)]
pub(super) struct AddressArgs {
    /// Address of the daemon, such as 127.0.0.1:9738 or db1:9738; without it what `listen` is
    /// configured to.
    #[arg(long, value_name = "ADDRESS:PORT")]
    address: Option<String>,
    /// Configuration file in which `listen` is looked for, as in `hostprobe run`.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl AddressArgs {
    /// Where to ask.
    ///
    /// # Errors
    /// No address was given, and the configuration can't be used.
    pub(super) fn address(&self) -> Result<String, ConfigError> {
        if let Some(address) = &self.address {
            return Ok(address.clone());
        }
        Ok(reachable(self.configuration()?.listen).to_string())
    }

    /// The configuration, for what needs no daemon.
    ///
    /// # Errors
    /// It can't be used.
    pub(super) fn configuration(&self) -> Result<Config, ConfigError> {
        let sources = Sources::of_this_process(self.config.clone(), Vec::new());
        Config::load(&sources)
    }
}

/// An address that listens everywhere is asked on the loopback interface.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Nobody listens there, or it can't be reached.
    #[error(
        "cannot reach hostprobe at {address}: {why}; start it with `hostprobe run`, or say where it \
         listens with --address"
    )]
    Unreachable { address: String, why: String },
    /// It refused, and said why.
    #[error("hostprobe at {address} refuses: {detail}")]
    Refused {
        address: String,
        status: StatusCode,
        detail: String,
    },
    /// It is something else, or another version.
    #[error("what answers at {address} is no hostprobe, or another version of it: {why}")]
    NotUnderstood { address: String, why: String },
    /// It can't be asked there.
    #[error("`{address}` is no address such as 127.0.0.1:9738")]
    BadAddress { address: String },
}

impl AskError {
    /// Whether what was asked is wrong.
    pub(super) fn is_usage(&self) -> bool {
        match self {
            Self::Refused { status, .. } => *status == StatusCode::BAD_REQUEST,
            Self::BadAddress { .. } => true,
            Self::Unreachable { .. } | Self::NotUnderstood { .. } => false,
        }
    }

    /// Whether it may work later by itself.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => status.is_server_error(),
            Self::NotUnderstood { .. } | Self::BadAddress { .. } => false,
        }
    }
}

/// Asks one daemon; connections are kept open between questions.
#[derive(Debug, Clone)]
pub(super) struct Client {
    address: String,
    http: reqwest::Client,
}

impl Client {
    /// For the daemon at `address`; nothing is sent yet.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub(super) fn new(address: &str) -> anyhow::Result<Self> {
        // The client wants to be able to encrypt, even where it is not going to. An error says that
        // somebody has chosen before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            // Numbers of this host must not go through somebody else's proxy.
            .no_proxy()
            // The daemon speaks no TLS, and a small container has no certificates to load.
            .tls_certs_only([])
            .build()
            .context("cannot prepare to ask the daemon")?;
        Ok(Self {
            address: address.to_owned(),
            http,
        })
    }

    /// Asks for `path`, such as `/api/status`, with these parameters.
    ///
    /// # Errors
    /// See [`AskError`].
    pub(super) async fn get(
        &self,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<Value, AskError> {
        let address = || self.address.clone();
        let bad = || AskError::BadAddress { address: address() };
        let base = Url::parse(&format!("http://{}/", self.address)).map_err(|_| bad())?;
        let url = base.join(path).map_err(|_| bad())?;
        let unreachable = |error: reqwest::Error| AskError::Unreachable {
            address: address(),
            why: innermost(&error),
        };
        let request = self.http.get(url).query(parameters);
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        let not_understood = |why: String| AskError::NotUnderstood {
            address: address(),
            why,
        };
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|error| not_understood(format!("{status}, {error}")))?;
        if status.is_success() {
            return Ok(answer);
        }
        match answer.get("detail").and_then(Value::as_str) {
            Some(detail) => Err(AskError::Refused {
                address: address(),
                status,
                detail: detail.to_owned(),
            }),
            None => Err(not_understood(status.to_string())),
        }
    }
}

/// The library says what it did; its innermost cause says what went wrong.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", PATIENCE.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// For commands that wait for the daemon and for nothing else.
///
/// # Errors
/// The kernel has no resources left.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start to wait for the daemon's answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get_json(address: &str, path: &str) -> anyhow::Result<Value> {
        let client = Client::new(address)?;
        Ok(runtime()?.block_on(client.get(path, &[]))?)
    }

    #[test]
    fn a_daemon_that_listens_everywhere_is_asked_here() {
        for (listen, asked) in [
            ("0.0.0.0:9738", "127.0.0.1:9738"),
            ("[::]:1", "[::1]:1"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }

    /// Whoever has not started the daemon yet is told so, and where it was looked for.
    #[test]
    fn a_daemon_that_is_not_there_is_named_with_what_to_do() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let error = get_json(&address, "/api/status").unwrap_err().to_string();
        for part in [address.as_str(), "hostprobe run", "--address"] {
            assert!(error.contains(part), "{error}");
        }
        let error = get_json("not an address", "/").unwrap_err().to_string();
        assert!(error.contains("not an address"), "{error}");
    }
}
