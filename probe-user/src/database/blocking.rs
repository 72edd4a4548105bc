//! Who waits for whose locks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;
use sqlx::{PgConnection, Row as _};

use super::{
    activity::{Session, count, session},
    connect::statement,
    statement::Statements,
};

/// Waiting sessions whose blockers are looked up, the longest waiting first: each look-up stops the
/// server's lock tables for a moment.
const MAX_WAITING: usize = 100;

/// What a sentence has of a statement, in characters.
const SQL_IN_SENTENCE: usize = 120;

/// What stands in the list of blockers for a transaction that was prepared for two-phase commit.
const PREPARED_TRANSACTION: i32 = 0;

const WAITING: &str = "
    WITH waiting AS MATERIALIZED (
        SELECT pid, query_start FROM pg_catalog.pg_stat_activity WHERE wait_event_type = 'Lock')
    SELECT pid, pg_catalog.pg_blocking_pids(pid) AS blockers,
           (SELECT count(*) FROM waiting) AS all_waiting
    FROM (SELECT pid FROM waiting ORDER BY query_start LIMIT 100) AS longest";

/// The locks that they wait for. `waitstart` is there from Postgres 14 on; before that, the start of
/// the statement is an upper bound.
const LOCKS: &str = "
    SELECT l.pid, l.locktype, l.mode,
           CASE WHEN d.datname = current_database() THEN l.relation::regclass::text END AS relation,
           extract(epoch FROM clock_timestamp() - l.waitstart)::float8 AS waited_seconds
    FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_database d ON d.oid = l.database
    WHERE NOT l.granted AND l.pid = ANY($1)";
const LOCKS_BEFORE_14: &str = "
    SELECT l.pid, l.locktype, l.mode,
           CASE WHEN d.datname = current_database() THEN l.relation::regclass::text END AS relation,
           NULL::float8 AS waited_seconds
    FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_database d ON d.oid = l.database
    WHERE NOT l.granted AND l.pid = ANY($1)";

const SESSIONS: &str = "
    SELECT pid, datname::text, usename::text, application_name, client_addr::text, state,
           wait_event_type, wait_event,
           extract(epoch FROM now() - xact_start)::float8 AS transaction_seconds,
           extract(epoch FROM now() - query_start)::float8 AS statement_seconds,
           extract(epoch FROM now() - state_change)::float8 AS state_seconds,
           query
    FROM pg_catalog.pg_stat_activity WHERE pid = ANY($1)";

/// Sessions that wait for locks, and those that hold them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Blocking {
    /// Sessions that wait for a lock.
    pub waiting: u64,
    /// One for each session that blocks others and waits for none; the one that blocks most first.
    pub chains: Vec<Chain>,
}

/// A session that blocks others, directly or through those that it blocks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Chain {
    /// Who has to end for the others to go on.
    pub root: Session,
    /// Whether the root waits for one of those that it blocks: a deadlock, which Postgres solves
    /// after `deadlock_timeout`.
    pub is_cycle: bool,
    /// Who waits, nearest to the root first.
    pub waiting: Vec<Waiting>,
}

/// A session that waits.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Waiting {
    /// Who.
    pub session: Session,
    /// Process ids of those that it waits for; 0 is a prepared transaction.
    pub blocked_by: Vec<i32>,
    /// Such as `ShareLock on transaction`, or `AccessExclusiveLock on relation orders`.
    pub lock: Option<String>,
    /// For how long it waits, in seconds; before Postgres 14 since its statement began.
    pub waited_seconds: f64,
}

impl Chain {
    /// The longest that one has waited, in seconds.
    pub fn longest_wait_seconds(&self) -> f64 {
        let waits = self.waiting.iter().map(|waiting| waiting.waited_seconds);
        waits.fold(0.0, f64::max)
    }

    /// The whole in one sentence, such as `pid 123 (app, idle in transaction for 12 s, last: update
    /// orders set ...) has blocked 7 sessions for 12 s`.
    pub fn sentence(&self) -> String {
        let root = &self.root;
        let mut who = Vec::new();
        let application = root.application.clone();
        let name = match (application, &root.user) {
            (Some(application), Some(user)) => Some(format!("{application} as {user}")),
            (application, user) => application.or_else(|| user.clone()),
        };
        who.extend(name);
        if let Some(state) = &root.state {
            who.push(match root.state_seconds {
                Some(seconds) => format!("{state} for {seconds:.0} s"),
                None => state.clone(),
            });
        }
        let is_running = root.state.as_deref() == Some("active");
        who.extend(root.sql.as_deref().map(|sql| {
            let short: String = sql.chars().take(SQL_IN_SENTENCE).collect();
            let more = if short.len() < sql.len() { "…" } else { "" };
            let when = if is_running { "runs" } else { "last" };
            format!("{when}: {short}{more}")
        }));
        let who = match who.is_empty() {
            true => String::new(),
            false => format!(" ({})", who.join(", ")),
        };
        let subject = match root.pid {
            PREPARED_TRANSACTION => "a prepared transaction".to_owned(),
            pid => format!("pid {pid}{who}"),
        };
        let sessions = match self.waiting.len() {
            1 => "1 session".to_owned(),
            count => format!("{count} sessions"),
        };
        let seconds = self.longest_wait_seconds();
        if self.is_cycle {
            return format!(
                "{subject} and {sessions} wait for each other since {seconds:.0} s: a deadlock"
            );
        }
        format!("{subject} has blocked {sessions} for {seconds:.0} s")
    }
}

/// A session that waits, with what is known of its wait.
struct Wait {
    blockers: Vec<i32>,
    lock: Option<String>,
    waited_seconds: Option<f64>,
}

pub(super) async fn blocking(
    connection: &mut PgConnection,
    statements: &mut Statements,
    version_number: i32,
) -> Result<Blocking, sqlx::Error> {
    let rows = statement(WAITING).fetch_all(&mut *connection).await?;
    let Some(first) = rows.first() else {
        return Ok(Blocking::default());
    };
    let waiting = count(first.try_get("all_waiting")?);
    let mut waits = BTreeMap::new();
    for row in rows.iter().take(MAX_WAITING) {
        let mut blockers: Vec<i32> = row.try_get("blockers")?;
        blockers.sort_unstable();
        // Workers of one parallel query are named once each.
        blockers.dedup();
        // A wait that ended meanwhile has none.
        if !blockers.is_empty() {
            let wait = Wait {
                blockers,
                lock: None,
                waited_seconds: None,
            };
            waits.insert(row.try_get::<i32, _>("pid")?, wait);
        }
    }
    let waiting_pids: Vec<i32> = waits.keys().copied().collect();
    let locks = if version_number >= 140_000 {
        LOCKS
    } else {
        LOCKS_BEFORE_14
    };
    for row in statement(locks)
        .bind(&waiting_pids)
        .fetch_all(&mut *connection)
        .await?
    {
        let pid: i32 = row.try_get("pid")?;
        if let Some(wait) = waits.get_mut(&pid) {
            let kind: String = row.try_get("locktype")?;
            let mode: String = row.try_get("mode")?;
            let relation: Option<String> = row.try_get("relation")?;
            wait.lock = Some(describe(&mode, &kind, relation.as_deref()));
            wait.waited_seconds = row.try_get("waited_seconds")?;
        }
    }
    let blockers = waits
        .values()
        .flat_map(|wait| wait.blockers.iter().copied());
    let all: BTreeSet<i32> = waiting_pids.iter().copied().chain(blockers).collect();
    let all: Vec<i32> = all.into_iter().collect();
    let mut sessions = BTreeMap::new();
    for row in statement(SESSIONS).bind(&all).fetch_all(connection).await? {
        let session = session(&row, statements)?;
        sessions.insert(session.pid, session);
    }
    Ok(Blocking {
        waiting,
        chains: chains(&waits, &sessions),
    })
}

fn describe(mode: &str, kind: &str, relation: Option<&str>) -> String {
    // As everybody calls it: the end of a transaction is waited for.
    let kind = if kind == "transactionid" {
        "transaction"
    } else {
        kind
    };
    match relation {
        Some(relation) => format!("{mode} on {kind} {relation}"),
        None => format!("{mode} on {kind}"),
    }
}

/// Puts who waits under who is waited for, up to those that wait for nobody.
fn chains(waits: &BTreeMap<i32, Wait>, sessions: &BTreeMap<i32, Session>) -> Vec<Chain> {
    let mut blocked: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (pid, wait) in waits {
        for blocker in &wait.blockers {
            blocked.entry(*blocker).or_default().push(*pid);
        }
    }
    let mut chains: Vec<Chain> = blocked
        .keys()
        .filter(|pid| !waits.contains_key(pid))
        .map(|root| chain(*root, false, &blocked, waits, sessions))
        .collect();
    let mut reached: BTreeSet<i32> = chains.iter().flat_map(Chain::pids).collect();
    // Who is not below anybody waits in a circle.
    for pid in waits.keys() {
        if !reached.contains(pid) {
            let cycle = chain(*pid, true, &blocked, waits, sessions);
            reached.extend(cycle.pids());
            chains.push(cycle);
        }
    }
    chains.sort_by(|a, b| {
        let by_number = b.waiting.len().cmp(&a.waiting.len());
        by_number.then(a.root.pid.cmp(&b.root.pid))
    });
    chains
}

fn chain(
    root: i32,
    is_cycle: bool,
    blocked: &BTreeMap<i32, Vec<i32>>,
    waits: &BTreeMap<i32, Wait>,
    sessions: &BTreeMap<i32, Session>,
) -> Chain {
    let mut seen = BTreeSet::from([root]);
    let mut next = VecDeque::from([root]);
    let mut waiting = Vec::new();
    while let Some(blocker) = next.pop_front() {
        for pid in blocked.get(&blocker).into_iter().flatten() {
            let Some(wait) = waits.get(pid).filter(|_| seen.insert(*pid)) else {
                continue;
            };
            let session = known(*pid, sessions);
            waiting.push(Waiting {
                waited_seconds: wait
                    .waited_seconds
                    .or(session.statement_seconds)
                    .unwrap_or(0.0),
                blocked_by: wait.blockers.clone(),
                lock: wait.lock.clone(),
                session,
            });
            next.push_back(*pid);
        }
    }
    Chain {
        root: known(root, sessions),
        is_cycle,
        waiting,
    }
}

/// The session; one that ended between two looks has its process id only.
fn known(pid: i32, sessions: &BTreeMap<i32, Session>) -> Session {
    sessions.get(&pid).cloned().unwrap_or_else(|| Session {
        pid,
        state: (pid == PREPARED_TRANSACTION).then(|| "prepared transaction".to_owned()),
        ..Session::default()
    })
}

impl Chain {
    fn pids(&self) -> impl Iterator<Item = i32> {
        let waiting = self.waiting.iter().map(|waiting| waiting.session.pid);
        std::iter::once(self.root.pid).chain(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(edges: &[(i32, &[i32])]) -> BTreeMap<i32, Wait> {
        let wait = |blockers: &[i32]| Wait {
            blockers: blockers.to_vec(),
            lock: None,
            waited_seconds: Some(1.0),
        };
        edges
            .iter()
            .map(|(pid, blockers)| (*pid, wait(blockers)))
            .collect()
    }

    fn shapes(edges: &[(i32, &[i32])]) -> Vec<(i32, bool, Vec<i32>)> {
        chains(&waits(edges), &BTreeMap::new())
            .iter()
            .map(|chain| {
                (
                    chain.root.pid,
                    chain.is_cycle,
                    chain.pids().skip(1).collect(),
                )
            })
            .collect()
    }

    /// In a pile-up all but the first wait for one that waits itself: who is asked to end must be the
    /// one at its root.
    #[test]
    fn the_root_of_a_pile_up_is_named_once_with_all_that_wait() {
        assert_eq!(
            shapes(&[(2, &[1]), (3, &[2]), (4, &[2]), (5, &[2, 3])]),
            [(1, false, vec![2, 3, 4, 5])]
        );
    }

    #[test]
    fn who_waits_for_two_is_under_both() {
        assert_eq!(
            shapes(&[(3, &[1, 2]), (4, &[2])]),
            [(2, false, vec![3, 4]), (1, false, vec![3])]
        );
    }

    #[test]
    fn a_deadlock_is_a_chain_with_a_mark_and_no_endless_loop() {
        assert_eq!(
            shapes(&[(1, &[2]), (2, &[1]), (3, &[2])]),
            [(1, true, vec![2, 3])]
        );
    }

    /// What an operator reads first at night.
    #[test]
    fn the_sentence_names_who_to_ask_and_what_it_costs() {
        let mut chain = Chain {
            root: Session {
                pid: 123,
                application: Some("shop".to_owned()),
                user: Some("app".to_owned()),
                state: Some("idle in transaction".to_owned()),
                state_seconds: Some(12.4),
                sql: Some("update orders set paid = ?".to_owned()),
                ..Session::default()
            },
            ..Chain::default()
        };
        let waits = |waited_seconds| Waiting {
            waited_seconds,
            ..Waiting::default()
        };
        chain.waiting = vec![waits(11.6), waits(3.0)];
        assert_eq!(
            chain.sentence(),
            "pid 123 (shop as app, idle in transaction for 12 s, last: update orders set paid = ?) \
             has blocked 2 sessions for 12 s"
        );
    }

    #[test]
    fn a_prepared_transaction_blocks_without_a_session() {
        let chains = chains(&waits(&[(2, &[0])]), &BTreeMap::new());
        let root = &chains.first().unwrap().root;
        assert_eq!(root.state.as_deref(), Some("prepared transaction"));
    }
}
