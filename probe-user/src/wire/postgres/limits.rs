//! How much a connection may remember, and what was given up for it.

/// Bounds of one connection's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Named prepared statements; the least recently used is forgotten first.
    pub statements: usize,
    /// Named portals; likewise.
    pub portals: usize,
    /// Bytes of one statement's text that are looked at.
    pub sql_bytes: usize,
    /// Messages that wait for their answers.
    pub pipeline: usize,
    /// Segments in which nothing of Postgres is recognised before the connection is given up.
    pub unrecognised_segments: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            statements: 512,
            portals: 64,
            sql_bytes: 16 * 1024,
            pipeline: 16 * 1024,
            unrecognised_segments: 64,
        }
    }
}

/// What could not be known, or was not kept. All counters only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Statements that were reported, whatever their outcome.
    pub statements: u64,
    /// Of these, those whose outcome is unknown.
    pub unknown_outcome: u64,
    /// Of these, those whose SQL is unknown.
    pub unknown_sql: u64,
    /// Execute messages and statements of a text that the server skipped after an error; not
    /// reported, for nothing happened.
    pub skipped: u64,
    /// Times that the boundaries of messages were lost, in one direction.
    pub desynchronised: u64,
    /// Segments that were reported lost.
    pub lost_segments: u64,
    /// Messages that contradict the protocol or the requests.
    pub violations: u64,
    /// Prepared statements and portals that were forgotten for lack of room.
    pub evicted: u64,
    /// Requests that were not kept for lack of room.
    pub overflowed: u64,
    /// SQL texts of which only the start was at hand.
    pub cut_texts: u64,
    /// Executions of which the start or the end was not seen, so that they may be further steps of
    /// a statement that is reported.
    pub unknown_steps: u64,
    /// Answers that could not be told to belong to a request.
    pub stray_answers: u64,
    /// Function calls of the protocol (not of SQL).
    pub function_calls: u64,
}
