//! The kernel side as the daemon sees it: type information, the loaded object, attached probes,
//! the tables that the programs fill.

pub mod arch;
pub mod block;
pub mod btf;
pub mod environment;
pub mod lanes;
pub mod loader;
pub mod mapped;
pub mod measuring;
pub mod object;
pub mod offsets;
pub mod payload;
pub mod probe;
pub mod probes;
pub mod program_info;
pub mod scheduler;
pub mod snapshot;
pub mod tables;
pub mod tls;
