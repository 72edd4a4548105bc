//! Where OpenTelemetry's exporter sends: a server on loopback that takes everything, counts it and
//! keeps nothing. Like a collector on the same host, but cheaper than any real one.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context, Result, bail};

use crate::probe::free_address;

/// The longest head of a request that is taken.
const MAX_HEAD: usize = 16 << 10;

/// The server, until its owner is gone.
#[derive(Debug)]
pub(super) struct Collector {
    address: SocketAddr,
    taken: Arc<Taken>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Taken {
    stopped: AtomicBool,
    traces: AtomicU64,
}

impl Collector {
    /// Listens on a free port.
    ///
    /// # Errors
    /// The loopback interface is down.
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind(free_address()?).context("binding the collector")?;
        let address = listener.local_addr()?;
        let taken = Arc::new(Taken::default());
        let shared = Arc::clone(&taken);
        let thread = std::thread::Builder::new()
            .name("collector".into())
            .spawn(move || accept(&listener, &shared))?;
        Ok(Self {
            address,
            taken,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Batches of spans that came so far.
    pub(super) fn traces(&self) -> u64 {
        self.taken.traces.load(Ordering::Relaxed)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.taken.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread out of `accept`; it then sees that it is to stop.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, taken: &Arc<Taken>) {
    for connection in listener.incoming() {
        if taken.stopped.load(Ordering::Relaxed) {
            return;
        }
        let Ok(connection) = connection else { continue };
        let taken = Arc::clone(taken);
        // Ends when the app, which is stopped before us, closes the connection. The exporter has
        // one connection for each kind of data.
        std::thread::spawn(move || serve(connection, &taken));
    }
}

fn serve(mut connection: TcpStream, taken: &Taken) -> Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = read_head(&mut connection, &mut buffer)? {
        skip_body(&mut connection, &mut buffer, request.head + request.body)?;
        if request.is_traces {
            taken.traces.fetch_add(1, Ordering::Relaxed);
        }
        // An empty message of protocol buffers: everything was taken.
        connection.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
        )?;
    }
    Ok(())
}

struct Request {
    head: usize,
    body: usize,
    is_traces: bool,
}

/// Reads until the head of a request is complete; `None` when the client has closed.
fn read_head(connection: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<Request>> {
    loop {
        if let Some(request) = parse(buffer)? {
            return Ok(Some(request));
        }
        if buffer.len() > MAX_HEAD {
            bail!("a head without end");
        }
        let mut chunk = [0; 4096];
        match connection.read(&mut chunk)? {
            0 => return Ok(None),
            read => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}

fn parse(buffer: &[u8]) -> Result<Option<Request>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(buffer)? else {
        return Ok(None);
    };
    let is_traces = request.path == Some("/v1/traces");
    let length = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .context("no content-length")?;
    Ok(Some(Request {
        head,
        body: std::str::from_utf8(length.value)?.trim().parse()?,
        is_traces,
    }))
}

/// Reads past a request, keeping what came after it.
fn skip_body(connection: &mut TcpStream, buffer: &mut Vec<u8>, request: usize) -> Result<()> {
    let here = request.min(buffer.len());
    buffer.drain(..here);
    let left = u64::try_from(request - here)?;
    let skipped = std::io::copy(&mut connection.take(left), &mut std::io::sink())?;
    if skipped < left {
        bail!("the client closed in the middle of a request");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If it took no spans, the exporter would drop them, and its cost would look too good.
    #[test]
    fn batches_on_one_connection_are_taken_and_counted() {
        let collector = Collector::start().unwrap();
        let mut client = TcpStream::connect(collector.address()).unwrap();
        let body = "x".repeat(100_000);
        for path in ["/v1/traces", "/v1/metrics", "/v1/traces"] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            client.write_all(head.as_bytes()).unwrap();
            client.write_all(body.as_bytes()).unwrap();
            let mut answer = [0; 15];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
            let mut rest = vec![
                    0;
                    "\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n".len()
                ];
            client.read_exact(&mut rest).unwrap();
        }
        assert_eq!(collector.traces(), 2);
    }
}
