//! What the users' browsers say: vitals, errors, actions, and whether they are within budgets.

pub mod script;
