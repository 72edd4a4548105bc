//! Who may write: programs of this host, and those with a token.

use std::{
    fs::{self, Metadata},
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use subtle::{Choice, ConstantTimeEq as _};

use super::Problem;

/// Shorter ones can be guessed.
const MIN_LENGTH: usize = 16;
/// The largest file of tokens, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Headers by which a browser or a proxy shows: what comes from one comes from somewhere else, even
/// when its connection comes from this host.
const FROM_ELSEWHERE: [HeaderName; 6] = [
    header::ORIGIN,
    HeaderName::from_static("sec-fetch-site"),
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
    header::VIA,
];

/// The tokens of those who write from other hosts. Files are read again when they change, so that a
/// token can be replaced without a restart.
#[derive(Debug, Default)]
pub struct Tokens(Vec<File>);

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// What was read last.
    read: Mutex<Read>,
}

struct Read {
    version: Version,
    tokens: Vec<String>,
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.tokens.len())
    }
}

/// By which a change of a file shows: device, number, length, time.
type Version = (u64, u64, u64, i64, i64);

/// Why tokens can't be read.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file is not there or may not be read.
    #[error("cannot read the tokens of `api.token_files` in {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Everybody may read it, or it holds something else.
    #[error("cannot use the tokens of `api.token_files` in {}: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong, without the token.
        why: String,
    },
}

impl Tokens {
    /// Reads all files.
    ///
    /// # Errors
    /// One can't be read or used.
    pub fn load(paths: &[PathBuf]) -> Result<Self, TokensError> {
        let files: Result<Vec<File>, TokensError> = paths
            .iter()
            .map(|path| {
                let read = Mutex::new(read(path)?);
                let path = path.clone();
                Ok(File { path, read })
            })
            .collect();
        Ok(Self(files?))
    }

    /// Whether the request may write: it comes from a program of this host, or has a token.
    ///
    /// # Errors
    /// It may not: 401 with what to do.
    pub fn authorise(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> Result<(), Problem> {
        let local = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        let direct = !FROM_ELSEWHERE.iter().any(|name| headers.contains_key(name));
        if local && direct {
            return Ok(());
        }
        let refuse = |why: &str| {
            let detail = format!(
                "writing from another host, a browser or through a proxy needs a token, as in \
                 `Authorization: Bearer TOKEN`; {why}"
            );
            Problem::new(StatusCode::UNAUTHORIZED, detail)
                .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
        };
        if self.0.is_empty() {
            return Err(refuse("none are configured in `api.token_files`"));
        }
        let Some(token) = bearer(headers) else {
            return Err(refuse("the request has none"));
        };
        // All are compared, each in a time that does not tell how much of it is right.
        let mut right = Choice::from(0);
        for file in &self.0 {
            right |= file.has(token.as_bytes());
        }
        if bool::from(right) {
            Ok(())
        } else {
            Err(refuse("that of the request is not known"))
        }
    }
}

impl File {
    fn has(&self, token: &[u8]) -> Choice {
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = fs::metadata(&self.path).map(|found| version(&found));
        if !matches!(now, Ok(now) if now == known.version) {
            match read(&self.path) {
                Ok(again) => {
                    tracing::info!("read the tokens in {} again", self.path.display());
                    *known = again;
                }
                // Who takes the file away takes the tokens away.
                Err(error) => {
                    tracing::warn!("{error}; its tokens are not taken any more");
                    *known = Read {
                        version: Version::default(),
                        tokens: Vec::new(),
                    };
                }
            }
        }
        let mut right = Choice::from(0);
        for one in &known.tokens {
            right |= one.as_bytes().ct_eq(token);
        }
        right
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    // RFC 9110, section 11.1: in any case.
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn version(found: &Metadata) -> Version {
    (
        found.dev(),
        found.ino(),
        found.len(),
        found.mtime(),
        found.mtime_nsec(),
    )
}

fn read(path: &Path) -> Result<Read, TokensError> {
    let failed = |source| TokensError::Read {
        path: path.to_owned(),
        source,
    };
    let unusable = |why: String| TokensError::Unusable {
        path: path.to_owned(),
        why,
    };
    let found = fs::metadata(path).map_err(failed)?;
    if found.permissions().mode() & 0o004 != 0 {
        return Err(unusable(
            "everybody may read the file; take that right away (chmod o-r)".to_owned(),
        ));
    }
    if found.len() > MAX_FILE {
        return Err(unusable(format!("it has more than {MAX_FILE} bytes")));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let mut tokens = Vec::new();
    for (line, token) in (1..).zip(text.lines().map(str::trim)) {
        if token.is_empty() || token.starts_with('#') {
            continue;
        }
        // What RFC 6750, section 2.1, allows.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if token.len() < MIN_LENGTH || !token.bytes().all(plain) {
            return Err(unusable(format!(
                "line {line} is no token; allowed are {MIN_LENGTH} or more of the characters A-Z a-z \
                 0-9 - . _ ~ + / ="
            )));
        }
        tokens.push(token.to_owned());
    }
    if tokens.is_empty() {
        return Err(unusable("it holds no token".to_owned()));
    }
    Ok(Read {
        version: version(&found),
        tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name: HeaderName = name.parse().unwrap();
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn peer(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    const FAR: &str = "192.0.2.7:999";

    /// Who can reach the port must not be able to write bills.
    #[test]
    fn only_programs_of_this_host_need_no_token() {
        let tokens = Tokens::default();
        let may = |from: Option<SocketAddr>, pairs: &[(&str, &str)]| {
            tokens.authorise(from, &headers(pairs)).is_ok()
        };
        for near in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(may(peer(near), &[]), "{near}");
        }
        assert!(!may(peer(FAR), &[]));
        assert!(!may(peer("[::ffff:192.0.2.7]:1"), &[]));
        assert!(!may(None, &[]));
        for elsewhere in [
            ("origin", "http://127.0.0.1:9738"),
            ("sec-fetch-site", "cross-site"),
            ("x-forwarded-for", "192.0.2.7"),
            ("forwarded", "for=192.0.2.7"),
            ("via", "1.1 proxy"),
        ] {
            assert!(!may(peer("127.0.0.1:1"), &[elsewhere]), "{elsewhere:?}");
        }
    }

    #[test]
    fn each_of_several_tokens_is_taken_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        write(
            &a,
            "# the app\nfirst-token-of-the-app\n\n  second-token-of-app \n",
            0o600,
        );
        write(&b, "token.of.another/one=", 0o640);
        let tokens = Tokens::load(&[a.clone(), b]).unwrap();
        let may = |value: &str| {
            tokens
                .authorise(peer(FAR), &headers(&[("authorization", value)]))
                .is_ok()
        };
        for token in [
            "Bearer first-token-of-the-app",
            "bearer second-token-of-app",
            "BEARER token.of.another/one=",
        ] {
            assert!(may(token), "{token}");
        }
        for wrong in [
            "Bearer first-token-of-the-ap",
            "Bearer first-token-of-the-app2",
            "Bearer ",
            "Bearer # the app",
            "first-token-of-the-app",
            "Basic first-token-of-the-app",
        ] {
            assert!(!may(wrong), "{wrong}");
        }
        assert!(!format!("{tokens:?}").contains("token-of"));
        // Replaced while it runs.
        write(&a, "third-token-of-the-app", 0o600);
        assert!(may("Bearer third-token-of-the-app"));
        assert!(!may("Bearer first-token-of-the-app"));
        fs::remove_file(&a).unwrap();
        assert!(!may("Bearer third-token-of-the-app"));
        assert!(may("Bearer token.of.another/one="));
    }

    #[test]
    fn a_file_that_is_no_secret_or_holds_none_is_refused_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let error = |text: &str, mode: u32| {
            write(&path, text, mode);
            Tokens::load(&[path.clone()]).unwrap_err().to_string()
        };
        assert!(error("long-enough-a-token", 0o644).contains("chmod"));
        assert!(error("# only this\n", 0o600).contains("no token"));
        let short = error("long-enough-a-token\nsecret\n", 0o600);
        assert!(
            short.contains("line 2") && !short.contains("secret"),
            "{short}"
        );
        assert!(error(&"x".repeat(70_000), 0o600).contains("65536"));
        fs::remove_file(&path).unwrap();
        let missing = Tokens::load(&[path.clone()]).unwrap_err().to_string();
        assert!(missing.contains("cannot read"), "{missing}");
    }
}
