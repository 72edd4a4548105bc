//! What the gateway to the Gemini API adds to a call: the same call to a server beside it, directly and through
//! the gateway, in turn, on connections that are kept.

use std::{
    fmt::Write as _,
    io::{Read, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    http::Connection,
    probe::{Config, Probe, free_address},
    site::{Site, repository},
};

use super::{
    documents,
    rounds::{Random, median},
};

const PATH: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const QUESTION: &str = r#"{"contents":[{"parts":[{"text":"Say hello."}]}]}"#;
const ANSWER: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Hello."}]}}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2,"totalTokenCount":7},"modelVersion":"gemini-2.5-flash"}"#;
/// Calls that come before those that are measured.
const WARM_UP: usize = 200;

/// Measures so many pairs of calls, and returns the table.
///
/// # Errors
/// Not root, or the probe can't be started.
pub fn run(calls: usize) -> Result<String> {
    let upstream = upstream()?;
    let site = Site::new(&["unused"])?;
    let mut table = String::from(
        "| call | direct | through the gateway | added, median | added, 99 of 100 |\n\
         | --- | ---: | ---: | ---: | ---: |\n",
    );
    let limit = "[[gemini.limit]]\nper = \"month\"\ncalls = 1000000000";
    for (name, limits) in [("without a limit", ""), ("with a limit, SQLite", limit)] {
        let config = Config::new()
            .service("nothing", &[std::process::id()])
            .with(&format!(
                "[gemini.gateway]\nupstream = \"http://{upstream}\"\n{limits}\n"
            ));
        let address = free_address()?;
        let probe = Probe::start_at(&site, &config.quiet(), address)?;
        let [direct, through, added, worst] = measure(upstream, probe.address(), calls)?;
        writeln!(
            table,
            "| {name} | {direct:.3} ms | {through:.3} ms | {added:.3} ms | {worst:.3} ms |"
        )?;
        probe.stop()?;
    }
    Ok(table)
}

/// As [`run`], into docs/performance.md as well.
///
/// # Errors
/// As [`run`], and when the document lacks its markers.
pub fn run_and_write(calls: usize) -> Result<String> {
    let table = run(calls)?;
    documents::replace_in_file(&repository().join("docs/performance.md"), "gateway", &table)?;
    Ok(table)
}

/// Milliseconds: medians of both ways, and median and 99th percentile of what is added in each pair.
fn measure(upstream: SocketAddr, probe: SocketAddr, calls: usize) -> Result<[f64; 4]> {
    let mut ways = [
        (Connection::open(upstream)?, PATH.to_owned()),
        (Connection::open(probe)?, format!("/gateway/gemini{PATH}")),
    ];
    let mut random = Random::new()?;
    let mut pairs = Vec::new();
    for number in 0..WARM_UP + calls {
        let mut took = [0.0; 2];
        for way in random.order(2) {
            let (connection, path) = &mut ways[way];
            let began = Instant::now();
            let answer = connection.post(path, QUESTION)?;
            took[way] = began.elapsed().as_secs_f64() * 1e3;
            ensure!(answer.status == 200 && answer.body == ANSWER, "{answer:?}");
        }
        if number >= WARM_UP {
            pairs.push(took);
        }
    }
    let mut added: Vec<f64> = pairs
        .iter()
        .map(|[direct, through]| through - direct)
        .collect();
    added.sort_by(f64::total_cmp);
    let worst = added
        .get(added.len() * 99 / 100)
        .copied()
        .unwrap_or(f64::NAN);
    Ok([
        median(pairs.iter().map(|pair| pair[0]).collect()),
        median(pairs.iter().map(|pair| pair[1]).collect()),
        median(added),
        worst,
    ])
}

/// A server that answers at once, so that its own time hides nothing.
fn upstream() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(300)))?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(head) = request.parse(&bytes)? {
            let length = request
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"))
                .context("no length")?;
            let length: usize = std::str::from_utf8(length.value)?.parse()?;
            if bytes.len() >= head + length {
                bytes.drain(..head + length);
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ANSWER}",
                    ANSWER.len()
                );
                stream.write_all(answer.as_bytes())?;
                continue;
            }
        }
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}
