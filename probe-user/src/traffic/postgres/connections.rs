//! The life of connections: start-ups and their refusals, and what each connection is doing.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use probe_common::{payload::PayloadHeader, socket::Transport};

use super::conditions;
use crate::{
    traffic::{Client, Timing, other},
    wire::{
        postgres::{Activity, Event, SessionInfo, SqlState, TransactionStatus},
        stream::Side,
    },
};

/// Reasons of refusals and of errors without a statement that are told apart.
const REASONS: usize = 64;

/// Refusals that the second one of their kind is waited for.
const RECENT: usize = 64;

/// How soon a client tries again with the other choice of encryption: at once, but a busy server
/// needs a while to start a backend.
const SECOND_TRY_NS: u64 = 1_000_000_000;

/// What a connection is doing, in the words of `pg_stat_activity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectionState {
    /// Negotiation and authentication.
    Connecting,
    /// A statement is being executed.
    Active,
    /// The server waits for a statement, outside of a transaction.
    Idle,
    /// Likewise, in a transaction: it holds locks and keeps rows from being vacuumed.
    IdleInTransaction,
    /// Likewise, in a transaction that failed and waits for its ROLLBACK.
    IdleInTransactionAborted,
    /// A stream of replication.
    Replication,
    /// Not known: it was open before it was seen, or it is encrypted and its clear text is not at
    /// hand.
    Unknown,
}

impl ConnectionState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Connecting,
        Self::Active,
        Self::Idle,
        Self::IdleInTransaction,
        Self::IdleInTransactionAborted,
        Self::Replication,
        Self::Unknown,
    ];

    /// The value of the label `state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Active => "active",
            Self::Idle => "idle",
            Self::IdleInTransaction => "idle_in_transaction",
            Self::IdleInTransactionAborted => "idle_in_transaction_aborted",
            Self::Replication => "replication",
            Self::Unknown => "unknown",
        }
    }
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encryption {
    /// Not at all.
    None,
    /// TLS.
    Tls,
    /// GSSAPI.
    Gss,
}

impl Encryption {
    /// The value of the label `encryption`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tls => "tls",
            Self::Gss => "gss",
        }
    }
}

/// What is remembered of one connection beside its decoder.
#[derive(Debug, Clone, Copy)]
pub(in crate::traffic) struct Link {
    /// Stands for the other end's address, 0 where not known.
    peer: u32,
    /// See [`PayloadHeader::peer_family`].
    peer_family: u8,
    /// The traced process.
    tgid: u32,
    /// When the latest record came.
    now_ns: u64,
    encryption: Encryption,
    status: Option<TransactionStatus>,
    replication: bool,
}

impl Link {
    /// A connection of which nothing is known.
    pub(in crate::traffic) fn new() -> Self {
        Self {
            peer: 0,
            peer_family: 0,
            tgid: 0,
            now_ns: 0,
            encryption: Encryption::None,
            status: None,
            replication: false,
        }
    }

    /// Takes note of who was seen when.
    pub(in crate::traffic) fn seen(&mut self, header: &PayloadHeader) {
        self.now_ns = header.ended_ns;
        self.tgid = header.tgid;
        if header.peer != 0 {
            self.peer = header.peer;
            self.peer_family = header.peer_family;
        }
    }

    /// The process that used the connection last.
    pub(in crate::traffic) fn tgid(&self) -> u32 {
        self.tgid
    }

    /// Stands for the other end's address; 0 where it is not known.
    pub(in crate::traffic) fn peer(&self) -> u32 {
        self.peer
    }

    /// Who is at the other end of a server's connection.
    pub(in crate::traffic) fn client(&self, transport: u8) -> Client {
        if transport != Transport::Tcp as u8 {
            return Client::Local;
        }
        match self.peer_family {
            // As it lies in the kernel's memory.
            4 => Client::Address(self.peer.to_ne_bytes().into()),
            _ => Client::Unknown,
        }
    }

    /// What the connection is doing; `None` when it is over. Its decoder, while it has one, says
    /// how busy it is.
    pub(in crate::traffic) fn state(&self, activity: Option<Activity>) -> Option<ConnectionState> {
        Some(match activity {
            None | Some(Activity::Left) if self.replication => ConnectionState::Replication,
            None | Some(Activity::Left) => return None,
            Some(Activity::Unknown) => ConnectionState::Unknown,
            Some(Activity::Connecting) => ConnectionState::Connecting,
            Some(Activity::Working) => ConnectionState::Active,
            Some(Activity::Waiting) => match self.status {
                Some(TransactionStatus::Idle) => ConnectionState::Idle,
                Some(TransactionStatus::InTransaction) => ConnectionState::IdleInTransaction,
                Some(TransactionStatus::Failed) => ConnectionState::IdleInTransactionAborted,
                None => ConnectionState::Unknown,
            },
        })
    }

    /// Takes note of what changes the connection.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::Ready { status, .. } => self.status = Some(*status),
            Event::TlsNegotiated => self.encryption = Encryption::Tls,
            Event::GssNegotiated => self.encryption = Encryption::Gss,
            Event::Replication => self.replication = true,
            _ => {}
        }
    }
}

/// Start-ups and errors of one service's connections, as seen from one side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionReport {
    /// Connections now.
    pub states: BTreeMap<ConnectionState, u64>,
    /// From the first packet of the client's to the first ReadyForQuery.
    pub connect: Timing,
    /// Start-ups that succeeded, by how the connection is encrypted.
    pub connected: BTreeMap<Encryption, u64>,
    /// Start-ups that the server refused, by condition.
    pub refused: BTreeMap<Arc<str>, u64>,
    /// Errors that no statement caused, by condition.
    pub server_errors: BTreeMap<Arc<str>, u64>,
    /// Requests to cancel what another connection executes.
    pub cancels: u64,
}

impl ConnectionReport {
    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds another's numbers.
    pub fn merge(&mut self, other: &Self) {
        add(&mut self.states, &other.states);
        self.connect.add(&other.connect);
        add(&mut self.connected, &other.connected);
        add(&mut self.refused, &other.refused);
        add(&mut self.server_errors, &other.server_errors);
        self.cancels = self.cancels.saturating_add(other.cancels);
    }
}

fn add<K: Ord + Clone>(into: &mut BTreeMap<K, u64>, other: &BTreeMap<K, u64>) {
    for (key, count) in other {
        let sum = into.entry(key.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}

/// A refusal that a second one may follow.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    at_ns: u64,
    encrypted: bool,
    client: Tried,
}

/// Who was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tried {
    /// The process, where the client is traced; each try has a backend of its own.
    tgid: Option<u32>,
    peer: u32,
    user: Option<Box<str>>,
    database: Option<Box<str>>,
}

/// Start-ups and errors on one side.
#[derive(Debug, Default)]
pub(super) struct Connections {
    pub(super) report: ConnectionReport,
    recent: VecDeque<Refusal>,
}

impl Connections {
    pub(super) fn connected(&mut self, link: &Link, connect_to_ready_ns: u64) {
        self.report.connect.observe(connect_to_ready_ns);
        *self.report.connected.entry(link.encryption).or_default() += 1;
    }

    /// Counts a refusal, unless it is the second half of one: with `sslmode=prefer` libpq tries
    /// without TLS what was refused with it, with `allow` the other way round, at once.
    pub(super) fn refused(
        &mut self,
        side: Side,
        link: &Link,
        sqlstate: SqlState,
        session: &SessionInfo,
    ) {
        let new = Refusal {
            at_ns: link.now_ns,
            encrypted: link.encryption != Encryption::None,
            client: Tried {
                tgid: (side == Side::Client).then_some(link.tgid),
                peer: link.peer,
                user: session.user.clone(),
                database: session.database.clone(),
            },
        };
        let now_ns = link.now_ns;
        self.recent
            .retain(|old| now_ns.saturating_sub(old.at_ns) <= SECOND_TRY_NS);
        let first = self.recent.iter().position(|old| {
            // Who is not known may be anybody.
            old.client.user.is_some() && old.client == new.client && old.encrypted != new.encrypted
        });
        if let Some(first) = first {
            self.recent.remove(first);
            return;
        }
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(new);
        count(&mut self.report.refused, sqlstate);
    }

    pub(super) fn server_error(&mut self, sqlstate: SqlState) {
        count(&mut self.report.server_errors, sqlstate);
    }
}

fn count(reasons: &mut BTreeMap<Arc<str>, u64>, sqlstate: SqlState) {
    let reason = conditions::condition(&sqlstate.0);
    let reason = if reasons.contains_key(&*reason) || reasons.len() < REASONS {
        Arc::from(&*reason)
    } else {
        other()
    };
    *reasons.entry(reason).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn session(user: &str) -> SessionInfo {
        SessionInfo {
            user: Some(user.into()),
            database: Some("shop".into()),
            ..SessionInfo::default()
        }
    }

    fn link(now_ns: u64, encrypted: bool) -> Link {
        let mut link = Link::new();
        (link.now_ns, link.tgid, link.peer) = (now_ns, 7, 9);
        if encrypted {
            link.event(&Event::TlsNegotiated);
        }
        link
    }

    fn refusals(connections: &Connections) -> u64 {
        connections.report.refused.values().sum()
    }

    #[test]
    fn a_wrong_password_that_is_tried_with_and_without_tls_is_one_refusal() {
        for (first, second) in [(true, false), (false, true)] {
            let mut connections = Connections::default();
            let wrong = SqlState(*b"28P01");
            connections.refused(Side::Client, &link(MS, first), wrong, &session("a"));
            connections.refused(Side::Client, &link(20 * MS, second), wrong, &session("a"));
            assert_eq!(refusals(&connections), 1);
            // The next attempt of the same client is another one.
            connections.refused(Side::Client, &link(40 * MS, first), wrong, &session("a"));
            connections.refused(Side::Client, &link(60 * MS, second), wrong, &session("a"));
            assert_eq!(refusals(&connections), 2);
        }
    }

    #[test]
    fn refusals_of_others_or_of_the_same_kind_or_much_later_count_each() {
        let refuse = |tries: &[(u64, bool, &str)]| {
            let mut connections = Connections::default();
            for (at, encrypted, user) in tries {
                let link = link(*at, *encrypted);
                connections.refused(Side::Server, &link, SqlState(*b"53300"), &session(user));
            }
            refusals(&connections)
        };
        assert_eq!(refuse(&[(0, true, "a"), (MS, false, "b")]), 2);
        assert_eq!(refuse(&[(0, false, "a"), (MS, false, "a")]), 2);
        assert_eq!(refuse(&[(0, true, "a"), (1_001 * MS, false, "a")]), 2);
        assert_eq!(refuse(&[(0, true, "a"), (MS, false, "a")]), 1);
    }

    #[test]
    fn made_up_codes_do_not_make_series_without_end() {
        let mut connections = Connections::default();
        for number in 0..500u32 {
            let code = format!("{:05}", 60_000 + number);
            connections.server_error(SqlState(code.as_bytes().try_into().unwrap()));
        }
        assert_eq!(connections.report.server_errors.len(), REASONS + 1);
        assert_eq!(
            connections.report.server_errors["other"],
            500 - REASONS as u64
        );
    }
}
