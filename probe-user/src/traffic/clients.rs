//! How many different clients a service had lately, without knowing who they are.
//!
//! A client is its address: the one that a proxy forwards, else the peer's. It is hashed with a
//! key that is drawn at random when the probe starts (SipHash), and forgotten; the hash of one run
//! says nothing in another.
//!
//! Exact up to three quarters of [`LIMIT`] clients at least. Beyond, *adaptive sampling* (Wegman; Flajolet, 1990): only hashes
//! that end in `level` zero bits are kept, each of which stands for 2^level clients; when there are
//! too many again, the level rises. With at least half of [`LIMIT`] hashes kept, the standard error
//! is about 2 %. Unlike HyperLogLog's registers, single hashes can be forgotten when they are too
//! old, which a window that moves needs.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    net::IpAddr,
};

use crate::wire::http1::ClientAddress;

/// The window: five minutes.
pub const WINDOW_NS: u64 = 300_000_000_000;

/// Hashes that are kept per service.
pub const LIMIT: usize = 4_096;

/// The key of the hashes of this run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Salt(RandomState);

/// A client, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientHash(u64);

impl Salt {
    /// Stands for the client of a request; `None` when neither address is known.
    pub(super) fn client(
        &self,
        forwarded_for: Option<ClientAddress>,
        peer: u32,
    ) -> Option<ClientHash> {
        let hash = match forwarded_for.map(|client| client.ip().to_canonical()) {
            Some(IpAddr::V4(v4)) => self.0.hash_one((4u8, v4)),
            Some(IpAddr::V6(v6)) => self.0.hash_one((6u8, v6)),
            None if peer != 0 => self.0.hash_one((0u8, peer)),
            None => return None,
        };
        Some(ClientHash(hash))
    }

    /// Stands for whoever has this session, as browsers call theirs.
    pub(crate) fn session(&self, id: &str) -> ClientHash {
        ClientHash(self.0.hash_one(id))
    }
}

/// The clients of one service.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    /// When each was seen last.
    last_seen: HashMap<u64, u64>,
    /// Zero bits that a hash must end in to be kept.
    level: u32,
    /// The level that the hashes of the whole window meet: after the level went down, the old one
    /// for as long as the window.
    whole: u32,
    lowered_ns: u64,
}

impl Clients {
    /// A client asked for something.
    pub(crate) fn seen(&mut self, client: ClientHash, at_ns: u64) {
        if client.0.trailing_zeros() < self.level {
            return;
        }
        let last = self.last_seen.entry(client.0).or_insert(at_ns);
        *last = (*last).max(at_ns);
        if self.last_seen.len() <= LIMIT {
            return;
        }
        self.expire(at_ns);
        // Room for more than the next one, or each would pay for a walk over all.
        while self.last_seen.len() > LIMIT / 4 * 3 {
            self.level += 1;
            self.whole = self.whole.max(self.level);
            let level = self.level;
            self.last_seen
                .retain(|hash, _| hash.trailing_zeros() >= level);
        }
    }

    /// Different clients in the window that ends now.
    pub(crate) fn count(&mut self, now_ns: u64) -> u64 {
        self.expire(now_ns);
        let whole = self.whole;
        let hashes = self.last_seen.keys();
        let kept = hashes.filter(|hash| hash.trailing_zeros() >= whole).count() as u64;
        kept.checked_shl(whole).unwrap_or(u64::MAX)
    }

    fn expire(&mut self, now_ns: u64) {
        let from = now_ns.saturating_sub(WINDOW_NS);
        self.last_seen.retain(|_, last| *last > from || from == 0);
        if self.whole > self.level && now_ns.saturating_sub(self.lowered_ns) >= WINDOW_NS {
            self.whole = self.level;
        }
        // One step a window: what was left out meanwhile must have had the time to be seen again.
        if self.level > 0 && self.whole == self.level && self.last_seen.len() < LIMIT / 4 {
            self.level -= 1;
            self.lowered_ns = now_ns;
        }
        if self.last_seen.is_empty() {
            // A crowd's memory is given back.
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn address(text: &str) -> Option<ClientAddress> {
        Some(ClientAddress::new(text.parse().unwrap()))
    }

    #[test]
    fn the_forwarded_address_wins_and_no_address_is_no_client() {
        let salt = Salt::default();
        assert_eq!(salt.client(None, 0), None);
        assert_eq!(salt.client(None, 7), salt.client(None, 7));
        assert_ne!(salt.client(None, 7), salt.client(None, 8));
        let forwarded = salt.client(address("192.0.2.1"), 7);
        assert_eq!(forwarded, salt.client(address("::ffff:192.0.2.1"), 8));
        assert_ne!(forwarded, salt.client(None, 7));
        // Another run does not know it.
        assert_ne!(forwarded, Salt::default().client(address("192.0.2.1"), 7));
    }

    #[test]
    fn few_clients_are_counted_exactly_and_forgotten_after_five_minutes() {
        let salt = Salt::default();
        let mut clients = Clients::default();
        for peer in 1..=1_000u32 {
            clients.seen(
                salt.client(None, peer).unwrap(),
                u64::from(peer) * SECOND / 10,
            );
            clients.seen(salt.client(None, 1).unwrap(), u64::from(peer) * SECOND / 10);
        }
        assert_eq!(clients.count(100 * SECOND), 1_000);
        // Those of the first 50 seconds are out of the window, but for the one that came back.
        assert_eq!(clients.count(350 * SECOND), 501);
        assert_eq!(clients.count(401 * SECOND), 0);
    }

    #[test]
    fn many_clients_are_estimated_in_bounded_memory() {
        let salt = Salt::default();
        let mut clients = Clients::default();
        for round in 1..=2u64 {
            for peer in 1..=200_000u32 {
                clients.seen(salt.client(None, peer).unwrap(), round * SECOND);
            }
        }
        assert!(clients.last_seen.len() <= LIMIT);
        let count = clients.count(3 * SECOND);
        // Five standard errors of 2.2 %.
        assert!((178_000..=222_000).contains(&count), "{count}");
    }

    #[test]
    fn when_a_crowd_leaves_the_count_becomes_exact_again() {
        let salt = Salt::default();
        let mut clients = Clients::default();
        let mut now = SECOND;
        for peer in 1..=20_000u32 {
            clients.seen(salt.client(None, peer).unwrap(), now);
        }
        assert!(clients.level > 0);
        // Ten remain, and come once a minute.
        for _ in 0..60 {
            now += 60 * SECOND;
            for peer in 1..=10u32 {
                clients.seen(salt.client(None, peer).unwrap(), now);
            }
            clients.count(now);
        }
        assert_eq!(clients.level, 0);
        assert_eq!(clients.count(now), 10);
    }
}
