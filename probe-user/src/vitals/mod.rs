//! What the users' browsers say: vitals, errors, actions, and whether they are within budgets.

pub mod fingerprint;
pub mod script;
pub mod stack;
