//! A web site for browsers: the pages of `tests/apps/pages`, with the probe's script in them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::site::repository;

/// What differs from site to site.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address of the script.
    pub script: String,
    /// More attributes of its tag.
    pub attributes: String,
    /// What the pages' Content-Security-Policy allows beside the site itself, or nothing where the
    /// site has none.
    pub policy: Option<String>,
    /// Value of `Referrer-Policy`.
    pub referrer: &'static str,
    /// The probe to which the site's own `/vitals.js` and `/api/metrics` lead, as a web server in
    /// front of an app does it.
    pub probe: Option<SocketAddr>,
}

/// A site that answers until its owner is gone.
#[derive(Debug)]
pub struct Pages {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    stop: AtomicBool,
    asked: Mutex<Vec<String>>,
    passed_on: Mutex<Vec<Value>>,
}

impl Pages {
    /// Begins to listen, on loopback.
    ///
    /// # Errors
    /// There is no loopback.
    pub fn serve(options: Options) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            stop: AtomicBool::new(false),
            asked: Mutex::default(),
            passed_on: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if theirs.stop.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&theirs);
                // A browser opens connections and says nothing on them for long.
                std::thread::spawn(move || {
                    if let Err(error) = answer(&shared, &stream) {
                        eprintln!("the pages' server: {error:#}");
                    }
                });
            }
        });
        Ok(Self { address, shared })
    }

    /// Address of a page.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Paths that were asked for.
    pub fn asked(&self) -> Vec<String> {
        self.shared
            .asked
            .lock()
            .expect("nobody panics with it")
            .clone()
    }

    /// What browsers have sent to the site's own `/api/metrics`, which the probe has taken.
    pub fn beacons(&self) -> Vec<Value> {
        self.shared
            .passed_on
            .lock()
            .expect("nobody panics with it")
            .clone()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the listener up.
        let _ = TcpStream::connect(self.address);
    }
}

/// One request and its answer; the connection ends then.
fn answer(shared: &Shared, stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(300)))?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let path = head.split(' ').nth(1).context("no path")?;
    let path = path.split('?').next().unwrap_or(path);
    shared
        .asked
        .lock()
        .expect("nobody panics with it")
        .push(path.to_owned());
    if let (Some(probe), "/vitals.js" | "/api/metrics") = (shared.options.probe, path) {
        return pass_on(shared, probe, &head, &mut reader, stream);
    }
    let (status, kind, body) = found(shared, path)?;
    let policy = shared.options.policy.as_ref().map_or_else(String::new, |allowed| {
        format!(
            "Content-Security-Policy: default-src 'none'; script-src 'self' {allowed}; connect-src 'self' \
             {allowed}; img-src 'self' data:; style-src 'self'; base-uri 'none'; \
             require-trusted-types-for 'script'\r\n"
        )
    });
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\
         Referrer-Policy: {}\r\n{policy}\r\n",
        body.len(),
        shared.options.referrer
    );
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)?;
    Ok(())
}

/// Sends a request on to the probe, and its answer back.
fn pass_on(
    shared: &Shared,
    probe: SocketAddr,
    head: &str,
    body: &mut impl Read,
    mut stream: &TcpStream,
) -> Result<()> {
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    };
    let length = header("content-length").map_or(Ok(0), str::parse)?;
    let mut bytes = vec![0; length];
    body.read_exact(&mut bytes)?;
    let mut upstream = TcpStream::connect(probe)?;
    let head = head.replace("Connection: keep-alive", "Connection: close");
    upstream.write_all(head.as_bytes())?;
    upstream.write_all(&bytes)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 204") {
        let beacon = serde_json::from_slice(&bytes)?;
        let mut passed_on = shared.passed_on.lock().expect("nobody panics with it");
        passed_on.push(beacon);
    } else {
        let answer = String::from_utf8_lossy(&answer);
        eprintln!(
            "the probe has not taken {}: {answer}",
            head.lines().next().unwrap_or_default()
        );
    }
    stream.write_all(&answer)?;
    Ok(())
}

fn found(shared: &Shared, path: &str) -> Result<(&'static str, &'static str, Vec<u8>)> {
    const HTML: &str = "text/html; charset=utf-8";
    let file = |name: &str| {
        let path = repository().join("tests/apps/pages").join(name);
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let page = |name: &str| {
        let Options {
            script, attributes, ..
        } = &shared.options;
        let tag = format!("<script src=\"{script}\" {attributes} async></script>");
        file(name).map(|text| text.replace("<!-- probe -->", &tag).into_bytes())
    };
    Ok(match path {
        "/" => ("200 OK", HTML, page("index.html")?),
        "/plain" => ("200 OK", HTML, page("plain.html")?),
        "/app.js" | "/shop.js" => ("200 OK", "text/javascript", file(&path[1..])?.into_bytes()),
        "/main.css" => ("200 OK", "text/css", file("main.css")?.into_bytes()),
        "/sign.svg" => ("200 OK", "image/svg+xml", file("sign.svg")?.into_bytes()),
        "/api/good" => ("200 OK", "application/json", b"{\"good\":true}".to_vec()),
        "/api/broken" => ("503 Service Unavailable", "text/plain", b"broken".to_vec()),
        _ if path.starts_with("/orders/") => ("200 OK", HTML, page("order.html")?),
        // Routes that only the app's own script knows.
        _ if path.starts_with("/shop") => ("200 OK", HTML, page("shop.html")?),
        _ => ("404 Not Found", "text/plain", b"nothing here".to_vec()),
    })
}
