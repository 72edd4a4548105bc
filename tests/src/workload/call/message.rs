//! The calls that move bytes through sockets in other ways than `read` and `write`.

use super::{Answer, Fd, address, address_mut, c_int, counted};

/// Messages in one `sendmmsg` or `recvmmsg`.
const MESSAGES: usize = 3;

/// Three pieces that make up the buffer; the first is never empty, so 0 received means the end.
fn pieces(base: usize, length: usize) -> [libc::iovec; MESSAGES] {
    let third = length / 3;
    let first = length - 2 * third;
    let piece = |from: usize, length: usize| libc::iovec {
        iov_base: (base + from) as *mut libc::c_void,
        iov_len: length,
    };
    [
        piece(0, first),
        piece(first, third),
        piece(first + third, third),
    ]
}

fn header(pieces: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all zeros is a valid msghdr: no name, no control data.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = pieces.as_mut_ptr();
    header.msg_iovlen = pieces.len() as _;
    header
}

/// `writev` of three pieces.
pub fn writev(fd: Fd, buffer: &[u8]) -> Answer {
    let pieces = pieces(address(buffer), buffer.len());
    counted(
        libc::SYS_writev,
        [fd as usize, address(&pieces), pieces.len(), 0, 0, 0],
    )
}

/// `readv` into three pieces.
pub fn readv(fd: Fd, buffer: &mut [u8]) -> Answer {
    let pieces = pieces(address_mut(buffer), buffer.len());
    counted(
        libc::SYS_readv,
        [fd as usize, address(&pieces), pieces.len(), 0, 0, 0],
    )
}

/// `sendto` without an address.
pub fn sendto(fd: Fd, buffer: &[u8]) -> Answer {
    let flags = libc::MSG_NOSIGNAL as usize;
    counted(
        libc::SYS_sendto,
        [fd as usize, address(buffer), buffer.len(), flags, 0, 0],
    )
}

/// `recvfrom` without an address.
pub fn recvfrom(fd: Fd, buffer: &mut [u8], flags: c_int) -> Answer {
    counted(
        libc::SYS_recvfrom,
        [
            fd as usize,
            address_mut(buffer),
            buffer.len(),
            flags as usize,
            0,
            0,
        ],
    )
}

/// `sendmsg` of three pieces.
pub fn sendmsg(fd: Fd, buffer: &[u8]) -> Answer {
    let mut pieces = pieces(address(buffer), buffer.len());
    let header = header(&mut pieces);
    counted(
        libc::SYS_sendmsg,
        [
            fd as usize,
            address(&header),
            libc::MSG_NOSIGNAL as usize,
            0,
            0,
            0,
        ],
    )
}

/// `recvmsg` into three pieces.
pub fn recvmsg(fd: Fd, buffer: &mut [u8], flags: c_int) -> Answer {
    let mut pieces = pieces(address_mut(buffer), buffer.len());
    let mut header = header(&mut pieces);
    counted(
        libc::SYS_recvmsg,
        [
            fd as usize,
            address_mut(&mut header),
            flags as usize,
            0,
            0,
            0,
        ],
    )
}

/// `sendmmsg` of three messages; the bytes of all.
pub fn sendmmsg(fd: Fd, buffer: &[u8]) -> Answer {
    let mut pieces = pieces(address(buffer), buffer.len());
    messages(libc::SYS_sendmmsg, fd, &mut pieces, libc::MSG_NOSIGNAL)
}

/// `recvmmsg` of up to three messages; the bytes of all.
pub fn recvmmsg(fd: Fd, buffer: &mut [u8], flags: c_int) -> Answer {
    let mut pieces = pieces(address_mut(buffer), buffer.len());
    let flags = flags | libc::MSG_WAITFORONE;
    messages(libc::SYS_recvmmsg, fd, &mut pieces, flags)
}

fn messages(
    number: libc::c_long,
    fd: Fd,
    pieces: &mut [libc::iovec; MESSAGES],
    flags: c_int,
) -> Answer {
    let mut messages = pieces.each_mut().map(|piece| libc::mmsghdr {
        msg_hdr: header(std::slice::from_mut(piece)),
        msg_len: 0,
    });
    let done = counted(
        number,
        [
            fd as usize,
            address_mut(&mut messages),
            MESSAGES,
            flags as usize,
            0,
            0,
        ],
    )?;
    Ok(messages[..done]
        .iter()
        .map(|message| message.msg_len as usize)
        .sum())
}

/// `sendfile` from the file's beginning.
pub fn sendfile(fd: Fd, file: Fd, length: usize) -> Answer {
    let mut offset: i64 = 0;
    counted(
        libc::SYS_sendfile,
        [
            fd as usize,
            file as usize,
            address_mut(&mut offset),
            length,
            0,
            0,
        ],
    )
}

/// `splice`.
pub fn splice(from: Fd, to: Fd, length: usize) -> Answer {
    counted(
        libc::SYS_splice,
        [from as usize, 0, to as usize, 0, length, 0],
    )
}
