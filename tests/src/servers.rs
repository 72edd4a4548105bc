//! Web servers that the tests start with apps of `tests/apps/http`, and their access logs.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    probe::free_address,
    process::Process,
    site::{need, repository},
    tls::Certificate,
    waiting::{self, PATIENCE},
    web::python,
};

/// A request as somebody counts it: method, path without its query, and status, which is 0 when the
/// client was gone before there was one.
pub type Request = (String, String, u16);

/// How often each was counted.
pub type Requests = BTreeMap<Request, i64>;

/// A web server.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
    /// Where it keeps its files, and where its access log is if that is not its output.
    directory: Option<TempDir>,
    /// The requests that it has sent on to another server, and what it thinks of those.
    log: fn(&Server) -> Result<Vec<Logged>>,
}

/// A line of an access log.
#[derive(Debug)]
struct Logged {
    request: Request,
    /// Status of the server that it was sent on to.
    upstream: Option<u16>,
}

impl Server {
    /// uvicorn; with TLS when there is a certificate.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub fn uvicorn(certificate: Option<&Certificate>) -> Result<Self> {
        let address = free_address()?;
        let mut command = python_app()?;
        command
            .args(["-m", "uvicorn", "asgi:app", "--access-log"])
            .args(["--host", &address.ip().to_string()])
            .args(["--port", &address.port().to_string()]);
        if let Some(certificate) = certificate {
            command
                .arg("--ssl-certfile")
                .arg(&certificate.certificate)
                .arg("--ssl-keyfile")
                .arg(&certificate.key);
        }
        Self::start("uvicorn", command, address, None, uvicorn_log)
    }

    /// gunicorn with one worker of the usual kind; with TLS when there is a certificate.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub fn gunicorn(certificate: Option<&Certificate>) -> Result<Self> {
        let address = free_address()?;
        let mut command = python_app()?;
        command
            .args(["-m", "gunicorn", "wsgi:app", "--workers", "1"])
            .args(["--bind", &address.to_string(), "--no-control-socket"])
            .args(["--access-logfile", "-"])
            .args(["--access-logformat", "access %(m)s %(U)s %(s)s"]);
        if let Some(certificate) = certificate {
            command
                .arg("--certfile")
                .arg(&certificate.certificate)
                .arg("--keyfile")
                .arg(&certificate.key);
        }
        Self::start("gunicorn", command, address, None, output_log)
    }

    /// Node's own http module; with TLS when there is a certificate.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub fn node(certificate: Option<&Certificate>) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(need("node", "nodejs")?);
        command
            .arg(apps().join("server.js"))
            .arg(address.port().to_string());
        if let Some(certificate) = certificate {
            command.arg(&certificate.certificate).arg(&certificate.key);
        }
        Self::start("node", command, address, None, output_log)
    }

    /// nginx: files under `/static`, and everything under `/node` from another server, whose
    /// connections it keeps; with TLS when there is a certificate.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub fn nginx(upstream: SocketAddr, certificate: Option<&Certificate>) -> Result<Self> {
        let address = free_address()?;
        let directory = TempDir::with_prefix("hostprobe-nginx-")?;
        let files = directory.path().join("static");
        std::fs::create_dir(&files)?;
        std::fs::write(files.join("large"), vec![b'x'; 5_000_000])?;
        let config = directory.path().join("nginx.conf");
        let text = nginx_config(directory.path(), address, upstream, certificate);
        std::fs::write(&config, text)?;
        let mut command = Command::new(need("/usr/sbin/nginx", "nginx-light")?);
        command
            .arg("-p")
            .arg(directory.path())
            .arg("-c")
            .arg(&config)
            .arg("-e")
            .arg(directory.path().join("error.log"));
        Self::start("nginx", command, address, Some(directory), nginx_log)
    }

    fn start(
        name: &str,
        command: Command,
        address: SocketAddr,
        directory: Option<TempDir>,
        log: fn(&Self) -> Result<Vec<Logged>>,
    ) -> Result<Self> {
        let mut server = Self {
            process: Process::spawn(name, command)?,
            address,
            directory,
            log,
        };
        waiting::until(&format!("{name} listens"), PATIENCE, || {
            if let Some(status) = server.process.ended()? {
                bail!("{name} ended with {status}:\n{}", server.process.output()?);
            }
            // A connection without a request: nobody counts it.
            Ok(TcpStream::connect(address).is_ok().then_some(()))
        })?;
        Ok(server)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has answered so far, by its own log.
    ///
    /// # Errors
    /// The log can't be read.
    pub fn answered(&self) -> Result<Requests> {
        let mut requests = Requests::new();
        for line in (self.log)(self)? {
            *requests.entry(line.request).or_default() += 1;
        }
        Ok(requests)
    }

    /// What it has asked other servers so far, by method and status.
    ///
    /// # Errors
    /// The log can't be read.
    pub fn asked(&self) -> Result<BTreeMap<(String, u16), i64>> {
        let mut requests = BTreeMap::new();
        for line in (self.log)(self)? {
            if let Some(status) = line.upstream {
                *requests.entry((line.request.0, status)).or_default() += 1;
            }
        }
        Ok(requests)
    }

    /// Ends it.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait_ended(PATIENCE)?;
        Ok(())
    }
}

fn apps() -> PathBuf {
    repository().join("tests/apps/http")
}

fn python_app() -> Result<Command> {
    let mut command = Command::new(python()?);
    command
        .current_dir(apps())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1");
    Ok(command)
}

fn nginx_config(
    directory: &Path,
    address: SocketAddr,
    upstream: SocketAddr,
    certificate: Option<&Certificate>,
) -> String {
    let (ssl, files) = certificate.map_or_else(Default::default, |made| {
        let files = format!(
            "ssl_certificate {}; ssl_certificate_key {};",
            made.certificate.display(),
            made.key.display()
        );
        (" ssl", files)
    });
    let directory = directory.display();
    format!(
        "daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/error.log;
        events {{}}
        http {{
          log_format access 'access $request_method $request_uri $status $upstream_addr $upstream_status';
          access_log {directory}/access.log access;
          client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
          fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
          sendfile on; tcp_nopush on; client_max_body_size 10m; keepalive_requests 1000;
          map $http_upgrade $upgrade_connection {{ default upgrade; '' ''; }}
          upstream node {{ server {upstream}; keepalive 4; }}
          server {{
            listen {address}{ssl}; {files}
            root {directory};
            location /node/ {{
              proxy_pass http://node/; proxy_http_version 1.1;
              proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrade_connection;
            }}
          }}
        }}"
    )
}

/// `access METHOD PATH STATUS` in its output.
fn output_log(server: &Server) -> Result<Vec<Logged>> {
    access_lines(&server.process.output()?)
}

/// `"METHOD PATH HTTP/1.1" STATUS` in its output, and its own words for a websocket.
fn uvicorn_log(server: &Server) -> Result<Vec<Logged>> {
    let output = server.process.output()?;
    let mut lines = Vec::new();
    for line in output.lines() {
        let mut quoted = line.split('"');
        let (Some(_), Some(request), Some(after)) = (quoted.next(), quoted.next(), quoted.next())
        else {
            continue;
        };
        let words: Vec<&str> = request.split(' ').collect();
        let status = after.split_whitespace().next().unwrap_or_default();
        let request = match words.as_slice() {
            ["WebSocket", path] if status == "[accepted]" => request_of("GET", path, 101),
            [method, path, _version] => request_of(method, path, status.parse()?),
            _ => continue,
        };
        lines.push(Logged {
            request,
            upstream: None,
        });
    }
    Ok(lines)
}

fn nginx_log(server: &Server) -> Result<Vec<Logged>> {
    let directory = server.directory.as_ref().context("nginx has no files")?;
    access_lines(&std::fs::read_to_string(
        directory.path().join("access.log"),
    )?)
}

fn access_lines(text: &str) -> Result<Vec<Logged>> {
    let mut lines = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("access ")) {
        let words: Vec<&str> = line.split(' ').collect();
        let [method, path, status, upstream @ ..] = words.as_slice() else {
            bail!("not a line of an access log: {line}");
        };
        let status = match status.parse()? {
            // nginx' own for a client that did not wait.
            499 => 0,
            status => status,
        };
        let upstream = match upstream {
            [] | ["-", ..] => None,
            [_address, status] => Some(status.parse().unwrap_or(0)),
            _ => bail!("asked several servers: {line}"),
        };
        lines.push(Logged {
            request: request_of(method, path, status),
            upstream,
        });
    }
    Ok(lines)
}

fn request_of(method: &str, target: &str, status: u16) -> Request {
    let path = target.split('?').next().unwrap_or_default();
    (method.to_owned(), path.to_owned(), status)
}

/// The client of `tests/apps/http`, which does not begin before it is told.
#[derive(Debug)]
pub struct Client {
    process: Process,
}

/// What the client says it did.
#[derive(Debug, Default)]
pub struct Asked {
    /// Its requests.
    pub requests: Requests,
    /// Bytes of content that it sent, by path: those that every observer of the calls must know, and
    /// all of them.
    pub sent: BTreeMap<String, (u64, u64)>,
}

impl Client {
    /// Starts it, for a server and some of its scenarios.
    ///
    /// # Errors
    /// The Python packages are not there.
    pub fn start(
        server: SocketAddr,
        certificate: Option<&Certificate>,
        prefix: &str,
        scenarios: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(python()?);
        command
            .arg(apps().join("client.py"))
            .args(["--port", &server.port().to_string(), "--prefix", prefix])
            .env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(certificate) = certificate {
            command.arg("--authority").arg(&certificate.certificate);
        }
        command.args(scenarios);
        let process = Process::spawn_with_input("client.py", command, Stdio::piped())?;
        Ok(Self { process })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Has it do everything and end.
    ///
    /// # Errors
    /// It failed; the message has its output.
    pub fn run(&mut self) -> Result<Asked> {
        self.process.tell("run\n")?;
        let output = self.process.wait_success()?;
        let mut asked = Asked::default();
        for line in output
            .lines()
            .filter(|line| line.starts_with("{\"method\""))
        {
            let line: Value = serde_json::from_str(line)?;
            let text = |key: &str| line[key].as_str().context("a text is missing");
            let status = line["status"].as_u64().context("no status")?;
            let request = request_of(text("method")?, text("path")?, u16::try_from(status)?);
            let sent = line["sent"].as_u64().context("no length")?;
            if sent > 0 {
                let (certain, all) = asked.sent.entry(request.1.clone()).or_default();
                *certain += if line["certain"] == true { sent } else { 0 };
                *all += sent;
            }
            *asked.requests.entry(request).or_default() += 1;
        }
        ensure!(!asked.requests.is_empty(), "the client did nothing");
        Ok(asked)
    }
}
