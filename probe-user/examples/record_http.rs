//! Records the calls of a TCP server for the golden tests of the HTTP decoder: a proxy that stands
//! in for the server, and writes down its own reads and writes.
//!
//! `record_http UPSTREAM HEAD TAIL > FILE` listens on a free port of the loopback address, prints
//! `listening PORT` to standard error, and forwards each connection to `UPSTREAM` until standard
//! input ends. Of each call the first `HEAD` and the last `TAIL` bytes are recorded. Standard
//! output is the recording, in the format that `fixtures/http1/README.md` describes.

// A tool for developers: it may stop at the first surprise.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// Where recordings go: whole lines, so that threads do not mix them up.
struct Recorder {
    began: Instant,
    head: usize,
    tail: usize,
}

impl Recorder {
    fn now_ns(&self) -> u128 {
        self.began.elapsed().as_nanos()
    }

    fn call(&self, connection: usize, direction: char, start_ns: u128, end_ns: u128, bytes: &[u8]) {
        let head = self.head.min(bytes.len());
        let tail = self.tail.min(bytes.len() - head);
        println!(
            "{direction} {connection} {start_ns} {end_ns} {} \"{}\" \"{}\"",
            bytes.len(),
            bytes[..head].escape_ascii(),
            bytes[bytes.len() - tail..].escape_ascii(),
        );
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .expect("usage: record_http UPSTREAM HEAD TAIL")
    };
    let upstream = next();
    let (head, tail) = (next().parse().unwrap(), next().parse().unwrap());
    let recorder = Arc::new(Recorder {
        began: Instant::now(),
        head,
        tail,
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    eprintln!("listening {}", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for (connection, client) in listener.incoming().enumerate() {
            let server = TcpStream::connect(&upstream).unwrap();
            let recorder = Arc::clone(&recorder);
            thread::spawn(move || forward(&recorder, connection, &client.unwrap(), &server));
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Both directions of a connection. Only the calls on the client's socket are recorded: they are
/// what the server itself would have called.
fn forward(recorder: &Recorder, connection: usize, client: &TcpStream, server: &TcpStream) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0; 65_536];
            loop {
                let start_ns = recorder.now_ns();
                let Ok(count @ 1..) = (&*client).read(&mut buffer) else {
                    break;
                };
                recorder.call(
                    connection,
                    '>',
                    start_ns,
                    recorder.now_ns(),
                    &buffer[..count],
                );
                if (&*server).write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            // A client that has gone is gone for the server, too.
            let _ = server.shutdown(Shutdown::Write);
        });
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = (&*server).read(&mut buffer) {
            let start_ns = recorder.now_ns();
            if (&*client).write_all(&buffer[..count]).is_err() {
                break;
            }
            recorder.call(
                connection,
                '<',
                start_ns,
                recorder.now_ns(),
                &buffer[..count],
            );
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
    println!("close {connection} {}", recorder.now_ns());
}
