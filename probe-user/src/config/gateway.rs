//! Section `[gemini.gateway]`: calls that go through the daemon.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::values::as_it_is_shown;

/// Section `[gemini.gateway]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeminiGateway {
    /// Whether `/gateway/gemini/` is there.
    pub enabled: bool,
    /// Where calls are sent.
    pub upstream: UpstreamUrl,
    /// A file of certificates, PEM, that are trusted beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Largest body of a request, in bytes.
    pub max_request_bytes: u32,
    /// Calls under way at once.
    pub max_calls: u32,
    /// Seconds until the upstream has to have accepted a connection.
    pub connect_timeout_s: u32,
    /// Seconds without a byte of the upstream, also before its answer begins.
    pub idle_timeout_s: u32,
    /// Tokens that an answer is expected to have when its request does not limit them.
    pub assumed_output_tokens: u32,
}

impl Default for GeminiGateway {
    fn default() -> Self {
        Self {
            enabled: true,
            upstream: UpstreamUrl::default(),
            ca_file: None,
            max_request_bytes: 32 * 1024 * 1024,
            max_calls: 128,
            connect_timeout_s: 10,
            idle_timeout_s: 300,
            assumed_output_tokens: 2_048,
        }
    }
}

/// The address of an API: `https`, or `http` on this host, without query.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamUrl(Url);

impl UpstreamUrl {
    /// As a URL.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Whether it is on this host.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl Default for UpstreamUrl {
    #[allow(clippy::expect_used, reason = "a constant, which a test reads as well")]
    fn default() -> Self {
        Self(Url::parse("https://generativelanguage.googleapis.com/").expect("it is a URL"))
    }
}

impl FromStr for UpstreamUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| "it is no URL")?;
        match url.scheme() {
            "https" => {}
            // Keys must not go over a network as they are.
            "http" if is_loopback(&url) => {}
            "http" => return Err("http is for this host alone; use https"),
            _ => return Err("its scheme is not https"),
        }
        if url.host().is_none() {
            return Err("it names no host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it has a user or a password");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("it has a query or a fragment");
        }
        Ok(Self(url))
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

as_it_is_shown!(UpstreamUrl);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_reached_by_tls_or_is_on_this_host() {
        for text in [
            "https://generativelanguage.googleapis.com",
            "https://proxy.example:8443/gemini",
            "http://localhost:8080",
            "http://127.0.0.1:1/v1",
            "http://[::1]:1",
        ] {
            assert_eq!(text.parse::<UpstreamUrl>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "generativelanguage.googleapis.com",
            "http://generativelanguage.googleapis.com",
            "ftp://localhost",
            "https://user:password@host",
            "https://host/?key=secret",
        ] {
            assert!(text.parse::<UpstreamUrl>().is_err(), "{text}");
        }
        let default = UpstreamUrl::default();
        assert_eq!(default.to_string().parse(), Ok(default));
    }
}
