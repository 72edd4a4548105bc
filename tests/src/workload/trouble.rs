//! Connections that never come to be, and sockets that have none.

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

use super::{
    call::{
        self, Fd,
        socket::{self, Address},
    },
    options::Options,
    peers,
    syscalls::expect,
    tally::{self, Fact},
};

/// `count` attempts that are refused, and as many non-blocking ones plus one; on AF_UNIX the
/// latter go to a path that does not exist.
pub(super) fn refused(options: &Options) -> Result<()> {
    let count = options.get("count", 5)?;
    let address = peers::address(options)?;
    // Bound but not listening: nobody else can have it, and it refuses.
    let bound = socket::create(address.family(), libc::SOCK_STREAM)? as Fd;
    socket::bind(bound, &address).context("binding")?;
    let unix = address.family() == libc::AF_UNIX;
    let target = match address.family() {
        libc::AF_UNIX => address,
        family => Address::loopback(family, socket::port(bound)?),
    };
    let nowhere = Address::path("/nowhere/at/all");
    let gate = tally::start_gate();
    for _ in 0..count {
        let fd = socket::create(target.family(), libc::SOCK_STREAM)? as Fd;
        expect(Errno::ECONNREFUSED, socket::connect(fd, &target))?;
        tally::add(Fact::ConnectErrors, 1);
        call::close(fd)?;
    }
    for _ in 0..count + 1 {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
        let fd = socket::create(target.family(), kind)? as Fd;
        if unix {
            expect(Errno::ENOENT, socket::connect(fd, &nowhere))?;
        } else {
            expect(Errno::EINPROGRESS, socket::connect(fd, &target))?;
            call::poll(fd, libc::POLLOUT, None)?;
            ensure!(
                socket::error(fd)? == Some(Errno::ECONNREFUSED),
                "the attempt was not refused"
            );
        }
        tally::add(Fact::ConnectErrors, 1);
        call::close(fd)?;
    }
    gate.end();
    Ok(())
}

/// `count` attempts that get no answer and are given up after `ms`: the listener's queue is full,
/// so the kernel drops their SYNs; the first is sent again after a second.
pub(super) fn abandoned(options: &Options) -> Result<()> {
    let count = options.get("count", 3)?;
    let milliseconds = options.get("ms", 1500)?;
    let listener = peers::listen(options, 1)?;
    let target = Address::loopback(libc::AF_INET, socket::port(listener)?);
    // One more than the backlog fits in.
    for _ in 0..2 {
        let filler = socket::create(libc::AF_INET, libc::SOCK_STREAM)? as Fd;
        socket::connect(filler, &target).context("filling the queue")?;
        // It stays in the queue, but is no open connection of this process.
        call::close(filler)?;
    }
    let mut attempts = Vec::with_capacity(count);
    let gate = tally::start_gate();
    for _ in 0..count {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
        let fd = socket::create(libc::AF_INET, kind)? as Fd;
        expect(Errno::EINPROGRESS, socket::connect(fd, &target))?;
        attempts.push(fd);
    }
    let answered = call::poll(attempts[0], libc::POLLOUT, Some(milliseconds))?;
    ensure!(answered == 0, "the attempt was answered");
    for fd in attempts {
        tally::add(Fact::Retransmits, socket::retransmits(fd)?);
        tally::add(Fact::ConnectErrors, 1);
        call::close(fd)?;
    }
    gate.end();
    Ok(())
}

/// Bytes through UDP sockets, which are neither TCP nor AF_UNIX.
pub(super) fn datagrams(options: &Options) -> Result<()> {
    let count = options.get("count", 10)?;
    let receiver = socket::create(libc::AF_INET, libc::SOCK_DGRAM)? as Fd;
    socket::bind(receiver, &Address::loopback(libc::AF_INET, 0))?;
    let target = Address::loopback(libc::AF_INET, socket::port(receiver)?);
    let gate = tally::start_gate();
    let sender = socket::create(libc::AF_INET, libc::SOCK_DGRAM)? as Fd;
    socket::connect(sender, &target)?;
    for _ in 0..count {
        let sent = call::write(sender, b"a datagram")?;
        tally::add(Fact::Sent, sent);
        let received = call::read(receiver, &mut [0; 64])?;
        tally::add(Fact::Received, received);
    }
    call::close(sender)?;
    gate.end();
    Ok(())
}
