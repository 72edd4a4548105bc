//! A client that knows how many bytes it sent and received.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// Longest time that an answer may take to come.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header names in lower case, and their values.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: String,
}

impl Response {
    /// The value of a header, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// One request on a connection of its own. HTTP/1.0, so that the answer is never chunked.
///
/// # Errors
/// The server does not listen, or answers with something that isn't HTTP.
pub fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
    Connection::open(address)?.request("1.0", path, headers)
}

/// Posts a body on a connection of its own, as [`get`] asks.
///
/// # Errors
/// As [`get`].
pub fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let mut connection = Connection::open(address)?;
    let mut head = format!(
        "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let request = [head.as_bytes(), body].concat();
    connection.stream.write_all(&request)?;
    connection.sent += request.len() as u64;
    connection
        .response()
        .with_context(|| format!("POST {path}"))
}

/// A connection that is kept open between requests.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Bytes sent so far.
    pub sent: u64,
    /// Bytes received so far.
    pub received: u64,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// The server does not listen.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            sent: 0,
            received: 0,
        })
    }

    /// A request that leaves the connection open.
    ///
    /// # Errors
    /// As [`get`].
    pub fn get(&mut self, path: &str) -> Result<Response> {
        self.request("1.1", path, &[])
    }

    fn request(&mut self, version: &str, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
        let mut request = format!("GET {path} HTTP/{version}\r\nHost: localhost\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        self.stream.write_all(request.as_bytes())?;
        self.sent += request.len() as u64;
        self.response().with_context(|| format!("GET {path}"))
    }

    fn response(&mut self) -> Result<Response> {
        let mut bytes = Vec::new();
        let (status, headers, head_length) = loop {
            if self.receive(&mut bytes)? == 0 {
                bail!("the connection closed within the head of the answer");
            }
            if let Some(head) = parse_head(&bytes)? {
                break head;
            }
        };
        let mut response = Response {
            status,
            headers,
            body: String::new(),
        };
        match response.header("content-length") {
            Some(length) => {
                let end = head_length + length.parse::<usize>()?;
                while bytes.len() < end {
                    if self.receive(&mut bytes)? == 0 {
                        bail!("the connection closed within the body of the answer");
                    }
                }
            }
            None => while self.receive(&mut bytes)? != 0 {},
        }
        response.body = String::from_utf8(bytes.split_off(head_length))?;
        Ok(response)
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let length = self.stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..length]);
        self.received += length as u64;
        Ok(length)
    }
}

type Head = (u16, Vec<(String, String)>, usize);

fn parse_head(bytes: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes)? else {
        return Ok(None);
    };
    let headers = head
        .headers
        .iter()
        .map(|header| {
            (
                header.name.to_ascii_lowercase(),
                String::from_utf8_lossy(header.value).into_owned(),
            )
        })
        .collect();
    Ok(Some((head.code.context("no status")?, headers, length)))
}
