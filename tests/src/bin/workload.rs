//! A bounded workload that knows exactly which calls it made; see `end_to_end::workload`.

use std::ffi::OsString;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let myself = OsString::from(std::env::current_exe()?);
    end_to_end::workload::main(&[myself], &arguments)
}
