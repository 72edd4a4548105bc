//! Section `[vitals]`: what browsers may send, from which pages, and how much of it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{budget::Budget, values::as_it_is_shown};

/// Section `[vitals]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vitals {
    /// Whether anything of browsers is taken.
    pub enabled: bool,
    /// An address of its own for what browsers need, so that [`Config::listen`](super::Config) can
    /// stay private.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Pages that may send, beside those that the daemon's own address serves.
    pub allowed_origins: Vec<OriginPattern>,
    /// Whose word on a client's address is believed (`X-Forwarded-For`).
    pub trusted_proxies: Vec<Network>,
    /// Share of page loads that the script reports, unless its tag says otherwise; 0 to 1.
    pub sample_rate: f64,
    /// Milliseconds from which the script tells of a call as slow, unless its tag says otherwise.
    pub slow_ms: u32,
    /// Bytes of one beacon, also after decompression.
    pub max_body: u32,
    /// Beacons a second of one client, in the long run.
    pub client_rate: u32,
    /// Beacons of one client at once.
    pub client_burst: u32,
    /// Beacons a second of all clients, in the long run.
    pub rate: u32,
    /// Beacons of all clients at once.
    pub burst: u32,
    /// Clients whose rates are told apart; the one that was silent for longest is forgotten.
    pub max_clients: u32,
    /// Pages, as [`Router::new`](crate::routes::Router::new) reads them; what matches none is
    /// learned.
    pub pages: Vec<String>,
    /// Learned pages; views of more are `other`.
    pub max_pages: u32,
    /// A folder with source maps, with which stacks are shown as they were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_maps: Option<PathBuf>,
    /// Hours before now that budgets are about.
    pub budget_window_h: u32,
    /// Files of the shape of Lighthouse's `budget.json`, in addition to `budgets`.
    pub budget_files: Vec<PathBuf>,
    /// How slow and how large pages may be.
    #[serde(rename = "budget", skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: None,
            allowed_origins: Vec::new(),
            trusted_proxies: Network::LOOPBACK.to_vec(),
            sample_rate: 1.0,
            slow_ms: 1_000,
            max_body: 65_536,
            client_rate: 20,
            client_burst: 100,
            rate: 2_000,
            burst: 4_000,
            max_clients: 20_000,
            pages: Vec::new(),
            max_pages: 100,
            source_maps: None,
            budget_window_h: 24,
            budget_files: Vec::new(),
            budgets: Vec::new(),
        }
    }
}

/// Addresses: one, or a network such as `10.0.0.0/8`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// This host.
    pub const LOOPBACK: [Self; 2] = [
        Self(IpNet::V4(ipnet::Ipv4Net::new_assert(
            std::net::Ipv4Addr::new(127, 0, 0, 0),
            8,
        ))),
        Self(IpNet::V6(ipnet::Ipv6Net::new_assert(
            std::net::Ipv6Addr::LOCALHOST,
            128,
        ))),
    ];

    /// Whether the address is in it; an IPv4 address in IPv6 clothes is that IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        address
            .or_else(|_| text.parse::<IpNet>())
            .map(|network| Self(network.trunc()))
            .map_err(|_| "it is no IP address and no network")
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

as_it_is_shown!(Network);

/// Origins (RFC 6454) that a page may have: `https://example.org`, `https://*.example.org` for all
/// hosts below it, `http://localhost:*` for any port, `*` for all, `null` for pages without an
/// origin, such as files.
#[derive(Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// Every origin, `null` included.
    Any,
    /// What has no origin of its own.
    Null,
    /// Scheme, host and port.
    Tuple {
        /// In lower case.
        scheme: String,
        /// In lower case; without the `*.` that it was written with when `below` is set.
        host: String,
        /// Whether hosts below `host` are meant, and not itself.
        below: bool,
        /// The port that is allowed.
        port: PortPattern,
    },
}

/// The port of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortPattern {
    /// The scheme's own, which browsers leave out.
    Default,
    /// This one.
    Exactly(u16),
    /// Whichever.
    Any,
}

impl OriginPattern {
    /// Whether the value of an `Origin` header is one of these.
    pub fn matches(&self, origin: &str) -> bool {
        let (scheme, host, below, port) = match self {
            Self::Any => return true,
            Self::Null => return origin == "null",
            Self::Tuple {
                scheme,
                host,
                below,
                port,
            } => (scheme, host, *below, *port),
        };
        let Some((its_scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        let Some((its_host, its_port)) = split_port(authority) else {
            return false;
        };
        let port_fits = match port {
            PortPattern::Any => true,
            PortPattern::Default => its_port.is_none(),
            PortPattern::Exactly(port) => its_port == Some(port),
        };
        let host_fits = if below {
            let dot = its_host.len().checked_sub(host.len() + 1);
            dot.is_some_and(|dot| {
                dot > 0
                    && its_host.as_bytes().get(dot) == Some(&b'.')
                    && its_host
                        .get(dot + 1..)
                        .is_some_and(|end| end.eq_ignore_ascii_case(host))
            })
        } else {
            its_host.eq_ignore_ascii_case(host)
        };
        its_scheme.eq_ignore_ascii_case(scheme) && host_fits && port_fits
    }
}

/// Host and port of an authority; `None` when the port is no number.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    // The colons of an IPv6 address are within brackets.
    let after_host = authority.rfind(']').map_or(0, |end| end + 1);
    match authority.get(after_host..)?.find(':') {
        None => Some((authority, None)),
        Some(colon) => {
            let (host, port) = authority.split_at_checked(after_host + colon)?;
            let port = port.strip_prefix(':')?.parse().ok()?;
            Some((host, Some(port)))
        }
    }
}

/// The port that browsers leave out of an origin.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

impl FromStr for OriginPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text
            .split_once("://")
            .ok_or("it has no scheme such as https://")?;
        let plain_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            || !scheme.chars().all(plain_scheme)
        {
            return Err("its scheme is none");
        }
        if authority.contains(['/', '?', '#', '@']) {
            return Err("an origin ends behind its host and port: no slash, path or user");
        }
        let (authority, any_port) = match authority.strip_suffix(":*") {
            Some(host) => (host, true),
            None => (authority, false),
        };
        let (host, port) = split_port(authority).ok_or("its port is no number up to 65535")?;
        let port = match port {
            _ if any_port => PortPattern::Any,
            Some(0) => return Err("its port is no number from 1 to 65535"),
            Some(port) if default_port(scheme) != Some(port) => PortPattern::Exactly(port),
            _ => PortPattern::Default,
        };
        let (host, below) = match host.strip_prefix("*.") {
            Some(host) => (host, true),
            None => (host, false),
        };
        check_host(host)?;
        Ok(Self::Tuple {
            scheme: scheme.to_owned(),
            host: host.to_owned(),
            below,
            port,
        })
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
        return is_address.then_some(()).ok_or("its IPv6 address is none");
    }
    if host.is_empty() {
        return Err("it has no host");
    }
    if !host.is_ascii() {
        return Err("its host must be written as browsers send it, in ASCII (xn--...)");
    }
    if host.contains('*') {
        return Err("\"*\" may only stand for the whole first part of its host, or for its port");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !host.chars().all(plain) || host.split('.').any(str::is_empty) {
        return Err("its host is no name");
    }
    Ok(())
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Null => f.write_str("null"),
            Self::Tuple {
                scheme,
                host,
                below,
                port,
            } => {
                let star = if *below { "*." } else { "" };
                write!(f, "{scheme}://{star}{host}")?;
                match port {
                    PortPattern::Default => Ok(()),
                    PortPattern::Exactly(port) => write!(f, ":{port}"),
                    PortPattern::Any => f.write_str(":*"),
                }
            }
        }
    }
}

as_it_is_shown!(OriginPattern);

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, origin: &str) -> bool {
        pattern.parse::<OriginPattern>().unwrap().matches(origin)
    }

    /// A mistake here lets every site's visitors fill a shop's numbers, or none of its own.
    #[test]
    fn an_origin_is_allowed_by_scheme_host_and_port_together() {
        assert!(allows("https://example.org", "https://example.org"));
        assert!(allows("HTTPS://Example.org:443", "https://example.org"));
        for other in [
            "http://example.org",
            "https://example.org:8443",
            "https://example.org.evil.example",
            "https://notexample.org",
            "https://www.example.org",
            "https://example.org@evil.example",
            "null",
            "",
        ] {
            assert!(!allows("https://example.org", other), "{other}");
        }
        assert!(allows("http://localhost:*", "http://localhost:5173"));
        assert!(allows("http://localhost:*", "http://localhost"));
        assert!(!allows("http://localhost:*", "http://localhost:x"));
        assert!(allows("http://[::1]:8000", "http://[::1]:8000"));
        assert!(!allows("http://[::1]:8000", "http://[::1]"));
        assert!(allows("capacitor://localhost", "capacitor://localhost"));
    }

    #[test]
    fn a_star_before_a_host_means_what_is_below_it_and_nothing_that_only_ends_like_it() {
        for (origin, allowed) in [
            ("https://www.example.org", true),
            ("https://a.b.EXAMPLE.org", true),
            ("https://example.org", false),
            ("https://evilexample.org", false),
            ("https://.example.org", false),
            ("https://x.example.org:444", false),
        ] {
            assert_eq!(allows("https://*.example.org", origin), allowed, "{origin}");
        }
        assert!(allows("*", "null") && allows("*", "https://x.example"));
        assert!(allows("null", "null") && !allows("null", "https://x.example"));
    }

    #[test]
    fn what_is_no_origin_is_refused_with_the_reason() {
        for (wrong, reason) in [
            ("example.org", "no scheme"),
            ("https://example.org/", "no slash"),
            ("https://example.org/shop", "no slash"),
            ("https://user@example.org", "no slash"),
            ("https://", "no host"),
            ("https://*", "\"*\""),
            ("https://www.*.org", "\"*\""),
            ("https://*example.org", "\"*\""),
            ("https://example.org:0", "port"),
            ("https://example.org:99999", "port"),
            ("https://exämple.org", "xn--"),
            ("https://exa mple.org", "no name"),
            ("https://[::g]", "IPv6"),
            ("1https://a.example", "scheme"),
        ] {
            let error = wrong.parse::<OriginPattern>().unwrap_err();
            assert!(error.contains(reason), "{wrong}: {error}");
        }
    }

    #[test]
    fn patterns_are_shown_as_they_are_written() {
        for text in [
            "*",
            "null",
            "https://example.org",
            "https://*.example.org:8443",
            "http://localhost:*",
        ] {
            assert_eq!(text.parse::<OriginPattern>().unwrap().to_string(), text);
        }
        for text in ["127.0.0.0/8", "::1", "10.1.2.3", "fd00::/8"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_network_has_its_addresses_also_in_the_clothes_of_ipv6() {
        let network: Network = "10.1.2.3/8".parse().unwrap();
        assert!(network.contains("10.200.0.1".parse().unwrap()));
        assert!(network.contains("::ffff:10.200.0.1".parse().unwrap()));
        assert!(!network.contains("11.0.0.1".parse().unwrap()));
        assert!("10.0.0.0/33".parse::<Network>().is_err());
        assert!("proxy.example".parse::<Network>().is_err());
    }
}
