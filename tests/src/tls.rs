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

    /// Makes both files in this directory, and an authority's certificate, PEM, that has signed it: the
    /// last of what is returned. Stricter clients than libpq want an authority that is no server.
    ///
    /// # Errors
    /// openssl is not installed.
    pub fn signed(directory: &Path) -> Result<(Self, PathBuf)> {
        let openssl = need("openssl", "openssl")?;
        let file = |name: &str| directory.join(name);
        let made = Self {
            certificate: file("server.crt"),
            key: file("server.key"),
        };
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        let mut command = Command::new(&openssl);
        command
            .args(["req", "-x509", "-nodes", "-days", "2"])
            .args(key)
            .args(["-subj", "/CN=an authority of the tests", "-keyout"])
            .arg(file("authority.key"))
            .arg("-out")
            .arg(file("authority.crt"));
        run("openssl req", command)?;
        let mut command = Command::new(&openssl);
        command
            .args(["req", "-new", "-nodes"])
            .args(key)
            .args(["-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(file("server.csr"));
        run("openssl req", command)?;
        let mut command = Command::new(&openssl);
        command
            .args(["x509", "-req", "-days", "2", "-copy_extensions", "copy"])
            .args(["-set_serial", "1", "-in"])
            .arg(file("server.csr"))
            .arg("-CA")
            .arg(file("authority.crt"))
            .arg("-CAkey")
            .arg(file("authority.key"))
            .arg("-out")
            .arg(&made.certificate);
        run("openssl x509", command)?;
        std::fs::set_permissions(&made.key, std::fs::Permissions::from_mode(0o600))?;
        Ok((made, file("authority.crt")))
    }
}
