//! The calls on sockets.

use super::{Answer, Errno, Fd, address, address_mut, c_int, counted};

/// An address as the kernel wants it.
#[derive(Clone, Copy)]
pub struct Address {
    storage: libc::sockaddr_storage,
    length: usize,
}

impl Address {
    /// The loopback address of a family, with this port.
    pub fn loopback(family: c_int, port: u16) -> Self {
        let mut address = Self::empty();
        let storage = std::ptr::from_mut(&mut address.storage);
        if family == libc::AF_INET6 {
            let inet6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: port.to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: std::net::Ipv6Addr::LOCALHOST.octets(),
                },
                sin6_scope_id: 0,
            };
            // SAFETY: a sockaddr_storage is large and aligned enough for every address.
            unsafe { storage.cast::<libc::sockaddr_in6>().write(inet6) };
            address.length = size_of::<libc::sockaddr_in6>();
        } else {
            let inet = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: port.to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(std::net::Ipv4Addr::LOCALHOST).to_be(),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: a sockaddr_storage is large and aligned enough for every address.
            unsafe { storage.cast::<libc::sockaddr_in>().write(inet) };
            address.length = size_of::<libc::sockaddr_in>();
        }
        address
    }

    /// A path in the file system.
    pub fn path(path: &str) -> Self {
        let mut unix = libc::sockaddr_un {
            sun_family: libc::AF_UNIX as u16,
            sun_path: [0; 108],
        };
        assert!(path.len() < unix.sun_path.len(), "{path} is too long");
        for (to, from) in unix.sun_path.iter_mut().zip(path.bytes()) {
            *to = from as libc::c_char;
        }
        let mut address = Self::empty();
        // SAFETY: a sockaddr_storage is large and aligned enough for every address.
        unsafe {
            std::ptr::from_mut(&mut address.storage)
                .cast::<libc::sockaddr_un>()
                .write(unix);
        }
        address.length = size_of::<libc::sockaddr_un>();
        address
    }

    fn empty() -> Self {
        Self {
            // SAFETY: all zeros is a valid sockaddr_storage.
            storage: unsafe { std::mem::zeroed() },
            length: size_of::<libc::sockaddr_storage>(),
        }
    }

    /// Its family.
    pub fn family(&self) -> c_int {
        c_int::from(self.storage.ss_family)
    }
}

/// `socket`.
pub fn create(family: c_int, kind: c_int) -> Answer {
    counted(
        libc::SYS_socket,
        [family as usize, kind as usize, 0, 0, 0, 0],
    )
}

/// `socketpair` of stream sockets.
pub fn pair(kind: c_int) -> Result<(Fd, Fd), Errno> {
    let mut ends: [Fd; 2] = [0; 2];
    counted(
        libc::SYS_socketpair,
        [
            libc::AF_UNIX as usize,
            kind as usize,
            0,
            address_mut(&mut ends),
            0,
            0,
        ],
    )?;
    Ok((ends[0], ends[1]))
}

/// `bind`.
pub fn bind(fd: Fd, to: &Address) -> Answer {
    counted(
        libc::SYS_bind,
        [fd as usize, address(&to.storage), to.length, 0, 0, 0],
    )
}

/// `listen`.
pub fn listen(fd: Fd, backlog: c_int) -> Answer {
    counted(
        libc::SYS_listen,
        [fd as usize, backlog as usize, 0, 0, 0, 0],
    )
}

/// `connect`.
pub fn connect(fd: Fd, to: &Address) -> Answer {
    counted(
        libc::SYS_connect,
        [fd as usize, address(&to.storage), to.length, 0, 0, 0],
    )
}

/// `accept4`.
pub fn accept(fd: Fd, flags: c_int) -> Answer {
    counted(libc::SYS_accept4, [fd as usize, 0, 0, flags as usize, 0, 0])
}

/// `shutdown` of the sending half.
pub fn finish_sending(fd: Fd) -> Answer {
    counted(
        libc::SYS_shutdown,
        [fd as usize, libc::SHUT_WR as usize, 0, 0, 0, 0],
    )
}

/// `setsockopt(SO_LINGER)`, so that `close` resets the connection.
pub fn reset_on_close(fd: Fd) -> Answer {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    counted(
        libc::SYS_setsockopt,
        [
            fd as usize,
            libc::SOL_SOCKET as usize,
            libc::SO_LINGER as usize,
            address(&linger),
            size_of::<libc::linger>(),
            0,
        ],
    )
}

/// `getsockopt(SO_ERROR)`: how a non-blocking connect ended.
pub fn error(fd: Fd) -> Result<Option<Errno>, Errno> {
    let mut error: c_int = 0;
    let mut length = size_of::<c_int>() as u32;
    counted(
        libc::SYS_getsockopt,
        [
            fd as usize,
            libc::SOL_SOCKET as usize,
            libc::SO_ERROR as usize,
            address_mut(&mut error),
            address_mut(&mut length),
            0,
        ],
    )?;
    Ok((error != 0).then(|| Errno::from_raw(error)))
}

/// `getsockopt(TCP_INFO)`: segments sent again.
pub fn retransmits(fd: Fd) -> Answer {
    // SAFETY: integers only; all zeros is valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as u32;
    counted(
        libc::SYS_getsockopt,
        [
            fd as usize,
            libc::IPPROTO_TCP as usize,
            libc::TCP_INFO as usize,
            address_mut(&mut info),
            address_mut(&mut length),
            0,
        ],
    )?;
    Ok(info.tcpi_total_retrans as usize)
}

/// The port that a socket is bound to; for setting up, so not counted.
pub fn port(fd: Fd) -> Result<u16, Errno> {
    // SAFETY: all zeros is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as u32;
    super::uncounted(
        libc::SYS_getsockname,
        [
            fd as usize,
            address_mut(&mut storage),
            address_mut(&mut length),
            0,
            0,
            0,
        ],
    )?;
    // Port and family lie at the same place in both kinds of address.
    // SAFETY: a sockaddr_storage is large and aligned enough for every address.
    let inet = unsafe {
        std::ptr::from_ref(&storage)
            .cast::<libc::sockaddr_in>()
            .read()
    };
    Ok(u16::from_be(inet.sin_port))
}
