//! Certificates of the tests' own.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{process::run, site::need};

/// A self-signed certificate for `localhost` and `127.0.0.1`, and its key.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate, PEM. Who trusts it as an authority can verify the server.
    pub certificate: PathBuf,
    /// The key, PEM, readable by its owner alone.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes both files in this directory.
    ///
    /// # Errors
    /// openssl is not installed.
    pub fn create(directory: &Path) -> Result<Self> {
        let made = Self {
            certificate: directory.join("server.crt"),
            key: directory.join("server.key"),
        };
        let mut command = Command::new(need("openssl", "openssl")?);
        command
            .args(["req", "-x509", "-nodes", "-days", "2"])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(&made.certificate);
        run("openssl req", command)?;
        std::fs::set_permissions(&made.key, std::fs::Permissions::from_mode(0o600))?;
        Ok(made)
    }
}
