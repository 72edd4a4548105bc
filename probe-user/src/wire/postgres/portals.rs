//! What the server remembers between messages: prepared statements, portals and savepoints.
//!
//! All of it changes when the server's answer is seen, not when the request is: then it is what
//! the server has, whatever failed in between.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use rustc_hash::FxBuildHasher;

use super::event::CopyDirection;
use super::limits::Limits;
use crate::sql::{Effect, Operation, Parsed, Part};

/// Savepoints that are followed; deeper ones count as the deepest.
const MAX_SAVEPOINTS: usize = 64;

/// How far a portal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Bound, not executed.
    Bound,
    /// Executed, with rows left.
    Suspended,
    /// Executed to its end.
    Done,
}

/// A portal.
#[derive(Debug, Clone)]
pub(super) struct Portal {
    pub(super) text: Option<Arc<Parsed>>,
    /// The name of the statement that it was bound to.
    pub(super) statement: Option<u64>,
    pub(super) parameters: Option<u64>,
    pub(super) bound_at: u64,
    pub(super) progress: Progress,
    pub(super) fetches: u32,
    /// Rows of all fetches; `None` once one of them is not known.
    pub(super) rows: Option<u64>,
    /// Rows of the latest fetch.
    pub(super) last_rows: u64,
    pub(super) busy_ns: u64,
    pub(super) first_byte: Option<u64>,
    pub(super) finished: u64,
    pub(super) copy: Option<CopyDirection>,
    pub(super) shared: bool,
    /// Savepoints that were open when it was bound.
    pub(super) level: usize,
}

impl Portal {
    pub(super) fn new(text: Option<Arc<Parsed>>, parameters: Option<u64>, bound_at: u64) -> Self {
        Self {
            text,
            statement: None,
            parameters,
            bound_at,
            progress: Progress::Bound,
            fetches: 0,
            rows: Some(0),
            last_rows: 0,
            busy_ns: 0,
            first_byte: None,
            finished: 0,
            copy: None,
            shared: false,
            level: 0,
        }
    }

    /// Its statement, if that was seen.
    pub(super) fn part(&self) -> Option<&Part> {
        self.text.as_ref()?.parts.first()
    }

    /// Whether it is a command without a plan, such as BEGIN.
    pub(super) fn is_utility(&self) -> bool {
        use Operation::{Delete, Insert, Merge, Select, Update};
        self.part().is_some_and(|part| {
            !matches!(
                part.info.operation,
                Select | Insert | Update | Delete | Merge
            ) || part.info.text.starts_with("explain")
        })
    }

    /// Whether the server runs it step by step, and counts it when it is closed.
    pub(super) fn is_select(&self) -> bool {
        self.part().is_some_and(|part| {
            part.info.operation == Operation::Select && !part.info.text.starts_with("explain")
        })
    }
}

/// A prepared statement.
#[derive(Debug, Clone, Default)]
struct Prepared {
    text: Option<Arc<Parsed>>,
    /// Whether it was executed before.
    ran: bool,
}

/// Why a portal is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// It was closed, or replaced, or its transaction ended well.
    Closed,
    /// Its transaction failed or was rolled back.
    Failed,
}

/// The names of a session.
#[derive(Debug)]
pub(super) struct Names {
    unnamed_statement: Prepared,
    // Keys are hashes already; who makes them collide slows down the own connection, by little.
    statements: LruCache<u64, Prepared, FxBuildHasher>,
    unnamed_portal: Option<Portal>,
    portals: LruCache<u64, Portal, FxBuildHasher>,
    savepoints: Vec<u64>,
    /// Whether a name was ever given to another text: then a name says nothing after a loss.
    reuses_names: bool,
    pub(super) evicted: u64,
}

impl Names {
    pub(super) fn new(limits: &Limits) -> Self {
        let at_least_one = |limit| NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN);
        let mut names = Self {
            unnamed_statement: Prepared::default(),
            statements: LruCache::unbounded_with_hasher(FxBuildHasher),
            unnamed_portal: None,
            portals: LruCache::unbounded_with_hasher(FxBuildHasher),
            savepoints: Vec::new(),
            reuses_names: false,
            evicted: 0,
        };
        // Unbounded first: most connections have a few names, and room is only taken for these.
        names.statements.resize(at_least_one(limits.statements));
        names.portals.resize(at_least_one(limits.portals));
        names
    }

    /// The server has prepared a statement.
    pub(super) fn prepare(&mut self, name: u64, text: Option<Arc<Parsed>>) {
        if name == 0 {
            self.unnamed_statement = Prepared { text, ran: false };
            return;
        }
        if let Some(before) = self.statements.peek(&name) {
            self.reuses_names |= before.text != text;
        }
        let evicted = self.statements.push(name, Prepared { text, ran: false });
        self.evicted += u64::from(evicted.is_some_and(|(evicted, _)| evicted != name));
    }

    /// The text of a statement, if it is known.
    pub(super) fn statement(&mut self, name: u64) -> Option<Arc<Parsed>> {
        if name == 0 {
            return self.unnamed_statement.text.clone();
        }
        self.statements.get(&name)?.text.clone()
    }

    /// Notes that a statement is executed. Returns whether it was before.
    pub(super) fn runs(&mut self, name: u64) -> bool {
        let prepared = match name {
            0 => Some(&mut self.unnamed_statement),
            _ => self.statements.get_mut(&name),
        };
        prepared.is_some_and(|prepared| std::mem::replace(&mut prepared.ran, true))
    }

    /// A statement is gone, or what it is is not known any more.
    pub(super) fn forget_statement(&mut self, name: u64) {
        if name == 0 {
            self.unnamed_statement = Prepared::default();
        } else {
            self.statements.pop(&name);
        }
    }

    /// A portal is created; the one of that name before is returned.
    pub(super) fn bind(&mut self, name: u64, mut portal: Portal) -> Option<Portal> {
        portal.level = self.savepoints.len();
        if name == 0 {
            return self.unnamed_portal.replace(portal);
        }
        let (other, gone) = self.portals.push(name, portal)?;
        self.evicted += u64::from(other != name);
        Some(gone)
    }

    pub(super) fn portal(&mut self, name: u64) -> Option<&mut Portal> {
        if name == 0 {
            return self.unnamed_portal.as_mut();
        }
        self.portals.get_mut(&name)
    }

    pub(super) fn take_portal(&mut self, name: u64) -> Option<Portal> {
        if name == 0 {
            return self.unnamed_portal.take();
        }
        self.portals.pop(&name)
    }

    pub(super) fn put_portal(&mut self, name: u64, portal: Portal) {
        if name == 0 {
            self.unnamed_portal = Some(portal);
        } else {
            self.portals.push(name, portal);
        }
    }

    /// Takes one of the portals that were created since `level` savepoints were open.
    pub(super) fn take_portal_since(&mut self, level: usize) -> Option<Portal> {
        if self
            .unnamed_portal
            .as_ref()
            .is_some_and(|portal| portal.level >= level)
        {
            return self.unnamed_portal.take();
        }
        if self.portals.is_empty() {
            return None;
        }
        let mut portals = self.portals.iter();
        let name = portals.find_map(|(name, portal)| (portal.level >= level).then_some(*name))?;
        self.portals.pop(&name)
    }

    /// How many savepoints are open.
    pub(super) fn level(&self) -> usize {
        self.savepoints.len()
    }

    /// A transaction is over.
    pub(super) fn end_transaction(&mut self) {
        self.savepoints.clear();
    }

    /// What a statement did, once it has succeeded. Returns the level to which was rolled back.
    pub(super) fn apply(&mut self, effect: &Effect) -> Option<usize> {
        match effect {
            Effect::None | Effect::Execute(_) => {}
            Effect::Prepare(name, text) => self.prepare(*name, text.clone()),
            Effect::Deallocate(name) => self.forget_statement(*name),
            Effect::DeallocateAll => self.statements.clear(),
            Effect::Savepoint(name) => {
                if self.savepoints.len() < MAX_SAVEPOINTS {
                    self.savepoints.push(*name);
                }
            }
            Effect::Release(name) => {
                if let Some(level) = self.savepoints.iter().rposition(|known| known == name) {
                    self.savepoints.truncate(level);
                    let portals = self.portals.iter_mut().map(|(_, portal)| portal);
                    for portal in portals.chain(self.unnamed_portal.as_mut()) {
                        portal.level = portal.level.min(level);
                    }
                }
            }
            Effect::RollbackTo(name) => {
                let level = self.savepoints.iter().rposition(|known| known == name)?;
                self.savepoints.truncate(level + 1);
                return Some(level + 1);
            }
        }
        None
    }

    /// Requests were not seen. A name that a driver gives but once still means what it meant; the
    /// unnamed ones and those of a driver that gives names again do not.
    pub(super) fn doubt(&mut self) {
        self.unnamed_statement = Prepared::default();
        self.savepoints.clear();
        if self.reuses_names {
            self.statements.clear();
        }
        self.doubt_portals();
    }

    /// A part of the requests or answers was not seen: only that a portal was executed is certain.
    pub(super) fn doubt_portals(&mut self) {
        let suspended = |portal: &Portal| portal.progress == Progress::Suspended;
        self.unnamed_portal = self.unnamed_portal.take().filter(suspended);
        let gone: Vec<u64> = self
            .portals
            .iter()
            .filter_map(|(name, portal)| (!suspended(portal)).then_some(*name))
            .collect();
        for name in gone {
            self.portals.pop(&name);
        }
        let portals = self.portals.iter_mut().map(|(_, portal)| portal);
        for portal in portals.chain(self.unnamed_portal.as_mut()) {
            portal.text = None;
            portal.parameters = None;
            portal.rows = None;
        }
    }
}
