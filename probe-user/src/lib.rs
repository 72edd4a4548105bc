//! The hostprobe daemon. Data flows one way: `kernel`, `targets` and `host` collect, `metrics` names and
//! formats, `api` serves, `cli` puts them together.

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod database;
pub mod gemini;
pub mod host;
pub mod kernel;
pub mod metrics;
pub mod queries;
pub mod routes;
pub mod sql;
pub mod store;
pub mod targets;
pub mod traffic;
pub mod verdict;
pub mod vitals;
pub mod wire;
