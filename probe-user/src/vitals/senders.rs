//! Who may send: by the origin of the page, and by how much its client and all clients send.
//!
//! An origin is no authentication: a script outside of a browser writes whatever it likes there. It
//! keeps other sites' pages out; the rates keep everybody within bounds. Addresses are hashed with
//! a key of this run and used for nothing else.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher as _,
    net::IpAddr,
    num::{NonZeroU32, NonZeroUsize},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use governor::{
    DefaultDirectRateLimiter, NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use lru::LruCache;

use super::refusal::Refusal;
use crate::config::{self, Network, OriginPattern};

/// Bodies of one client, and of all, that are read at once.
const READING: (usize, usize) = (32, 128);

/// What a request says about where it comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender<'a> {
    /// Header `Origin`.
    pub origin: Option<&'a str>,
    /// Header `Sec-Fetch-Site`, which scripts cannot set.
    pub fetch_site: Option<&'a str>,
    /// Header `Host`.
    pub host: Option<&'a str>,
}

/// The rules.
#[derive(Debug)]
pub(super) struct Senders {
    allowed: Vec<OriginPattern>,
    proxies: Vec<Network>,
    key: RandomState,
    quota: Quota,
    clients: Mutex<LruCache<u64, Client>>,
    total: DefaultDirectRateLimiter,
    reading: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Client {
    rate: DefaultDirectRateLimiter,
    reading: Arc<AtomicUsize>,
}

/// A body may be read for as long as this lives.
#[derive(Debug)]
pub struct Permit([Arc<AtomicUsize>; 2]);

impl Drop for Permit {
    fn drop(&mut self) {
        for reading in &self.0 {
            reading.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Senders {
    pub(super) fn new(settings: &config::Vitals) -> Self {
        Self {
            allowed: settings.allowed_origins.clone(),
            proxies: settings.trusted_proxies.clone(),
            key: RandomState::new(),
            quota: quota(settings.client_rate, settings.client_burst),
            clients: Mutex::new(LruCache::new(
                NonZeroUsize::new(settings.max_clients as usize).unwrap_or(NonZeroUsize::MIN),
            )),
            total: RateLimiter::direct(quota(settings.rate, settings.burst)),
            reading: Arc::default(),
        }
    }

    /// Whether a page of this origin may send. What says nothing about its origin is no page of
    /// another site, since browsers always say it then.
    pub(super) fn check_origin(&self, sender: &Sender<'_>) -> Result<(), Refusal> {
        if sender.fetch_site == Some("same-origin") {
            return Ok(());
        }
        let Some(origin) = sender.origin else {
            return match sender.fetch_site {
                None | Some("none") => Ok(()),
                Some(_) => Err(Refusal::Origin("(not told)".to_owned())),
            };
        };
        let same = sender.host.is_some_and(|host| {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
        });
        if same || self.allowed.iter().any(|allowed| allowed.matches(origin)) {
            return Ok(());
        }
        Err(Refusal::Origin(super::clean::text(origin, 100, false)))
    }

    /// The address of the client: the last one in `X-Forwarded-For` that no trusted proxy has, as
    /// far as only trusted proxies have written it; else the peer's.
    pub(super) fn client(&self, peer: IpAddr, forwarded_for: &[&str]) -> IpAddr {
        let trusted = |address: IpAddr| self.proxies.iter().any(|proxy| proxy.contains(address));
        let mut client = peer;
        let hops = forwarded_for.iter().rev().flat_map(|line| line.rsplit(','));
        for hop in hops {
            if !trusted(client) {
                break;
            }
            match address(hop.trim()) {
                Some(address) => client = address,
                None => break,
            }
        }
        client
    }

    /// Takes one beacon of this client, or says when to come again.
    pub(super) fn admit(&self, client: IpAddr) -> Result<Permit, Refusal> {
        let hash = self.hash(client);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = clients.get_or_insert_mut(hash, || Client {
            rate: RateLimiter::direct(self.quota),
            reading: Arc::default(),
        });
        let its_rate = client.rate.check();
        its_rate.map_err(|until| Refusal::ClientRate(wait(&until)))?;
        let its_reading = Arc::clone(&client.reading);
        drop(clients);
        // Only what its own rate lets through counts for all, so that no client starves the others.
        let total = self.total.check();
        total.map_err(|until| Refusal::TotalRate(wait(&until)))?;
        let all = Arc::clone(&self.reading);
        its_reading.fetch_add(1, Ordering::Relaxed);
        all.fetch_add(1, Ordering::Relaxed);
        let permit = Permit([its_reading, all]);
        let [its_reading, all] = &permit.0;
        let busy = its_reading.load(Ordering::Relaxed) > READING.0
            || all.load(Ordering::Relaxed) > READING.1;
        if busy { Err(Refusal::Busy) } else { Ok(permit) }
    }

    /// Clients whose rates are told apart now.
    pub(super) fn clients(&self) -> usize {
        let clients = self.clients.lock();
        clients.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A network of IPv6 is one client: whoever has one has all of its 2^64 addresses.
    fn hash(&self, client: IpAddr) -> u64 {
        match client.to_canonical() {
            IpAddr::V4(v4) => self.key.hash_one((4u8, u64::from(v4.to_bits()))),
            IpAddr::V6(v6) => self.key.hash_one((6u8, (v6.to_bits() >> 64) as u64)),
        }
    }
}

/// An address as proxies write it: with or without a port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches('"');
    let address = bare.parse::<IpAddr>().ok();
    address
        .or_else(|| {
            bare.parse()
                .ok()
                .map(|with_port: std::net::SocketAddr| with_port.ip())
        })
        .or_else(|| bare.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|address| address.to_canonical())
}

fn quota(rate: u32, burst: u32) -> Quota {
    let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(at_least_one(rate)).allow_burst(at_least_one(burst))
}

/// Whole seconds, at least one: `Retry-After` has no smaller ones.
fn wait(until: &NotUntil<<DefaultClock as Clock>::Instant>) -> Duration {
    let wait = until.wait_time_from(DefaultClock::default().now());
    Duration::from_secs(wait.as_secs() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn senders(change: impl FnOnce(&mut config::Vitals)) -> Senders {
        let mut settings = config::Vitals::default();
        change(&mut settings);
        Senders::new(&settings)
    }

    fn sender<'a>(origin: &'a str, fetch_site: &'a str, host: &'a str) -> Sender<'a> {
        let some = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        Sender {
            origin: some(origin),
            fetch_site: some(fetch_site),
            host: some(host),
        }
    }

    /// Another site's pages must not fill this one's numbers; this one's own must get through, also
    /// behind a proxy that changes `Host`.
    #[test]
    fn pages_of_the_same_and_of_allowed_origins_may_send() {
        let senders = senders(|vitals| {
            vitals.allowed_origins = vec!["https://shop.example".parse().unwrap()];
        });
        for (origin, site, host, allowed) in [
            ("http://probe.example:9738", "", "probe.example:9738", true),
            ("https://a.example", "same-origin", "127.0.0.1:9738", true),
            ("null", "same-origin", "probe.example", true),
            ("https://shop.example", "cross-site", "probe.example", true),
            ("https://shop.example", "same-site", "probe.example", true),
            ("https://evil.example", "cross-site", "probe.example", false),
            ("https://evil.example", "", "probe.example", false),
            (
                "http://probe.example:1",
                "same-site",
                "probe.example",
                false,
            ),
            ("null", "cross-site", "probe.example", false),
            ("", "cross-site", "probe.example", false),
            ("", "", "probe.example", true),
            ("", "none", "probe.example", true),
        ] {
            let answer = senders.check_origin(&sender(origin, site, host));
            assert_eq!(answer.is_ok(), allowed, "{origin} {site} {host}");
        }
    }

    /// Otherwise one client has as many rates as it writes addresses, or a whole site only one.
    #[test]
    fn a_forwarded_address_counts_only_from_trusted_proxies() {
        let senders = senders(|vitals| {
            vitals.trusted_proxies =
                vec!["127.0.0.1".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        });
        for (peer, forwarded, client) in [
            ("192.0.2.9", &["198.51.100.1"][..], "192.0.2.9"),
            ("127.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
            (
                "127.0.0.1",
                &["1.1.1.1, 198.51.100.1, 10.0.0.7"],
                "198.51.100.1",
            ),
            ("127.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("127.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("127.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("127.0.0.1", &["unknown"], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.1, junk, 10.0.0.7"], "10.0.0.7"),
            ("::ffff:127.0.0.1", &["198.51.100.1"], "198.51.100.1"),
        ] {
            let actual = senders.client(peer.parse().unwrap(), forwarded);
            assert_eq!(
                actual,
                client.parse::<IpAddr>().unwrap(),
                "{peer} {forwarded:?}"
            );
        }
    }

    #[test]
    fn one_client_does_not_starve_the_others_and_the_table_is_bounded() {
        let senders = senders(|vitals| {
            (vitals.client_rate, vitals.client_burst) = (1, 5);
            (vitals.rate, vitals.burst) = (1, 50);
            vitals.max_clients = 10;
        });
        let greedy: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let mut taken = 0;
        for _ in 0..100 {
            for address in [greedy, neighbour] {
                match senders.admit(address) {
                    Ok(_permit) => taken += 1,
                    Err(refusal) => assert_eq!(refusal.reason(), "client_rate"),
                }
            }
        }
        assert!(
            (5..8).contains(&taken),
            "a network of IPv6 is one client: {taken}"
        );
        let mut total = 0;
        for n in 0..100u32 {
            match senders.admit(IpAddr::V4(n.into())) {
                Ok(_permit) => total += 1,
                Err(refusal) => assert_eq!(refusal.reason(), "total_rate"),
            }
        }
        assert!((30..60).contains(&total), "{total}");
        assert_eq!(senders.clients(), 10);
    }

    #[test]
    fn bodies_that_are_read_at_once_are_bounded_and_given_back() {
        let senders = senders(|vitals| vitals.client_burst = 1_000);
        let client: IpAddr = "192.0.2.1".parse().unwrap();
        let permits: Vec<_> = (0..READING.0)
            .map(|_| senders.admit(client).unwrap())
            .collect();
        assert_eq!(senders.admit(client).unwrap_err(), Refusal::Busy);
        assert!(senders.admit("192.0.2.2".parse().unwrap()).is_ok());
        drop(permits);
        assert!(senders.admit(client).is_ok());
        assert_eq!(senders.reading.load(Ordering::Relaxed), 0);
    }
}
