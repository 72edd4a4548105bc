//! What to do about a loop, in one sentence.

use super::{Finding, Pattern};
use crate::sql::Operation;

impl Finding {
    /// How often the query runs each time, on average.
    pub fn typical_count(&self) -> f64 {
        self.total_count as f64 / self.times.max(1) as f64
    }

    /// What to do about it, in one sentence.
    pub fn advice(&self) -> &'static str {
        let reads = self.sql.operation == Operation::Select;
        match (self.pattern, reads) {
            (Pattern::NPlusOne, true) => {
                "Ask for all rows at once, with a join or WHERE … IN (…) / = ANY($1); in an ORM, load \
                 the relation eagerly (SQLAlchemy: selectinload or joinedload; Django: \
                 prefetch_related or select_related; Rails: includes)."
            }
            (Pattern::NPlusOne, false) => {
                "Write all rows at once: VALUES with several rows, or WHERE … IN (…) / = ANY($1); in \
                 an ORM, the bulk form (SQLAlchemy: execute with a list; Django: bulk_create, \
                 bulk_update or a QuerySet's update; Rails: insert_all, update_all)."
            }
            (Pattern::RepeatedQuery, true) => {
                "It asks for the same each time: move it before the loop, or remember its answer for \
                 the time of the request (a cache)."
            }
            (Pattern::RepeatedQuery, false) => {
                "It writes the same each time: move it behind the loop, and write once."
            }
        }
    }
}
