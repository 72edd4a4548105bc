//! Calls into TLS libraries: what the kernel side keeps of them.

use crate::kernel_abi;

/// What a call into a library does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum TlsOperation {
    /// No call is under way.
    None = 0,
    /// Decrypts what came.
    Read = 1,
    /// Encrypts what is to be sent.
    Write = 2,
    /// Agrees on keys.
    Handshake = 3,
}

/// A thread's call into a library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TlsCall {
    /// Address of the library's connection (`SSL *`) in the process.
    pub ssl: u64,
    /// Address of the clear text.
    pub buffer: u64,
    /// Where the library stores how many bytes were moved; 0 when its result says so.
    pub moved_at: u64,
    /// When the call began, `CLOCK_MONOTONIC` nanoseconds.
    pub started_ns: u64,
    /// The `struct sock` that encrypted bytes went through within the call, 0 for none.
    pub socket: u64,
    /// A [`TlsOperation`].
    pub operation: u64,
}
kernel_abi!(TlsCall, 48);

/// A connection of a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct TlsSessionKey {
    /// Its address in the process.
    pub ssl: u64,
    /// The process.
    pub tgid: u32,
    /// Zero.
    pub reserved: u32,
}
kernel_abi!(TlsSessionKey, 16);

/// The stream that a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TlsSession {
    /// Address of its `struct sock`, or the stream's own number.
    pub stream: u64,
    /// 1 for a socket.
    pub is_socket: u64,
}
kernel_abi!(TlsSession, 16);
