//! Moving a known number of bytes through a stream socket in every way that the kernel offers.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use super::{
    call::{self, Answer, Fd, message},
    options::Options,
    tally::{self, Fact},
};

/// Bytes that one call is asked to move. Below the capacity of a pipe, which `splice` goes through.
const CHUNK: usize = 16 * 1024;
/// Bytes that one peek looks at.
const PEEK: usize = 64;

/// The ways of sending.
pub const SEND_WAYS: [&str; 7] = [
    "write", "writev", "sendto", "sendmsg", "sendmmsg", "sendfile", "splice",
];
/// The ways of receiving.
pub const RECEIVE_WAYS: [&str; 6] = ["read", "readv", "recvfrom", "recvmsg", "recvmmsg", "splice"];

/// How a non-blocking socket is waited for.
#[derive(Clone, Copy)]
enum Wait {
    Poll,
    Epoll(Fd),
}

/// The way of sending, receiving and waiting, with what that needs; made before the first gate.
pub(super) struct Mover {
    send: String,
    receive: String,
    peek: bool,
    wait: Wait,
    file: Fd,
    pipe: (Fd, Fd),
    buffer: Vec<u8>,
}

impl Mover {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let file = call::memory_file()? as Fd;
        call::write(file, &[b'f'; CHUNK])?;
        let epoll = options.text("wait") == Some("epoll");
        Ok(Self {
            send: options.text("send").unwrap_or("write").to_owned(),
            receive: options.text("receive").unwrap_or("read").to_owned(),
            peek: options.flag("peek")?,
            wait: if epoll {
                // SAFETY: makes a descriptor, touches no memory.
                Wait::Epoll(unsafe { libc::epoll_create1(0) })
            } else {
                Wait::Poll
            },
            file,
            pipe: call::pipe(0)?,
            buffer: vec![b'x'; CHUNK],
        })
    }

    /// Sends so many bytes.
    pub(super) fn send(&mut self, fd: Fd, total: usize) -> Result<()> {
        let mut rest = total;
        while rest > 0 {
            let chunk = rest.min(CHUNK);
            if self.send == "splice" {
                self.splice_out(fd, chunk)?;
                rest -= chunk;
                continue;
            }
            match self.send_some(fd, chunk) {
                Ok(sent) => {
                    tally::add(Fact::Sent, sent);
                    rest -= sent;
                }
                Err(Errno::EAGAIN) => self.wait_for(fd, libc::POLLOUT)?,
                Err(error) => return Err(error).context("sending"),
            }
        }
        Ok(())
    }

    fn send_some(&self, fd: Fd, length: usize) -> Answer {
        let bytes = &self.buffer[..length];
        match self.send.as_str() {
            "write" => call::write(fd, bytes),
            "writev" => message::writev(fd, bytes),
            "sendto" => message::sendto(fd, bytes),
            "sendmsg" => message::sendmsg(fd, bytes),
            "sendmmsg" => message::sendmmsg(fd, bytes),
            "sendfile" => message::sendfile(fd, self.file, length),
            other => panic!("there is no way of sending called {other}"),
        }
    }

    fn splice_out(&self, fd: Fd, length: usize) -> Result<()> {
        let mut rest = call::write(self.pipe.1, &self.buffer[..length])?;
        while rest > 0 {
            match message::splice(self.pipe.0, fd, rest) {
                Ok(sent) => {
                    tally::add(Fact::Sent, sent);
                    rest -= sent;
                }
                Err(Errno::EAGAIN) => self.wait_for(fd, libc::POLLOUT)?,
                Err(error) => return Err(error).context("splicing into the socket"),
            }
        }
        Ok(())
    }

    /// Receives so many bytes.
    pub(super) fn receive(&mut self, fd: Fd, total: usize) -> Result<()> {
        let mut rest = total;
        while rest > 0 {
            let received = self.receive_some(fd, rest.min(CHUNK))?;
            if received == 0 {
                bail!("the peer closed with {rest} of {total} bytes to come");
            }
            rest -= received;
        }
        Ok(())
    }

    /// Receives the end of the stream, which is not a byte; `Err(ECONNRESET)` after a reset.
    pub(super) fn receive_end(&mut self, fd: Fd) -> Result<(), Errno> {
        let way = std::mem::replace(&mut self.receive, "read".to_owned());
        let peek = std::mem::replace(&mut self.peek, false);
        let end = self.receive_some(fd, 1);
        self.receive = way;
        self.peek = peek;
        match end {
            Ok(0) => Ok(()),
            Ok(_) => Err(Errno::EMSGSIZE),
            Err(error) => Err(error),
        }
    }

    fn receive_some(&mut self, fd: Fd, length: usize) -> Answer {
        if self.peek {
            // Without something to look at a peek would prove nothing.
            self.wait_for(fd, libc::POLLIN)?;
            self.peek(fd, length.min(PEEK));
        }
        loop {
            match self.receive_once(fd, length) {
                Err(Errno::EAGAIN) => self.wait_for(fd, libc::POLLIN)?,
                Ok(received) => {
                    tally::add(Fact::Received, received);
                    return Ok(received);
                }
                error => return error,
            }
        }
    }

    fn receive_once(&mut self, fd: Fd, length: usize) -> Answer {
        let buffer = &mut self.buffer[..length];
        match self.receive.as_str() {
            "read" => call::read(fd, buffer),
            "readv" => message::readv(fd, buffer),
            "recvfrom" => message::recvfrom(fd, buffer, 0),
            "recvmsg" => message::recvmsg(fd, buffer, 0),
            "recvmmsg" => message::recvmmsg(fd, buffer, 0),
            "splice" => {
                let received = message::splice(fd, self.pipe.1, length)?;
                if received > 0 {
                    call::read(self.pipe.0, &mut buffer[..received])?;
                }
                Ok(received)
            }
            other => panic!("there is no way of receiving called {other}"),
        }
    }

    /// Looks at bytes by each call that can, and leaves them where they are.
    fn peek(&mut self, fd: Fd, length: usize) {
        let buffer = &mut self.buffer[..length];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        let answers = [
            message::recvfrom(fd, buffer, flags),
            message::recvmsg(fd, buffer, flags),
            message::recvmmsg(fd, buffer, flags),
        ];
        for peeked in answers.into_iter().flatten() {
            tally::add(Fact::Peeked, peeked);
        }
    }

    /// Waits until a non-blocking socket is ready.
    pub(super) fn wait_for(&self, fd: Fd, events: i16) -> Result<(), Errno> {
        match self.wait {
            Wait::Poll => call::poll(fd, events, None)?,
            Wait::Epoll(epoll) => call::epoll(epoll, fd, events as u32)?,
        };
        Ok(())
    }
}
