//! Records what Postgres clients and servers really say, for the tests of the decoder.
//!
//! `cargo run --example record_postgres -- 127.0.0.1:5433 127.0.0.1:5432 out.cap` is a proxy that
//! writes each read call of both directions to the file, in the order in which it saw them, until
//! its standard input ends. `fixtures/postgres/record.py` runs the clients.
//!
//! A record is the line `connection direction start_ns end_ns length` and then so many bytes and a
//! newline. The server must trust its clients: what is recorded is for everyone to read.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

struct Recording {
    file: Mutex<BufWriter<File>>,
    begun: Instant,
}

impl Recording {
    fn now(&self) -> u128 {
        self.begun.elapsed().as_nanos()
    }

    fn write(&self, connection: usize, direction: char, start: u128, bytes: &[u8]) -> Result<()> {
        let mut file = self.file.lock().map_err(|_| anyhow!("a writer failed"))?;
        let (end, length) = (self.now(), bytes.len());
        writeln!(file, "{connection} {direction} {start} {end} {length}")?;
        file.write_all(bytes)?;
        file.write_all(b"\n")?;
        Ok(())
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |name| {
        arguments
            .next()
            .with_context(|| format!("{name} is missing"))
    };
    let listen = argument("address to listen on")?;
    let upstream = argument("address of the server")?;
    let path = argument("file to write")?;
    let recording = Arc::new(Recording {
        file: Mutex::new(BufWriter::new(
            File::create(&path).with_context(|| format!("creating {path}"))?,
        )),
        begun: Instant::now(),
    });
    let listener = TcpListener::bind(&listen).with_context(|| format!("listening on {listen}"))?;
    let accepted = Arc::clone(&recording);
    thread::spawn(move || accept(&listener, &upstream, &accepted));
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    let mut file = recording
        .file
        .lock()
        .map_err(|_| anyhow!("a writer failed"))?;
    file.flush().with_context(|| format!("writing {path}"))
}

fn accept(listener: &TcpListener, upstream: &str, recording: &Arc<Recording>) -> Result<()> {
    for (number, client) in listener.incoming().enumerate() {
        let client = client?;
        let server = TcpStream::connect(upstream)?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        let (from_client, from_server) = (client.try_clone()?, server.try_clone()?);
        let (asked, answered) = (Arc::clone(recording), Arc::clone(recording));
        thread::spawn(move || pass(from_client, server, number, '>', &asked));
        thread::spawn(move || pass(from_server, client, number, '<', &answered));
    }
    Ok(())
}

/// What is read is recorded before it is passed on: an answer can't come before its question.
fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    connection: usize,
    direction: char,
    recording: &Recording,
) -> Result<()> {
    // As large as libpq's and the server's own buffers.
    let mut buffer = [0; 8192];
    loop {
        let start = recording.now();
        let length = from.read(&mut buffer)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(to.shutdown(Shutdown::Write)?);
        }
        recording.write(connection, direction, start, bytes)?;
        to.write_all(bytes)?;
    }
}
