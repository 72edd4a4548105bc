//! Both ends of stream connections, over IPv4, IPv6 and AF_UNIX.
//!
//! On each connection the client sends `bytes`, the server receives them and sends as many back.

use std::io::Write;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;

use super::{
    call::{
        self, Fd,
        socket::{self, Address},
    },
    options::Options,
    stream::Mover,
    tally::{self, Fact},
};

/// How the client ends a connection.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    /// `close` when everything was received.
    Close,
    /// The sending half is closed before the answer is read.
    HalfClose,
    /// `close` with `SO_LINGER` 0, which sends a reset.
    Reset,
    /// The server closes with half of the bytes unread, which sends a reset.
    Unread,
}

/// What both ends are told.
struct Plan {
    connections: usize,
    bytes: usize,
    nonblocking: bool,
    ending: Ending,
    /// Connections are made before the first gate.
    before: bool,
    /// Descriptors are duplicated, and children use those that they inherit.
    inherit: bool,
}

impl Plan {
    fn new(options: &Options) -> Result<Self> {
        Ok(Self {
            connections: options.get("connections", 5)?,
            bytes: options.get("bytes", 100_000)?,
            nonblocking: options.flag("nonblocking")?,
            ending: match options.text("ending").unwrap_or("close") {
                "close" => Ending::Close,
                "half" => Ending::HalfClose,
                "reset" => Ending::Reset,
                "unread" => Ending::Unread,
                other => bail!("there is no ending called {other}"),
            },
            before: options.flag("before")?,
            inherit: options.flag("inherit")?,
        })
    }

    fn kind(&self) -> i32 {
        libc::SOCK_STREAM
            | if self.nonblocking {
                libc::SOCK_NONBLOCK
            } else {
                0
            }
    }
}

/// `family=4|6` with any free port, or `family=unix path=...`.
pub(super) fn address(options: &Options) -> Result<Address> {
    let port = options.get("port", 0)?;
    Ok(match options.text("family").unwrap_or("4") {
        "4" => Address::loopback(libc::AF_INET, port),
        "6" => Address::loopback(libc::AF_INET6, port),
        "unix" => Address::path(options.text("path").context("unix needs path=")?),
        other => bail!("there is no family {other}"),
    })
}

/// Listens and tells the port.
pub(super) fn listen(options: &Options, backlog: i32) -> Result<Fd> {
    let address = address(options)?;
    let listener = socket::create(address.family(), libc::SOCK_STREAM)? as Fd;
    socket::bind(listener, &address).context("binding")?;
    socket::listen(listener, backlog)?;
    if address.family() != libc::AF_UNIX {
        println!("port {}", socket::port(listener)?);
    } else {
        println!("port 0");
    }
    std::io::stdout().flush()?;
    Ok(listener)
}

pub(super) fn server(options: &Options) -> Result<()> {
    let plan = Plan::new(options)?;
    let mut mover = Mover::new(options)?;
    let listener = listen(options, 128)?;
    let mut accepted = Vec::with_capacity(plan.connections);
    if plan.before {
        for _ in 0..plan.connections {
            accepted.push(accept(&plan, listener)?);
        }
    }
    let gate = tally::start_gate();
    for index in 0..plan.connections {
        let fd = match accepted.get(index) {
            Some(fd) => *fd,
            None => accept(&plan, listener)?,
        };
        if plan.inherit {
            in_child(|| serve(&plan, &mut mover, fd))?;
        } else {
            serve(&plan, &mut mover, fd)?;
        }
        call::close(fd)?;
    }
    gate.end();
    Ok(())
}

fn accept(plan: &Plan, listener: Fd) -> Result<Fd> {
    let flags = plan.kind() & libc::SOCK_NONBLOCK;
    let fd = socket::accept(listener, flags).context("accepting")?;
    tally::add(Fact::Accepts, 1);
    Ok(fd as Fd)
}

fn serve(plan: &Plan, mover: &mut Mover, fd: Fd) -> Result<()> {
    if plan.ending == Ending::Unread {
        return mover.receive(fd, plan.bytes / 2);
    }
    mover.receive(fd, plan.bytes)?;
    if plan.ending == Ending::HalfClose {
        mover.receive_end(fd).context("the client's half-close")?;
    }
    mover.send(fd, plan.bytes)?;
    match (plan.ending, mover.receive_end(fd)) {
        (Ending::Reset, Err(Errno::ECONNRESET)) => Ok(()),
        (Ending::Close | Ending::HalfClose, Ok(())) => Ok(()),
        (_, end) => bail!("the connection ended unexpectedly: {end:?}"),
    }
}

pub(super) fn client(options: &Options) -> Result<()> {
    let plan = Plan::new(options)?;
    let mut mover = Mover::new(options)?;
    let address = address(options)?;
    let mut connected = Vec::with_capacity(plan.connections);
    if plan.before {
        for _ in 0..plan.connections {
            connected.push(connect(&plan, &mover, &address)?);
        }
    }
    let gate = tally::start_gate();
    for index in 0..plan.connections {
        let fd = match connected.get(index) {
            Some(fd) => *fd,
            None => connect(&plan, &mover, &address)?,
        };
        converse(&plan, &mut mover, fd)?;
    }
    gate.end();
    Ok(())
}

fn connect(plan: &Plan, mover: &Mover, address: &Address) -> Result<Fd> {
    let fd = socket::create(address.family(), plan.kind())? as Fd;
    match socket::connect(fd, address) {
        Ok(_) => {}
        Err(Errno::EINPROGRESS) => {
            mover.wait_for(fd, libc::POLLOUT)?;
            ensure!(socket::error(fd)?.is_none(), "the connection failed");
        }
        Err(error) => return Err(error).context("connecting"),
    }
    tally::add(Fact::Connects, 1);
    Ok(fd)
}

fn converse(plan: &Plan, mover: &mut Mover, fd: Fd) -> Result<()> {
    let fd = if plan.inherit {
        let copy = call::dup(fd)? as Fd;
        call::close(fd)?;
        let half = plan.bytes / 2;
        in_child(|| mover.send(copy, half))?;
        mover.send(copy, plan.bytes - half)?;
        in_child(|| mover.receive(copy, half))?;
        mover.receive(copy, plan.bytes - half)?;
        copy
    } else {
        mover.send(fd, plan.bytes)?;
        match plan.ending {
            Ending::HalfClose => {
                socket::finish_sending(fd)?;
                mover.receive(fd, plan.bytes)?;
            }
            Ending::Unread => {
                let end = mover.receive_end(fd);
                ensure!(end == Err(Errno::ECONNRESET), "the server's end: {end:?}");
            }
            Ending::Close | Ending::Reset => mover.receive(fd, plan.bytes)?,
        }
        fd
    };
    if plan.ending == Ending::Reset {
        socket::reset_on_close(fd)?;
    }
    call::close(fd)?;
    Ok(())
}

fn in_child(body: impl FnOnce() -> Result<()>) -> Result<()> {
    tally::add(Fact::Children, 1);
    let child = call::fork(|| i32::from(body().is_err()))?;
    ensure!(call::wait(child)? == 0, "a child failed");
    Ok(())
}

/// Bytes through a `socketpair`, whose ends were never connected by a call.
pub(super) fn pair(options: &Options) -> Result<()> {
    let plan = Plan::new(options)?;
    let mut mover = Mover::new(options)?;
    let gate = tally::start_gate();
    for _ in 0..plan.connections {
        let (one, other) = socket::pair(libc::SOCK_STREAM)?;
        for (from, to) in [(one, other), (other, one)] {
            mover.send(from, plan.bytes)?;
            mover.receive(to, plan.bytes)?;
        }
        call::close(one)?;
        call::close(other)?;
    }
    gate.end();
    Ok(())
}
