//! Clients that send beacons as browsers do, and as nobody should.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// Longest wait for an answer: a debug build on a full machine is slow.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers by status.
pub type Statuses = BTreeMap<u16, u64>;

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header names in lower case, and their values.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Post {
    path: String,
    headers: String,
    body: Vec<u8>,
}

impl Post {
    /// A beacon with this body.
    pub fn new(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.to_owned(),
            headers: String::new(),
            body: body.into(),
        }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// All bytes of it.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head(self.body.len()).into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn head(&self, length: usize) -> String {
        format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{}\r\n",
            self.path, self.headers
        )
    }

    /// Sends it on a connection of its own.
    ///
    /// # Errors
    /// There is no answer.
    pub fn send(&self, address: SocketAddr) -> Result<Answer> {
        let mut client = Client::open(address)?;
        client.write(&self.bytes())?;
        client.answer().with_context(|| format!("POST {}", self.path))
    }

    /// Sends the head and half of the body, and then nothing more.
    ///
    /// # Errors
    /// The server does not listen.
    pub fn send_half(&self, address: SocketAddr) -> Result<Client> {
        let mut client = Client::open(address)?;
        client.write(self.head(self.body.len()).as_bytes())?;
        client.write(&self.body[..self.body.len() / 2])?;
        Ok(client)
    }
}

/// A connection that is kept.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// The server does not listen.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next answer.
    ///
    /// # Errors
    /// It does not come.
    pub fn answer(&mut self) -> Result<Answer> {
        loop {
            if let Some((mut answer, head)) = parse_head(&self.received)? {
                let length = match answer.headers.get("content-length") {
                    Some(length) => length.parse()?,
                    None if answer.status == 204 => 0,
                    None => bail!("an answer without a length: {answer:?}"),
                };
                while self.received.len() < head + length {
                    self.receive()?;
                }
                let rest = self.received.split_off(head + length);
                answer.body = String::from_utf8_lossy(&self.received[head..]).into_owned();
                self.received = rest;
                return Ok(answer);
            }
            self.receive()?;
        }
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        let length = self.stream.read(&mut buffer)?;
        ensure!(length > 0, "the connection closed before the answer was complete");
        self.received.extend_from_slice(&buffer[..length]);
        Ok(())
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<(Answer, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes)? else {
        return Ok(None);
    };
    let headers = head.headers.iter().map(|header| {
        let value = String::from_utf8_lossy(header.value).into_owned();
        (header.name.to_ascii_lowercase(), value)
    });
    let answer = Answer {
        status: head.code.context("no status")?,
        headers: headers.collect(),
        body: String::new(),
    };
    Ok(Some((answer, length)))
}

/// What a flood did.
#[derive(Clone, Debug, Default)]
pub struct Flood {
    /// Answers by status.
    pub statuses: Statuses,
    /// How long it took.
    pub took: Duration,
}

impl Flood {
    /// Sends `count` beacons as fast as they are answered, on so many connections, each with many
    /// under way. `beacon` makes the one with this number.
    ///
    /// # Errors
    /// A beacon gets no answer.
    pub fn run(
        address: SocketAddr,
        connections: u64,
        count: u64,
        beacon: impl Fn(u64) -> Post + Sync,
    ) -> Result<Self> {
        let begin = Instant::now();
        let statuses = std::thread::scope(|scope| {
            let beacon = &beacon;
            let clients: Vec<_> = (0..connections)
                .map(|first| {
                    scope.spawn(move || {
                        let numbers = (first..count).step_by(usize::try_from(connections)?);
                        send_all(address, numbers.map(beacon))
                    })
                })
                .collect();
            let mut all = Statuses::new();
            for client in clients {
                for (status, count) in client.join().expect("a client panicked")? {
                    *all.entry(status).or_default() += count;
                }
            }
            anyhow::Ok(all)
        })?;
        Ok(Self {
            statuses,
            took: begin.elapsed(),
        })
    }

    /// Answers with this status.
    pub fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// Beacons a second.
    pub fn rate(&self) -> f64 {
        let all: u64 = self.statuses.values().sum();
        all as f64 / self.took.as_secs_f64()
    }
}

/// Beacons that are sent before their answers are read.
const UNDER_WAY: usize = 16;

fn send_all(address: SocketAddr, posts: impl Iterator<Item = Post>) -> Result<Statuses> {
    let mut client = Client::open(address)?;
    let mut statuses = Statuses::new();
    let mut posts = posts.peekable();
    while posts.peek().is_some() {
        let some: Vec<Post> = posts.by_ref().take(UNDER_WAY).collect();
        let bytes: Vec<u8> = some.iter().flat_map(Post::bytes).collect();
        client.write(&bytes)?;
        let mut unanswered = &some[..];
        while let [_, rest @ ..] = unanswered {
            let answer = client.answer()?;
            *statuses.entry(answer.status).or_default() += 1;
            unanswered = rest;
            if answer.headers.get("connection").is_some_and(|value| value == "close") {
                // What was sent behind it was not looked at: again, on a new connection.
                client = Client::open(address)?;
                let bytes: Vec<u8> = unanswered.iter().flat_map(Post::bytes).collect();
                client.write(&bytes)?;
            }
        }
    }
    Ok(statuses)
}

/// Resident memory of a process, in bytes.
///
/// # Errors
/// It is gone.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no VmRSS")?
        .trim()
        .parse()?;
    Ok(kib * 1024)
}
